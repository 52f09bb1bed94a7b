# SPDX-License-Identifier: Apache-2.0
"""Rewards that weigh the length of a completion.

Lengths are tokens where the trainer passes `completion_ids`, and characters where a function is called without them.

Different from upstream Open R1:
1. `len_reward` compares within the group instead of the whole batch.
2. The cosine stays flat beyond its maximum length.
3. Correctness comes from the shared verifier, and an unparsable solution gives None everywhere.
4. `demystify_cosine_reward` is new.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from open_r1.rewards.base import (
    DEFAULT_CONTEXT,
    Completion,
    RewardContext,
    completion_lengths,
    group_slices,
)
from open_r1.rewards.math_rewards import judge_answers

# The published code takes a completion this close to the limit for one that was cut off.
EXCEED_MARGIN_TOKENS = 16


def len_reward(
    completions: Sequence[Completion],
    solution: Sequence[object],
    *,
    completion_ids: Sequence[Sequence[int]] | None = None,
    context: RewardContext = DEFAULT_CONTEXT,
    **columns: Any,
) -> list[float | None]:
    r"""Return the length reward of Kimi k1.5, which compares a completion with the others of its group.

    With weight = 0.5 - (length - shortest) / (longest - shortest): weight for a right answer, min(0, weight) for any
    other; 0 for all when every length in the group is equal.
    Range [-0.5, 0.5]; None where the solution can't be parsed.
    Source: Kimi k1.5 (arXiv 2501.12599, section 2.3.3).

    >>> len_reward([r"\boxed{2}", r"I think \boxed{2}", r"\boxed{3}", r"I am sure, \boxed{3}"], ["2"] * 4)
    [0.5, -0.2272727272727273, 0.0, -0.5]
    """
    scores = judge_answers("len_reward", completions, solution, context, **columns)
    lengths = completion_lengths(completions, completion_ids)
    rewards: list[float | None] = []
    for group in group_slices(columns.get("prompts"), len(lengths), context):
        shortest, span = min(lengths[group]), max(lengths[group]) - min(lengths[group])
        for score, length in zip(scores[group], lengths[group], strict=True):
            weight = 0.5 - (length - shortest) / span if span else 0.0
            rewards.append(None if score is None else weight if score == 1.0 else min(0.0, weight))
    return rewards


@dataclass(frozen=True, kw_only=True)
class _CosineReward:
    """What the cosine rewards share: right and other answers get a value by length; abstentions pass through."""

    context: RewardContext = DEFAULT_CONTEXT

    __name__ = "cosine_reward"

    def __call__(
        self,
        completions: Sequence[Completion],
        solution: Sequence[object],
        *,
        completion_ids: Sequence[Sequence[int]] | None = None,
        **columns: Any,
    ) -> list[float | None]:
        scores = judge_answers(self.__name__, completions, solution, self.context, **columns)
        lengths = completion_lengths(completions, completion_ids)
        return [
            None if score is None else self.value(length, is_correct=score == 1.0)
            for score, length in zip(scores, lengths, strict=True)
        ]

    def value(self, length: int, *, is_correct: bool) -> float:
        """Return the reward of a right or wrong completion of this length."""
        raise NotImplementedError


def _cosine_between(at_zero: float, at_end: float, progress: float) -> float:
    """Return at_end + (at_zero - at_end) * (1 + cos(pi * progress)) / 2, for a progress from 0 to 1."""
    return at_end + (at_zero - at_end) * (1 + math.cos(math.pi * progress)) / 2


@dataclass(frozen=True)
class CosineScaledReward(_CosineReward):
    r"""Return a reward that falls with length for right answers and rises with length for wrong ones.

    With progress = min(1, length / max_len) and c = (1 + cos(pi * progress)) / 2, which goes from 1 to 0:
    right: min_value_correct + (max_value_correct - min_value_correct) * c;
    wrong: max_value_wrong + (min_value_wrong - max_value_wrong) * c, so a short wrong answer gets min_value_wrong.
    Range [min_value_wrong, max_value_correct]; None where the solution can't be parsed.
    Source: Demystifying Long Chain-of-Thought Reasoning (arXiv 2502.03373, section 4.2).

    >>> reward = CosineScaledReward(max_len=100)
    >>> [round(value, 3) for value in reward([r"\boxed{2}", r"\boxed{3}"], ["2", "2"], completion_ids=[[0] * 20] * 2)]
    [0.952, -0.952]
    """

    min_value_wrong: float = -1.0
    max_value_wrong: float = -0.5
    min_value_correct: float = 0.5
    max_value_correct: float = 1.0
    max_len: int = 1000

    __name__ = "cosine_scaled_reward"

    def __post_init__(self) -> None:
        for kind in ("wrong", "correct"):
            low, high = (getattr(self, f"{end}_value_{kind}") for end in ("min", "max"))
            if low > high:
                raise ValueError(f"min_value_{kind} ({low}) is above max_value_{kind} ({high}): swap them.")

    def value(self, length: int, *, is_correct: bool) -> float:
        progress = min(1.0, length / self.max_len)
        if is_correct:
            return _cosine_between(self.max_value_correct, self.min_value_correct, progress)
        return _cosine_between(self.min_value_wrong, self.max_value_wrong, progress)


@dataclass(frozen=True)
class DemystifyCosineReward(_CosineReward):
    r"""Return the cosine reward of Demystifying Long Chain-of-Thought Reasoning, with its penalty at the limit.

    With c = (1 + cos(pi * length / max_len)) / 2, which goes from 1 to 0:
    length + 16 >= max_len: exceed_length, whatever the answer;
    right: correct_at_max_len + (correct_at_zero - correct_at_max_len) * c;
    wrong: wrong_at_max_len + (wrong_at_zero - wrong_at_max_len) * c.
    Either value may be the greater one: the paper also tries right answers that earn more when they are longer.
    Range from the least of these values to the greatest; None where the solution can't be parsed. The paper's penalty
    for repetition is `token_repetition`.
    Source: arXiv 2502.03373, section 4.2; its code for the margin of 16.

    >>> reward = DemystifyCosineReward(max_len=100)
    >>> ids = [list(range(length)) for length in (50, 50, 84)]
    >>> texts = [r"\boxed{2}", r"\boxed{3}", r"\boxed{2}"]
    >>> [round(value, 3) for value in reward(texts, ["2"] * 3, completion_ids=ids)]
    [1.5, -5.0, -10.0]
    """

    correct_at_zero: float = 2.0
    correct_at_max_len: float = 1.0
    wrong_at_zero: float = -10.0
    wrong_at_max_len: float = 0.0
    exceed_length: float = -10.0
    max_len: int = 14336

    __name__ = "demystify_cosine_reward"

    def __post_init__(self) -> None:
        if self.max_len <= EXCEED_MARGIN_TOKENS:
            raise ValueError(f"demystify_max_len must be above {EXCEED_MARGIN_TOKENS}, got {self.max_len}.")

    def value(self, length: int, *, is_correct: bool) -> float:
        if length + EXCEED_MARGIN_TOKENS >= self.max_len:
            return self.exceed_length
        progress = length / self.max_len
        if is_correct:
            return _cosine_between(self.correct_at_zero, self.correct_at_max_len, progress)
        return _cosine_between(self.wrong_at_zero, self.wrong_at_max_len, progress)


@dataclass(frozen=True)
class SoftOverlongPunishmentReward:
    """Return 0 up to max_completion_len - soft_punish_cache tokens, then a line down to -1 at max_completion_len.

    Between the two: (max_completion_len - soft_punish_cache - length) / soft_punish_cache. Range [-1, 0]; never None.
    Source: DAPO (arXiv 2503.14476, equation 13).

    >>> SoftOverlongPunishmentReward(max_completion_len=100, soft_punish_cache=20)([[0] * 80, [0] * 90, [0] * 101])
    [0.0, -0.5, -1.0]
    """

    max_completion_len: int
    soft_punish_cache: int

    __name__ = "soft_overlong_punishment_reward"

    def __post_init__(self) -> None:
        if not 0 < self.soft_punish_cache <= self.max_completion_len:
            raise ValueError(
                f"soft_punish_cache is {self.soft_punish_cache}: it must be from 1 to {self.max_completion_len}."
            )

    def __call__(self, completion_ids: Sequence[Sequence[int]], **kwargs: object) -> list[float | None]:
        free_length = self.max_completion_len - self.soft_punish_cache
        return [min(0.0, max(-1.0, (free_length - len(ids)) / self.soft_punish_cache)) for ids in completion_ids]
