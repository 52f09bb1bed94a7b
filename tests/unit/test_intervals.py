# SPDX-License-Identifier: Apache-2.0
"""Intervals of means and paired differences: formulas, printed tables, enumeration, coverage in simulations."""

import itertools
import math
import statistics

import numpy as np
import pytest
from scipy import stats

from open_r1.evaluation.intervals import (
    effective_number,
    holm,
    mean_interval,
    paired_difference,
    sign_flip_p_value,
    student_quantile,
)
from open_r1.evaluation.metrics import avg_at_k

NAN = math.nan


# Student's t of printed tables (two-sided 95 %, and the 80 % point), by degrees of freedom.
@pytest.mark.parametrize(
    ("degrees", "upper", "power"),
    [
        (1, 12.7062, 1.3764),
        (2, 4.3027, 1.0607),
        (5, 2.5706, 0.9195),
        (29, 2.0452, 0.8542),
        (30, 2.0423, 0.8538),
        (120, 1.9799, 0.8446),
        (1_999, 1.9612, 0.8418),
        (2_000, 1.9612, 0.8418),
        (10**6, 1.9600, 0.8416),
    ],
)
def test_quantiles_are_those_of_printed_tables(degrees, upper, power):
    assert student_quantile(0.975, degrees) == pytest.approx(upper, abs=6e-5)
    assert student_quantile(0.8, degrees) == pytest.approx(power, abs=6e-5)
    assert student_quantile(0.025, degrees) == pytest.approx(-upper, abs=6e-5)


# By scipy 1.17.1: `scipy.stats.t.ppf`.


def test_interval_is_students_with_a_problem_of_each_kind_added():
    interval = mean_interval([1.0, 0.5, 0.0, 0.5])
    scores = [1.0, 0.5, 0.0, 0.5, 0.0, 1.0]
    margin = 2.77645 * statistics.stdev(scores) / math.sqrt(6)
    assert (interval.mean, interval.low) == (0.5, max(0.0, 0.5 - margin))
    assert interval.high == pytest.approx(min(1.0, 0.5 + margin), abs=1e-5)


def test_interval_beyond_0_and_1_is_students():
    values = [-1.0, 2.0, 0.5, 3.0]
    interval = mean_interval(values)
    margin = 3.18245 * statistics.stdev(values) / 2
    assert (interval.low, interval.high) == pytest.approx((1.125 - margin, 1.125 + margin), abs=1e-4)


@pytest.mark.parametrize("value", [0.0, 0.25, 1.0])
@pytest.mark.parametrize("count", [1, 2, 30, 500])
def test_interval_has_a_width_where_all_values_are_alike(value, count):
    interval = mean_interval([value] * count)
    assert 0 <= interval.low <= value <= interval.high <= 1
    assert interval.high - interval.low > 0.5 / count


def test_one_problem_says_nothing_of_others():
    interval = avg_at_k([[1, 0, 0, 1]])
    assert (interval.mean, interval.low, interval.high) == (0.5, 0.0, 1.0)
    beyond = avg_at_k([[2.0, -1.0]])
    assert math.isnan(beyond.low)
    assert math.isnan(beyond.high)


def test_problems_that_stand_there_twice_tell_no_more_than_once():
    values, names = [1.0, 0.0, 1.0, 0.0, 0.5], ["a", "b", "c", "d", "e"]
    once, twice = mean_interval(values, names), mean_interval(values * 2, names * 2)
    assert (twice.mean, twice.low, twice.high) == pytest.approx((once.mean, once.low, once.high))
    independent = mean_interval(values * 2)
    assert independent.high - independent.low < twice.high - twice.low


def test_mean_counts_rows_and_the_interval_problems():
    interval = mean_interval([1.0, 1.0, 1.0, 0.0], ["a", "a", "a", "b"])
    assert interval.mean == 0.75
    assert interval.scores_P.tolist() == [1.0, 0.0]


