# SPDX-License-Identifier: Apache-2.0
"""What counts as the answer of a completion and of a gold, hostile texts first."""

import json
import time

import pytest

from open_r1.rewards.verifier.extract import extract_answer, extract_gold, find_answer
from tests.unit.test_verifier_pairs import PAIRS_FILE

# A line: topic, completion or gold, its answer, and what else stands in a hedge or list (others, joined).
ROWS = [json.loads(line) for line in (PAIRS_FILE.parent / "extracted.jsonl").read_text(encoding="utf-8").splitlines()]


@pytest.mark.parametrize(
    "hostile",
    [
        "\\boxed{" * 100_000,
        "answer is " * 100_000,
        "answer to a " * 50_000,
        "answer must be " * 50_000,
        "answers are " * 50_000,
        "<answer>" * 100_000,
        "$" * 500_000,
        "$5 " * 100_000,
        "\nQ:" * 50_000,
        "the answer is 5\nQuestion: \\boxed{2}\n" * 20_000,
        "(1) " * 100_000,
        "\n(1)\n(2)" * 50_000,
        "(1) \\boxed{1}\n(2) \\boxed{2}\n" * 20_000,
        "\\boxed{1}, " * 100_000,
        "-" * 500_000 + "\\boxed{3}" + "=" * 500_000,
        r"\text{" * 100_000 + r"-\boxed{3}\text{" * 50_000,
        "\n" * 500_000,
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
        "\n " * 200_000 + "\\boxed{2}" + "\r" * 500_000 + "\n",
    ],
    ids=lambda text: text[:20],
)
def test_search_for_the_answer_is_linear(hostile: str):
    start = time.process_time()
    extract_gold(hostile)
    extract_answer(hostile)
    # 5 is the answer of the one that goes on with another question.
    assert extract_answer(rf"{hostile} so \boxed{{7}}") == ("5" if "Question" in hostile else "7")
    assert extract_answer(rf"<think>{hostile}</think> so \boxed{{7}}") == "7"
    assert time.process_time() - start < 2


def test_an_unclosed_box_is_no_answer_and_no_earlier_box_replaces_it():
    assert extract_answer(r"\boxed{3} no, \boxed{4") is None


@pytest.mark.parametrize("topic", dict.fromkeys(row["topic"] for row in ROWS))
def test_answer_of_a_text(topic: str):
    rows = [row for row in ROWS if row["topic"] == topic]
    found = []
    for row in rows:
        if "gold" in row:
            found.append({**row, "answer": extract_gold(row["gold"])})
            continue
        answer = find_answer(row["completion"])
        others = {"others": list(answer.others)} if answer.others else {}
        joined = {"joined": answer.joined} if answer.joined else {}
        found.append({"topic": topic, "completion": row["completion"], "answer": answer.text, **others, **joined})
    assert found == rows
