# SPDX-License-Identifier: Apache-2.0
"""Reads formulas that somebody else wrote: how large they are, and the value of their derivative; never by `eval`.

For the scorers of reasoning-gym that hand an answer to sympy, which evaluates the text and may then take minutes to
simplify a formula of 60 characters. An antiderivative is known by the value of its derivative, without algebra.
"""

import ast
import cmath
import math
import re
from collections.abc import Callable, Mapping
from typing import NamedTuple

from open_r1.tasks.arithmetic import read_arithmetic

MAX_CHARS = 400
MAX_DEPTH = 40
MAX_DEGREE = 64
MAX_TERMS = 40
MAX_CALLS = 8
MAX_NESTED_CALLS = 2
MAX_NUMBER = 10**9

_TEN_TO_THE = re.compile(r"\d\.?[eE]")  # Python reads 1e-999999999 as 0.0, sympy to the last digit
_CONSTANTS = {"pi": cmath.pi, "E": cmath.e}
_Function = tuple[Callable[[complex], complex], Callable[[complex], complex]]
# Each function and its derivative.
_FUNCTIONS: dict[str, _Function] = {
    "sqrt": (cmath.sqrt, lambda z: 0.5 / cmath.sqrt(z)),
    "exp": (cmath.exp, cmath.exp),
    "log": (cmath.log, lambda z: 1 / z),
    "ln": (cmath.log, lambda z: 1 / z),
    "sin": (cmath.sin, cmath.cos),
    "cos": (cmath.cos, lambda z: -cmath.sin(z)),
    "tan": (cmath.tan, lambda z: 1 / cmath.cos(z) ** 2),
    "sec": (lambda z: 1 / cmath.cos(z), lambda z: cmath.tan(z) / cmath.cos(z)),
    "csc": (lambda z: 1 / cmath.sin(z), lambda z: -cmath.cos(z) / cmath.sin(z) ** 2),
    "cot": (lambda z: 1 / cmath.tan(z), lambda z: -1 / cmath.sin(z) ** 2),
    "asin": (cmath.asin, lambda z: 1 / cmath.sqrt(1 - z * z)),
    "acos": (cmath.acos, lambda z: -1 / cmath.sqrt(1 - z * z)),
    "atan": (cmath.atan, lambda z: 1 / (1 + z * z)),
    "acot": (lambda z: cmath.atan(1 / z), lambda z: -1 / (1 + z * z)),
    "sinh": (cmath.sinh, cmath.cosh),
    "cosh": (cmath.cosh, cmath.sinh),
    "tanh": (cmath.tanh, lambda z: 1 / cmath.cosh(z) ** 2),
    "asinh": (cmath.asinh, lambda z: 1 / cmath.sqrt(1 + z * z)),
    "acosh": (cmath.acosh, lambda z: 1 / (cmath.sqrt(z - 1) * cmath.sqrt(z + 1))),
    "atanh": (cmath.atanh, lambda z: 1 / (1 - z * z)),
}


class NotFormula(ValueError):
    """The text is no formula, or is larger than the caps allow."""


class _Size(NamedTuple):
    """Bounds on a formula that is multiplied out: its degree, and how many terms it has."""

    degree: float
    num_terms: float


class _Dual(NamedTuple):
    """A value and its derivative."""

    value: complex
    slope: complex


def read_formula(text: str, *, max_nested_calls: int = MAX_NESTED_CALLS) -> ast.expr:
    """Return the tree of a formula that is small even when it is multiplied out.

    Args:
        text: Numbers, names of one letter, pi, + - * / **, parentheses and elementary functions.
        max_nested_calls: How deeply functions may be nested; 0 for polynomials.

    Raises:
        NotFormula: The text is refused.
    """
    if len(text) > MAX_CHARS or _TEN_TO_THE.search(text):
        raise NotFormula(f"not a formula of at most {MAX_CHARS} characters")
    try:
        tree = ast.parse(text.strip(), mode="eval").body
        num_calls = sum(isinstance(node, ast.Call) for node in ast.walk(tree))
        size = _measure(tree, MAX_DEPTH, max_nested_calls)
    except (ValueError, SyntaxError, RecursionError, MemoryError) as error:
        raise NotFormula("the text cannot be read") from error
    if num_calls > MAX_CALLS or size.degree > MAX_DEGREE or size.num_terms > MAX_TERMS:
        raise NotFormula(f"too large: {num_calls} functions, {size}")
    return tree


