# SPDX-License-Identifier: Apache-2.0
"""Keeps answers from those scorers of reasoning-gym 0.1.25 that they could hang, take over or cheat.

What its scorers do with the text of a model, found by trying hostile answers on all 105:

1. `eval(answer)`: binary_matrix, n_queens, spiral_matrix, string_insertion. A model's text could run any program.
2. `sympy.parse_expr(answer)`, which evaluates too: countdown, puzzle24, polynomial_multiplication, simple_integration,
   intermediate_integration. `9**9**9` hangs, and names reach Python's built-ins. The last two also simplify, which may
   take minutes for a formula of 60 characters.
3. `Fraction("1e999999999")` (coin_flip) and a move repeated 99999999 times (rubiks_cube) hang or eat the memory.
4. Right without being right: every answer to game_of_life_halting, `nan` to complex_arithmetic, `6*4*1*1` to any
   puzzle24, `0` to any coin_flip (the first characters are compared), `Integral(..., x)` to any integral.

An answer that its guard refuses scores 0. All other answers get the score of the library, but for the two kinds of
integrals: there sympy may take minutes for a right answer, too, so that what passes the guard is right.
"""

import ast
import cmath
import re
from collections.abc import Callable, Mapping
from fractions import Fraction
from typing import Any

from open_r1.tasks.arithmetic import NotArithmetic, read_arithmetic
from open_r1.tasks.formulas import NotFormula, read_formula, value_and_slope

MAX_ANSWER_CHARS = 20_000
COIN_FLIP_TOLERANCE = Fraction(1, 10_000)
POINTS = (0.4142 + 0.01j, 1.2361 + 0.02j, 2.7321 - 0.03j)
"""Where antiderivatives are tried: off the real axis, where logarithms and roots have their cuts."""

_LONG_NUMBER = re.compile(r"\d{3}")
_PROBABILITY = re.compile(r"\d{1,30}(\.\d{0,30})?([eE][-+]?\d{1,2})?|\d{1,30}/[1-9]\d{0,29}|\.\d{1,30}")
_COMPLEX = re.compile(r"[\d.,+\-ij() ]{1,200}")

JUDGED_BY_GUARD = frozenset({"simple_integration", "intermediate_integration"})
"""Tasks whose guard says that an answer is right, not only that it may be scored."""

Item = Mapping[str, Any]


def may_be_scored(task: str, answer: str, item: Item) -> bool:
    """Return whether an answer may be handed to the library's scorer of a task.

    >>> may_be_scored("n_queens", "__import__('os').system('true')", {"answer": "", "metadata": {"valid_answers": []}})
    False
    """
    if len(answer) > MAX_ANSWER_CHARS:
        return False
    guard = _GUARDS.get(task)
    return guard is None or answer == item["answer"] or guard(answer, item)


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


def _uses_its_numbers(answer: str, item: Item) -> bool:
    """Whether the answer is arithmetic with the value 24 on the puzzle's own numbers; the library checks neither."""
    try:
        read = read_arithmetic(answer)
    except NotArithmetic:
        return False
    return read.value == 24 and sorted(read.numbers) == sorted(item["metadata"]["numbers"])


def _is_polynomial(answer: str, item: Item) -> bool:
    try:
        read_formula(answer, max_nested_calls=0)
    except NotFormula:
        return False
    return True


def _is_antiderivative(answer: str, item: Item) -> bool:
    """Whether the derivative of the answer has the value of the integrand, at one point of three at least.

    One, because at others it may have none, or that of another branch of a root.
    """
    variable = item["metadata"]["variable"]
    try:
        tree, integrand = read_formula(answer), read_formula(item["metadata"]["integrand"])
    except NotFormula:
        return False
    for value in POINTS:
        point = {variable: value, "C": 0.7}
        try:
            slope = value_and_slope(tree, point, variable)[1]
            wanted = value_and_slope(integrand, point, variable)[0]
        except (ArithmeticError, ValueError, KeyError):
            continue
        if cmath.isclose(slope, wanted, rel_tol=1e-6, abs_tol=1e-9):
            return True
    return False


def _is_probability(answer: str, item: Item) -> bool:
    """Whether the answer is as close to the probability as the library asks for, before it compares characters."""
    if _PROBABILITY.fullmatch(answer.strip()) is None:
        return False
    return abs(Fraction(answer.strip()) - Fraction(item["answer"])) <= COIN_FLIP_TOLERANCE


def _is_true_or_false(answer: str, item: Item) -> bool:
    """Whether the answer is right; the library asks only whether it is empty."""
    return answer.strip().lower() == str(item["answer"]).strip().lower()


_GUARDS: dict[str, Callable[[str, Item], bool]] = {
    **dict.fromkeys(("binary_matrix", "n_queens", "spiral_matrix", "string_insertion"), _is_literal),
    **dict.fromkeys(("simple_integration", "intermediate_integration"), _is_antiderivative),
    "polynomial_multiplication": _is_polynomial,
    "countdown": _is_arithmetic,
    "puzzle24": _uses_its_numbers,
    "game_of_life_halting": _is_true_or_false,
    "coin_flip": _is_probability,
    "complex_arithmetic": lambda answer, item: _COMPLEX.fullmatch(answer.strip()) is not None,
    "rubiks_cube": lambda answer, item: _LONG_NUMBER.search(answer) is None and len(answer) <= 2_000,
    "rush_hour": lambda answer, item: _LONG_NUMBER.search(answer) is None,
}
