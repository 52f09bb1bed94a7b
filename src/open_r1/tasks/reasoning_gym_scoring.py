# SPDX-License-Identifier: Apache-2.0
"""Scores of answers to rows of `tasks/reasoning_gym/<name>` by the library's scorers, in a process with a time limit.

    score_answer("{'task': 'chain_sum', 'options': {}, 'question': ..., 'answer': '7', 'metadata': ...}", "7")   # 1.0

What the scorers of reasoning-gym 0.1.25 do with the text of a model, found by trying hostile answers on all tasks:

1. `eval(answer)`: binary_matrix, n_queens, spiral_matrix, string_insertion; `sympy.parse_expr(answer)`, which
   evaluates too: countdown, polynomial_multiplication. A model's text could run any program: what isn't a literal, or
   a formula without names, scores 0 here (`_GUARDS`).
2. Formulas, numbers such as `1e999999999` and moves repeated 99999999 times hang or eat the memory: an answer that
   takes longer than SCORE_LIMIT_S scores 0, and the process is started again.
3. Full marks without being right: every answer to game_of_life_halting, `nan` to complex_arithmetic, `6*4*1*1` to any
   puzzle24, `0` to any coin_flip (the first characters are compared). For these the library's scorer is replaced
   (`_JUDGES`), or guarded.
"""

import ast
import json
import os
import re
import resource
import signal
import subprocess
import threading
from collections.abc import Callable, Mapping
from fractions import Fraction
from typing import Any

from open_r1.tasks.arithmetic import NotArithmetic, read_arithmetic
from open_r1.tasks.reasoning_gym_items import NAMES, create_dataset, start_beside

MAX_ANSWER_CHARS = 20_000
SCORE_LIMIT_S = 5.0
MEMORY_BYTES = 4 << 30
COIN_FLIP_TOLERANCE = Fraction(1, 10_000)

_PROBABILITY = re.compile(r"\d{1,30}(\.\d{0,30})?([eE][-+]?\d{1,2})?|\d{1,30}/[1-9]\d{0,29}|\.\d{1,30}")
_COMPLEX = re.compile(r"[\d.,+\-ij() ]{1,200}")
_ARITHMETIC = re.compile(r"(?!.*\*\*)[\d+\-*/(). ]{1,1000}")
# Names of one letter, so that nothing is called; small powers, and no powers of powers.
_POLYNOMIAL = re.compile(
    r"(?!.*[A-Za-z]{2})(?!.*\*\*\s*(?!\d{1,2}(?!\d)(?!\s*\*\*)))[A-Za-z0-9+\-*/() \n]{1,1000}", re.DOTALL
)

Item = Mapping[str, Any]


def score_answer(entry: str, answer: str) -> float:
    """Return the library's score of an answer to a row, from 0 to 1; 0 where a guard or the time limit ends it.

    Args:
        entry: The row's `reasoning_gym_entry`.
        answer: The answer, without tags.

    Raises:
        ValueError: The entry is not one of a row of `tasks/reasoning_gym`.
        RuntimeError: The library's scorer failed on an answer that it did not expect.
    """
    item = read_entry(entry)
    task = item["task"]
    if len(answer) > MAX_ANSWER_CHARS:
        return 0.0
    if task in _JUDGES:
        return float(answer == item["answer"] or _JUDGES[task](answer, item))
    if task in _GUARDS and answer != item["answer"] and not _GUARDS[task](answer, item):
        return 0.0
    return _SCORER.score(entry, answer)


def read_entry(entry: str) -> dict[str, Any]:
    """Return the library's item of a `reasoning_gym_entry`, with `task` and `options`.

    Raises:
        ValueError: The entry is not one of a row of `tasks/reasoning_gym`.
    """
    try:
        item = ast.literal_eval(entry)
        if item["task"] in NAMES and {"options", "answer", "metadata"} <= item.keys():
            return item
    except (ValueError, TypeError, KeyError, AttributeError, SyntaxError, RecursionError, MemoryError):
        pass
    raise ValueError(f"The column reasoning_gym_entry holds {entry[:80]!r}, not an entry of tasks/reasoning_gym.")


