# SPDX-License-Identifier: Apache-2.0
"""The table of rewards by the name they have in a recipe, and how each is built from the script arguments."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial, update_wrapper
from typing import TypeVar

from open_r1.configs.rewards import RewardArguments
from open_r1.rewards.base import Reward, RewardContext
from open_r1.rewards.format_rewards import (
    CodeFormatReward,
    format_reward,
    reasoning_steps_reward,
    soft_format_reward,
    tag_count_reward,
    think_format_reward,
)
from open_r1.rewards.language_rewards import LanguageConsistencyReward, ReadabilityReward
from open_r1.rewards.length_rewards import (
    EXCEED_MARGIN_TOKENS,
    CosineScaledReward,
    DemystifyCosineReward,
    SoftOverlongPunishmentReward,
    TruncatedReward,
    len_reward,
)
from open_r1.rewards.math_rewards import accuracy_reward
from open_r1.rewards.program_table import PROGRAM_REWARDS
from open_r1.rewards.puzzle_rewards import CountdownReward, knights_knaves_reward, reasoning_gym_reward
from open_r1.rewards.repetition_rewards import RepetitionPenaltyReward, TokenRepetitionReward
from open_r1.rewards.spec import ANY_TAGS, Layout, RewardSpec
from open_r1.tasks.reasoning_gym_items import require_library

T = TypeVar("T")


def _with_verifier(script_args: RewardArguments, context: RewardContext) -> RewardContext:
    return replace(context, verifier=script_args.verifier)


def _with_context(reward: Reward) -> Callable[[RewardArguments, RewardContext], Reward]:
    """Return a builder that binds the context with the verifier of the run; `__name__`, the metric key, stays."""
    return lambda script_args, context: update_wrapper(
        partial(reward, context=_with_verifier(script_args, context)), reward
    )


def _constant(value: T) -> Callable[[RewardArguments], T]:
    return lambda script_args: value


def _build_cosine(script_args: RewardArguments, context: RewardContext) -> Reward:
    return CosineScaledReward(
        min_value_wrong=script_args.cosine_min_value_wrong,
        max_value_wrong=script_args.cosine_max_value_wrong,
        min_value_correct=script_args.cosine_min_value_correct,
        max_value_correct=script_args.cosine_max_value_correct,
        max_len=script_args.cosine_max_len,
        context=_with_verifier(script_args, context),
    )


def _build_demystify_cosine(script_args: RewardArguments, context: RewardContext) -> DemystifyCosineReward:
    return DemystifyCosineReward(
        correct_at_zero=script_args.demystify_correct_at_zero,
        correct_at_max_len=script_args.demystify_correct_at_max_len,
        wrong_at_zero=script_args.demystify_wrong_at_zero,
        wrong_at_max_len=script_args.demystify_wrong_at_max_len,
        exceed_length=script_args.demystify_exceed_length,
        max_len=script_args.demystify_max_len,
        ngram_size=script_args.demystify_n_grams,
        max_penalty=script_args.demystify_max_penalty,
        context=_with_verifier(script_args, context),
    )


def _no_exceed_length(script_args: RewardArguments, context: RewardContext) -> str | None:
    limit, longest = script_args.demystify_max_len - EXCEED_MARGIN_TOKENS, context.max_completion_length
    if longest is None or longest >= limit:
        return None
    return (
        f"demystify_exceed_length has no effect: it starts at demystify_max_len - {EXCEED_MARGIN_TOKENS} = {limit} "
        f"tokens, but completions end at max_completion_length = {longest}. Set demystify_max_len to that value."
    )


def _no_overlong_punishment(script_args: RewardArguments, context: RewardContext) -> str | None:
    start, longest = script_args.max_completion_len - script_args.soft_punish_cache, context.max_completion_length
    if longest is None or longest > start:
        return None
    return (
        f"soft_overlong_punishment has no effect: it starts beyond max_completion_len - soft_punish_cache = {start} "
        f"tokens, but completions end at max_completion_length = {longest}. Set max_completion_len to that value."
    )


def _build_reasoning_gym(script_args: RewardArguments, context: RewardContext) -> Reward:
    try:
        require_library()
    except ModuleNotFoundError as error:
        raise ValueError(f"The reward 'reasoning_gym' can't be built: {error}") from error
    return _with_context(reasoning_gym_reward)(script_args, context)


def _countdown_maximum(script_args: RewardArguments) -> float:
    return 2.0 if script_args.countdown_mode == "mini_r1" else 1.0


# Rewards that judge the answer by the column `solution`.
_answer_row = partial(RewardSpec, columns=("solution",), answer_columns=("solution",))
_always_one = _constant(1.0)


def _layout_row(
    build: Callable[[RewardArguments, RewardContext], Reward],
    *layouts: Layout,
    reason: str = "the layout is the one asked for",
) -> RewardSpec:
    return RewardSpec(build, _always_one, reason, layouts=_constant(layouts))


REWARDS: dict[str, RewardSpec] = {
    "accuracy": _answer_row(
        build=_with_context(accuracy_reward),
        ideal=_always_one,
        ideal_reason="the answer is the solution itself",
    ),
    "format": _layout_row(_with_context(format_reward), Layout.TAGS_ON_LINES),
    "tag_count": _layout_row(_with_context(tag_count_reward), Layout.TAGS_ON_LINES),
    "reasoning_steps": RewardSpec(
        build=_with_context(reasoning_steps_reward),
        ideal=_always_one,
        ideal_reason="the reasoning has three marked steps",
    ),
    "length": _answer_row(
        build=_with_context(len_reward),
        needs_whole_group=True,
        reads_tokens=True,
    ),
    "cosine": _answer_row(
        build=_build_cosine,
        ideal=lambda script_args: script_args.cosine_min_value_correct,
        ideal_reason="the answer is right, whatever its length",
        reads_tokens=True,
    ),
    "demystify_cosine": _answer_row(
        build=_build_demystify_cosine,
        ideal=lambda script_args: min(script_args.demystify_correct_at_zero, script_args.demystify_correct_at_max_len),
        ideal_reason="the answer is right, whatever its length",
        reads_tokens=True,
        no_effect=_no_exceed_length,
    ),
    "repetition_penalty": RewardSpec(
        build=lambda script_args, context: RepetitionPenaltyReward(
            ngram_size=script_args.repetition_n_grams,
            max_penalty=script_args.repetition_max_penalty,
            language=script_args.repetition_language,
            context=context,
        ),
    ),
    "code_format": _layout_row(
        lambda script_args, context: CodeFormatReward(script_args.code_language, context),
        Layout.TAGS_ON_LINES,
        reason="the layout is the one asked for, with a program in the answer",
    ),
    "soft_overlong_punishment": RewardSpec(
        build=lambda script_args, context: SoftOverlongPunishmentReward(
            max_completion_len=script_args.max_completion_len, soft_punish_cache=script_args.soft_punish_cache
        ),
        reads_tokens=True,
        no_effect=_no_overlong_punishment,
    ),
    "soft_format": _layout_row(_with_context(soft_format_reward), *ANY_TAGS),
    "think_format": _layout_row(_with_context(think_format_reward), Layout.NO_TAGS),
    "token_repetition": RewardSpec(
        build=lambda script_args, context: TokenRepetitionReward(
            ngram_size=script_args.token_repetition_n_grams,
            max_penalty=script_args.token_repetition_max_penalty,
        ),
        reads_tokens=True,
    ),
    "language_consistency": RewardSpec(
        build=lambda script_args, context: LanguageConsistencyReward(script_args.target_language, context),
    ),
    "readability": RewardSpec(
        build=lambda script_args, context: ReadabilityReward(script_args.max_paragraph_chars, context),
    ),
    "truncated": RewardSpec(
        build=lambda script_args, context: TruncatedReward(script_args.truncated_penalty, context),
        reads_tokens=True,
    ),
    "countdown": RewardSpec(
        build=lambda script_args, context: CountdownReward(
            script_args.countdown_mode, strict=script_args.countdown_strict, context=context
        ),
        ideal=_countdown_maximum,
        ideal_reason="the expression is the solution of the row",
        columns=("nums", "target"),
        skips_empty=True,
        layouts=lambda script_args: (Layout.TAGS_IN_LINE,) if script_args.countdown_strict else ANY_TAGS,
        answer_columns=("solution",),
        wants_plain_answer=True,
    ),
    "knights_knaves": RewardSpec(
        build=_with_context(knights_knaves_reward),
        ideal=_constant(3.0),
        ideal_reason="everybody is what the solution says",
        columns=("solution_text_format",),
        skips_empty=True,
        layouts=_constant(ANY_TAGS),
        answer_columns=("solution_text_format",),
        wants_plain_answer=True,
    ),
    "reasoning_gym": RewardSpec(
        build=_build_reasoning_gym,
        ideal=_always_one,
        ideal_reason="the answer is the solution of the row",
        columns=("reasoning_gym_entry",),
        skips_empty=True,
        layouts=_constant(ANY_TAGS),
        answer_columns=("solution",),
        wants_plain_answer=True,
    ),
} | PROGRAM_REWARDS
