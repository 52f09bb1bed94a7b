# SPDX-License-Identifier: Apache-2.0
"""Whole answers: one, greedy or sampled, or N of which one is chosen by vote, by score, or by both.

| method      | chosen                                                                     | in search-and-learn |
|-------------|----------------------------------------------------------------------------|---------------------|
| greedy, cot | the only one                                                               |                     |
| majority    | the answer that most candidates give; no scorer                            | `maj`               |
| best_of_n   | the candidate with the best score                                          | `naive`             |
| weighted    | the answer with the largest sum of scores over the candidates that give it | `weighted`          |

All n of a method are estimated from one pool of max(n) candidates, without bias, as pass@k is (Chen et al. 2021): an
attempt at n holds each text that could have been chosen from n of the pool, with its chance, and the tokens that n
candidates take on average. Methods with the same temperature share samples.

A candidate without an answer doesn't vote, and is chosen only where none has one. Different from search-and-learn: its
majority vote counts candidates without an answer as one answer, and its classes are by canonical text, here by the
verifier (1/2, 0.5 and \\frac12 are one).

N candidates, K classes of equal answers and one of those without, R subsets of candidates; scores are logarithms.
"""

import itertools
import math
from collections.abc import Mapping, Sequence

import numpy as np

from open_r1.evaluation.metrics import group_answers
from open_r1.rewards.verifier.extract import extract_answer
from open_r1.test_time.methods import (
    Attempt,
    Candidate,
    Policy,
    Setting,
    Steps,
    StepScores,
    Task,
    TestTimeArguments,
    Value,
)

# Two scores that differ by less than this share of them are equal: sums and exponentials are off by some 1e-16.
_TIE_TOLERANCE = 1e-9
_SMALLEST_CHANCE = 1e-12  # what differs from 0 by rounding alone
# Subsets are enumerated up to so many; beyond, as many are drawn: 0.5 % standard error of a chance at the most.
MOST_SUBSETS = 10_000


def groups(name: str, args: TestTimeArguments, scorer: Mapping[str, Value]) -> list[list[Setting]]:
    """Return all settings in one group: they share the pool, whose size they name."""
    if name in ("greedy", "cot"):
        return [[Setting(name)]]
    pool = max(args.n)
    if name == "majority":
        return [[Setting(name, {"n": n, "pool": pool}) for n in args.n]]
    more = {**scorer, "step_separator": args.step_separator}
    pairs = itertools.product(args.aggregations, args.n)
    return [[Setting(name, {"n": n, "pool": pool, "aggregation": how, **more}) for how, n in pairs]]


def solve(task: Task, settings: Sequence[Setting], policy: Policy, seed: int) -> Steps:
    """Return the steps to an attempt at each setting; see `methods.Method`."""
    args, method = policy.args, settings[0].method
    size = int(settings[0].values.get("pool") or 1)
    replies = yield [
        policy.request(task.prompt_ids, seed=seed + place, temperature=args.temperature_of(method))
        for place in range(size)
    ]
    texts = [reply.text for reply in replies]
    num_tokens = sum(len(reply.token_ids) for reply in replies)
    num_thinking = sum(policy.num_thinking(reply.token_ids) for reply in replies)
    scored: Sequence[StepScores] = ()
    if "scorer" in settings[0].values:
        scored = yield [Candidate(task, text) for text in texts]
    answers = [extract_answer(text) if policy.has_votes else None for text in texts]
    classes = group_answers(answers)
    found = []
    for setting in settings:
        how, n = setting.values.get("aggregation"), int(setting.values.get("n") or 1)
        log_scores = [one.log_score(str(how)) for one in scored] or [0.0] * size
        chances_N = chances(log_scores, classes, "vote" if method in ("majority", "weighted") else "max", n)
        place, share = int(np.argmax(chances_N >= chances_N.max() - _SMALLEST_CHANCE)), n / size
        details = {"answers": answers, "chosen": place, "scores": [math.exp(score) for score in log_scores]}
        found.append(
            Attempt(
                task.row,
                setting,
                _by_text(texts, chances_N, place),
                round(share * num_thinking),
                round(share * num_tokens),
                round(share * sum(one.num_tokens for one in scored)),
                replies[place].finish_reason,
                details,
            )
        )
    return found


def _by_text(texts: Sequence[str], chances_N: np.ndarray, place: int) -> list[tuple[str, float]]:
    """Return the chances of texts, that at `place` first, of which no sum is above 1 by rounding."""
    found: dict[str, float] = {texts[place]: 0.0}
    for text, chance in zip(texts, chances_N.tolist(), strict=True):
        if chance > _SMALLEST_CHANCE:
            found[text] = found.get(text, 0.0) + chance
    likeliest = max(found, key=lambda text: found[text])
    found[likeliest] = 1.0 - math.fsum(chance for text, chance in found.items() if text != likeliest)
    return list(found.items())


def is_tied(log_scores: np.ndarray, best: float | np.ndarray) -> np.ndarray:
    """Return which scores are as good as the best, within the tolerance.

    >>> is_tied(np.log([0.3, 0.1 + 0.2, 0.2]), float(np.log(0.1 + 0.2))).tolist()
    [True, True, False]
    """
    return log_scores >= best - _TIE_TOLERANCE


