# SPDX-License-Identifier: Apache-2.0
"""Which of the good completions are taken: the best of each problem, and samples over domains and clusters."""

from collections import Counter

import pytest

from open_r1.curation.selection import Kept, best, best_of_each, cluster_problems, draw_over_domains, use_one_unit


def kept_of(*entries: tuple[int, int, int, float]) -> list[Kept]:
    """Return completions of these rows, indices, lengths and scores."""
    return [Kept(place, row, index, length, score=score) for place, (row, index, length, score) in enumerate(entries)]


FOUR = kept_of((0, 0, 50, 0.2), (0, 2, 20, 0.4), (0, 5, 90, 0.1), (3, 1, 10, 0.9))
ORDERS = ("first", "rule_score", "shortest", "longest", "random")


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
    found = best_of_each(FOUR, order, per_problem)
    assert [(kept.row, kept.index) for kept in found] == chosen


@pytest.mark.parametrize("order", ORDERS)
def test_ties_go_to_the_earlier_one(order):
    equal = kept_of(*((0, index, 5, 0.5) for index in range(4)))
    found = [kept.index for kept in best_of_each(equal, order, 2)]
    assert len(found) == 2
    assert found == [0, 1] or order == "random"


def test_random_choice_depends_on_the_seed_alone():
    many = kept_of(*((row, index, 5, 0.5) for row in range(50) for index in range(4)))
    one, again, other = (best_of_each(many, "random", 1, seed) for seed in (1, 1, 2))
    assert one == again != other
    assert {kept.index for kept in one} == {0, 1, 2, 3}
    # What is chosen of a problem doesn't change when other problems are left out.
    assert best_of_each(many[100:], "random", 1, 1) == one[25:]


@pytest.mark.parametrize(
    ("tokens", "lengths", "unit", "num_warnings"),
    [
        ((120, 90), [120, 90], "tokens", 0),
        ((None, None), [50, 80], "words", 0),
        ((120, None), [50, 80], "words", 1),  # 120 tokens are not more than 80 words
    ],
)
def test_lengths_are_compared_in_one_unit(caplog, tokens, lengths, unit, num_warnings):
    kept = [Kept(place, 0, place, 50 + 30 * place, count) for place, count in enumerate(tokens)]
    assert use_one_unit(kept) == unit
    assert [entry.length for entry in kept] == lengths
    assert len(caplog.records) == num_warnings


def test_best_of_all_keeps_the_order_of_rows():
    assert [(kept.row, kept.index) for kept in best(FOUR, "rule_score", 2)] == [(0, 2), (3, 1)]
    assert best(FOUR, "first", 99) == FOUR


def test_domains_are_drawn_alike_and_long_traces_first():
    rows = [Kept(n, n, 0, n, domain="algebra" if n < 900 else "geometry") for n in range(1000)]
    drawn = draw_over_domains(rows, 100, 0)
    counts = Counter(kept.domain for kept in drawn)
    assert len({kept.place for kept in drawn}) == 100
    assert 35 < counts["geometry"] < 65
    # The weight halves from rank to rank: the longest of each domain, but for a few.
    assert min(kept.length for kept in drawn if kept.domain == "algebra") >= 830
    assert min(kept.length for kept in drawn if kept.domain == "geometry") >= 930


def test_drawing_is_the_same_for_a_seed_and_ends_when_nothing_is_left():
    rows = [Kept(n, n, 0, n % 7, domain=str(n % 4)) for n in range(30)]
    one, again, other = (draw_over_domains(rows, 9, seed) for seed in (1, 1, 2))
    assert one == again != other
    assert draw_over_domains(rows, 99, 1) == rows
    assert draw_over_domains([], 5, 1) == []


def test_clusters_part_topics():
    geometry = [f"Find the area of the triangle inscribed in circle number {n} with radius {n}" for n in range(20)]
    words = [f"How many ways can we arrange {n} red books and {n} blue books on the shelf" for n in range(20)]
    names = cluster_problems(geometry + words, 2, seed=0)
    assert len(set(names[:20])) == len(set(names[20:])) == 1
    assert names[0] != names[20]
    assert cluster_problems(geometry + words, 2, seed=0) == names


@pytest.mark.parametrize("texts", [["a b"], ["1+1", "2+2", "3+3"], ["same words"] * 5])
def test_problems_without_topics_are_one_cluster(texts):
    assert set(cluster_problems(texts, 50, seed=0)) <= {"cluster_0"}