def value_and_slope(tree: ast.expr, point: Mapping[str, complex], variable: str) -> tuple[complex, complex]:
    """Return the value of a formula at a point, and that of its derivative by a variable.

    Raises:
        ArithmeticError: It has none there.
        KeyError: A name has no value.
        ValueError: It has none there.

    >>> value, slope = value_and_slope(read_formula("x**2 + log(x)"), {"x": 2}, "x")
    >>> round(value.real, 4), round(slope.real, 4)
    (4.6931, 4.5)
    """
    return _evaluate(tree, {name: _Dual(value, float(name == variable)) for name, value in point.items()})


def _measure(node: ast.expr, depth: int, calls: int) -> _Size:
    """Return the size of a formula.

    Raises:
        NotFormula: It holds what no answer needs, or is nested too deeply.
    """
    if depth == 0 or calls < 0:
        raise NotFormula("nested too deeply")
    match node:
        case ast.Constant(value=int() | float() as number) if not isinstance(number, bool) and number < MAX_NUMBER:
            return _Size(0, 1)
        case ast.Name(id=name) if len(name) == 1 or name == "pi":
            return _Size(1, 1)
        case ast.UnaryOp(op=ast.USub() | ast.UAdd(), operand=operand):
            return _measure(operand, depth - 1, calls)
        case ast.Call(func=ast.Name(id=name), args=[argument], keywords=[]) if name in _FUNCTIONS:
            inner = _measure(argument, depth - 1, calls - 1)
            return _Size(max(1, inner.degree), inner.num_terms)
        case ast.BinOp(left=base, op=ast.Pow(), right=exponent):
            return _measure_power(_measure(base, depth - 1, calls), exponent, depth - 1, calls - 1)
        case ast.BinOp(left=left, op=ast.Add() | ast.Sub(), right=right):
            first, second = _measure(left, depth - 1, calls), _measure(right, depth - 1, calls)
            return _Size(max(first.degree, second.degree), first.num_terms + second.num_terms)
        case ast.BinOp(left=left, op=ast.Mult() | ast.Div(), right=right):
            first, second = _measure(left, depth - 1, calls), _measure(right, depth - 1, calls)
            return _Size(first.degree + second.degree, first.num_terms * second.num_terms)
    raise NotFormula("no formula of a kind that answers need")


def _measure_power(base: _Size, exponent: ast.expr, depth: int, calls: int) -> _Size:
    parts = list(ast.walk(exponent))
    if any(isinstance(part, ast.Name) for part in parts):  # such as E**(2*x)
        if any(isinstance(part, ast.Pow) for part in parts):
            raise NotFormula("a tower of powers")
        inner = _measure(exponent, depth, calls)
        return _Size(max(base.degree, inner.degree), base.num_terms * inner.num_terms)
    power = abs(float(read_arithmetic(ast.unparse(exponent)).value))
    if power > MAX_DEGREE:
        raise NotFormula("a large power")
    num_terms = math.comb(int(base.num_terms) + math.ceil(power) - 1, math.ceil(power)) if power else 1
    return _Size(max(1, base.degree) * max(1, power), num_terms)


def _evaluate(node: ast.expr, point: Mapping[str, _Dual]) -> _Dual:
    match node:
        case ast.Constant(value=int() | float() as number):
            return _Dual(complex(number), 0)
        case ast.Name(id=name):
            return point[name] if name in point else _Dual(_CONSTANTS[name], 0)
        case ast.UnaryOp(op=sign, operand=operand):
            value, slope = _evaluate(operand, point)
            return _Dual(-value, -slope) if isinstance(sign, ast.USub) else _Dual(value, slope)
        case ast.Call(func=ast.Name(id=name), args=[argument]):
            value, slope = _evaluate(argument, point)
            function, derivative = _FUNCTIONS[name]
            return _Dual(function(value), derivative(value) * slope)
        case ast.BinOp(left=left, op=operator, right=right):
            return _combine(operator, _evaluate(left, point), _evaluate(right, point))
    raise NotFormula("no formula of a kind that answers need")


def _combine(operator: ast.operator, first: _Dual, second: _Dual) -> _Dual:
    match operator:
        case ast.Add():
            return _Dual(first.value + second.value, first.slope + second.slope)
        case ast.Sub():
            return _Dual(first.value - second.value, first.slope - second.slope)
        case ast.Mult():
            return _Dual(first.value * second.value, first.slope * second.value + first.value * second.slope)
        case ast.Div():
            value = first.value / second.value
            return _Dual(value, (first.slope - value * second.slope) / second.value)
    value = first.value**second.value
    if second.slope == 0:
        return _Dual(value, second.value * first.value ** (second.value - 1) * first.slope)
    growth = second.slope * cmath.log(first.value) + second.value * first.slope / first.value
    return _Dual(value, value * growth)
