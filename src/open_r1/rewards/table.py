# SPDX-License-Identifier: Apache-2.0
"""The table of rewards, and from the names in `reward_funcs` to rewards.

| name in a recipe                            | what it is                                                 |
|---------------------------------------------|------------------------------------------------------------|
| `accuracy`                                  | a row of the table                                         |
| `path/to/file.py:function`, `module:function` | a function of the user's own (`user`)                    |
| `org/model`, `org/model@revision`, `./folder` | a reward model, which the training scripts load          |
| `summary_only(<any of these>)`              | the same, judging only what follows the reasoning          |

Rewards that `reward_domains` lists judge the rows of their domains alone (`wrappers`).
"""

import logging
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from functools import partial, update_wrapper
from typing import TypeVar

from open_r1.configs.rewards import RewardArguments
from open_r1.data.user_code import is_user_place
from open_r1.grading.batch import SandboxSettings
from open_r1.rewards.base import DEFAULT_CONTEXT, Reward, RewardContext, did_you_mean
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
from open_r1.rewards.program_rewards import (
    CF_COLUMNS,
    IOI_COLUMNS,
    TEST_COLUMNS,
    CfCodeReward,
    CodeReward,
    IoiCodeReward,
    best_of_codeforces,
    build_cf_code,
    build_code,
    build_ioi_code,
    code_sandbox,
    language_of_row,
    sandbox_of,
)
from open_r1.rewards.puzzle_rewards import CountdownReward, knights_knaves_reward, reasoning_gym_reward
from open_r1.rewards.repetition_rewards import RepetitionPenaltyReward, TokenRepetitionReward
from open_r1.rewards.user import load_user_function, load_user_reward, reads_tokens, required_columns
from open_r1.rewards.wrappers import domains_by_reward, only_domains, renamed, summary_only
from open_r1.tasks.reasoning_gym_items import require_library

logger = logging.getLogger(__name__)

T = TypeVar("T")


class Layout(StrEnum):
    """How the answer may stand behind the reasoning; rewards that accept none in common can't both be earned."""

    TAGS_ON_LINES = "answer tags on lines of their own"
    TAGS_IN_LINE = "answer tags on the line of the answer"
    NO_TAGS = "no answer tags"


ANY_LAYOUT = tuple(Layout)
ANY_TAGS = (Layout.TAGS_ON_LINES, Layout.TAGS_IN_LINE)


@dataclass(frozen=True)
class ProgramSpec:
    """What the table knows of a reward that runs programs; its answers stand in a fence.

    Attributes:
        sandbox: Where they run, from the script arguments.
        language: The language of a row's program, by any of its names; None where the row doesn't say.
        unusable: Says why no judge can use the tests of a row, "" where it has none, None where they're fine.
    """

    sandbox: Callable[[RewardArguments], SandboxSettings]
    language: Callable[[Mapping[str, object]], str | None]
    unusable: Callable[[Mapping[str, object]], str | None]


@dataclass(frozen=True)
class RewardSpec:
    """One row of the table.

    Attributes:
        build: Makes the reward from the script arguments and the context.
        ideal: The least it must give the ideal completion. None where that proves nothing: it compares completions of
            a group, depends on length or wording alone, which no template can put out of reach, or is external.
        ideal_reason: Why.
        columns: Dataset columns it can't do without.
        any_column: Dataset columns of which it needs one.
        skips_empty: Whether it gives None for a row in which these are empty, so that such rows may stay.
        needs_whole_group: Whether it compares the rows of a group, which must then be in one call.
        reads_tokens: Whether it judges `completion_ids`, which `summary_only` can't cut.
        layouts: What it accepts, from the script arguments.
        answer_columns: Columns of which the first one there holds a right answer, for a reward that judges answers.
        wants_plain_answer: Whether the answer must stand in its block without a box.
        programs: For a reward that runs programs.
        no_effect: Says which setting does nothing in this run and why, or None; the log warns of it.
        is_external: Whether its code or weights come from outside the table: nothing is known of its values.
    """

    build: Callable[[RewardArguments, RewardContext], Reward]
    ideal: Callable[[RewardArguments], float | None] = lambda script_args: None
    ideal_reason: str = "the ideal completion proves nothing"
    columns: tuple[str, ...] = ()
    any_column: tuple[str, ...] = ()
    skips_empty: bool = False
    needs_whole_group: bool = False
    reads_tokens: bool = False
    layouts: Callable[[RewardArguments], tuple[Layout, ...]] = lambda script_args: ANY_LAYOUT
    answer_columns: tuple[str, ...] = ()
    wants_plain_answer: bool = False
    programs: ProgramSpec | None = None
    no_effect: Callable[[RewardArguments, RewardContext], str | None] = lambda script_args, context: None
    is_external: bool = False


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


