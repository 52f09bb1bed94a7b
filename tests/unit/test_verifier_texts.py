# SPDX-License-Identifier: Apache-2.0
"""Commas between numbers, choices with more behind them, boxes in boxes, words behind a number."""

import pytest

from open_r1.rewards.verifier import Verdict, verify

R, W = Verdict.RIGHT, Verdict.WRONG

# Gold, answer (in a box), verdict.
COMMAS = [
    ("(2,100)", "(2, 100)", R),
    ("[0,100]", "[0, 100]", R),
    ("(0,100)", "0<x<100", R),
    ("(3,200)", "x=3,y=200", R),
    (r"\{1,100\}", r"\{1, 100\}", R),
    ("(1, 234)", "(1,234)", R),
    ("(10,100)", r"(10,\,100)", R),
    ("[0,100)", r"0\le x<100", R),
    ("(1,100]", r"1<x\le 100", R),
    (r"\{1,000\}", r"\{1000\}", R),
    ("(1,234, 5)", "(1234, 5)", R),
    ("3100", r"(3,\,100)", W),
    ("1234", r"1,\!234", R),
    ("1,234", "1{,}234", R),
    ("1234567", r"1\,234\,567", R),
    ("(100,2)", "(2,100)", W),
    (r"\frac{1,000}{3}", r"\frac{1000}{3}", R),
    ("(-2,100)", "(-2, 100)", R),
    (r"\left(2,100\right)", "(2, 100)", R),
    ("2100", "(2,100)", W),
    ("(2,100)", "2100", W),
    ("100,200", "100, 200", R),
    ("(1,100.5)", "(1, 100.5)", R),
    (r"(0,100)\cup(200,300)", r"(0, 100)\cup (200, 300)", R),
    ("(10,-100)", "(10, -100)", R),
    ("1,234", "1234", R),
]


@pytest.mark.parametrize(("gold", "answer", "verdict"), COMMAS)
def test_commas_part_numbers_inside_brackets(gold: str, answer: str, verdict: Verdict) -> None:
    assert verify(gold, rf"\boxed{{{answer}}}") is verdict


CHOICES = [
    ("A", "(A)(B)", W),
    ("A", "A.B.C", W),
    ("A", "A. B", W),
    ("A", "(A)+(B)", W),
    ("A", "(A) to (E)", W),
    ("A", "A%", W),
    ("A", r"A\%", W),
    ("A", r"A^\circ", W),
    ("A", "(A) maybe (B)", W),
    ("A", "(A) not (B)", W),
    ("A", r"(A)\text{ either }(C)", W),
    ("A", r"\text{(A) is wrong}", W),
    ("A", "(A) is incorrect; the answer is (B)", W),
    ("A", "(A) 12 (B) 13 (C) 14", W),
    ("a", "A", W),
    ("b", "B", W),
    ("c", "(C)", W),
    ("e", "E", W),
    ("B", "b", R),
    ("B", "b)", R),
    ("B", "B. No solution", R),
    ("B", "(B) 12", R),
    ("B", r"\textbf{(B)}\ 12", R),
    ("(B)", "B. 12", R),
    ("A", "A", R),
    ("a", "a", R),
    ("B", r"(B) P(A) = \frac{1}{2}", R),
]


@pytest.mark.parametrize(("gold", "answer", "verdict"), CHOICES)
def test_a_choice_stands_alone_or_before_its_text(gold: str, answer: str, verdict: Verdict) -> None:
    assert verify(gold, rf"\boxed{{{answer}}}") is verdict


BASES = [
    (r"\log_23", r"\log_2 3", R),
    (r"\log_25", r"\log_{2}5", R),
    (r"\frac12\log_23", r"\frac{\log_2 3}{2}", R),
    (r"\log_23", r"\log_3 2", W),
    ("2", r"\log_10(100)", R),
    ("2", r"\log_{10}(100)", R),
    (r"\log_23+1", r"\log_2 6", R),
    ("3", r"\log_28", R),
]


@pytest.mark.parametrize(("gold", "answer", "verdict"), BASES)
def test_a_base_without_braces_is_one_digit_before_its_argument(gold: str, answer: str, verdict: Verdict) -> None:
    assert verify(gold, rf"\boxed{{{answer}}}") is verdict


INNER_BOXES = [
    ("5", r"-\boxed{5}", W),
    ("5", r"1/\boxed{5}", W),
    ("5", r"6\boxed{5}", W),
    ("5", r"\boxed{5}\text{ or }6", W),
    ("5", r"\boxed{5}", R),
    ("-5", r"-\boxed{5}", R),
    ("5", r"x = \boxed{5}", R),
    ("5", r"\boxed{6}\boxed{5}", W),
]


@pytest.mark.parametrize(("gold", "answer", "verdict"), INNER_BOXES)
def test_a_box_counts_with_what_stands_around_it_in_a_box(gold: str, answer: str, verdict: Verdict) -> None:
    assert verify(gold, rf"\boxed{{{answer}}}") is verdict


WORDS_BEHIND = [
    ("5", r"5\text{ squared}", W),
    ("5", r"5\text{ thirds}", W),
    ("5", r"5\text{ factorial}", W),
    ("5", r"5\text{ apples plus one}", W),
    ("5", r"5\text{ modulo seven}", W),
    ("5", r"5\text{ pi}", W),
    ("5", r"5\text{ below zero}", W),
    ("5", r"5\text{ less}", W),
    ("5", r"5\text{ twice}", W),
    ("5", r"5\text{ units squared}", R),
    ("5", r"5\text{ square units}", R),
    ("5", r"5\text{ cm squared}", R),
    ("5", r"5\text{ apples}", R),
    ("5", r"5\text{ thousandths}", W),
]


@pytest.mark.parametrize(("gold", "answer", "verdict"), WORDS_BEHIND)
def test_a_word_that_computes_is_no_noun(gold: str, answer: str, verdict: Verdict) -> None:
    assert verify(gold, rf"\boxed{{{answer}}}") is verdict


OTHER_WORDS = [
    ("x=1或x=2", "1, 2", R),
    ("-3或1", r"\{-3, 1\}", R),
    ("30°或150°", r"30^\circ, 150^\circ", R),
    ("a≥-1且a≠0", r"a \ge -1 \text{ and } a \ne 0", R),
    ("无解", r"\emptyset", R),
    (r"\emptyset", "无解", R),
    (r"\emptyset", r"\text{no real solutions}", R),
    (r"\text{no solution}", r"\text{There are no real solutions.}", R),
    ("-3或1", "1", W),
    ("无解", "0", W),
    ("1或2", "3", W),
]


@pytest.mark.parametrize(("gold", "answer", "verdict"), OTHER_WORDS)
def test_chinese_joints_and_no_real_solutions_are_read(gold: str, answer: str, verdict: Verdict) -> None:
    assert verify(gold, rf"\boxed{{{answer}}}") is verdict


@pytest.mark.parametrize(
    ("completion", "verdict"),
    [
        ("The correct option is A.", R),
        ("The correct choice is **A**.", R),
        ("所以选A。", R),
        ("故选 $A$", R),
        ("不选A。", Verdict.NO_ANSWER),
        ("The correct option is a better plan.", Verdict.NO_ANSWER),
        ("The correct option is B.", W),
    ],
)
def test_the_correct_option_is_an_anchored_phrase(completion: str, verdict: Verdict) -> None:
    assert verify("A", completion) is verdict
