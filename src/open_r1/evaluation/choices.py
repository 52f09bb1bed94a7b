# SPDX-License-Identifier: Apache-2.0
"""Questions with several choices: the choices as letters below the question, and the letter that is right.

    {"Question": "2+2?", "Correct Answer": "4", "Incorrect Answer 1": "3", ...}    the order is drawn by a hash
    {"question": "2+2?", "choices": ["3", "4"], "answer": "B"}                      the order is the row's

1. The order depends on the texts of the row alone: neither on its place in the file nor on the other rows, and it is
   the same in every run. lighteval and simple-evals draw it by a generator that goes through the file.
2. `answer` may be a letter, the text of a choice, or its index from 0; what could be two of these is refused, but a
   number that is the label of a choice stands for that one. So is a right choice that stands there twice.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any

from open_r1.data.benchmarks import CHOICES_COLUMN, Benchmark
from open_r1.generation.prompts import PromptError

LETTERS = "ABCDEFGHIJ"  # those that the verifier takes for letters of choices
ORDER_SEED = 0  # of choices whose order the row doesn't say; it stands in the results
TEMPLATE = (
    "You will be given a question with several choices, of which one is right. Please reason step by step, and put "
    "the letter of the right choice, and nothing else, within \\boxed{}:\n{prompt}"
)


def lettered(row: Mapping[str, Any], benchmark: Benchmark) -> tuple[str, str]:
    """Return the question with its choices below it, and the letter of the right one.

    Args:
        row: Columns by name.
        benchmark: Of the kind "choices"; its `wrong_columns` decide the layout.

    Raises:
        PromptError: The question or a choice is missing, or it isn't clear which is right.
    """
    question = _text_of(row[benchmark.prompt_column], benchmark.prompt_column)
    if benchmark.wrong_columns:
        columns = (benchmark.solution_column, *benchmark.wrong_columns)
        choices = [_text_of(row[column], column) for column in columns]
        right = choices[0]
        if right in choices[1:]:
            raise PromptError(f"{benchmark.solution_column} is one of the wrong choices too")
        choices.sort(key=lambda choice: _draw(question, choice))
        place = choices.index(right)
    else:
        labels, choices = _choices_of(row[CHOICES_COLUMN])
        place = _place_of(row[benchmark.solution_column], benchmark.solution_column, labels, choices)
        if choices.count(choices[place]) > 1:
            raise PromptError(f"the right choice, {choices[place][:80]!r}, is one of the wrong choices too")
    lines = (f"({letter}) {choice}" for letter, choice in zip(LETTERS, choices, strict=False))
    return "\n".join([question, "", *lines]), LETTERS[place]


def _draw(question: str, choice: str) -> bytes:
    text = json.dumps([ORDER_SEED, question, choice], ensure_ascii=False)
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()


def _text_of(value: object, what: str) -> str:
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise PromptError(f"{what} is {'null' if value is None else f'no text but {type(value).__name__}'}")
    if not str(value).strip():
        raise PromptError(f"{what} is empty")
    return str(value).strip()


def _choices_of(value: object) -> tuple[list[str], list[str]]:
    """Return labels and texts of a list of choices, or of a struct of lists `label` and `text` (ARC)."""
    labels: object = None
    if isinstance(value, Mapping):
        labels, value = value.get("label"), value.get("text")
    if not isinstance(value, Sequence) or isinstance(value, str):
        raise PromptError(f"{CHOICES_COLUMN} is no list but {'null' if value is None else type(value).__name__}")
    choices = [_text_of(choice, f"choice {number}") for number, choice in enumerate(value)]
    if not 2 <= len(choices) <= len(LETTERS):
        raise PromptError(f"{len(choices)} choices; it must have 2 to {len(LETTERS)}")
    if labels is None:
        labels = list(LETTERS[: len(choices)])
    if not isinstance(labels, Sequence) or isinstance(labels, str) or len(labels) != len(choices):
        raise PromptError(f"{len(choices)} choices, and their labels are {str(labels)[:80]}")
    return [_text_of(label, "a label") for label in labels], choices


def _place_of(gold: object, column: str, labels: Sequence[str], choices: Sequence[str]) -> int:
    """Return which choice is right."""
    if isinstance(gold, int) and not isinstance(gold, bool) and str(gold) not in {*labels, *choices}:
        if not 0 <= gold < len(choices):
            raise PromptError(f"{column} is {gold}, and there are {len(choices)} choices, from 0")
        return gold
    text = _text_of(gold, column)
    label = text.strip("().") if text.strip("().") in labels else text
    found = {place for place, choice in enumerate(choices) if choice == text}
    found |= {place for place, name in enumerate(labels) if name == label}
    if isinstance(gold, int) and not isinstance(gold, bool) and 0 <= gold < len(choices) and text not in labels:
        found.add(gold)
    if len(found) != 1:
        said = "stands for several choices" if found else f"is none of the choices, nor of {', '.join(labels)}"
        raise PromptError(f"{column}, {text[:80]!r}, {said}")
    return found.pop()