# A row's own right program, fenced or not.
GOLD_COLUMNS = ("gold_standard_solution",)


_program_row = partial(
    RewardSpec,
    ideal=_always_one,
    ideal_reason="the program is the solution of the row",
    skips_empty=True,
    answer_columns=GOLD_COLUMNS,
)


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
    **{
        name: _program_row(
            build=partial(build_code, is_binary=name == "binary_code"),
            programs=ProgramSpec(code_sandbox, language_of_row, CodeReward.unusable),
            any_column=TEST_COLUMNS,
        )
        for name in ("code", "binary_code")
    },
    "ioi_code": _program_row(
        build=build_ioi_code,
        programs=ProgramSpec(
            lambda script_args: sandbox_of(script_args, script_args.ioi_provider),
            lambda row: "cpp",
            IoiCodeReward.unusable,
        ),
        columns=IOI_COLUMNS,
    ),
    "cf_code": _program_row(
        build=build_cf_code,
        programs=ProgramSpec(
            lambda script_args: sandbox_of(script_args, script_args.cf_provider),
            language_of_row,
            CfCodeReward.unusable,
        ),
        ideal=best_of_codeforces,
        columns=CF_COLUMNS,
    ),
}


LoadRewardModel = Callable[[str], Reward]

_SUMMARY_ONLY = re.compile(r"summary_only\((.*)\)")


def get_reward_spec(name: str, load_reward_model: LoadRewardModel | None = None) -> RewardSpec:
    """Return what is known of the reward that a name in `reward_funcs` means.

    Args:
        name: The name, as a recipe has it.
        load_reward_model: Makes a reward of the name of a reward model; without it such a reward can't be built.

    Raises:
        ValueError: The name is unknown, or its function can't be loaded.
    """
    if name in REWARDS:
        return REWARDS[name]
    match = _SUMMARY_ONLY.fullmatch(name)
    if match:
        return _spec_of_summary(match[1].strip(), load_reward_model)
    if is_user_place(name):
        return _spec_of_user(name)
    if "/" in name:
        return _spec_of_model(name, load_reward_model)
    raise ValueError(_unknown(name))


def is_user_function(name: str) -> bool:
    """Whether a name means a function of the user's own, alone or in `summary_only`."""
    match = _SUMMARY_ONLY.fullmatch(name)
    return is_user_place(match[1].strip() if match else name)


def _unknown(name: str) -> str:
    return (
        f"Unknown reward {name!r} in reward_funcs.{did_you_mean(name, REWARDS)} Available: "
        f"{', '.join(sorted(REWARDS))}; summary_only(<reward>); a function of your own (path/to/file.py:function); a "
        "reward model (org/model, ./folder)."
    )


def _spec_of_model(name: str, load_reward_model: LoadRewardModel | None) -> RewardSpec:
    def build(script_args: RewardArguments, context: RewardContext) -> Reward:
        if load_reward_model is None:
            raise ValueError(
                f"{name!r} in reward_funcs is a reward model, and nothing was given to load it with "
                "(get_reward_funcs(..., load_reward_model=...), as grpo.py and sft.py do)."
            )
        return load_reward_model(name)

    return RewardSpec(build=build, is_external=True)


