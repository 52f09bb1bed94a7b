# SPDX-License-Identifier: Apache-2.0
r"""The table of rewards, and from the names in `reward_funcs` to rewards.

| name in a recipe                            | what it is                                                 |
|---------------------------------------------|------------------------------------------------------------|
| `accuracy`                                  | a row of the table                                         |
| `path/to/file.py:function`, `module:function` | a function of the user's own (`user`)                    |
| `org/model`, `org/model@revision`, `./folder` | a reward model, which the training scripts load          |
| `summary_only(<any of these>)`              | the same, judging only what follows the reasoning          |

Rewards that `reward_domains` lists judge the rows of their domains alone (`wrappers`). Beside its builder a row says
what a perfect reply earns: the preflight scores one, such as `<think>\n...\n</think>\n<answer>\n\boxed{4}\n</answer>`,
since a template and rewards that contradict each other are the commonest reason for a run that learns nothing.
"""

import logging
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from functools import partial
from typing import Any

from open_r1.configs.rewards import RewardArguments
from open_r1.data.user_code import is_user_place
from open_r1.grading.programs import find_program
from open_r1.rewards.base import DEFAULT_CONTEXT, Reward, RewardContext, bind, did_you_mean
from open_r1.rewards.format_rewards import (
    CodeFormatReward,
    format_reward,
    reasoning_steps_reward,
    soft_format_reward,
    tag_count_reward,
    think_format_reward,
)
from open_r1.rewards.language_rewards import LanguageConsistencyReward
from open_r1.rewards.length_rewards import (
    EXCEED_MARGIN_TOKENS,
    CosineScaledReward,
    DemystifyCosineReward,
    SoftOverlongPunishmentReward,
    len_reward,
)
from open_r1.rewards.math_rewards import accuracy_reward
from open_r1.rewards.program_rewards import (
    CF_COLUMNS,
    CF_ROWS,
    CODE_ROWS,
    IOI_COLUMNS,
    IOI_ROWS,
    TEST_COLUMNS,
    ProgramRows,
    binary_code_reward,
    build_cf_code,
    build_code,
    build_ioi_code,
)
from open_r1.rewards.puzzle_rewards import CountdownReward, knights_knaves_reward, reasoning_gym_reward
from open_r1.rewards.repetition_rewards import RepetitionPenaltyReward, TokenRepetitionReward
from open_r1.rewards.rubric import RubricReward
from open_r1.rewards.user import load_user_function, load_user_reward, reads_tokens, required_columns
from open_r1.rewards.verifier.extract import extract_gold
from open_r1.rewards.verifier.normalize import strip_delimiters
from open_r1.rewards.wrappers import DOMAIN_COLUMN, domains_by_reward, only_domains, summary_only

logger = logging.getLogger(__name__)

Build = Callable[[RewardArguments, RewardContext], Reward]

# Perfect replies, by how the answer may stand behind the reasoning. Rewards that accept none in common can't all be
# earned.
_REASONING = """<think>
First, I restate what the problem asks.
Second, I work through every given quantity.
Finally, this leads to one result.
</think>
"""
LAYOUTS = {
    "answer tags on lines of their own": _REASONING + "<answer>\n{answer}\n</answer>",
    "no answer tags": _REASONING + "{answer}",
}
# A row's own right program, fenced or not.
GOLD_COLUMN = "gold_standard_solution"


@dataclass(frozen=True)
class RewardSpec:
    """One row of the table.

    Attributes:
        build: Makes the reward from the script arguments and the context.
        perfect: The least that a perfect reply earns, from the script arguments. None where that proves nothing: the
            reward compares completions of a group, depends on length or wording alone, which no template can put out
            of reach, or comes from outside the table.
        columns: Dataset columns it can't do without.
        any_column: Dataset columns of which it needs one.
        skips_empty: Whether it gives None for a row in which these are empty, so that such rows may stay.
        needs_whole_group: Whether it compares the rows of a group, which must then be in one call.
        reads_tokens: Whether it judges `completion_ids`, which `summary_only` can't cut.
        answer_column: Holds a right answer, for a reward that judges answers.
        is_boxed: Whether the answer stands in a box.
        programs: For a reward that runs programs.
        no_effect: Says which setting does nothing in this run and why, or None; the log warns of it.
        is_external: Whether its code or weights come from outside the table: nothing is known of its values.
    """

    build: Build
    perfect: Callable[[RewardArguments], float | None] | float | None = None
    columns: tuple[str, ...] = ()
    any_column: tuple[str, ...] = ()
    skips_empty: bool = False
    needs_whole_group: bool = False
    reads_tokens: bool = False
    answer_column: str | None = None
    is_boxed: bool = True
    programs: ProgramRows | None = None
    no_effect: Callable[[RewardArguments, RewardContext], str | None] = lambda script_args, context: None
    is_external: bool = False

    def least(self, script_args: RewardArguments) -> float | None:
        """Return the least that a perfect reply earns with these arguments."""
        return self.perfect(script_args) if callable(self.perfect) else self.perfect

    def answer_of(self, row: Mapping[str, Any]) -> Any:
        """Return the right answer that a row holds, or None."""
        answer = None if self.answer_column is None else row.get(self.answer_column)
        return None if answer == "" else answer


