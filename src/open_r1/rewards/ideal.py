# SPDX-License-Identifier: Apache-2.0
r"""A completion that does everything right, to see before training whether the rewards can be reached at all.

The commonest way for a run to learn nothing is a chat template and rewards that disagree, such as a template that
opens `<think>` itself. The preflight scores the ideal completion with every configured reward and stops where it falls
short.
"""

from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass

from open_r1.configs.rewards import RewardArguments
from open_r1.grading.fences import find_program
from open_r1.rewards.base import (
    ANSWER_CLOSE,
    ANSWER_OPEN,
    DEFAULT_CONTEXT,
    THINK_CLOSE,
    THINK_OPEN,
    RewardContext,
    is_unscorable,
)
from open_r1.rewards.table import ANY_LAYOUT, Layout, RewardSpec, get_reward_spec, names_for_domain
from open_r1.rewards.verifier.extract import extract_gold
from open_r1.rewards.verifier.normalize import strip_delimiters
from open_r1.rewards.wrappers import DOMAIN_COLUMN

# Of these TRL passes its own lists, never the columns.
_NAMES_OF_TRL = ("prompt", "prompts", "completion", "completions", "completion_ids")
_REASONING = (
    "First, I restate what the problem asks.",
    "Second, I work through every given quantity.",
    "Finally, this leads to one result.",
)


@dataclass(frozen=True)
class IdealScore:
    """What a reward gave the ideal completion, and what it had to give.

    Attributes:
        name: Name of the reward in the table.
        reward: What it gave; None where it didn't judge.
        expected: The least it must give; None where the ideal completion proves nothing.
        reason: Why `expected` has this value.
        verdicts: Of the tests, where it ran a program: `AC, WA x2`, `no_program`.
    """

    name: str
    reward: float | None
    expected: float | None
    reason: str
    verdicts: str = ""

    @property
    def is_reached(self) -> bool:
        """Whether the reward can be reached, or nothing was to be proven."""
        return self.expected is None or (self.reward is not None and self.reward >= self.expected - 1e-6)


def ideal_completion(
    names: Sequence[str],
    solution: object,
    script_args: RewardArguments,
    context: RewardContext | None = None,
    *,
    language: str | None = None,
    program: str | None = None,
) -> str:
    """Return the text that a perfect model would add to the prompt.

    Reasoning in three marked steps, then the solution as the rewards of these names want it: in an answer block unless
    one forbids the tags, in a box unless one reads it without, and where `code_format` is among them, or there is a
    `program`, with it in `language` (default: `script_args.code_language`). What the generation prompt has already
    opened (`context.completion_prefix`) is left out.
    """
    specs = [get_reward_spec(name) for name in names]
    if any(spec.wants_plain_answer for spec in specs):
        answer = [str(solution)]
    elif program is not None and solution is None:
        answer = []
    else:
        text = "" if solution is None else strip_delimiters(extract_gold(str(solution)))
        answer = [rf"\boxed{{{text}}}"]
    if "code_format" in names or program is not None:
        answer += [f"```{language or script_args.code_language}", (program or "pass").rstrip("\n"), "```"]
    layout = next(iter(_common_layouts(specs, script_args)), Layout.TAGS_ON_LINES)
    if layout is Layout.TAGS_ON_LINES:
        answer = [ANSWER_OPEN, *answer, ANSWER_CLOSE]
    elif layout is Layout.TAGS_IN_LINE:
        answer = [" ".join([ANSWER_OPEN, *answer, ANSWER_CLOSE])]
    text = "\n".join([THINK_OPEN, *_REASONING, THINK_CLOSE, *answer])
    prefix = (context or DEFAULT_CONTEXT).completion_prefix
    # The prompt may open more than the tag ("Let me think.\n<think>\n"): only what it shares with the ideal goes.
    shared = next(
        size for size in range(min(len(prefix), len(text)), -1, -1) if text.startswith(prefix[len(prefix) - size :])
    )
    return text[shared:]


