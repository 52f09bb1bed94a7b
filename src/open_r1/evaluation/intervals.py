# SPDX-License-Identifier: Apache-2.0
"""95 % intervals of means over problems, whose answers are not independent of each other.

P problems. Of values in [0, 1] the interval is Student's of P degrees of freedom, after a problem of value 0 and one
of value 1 were added: what Agresti and Coull 1998 do to proportions, done to means of clusters. The bare interval, and
a bootstrap, have no width where all values are alike and are far too narrow where most are: of 30 problems of which 3
in 100 can be solved, they hold the truth in 6 of 10 cases, and this one in 95 of 100 or more; what it costs is a
slightly greater width. Where problems have different numbers of rows, P is the number of problems of the same weight
that would say as much: of 30 of which one has half of all rows, 4.
"""

import math
from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from statistics import NormalDist

import numpy as np

_UPPER = 0.975
_ROUNDING = 1e-9
# Beyond this many degrees of freedom the expansion is exact to 1e-9; below it the finite sum is short.
_EXPANDED_FROM = 2_000
_BISECTIONS = 100


@dataclass
class Interval:
    """A mean with its 95 % interval.

    Attributes:
        mean: Over rows.
        low: Lower end; NaN where one problem alone says nothing of others, and values have no bounds.
        high: Upper end, likewise.
        scores_P: Mean value of each problem.
    """

    mean: float
    low: float
    high: float
    scores_P: np.ndarray = field(repr=False)


def mean_interval(
    values: Sequence[float] | np.ndarray,
    clusters: Sequence[Hashable] | None = None,
    *,
    is_bounded: bool | None = None,
) -> Interval:
    """Return the mean of values with its 95 % interval, clustered by problem.

    Args:
        values: One a row, such as the share of its answers that are right, or its pass@k; NaN is left out.
        clusters: Which rows are the same problem; None: each is one of its own. The mean counts rows, the interval
            problems: a row that stands there twice tells no more than once.
        is_bounded: Whether values are in [0, 1] by their nature: so is the interval then, and it has a width even if
            all are alike. None: whether these are. Otherwise it is Student's, without width if all are alike.

    Raises:
        ValueError: There is no value, or one is infinite, or beyond [0, 1] though they are said to be bounded.
    """
    scores_P, weights_P = _clustered(np.asarray(values, dtype=float), clusters)
    if not scores_P.size:
        raise ValueError("No completion was judged: there is nothing to average.")
    if not np.isfinite(scores_P).all():
        raise ValueError("A value is infinite: there is no mean.")
    mean = float(np.average(scores_P, weights=weights_P))
    is_within = within_bounds(scores_P)
    if is_bounded and not is_within:
        raise ValueError("A value is beyond [0, 1], and values are said to be bounded.")
    is_bounded = is_within if is_bounded is None else is_bounded
    if scores_P.size == 1:
        return Interval(mean, 0.0, 1.0, scores_P) if is_bounded else Interval(mean, math.nan, math.nan, scores_P)
    number = math.floor(effective_number(weights_P) + _ROUNDING)
    added, degrees = ((0.0, 1.0), number) if is_bounded else ((), max(1, number - 1))
    center, error = center_and_error(scores_P, weights_P, added)
    margin = student_quantile(_UPPER, degrees) * error
    low, high = min(center - margin, mean), max(center + margin, mean)
    return (
        Interval(mean, max(low, 0.0), min(high, 1.0), scores_P) if is_bounded else Interval(mean, low, high, scores_P)
    )


def within_bounds(values: np.ndarray) -> bool:
    """Return whether all values are from 0 to 1; NaN counts as one that is."""
    return bool((np.isnan(values) | ((values >= 0) & (values <= 1))).all())


def effective_number(weights_P: np.ndarray) -> float:
    """Return how many clusters of the same weight say as much as these do together (Kish 1965); at least 1.

    >>> effective_number(np.array([2, 2, 2])), round(effective_number(np.array([30] + [1] * 29)), 2)
    (3.0, 3.75)
    """
    return float(weights_P.sum() ** 2 / (weights_P**2).sum())


