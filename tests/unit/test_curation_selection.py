# SPDX-License-Identifier: Apache-2.0
"""Which of the good completions are taken: the best of each problem, and samples over domains and clusters."""

from collections import Counter

import pytest

from open_r1.curation.diversity import cluster_problems, draw_over_domains
from open_r1.curation.selection import ORDERS, Kept, best_of_all, best_of_each, in_one_unit

FOUR = [Kept(0, 0, 50, 0.2), Kept(0, 2, 20, 0.4), Kept(0, 5, 90, 0.1), Kept(3, 1, 10, 0.9)]


@pytest.mark.parametrize(
    ("order", "per_problem", "chosen"),
    [
        ("first", 1, [(0, 0), (3, 1)]),
        ("first", 2, [(0, 0), (0, 2), (3, 1)]),
        ("shortest", 1, [(0, 2), (3, 1)]),
        ("longest", 1, [(0, 5), (3, 1)]),
        ("rule_score", 1, [(0, 2), (3, 1)]),
        ("rule_score", 2, [(0, 0), (0, 2), (3, 1)]),
        ("shortest", 9, [(0, 0), (0, 2), (0, 5), (3, 1)]),
    ],
)
def test_best_of_each_problem(order, per_problem, chosen):
    best = best_of_each(FOUR, order=order, per_problem=per_problem)
    assert [(kept.row, kept.index) for kept in best] == chosen


@pytest.mark.parametrize("order", ORDERS)
def test_ties_go_to_the_earlier_one(order):
    equal = [Kept(0, index, 5, 0.5) for index in range(4)]
    assert len(best_of_each(equal, order=order, per_problem=2)) == 2
    if order != "random":
        assert [kept.index for kept in best_of_each(equal, order=order, per_problem=2)] == [0, 1]


def test_random_choice_depends_on_the_seed_alone():
    many = [Kept(row, index, 5, 0.5) for row in range(50) for index in range(4)]
    one, again, other = (best_of_each(many, order="random", per_problem=1, seed=seed) for seed in (1, 1, 2))
    assert one == again != other
    assert {kept.index for kept in one} == {0, 1, 2, 3}
    # What is chosen of a problem doesn't change when other problems are left out.
    assert best_of_each(many[100:], order="random", per_problem=1, seed=1) == one[25:]


@pytest.mark.parametrize(
    ("tokens", "lengths", "unit", "num_warnings"),
    [
        ((120, 90), [120, 90], "tokens", 0),
        ((None, None), [50, 80], "words", 0),
        ((120, None), [50, 80], "words", 1),  # 120 tokens are not more than 80 words
        ((), [], "tokens", 0),
    ],
)
def test_lengths_are_compared_in_one_unit(caplog, tokens, lengths, unit, num_warnings):
    kept = [Kept(0, place, 50 + 30 * place, 0.0, num_tokens=count) for place, count in enumerate(tokens)]
    found, found_unit = in_one_unit(kept)
    assert ([entry.length for entry in found], found_unit) == (lengths, unit)
    assert len(caplog.records) == num_warnings


def test_nothing_and_unknown_orders():
    assert best_of_each([], order="first", per_problem=1) == []
    with pytest.raises(ValueError, match="no order 'best'"):
        best_of_each(FOUR, order="best", per_problem=1)
    with pytest.raises(ValueError, match="at least 1, got 0"):
        best_of_each(FOUR, order="first", per_problem=0)


def test_best_of_all_keeps_the_order_of_rows():
    best = best_of_all(FOUR, 2, order="rule_score")
    assert [(kept.row, kept.index) for kept in best] == [(0, 2), (3, 1)]
    assert best_of_all(FOUR, 99, order="first") == FOUR


def test_domains_are_drawn_alike_and_long_traces_first():
    rows = [Kept(row, 0, row, 0.0) for row in range(1000)]
    domains = ["algebra" if row < 900 else "geometry" for row in range(1000)]
    drawn = draw_over_domains(rows, domains, 100, seed=0)
    counts = Counter(domains[kept.row] for kept in drawn)
    assert len(set(drawn)) == 100
    assert 35 < counts["geometry"] < 65
    # The weight halves from rank to rank: the longest of each domain, but for a few.
    assert min(kept.length for kept in drawn if domains[kept.row] == "algebra") >= 830
    assert min(kept.length for kept in drawn if domains[kept.row] == "geometry") >= 930


def test_drawing_is_the_same_for_a_seed_and_ends_when_nothing_is_left():
    rows = [Kept(row, 0, row % 7, 0.0) for row in range(30)]
    domains = [str(row % 4) for row in range(30)]
    one, again, other = (draw_over_domains(rows, domains, 9, seed=seed) for seed in (1, 1, 2))
    assert one == again != other
    assert draw_over_domains(rows, domains, 99, seed=1) == rows
    assert draw_over_domains([], [], 5, seed=1) == []


def test_clusters_part_topics():
    geometry = [f"Find the area of the triangle inscribed in circle number {n} with radius {n}" for n in range(20)]
    words = [f"How many ways can we arrange {n} red books and {n} blue books on the shelf" for n in range(20)]
    names = cluster_problems(geometry + words, 2, seed=0)
    assert len(set(names[:20])) == len(set(names[20:])) == 1
    assert names[0] != names[20]
    assert cluster_problems(geometry + words, 2, seed=0) == names


@pytest.mark.parametrize("texts", [[], ["a b"], ["1+1", "2+2", "3+3"], ["same words"] * 5])
def test_problems_without_topics_are_one_cluster(texts):
    assert set(cluster_problems(texts, 50, seed=0)) <= {"cluster_0"}


def test_fewer_than_two_clusters_are_refused():
    with pytest.raises(ValueError, match="at least 2, got 1"):
        cluster_problems(["a"], 1, seed=0)
