# SPDX-License-Identifier: Apache-2.0
"""What counts as the answer of a completion and of a gold, hostile texts first."""

import time

import pytest

from open_r1.rewards.verifier.answer_extraction import Answer, extract_answer, extract_gold, find_answer


@pytest.mark.parametrize(
    "hostile", ["\\boxed{" * 100_000, "answer is " * 100_000, "<answer>" * 100_000, "$" * 500_000]
)
def test_search_for_the_answer_is_linear(hostile: str):
    start = time.process_time()
    assert extract_answer(rf"{hostile} so \boxed{{7}}") == "7"
    assert time.process_time() - start < 1


def test_an_unclosed_box_is_no_answer_and_no_earlier_box_replaces_it():
    assert extract_answer(r"\boxed{3} no, \boxed{4") is None


ANSWERS = [
    (r"\boxed{42}", "42"),
    (r"\fbox{42}", "42"),
    (r"\boxed {42}", "42"),
    (r"\boxed{\frac{1}{2}}", r"\frac{1}{2}"),
    (r"\boxed{\{1, 2\}}", r"\{1, 2\}"),
    (r"\boxed{\text{a }\boxed{b}}", "b"),
    (r"first \boxed{3}, then \boxed{4}", "4"),
    (r"<think>\boxed{3}</think> It is \boxed{4}.", "4"),
    (r"<think>\boxed{3}</think> It is clear.", None),
    (r"<think>\boxed{3}", None),
    (r"\boxed{3} <think> hm", "3"),
    ("<think>a</think>\n<answer>\n42\n</answer>", "42"),
    ("<think>never closed <answer>42</answer>", "42"),
    (r"\boxed{1}<answer>\boxed{2}</answer>", "2"),
    ("<answer>1</answer> no: <answer>2</answer>", "2"),
    (r"<answer></answer> \boxed{5}", "5"),
    ("<answer>The answer is 7.</answer>", "7"),
    ("<answer>8", None),
    ("The answer is 42.", "42"),
    ("The final answer is: $x^2$, as shown", "$x^2$"),
    ("The answer is 3.14 because of that", "3.14"),
    ("So the answer is $x=1$ or $x=2$.", "$x=1$ or $x=2$"),
    ("The answer is\n\\[\n 5 \n\\]\nDone.", "\\[\n 5 \n\\]"),
    ("**Final Answer:** 6", "6"),
    ("Answer: **B**", "B"),
    ("answers are many", None),
    ("42", None),
    ("$42$", None),
    ("", None),
]


@pytest.mark.parametrize(("text", "answer"), ANSWERS)
def test_answer_is_found(text: str, answer: str | None):
    assert extract_answer(text) == answer


@pytest.mark.parametrize(
    ("gold", "answer"),
    [
        ("42", "42"),
        (" 42 ", "42"),
        ("6 * 7 = 42\n#### 42", "42"),
        (r"We get $x = \boxed{\frac{1}{2}}$.", r"\frac{1}{2}"),
        ("The answer is 5.", "5"),
        ("<answer>\n5\n</answer>", "5"),
    ],
)
def test_gold_of_a_worked_solution_is_its_answer(gold: str, answer: str):
    assert extract_gold(gold) == answer


HEDGES = [
    (r"\boxed{3} or \boxed{4}", ("3",)),
    (r"$\boxed{3}$, $\boxed{4}$", ("3",)),
    (r"\boxed{2}\boxed{3}\boxed{4}", ("3", "2")),
    (r"It is \(\boxed{3}\). Or \(\boxed{4}\).", ("3",)),
    (r"It is \boxed{3}, i.e. \boxed{4}.", ("3",)),
    (r"It is \boxed{3}. Wait, so it is \boxed{4}.", ()),
    ("It is \\boxed{3}\n\nIt is \\boxed{4}", ()),
    ("1. It is \\boxed{3}\n2. It is \\boxed{4}", ()),
    (r"是 \boxed{3}。是 \boxed{4}。", ()),
]


@pytest.mark.parametrize(("text", "others"), HEDGES)
def test_boxes_of_one_sentence_hedge(text: str, others: tuple[str, ...]):
    assert find_answer(text) == Answer("4", others)
