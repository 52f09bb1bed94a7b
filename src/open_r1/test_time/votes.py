# SPDX-License-Identifier: Apache-2.0
"""Which of several candidates is the answer: the best one, or the answer that most of them give.

Notation: N candidates, K classes of equal answers, R subsets of candidates. A class is a number, None for a candidate
without an answer; scores are logarithms (`aggregation`).

| choice | chosen                                                                                                    |
|--------|-----------------------------------------------------------------------------------------------------------|
| max    | the candidate with the best score                                                                         |
| vote   | the class with the largest sum of scores, and in it the best candidate; with equal scores: majority vote  |

A candidate without an answer doesn't vote, and is chosen only where none has one. Ties go to whoever comes first: of
candidates the first, of classes that with the first member.
Different from search-and-learn: its majority vote counts candidates without an answer as one answer, and its classes
are by canonical text, ours by the verifier (1/2, 0.5 and \\frac12 are one).
"""

import math
from collections.abc import Sequence
from itertools import combinations

import numpy as np

from open_r1.test_time.aggregation import is_tied

CHOICES = ("max", "vote")
# Subsets are enumerated up to so many; beyond, as many are drawn: 0.5 % standard error of a chance at the most.
MOST_SUBSETS = 10_000


def choose(log_scores: Sequence[float], classes: Sequence[int | None], choice: str) -> int:
    r"""Return the number of the candidate that is chosen.

    Args:
        log_scores: Score of each candidate; all the same: a majority vote.
        classes: Class of each candidate's answer.
        choice: `max` or `vote`.

    Raises:
        ValueError: There are no candidates, there is no such choice, or a score is no logarithm of a score.

    >>> choose(np.log([0.5, 0.3, 0.4]), [0, 1, 1], "max"), choose(np.log([0.5, 0.3, 0.4]), [0, 1, 1], "vote")
    (0, 2)
    """
    scores, labels, num_classes = _checked(log_scores, classes, choice)
    if choice == "max" or num_classes == 0:
        return _first_best(scores, np.flatnonzero(labels < num_classes) if num_classes else np.arange(scores.size))
    weights_K = np.array([np.logaddexp.reduce(scores[labels == label]) for label in range(num_classes)])
    # Labels are numbered by their first members, so the first of the tied is the one that comes first.
    winner = int(np.flatnonzero(is_tied(weights_K, float(weights_K.max())))[0])
    return _first_best(scores, np.flatnonzero(labels == winner))


def chances(
    log_scores: Sequence[float], classes: Sequence[int | None], choice: str, n: int, *, seed: int = 0
) -> np.ndarray:
    """Return how likely each candidate is chosen from n of them, drawn without replacement in random order.

    The mean of the candidates' scores by these chances estimates, without bias, how often the choice from n fresh
    candidates is right: one pool gives the whole curve, as unbiased pass@k does (Chen et al. 2021). Exact for `max`;
    for `vote` over all subsets up to `MOST_SUBSETS`, over as many random ones beyond. Ties are shared as a random
    order would: between candidates alike, between classes by their members.

    Args:
        log_scores: Score of each of the N candidates.
        classes: Class of each candidate's answer.
        choice: `max` or `vote`.
        n: Size of the subsets, from 1 to N.
        seed: Of the random subsets.

    Raises:
        ValueError: n is out of range, or see `choose`.

    >>> chances(np.log([0.9, 0.5, 0.1]), [0, 1, 2], "max", 2).round(3).tolist()
    [0.667, 0.333, 0.0]
    """
    scores, labels, num_classes = _checked(log_scores, classes, choice)
    if not 1 <= n <= scores.size:
        raise ValueError(f"A choice from {n} of {scores.size} candidates can't be estimated: n is 1 to {scores.size}.")
    if choice == "max":
        return _chances_of_max(scores, labels < num_classes, n)
    return _chances_of_vote(scores, labels, num_classes, _subsets(scores.size, n, seed))


