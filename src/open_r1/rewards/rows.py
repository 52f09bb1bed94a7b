# SPDX-License-Identifier: Apache-2.0
"""The rows that rewards can judge: prompts that fit, with what the rewards of their domain need.

`open_r1.rewards` doesn't import this module, which needs `datasets`.
"""

import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from datasets import Dataset, DatasetDict

from open_r1.data.sources import require_columns
from open_r1.data.training_rows import drop_long_prompts, drop_null_rows, require_split, to_conversations
from open_r1.rewards.base import did_you_mean
from open_r1.rewards.table import get_reward_spec, names_for_domain, needed_columns, reward_domains_of
from open_r1.rewards.wrappers import DOMAIN_COLUMN

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from open_r1.configs import GRPOScriptArguments, SFTScriptArguments

logger = logging.getLogger(__name__)


def prepare_prompts(
    dataset: DatasetDict,
    split: str,
    purpose: str,
    tokenizer: "PreTrainedTokenizerBase",
    script_args: "GRPOScriptArguments | SFTScriptArguments",
    system_prompt: str | None,
    max_prompt_tokens: int | None,
    *,
    template_kwargs: Mapping[str, Any] | None = None,
) -> Dataset:
    """Return the rows of a split as conversations, without those that no reward can judge or that are too long.

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
    rows = to_conversations(require_split(dataset, split, purpose), script_args, system_prompt)
    rows = drop_null_rows(rows, ["prompt"], split, user_names={"prompt": script_args.dataset_prompt_column})
    rows = drop_unjudgeable_rows(rows, script_args, split)
    rows = drop_long_prompts(rows, tokenizer, max_prompt_tokens, split, template_kwargs=template_kwargs)
    check_domains(rows, script_args, split, is_training=purpose == "training")
    return rows


def listed_domains(script_args: "GRPOScriptArguments | SFTScriptArguments") -> list[str]:
    """Return the domains that `reward_domains` names."""
    return sorted({domain for listed in reward_domains_of(script_args).values() for domain in listed})


def rows_judged_by(name: str, rows: Dataset, script_args: "GRPOScriptArguments | SFTScriptArguments") -> Sequence[int]:
    """Return the numbers of the rows that a reward judges: all, or those of its domains."""
    domains = reward_domains_of(script_args).get(name)
    if domains is None:
        return range(len(rows))
    return [number for number, domain in enumerate(rows[DOMAIN_COLUMN]) if domain in domains]


def drop_unjudgeable_rows(
    rows: Dataset, script_args: "GRPOScriptArguments | SFTScriptArguments", split: str
) -> Dataset:
    """Drop rows that lack what a reward for them needs, with a count.

    A column that only the rewards of a domain need may be empty in the rows of others.

    Raises:
        ValueError: A column is missing, or no row is left.
    """
    names = script_args.reward_funcs
    where = f"split {split!r}, needed by the rewards {names} (`dataset_solution_column` names the gold answers)"
    require_columns(rows, list(needed_columns(names)), where)
    for name in names:
        wanted = get_reward_spec(name).any_column
        if wanted and not set(wanted) & set(rows.column_names):
            raise ValueError(
                f"The reward {name!r} needs one of the columns {list(wanted)}; split {split!r} has "
                f"{rows.column_names}."
            )
    user_names = {"solution": script_args.dataset_solution_column}
    needed = needed_columns(names_for_domain(script_args, None), in_every_row=True)
    rows = drop_null_rows(rows, list(needed), split, user_names=user_names)
    domains = listed_domains(script_args)
    if domains:
        where = f"split {split!r}: `reward_domains` chooses rewards by it; in a mixture, `domain: <name>` sets it"
        require_columns(rows, [DOMAIN_COLUMN], where)
    for domain in domains:
        members = {number for number, found in enumerate(rows[DOMAIN_COLUMN]) if found == domain}
        needed = needed_columns(names_for_domain(script_args, domain), in_every_row=True)
        rows = drop_null_rows(rows, list(needed), split, members, user_names)
    return rows


def check_domains(
    rows: Dataset, script_args: "GRPOScriptArguments | SFTScriptArguments", split: str, *, is_training: bool
) -> None:
    """Refuse rows that no reward judges, and rewards that judge no row; warn of domains that one side alone knows.

    Args:
        rows: The rows, those that can't be judged already dropped.
        script_args: Names the rewards and their domains.
        split: Name of the rows in messages.
        is_training: Whether the rows are trained on; an evaluation may leave a domain out.

    Raises:
        ValueError: There are such rows: their completions would all be worth nothing. Or there are such rewards.
    """
    known = listed_domains(script_args)
    if not known:
        return
    counts = Counter(rows[DOMAIN_COLUMN])
    missing, unknown = [name for name in known if name not in counts], [name for name in counts if name not in known]
    idle = [name for name, own in reward_domains_of(script_args).items() if not counts.keys() & set(own)]
    hints = [did_you_mean(name, filter(None, counts)) for name in missing]
    found = f"`reward_domains` has {known}, and the rows of split {split!r} are of {dict(counts)}.{''.join(hints)}"
    general = names_for_domain(script_args, None)
    if unknown and not general:
        raise ValueError(f"No reward judges the rows of {unknown}: {found} Add these domains, or drop the rows.")
    if idle and is_training:
        raise ValueError(
            f"The rewards {idle} judge no row: {found} Correct the names, or take the rewards out. In a mixture, "
            "`domain: <name>` in an entry sets the domain of its rows."
        )
    if missing:
        logger.warning("There are no rows of %s: %s", missing, found)
