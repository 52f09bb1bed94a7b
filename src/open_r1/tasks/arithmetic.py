# SPDX-License-Identifier: Apache-2.0
"""Arithmetic of strangers, read exactly: never by `eval`, and cheap whatever the text.

The text may hold whole numbers, + - * /, unary minus and plus, and parentheses. `95**87**66`, `7//2` and everything
else is refused; the caps below bound the cost before anything is computed.
"""

import ast
from dataclasses import dataclass
from fractions import Fraction

MAX_CHARS = 500
MAX_DEPTH = 60
MAX_DIGITS = 18

_ALLOWED = frozenset("0123456789+-*/() \t\n")


class NotArithmetic(ValueError):
    """The text is no arithmetic, is larger than the caps allow, or has no value (division by zero)."""


@dataclass(frozen=True)
class Arithmetic:
    """An expression that was read.

    Attributes:
        value: Its exact value.
        numbers: The numbers in it, from left to right.
    """

    value: Fraction
    numbers: tuple[int, ...]


def read_arithmetic(text: str) -> Arithmetic:
    """Return the value and the numbers of an expression.

    Raises:
        NotArithmetic: The text is refused.

    >>> read_arithmetic("(1 + 2) / -6")
    Arithmetic(value=Fraction(-1, 2), numbers=(1, 2, 6))
    """
    text = text[: MAX_CHARS + 1].strip()
    if not text or len(text) > MAX_CHARS or not _ALLOWED.issuperset(text):
        raise NotArithmetic(f"not arithmetic of at most {MAX_CHARS} characters")
    try:
        tree = ast.parse(" ".join(text.split()), mode="eval")  # on one line: an answer may have line breaks
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise NotArithmetic("the text cannot be parsed") from error
    numbers: list[int] = []
    try:
        value = _evaluate(tree.body, numbers, MAX_DEPTH)
    except ZeroDivisionError as error:
        raise NotArithmetic("division by zero") from error
    return Arithmetic(value, tuple(numbers))


def _evaluate(node: ast.expr, numbers: list[int], depth: int) -> Fraction:
    if depth == 0:
        raise NotArithmetic(f"nested deeper than {MAX_DEPTH}")
    match node:
        case ast.Constant(value=int() as number) if not isinstance(number, bool) and number < 10**MAX_DIGITS:
            numbers.append(number)
            return Fraction(number)
        case ast.UnaryOp(op=ast.USub() | ast.UAdd() as sign, operand=operand):
            value = _evaluate(operand, numbers, depth - 1)
            return -value if isinstance(sign, ast.USub) else value
        case ast.BinOp(left=left, op=operator, right=right):
            first, second = _evaluate(left, numbers, depth - 1), _evaluate(right, numbers, depth - 1)
            match operator:
                case ast.Add():
                    return first + second
                case ast.Sub():
                    return first - second
                case ast.Mult():
                    return first * second
                case ast.Div():
                    return first / second
    raise NotArithmetic("only whole numbers, + - * / and parentheses are allowed")
