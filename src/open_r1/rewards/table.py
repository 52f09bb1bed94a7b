# SPDX-License-Identifier: Apache-2.0
"""The table of rewards by the name they have in a recipe, and how each is built from the script arguments."""

import difflib
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial, update_wrapper
from typing import Protocol, TypeVar

from open_r1.rewards.base import DEFAULT_CONTEXT, Reward, RewardContext
from open_r1.rewards.code_rewards import get_code_format_reward
from open_r1.rewards.format_rewards import format_reward, reasoning_steps_reward, tag_count_reward
from open_r1.rewards.length_rewards import get_cosine_scaled_reward, get_soft_overlong_punishment, len_reward
from open_r1.rewards.math_rewards import accuracy_reward
from open_r1.rewards.repetition_rewards import get_repetition_penalty_reward

logger = logging.getLogger(__name__)
T = TypeVar("T")


class RewardArguments(Protocol):
    """The fields of the script arguments that rewards read; each reward reads only its own."""

    @property
    def reward_funcs(self) -> list[str]: ...

    @property
    def cosine_min_value_wrong(self) -> float: ...

    @property
    def cosine_max_value_wrong(self) -> float: ...

    @property
    def cosine_min_value_correct(self) -> float: ...

    @property
    def cosine_max_value_correct(self) -> float: ...

    @property
    def cosine_max_len(self) -> int: ...

    @property
    def repetition_n_grams(self) -> int: ...

    @property
    def repetition_max_penalty(self) -> float: ...

    @property
    def repetition_language(self) -> str: ...

    @property
    def code_language(self) -> str: ...

    @property
    def max_completion_len(self) -> int: ...

    @property
    def soft_punish_cache(self) -> int: ...


@dataclass(frozen=True)
class RewardSpec:
    """One row of the table.

    Attributes:
        build: Makes the reward from the script arguments and the context.
        bounds: Least and greatest value, from the script arguments.
        ideal: The least it must give the ideal completion, or None where that proves nothing.
        ideal_reason: Why.
        columns: Dataset columns it can't do without.
        needs_whole_group: Whether it compares the rows of a group, which must then be in one call.
    """

    build: Callable[[RewardArguments, RewardContext], Reward]
    bounds: Callable[[RewardArguments], tuple[float, float]]
    ideal: Callable[[RewardArguments], float | None]
    ideal_reason: str
    columns: tuple[str, ...] = ()
    needs_whole_group: bool = False


def _with_context(reward: Reward) -> Callable[[RewardArguments, RewardContext], Reward]:
    """Return a builder that binds the context; `__name__`, the metric key, stays."""
    return lambda script_args, context: update_wrapper(partial(reward, context=context), reward)


def _constant(value: T) -> Callable[[RewardArguments], T]:
    return lambda script_args: value


def _build_cosine(script_args: RewardArguments, context: RewardContext) -> Reward:
    return get_cosine_scaled_reward(
        min_value_wrong=script_args.cosine_min_value_wrong,
        max_value_wrong=script_args.cosine_max_value_wrong,
        min_value_correct=script_args.cosine_min_value_correct,
        max_value_correct=script_args.cosine_max_value_correct,
        max_len=script_args.cosine_max_len,
        context=context,
    )


def _build_repetition_penalty(script_args: RewardArguments, context: RewardContext) -> Reward:
    return get_repetition_penalty_reward(
        ngram_size=script_args.repetition_n_grams,
        max_penalty=script_args.repetition_max_penalty,
        language=script_args.repetition_language,
        context=context,
    )


def _build_soft_overlong_punishment(script_args: RewardArguments, context: RewardContext) -> Reward:
    limit, cache = script_args.max_completion_len, script_args.soft_punish_cache
    if context.max_completion_length is not None and context.max_completion_length <= limit - cache:
        logger.warning(
            "soft_overlong_punishment has no effect: it starts beyond max_completion_len - soft_punish_cache = %d "
            "tokens, but completions end at max_completion_length = %d. Set max_completion_len to that value.",
            limit - cache,
            context.max_completion_length,
        )
    return get_soft_overlong_punishment(max_completion_len=limit, soft_punish_cache=cache)