def choose(log_scores: Sequence[float], classes: Sequence[int | None], choice: str) -> int:
    r"""Return the number of the candidate that is chosen; of equals the first, of equal classes the first.

    Args:
        log_scores: Score of each candidate, at least one; all the same: a majority vote.
        classes: Class of each candidate's answer; None: it has none.
        choice: max: the best score; vote: the class with the largest sum of scores, and in it the best.

    >>> choose(np.log([0.5, 0.3, 0.4]), [0, 1, 1], "max"), choose(np.log([0.5, 0.3, 0.4]), [0, 1, 1], "vote")
    (0, 2)
    """
    scores, labels, num_classes = _labelled(log_scores, classes)
    among = np.flatnonzero(labels < num_classes) if num_classes else np.arange(scores.size)
    if choice == "vote" and num_classes:
        weights_K = np.array([np.logaddexp.reduce(scores[labels == label]) for label in range(num_classes)])
        among = np.flatnonzero(labels == np.argmax(is_tied(weights_K, weights_K.max())))
    return int(among[np.argmax(is_tied(scores[among], scores[among].max()))])


def chances(log_scores: Sequence[float], classes: Sequence[int | None], choice: str, n: int) -> np.ndarray:
    """Return how likely each candidate is chosen from n of them, drawn without replacement in random order.

    The mean of the candidates' scores by these chances estimates, without bias, how often the choice from n fresh
    candidates is right. Exact for `max`; for `vote` over all subsets up to `MOST_SUBSETS`, over as many random ones
    beyond. Ties are shared as a random order would: between candidates alike, between classes by their members.

    Args:
        log_scores: As of `choose`.
        classes: Likewise.
        choice: Likewise.
        n: Size of the subsets, from 1 to N.

    >>> chances(np.log([0.9, 0.5, 0.1]), [0, 1, 2], "max", 2).round(3).tolist()
    [0.667, 0.333, 0.0]
    """
    scores, labels, num_classes = _labelled(log_scores, classes)
    if choice == "max":
        return _chances_of_max(scores, labels < num_classes, n)
    masks_RN = _subsets(scores.size, n)
    drawn_RN = np.where(masks_RN, scores, -np.inf)
    members_K = [labels == label for label in range(num_classes + 1)]
    counts_RK = np.stack([masks_RN[:, members].sum(axis=1) for members in members_K], axis=1)
    weights_RK = np.stack(
        [np.logaddexp.reduce(drawn_RN[:, one], axis=1, initial=-np.inf) for one in members_K], axis=1
    )
    votes_RK = counts_RK > 0
    votes_RK[:, -1] &= ~votes_RK[:, :-1].any(axis=1)
    most_R1 = np.where(votes_RK, weights_RK, -np.inf).max(axis=1, keepdims=True)
    tied_RK = counts_RK * (votes_RK & is_tied(weights_RK, most_R1))
    shares_RK = tied_RK / tied_RK.sum(axis=1, keepdims=True)
    chances_N = np.zeros(scores.size)
    for place, members in enumerate(members_K):
        if members.any():
            drawn, is_drawn = drawn_RN[:, members], masks_RN[:, members]
            best = is_drawn & is_tied(drawn, drawn.max(axis=1, keepdims=True))  # shared where they are tied
            chances_N[members] = shares_RK[:, place] @ (best / np.maximum(best.sum(axis=1, keepdims=True), 1))
    return chances_N / len(masks_RN)


def _labelled(log_scores: Sequence[float], classes: Sequence[int | None]) -> tuple[np.ndarray, np.ndarray, int]:
    """Return scores, classes with K for no answer, and K."""
    known = dict.fromkeys(label for label in classes if label is not None)
    numbers = {label: number for number, label in enumerate(known)}  # by their first members
    labels = [len(numbers) if label is None else numbers[label] for label in classes]
    return np.asarray(log_scores, dtype=float), np.asarray(labels), len(numbers)


def _chances_of_max(scores: np.ndarray, has_answer: np.ndarray, n: int) -> np.ndarray:
    """A group of tied candidates wins where none above it is drawn, and one of it is."""
    chances_N, left = np.zeros(scores.size), np.ones(scores.size, dtype=bool)
    while left.any():
        among = left & has_answer if (left & has_answer).any() else left
        group = among & is_tied(scores, float(scores[among].max()))
        num_left, num_tied = int(left.sum()), int(group.sum())
        wins = math.comb(num_left, n) - math.comb(num_left - num_tied, n)
        chances_N[group] = wins / math.comb(scores.size, n) / num_tied
        left &= ~group
    return chances_N


def _subsets(num_candidates: int, n: int) -> np.ndarray:
    """Return the subsets as masks of shape (R, N)."""
    if math.comb(num_candidates, n) <= MOST_SUBSETS:
        members = np.array(list(itertools.combinations(range(num_candidates), n)))
    else:
        order = np.random.default_rng(0).random((MOST_SUBSETS, num_candidates))
        members = np.argpartition(order, n - 1, axis=1)[:, :n]
    masks_RN = np.zeros((len(members), num_candidates), dtype=bool)
    np.put_along_axis(masks_RN, members, True, axis=1)
    return masks_RN
