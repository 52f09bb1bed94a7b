# SPDX-License-Identifier: Apache-2.0
"""A trial call of the user's own rewards, so that a broken one stops the run before a model loads and generates."""

import logging

from datasets import Dataset
from transformers import TrainerState

from open_r1.configs import GRPOScriptArguments, SFTScriptArguments
from open_r1.rewards import (
    DOMAIN_COLUMN,
    RewardContext,
    get_reward_spec,
    ideal_of_row,
    is_user_function,
    reward_domains_of,
)

logger = logging.getLogger(__name__)

# TRL passes its own lists under these names, never the columns of the data.
_NAMES_OF_TRL = ("prompt", "completion", "completion_ids")


def try_user_functions(
    script_args: GRPOScriptArguments | SFTScriptArguments, dataset: Dataset, context: RewardContext
) -> None:
    """Call every function of the user's once, as the trainer will, on a group of ideal completions of one row.

    Raises:
        ValueError: One of them fails, or returns anything but a number or None for each completion.
    """
    domains = reward_domains_of(script_args)
    for name in filter(is_user_function, script_args.reward_funcs):
        row = _first_row(dataset, domains.get(name))
        if row is None:  # an evaluation may leave a domain out
            continue
        try:
            values = get_reward_spec(name).build(script_args, context)(**_group(script_args, row, context))
        except Exception as error:  # whatever the user's code raises; it goes on as the cause
            raise ValueError(
                f"The reward {name!r} in reward_funcs fails in a trial call on a row of the data "
                f"({type(error).__name__}: {error})."
            ) from error
        logger.info("The reward %s gives a group of ideal completions %s.", name, values)


def _first_row(dataset: Dataset, domains: list[str] | None) -> dict | None:
    if domains is None:
        return dataset[0]
    found = (number for number, domain in enumerate(dataset[DOMAIN_COLUMN]) if domain in domains)
    number = next(found, None)
    return None if number is None else dataset[number]


def _group(
    script_args: GRPOScriptArguments | SFTScriptArguments, row: dict, context: RewardContext
) -> dict[str, object]:
    """Return the arguments that TRL passes for one group."""
    message = {"role": "assistant", "content": ideal_of_row(script_args, row, context)}
    size = max(2, context.num_generations)  # at least two, to tell lists of the wrong length
    group: dict[str, object] = {name: [value] * size for name, value in row.items() if name not in _NAMES_OF_TRL}
    return group | {
        "prompts": [row["prompt"]] * size,
        "completions": [[dict(message)] for _ in range(size)],
        "completion_ids": [list(context.eos_token_ids[:1]) for _ in range(size)],
        "trainer_state": TrainerState(),
        "log_extra": lambda name, values: None,
        "log_metric": lambda name, value: None,
    }
