# SPDX-License-Identifier: Apache-2.0
"""Judges integrals by the value of the answer's derivative at points; never by `eval`, without algebra.

The library's scorers of integrals hand the answer to sympy, which evaluates the text and may then take minutes to
simplify a formula of 60 characters. Here a formula costs one operation on complex numbers for each of its parts.
"""

import ast
import cmath
import contextlib
from collections.abc import Callable, Mapping
from typing import NamedTuple

MAX_CHARS = 400
POINTS = (0.4142 + 0.01j, 1.2361 + 0.02j, 2.7321 - 0.03j)
"""Where antiderivatives are tried: off the real axis, where logarithms and roots have their cuts."""
CONSTANT_OF_INTEGRATION = 0.7

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


class _Dual(NamedTuple):
    """A value and its derivative."""

    value: complex
    slope: complex


def is_antiderivative(answer: str, integrand: str, variable: str) -> bool:
    """Return whether the derivative of an answer has the value of the integrand, at one point of three at least.

    One, because at others it may have none, or that of another branch of a root.

    >>> is_antiderivative("x**2 + C", "2*x", "x"), is_antiderivative("x**3", "2*x", "x")
    (True, False)
    """
    for value in POINTS:
        point = {variable: value, "C": CONSTANT_OF_INTEGRATION}
        # A text that is no formula, or has no value here.
        with contextlib.suppress(ArithmeticError, ValueError, SyntaxError, RecursionError, MemoryError):
            slope = value_and_slope(answer, point, variable)[1]
            wanted = value_and_slope(integrand, point, variable)[0]
            if cmath.isclose(slope, wanted, rel_tol=1e-6, abs_tol=1e-9):
                return True
    return False


def value_and_slope(formula: str, point: Mapping[str, complex], variable: str) -> tuple[complex, complex]:
    """Return the value of a formula at a point, and that of its derivative by a variable.

    Args:
        formula: Numbers, names of the point, pi, E, + - * / **, parentheses and elementary functions.
        point: The values of names.
        variable: One of these names.

    Raises:
        ArithmeticError: It has none there.
        SyntaxError, RecursionError, MemoryError: Python cannot parse the text.
        ValueError: It has none there, or the text is no formula of at most MAX_CHARS characters.

    >>> value, slope = value_and_slope("x**2 + log(x)", {"x": 2}, "x")
    >>> round(value.real, 4), round(slope.real, 4)
    (4.6931, 4.5)
    """
    if len(formula) > MAX_CHARS:
        raise ValueError(f"a formula of more than {MAX_CHARS} characters")
    names = {name: _Dual(value, 0) for name, value in _CONSTANTS.items()}
    names |= {name: _Dual(value, float(name == variable)) for name, value in point.items()}
    return _evaluate(ast.parse(formula.strip(), mode="eval").body, names)


def _evaluate(node: ast.expr, names: Mapping[str, _Dual]) -> _Dual:
    match node:
        case ast.Constant(value=int() | float() as number):
            return _Dual(complex(number), 0)
        case ast.Name(id=name) if name in names:
            return names[name]
        case ast.UnaryOp(op=ast.USub() | ast.UAdd() as sign, operand=operand):
            value, slope = _evaluate(operand, names)
            return _Dual(-value, -slope) if isinstance(sign, ast.USub) else _Dual(value, slope)
        case ast.Call(func=ast.Name(id=name), args=[argument], keywords=[]) if name in _FUNCTIONS:
            value, slope = _evaluate(argument, names)
            function, derivative = _FUNCTIONS[name]
            return _Dual(function(value), derivative(value) * slope)
        case ast.BinOp(left=left, op=operator, right=right):
            return _combine(operator, _evaluate(left, names), _evaluate(right, names))
    raise ValueError("not a formula of a kind that answers need")


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
        case ast.Pow():
            return _power(first, second)
    raise ValueError("not an operator of formulas")


def _power(base: _Dual, exponent: _Dual) -> _Dual:
    value = base.value**exponent.value
    if exponent.slope == 0:
        return _Dual(value, exponent.value * base.value ** (exponent.value - 1) * base.slope)
    growth = exponent.slope * cmath.log(base.value) + exponent.value * base.slope / base.value
    return _Dual(value, value * growth)
