# SPDX-License-Identifier: Apache-2.0
"""The arithmetic of pass rates. G completions of a row, one list of values a reward.

>>> rates_of({"accuracy": [1.0, 0.0, None, 1.0]}, {"accuracy": 1.0})
Rates(combined=[1.0, 0.0, None, 1.0], rate=0.6666666666666666, by_reward={'accuracy': 0.6666666666666666})
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

_TOLERANCE = 1e-9  # a sum of weights such as 0.1 + 0.2 is not quite 0.3


class Status(StrEnum):
    """What became of a row, and why."""

    KEPT = "kept"
    TOO_HARD = "too hard"  # below pass_rate_min
    TOO_EASY = "too easy"  # above pass_rate_max
    UNJUDGED = "unjudged"  # no completion has a reward: none applies, or the gold can't be judged
    UNSCORABLE = "unscorable"  # what judges failed, several times
    INCOMPLETE = "incomplete"  # some requests failed: a rate of the others would count as one of all
    NO_COMPLETION = "no completion"  # every request failed
    NO_PROMPT = "no prompt"  # null or empty
    NO_GOLD = "no gold"  # a column is null or empty that a reward needs
    TOO_LONG = "too long"  # the prompt leaves no room for the completion


NOT_ASKED = (Status.NO_PROMPT, Status.NO_GOLD, Status.TOO_LONG)


@dataclass(frozen=True)
class Rates:
    """Pass rates of a row.

    Attributes:
        combined: Of each completion, the weighted sum of its rewards; None where none applies, NaN where we failed.
        rate: Their mean over completions that have one; None without any, NaN if we failed to judge one of them.
        by_reward: The same mean of each reward.
    """

    combined: list[float | None]
    rate: float | None
    by_reward: dict[str, float | None]


def rates_of(rewards: Mapping[str, Sequence[float | None]], weights: Mapping[str, float]) -> Rates:
    """Return the rates of the completions of a row.

    Args:
        rewards: Values by reward, None where it doesn't apply, NaN where it could not judge.
        weights: Weight of each reward. One of weight 0 is only watched.
    """
    combined = [
        _combine([(weights[name], value) for name, value in zip(rewards, values, strict=True)])
        for values in zip(*rewards.values(), strict=True)
    ]
    return Rates(combined, mean(combined), {name: mean(values) for name, values in rewards.items()})


def _combine(values: Sequence[tuple[float, float | None]]) -> float | None:
    """Return the weighted sum of what applies, as TRL does (its nansum)."""
    # Unlike TRL, a reward of weight 0 doesn't make a completion count that no other reward judges.
    applying = [weight * value for weight, value in values if weight != 0 and value is not None]
    return sum(applying) if applying else None


def mean(values: Sequence[float | None]) -> float | None:
    """Return the mean of what is not None; None if all is, NaN if one value is."""
    present = [value for value in values if value is not None]
    return math.fsum(present) / len(present) if present else None


def status_of(rate: float | None, low: float, high: float) -> Status:
    """Return what becomes of a row with this rate; both bounds belong to the rates that are kept.

    >>> status_of(0.9, 0.1, 0.9), status_of(None, 0.1, 0.9)
    (<Status.KEPT: 'kept'>, <Status.UNJUDGED: 'unjudged'>)
    """
    if rate is None:
        return Status.UNJUDGED
    if math.isnan(rate):
        return Status.UNSCORABLE
    if rate < low - _TOLERANCE:
        return Status.TOO_HARD
    return Status.TOO_EASY if rate > high + _TOLERANCE else Status.KEPT
