# SPDX-License-Identifier: Apache-2.0
"""Keeps answers from those scorers of reasoning-gym 0.1.25 that they could hang, take over or cheat.

What its scorers do with the text of a model, found by trying hostile answers on all 105:

1. `eval(answer)`: binary_matrix, n_queens, spiral_matrix, string_insertion. A model's text could run any program.
2. `sympy.parse_expr(answer)`, which evaluates too: countdown, puzzle24, polynomial_multiplication, simple_integration,
   intermediate_integration. `9**9**9` hangs, and names reach Python's built-ins.
3. `Fraction("1e999999999")` (coin_flip) and a move repeated 99999999 times (rubiks_cube) hang or eat the memory.
4. Right without being right: every answer to game_of_life_halting, `nan` to complex_arithmetic, `6*4*1*1` to any
   puzzle24.

An answer that its guard refuses scores 0. All other answers get the score of the library.
"""

import ast
import re
from collections.abc import Callable, Mapping
from typing import Any

from open_r1.tasks.arithmetic import NotArithmetic, read_arithmetic

MAX_ANSWER_CHARS = 20_000
MAX_FORMULA_CHARS = 400
MAX_FORMULA_DEPTH = 40
MAX_DEGREE = 64
MAX_CALLS = 12
MAX_NESTED_CALLS = 2
MAX_NUMBER = 10**9

_FUNCTIONS = frozenset({
    "sqrt", "exp", "log", "ln", "sin", "cos", "tan", "sec", "csc", "cot", "asin", "acos", "atan", "acot", "asec",
    "acsc", "sinh", "cosh", "tanh", "asinh", "acosh", "atanh", "Abs",
})  # fmt: skip
_LONG_NUMBER = re.compile(r"\d{3}")
_PROBABILITY = re.compile(r"[-+]?\d{1,30}(\.\d{0,30})?([eE][-+]?\d{1,2})?|\d{1,30}/\d{1,30}|\.\d{1,30}")
_COMPLEX = re.compile(r"[\d.,+\-ij() ]{1,200}")

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


def _is_small_formula(answer: str, item: Item) -> bool:
    """Whether the text is a formula small enough for sympy to differentiate and simplify."""
    if len(answer) > MAX_FORMULA_CHARS:
        return False
    try:
        tree = ast.parse(answer.strip(), mode="eval")
        calls = sum(isinstance(node, ast.Call) for node in ast.walk(tree))
        return calls <= MAX_CALLS and _degree(tree.body, MAX_FORMULA_DEPTH, MAX_NESTED_CALLS) <= MAX_DEGREE
    except (ValueError, SyntaxError, RecursionError, MemoryError):
        return False


def _degree(node: ast.expr, depth: int, calls: int) -> float:
    """Return a bound on the degree of a formula.

    Raises:
        ValueError: It holds what no answer needs, or is nested too deeply.
    """
    if depth == 0 or calls < 0:
        raise ValueError("nested too deeply")
    match node:
        case ast.Constant(value=int() | float() as number) if not isinstance(number, bool) and number < MAX_NUMBER:
            return 0
        case ast.Name(id=name) if len(name) == 1 or name == "pi":
            return 1
        case ast.UnaryOp(op=ast.USub() | ast.UAdd(), operand=operand):
            return _degree(operand, depth - 1, calls)
        case ast.Call(func=ast.Name(id=name), args=[argument], keywords=[]) if name in _FUNCTIONS:
            return max(1, _degree(argument, depth - 1, calls - 1))
        case ast.BinOp(left=base, op=ast.Pow(), right=exponent):
            power = _constant(exponent, depth - 1)
            if power is None:  # such as E**(2*x)
                return max(_degree(base, depth - 1, calls), _degree(exponent, depth - 1, calls - 1))
            return max(1, _degree(base, depth - 1, calls)) * max(1, abs(power))
        case ast.BinOp(left=left, op=ast.Add() | ast.Sub(), right=right):
            return max(_degree(left, depth - 1, calls), _degree(right, depth - 1, calls))
        case ast.BinOp(left=left, op=ast.Mult() | ast.Div(), right=right):
            return _degree(left, depth - 1, calls) + _degree(right, depth - 1, calls)
    raise ValueError("no formula of a kind that answers need")


def _constant(node: ast.expr, depth: int) -> float | None:
    """Return the value of an exponent without names or powers, None of one with names."""
    if any(isinstance(part, ast.Name) for part in ast.walk(node)):
        if any(isinstance(part, ast.Pow) for part in ast.walk(node)):
            raise ValueError("a tower of powers")
        return None
    return float(read_arithmetic(ast.unparse(node)).value)


def _is_true_or_false(answer: str, item: Item) -> bool:
    """Whether the answer is right; the library asks only whether it is empty."""
    return answer.strip().lower() == str(item["answer"]).strip().lower()


_GUARDS: dict[str, Callable[[str, Item], bool]] = {
    **dict.fromkeys(("binary_matrix", "n_queens", "spiral_matrix", "string_insertion"), _is_literal),
    **dict.fromkeys(
        ("polynomial_multiplication", "simple_integration", "intermediate_integration"), _is_small_formula
    ),
    "countdown": _is_arithmetic,
    "puzzle24": _uses_its_numbers,
    "game_of_life_halting": _is_true_or_false,
    "coin_flip": lambda answer, item: _PROBABILITY.fullmatch(answer.strip()) is not None,
    "complex_arithmetic": lambda answer, item: _COMPLEX.fullmatch(answer.strip()) is not None,
    "rubiks_cube": lambda answer, item: _LONG_NUMBER.search(answer) is None and len(answer) <= 2_000,
    "rush_hour": lambda answer, item: _LONG_NUMBER.search(answer) is None,
}
