# SPDX-License-Identifier: Apache-2.0
"""Forms that answers take in real data: each beside a near miss, which must stay wrong."""

import time

import pytest

from open_r1.rewards.verifier import Verdict
from open_r1.rewards.verifier.answer_extraction import Answer, extract_answer, find_answer


@pytest.mark.parametrize(
    "hostile",
    [
        "\\boxed{}" * 100_000,
        "\\boxed " * 100_000,
        "\\boxed 1" * 100_000,
        "#### 1\n" * 100_000,
        "#### " + "1" * 500_000,
        "#" * 500_000,
        "**Answer**\n" * 50_000,
        "## Answer" * 50_000,
        "\u6545\u9009" * 200_000,
        "answer=" * 100_000,
        " " * 500_000,
    ],
    ids=lambda text: text[:12],
)
def test_a_hostile_completion_takes_linear_time(hostile: str):
    start = time.process_time()
    find_answer(hostile)
    assert extract_answer(rf"{hostile} so \boxed{{7}}") == "7"
    assert time.process_time() - start < 1


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        (r"Hence $\boxed 5$.", "5"),
        (r"\[ \boxed \frac{1}{2} \]", r"\frac{1}{2}"),
        ("So \\boxed 5\nas wanted", "5"),
        (r"$\boxed{5}$ (asked for in \boxed{})", "5"),
        (r"It goes into \boxed{}: \boxed{5}", "5"),
        ("**Answer**\n\n5", "5"),
        ("## Answer\n$5$ apples", "$5$"),
        ("### Final Answer:\n**5**", "5"),
        ("**The final answer:**\n5", "5"),
        ("5 + 5 is 10.\n#### 10", "10"),
        ("#### 1,250", "1,250"),
        ("#### $18", "$18"),
        ("#### -3.5\n", "-3.5"),
        (r"#### $\frac{1}{2} + x$", r"$\frac{1}{2} + x$"),
        ("Answer = 5", "5"),
        ("\u6545\u9009\uff1aA\uff0e", "A"),
        ("\u6545\u9009B", "B"),
        ("\u6545\u7b54\u6848\u4e3a\uff1a$5$\uff0e", "$5$"),
    ],
)
def test_answer_is_found(text: str, answer: str):
    assert find_answer(text) == Answer(answer)


@pytest.mark.parametrize(
    "text",
    [
        r"\boxed{}",
        r"\boxed 5",
        r"$\boxed{3} + \boxed{4$",
        r"$\boxed{3}$ or rather $\boxed 4",
        "#### 1. First we add\n",
        "#### 1)\nadd",
        "#### Step 1",
        "#### 2 apples and pears",
        "#### 1:\nadd",
        "see #### 5",
        "##### 5",
        "Answering\n5",
        "## Answers\n5",
        "answer == 5",
        "\u6545\u9009\u62e9\u8d85\u5e02",
    ],
)
def test_what_is_no_answer_is_not_found(text: str):
    assert extract_answer(text) is None


def test_a_box_without_braces_hedges_like_any_other():
    assert find_answer(r"It is $\boxed 3$ or $\boxed 4$.") == Answer("4", ("3",))
