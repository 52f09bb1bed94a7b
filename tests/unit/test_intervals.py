# SPDX-License-Identifier: Apache-2.0
"""Intervals of means over problems: against formulas, printed tables, and what they cover in a simulation."""

import math
import statistics

import numpy as np
import pytest

from open_r1.evaluation.estimators import avg_at_k
from open_r1.evaluation.intervals import effective_number, mean_interval, student_quantile

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
    assert student_quantile(0.025, degrees) == -student_quantile(0.975, degrees)


def test_quantiles_of_two_degrees_follow_the_closed_form():
    for p in (0.6, 0.9, 0.999):
        assert student_quantile(p, 2) == pytest.approx((2 * p - 1) / math.sqrt(2 * p * (1 - p)), rel=1e-9)


# By scipy 1.17.1: `scipy.stats.t.ppf`.
@pytest.mark.parametrize(
    ("probability", "degrees", "quantile"),
    [(0.975, 2_000, 1.9611508260994377), (0.9995, 2_000, 3.2953981367297707), (0.975, 10_000, 1.960201239890626)],
)
def test_quantiles_of_many_degrees_are_exact(probability, degrees, quantile):
    assert student_quantile(probability, degrees) == pytest.approx(quantile, rel=1e-8)


@pytest.mark.parametrize(("probability", "degrees"), [(0.0, 5), (1.0, 5), (0.5, 0), (-1.0, 2)])
def test_quantiles_out_of_range_are_refused(probability, degrees):
    with pytest.raises(ValueError, match="must be between 0 and 1"):
        student_quantile(probability, degrees)


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


@pytest.mark.parametrize(
    ("values", "clusters", "said"),
    [
        ([], None, "nothing to average"),
        ([NAN], None, "nothing to average"),
        ([math.inf], None, "infinite"),
        ([1.0], ["a", "b"], "1 values and 2 names"),
    ],
)
def test_values_without_a_mean_are_refused(values, clusters, said):
    with pytest.raises(ValueError, match=said):
        mean_interval(values, clusters)


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
    with pytest.raises(ValueError, match="said to be bounded"):
        mean_interval([2.0, 0.0], is_bounded=True)
