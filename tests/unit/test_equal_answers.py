# SPDX-License-Identifier: Apache-2.0
"""Classes of equal answers to a problem: hostile ones first."""

import random
import time

import pytest

from open_r1.evaluation.equal_answers import MAX_CHARS, MAX_TEXTS, group_answers

HOSTILE = [
    "9^{9^{9^{9}}}",
    "((9!)!)!",
    "x" * 1_000_000,
    "(x+1)*" * 200_000,
    "{" * 100_000,
    r"\frac{" * 150,
    "\0\ud800",
    r"(x+y+z+w+1)^{200}",
    r"\prod_{k=1}^{10^7}(x-k)",
    "e^{" * 18 + "x" + "}" * 18,
]


def test_hostile_answers_end_in_time_and_leave_the_others_their_classes():
    answers = ["7", *HOSTILE, "7.0", *HOSTILE, r"\frac{14}{2}"]
    start = time.process_time()
    found = group_answers(answers)
    assert time.process_time() - start < 30
    assert found[0] == found[11] == found[-1] == 0
    assert found[1:11] == found[12:22]  # the same text is the same answer, whatever it is
    assert found.count(0) == 3


def test_beyond_the_steps_each_text_stands_alone_and_the_next_problem_is_compared():
    assert group_answers(["1/2", "0.5", "1/2"], max_steps=1) == [0, 1, 0]
    assert group_answers(["1/2", "0.5", "1/2"]) == [0, 0, 0]


def test_texts_beyond_the_limits_are_compared_by_their_letters():
    many = [str(number) for number in range(MAX_TEXTS)] + ["0.0", "0.0"]  # twice: among the first
    assert group_answers(many)[0] == group_answers(many)[-1] == 0
    assert len(set(group_answers([str(number) for number in range(MAX_TEXTS)] + ["0.0"]))) == MAX_TEXTS + 1
    long = "1" * (MAX_CHARS + 1)
    assert group_answers([long, long, f"{long}.0"]) == [0, 0, 1]


@pytest.mark.parametrize(
    ("answers", "classes"),
    [
        ([], []),
        ([None, None], [None, None]),
        (["", "  ", None, "3"], [None, None, None, 0]),
        (["3", "3"], [0, 0]),
        (["3", "4", "3.0", "4.00"], [0, 1, 0, 1]),
        ([r"\frac{1}{2}", "0.5", "1/2", "2/4", "0.333"], [0, 0, 0, 0, 1]),
        (["B", "(B)", "b)", "C"], [0, 0, 0, 1]),
        (["x = 3", "3", "4"], [0, 0, 1]),
        ([r"2\sqrt{3}", r"\sqrt{12}", "3.46"], [0, 0, 1]),
        (["Paris", "paris.", "London"], [0, 0, 1]),
        (["not  sure", "not sure", "1"], [0, 0, 1]),
        ([r"\frac{1}{", r"\frac{1}{", r"\frac{2}{"], [0, 0, 1]),
        (["0", "1", None, "0", "1", None], [0, 1, None, 0, 1, None]),
    ],
)
def test_answers_that_say_the_same_are_one_class(answers, classes):
    assert group_answers(answers) == classes


def test_what_equals_two_that_differ_joins_the_more_frequent():
    assert group_answers(["50", "0.5", "0.5", "50%"]) == [0, 1, 1, 1]
    assert group_answers(["50", "50", "0.5", "50%"]) == [0, 0, 1, 0]


def test_classes_are_the_same_in_any_order_where_counts_decide():
    answers = ["1/2", "1/2", "1/2", "0.5", "3", "3", "6/2", None, "four", "four", "x+1", "1+x"]
    expected = {frozenset({"1/2", "0.5"}), frozenset({"3", "6/2"}), frozenset({"four"}), frozenset({"x+1", "1+x"})}
    for seed in range(5):
        shuffled = random.Random(seed).sample(answers, len(answers))
        classes = group_answers(shuffled)
        of_class = {
            name: frozenset(a for a, c in zip(shuffled, classes, strict=True) if c == name) for name in classes
        }
        assert {members for name, members in of_class.items() if name is not None} == expected
