# SPDX-License-Identifier: Apache-2.0
r"""A completion that does everything right, to see before training whether the rewards can be reached at all.

The commonest way for a run to learn nothing is a chat template and rewards that disagree, such as a template that
opens `<think>` itself. The preflight scores the ideal completion with every configured reward and stops where it falls
short.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from open_r1.rewards.base import (
    ANSWER_CLOSE,
    ANSWER_OPEN,
    DEFAULT_CONTEXT,
    THINK_CLOSE,
    THINK_OPEN,
    RewardContext,
)
from open_r1.rewards.table import REWARDS, RewardArguments, get_reward_funcs
from open_r1.rewards.verifier.answer_extraction import extract_gold
from open_r1.rewards.verifier.exact_match import strip_delimiters

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
    """

    name: str
    reward: float | None
    expected: float | None
    reason: str

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
) -> str:
    """Return the text that a perfect model would add to the prompt.

    Reasoning in three marked steps, the solution in a box in the answer block and, where `code_format` is among the
    names, a program in `language` (default: `script_args.code_language`). What the generation prompt has already
    opened (`context.completion_prefix`) is left out.
    """
    answer = "" if solution is None else strip_delimiters(extract_gold(str(solution)))
    lines = [THINK_OPEN, *_REASONING, THINK_CLOSE, ANSWER_OPEN, rf"\boxed{{{answer}}}"]
    if "code_format" in names:
        lines += [f"```{language or script_args.code_language}", "pass", "```"]
    text = "\n".join([*lines, ANSWER_CLOSE])
    prefix = (context or DEFAULT_CONTEXT).completion_prefix
    # The prompt may open more than the tag ("Let me think.\n<think>\n"): only what it shares with the ideal goes.
    shared = next(
        size for size in range(min(len(prefix), len(text)), -1, -1) if text.startswith(prefix[len(prefix) - size :])
    )
    return text[shared:]


def score_ideal(
    script_args: RewardArguments, row: Mapping[str, object], context: RewardContext | None = None
) -> list[IdealScore]:
    """Score the ideal completion of a dataset row with every configured reward.

    A reward that gives None can't judge this row (its solution can't be parsed), which proves nothing: take another.

    Raises:
        ValueError: The row lacks a column that a reward needs, or a reward can't be built.
    """
    names = script_args.reward_funcs
    rewards = get_reward_funcs(script_args, context)
    for name in names:
        missing = [column for column in REWARDS[name].columns if column not in row]
        if missing:
            raise ValueError(f"The reward {name!r} needs the column {missing[0]!r}; the data has: {', '.join(row)}.")
    language = row.get("language")
    completion = ideal_completion(
        names, row.get("solution"), script_args, context, language=language if isinstance(language, str) else None
    )
    columns = {column: [value] for column, value in row.items() if column not in _NAMES_OF_TRL}
    scores = []
    for name, reward in zip(names, rewards, strict=True):
        value = reward(completions=[completion], completion_ids=[[]], **columns)[0]
        spec = REWARDS[name]
        expected = None if value is None else spec.ideal(script_args)
        reason = "the solution of this row can't be judged" if value is None else spec.ideal_reason
        scores.append(IdealScore(name, value, expected, reason))
    return scores