def center_and_error(
    scores_P: np.ndarray, weights_P: np.ndarray, added: Sequence[float], added_weight: float = 1.0
) -> tuple[float, float]:
    """Return the weighted mean of clusters and its standard error, after others were added.

    Args:
        scores_P: Values of two clusters or more.
        weights_P: Rows of each.
        added: Values of the clusters to add.
        added_weight: Weight of each of them, as a share of what a cluster would have if all had the same weight and
            said as much.
    """
    number = effective_number(weights_P)
    whole = weights_P.sum() / number
    scores = np.concatenate([scores_P, added])
    weights = np.concatenate([weights_P, np.full(len(added), added_weight * whole)])
    center = float(np.average(scores, weights=weights))
    # Weights of added clusters are fractions of a cluster each: squared, the whole one counts, not their own.
    squares = np.concatenate([weights_P**2, np.full(len(added), added_weight * whole**2)])
    variance = float((squares * (scores - center) ** 2).sum()) / weights.sum() ** 2
    number += added_weight * len(added)
    return center, math.sqrt(variance * number / (number - 1))


def _clustered(values: np.ndarray, clusters: Sequence[Hashable] | None) -> tuple[np.ndarray, np.ndarray]:
    """Return the mean value of each cluster and its number of rows."""
    is_there = ~np.isnan(values)
    if clusters is None:
        found = values[is_there]
        return found, np.ones(found.size)
    if len(clusters) != values.size:
        raise ValueError(f"There are {values.size} values and {len(clusters)} names of clusters.")
    numbers: dict[Hashable, int] = {}
    of_row = [numbers.setdefault(name, len(numbers)) for name, keep in zip(clusters, is_there, strict=True) if keep]
    weights = np.bincount(of_row, minlength=len(numbers)).astype(float)
    return np.bincount(of_row, weights=values[is_there], minlength=len(numbers)) / weights, weights


@lru_cache(maxsize=1_024)
def student_quantile(probability: float, degrees: int) -> float:
    """Return the t below which Student's distribution has this probability.

    Abramowitz and Stegun, 26.7.3 and 26.7.4 (the finite sums, solved by bisection) and 26.7.5 (the expansion).

    >>> round(student_quantile(0.975, 1), 3), round(student_quantile(0.975, 29), 4)
    (12.706, 2.0452)

    Args:
        probability: Between 0 and 1, both excluded.
        degrees: Degrees of freedom, at least 1.

    Raises:
        ValueError: An argument is out of its range.
    """
    if not 0 < probability < 1 or degrees < 1:
        raise ValueError(f"The probability {probability} must be between 0 and 1, the degrees {degrees} at least 1.")
    if probability < 0.5:
        return -student_quantile(1 - probability, degrees)
    if degrees >= _EXPANDED_FROM:
        return _expanded(NormalDist().inv_cdf(probability), degrees)
    # In angles the range is finite: t = sqrt(degrees) * tan(angle).
    low, high = 0.0, math.pi / 2
    for _ in range(_BISECTIONS):
        middle = (low + high) / 2
        low, high = (middle, high) if _within(middle, degrees) < 2 * probability - 1 else (low, middle)
    return math.sqrt(degrees) * math.tan(low)


def _within(angle: float, degrees: int) -> float:
    """Return the probability that |t| is below sqrt(degrees) * tan(angle)."""
    sine, cosine = math.sin(angle), math.cos(angle)
    is_odd = degrees % 2
    term, total = (cosine, 0.0) if is_odd else (1.0, 0.0)
    for power in range(2 if is_odd else 1, degrees, 2):
        total += term
        term *= cosine * cosine * power / (power + 1)
    return 2 / math.pi * (angle + sine * total) if is_odd else sine * total


def _expanded(normal: float, degrees: int) -> float:
    first = (normal**3 + normal) / 4
    second = (5 * normal**5 + 16 * normal**3 + 3 * normal) / 96
    return normal + first / degrees + second / degrees**2
