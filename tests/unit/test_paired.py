# SPDX-License-Identifier: Apache-2.0
"""Comparison of two runs problem by problem: against enumeration, the normal distribution, and simulation."""

import itertools
import math
import statistics

import numpy as np
import pytest

from open_r1.evaluation.paired import holm, paired_difference, sign_flip_p_value

NAN = math.nan


def p_value_by_enumeration(differences):
    flipped = [
        abs(sum(s * d for s, d in zip(signs, differences, strict=True)))
        for signs in itertools.product((1, -1), repeat=len(differences))
    ]
    return np.mean([total >= abs(sum(differences)) - 1e-9 for total in flipped])


@pytest.mark.parametrize("differences", [[1], [1, 1, 1], [0.5, -0.25, 1, 0.25, 0.75], [0.1] * 10, [1, -1, 0, 0], [0]])
def test_p_value_is_the_share_of_sign_patterns(differences):
    assert sign_flip_p_value(differences) == pytest.approx(p_value_by_enumeration(differences))


def test_p_value_of_many_problems_is_near_that_of_the_normal_distribution():
    differences = np.random.default_rng(2).normal(0.12, 1, 400)
    z = abs(differences.sum()) / math.sqrt((differences**2).sum())
    assert sign_flip_p_value(differences) == pytest.approx(math.erfc(z / math.sqrt(2)), abs=0.004)
    assert sign_flip_p_value(differences, seed=1) == sign_flip_p_value(differences, seed=1)
    assert 0 < sign_flip_p_value([1.0] * 40) < 1e-4


def test_p_value_changes_little_where_it_is_no_longer_drawn():
    differences = np.random.default_rng(6).normal(0.04, 1, 2_001)
    assert sign_flip_p_value(differences) == pytest.approx(sign_flip_p_value(differences[:2_000]), abs=0.02)
    assert sign_flip_p_value(np.ones(100_000)) == 0.0


def test_runs_are_compared_problem_by_problem():
    found = paired_difference([0.0, 0.0, 1.0, 0.5, NAN], [1.0, 1.0, 0.5, 0.5, 1.0])
    assert (found.num_problems, found.num_better, found.num_worse, found.num_equal) == (4, 2, 1, 1)
    assert found.mean == 0.375
    assert found.p_value == 0.5  # 1 + 1 - 0.5 and its opposite, 1 + 1 + 0.5 and its opposite: 4 of 8
    assert -1 <= found.low < 0 < found.high <= 1


def test_runs_that_are_alike_still_may_differ_by_something():
    found = paired_difference([1.0, 0.0] * 15, [1.0, 0.0] * 15)
    assert (found.mean, found.p_value, found.num_equal) == (0.0, 1.0, 30)
    assert found.low == pytest.approx(-found.high)
    assert 0.02 < found.high < 0.1


def test_difference_of_values_beyond_1_is_students():
    a, b = [0.0, 0.0, 0.0], [2.0, 3.0, 7.0]
    found = paired_difference(a, b)
    margin = 4.30265 * statistics.stdev(b) / math.sqrt(3)
    assert (found.low, found.high) == pytest.approx((4 - margin, 4 + margin), abs=1e-3)


def test_one_problem_shows_no_difference():
    found = paired_difference([0.0], [1.0])
    assert (found.low, found.high, found.p_value) == (-1.0, 1.0, 1.0)
    assert math.isnan(found.detectable)


@pytest.mark.parametrize(("num_problems", "change"), [(6, 1.0), (30, 0.5), (500, -1 / 64)])
def test_differences_that_are_all_alike_leave_a_width(num_problems: int, change: float):
    start = [0.5 - change / 2] * num_problems
    found = paired_difference(start, [value + change for value in start])
    assert found.low < change < found.high or abs(change) == 1.0
    assert 0.0 < found.low < found.high or found.low < found.high < 0.0
    assert found.p_value < 0.05
    assert found.detectable > 0.0


@pytest.mark.parametrize("count", [2, 4, 5])
def test_five_problems_or_fewer_show_nothing(count):
    found = paired_difference(np.zeros(count), np.ones(count))
    assert found.p_value > 0.05
    assert found.low <= 0 < 0.9 < found.high
    assert math.isnan(found.detectable)


@pytest.mark.parametrize(("comparisons", "least"), [(1, 6), (2, 7), (5, 8), (20, 10)])
def test_more_comparisons_ask_for_more_problems(comparisons, least):
    for count in (least - 1, least):
        found = paired_difference(np.zeros(count), np.full(count, 0.3))
        can_show = holm({str(place): found.p_value for place in range(comparisons)})["0"] < 0.05
        assert can_show == (count == least)
        assert math.isnan(found.detectable_among(comparisons)) != can_show


def test_six_problems_that_agree_are_more_than_chance():
    found = paired_difference([0.1] * 6, [0.2, 0.3, 0.3, 0.4, 0.5, 0.6])
    assert found.p_value == pytest.approx(2 / 64)
    assert (found.low, found.high) == pytest.approx((0.1, 0.5))  # the least and the greatest of subsets' means