def _function(reward: Reward) -> Build:
    """Return a builder that binds the context, with the verifier of the run."""
    return lambda script_args, context: bind(reward, context=replace(context, verifier=script_args.verifier))


def _from_keys(kind: Any, prefix: str = "", **keys: str) -> Build:
    """Return a builder that reads the fields of a reward's class from keys of a recipe: a prefix before their names.

    Args:
        kind: The class.
        prefix: Such as `cosine_` for `cosine_max_len`.
        **keys: Whole keys of fields whose keys have other names.
    """

    def build(script_args: RewardArguments, context: RewardContext) -> Reward:
        names = [entry.name for entry in fields(kind)]
        given = {name: getattr(script_args, keys.get(name, prefix + name)) for name in names if name != "context"}
        if "context" in names:
            given["context"] = replace(context, verifier=script_args.verifier)
        return kind(**given)

    return build


def _starts_at(start: Callable[[RewardArguments], int], key: str) -> Callable[..., str | None]:
    """Return a check that completions may be long enough for a reward that starts behind so many tokens."""

    def check(script_args: RewardArguments, context: RewardContext) -> str | None:
        longest = context.max_completion_length
        if longest is None or longest > start(script_args):
            return None
        return (
            f"A reward has no effect: it starts beyond {start(script_args)} tokens, but completions end at "
            f"max_completion_length = {longest}. Set {key} to that value."
        )

    return check


# Rewards that judge the answer in the column `solution`, and those that run programs.
_answer_row = partial(RewardSpec, columns=("solution",), answer_column="solution")
_puzzle_row = partial(RewardSpec, skips_empty=True, is_boxed=False)
_program_row = partial(RewardSpec, skips_empty=True, answer_column=GOLD_COLUMN)

