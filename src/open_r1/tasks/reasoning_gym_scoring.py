# SPDX-License-Identifier: Apache-2.0
"""Scores answers to rows of `tasks/reasoning_gym/<name>` by the library's scorers, behind a guard.

What the scorers of reasoning-gym 0.1.25 do with the text of a model, found by trying hostile answers on all 105:

1. `eval(answer)`: binary_matrix, n_queens, spiral_matrix, string_insertion. A model's text could run any program.
2. `sympy.parse_expr(answer)`, which evaluates too: countdown, puzzle24, polynomial_multiplication, simple_integration,
   intermediate_integration. `9**9**9` hangs, and names reach Python's built-ins. The last two also simplify, which may
   take minutes for a formula of 60 characters.
3. `Fraction("1e999999999")` (coin_flip) and a move repeated 99999999 times (rubiks_cube) hang or eat the memory.
4. Full marks without being right: every answer to game_of_life_halting, `nan` to complex_arithmetic, `6*4*1*1` to any
   puzzle24, `0` to any coin_flip (the first characters are compared), `Integral(..., x)` to any integral.

For five tasks the library's scorer is replaced (`_JUDGES`); for nine, answers that their guard refuses (`_GUARDS`)
score 0. All other answers get the score of the library.
"""

import ast
import functools
import re
from collections.abc import Callable, Mapping
from fractions import Fraction
from typing import Any

from open_r1.tasks.antiderivatives import is_antiderivative
from open_r1.tasks.arithmetic import NotArithmetic, read_arithmetic
from open_r1.tasks.reasoning_gym_items import NAMES, build_dataset, dump_json, load_json

MAX_ANSWER_CHARS = 20_000
MAX_DEGREE = 64
MAX_COEFFICIENT = 10**18
COIN_FLIP_TOLERANCE = Fraction(1, 10_000)

_LONG_NUMBER = re.compile(r"\d{3}")
_PROBABILITY = re.compile(r"\d{1,30}(\.\d{0,30})?([eE][-+]?\d{1,2})?|\d{1,30}/[1-9]\d{0,29}|\.\d{1,30}")
_COMPLEX = re.compile(r"[\d.,+\-ij() ]{1,200}")
_POLYNOMIAL = re.compile(r"[A-Za-z0-9+\-*/() \n]{1,1000}")  # sympy takes 0.4 s to read the longest

Item = Mapping[str, Any]


def score_answer(entry: str, answer: str) -> float:
    """Return the library's score of an answer to a row, from 0 to 1; 0 when a guard keeps the answer from it.

    Args:
        entry: The row's `reasoning_gym_entry`.
        answer: The answer, without tags.

    Raises:
        ValueError: The entry is not one of a row of `tasks/reasoning_gym`.
        Exception: Whatever the library's scorer raises on an answer that it did not expect.
    """
    task, options, item = read_entry(entry)
    if len(answer) > MAX_ANSWER_CHARS:
        return 0.0
    if task in _JUDGES:
        return float(answer == item["answer"] or _JUDGES[task](answer, item))
    if task in _GUARDS and answer != item["answer"] and not _GUARDS[task](answer, item):
        return 0.0
    return float(build_dataset(task, options).score_answer(answer, item))


@functools.lru_cache(maxsize=512)
def read_entry(entry: str) -> tuple[str, str, dict[str, Any]]:
    """Return the task, its options as JSON and the library's item of a `reasoning_gym_entry`; cached for the group.

    Raises:
        ValueError: The entry is not one of a row of `tasks/reasoning_gym`.
    """
    try:
        loaded = load_json(entry)
        task, options = loaded["task"], loaded["options"]
        item = {name: loaded[name] for name in ("question", "answer", "metadata")}
    except (ValueError, TypeError, KeyError) as error:
        raise ValueError(
            f"The column reasoning_gym_entry holds {entry[:80]!r}, not an entry of tasks/reasoning_gym."
        ) from error
    if task not in NAMES:
        raise ValueError(f"The column reasoning_gym_entry names the unknown task {task!r}.")
    return task, dump_json({**options, "seed": 0, "size": 1}), item  # neither matters to a scorer


def _solves_integral(answer: str, item: Item) -> bool:
    return is_antiderivative(answer, item["metadata"]["integrand"], item["metadata"]["variable"])


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


def _is_same_word(answer: str, item: Item) -> bool:
    return answer.strip().lower() == str(item["answer"]).strip().lower()


def _is_literal(answer: str, item: Item) -> bool:
    """Whether evaluating the text would only build lists, numbers and strings, or the text is a right answer."""
    if answer.strip() == str(item["answer"]).strip() or answer in item["metadata"].get("valid_answers", ()):
        return True
    try:
        ast.literal_eval(answer.strip())
    except (ValueError, TypeError, SyntaxError, RecursionError, MemoryError):
        return False
    return True


def _is_arithmetic(answer: str, item: Item) -> bool:
    try:
        read_arithmetic(answer)
    except NotArithmetic:
        return False
    return True


def _is_polynomial(answer: str, item: Item) -> bool:
    """Whether the text holds only whole numbers, names of one letter, + - * / and powers that are small."""
    if _POLYNOMIAL.fullmatch(answer) is None:
        return False
    try:
        tree = ast.parse(answer.strip(), mode="eval").body
    except (ValueError, SyntaxError, RecursionError, MemoryError):
        return False
    return all(map(_may_stand_in_polynomial, ast.walk(tree)))


def _may_stand_in_polynomial(node: ast.AST) -> bool:
    match node:
        case ast.Constant(value=number):
            return isinstance(number, int) and number < MAX_COEFFICIENT
        case ast.Name(id=name):
            return len(name) == 1
        case ast.BinOp(left=base, op=ast.Pow(), right=ast.Constant(value=int() as exponent)):
            return exponent <= MAX_DEGREE and not any(isinstance(part, ast.Pow) for part in ast.walk(base))
        case ast.BinOp(op=ast.Add() | ast.Sub() | ast.Mult() | ast.Div()) | ast.UnaryOp(op=ast.UAdd() | ast.USub()):
            return True
    return isinstance(node, (ast.operator, ast.unaryop, ast.expr_context))


_JUDGES: dict[str, Callable[[str, Item], bool]] = {
    "coin_flip": _is_probability,
    "game_of_life_halting": _is_same_word,
    "intermediate_integration": _solves_integral,
    "puzzle24": _solves_puzzle24,
    "simple_integration": _solves_integral,
}
_GUARDS: dict[str, Callable[[str, Item], bool]] = {
    **dict.fromkeys(("binary_matrix", "n_queens", "spiral_matrix", "string_insertion"), _is_literal),
    "complex_arithmetic": lambda answer, item: _COMPLEX.fullmatch(answer.strip()) is not None,
    "countdown": _is_arithmetic,
    "polynomial_multiplication": _is_polynomial,
    "rubiks_cube": lambda answer, item: _LONG_NUMBER.search(answer) is None and len(answer) <= 2_000,
    "rush_hour": lambda answer, item: _LONG_NUMBER.search(answer) is None,
}
