# SPDX-License-Identifier: Apache-2.0
"""Two runs on the same problems, compared problem by problem.

The p value is that of a sign-flip permutation test: if it made no difference which run is which, every problem's
difference would have been as likely with the other sign. Problems of no difference say nothing in it. The interval is
that test turned round, so that the two never contradict each other: it holds the shifts that, taken from the
differences of all problems, would leave p at 0.05 or more. Its ends are means of subsets of the problems (Hartigan
1969): a pattern of signs has as large a sum where the mean of what it turns round isn't beyond the shift.

In simulations it covers the truth in 90 to 100 of 100 rounds where all problems change a little; in fewer, at worst
79, where few change by much, which 10 or 30 problems hardly contain.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import NormalDist

import numpy as np

from open_r1.evaluation.intervals import center_and_error, student_quantile, within_bounds

SIGNIFICANCE = 0.05
POWER = 0.8
_EXACT_UP_TO = 16  # problems with a difference: 65,536 patterns of signs
_NUM_FLIPS = 50_000
_BATCH_FLIPS = 1_000
_DRAWN_UP_TO = 2_000  # beyond, sums of so many differences are normal
_NUM_ZEROS_DRAWN = 2**14
_ROUNDING = 1e-9
_LEAST = math.ceil(math.log2(2 / SIGNIFICANCE))  # differences: with 5, p is 2 / 2^5 = 0.0625 or more


@dataclass(frozen=True)
class PairedDifference:
    """What two runs differ by on the problems that both have.

    Attributes:
        num_problems: Problems with a value in both.
        mean: Mean of b - a.
        low: Lower end of its 95 % interval, which holds 0 if, and only if, p is 0.05 or more; NaN: one problem of
            values beyond [0, 1].
        high: Upper end.
        p_value: Chance of a difference as large, or larger, if the runs were alike; not below 2 / 2^P.
        num_better: Problems in which b is better.
        num_worse: Problems in which a is.
        num_equal: Problems in which they are alike.
        standard_error: Of the mean; NaN: unknown.
        is_bounded: Whether all values are in [0, 1].
        detectable: Smallest true difference that so many problems show in 8 of 10 cases (5 % level); NaN: none, or
            unknown.
    """

    num_problems: int
    mean: float
    low: float
    high: float
    p_value: float
    num_better: int
    num_worse: int
    num_equal: int
    standard_error: float
    is_bounded: bool
    detectable: float = math.nan

    def detectable_among(self, num_comparisons: int) -> float:
        """Return the smallest true difference that shows in 8 of 10 cases where so many comparisons are made.

        The level is that which Holm asks of the smallest p value; the test has 2^(P-1) p values alone. NaN: all of
        them are greater, so that nothing can be shown; or the standard error isn't known.
        """
        patterns = 2 ** min(self.num_problems - 1, 50)
        level = math.floor(SIGNIFICANCE / num_comparisons * patterns) / patterns
        if not level or math.isnan(self.standard_error):
            return math.nan
        degrees = self.num_problems - 1
        found = (student_quantile(1 - level / 2, degrees) + student_quantile(POWER, degrees)) * self.standard_error
        if self.num_better + self.num_worse < _LEAST:
            found = max(found, math.ceil(math.log2(2 / level)) / self.num_problems)
        return min(found, 1.0) if self.is_bounded else found


def paired_difference(
    a: Sequence[float] | np.ndarray, b: Sequence[float] | np.ndarray, seed: int = 0
) -> PairedDifference:
    """Compare the values of two runs, one a problem, in the same order.

    The interval is that of the sign-flip test (see above). Where 5 problems differ or fewer, that can show nothing. It
    is Student's there, to which for values in [0, 1] half a problem in which b wins, half in which a wins and one
    without a difference are added (Agresti and Min 2005): it has a width even where runs are alike, and holds 0.

    Args:
        a: Values of the first run; problems in which either is NaN are left out.
        b: Those of the second.
        seed: Of the patterns of signs that are drawn where there are too many to try all.

    Raises:
        ValueError: The lengths differ, or no problem has a value in both.
    """
    first, second = np.asarray(a, dtype=float), np.asarray(b, dtype=float)
    if first.shape != second.shape or first.ndim != 1:
        raise ValueError(f"There are {first.size} values of one run and {second.size} of the other.")
    both = ~(np.isnan(first) | np.isnan(second))
    if not both.any():
        raise ValueError("No problem has a value in both runs: there is nothing to compare.")
    values = np.concatenate([first[both], second[both]])
    if not np.isfinite(values).all():
        raise ValueError("A value is infinite: there is no difference.")
    is_bounded = within_bounds(values)
    differences = second[both] - first[both]
    differences[np.abs(differences) < _ROUNDING] = 0.0
    is_few = int((differences != 0).sum()) < _LEAST
    if is_few:
        low, high, error = _interval_of_few(differences, is_bounded)
        p_value = sign_flip_p_value(differences, seed)
    else:
        low, high, p_value = _by_sign_flips(differences, seed)
        error = float(differences.std(ddof=1)) / math.sqrt(differences.size)
        if error < _ROUNDING:
            low, high, error = _interval_of_alike(differences, is_bounded)
    found = PairedDifference(
        num_problems=differences.size,
        mean=float(differences.mean()),
        low=low,
        high=high,
        p_value=p_value,
        num_better=int((differences > 0).sum()),
        num_worse=int((differences < 0).sum()),
        num_equal=int((differences == 0).sum()),
        standard_error=error,
        is_bounded=is_bounded,
    )
    return replace(found, detectable=found.detectable_among(1))


def _interval_of_alike(differences: np.ndarray, is_bounded: bool) -> tuple[float, float, float]:
    """Return both ends and the standard error where all differ by the same, so that flips show no width.

    Half problems are added as in `_interval_of_few`, but of this difference: 0 stays outside.
    """
    spread = abs(float(differences[0]))
    center, error = center_and_error(
        differences, np.ones(differences.size), (-spread, spread, 0.0, 0.0), added_weight=0.5
    )
    margin = student_quantile(1 - SIGNIFICANCE / 2, differences.size) * error
    low, high = center - margin, center + margin
    return (max(low, -1.0), min(high, 1.0), error) if is_bounded else (low, high, error)


def _interval_of_few(differences: np.ndarray, is_bounded: bool) -> tuple[float, float, float]:
    """Return both ends and the standard error where the sign-flip test can show nothing."""
    number = differences.size
    if number == 1:
        return (-1.0, 1.0, math.nan) if is_bounded else (math.nan, math.nan, math.nan)
    added, degrees = ((-1.0, 1.0, 0.0, 0.0), number) if is_bounded else ((), number - 1)
    center, error = center_and_error(differences, np.ones(number), added, added_weight=0.5)
    margin = student_quantile(1 - SIGNIFICANCE / 2, degrees) * error
    low, high = min(center - margin, 0.0), max(center + margin, 0.0)
    return (max(low, -1.0), min(high, 1.0), error) if is_bounded else (low, high, math.nan)


def sign_flip_p_value(differences: Sequence[float] | np.ndarray, seed: int = 0) -> float:
    """Return the two-sided p value of the sign-flip test: exact for up to 16 differences that aren't 0.

    For more, 50,000 patterns of signs are drawn, and the one that was seen is counted with them (Phipson and Smyth
    2010), so that it isn't 0; for more than 2,000 it is that of the normal distribution.
    """
    return _by_sign_flips(np.asarray(differences, dtype=float), seed)[2]


def _by_sign_flips(differences: np.ndarray, seed: int) -> tuple[float, float, float]:
    """Return both ends of the interval and the p value; ends are infinite where no shift can be refused."""
    number = int((differences != 0).sum())
    if number > _DRAWN_UP_TO:
        return _by_normal(differences)
    sums, sizes, num_seen = _subsets(differences, seed)
    total, tiny = float(differences.sum()), _ROUNDING * float(np.abs(differences).sum()) / 2
    sums[np.abs(sums) <= tiny] = 0.0
    # Of a pattern and its opposite one or the other has as large a sum: both subsets are there, each counts once.
    num_patterns = sums.size / 2 + num_seen
    as_large = int((sums * math.copysign(1.0, total) <= 0).sum()) + num_seen
    p_value = 1.0 if abs(total) <= tiny else min(1.0, as_large / num_patterns)
    wanted = max(1, math.ceil(SIGNIFICANCE * num_patterns - _ROUNDING) - num_seen)
    # Of no problems no shift can be refused.
    means = np.divide(sums, sizes, out=np.full(sums.size, math.nan), where=sizes > 0)
    low = float(np.partition(np.where(sizes > 0, means, -math.inf), wanted - 1)[wanted - 1])
    high = float(-np.partition(np.where(sizes > 0, -means, -math.inf), wanted - 1)[wanted - 1])
    return low + 0.0, high + 0.0, p_value  # no -0.0


def _subsets(differences: np.ndarray, seed: int) -> tuple[np.ndarray, np.ndarray, int]:
    """Return sums and sizes of subsets and their complements, all or many, and what counts beside: what was seen."""
    found, generator = differences[differences != 0], np.random.default_rng(seed)
    num_zeros = differences.size - found.size
    if found.size <= _EXACT_UP_TO:
        sums, sizes = np.zeros(1), np.zeros(1)
        for difference in found:
            sums, sizes = np.concatenate([sums, sums + difference]), np.concatenate([sizes, sizes + 1])
        if num_zeros:
            # How many zeros are in a subset moves its mean, not its sign: the p value is exact all the same.
            times = math.ceil(_NUM_ZEROS_DRAWN / sums.size)
            sums, sizes = np.tile(sums, times), np.tile(sizes, times)
            sizes += generator.binomial(num_zeros, 0.5, sizes.size)
        return sums, sizes, 0
    sums, sizes = np.empty(_NUM_FLIPS), np.empty(_NUM_FLIPS)
    for start in range(0, _NUM_FLIPS, _BATCH_FLIPS):
        members = generator.integers(0, 2, size=(_BATCH_FLIPS, found.size), dtype=np.int8)
        sums[start : start + _BATCH_FLIPS] = members @ found
        sizes[start : start + _BATCH_FLIPS] = members.sum(axis=1)
    sizes += generator.binomial(num_zeros, 0.5, sizes.size)
    return np.concatenate([sums, found.sum() - sums]), np.concatenate([sizes, differences.size - sizes]), 1


def _by_normal(differences: np.ndarray) -> tuple[float, float, float]:
    number, mean = differences.size, float(differences.mean())
    p_value = math.erfc(abs(differences.sum()) / math.sqrt(2 * (differences**2).sum()))
    normal = NormalDist().inv_cdf(1 - SIGNIFICANCE / 2)
    # The variance of flipped sums is that around the shift, not around the mean.
    margin = normal * float(differences.std()) / math.sqrt(number - normal**2)
    return mean - margin, mean + margin, p_value


def holm(p_values: Mapping[str, float]) -> dict[str, float]:
    """Return p values that hold for all comparisons of a family together (Holm 1979).

    >>> holm({"aime24": 0.01, "math_500": 0.04, "gpqa": 0.03})
    {'aime24': 0.03, 'math_500': 0.06, 'gpqa': 0.06}
    """
    adjusted, largest = {}, 0.0
    for place, name in enumerate(sorted(p_values, key=lambda name: p_values[name])):
        largest = max(largest, min(1.0, (len(p_values) - place) * p_values[name]))
        adjusted[name] = largest
    return {name: adjusted[name] for name in p_values}