_RIGHT_LAYOUT = "the layout is the one asked for"
_NO_LAYOUT = "depends on length or wording alone, which no template can put out of reach"

REWARDS: dict[str, RewardSpec] = {
    "accuracy": RewardSpec(
        build=_with_context(accuracy_reward),
        bounds=_constant((0.0, 1.0)),
        ideal=_constant(1.0),
        ideal_reason="the answer is the solution itself",
        columns=("solution",),
    ),
    "format": RewardSpec(
        build=_with_context(format_reward),
        bounds=_constant((0.0, 1.0)),
        ideal=_constant(1.0),
        ideal_reason=_RIGHT_LAYOUT,
    ),
    "tag_count": RewardSpec(
        build=_with_context(tag_count_reward),
        bounds=_constant((0.0, 1.0)),
        ideal=_constant(1.0),
        ideal_reason=_RIGHT_LAYOUT,
    ),
    "reasoning_steps": RewardSpec(
        build=_with_context(reasoning_steps_reward),
        bounds=_constant((0.0, 1.0)),
        ideal=_constant(1.0),
        ideal_reason="the reasoning has three marked steps",
    ),
    "length": RewardSpec(
        build=_with_context(len_reward),
        bounds=_constant((-0.5, 0.5)),
        ideal=_constant(None),
        ideal_reason="compares the completions of a group",
        columns=("solution",),
        needs_whole_group=True,
    ),
    "cosine": RewardSpec(
        build=_build_cosine,
        bounds=lambda script_args: (script_args.cosine_min_value_wrong, script_args.cosine_max_value_correct),
        ideal=lambda script_args: script_args.cosine_min_value_correct,
        ideal_reason="the answer is right, whatever its length",
        columns=("solution",),
    ),
    "repetition_penalty": RewardSpec(
        build=_build_repetition_penalty,
        bounds=lambda script_args: (script_args.repetition_max_penalty, 0.0),
        ideal=_constant(None),
        ideal_reason=_NO_LAYOUT,
    ),
    "code_format": RewardSpec(
        build=lambda script_args, context: get_code_format_reward(script_args.code_language, context),
        bounds=_constant((0.0, 1.0)),
        ideal=_constant(1.0),
        ideal_reason=f"{_RIGHT_LAYOUT}, with a program in the answer",
    ),
    "soft_overlong_punishment": RewardSpec(
        build=_build_soft_overlong_punishment,
        bounds=_constant((-1.0, 0.0)),
        ideal=_constant(None),
        ideal_reason=_NO_LAYOUT,
    ),
}

# Names that recipes for programs use. They are known here so that the message says more than "unknown".
NAMES_THAT_RUN_PROGRAMS = ("code", "binary_code", "ioi_code", "cf_code")


def get_reward_spec(name: str) -> RewardSpec:
    """Return the row of the table.

    Raises:
        ValueError: The name is unknown, or its reward would have to run programs, which this version can't.
    """
    if name in REWARDS:
        return REWARDS[name]
    known = ", ".join(sorted(REWARDS))
    if name in NAMES_THAT_RUN_PROGRAMS:
        raise ValueError(
            f"The reward {name!r} is known, but this version can't run programs yet; "
            f"remove it from reward_funcs. Available: {known}."
        )
    close = difflib.get_close_matches(name, REWARDS, n=1)
    suggestion = f" Did you mean {close[0]!r}?" if close else ""
    raise ValueError(f"Unknown reward {name!r} in reward_funcs.{suggestion} Available: {known}.")


def get_reward_funcs(script_args: RewardArguments, context: RewardContext | None = None) -> list[Reward]:
    """Build the rewards that `script_args.reward_funcs` names, in that order, and no others.

    Raises:
        ValueError: A name is unknown or listed twice, or a parameter of a reward is out of range.
    """
    names: Sequence[str] = script_args.reward_funcs
    specs = [get_reward_spec(name) for name in names]
    repeated = sorted({name for name in names if names.count(name) > 1})
    if repeated:
        raise ValueError(f"reward_funcs lists {', '.join(repeated)} more than once; raise its reward weight instead.")
    return [spec.build(script_args, context or DEFAULT_CONTEXT) for spec in specs]