class _Scorer:
    """The process with the library's scorers, started at the first answer and after one that takes too long."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._process: subprocess.Popen[str] | None = None

    def score(self, entry: str, answer: str) -> float:
        with self._lock:
            if self._process is None:
                self._process = start_beside(
                    "from open_r1.tasks.reasoning_gym_scoring import serve_scores; serve_scores()"
                )
            stdin, stdout = self._process.stdin, self._process.stdout
            assert stdin is not None and stdout is not None
            stdin.write(json.dumps([entry, answer]) + "\n")
            stdin.flush()
            line = stdout.readline()
            if not line:  # the time limit, or memory, has ended it
                with self._process:  # waits, and closes the pipes
                    self._process = None
                return 0.0
        score = json.loads(line)
        if isinstance(score, str):
            raise RuntimeError(score)
        return score


_SCORER = _Scorer()


def serve_scores() -> None:
    """Answer each line of stdin, an entry and an answer, by its score; answers see other files in place of these."""
    lines, reports = os.fdopen(os.dup(0)), os.fdopen(os.dup(1), "w")
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.dup2(2, 1)
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    import reasoning_gym  # noqa: F401 - takes a second

    for line in lines:
        entry, answer = json.loads(line)
        item = read_entry(entry)
        signal.setitimer(signal.ITIMER_REAL, SCORE_LIMIT_S)  # ends the process, whatever it computes
        try:
            score: float | str = float(create_dataset(item["task"], item["options"]).score_answer(answer, item))
        except BaseException as error:  # noqa: BLE001 - the scorers raise what they like
            score = f"{type(error).__name__}: {error!s:.200}"
        signal.setitimer(signal.ITIMER_REAL, 0)
        print(json.dumps(score), file=reports, flush=True)


def _solves_puzzle24(answer: str, item: Item) -> bool:
    """Whether the answer has the value 24 and uses the puzzle's own numbers; the library checks neither exactly."""
    try:
        read = read_arithmetic(answer)
    except NotArithmetic:
        return False
    return read.value == 24 and sorted(read.numbers) == sorted(item["metadata"]["numbers"])


def _is_probability(answer: str, item: Item) -> bool:
    """Whether the answer is as close to the probability as the library asks for, before it compares characters."""
    if _PROBABILITY.fullmatch(answer.strip()) is None:
        return False
    return abs(Fraction(answer.strip()) - Fraction(item["answer"])) <= COIN_FLIP_TOLERANCE


def _is_literal(answer: str, item: Item) -> bool:
    """Whether evaluating the text would only build lists, numbers and strings, or the text is a right answer."""
    if answer.strip() == str(item["answer"]).strip() or answer in item["metadata"].get("valid_answers", ()):
        return True
    try:
        ast.literal_eval(answer.strip())
    except (ValueError, TypeError, SyntaxError, RecursionError, MemoryError):
        return False
    return True


_JUDGES: dict[str, Callable[[str, Item], bool]] = {
    "coin_flip": _is_probability,
    "game_of_life_halting": lambda answer, item: answer.strip().lower() == str(item["answer"]).lower(),
    "puzzle24": _solves_puzzle24,
}
_GUARDS: dict[str, Callable[[str, Item], bool]] = {
    **dict.fromkeys(("binary_matrix", "n_queens", "spiral_matrix", "string_insertion"), _is_literal),
    "complex_arithmetic": lambda answer, item: _COMPLEX.fullmatch(answer.strip()) is not None,
    "countdown": lambda answer, item: _ARITHMETIC.fullmatch(answer) is not None,
    "polynomial_multiplication": lambda answer, item: _POLYNOMIAL.fullmatch(answer) is not None,
}
