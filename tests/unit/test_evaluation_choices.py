# SPDX-License-Identifier: Apache-2.0
"""Questions with choices: which letter is right, in which order, and rows that can't be asked."""

import hashlib
import json
import random

import pytest

from open_r1.data.benchmarks import SUPPORTED_BENCHMARKS, Benchmark
from open_r1.evaluation.choices import LETTERS, lettered
from open_r1.generation.prompts import PromptError
from open_r1.rewards.verifier import Verdict, verify

GPQA = SUPPORTED_BENCHMARKS["gpqa"]
LISTED = Benchmark("x", "/x.jsonl", prompt_column="question", solution_column="answer", kind="choices")


def gpqa_row(question="Which gas do plants take up?", right="carbon dioxide", wrong=("argon", "helium", "neon")):
    columns = {f"Incorrect Answer {number}": text for number, text in enumerate(wrong, 1)}
    return {"Question": question, "Correct Answer": right, **columns}


@pytest.mark.parametrize(
    ("row", "letter"),
    [
        (gpqa_row(), "C"),
        (gpqa_row("Which gas do animals give off?"), "A"),
        (gpqa_row("How many legs has an ant?", "6", ("4", "8", "10")), "D"),
        (gpqa_row("2+2?", 4, (3, 5, 22)), "A"),
    ],
)
def test_letters_of_right_choices_stay_what_they_are(row, letter):
    text, found = lettered(row, GPQA)
    assert found == letter
    assert f"({letter}) {row['Correct Answer']}" in text.splitlines()
    texts = [str(row[column]) for column in ("Correct Answer", *GPQA.wrong_columns)]
    order = sorted(texts, key=lambda text: hashlib.sha256(json.dumps([0, row["Question"], text]).encode()).hexdigest())
    assert text.splitlines()[2:] == [f"({name}) {choice}" for name, choice in zip("ABCD", order, strict=True)]


def test_all_choices_stand_below_the_question():
    text, _ = lettered(gpqa_row(), GPQA)
    question, blank, *lines = text.splitlines()
    assert (question, blank) == ("Which gas do plants take up?", "")
    assert [line[:4] for line in lines] == ["(A) ", "(B) ", "(C) ", "(D) "]
    assert {line[4:] for line in lines} == {"carbon dioxide", "argon", "helium", "neon"}


def test_the_order_depends_on_the_texts_alone():
    row = gpqa_row()
    swapped = gpqa_row(wrong=("neon", "argon", "helium"))
    assert lettered(row, GPQA) == lettered(swapped, GPQA) == lettered(dict(reversed(row.items())), GPQA)


def test_each_letter_is_right_as_often_as_the_others():
    counts = dict.fromkeys("ABCD", 0)
    for number in range(2000):
        counts[lettered(gpqa_row(f"Question {number}?"), GPQA)[1]] += 1
    assert all(425 < count < 575 for count in counts.values())  # 500, and four standard deviations


def test_the_order_is_no_matter_of_the_random_state():
    rows = [gpqa_row(f"Question {number}?") for number in range(20)]
    first = [lettered(row, GPQA) for row in rows]
    random.seed(1)
    state = random.getstate()
    assert first == [lettered(row, GPQA) for row in rows]
    assert random.getstate() == state


@pytest.mark.parametrize(
    ("row", "said"),
    [
        (gpqa_row(wrong=("argon", None, "neon")), "Incorrect Answer 2 is null"),
        (gpqa_row(wrong=("argon", "  ", "neon")), "Incorrect Answer 2 is empty"),
        (gpqa_row(right=None), "Correct Answer is null"),
        (gpqa_row(question=""), "Question is empty"),
        (gpqa_row(question=["messages"]), "Question is no text but list"),
        (gpqa_row(right="argon "), "Correct Answer is one of the wrong choices too"),
        (gpqa_row(right=True), "Correct Answer is no text but bool"),
    ],
)
def test_rows_without_a_choice_or_a_right_one_are_told(row, said):
    with pytest.raises(PromptError, match=said):
        lettered(row, GPQA)


@pytest.mark.parametrize(
    ("choices", "answer", "letter"),
    [
        (["3", "4", "5"], "B", "B"),
        (["3", "4", "5"], "(b)".upper(), "B"),
        (["3", "4", "5"], "C.", "C"),
        (["3", "4", "5"], "4", "B"),
        (["red", "green"], 0, "A"),
        (["red", "green"], "green", "B"),
        (["A", "C"], "A", "A"),
        ({"text": ["red", "green"], "label": ["1", "2"]}, "2", "B"),
        ({"text": ["red", "green"], "label": ["A", "B"]}, "B", "B"),
        ({"text": ["red", "green"], "label": ["1", "2"]}, 1, "A"),
        ({"text": ["red", "green"], "label": ["0", "1"]}, 1, "B"),
    ],
)
def test_listed_choices_keep_their_order(choices, answer, letter):
    text, found = lettered({"question": "Which?", "choices": choices, "answer": answer}, LISTED)
    assert found == letter
    texts = choices["text"] if isinstance(choices, dict) else choices
    assert text.splitlines()[2:] == [f"({name}) {choice}" for name, choice in zip(LETTERS, texts, strict=False)]


@pytest.mark.parametrize(
    ("choices", "answer", "said"),
    [
        (None, "A", "choices is no list but null"),
        ("ABCD", "A", "choices is no list but str"),
        (["one"], "A", "1 choices; it must have 2 to 10"),
        ([str(n) for n in range(11)], "A", "11 choices"),
        (["red", ""], "A", "choice 1 is empty"),
        (["red", "green"], "C", "'C', is none of the choices, nor of A, B"),
        (["red", "green"], 2, "answer is 2, and there are 2 choices, from 0"),
        (["red", "green"], -1, "answer is -1"),
        (["red", "green"], None, "answer is null"),
        (["B", "A"], "A", "'A', stands for several choices"),
        (["2", "1", "0"], 0, "'0', stands for several choices"),
        (["red", "red"], "red", "stands for several choices"),
        ({"text": ["red", "green"], "label": ["A"]}, "A", "2 choices, and their labels"),
        (["4", "4", "5"], "A", "the right choice, '4', is one of the wrong choices too"),
        (["5", "4 ", " 4"], 2, "the right choice, '4', is one of the wrong choices too"),
    ],
)
def test_listed_choices_that_are_not_clear_are_told(choices, answer, said):
    with pytest.raises(PromptError, match=said):
        lettered({"question": "Which?", "choices": choices, "answer": answer}, LISTED)


@pytest.mark.parametrize(
    ("text", "verdict"),
    [
        (r"\boxed{B}", Verdict.RIGHT),
        ("It is the second.\n\nAnswer: B", Verdict.RIGHT),
        (r"\boxed{\text{(B)}}", Verdict.RIGHT),
        (r"\boxed{C}", Verdict.WRONG),
        (r"\boxed{B} or \boxed{C}", Verdict.WRONG),
        ("", Verdict.NO_ANSWER),
        ("<think>\nB, so \\boxed{B}", Verdict.NO_ANSWER),
        ("I would say the second one.", Verdict.NO_ANSWER),
    ],
)
def test_the_verifier_judges_letters(text, verdict):
    assert verify("B", text) is verdict