def test_rows_without_a_value_are_left_out_with_their_names():
    assert mean_interval([NAN, 1.0, 0.5], ["a", "b", "c"]).scores_P.tolist() == [1.0, 0.5]


@pytest.mark.parametrize("values", [[], [NAN]])
def test_values_without_a_mean_are_refused(values):
    with pytest.raises(ValueError, match="nothing to average"):
        mean_interval(values)


@pytest.mark.parametrize(
    "rows", [[30] + [1] * 29, [90] + [1] * 29, [90] + [1] * 9, [1, 1, 1, 10] * 7 + [1, 1], [10] * 5 + [1] * 25]
)
@pytest.mark.parametrize("share", [0.5, 0.06])
def test_intervals_cover_the_truth_where_a_few_problems_have_most_rows(rows, share):
    rng = np.random.default_rng(9)
    names = np.repeat(np.arange(len(rows)), rows)
    solved = rng.random((300, len(rows))) < share
    intervals = [mean_interval(row[names], names.tolist()) for row in solved]
    assert np.mean([interval.low <= share <= interval.high for interval in intervals]) >= 0.93


def test_problems_of_equal_numbers_of_rows_count_whole():
    values, names = [1.0, 0.0, 1.0, 0.0, 0.5, 0.25, 0.75], list("abcdefg")
    once, thrice = mean_interval(values, names), mean_interval(values * 3, names * 3)
    assert (once.low, once.high) == pytest.approx((thrice.low, thrice.high), abs=1e-12)
    assert effective_number(np.full(7, 3.0)) == pytest.approx(7)


# How rates of problems are drawn.
SITUATIONS = {
    "half can be solved": lambda rng, size: rng.beta(0.5, 0.5, size),
    "6 % can be solved": lambda rng, size: 1.0 * (rng.random(size) < 0.06),
    "all at 0.97": lambda rng, size: np.full(size, 0.97),
    "5 % at 0.9, others at 0.01": lambda rng, size: np.where(rng.random(size) < 0.05, 0.9, 0.01),
}
TRUTHS = {
    "half can be solved": 0.5,
    "6 % can be solved": 0.06,
    "all at 0.97": 0.97,
    "5 % at 0.9, others at 0.01": 0.0545,
}


@pytest.mark.parametrize("num_problems", [3, 30, 200])
@pytest.mark.parametrize("situation", SITUATIONS)
def test_intervals_cover_the_truth_in_95_of_100_cases_or_more(situation, num_problems):
    rng = np.random.default_rng(5)
    rates = SITUATIONS[situation](rng, (500, num_problems))
    scores = rng.binomial(16, rates) / 16
    intervals = [mean_interval(row) for row in scores]
    covered = np.mean([interval.low <= TRUTHS[situation] <= interval.high for interval in intervals])
    assert covered >= 0.93  # 0.95, less two standard errors of 500 cases


def test_interval_of_many_problems_is_no_wider_than_it_must_be():
    rng = np.random.default_rng(6)
    intervals = [mean_interval(rng.beta(0.5, 0.5, 300)) for _ in range(500)]
    covered = np.mean([interval.low <= 0.5 <= interval.high for interval in intervals])
    assert 0.93 <= covered <= 0.97


def test_scores_beyond_1_are_known_though_their_means_are_not():
    interval = avg_at_k([[2.0, -1.0], [1.0, 0.0], [0.5, 0.5]])
    assert (interval.low, interval.high) == (0.5, 0.5)


def p_value_by_enumeration(differences):
    flipped = [
        abs(sum(s * d for s, d in zip(signs, differences, strict=True)))
        for signs in itertools.product((1, -1), repeat=len(differences))
    ]
    return np.mean([total >= abs(sum(differences)) - 1e-9 for total in flipped])


