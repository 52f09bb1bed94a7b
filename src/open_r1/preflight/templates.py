# SPDX-License-Identifier: Apache-2.0
"""Does the chat template let a perfect completion earn the maximum of every reward?

The commonest trap of the field: a template that opens `<think>` itself, so that no completion ever holds the tag that
the format reward looks for.
"""

import logging

from datasets import Dataset
from transformers import PreTrainedTokenizerBase

from open_r1.configs import GRPOConfig, GRPOScriptArguments, SFTScriptArguments
from open_r1.rewards import RewardContext, score_ideal

logger = logging.getLogger(__name__)

_NUM_ROWS_TRIED = 16


def completion_prefix(tokenizer: PreTrainedTokenizerBase, prompt: list[dict]) -> str:
    """Return the text that the generation prompt opens for the assistant, from `<think>` on; "" without one."""
    rendered = tokenizer.apply_chat_template(prompt, add_generation_prompt=True, tokenize=False)
    last = prompt[-1]["content"]
    after_prompt = rendered[rendered.rfind(last) + len(last) :] if isinstance(last, str) else rendered
    start = after_prompt.rfind("<think>")
    return after_prompt[start:] if start >= 0 else ""


def reward_context(tokenizer: PreTrainedTokenizerBase, dataset: Dataset, training_args: GRPOConfig) -> RewardContext:
    """Return what rewards need to know of the run and TRL does not pass."""
    return RewardContext(
        num_generations=training_args.num_generations or 1,
        completion_prefix=completion_prefix(tokenizer, dataset[0]["prompt"]),
        eos_token_ids=(tokenizer.eos_token_id,),
        max_completion_length=training_args.max_completion_length,
    )


def check_ideal_completion(
    script_args: GRPOScriptArguments | SFTScriptArguments,
    dataset: Dataset,
    tokenizer: PreTrainedTokenizerBase,
    context: RewardContext,
) -> None:
    """Score a synthetic ideal completion of the first rows with every reward; log the first rendered prompt.

    Raises:
        ValueError: A reward gives the ideal completion less than it should, on every row that could be judged.
    """
    row = dataset[0]
    rendered = tokenizer.apply_chat_template(row["prompt"], add_generation_prompt=True, tokenize=False)
    logger.info("The first prompt is rendered as:\n%s", rendered)
    if context.completion_prefix:
        logger.info("The template opens the completion with %r; rewards score with it.", context.completion_prefix)
    missed = {}
    for number in range(min(_NUM_ROWS_TRIED, len(dataset))):
        scores = score_ideal(script_args, dataset[number], context)
        missed = {score.name: score for score in scores if not score.is_reached}
        if not missed:
            unjudged = [score.name for score in scores if score.reward is None]
            if not unjudged:
                return
    if missed:
        lines = [f"  {s.name}: {s.reward} instead of {s.expected} ({s.reason})" for s in missed.values()]
        raise ValueError(
            "Even an ideal completion cannot earn the configured rewards, so nothing could be learned from them:\n"
            + "\n".join(lines)
            + f"\nThe prompt ends with {rendered[-80:]!r}. Make chat template, system prompt and rewards agree."
        )
    logger.warning("None of the first %d gold solutions could be judged by every reward: check the solution column.",
                   min(_NUM_ROWS_TRIED, len(dataset)))  # fmt: skip
