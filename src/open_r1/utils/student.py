# SPDX-License-Identifier: Apache-2.0
"""Student's t distribution for whole degrees of freedom, without scipy."""

import math
from functools import lru_cache
from statistics import NormalDist

# Beyond this many degrees of freedom the expansion is exact to 1e-9; below it the finite sum is short.
_EXPANDED_FROM = 2_000
_BISECTIONS = 100


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
