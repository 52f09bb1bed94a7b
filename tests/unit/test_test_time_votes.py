# SPDX-License-Identifier: Apache-2.0
"""Scores of steps, votes and estimates over subsets, against tables by hand and brute force."""

import itertools
import math

import numpy as np
import pytest

from open_r1.test_time.methods import AGGREGATIONS, CHOICES, StepScores
from open_r1.test_time.sampling import chances, choose

STEPS = [[0.9, 0.2, 0.9], [0.6, 0.7], [0.5], [0.3, 0.8, 0.7, 0.8]]
# By hand from STEPS.
TABLE = {
    "min": [0.2, 0.6, 0.5, 0.3],
    "last": [0.9, 0.7, 0.5, 0.8],
    "avg": [2 / 3, 0.65, 0.5, 0.65],
    "product": [0.162, 0.42, 0.5, 0.1344],
}
# Classes 0, 1, 1, 2 and what is chosen. vote, min: 0.2, 1.1, 0.3; last: 0.9, 1.2, 0.8; avg: 0.67, 1.15, 0.65;
# product: 0.162, 0.92, 0.1344. In the class the best candidate is shown.
CHOSEN = {
    ("min", "max"): 1,
    ("last", "max"): 0,
    ("avg", "max"): 0,
    ("product", "max"): 2,
    ("min", "vote"): 1,
    ("last", "vote"): 1,
    ("avg", "vote"): 1,
    ("product", "vote"): 2,
}


@pytest.mark.parametrize("aggregation", AGGREGATIONS)
def test_scores_of_steps_become_the_table_by_hand(aggregation):
    found = [math.exp(StepScores(steps).log_score(aggregation)) for steps in STEPS]
    assert found == pytest.approx(TABLE[aggregation], rel=1e-12)


@pytest.mark.parametrize(("aggregation", "choice"), CHOSEN)
def test_each_aggregation_with_each_choice_takes_the_candidate_by_hand(aggregation, choice):
    scores = [StepScores(steps).log_score(aggregation) for steps in STEPS]
    assert choose(scores, [0, 1, 1, 2], choice) == CHOSEN[aggregation, choice]


@pytest.mark.parametrize("aggregation", AGGREGATIONS)
def test_a_candidate_without_steps_is_the_worst(aggregation):
    assert StepScores([]).log_score(aggregation) == -math.inf == StepScores([0.0]).log_score(aggregation)


def test_products_of_long_traces_still_differ():
    longer, shorter = StepScores([0.5] * 3000).log_score("product"), StepScores([0.5] * 2000).log_score("product")
    assert 0.5**2000 == 0.0
    assert choose([longer, shorter], [0, 1], "max") == 1
    assert choose([longer, shorter, longer], [0, 1, 0], "vote") == 1


@pytest.mark.parametrize(
    ("scores", "classes", "choice", "expected"),
    [
        ([0.5, 0.5, 0.5], [0, 1, 1], "vote", 1),  # majority
        ([0.5, 0.5], [0, 1], "vote", 0),  # a tie: the first
        ([0.1, 0.2, 0.3], [0, 0, 1], "vote", 1),  # 0.1 + 0.2 ties with 0.3, though not as floats
        ([0.4, 0.4], [0, 1], "max", 0),
        ([0.9, 0.1], [None, 0], "max", 1),  # no answer: chosen only where none has one
        ([0.9, 0.1, 0.1], [None, 0, None], "vote", 1),
        ([0.9, 0.95, 0.1], [None, None, None], "max", 1),
        ([0.9, 0.95, 0.1], [None, None, None], "vote", 1),
        ([0.0, 0.0, 0.0], [0, 1, 1], "vote", 0),  # without any score: the first
        ([0.0, 0.0], [None, 0], "max", 1),
        ([1.0], [0], "vote", 0),
    ],
)
def test_choice_by_hand(scores, classes, choice, expected):
    with np.errstate(divide="ignore"):
        assert choose(np.log(scores), classes, choice) == expected


def by_enumeration(scores, classes, choice, n):
    """Choose from every ordered selection: what `chances` must equal."""
    counts = np.zeros(len(scores))
    for members in itertools.permutations(range(len(scores)), n):
        counts[members[choose([scores[i] for i in members], [classes[i] for i in members], choice)]] += 1
    return counts / counts.sum()


POOLS = {
    "plain": ([0.9, 0.1, 0.5, 0.3, 0.7], [0, 1, 1, 2, 0]),
    "ties": ([0.5, 0.5, 0.5, 0.2, 0.2], [0, 1, 1, 2, 0]),
    "none": ([0.9, 0.8, 0.1, 0.4], [None, None, 0, 1]),
    "nothing": ([0.9, 0.8, 0.8], [None, None, None]),
    "zero": ([0.0, 0.0, 0.3, 0.0], [0, 1, 1, None]),
    "majority": ([1.0] * 6, [0, 0, 1, 1, 2, None]),
}


@pytest.mark.parametrize("choice", CHOICES)
@pytest.mark.parametrize("pool", POOLS)
def test_chances_are_those_of_all_ordered_selections(pool, choice):
    with np.errstate(divide="ignore"):
        scores, classes = np.log(POOLS[pool][0]), POOLS[pool][1]
    for n in range(1, len(scores) + 1):
        expected = by_enumeration(scores, classes, choice, n)
        assert chances(scores, classes, choice, n) == pytest.approx(expected, abs=1e-12)


def test_random_subsets_agree_with_all(monkeypatch):
    generator = np.random.default_rng(1)
    scores, classes = np.log(generator.random(14)), list(generator.integers(0, 4, 14))
    exact = chances(scores, classes, "vote", 6)  # 3003 subsets
    monkeypatch.setattr("open_r1.test_time.sampling.MOST_SUBSETS", 3000)
    drawn = chances(scores, classes, "vote", 6)
    assert drawn.sum() == pytest.approx(1.0)
    assert not np.array_equal(drawn, exact)
    assert drawn == pytest.approx(exact, abs=0.03)
