# SPDX-License-Identifier: Apache-2.0
"""The rows from which completions are sampled: prompts that fit, with all the columns that the rewards need."""

from collections.abc import Mapping
from typing import Any

from datasets import Dataset, DatasetDict
from transformers import PreTrainedTokenizerBase

from open_r1.configs import GRPOScriptArguments, SFTScriptArguments
from open_r1.data.training_rows import drop_long_prompts, drop_null_rows, require_split, to_conversations
from open_r1.preflight.domains import check_domains, drop_unjudgeable_rows


def prepare_prompts(
    dataset: DatasetDict,
    split: str,
    purpose: str,
    tokenizer: PreTrainedTokenizerBase,
    script_args: GRPOScriptArguments | SFTScriptArguments,
    system_prompt: str | None,
    max_prompt_tokens: int | None,
    *,
    template_kwargs: Mapping[str, Any] | None = None,
) -> Dataset:
    """Return the rows of a split as conversations, without null values and without prompts that are too long.

    Args:
        dataset: Has the split.
        split: Its name.
        purpose: "training" or another, for messages.
        tokenizer: Renders the prompts.
        script_args: Names of columns and rewards.
        system_prompt: Put before each prompt.
        max_prompt_tokens: Most tokens of a rendered prompt; None: any number.
        template_kwargs: What else the template is given: `chat_template_kwargs` of a training.

    Raises:
        ValueError: The split, a column that a reward needs, or every usable row is missing.
    """
    rows = require_split(dataset, split, purpose)
    rows = drop_null_rows(rows, [script_args.dataset_prompt_column], split)
    rows = to_conversations(rows, script_args, system_prompt)
    rows = drop_unjudgeable_rows(rows, script_args, split)
    check_domains(rows, script_args, split, is_training=purpose == "training")
    return drop_long_prompts(rows, tokenizer, max_prompt_tokens, split, template_kwargs=template_kwargs)
