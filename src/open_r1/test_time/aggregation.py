# SPDX-License-Identifier: Apache-2.0
"""One score of a candidate from the scores of its steps.

Scores are numbers in [0, 1]. They are kept as logarithms, in [-inf, 0]: the product over a long trace is smaller than
any float (0.5 ** 2000), and would make all long candidates alike.
Different from search-and-learn and the compute-optimal paper (arXiv 2502.06703):
1. `product` is one of the four; the paper compares min, last and avg, search-and-learn has min, prod and last.
2. A score that is NaN, or outside [0, 1], is refused instead of being sorted somewhere.
"""

import math
from collections.abc import Callable, Sequence

import numpy as np

DEFAULT_AGGREGATION = "last"  # as in search-and-learn
# Two scores that differ by less than this share of them are equal: sums and exponentials are off by some 1e-16.
TIE_TOLERANCE = 1e-9
NO_STEPS = -math.inf  # a candidate without a step: the score 0


def _log(score: float) -> float:
    return math.log(score) if score > 0 else -math.inf


AGGREGATIONS: dict[str, Callable[[Sequence[float]], float]] = {
    "min": lambda scores: _log(min(scores)),
    "last": lambda scores: _log(scores[-1]),
    "avg": lambda scores: _log(math.fsum(scores) / len(scores)),
    "product": lambda scores: math.fsum(_log(score) for score in scores) if min(scores) > 0 else -math.inf,
}


def log_score(step_scores: Sequence[float], aggregation: str) -> float:
    """Return the logarithm of a candidate's score, in [-inf, 0]; -inf where it has no step.

    Args:
        step_scores: A score in [0, 1] for each step.
        aggregation: `min`, `last`, `avg` (the mean) or `product`.

    Raises:
        ValueError: There is no such aggregation, or a score is no number in [0, 1].

    >>> [round(math.exp(log_score([0.5, 0.9, 0.8], how)), 6) for how in AGGREGATIONS]
    [0.5, 0.8, 0.733333, 0.36]
    """
    if aggregation not in AGGREGATIONS:
        raise ValueError(f"There is no aggregation {aggregation!r}; there are {', '.join(AGGREGATIONS)}.")
    check_step_scores(step_scores)
    return AGGREGATIONS[aggregation](step_scores) if len(step_scores) else NO_STEPS


def check_step_scores(step_scores: Sequence[float]) -> None:
    """Refuse scores that are no numbers in [0, 1].

    Raises:
        ValueError: Names the first of them and its step.
    """
    for step, score in enumerate(step_scores):
        if not 0.0 <= score <= 1.0:  # NaN is neither
            raise ValueError(
                f"Step {step} has the score {score}; the scores of steps are numbers from 0 to 1. A scorer with other "
                "numbers must map them there, as the logistic function does."
            )


def is_tied(log_scores: np.ndarray, best: float | np.ndarray) -> np.ndarray:
    """Return which scores are as good as the best, within `TIE_TOLERANCE`.

    Args:
        log_scores: Of any shape.
        best: One number, or as many as can be broadcast to that shape.

    >>> is_tied(np.log([0.3, 0.1 + 0.2, 0.2]), float(np.log(0.1 + 0.2))).tolist()
    [True, True, False]
    """
    return log_scores >= best - TIE_TOLERANCE