def ideal_of_row(script_args: RewardArguments, row: Mapping[str, object], context: RewardContext | None = None) -> str:
    """Return `ideal_completion` for a dataset row and the rewards that judge rows of its domain."""
    names = names_for_domain(script_args, row.get(DOMAIN_COLUMN))
    specs = [get_reward_spec(name) for name in names]
    answers = [_answer_of(row, spec) for spec in specs if spec.programs is None]
    golds = [(_answer_of(row, spec), spec.programs.language(row)) for spec in specs if spec.programs is not None]
    gold, language = next(((gold, language) for gold, language in golds if gold is not None), (None, None))
    fence = language or row.get("language")
    return ideal_completion(
        names,
        next((answer for answer in answers if answer is not None), row.get("solution")),
        script_args,
        context,
        language=fence if isinstance(fence, str) else None,
        # Many data sets put a fence around the gold program.
        program=None if gold is None else find_program(str(gold), language or "python") or str(gold),
    )


def score_ideal(
    script_args: RewardArguments,
    row: Mapping[str, object],
    context: RewardContext | None = None,
    *,
    names: Container[str] | None = None,
) -> list[IdealScore]:
    """Score the ideal completion of a dataset row with every reward that judges rows of its domain.

    Of those, only `names` where they're given. A reward that gives None can't judge this row (its solution can't be
    parsed), which proves nothing: take another. Rewards from outside the table are not tried, since nothing is known
    of their values.

    Raises:
        ValueError: The row lacks a column that a reward needs, or a reward can't be built.
    """
    context = context or DEFAULT_CONTEXT
    here = names_for_domain(script_args, row.get(DOMAIN_COLUMN))
    specs = {name: get_reward_spec(name) for name in here if names is None or name in names}
    for name, spec in specs.items():
        missing = [column for column in spec.columns if column not in row]
        if missing:
            raise ValueError(f"The reward {name!r} needs the column {missing[0]!r}; the data has: {', '.join(row)}.")
    completion = ideal_of_row(script_args, row, context)
    columns = {column: [value] for column, value in row.items() if column not in _NAMES_OF_TRL}
    columns |= {"completions": [completion], "completion_ids": [list(context.eos_token_ids[:1])]}
    return [_score(name, spec, script_args, context, row, columns) for name, spec in specs.items()]


def _score(
    name: str,
    spec: RewardSpec,
    script_args: RewardArguments,
    context: RewardContext,
    row: Mapping[str, object],
    columns: Mapping[str, list],
) -> IdealScore:
    if spec.is_external:
        return IdealScore(name, None, None, "nothing is known of its values")
    extra: dict[str, list] = {}
    wanted = {} if spec.programs is None else {"log_extra": extra.__setitem__}
    value = spec.build(script_args, context)(**columns, **wanted)[0]
    verdicts = next((str(values[0]) for values in extra.values()), "")
    if value is None:
        return IdealScore(name, None, None, "the solution of this row can't be judged")
    if is_unscorable(value):
        return IdealScore(name, value, spec.ideal(script_args), "what judges it has failed, the log says why")
    if spec.answer_columns and _answer_of(row, spec) is None:
        return IdealScore(name, value, None, f"the row has no right answer in {' or '.join(spec.answer_columns)}")
    return IdealScore(name, value, spec.ideal(script_args), spec.ideal_reason, verdicts)


def _answer_of(row: Mapping[str, object], spec: RewardSpec) -> object:
    """Return the right answer that a row holds for a reward, or None."""
    return next((row[column] for column in spec.answer_columns if row.get(column) not in (None, "")), None)


def _common_layouts(specs: Sequence[RewardSpec], script_args: RewardArguments) -> list[Layout]:
    """Return the layouts that all of these rewards accept."""
    return [layout for layout in ANY_LAYOUT if all(layout in spec.layouts(script_args) for spec in specs)]


def conflicting_layouts(names: Sequence[str], script_args: RewardArguments) -> dict[str, str]:
    """Return what each of these rewards accepts around the answer, where no completion can satisfy all; else {}."""
    specs = {name: get_reward_spec(name) for name in names}
    if _common_layouts(list(specs.values()), script_args):
        return {}
    return {
        name: " or ".join(spec.layouts(script_args))
        for name, spec in specs.items()
        if spec.layouts(script_args) != ANY_LAYOUT
    }
