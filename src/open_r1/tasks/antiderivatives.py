# SPDX-License-Identifier: Apache-2.0
"""Integrals, judged by the value of the answer's derivative at points; never by `eval`, without algebra.

The library's scorers of integrals hand the answer to sympy, which evaluates the text and may then take minutes to
simplify a formula of 60 characters. Here a formula costs some operations on complex numbers for each of its parts.
"""

import ast
import cmath
import contextlib
import operator
from collections.abc import Callable, Mapping

MAX_CHARS = 400
POINTS = (0.4142 + 0.01j, 1.2361 + 0.02j, 2.7321 - 0.03j)
"""Where antiderivatives are tried: off the real axis, where logarithms and roots have their cuts."""
CONSTANT_OF_INTEGRATION = 0.7

# Steps around a point, at most a tenth of its distance to the real axis: poles and cuts there change a derivative by
# about (1/10)^8 of its size. Smaller steps would lose digits to rounding.
_STEPS = [cmath.rect(1e-3, cmath.tau * number / 8) for number in range(8)]
_CONSTANTS = {"pi": cmath.pi, "E": cmath.e}
_FUNCTIONS: dict[str, Callable[[complex], complex]] = {
    **{name: getattr(cmath, name) for name in ("sqrt", "exp", "log", "sin", "cos", "tan", "asin", "acos", "atan")},
    **{name: getattr(cmath, name) for name in ("sinh", "cosh", "tanh", "asinh", "acosh", "atanh")},
    "ln": cmath.log,
    "sec": lambda z: 1 / cmath.cos(z),
    "csc": lambda z: 1 / cmath.sin(z),
    "cot": lambda z: 1 / cmath.tan(z),
    "acot": lambda z: cmath.atan(1 / z),
}
_OPERATORS: dict[type[ast.AST], Callable[..., complex]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.Pow: operator.pow,
    ast.USub: operator.neg,
    ast.UAdd: operator.pos,
}


def is_antiderivative(answer: str, integrand: str, variable: str) -> bool:
    """Return whether the derivative of an answer has the value of the integrand, at one point of three at least.

    One, because at others it may have none, or that of another branch of a root.

    >>> is_antiderivative("x**2 + C", "2*x", "x"), is_antiderivative("x**3", "2*x", "x")
    (True, False)
    """
    for point in POINTS:
        # A text that is no formula, or has no value here.
        with contextlib.suppress(ArithmeticError, ValueError, SyntaxError, RecursionError, MemoryError):
            slope = slope_of(answer, variable, point)
            if cmath.isclose(slope, value_of(integrand, variable, point), rel_tol=1e-6, abs_tol=1e-9):
                return True
    return False


def slope_of(formula: str, variable: str, point: complex) -> complex:
    """Return the derivative of a formula at a point, by Cauchy's integral formula on a small circle around it.

    Raises:
        ArithmeticError, SyntaxError, RecursionError, MemoryError, ValueError: See `value_of`.

    >>> round(slope_of("x**2 + log(x)", "x", 2).real, 4)
    4.5
    """
    return sum(value_of(formula, variable, point + step) / step for step in _STEPS) / len(_STEPS)


def value_of(formula: str, variable: str, point: complex) -> complex:
    """Return the value of a formula at a point.

    Args:
        formula: Numbers, the variable, C, pi, E, + - * / **, parentheses and elementary functions.
        variable: Its name.
        point: Its value.

    Raises:
        ArithmeticError: There is none.
        SyntaxError, RecursionError, MemoryError: Python cannot parse the text.
        ValueError: There is none, or the text is no formula of at most MAX_CHARS characters.
    """
    if len(formula) > MAX_CHARS:
        raise ValueError(f"a formula of more than {MAX_CHARS} characters")
    names = {**_CONSTANTS, variable: point, "C": CONSTANT_OF_INTEGRATION}
    return _evaluate(ast.parse(formula.strip(), mode="eval").body, names)


def _evaluate(node: ast.expr, names: Mapping[str, complex]) -> complex:
    match node:
        case ast.Constant(value=int() | float() as number):
            return complex(number)
        case ast.Name(id=name) if name in names:
            return names[name]
        case ast.UnaryOp(op=sign, operand=operand) if type(sign) in _OPERATORS:
            return _OPERATORS[type(sign)](_evaluate(operand, names))
        case ast.Call(func=ast.Name(id=name), args=[argument], keywords=[]) if name in _FUNCTIONS:
            return _FUNCTIONS[name](_evaluate(argument, names))
        case ast.BinOp(left=left, op=sign, right=right) if type(sign) in _OPERATORS:
            return _OPERATORS[type(sign)](_evaluate(left, names), _evaluate(right, names))
    raise ValueError("not a formula of a kind that answers need")