def _checked(
    log_scores: Sequence[float], classes: Sequence[int | None], choice: str
) -> tuple[np.ndarray, np.ndarray, int]:
    """Return scores, labels numbered by first members (K: no answer) and K."""
    if choice not in CHOICES:
        raise ValueError(f"There is no choice {choice!r}; there are {', '.join(CHOICES)}.")
    if not len(log_scores) or len(log_scores) != len(classes):
        raise ValueError(f"Got {len(log_scores)} scores and {len(classes)} classes; need one of each a candidate.")
    scores = np.asarray(log_scores, dtype=float)
    if not np.all(scores <= 0):
        raise ValueError(f"Logarithms of scores are at most 0, got {scores[~(scores <= 0)][0]}.")
    numbers: dict[int, int] = {}
    for label in classes:
        if label is not None:
            numbers.setdefault(label, len(numbers))
    labels = [len(numbers) if label is None else numbers[label] for label in classes]
    return scores, np.asarray(labels), len(numbers)


def _first_best(scores: np.ndarray, among: np.ndarray) -> int:
    chosen = scores[among]
    return int(among[np.flatnonzero(is_tied(chosen, float(chosen.max())))[0]])


def _chances_of_max(scores: np.ndarray, has_answer: np.ndarray, n: int) -> np.ndarray:
    """A group of tied candidates wins where none above it is drawn, and one of it is."""
    chances_N, left = np.zeros(scores.size), np.ones(scores.size, dtype=bool)
    num_subsets = math.comb(scores.size, n)
    while left.any():
        among = left & has_answer if (left & has_answer).any() else left
        group = among & is_tied(scores, float(scores[among].max()))
        num_left, num_tied = int(left.sum()), int(group.sum())
        wins = math.comb(num_left, n) - math.comb(num_left - num_tied, n)
        chances_N[group] = wins / num_subsets / num_tied
        left &= ~group
    return chances_N


def _subsets(num_candidates: int, n: int, seed: int) -> np.ndarray:
    """Return the subsets as masks of shape (R, N)."""
    if math.comb(num_candidates, n) <= MOST_SUBSETS:
        members = np.array(list(combinations(range(num_candidates), n)))
    else:
        order = np.random.default_rng(seed).random((MOST_SUBSETS, num_candidates))
        members = np.argpartition(order, n - 1, axis=1)[:, :n]
    masks_RN = np.zeros((len(members), num_candidates), dtype=bool)
    np.put_along_axis(masks_RN, members, True, axis=1)
    return masks_RN


def _chances_of_vote(scores: np.ndarray, labels: np.ndarray, num_classes: int, masks_RN: np.ndarray) -> np.ndarray:
    labels_K = [labels == label for label in range(num_classes)]
    counts_RK = np.stack([masks_RN[:, members].sum(axis=1) for members in labels_K], axis=1) if labels_K else None
    chances_N = np.zeros(scores.size)
    without = np.ones(len(masks_RN)) if counts_RK is None else (counts_RK.sum(axis=1) == 0).astype(float)
    shares = [(labels == num_classes, without)]
    if counts_RK is not None:
        tied_RK = counts_RK * _has_most(scores, labels_K, masks_RN, counts_RK)
        shares_RK = tied_RK / np.maximum(tied_RK.sum(axis=1, keepdims=True), 1)
        shares += [(members, shares_RK[:, label]) for label, members in enumerate(labels_K)]
    for members, share_R in shares:
        if share_R.any():
            rows = share_R > 0
            best = _shares_of_best(scores[members], masks_RN[np.ix_(rows, members)])
            chances_N[members] += share_R[rows] @ best
    return chances_N / len(masks_RN)


def _has_most(
    scores: np.ndarray, labels_K: Sequence[np.ndarray], masks_RN: np.ndarray, counts_RK: np.ndarray
) -> np.ndarray:
    """Return which classes have the largest sum of scores in each subset, those without a member left out."""
    drawn_RN = np.where(masks_RN, scores, -np.inf)
    weights_RK = np.stack([np.logaddexp.reduce(drawn_RN[:, members], axis=1) for members in labels_K], axis=1)
    has_member_RK = counts_RK > 0
    most_R1 = np.where(has_member_RK, weights_RK, -np.inf).max(axis=1, keepdims=True)
    return has_member_RK & is_tied(weights_RK, most_R1)


def _shares_of_best(scores: np.ndarray, masks: np.ndarray) -> np.ndarray:
    """Return, for each subset, 1 at the best of its members, shared where they are tied."""
    drawn = np.where(masks, scores, -np.inf)
    tied = masks & is_tied(drawn, drawn.max(axis=1, keepdims=True))
    return tied / tied.sum(axis=1, keepdims=True)