@pytest.mark.parametrize("differences", [[1], [1, 1, 1], [0.5, -0.25, 1, 0.25, 0.75], [0.1] * 10, [1, -1, 0, 0], [0]])
def test_p_value_is_the_share_of_sign_patterns(differences):
    assert sign_flip_p_value(differences) == pytest.approx(p_value_by_enumeration(differences))


@pytest.mark.parametrize("number", [3, 10, 19])
def test_exact_p_value_is_that_of_scipy_and_of_mcnemar(number):
    differences = np.random.default_rng(number).normal(0.4, 1, min(number, 10))
    samples = (differences, np.zeros_like(differences))
    found = stats.permutation_test(samples, lambda a, b: np.mean(a - b), permutation_type="samples", n_resamples=2**11)
    assert sign_flip_p_value(differences) == pytest.approx(found.pvalue)
    signs = [1.0] * 2 + [-1.0] * (number - 2)
    assert sign_flip_p_value(signs) == pytest.approx(stats.binomtest(2, number).pvalue)


def test_p_value_and_interval_of_many_problems_are_those_of_students_paired_test():
    a, b = np.random.default_rng(2).random((2, 400))
    found, expected = paired_difference(a, b), stats.ttest_rel(b, a)
    assert found.p_value == pytest.approx(expected.pvalue)
    assert (found.low, found.high) == pytest.approx(tuple(expected.confidence_interval()))
    assert sign_flip_p_value(np.ones(100_000)) == 0.0
    steps = np.random.default_rng(6).normal(0.4, 1, 20)
    assert sign_flip_p_value(steps) == pytest.approx(sign_flip_p_value(steps[:19]), abs=0.03)


def test_runs_are_compared_problem_by_problem():
    found = paired_difference([0.0, 0.0, 1.0, 0.5, NAN], [1.0, 1.0, 0.5, 0.5, 1.0])
    assert (found.num_problems, found.num_better, found.num_worse, found.num_equal) == (4, 2, 1, 1)
    assert (found.mean, found.is_too_few) == (0.375, True)
    assert found.p_value == 0.5  # 1 + 1 - 0.5 and its opposite, 1 + 1 + 0.5 and its opposite: 4 of 8


@pytest.mark.parametrize(("count", "is_too_few"), [(1, True), (5, True), (6, False)])
def test_fewer_than_six_differing_problems_are_too_few_to_compare(count, is_too_few):
    found = paired_difference(np.zeros(40), [1.0] * count + [0.0] * (40 - count))
    assert found.is_too_few == is_too_few == math.isnan(found.low)
    assert (found.p_value >= 0.0625) == is_too_few


def test_difference_of_values_beyond_1_is_students():
    b = [2.0, 3.0, 7.0, 4.0, 5.0, 1.0]
    found = paired_difference([0.0] * 6, b)
    margin = 2.57058 * statistics.stdev(b) / math.sqrt(6)
    assert (found.low, found.high) == pytest.approx((22 / 6 - margin, 22 / 6 + margin), abs=1e-4)


@pytest.mark.parametrize(("num_problems", "change"), [(6, 1.0), (30, 0.5), (500, -1 / 64)])
def test_differences_that_are_all_alike_leave_a_width(num_problems: int, change: float):
    start = [0.5 - change / 2] * num_problems
    found = paired_difference(start, [value + change for value in start])
    assert found.low < change < found.high or abs(change) == 1.0
    assert 0.0 < found.low < found.high or found.low < found.high < 0.0
    assert found.p_value < 0.05


def test_many_answers_to_a_problem_make_the_interval_narrow():
    rng = np.random.default_rng(8)
    rates = rng.beta(0.5, 0.5, (40, 30))
    pairs = zip(rng.binomial(64, rates) / 64, rng.binomial(64, np.clip(rates + 0.05, 0, 1)) / 64, strict=True)
    found = [paired_difference(a, b) for a, b in pairs]
    assert np.mean([entry.high - entry.low for entry in found]) < 0.06
    assert np.mean([entry.low > 0 for entry in found]) > 0.8


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