def interval_by_enumeration(differences):
    """Return the least and the greatest of many shifts that the test doesn't refuse."""
    shifts = np.linspace(min(differences), max(differences), 801)
    kept = [shift for shift in shifts if p_value_by_enumeration([d - shift for d in differences]) >= 0.05]
    return min(kept), max(kept)


@pytest.mark.parametrize("differences", [[0.5, -0.25, 1, 0.25, 0.75, 0.1], [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, -0.05]])
def test_the_interval_holds_the_shifts_that_the_test_does_not_refuse(differences):
    found = paired_difference(np.full(len(differences), -1.0), np.asarray(differences) - 1)
    step = (max(differences) - min(differences)) / 800
    assert (found.low, found.high) == pytest.approx(interval_by_enumeration(differences), abs=1.01 * step)


@pytest.mark.parametrize(("num_problems", "k"), [(6, 64), (10, 4), (30, 64), (100, 16), (3_000, 64)])
def test_the_interval_holds_0_where_p_is_not_below_5_percent(num_problems, k):
    rng = np.random.default_rng(7)
    num_noise = 0
    for shift in np.linspace(0, 0.2, 20) * (30 / k / num_problems) ** 0.5:
        rates = rng.beta(2, 2, num_problems)
        a, b = rng.binomial(k, rates) / k, rng.binomial(k, np.clip(rates + shift, 0, 1)) / k
        found = paired_difference(a, b)
        assert (found.p_value < 0.05) == (not found.low <= 0 <= found.high)
        assert found.low <= found.mean <= found.high
        num_noise += found.p_value >= 0.05
    assert num_noise


@pytest.mark.parametrize(("num_problems", "tolerance"), [(14, 0.001), (60, 0.002), (3_000, 1e-6)])
def test_p_is_5_percent_where_an_end_is_taken_from_all_differences(num_problems, tolerance):
    differences = np.random.default_rng(10).normal(0.1, 1, num_problems)
    found = paired_difference(np.zeros(num_problems), differences)
    for end in (found.low, found.high):
        assert sign_flip_p_value(differences - end) == pytest.approx(0.05, abs=tolerance)


def test_many_answers_to_a_problem_make_the_interval_narrow():
    rng = np.random.default_rng(8)
    rates = rng.beta(0.5, 0.5, (40, 30))
    pairs = zip(rng.binomial(64, rates) / 64, rng.binomial(64, np.clip(rates + 0.05, 0, 1)) / 64, strict=True)
    found = [paired_difference(a, b) for a, b in pairs]
    assert np.mean([entry.high - entry.low for entry in found]) < 0.06
    assert np.mean([entry.low > 0 for entry in found]) > 0.8


@pytest.mark.parametrize("num_problems", [7, 10, 30, 100])
def test_the_detectable_difference_is_found_in_8_of_10_cases(num_problems):
    rng = np.random.default_rng(3)
    spread = [paired_difference(np.full(num_problems, 2.0), row) for row in rng.normal(2, 0.2, (40, num_problems))]
    detectable = np.mean([entry.detectable for entry in spread])
    runs = rng.normal(detectable, 0.2, (100, num_problems))
    found = [paired_difference(np.zeros(num_problems), row) for row in runs]
    assert 0.67 <= np.mean([entry.p_value < 0.05 for entry in found]) <= 0.93


def test_what_runs_that_are_alike_could_show_is_six_problems_or_more():
    found = paired_difference([1.0, 0.0] * 10, [1.0, 0.0] * 10)
    assert 6 / 20 <= found.detectable <= 1
    assert found.detectable_among(5) >= 8 / 20


@pytest.mark.parametrize(
    ("a", "b", "said"),
    [
        ([], [], "No problem has a value in both"),
        ([NAN], [1.0], "No problem"),
        ([1.0], [1.0, 0.0], "1 values of one"),
        ([math.inf], [0.0], "infinite"),
    ],
)
def test_runs_that_cannot_be_compared_are_refused(a, b, said):
    with pytest.raises(ValueError, match=said):
        paired_difference(a, b)


def test_differences_cover_the_truth_and_p_values_cry_wolf_in_5_of_100_cases():
    rng = np.random.default_rng(4)
    rates = rng.beta(0.5, 0.5, (300, 30))
    a, b = rng.binomial(4, rates) / 4, rng.binomial(4, rates) / 4
    found = [paired_difference(one, other) for one, other in zip(a, b, strict=True)]
    assert np.mean([entry.low <= 0 <= entry.high for entry in found]) >= 0.93
    assert np.mean([entry.p_value < 0.05 for entry in found]) <= 0.08


def test_corrected_p_values_are_holms():
    assert holm({"a": 0.01, "b": 0.04, "c": 0.03, "d": 0.005}) == pytest.approx(
        {"a": 0.03, "b": 0.06, "c": 0.06, "d": 0.02}
    )
    assert holm({"a": 0.9, "b": 0.8}) == {"a": 1.0, "b": 1.0}
    assert holm({}) == {}
