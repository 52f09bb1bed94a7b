# SPDX-License-Identifier: Apache-2.0
"""How hard problems are, by plain samples that nothing else is compared by, and the bins that they fall into."""

import math
from collections.abc import Iterable, Mapping, Sequence

from open_r1.test_time.results import Attempt, Setting

# Name: pass@1 from, below; the last bin holds its upper end.
ABSOLUTE_BINS = {"hard": (0.0, 0.1), "medium": (0.1, 0.5), "easy": (0.5, 1.0)}


def measured_and_compared(attempts: Sequence[Attempt]) -> tuple[Setting, list[Attempt], list[Attempt]]:
    """Return the plain setting, its samples that measure difficulty, and the attempts that are compared.

    Raises:
        ValueError: There are no plain samples, or none of them are repeated.
    """
    settings = {one.setting.key: one.setting for one in attempts}
    plain = plain_setting(list(settings.values()))
    repeats: dict[str, set[int]] = {key: set() for key in settings}
    for one in attempts:
        repeats[one.setting.key].add(one.repeat)
    of_plain = sorted(repeats[plain.key])
    if len(of_plain) < 2:
        raise ValueError(f"{plain.label} has one repeat: of --num_repeats 4 two measure difficulty.")
    measuring = set(of_plain[: len(of_plain) // 2])
    measured = [one for one in attempts if one.setting.key == plain.key and one.repeat in measuring]
    # What is solved once where others are repeated is greedy.
    compared = [one for one in attempts if one.repeat not in measuring or repeats[one.setting.key] == {0}]
    return plain, measured, compared


def rates_of(attempts: Iterable[Attempt]) -> dict[int, float]:
    """Return the mean score of each problem that has a verdict."""
    found: dict[int, list[float]] = {}
    for attempt in attempts:
        if not math.isnan(attempt.score):
            found.setdefault(attempt.problem_row, []).append(attempt.score)
    return {row: sum(scores) / len(scores) for row, scores in found.items()}


def plain_setting(settings: Sequence[Setting]) -> Setting:
    """Return the setting whose attempts are plain samples: `cot`, or a pool's choice from one.

    Raises:
        ValueError: There is none.
    """
    pools = ("majority", "best_of_n", "weighted")
    for is_plain in (lambda one: one.method == "cot", lambda one: one.method in pools and one.values.get("n") == 1):
        for setting in settings:
            if is_plain(setting):
                return setting
    raise ValueError("difficulty needs plain samples: cot, or majority with 1 among --n, and --num_repeats 4.")


def absolute_bins(rates: Mapping[int, float]) -> dict[str, list[int]]:
    """Return the rows of each bin of `ABSOLUTE_BINS`, by the pass@1 of each row.

    >>> absolute_bins({0: 0.0, 1: 0.1, 2: 0.49, 3: 0.5, 4: 1.0})
    {'hard': [0], 'medium': [1, 2], 'easy': [3, 4]}
    """
    uppers = {name: math.inf if high == 1.0 else high for name, (_, high) in ABSOLUTE_BINS.items()}
    return {
        name: [row for row, rate in rates.items() if low <= rate < uppers[name]]
        for name, (low, _) in ABSOLUTE_BINS.items()
    }


def quantile_bins(rates: Mapping[int, float], num_bins: int) -> dict[str, list[int]]:
    """Return bins of about as many rows each, the hardest first; rows of the same rate in the order of rows.

    >>> quantile_bins({0: 0.9, 1: 0.0, 2: 0.4, 3: 0.1, 4: 0.2}, 2)
    {'quantile 1 of 2': [1, 3], 'quantile 2 of 2': [4, 2, 0]}
    """
    ordered = sorted(rates, key=lambda row: (rates[row], row))
    ends = [len(ordered) * number // num_bins for number in range(num_bins + 1)]
    return {
        f"quantile {number + 1} of {num_bins}": ordered[ends[number] : ends[number + 1]] for number in range(num_bins)
    }