def _spec_of_user(place: str) -> RewardSpec:
    function, place = load_user_function(place)
    return RewardSpec(
        build=lambda script_args, context: load_user_reward(place, script_args.reward_timeout_s),
        columns=required_columns(function),
        reads_tokens=reads_tokens(function),
        is_external=True,
    )


def _spec_of_summary(inner: str, load_reward_model: LoadRewardModel | None) -> RewardSpec:
    if _SUMMARY_ONLY.fullmatch(inner):
        raise ValueError(f"summary_only({inner}) cuts the reasoning off twice: write {inner}.")
    spec = get_reward_spec(inner, load_reward_model)
    if spec.reads_tokens:
        raise ValueError(
            f"summary_only({inner}) can't work: {inner} judges the tokens of the whole completion, reasoning included."
        )

    def build(script_args: RewardArguments, context: RewardContext) -> Reward:
        # In a summary the prompt has opened nothing.
        return summary_only(spec.build(script_args, replace(context, completion_prefix="")), context)

    return replace(spec, build=build)


def needed_columns(names: Sequence[str], *, in_every_row: bool = False) -> tuple[str, ...]:
    """Return the dataset columns that these rewards can't do without, or those that no row may leave empty."""
    specs = [get_reward_spec(name) for name in names]
    chosen = [spec for spec in specs if not (in_every_row and spec.skips_empty)]
    return tuple(sorted({column for spec in chosen for column in spec.columns}))


def reward_domains_of(script_args: RewardArguments) -> dict[str, list[str]]:
    """Return the domains of every reward that `reward_domains` lists; the others judge every row.

    Raises:
        ValueError: `reward_domains` is malformed or lists a name that `reward_funcs` doesn't.
    """
    return domains_by_reward(script_args.reward_funcs, script_args.reward_domains)


def names_for_domain(script_args: RewardArguments, domain: object) -> list[str]:
    """Return the rewards of `reward_funcs` that judge a row of this domain."""
    domains = reward_domains_of(script_args)
    return [name for name in script_args.reward_funcs if name not in domains or domain in domains[name]]


def get_reward_funcs(
    script_args: RewardArguments,
    context: RewardContext | None = None,
    *,
    load_reward_model: LoadRewardModel | None = None,
) -> list[Reward]:
    """Build the rewards that `script_args.reward_funcs` names, in that order, and no others.

    Raises:
        ValueError: A name is unknown or listed twice, a parameter of a reward is out of range, a function can't be
            loaded, or there is a reward model and nothing to load it with.
    """
    names: Sequence[str] = script_args.reward_funcs
    specs = [get_reward_spec(name, load_reward_model) for name in names]
    repeated = sorted({name for name in names if names.count(name) > 1})
    if repeated:
        raise ValueError(f"reward_funcs lists {', '.join(repeated)} more than once; raise its reward weight instead.")
    domains = reward_domains_of(script_args)
    rewards: list[Reward] = []
    for name, spec in zip(names, specs, strict=True):
        reward = spec.build(script_args, context or DEFAULT_CONTEXT)
        warning = spec.no_effect(script_args, context or DEFAULT_CONTEXT)
        if warning is not None:
            logger.warning(warning)
        rewards.append(only_domains(reward, domains[name]) if name in domains else reward)
    return _with_distinct_names(rewards)


def _with_distinct_names(rewards: Sequence[Reward]) -> list[Reward]:
    """Number the metric keys that several rewards would share: `brevity`, `brevity_2`."""
    distinct: list[Reward] = []
    taken: set[str] = set()
    for reward in rewards:
        name, number = reward.__name__, 1
        while name in taken:
            number += 1
            name = f"{reward.__name__}_{number}"
        taken.add(name)
        distinct.append(reward if number == 1 else renamed(reward, name))
    return distinct