REWARDS: dict[str, RewardSpec] = {
    "accuracy": _answer_row(_function(accuracy_reward), 1.0),
    "format": RewardSpec(_function(format_reward), 1.0),
    "tag_count": RewardSpec(_function(tag_count_reward), 1.0),
    "reasoning_steps": RewardSpec(_function(reasoning_steps_reward), 1.0),
    "length": _answer_row(_function(len_reward), needs_whole_group=True, reads_tokens=True),
    "cosine": _answer_row(
        _from_keys(CosineScaledReward, "cosine_"),
        lambda script_args: script_args.cosine_min_value_correct,
        reads_tokens=True,
    ),
    "demystify_cosine": _answer_row(
        _from_keys(DemystifyCosineReward, "demystify_"),
        lambda script_args: min(script_args.demystify_correct_at_zero, script_args.demystify_correct_at_max_len),
        reads_tokens=True,
        no_effect=_starts_at(
            lambda script_args: script_args.demystify_max_len - EXCEED_MARGIN_TOKENS - 1, "demystify_max_len"
        ),
    ),
    "repetition_penalty": RewardSpec(
        _from_keys(RepetitionPenaltyReward, "repetition_", ngram_size="repetition_n_grams")
    ),
    "code_format": RewardSpec(_from_keys(CodeFormatReward, "code_"), 1.0),
    "soft_overlong_punishment": RewardSpec(
        _from_keys(SoftOverlongPunishmentReward),
        reads_tokens=True,
        no_effect=_starts_at(
            lambda script_args: script_args.max_completion_len - script_args.soft_punish_cache, "max_completion_len"
        ),
    ),
    "soft_format": RewardSpec(_function(soft_format_reward), 1.0),
    "think_format": RewardSpec(_function(think_format_reward), 1.0),
    "token_repetition": RewardSpec(
        _from_keys(TokenRepetitionReward, "token_repetition_", ngram_size="token_repetition_n_grams"),
        reads_tokens=True,
    ),
    "language_consistency": RewardSpec(_from_keys(LanguageConsistencyReward)),
    "rubric": RewardSpec(_from_keys(RubricReward, "rubric_", text="rubric", patience_s="sandbox_patience_s"), 0.0),
    "countdown": _puzzle_row(
        _from_keys(CountdownReward, "countdown_"),
        lambda script_args: 2.0 if script_args.countdown_mode == "mini_r1" else 1.0,
        columns=("nums", "target"),
        answer_column="solution",
    ),
    "knights_knaves": _puzzle_row(
        _function(knights_knaves_reward), 3.0, columns=("solution_text_format",), answer_column="solution_text_format"
    ),
    "reasoning_gym": _puzzle_row(
        _function(reasoning_gym_reward), 1.0, columns=("reasoning_gym_entry",), answer_column="solution"
    ),
    "code": _program_row(build_code, 1.0, any_column=TEST_COLUMNS, programs=CODE_ROWS),
    "binary_code": _program_row(
        partial(build_code, reward=binary_code_reward), 1.0, any_column=TEST_COLUMNS, programs=CODE_ROWS
    ),
    "ioi_code": _program_row(build_ioi_code, 1.0, columns=IOI_COLUMNS, programs=IOI_ROWS),
    "cf_code": _program_row(
        build_cf_code,
        lambda script_args: 1.1 if script_args.code_eval_scoring_mode == "weighted_sum" else 1.0,
        columns=CF_COLUMNS,
        programs=CF_ROWS,
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
    if match := _SUMMARY_ONLY.fullmatch(name):
        return _spec_of_summary(match[1].strip(), load_reward_model)
    if is_user_place(name):
        function, place = load_user_function(name)
        return RewardSpec(
            lambda script_args, context: load_user_reward(place, script_args.reward_timeout_s),
            columns=required_columns(function),
            reads_tokens=reads_tokens(function),
            is_external=True,
        )
    if "/" not in name:
        raise ValueError(
            f"Unknown reward {name!r} in reward_funcs.{did_you_mean(name, REWARDS)} Available: "
            f"{', '.join(sorted(REWARDS))}; summary_only(<reward>); a function (path/to/file.py:function); a reward "
            "model (org/model, ./folder)."
        )

    def load(script_args: RewardArguments, context: RewardContext) -> Reward:
        if load_reward_model is None:
            raise ValueError(f"{name!r} in reward_funcs is a reward model: pass load_reward_model, as grpo.py does.")
        return load_reward_model(name)

    return RewardSpec(load, is_external=True)


def is_user_function(name: str) -> bool:
    """Whether a name means a function of the user's own, alone or in `summary_only`."""
    match = _SUMMARY_ONLY.fullmatch(name)
    return is_user_place(match[1].strip() if match else name)


def _spec_of_summary(inner: str, load_reward_model: LoadRewardModel | None) -> RewardSpec:
    spec = get_reward_spec(inner, load_reward_model)
    if _SUMMARY_ONLY.fullmatch(inner):
        raise ValueError(f"summary_only({inner}) removes the reasoning twice: write {inner}.")
    if spec.reads_tokens:
        raise ValueError(f"summary_only({inner}): {inner} judges tokens of the whole completion, reasoning included.")

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
        ValueError: `reward_domains` lists a name that `reward_funcs` doesn't.
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
        ValueError: A name is unknown or listed twice, two rewards have one metric key, a parameter of a reward is out
            of range, a function can't be loaded, or there is a reward model and nothing to load it with.
    """
    names: Sequence[str] = script_args.reward_funcs
    context = context or DEFAULT_CONTEXT
    if repeated := sorted({name for name in names if names.count(name) > 1}):
        raise ValueError(f"reward_funcs lists {', '.join(repeated)} more than once; raise its reward weight instead.")
    domains = reward_domains_of(script_args)
    rewards: list[Reward] = []
    for name in names:
        spec = get_reward_spec(name, load_reward_model)
        reward = spec.build(script_args, context)
        if warning := spec.no_effect(script_args, context):
            logger.warning(warning)
        if reward.__name__ in {other.__name__ for other in rewards}:
            raise ValueError(f"Two rewards of reward_funcs have the metric key {reward.__name__!r}: rename one.")
        rewards.append(only_domains(reward, domains[name]) if name in domains else reward)
    return rewards


def perfect_reply(
    script_args: RewardArguments,
    row: Mapping[str, Any],
    context: RewardContext | None = None,
    layout: str = next(iter(LAYOUTS.values())),
) -> str:
    r"""Return the text that a perfect model would add to the prompt of a row, for the rewards that judge it.

    Reasoning in three marked steps, then the row's right answer, in a box unless a reward reads it without, and its
    right program in a fence. What the generation prompt has already opened (`context.completion_prefix`) is left out.

    >>> perfect_reply(RewardArguments(reward_funcs=["accuracy"]), {"solution": "4"}).splitlines()[-3:]
    ['<answer>', '\\boxed{4}', '</answer>']
    """
    names = names_for_domain(script_args, row.get(DOMAIN_COLUMN))
    specs = [get_reward_spec(name) for name in names]
    golds = [(spec.answer_of(row), spec.programs.language(row)) for spec in specs if spec.programs is not None]
    program, language = next(((gold, language) for gold, language in golds if gold is not None), (None, None))
    answers = [spec.answer_of(row) for spec in specs if spec.programs is None]
    answer = next((answer for answer in answers if answer is not None), row.get("solution"))
    lines = [] if answer is None else [str(answer)]
    if all(spec.is_boxed for spec in specs):
        lines = [rf"\boxed{{{strip_delimiters(extract_gold(line))}}}" for line in lines]
    if program is not None or "code_format" in names:
        fence = str(language or row.get("language") or script_args.code_language)
        # Many data sets put a fence around the gold program.
        code = "pass" if program is None else find_program(str(program), fence) or str(program)
        lines += [f"```{fence}", code.rstrip("\n"), "```"]
    lines = lines or ["It is so."]
    text = layout.replace("{answer}", "\n".join(lines))
    prefix = (context or DEFAULT_CONTEXT).completion_prefix
    # The prompt may open more than the tag ("Let me think.\n<think>\n"): only what it shares with the reply goes.
    shared = next(
        size for size in range(min(len(prefix), len(text)), -1, -1) if text.startswith(prefix[len(prefix) - size :])
    )
    return text[shared:]
