# SPDX-License-Identifier: Apache-2.0
r"""Tells whether two formulas with roots, powers, logarithms or angles are equal, by high precision. For workers only.

Both are evaluated to at least 100 digits: constants once, formulas with variables at random points, positive and
negative ones; a point where either has no real value is left out, so that ln(x^2) = 2 ln x. The digits grow with those
of the numbers in the formulas, since the smallest distance of two such constants does: \sqrt{2} is not
\sqrt{2} + 10^{-3000}. Odd roots of negative numbers are real.
"""

import math
import random
from fractions import Fraction
from typing import Any

import mpmath

from open_r1.rewards.verifier.comparison import Comparer, NotSortableError
from open_r1.rewards.verifier.cursor import Node
from open_r1.rewards.verifier.exact import (
    MAX_BITS,
    NoValueError,
    TooLargeError,
    UndefinedError,
    equal_exactly,
    plain_value,
)
from open_r1.rewards.verifier.formula_parts import has_call, sizes_in, symbols_in
from open_r1.rewards.verifier.quick import check_formulas, formulas_in, proportional
from open_r1.rewards.verifier.reading import Reading
from open_r1.rewards.verifier.regions import replace_symbol
from open_r1.rewards.verifier.trees import infinity

_MIN_DIGITS, _MAX_DIGITS = 100, 60_000
_MAX_EXPONENT = 10**6
_ENOUGH_POINTS = 4
# Digits beyond the wanted ones: formulas such as cosh^2 x - sinh^2 x lose theirs at large points.
_SPARE_DIGITS = 600
_CONSTANTS = {"pi": lambda: +mpmath.pi, "e": lambda: +mpmath.e, "i": lambda: mpmath.mpc(0, 1)}
_FUNCTIONS = {
    **{
        name: name
        for name in ["sin", "cos", "tan", "cot", "sec", "csc", "sinh", "cosh", "tanh", "coth", "exp", "floor", "ceil"]
    },
    **{f"arc{name}": f"a{name}" for name in ["sin", "cos", "tan", "cot", "sec", "csc"]},
    "ln": "ln",
    "lg": "log10",
    "abs": "fabs",
    "binomial": "binomial",
    "factorial": "factorial",
    "double_factorial": "fac2",
    "sgn": "sign",
    "Re": "re",
    "Im": "im",
    "arg": "arg",
}
# Functions with jumps, at which almost no random point lies, and variables that stand for integers beside them.
_STEPS = frozenset(["floor", "ceil", "gcd", "lcm"])
_LOG = frozenset(["log"])
_INTEGERS = frozenset("ijklmnpqNMK")
_NUM_INTEGER_POINTS = 60
_INTEGER_FUNCTIONS = ("binomial", "factorial", "double_factorial")


def equal_numerically(gold: Node, answer: Node) -> bool:
    """Return whether two formulas are equal.

    Raises:
        TooLargeError: A number is too large to compute with.
        UndefinedError: A constant has no value.
        NoValueError: Either is no formula.
    """
    gold, answer = fold(gold), fold(answer)
    symbols = sorted(symbols_in(gold) | symbols_in(answer))
    digits = _MIN_DIGITS + 3 * (_num_digits(gold) + _num_digits(answer))
    if digits > _MAX_DIGITS:
        raise TooLargeError(math.inf)
    if symbols and (has_call(gold, _STEPS) or has_call(answer, _STEPS)):
        # Beside the numbers of the formulas too: \lfloor n/100\rfloor is 0 for a long time.
        jumps = {size + step for size in sizes_in(gold) | sizes_in(answer) for step in (-1, 0, 1)}
        places = sorted({*range(1, _NUM_INTEGER_POINTS + 1), *sorted(jumps - {0})[-_NUM_INTEGER_POINTS:]})
        verdicts = {_equal_at(gold, answer, symbols, place) for place in places}
        if False in verdicts or True not in verdicts:
            return False
        if _INTEGERS.issuperset(name[0] for _, name in symbols):
            return True
    bases = (10, None) if has_call(gold, _LOG) or has_call(answer, _LOG) else (None,)
    with mpmath.workdps(int(digits) + (_SPARE_DIGITS if symbols else 20)):
        return any(_are_equal(gold, answer, symbols, int(digits), base) for base in bases)


def _equal_at(gold: Node, answer: Node, symbols: list[Node], place: int) -> bool | None:
    """Return whether two formulas are equal where the first variable is `place`; None without a value there."""
    draw = random.Random(place)
    for number, symbol in enumerate(symbols):
        value: Node = ("number", Fraction(draw.randrange(1, _NUM_INTEGER_POINTS) if number else place))
        gold, answer = replace_symbol(gold, symbol, value), replace_symbol(answer, symbol, value)
    try:
        return equal_numerically(gold, answer)
    except (UndefinedError, ZeroDivisionError):
        return None


def ratio_is_constant(gold: Node, answer: Node) -> bool:
    """Return whether two formulas differ by a constant factor other than zero, so that they vanish together."""
    gold, answer = fold(gold), fold(answer)
    symbols = sorted(symbols_in(gold) | symbols_in(answer))
    ratios: list[Any] = []
    with mpmath.workdps(_MIN_DIGITS + _SPARE_DIGITS):
        for point in _points(symbols, sizes_in(gold) | sizes_in(answer)):
            pair = _real_values(gold, answer, point, None)
            if pair is None or pair[0] == pair[1] == 0:
                continue
            if 0 in pair:
                return False
            ratios.append(pair[0] / pair[1])
            if abs(ratios[-1] - ratios[0]) > abs(ratios[0]) * mpmath.mpf(10) ** (-_MIN_DIGITS // 2):
                return False
    return len(ratios) >= _ENOUGH_POINTS


def fold(node: Node, max_bits: int = MAX_BITS) -> Node:
    """Return the tree with every part that is a rational number computed."""
    if node[0] in ("number", "symbol", "constant"):
        return node
    try:
        value = plain_value(node, max_bits)
    except UndefinedError:
        value = None
    if value is not None:
        return ("number", value)
    if node[0] == "call":
        return ("call", node[1], tuple(fold(argument, max_bits) for argument in node[2]))
    return (node[0], *(fold(part, max_bits) for part in node[1:]))


def _are_equal(gold: Node, answer: Node, symbols: list[Node], digits: int, base: int | None) -> bool:
    if not symbols:
        values = _value(gold, {}, base), _value(answer, {}, base)
        return _agree(values[0], values[1], digits)
    for integers in (False, True):
        num_real = 0
        for point in _points(symbols, sizes_in(gold) | sizes_in(answer), integers=integers):
            pair = _real_values(gold, answer, point, base)
            if pair is None:
                continue
            if not _agree(pair[0], pair[1], digits):
                return False
            num_real += 1
        if num_real >= _ENOUGH_POINTS:
            return True
    return _agree_as_complex(gold, answer, symbols, digits, base)


def _agree_as_complex(gold: Node, answer: Node, symbols: list[Node], digits: int, base: int | None) -> bool:
    num_points = 0
    for point in _points(symbols, sizes_in(gold) | sizes_in(answer)):
        try:
            values = _value(gold, point, base), _value(answer, point, base)
        except (UndefinedError, ZeroDivisionError, ValueError):
            continue
        if not _agree(values[0], values[1], digits):
            return False
        num_points += 1
    return num_points >= _ENOUGH_POINTS


def _agree(left: Any, right: Any, digits: int) -> bool:
    if not (mpmath.isfinite(left) and mpmath.isfinite(right)):
        return False
    scale = 1 + max(abs(left), abs(right))
    return bool(abs(left - right) <= scale * mpmath.mpf(10) ** (-(2 * digits) // 3))


def _points(symbols: list[Node], sizes: set[int], *, integers: bool = False) -> list[dict[Node, Any]]:
    """Return random points: small positive ones, small ones of any sign, large ones, some beyond all `sizes`."""
    draw = random.Random("points")
    tops = [60 if integers else 3] * 12 + [30, 100, 300, 1_000] + [3 * max(sizes, default=10) + 10] * 4
    points = []
    for number, top in enumerate(tops):
        point: dict[Node, Any] = {}
        for symbol in symbols:
            sign = -1 if number >= 6 and draw.random() < 0.6 and not integers else 1
            value = draw.randrange(1, top) if integers else draw.randrange(1_000, top * 1_000_000)
            point[symbol] = sign * mpmath.mpf(value) / (1 if integers else 1_000_003)
        points.append(point)
    return points


def _real_values(gold: Node, answer: Node, point: dict[Node, Any], base: int | None) -> tuple[Any, Any] | None:
    """Return both values where both are real, else None."""
    try:
        values = _value(gold, point, base), _value(answer, point, base)
    except (UndefinedError, ZeroDivisionError, ValueError):
        return None
    reals = []
    for value in values:
        if isinstance(value, mpmath.mpc):
            if abs(value.imag) > mpmath.mpf(10) ** (-mpmath.mp.dps // 2):
                return None
            value = value.real
        if not mpmath.isfinite(value):
            return None
        reals.append(value)
    return reals[0], reals[1]


def _value(node: Node, point: dict[Node, Any], base: int | None) -> Any:
    """Return the value of a formula at a point; `base` is the base of a logarithm without one (None: e)."""
    kind = node[0]
    if kind in ("number", "symbol", "constant"):
        return _leaf(node, point)
    if kind == "call":
        return _call(node, point, base)
    left = _value(node[1], point, base)
    if kind == "neg":
        return -left
    if kind == "degrees":
        return left * mpmath.pi / 180
    right = _value(node[2], point, base)
    if kind == "pow":
        return _power(left, node[2], right)
    if kind in ("add", "mul"):
        return left + right if kind == "add" else left * right
    if kind != "div":
        raise NoValueError(kind)
    if right == 0:
        raise UndefinedError("division by zero")
    return left / right


def _leaf(node: Node, point: dict[Node, Any]) -> Any:
    if node[0] == "number":
        return mpmath.mpf(node[1].numerator) / node[1].denominator
    if node[0] == "constant" and node[1] in _CONSTANTS:
        return _CONSTANTS[node[1]]()
    if node not in point:
        raise NoValueError(f"{node[1]} has no value")
    return point[node]


def _power(base: Any, exponent: Node, power: Any) -> Any:
    if abs(power) * (1 + abs(mpmath.log(abs(base)))) > _MAX_EXPONENT if base else False:
        raise TooLargeError(math.inf)
    if base == 0:
        if mpmath.re(power) <= 0:
            raise UndefinedError("zero to the power of zero or less")
        return base
    is_real_and_negative = not isinstance(base, mpmath.mpc) and base < 0
    if exponent[0] == "number" and is_real_and_negative and exponent[1].denominator % 2:
        sign = -1 if exponent[1].numerator % 2 else 1
        return sign * mpmath.power(-base, power)
    return mpmath.power(base, power)


def _call(node: Node, point: dict[Node, Any], base: int | None) -> Any:
    name = node[1]
    values = [_value(argument, point, base) for argument in node[2]]
    if name == "root":
        degree = node[2][1]
        inverse: Node = ("number", 1 / degree[1]) if degree[0] == "number" and degree[1] else ("div", (), ())
        return _power(values[0], inverse, 1 / values[1])
    if name == "log":
        if len(values) == 2:
            if values[1] in (0, 1):
                raise UndefinedError("a logarithm to the base 0 or 1")
            return mpmath.log(values[0]) / mpmath.log(values[1])
        return mpmath.log(values[0]) if base is None else mpmath.log10(values[0])
    if name in ("f", "g", "h") or name not in _FUNCTIONS:
        raise NoValueError(f"the function {name}")
    if len(values) != (2 if name == "binomial" else 1):
        raise NoValueError(f"the function {name} of {len(values)} arguments")
    if any(abs(value) > _MAX_EXPONENT for value in values):
        raise TooLargeError(math.inf)
    if name in _INTEGER_FUNCTIONS and not all(mpmath.isint(value) for value in values):
        raise UndefinedError(f"{name} of what is no integer")
    try:
        return getattr(mpmath, _FUNCTIONS[name])(*values)
    except ValueError as error:
        # A pole.
        raise UndefinedError(str(error)) from error


def _num_digits(node: Node) -> float:
    """Return about how many digits the numbers of a formula have, those of its powers written out."""
    if node[0] == "number":
        return (node[1].numerator.bit_length() + node[1].denominator.bit_length()) * 0.302
    if node[0] in ("symbol", "constant"):
        return 0
    if node[0] == "pow" and node[2][0] == "number":
        return min(float(_MAX_DIGITS), float(abs(node[2][1])) * max(1.0, _num_digits(node[1])))
    return sum(_num_digits(part) for part in (node[2] if node[0] == "call" else node[1:]))


def check_gold(reading: Reading) -> None:
    """Evaluate every formula of a gold once.

    Raises:
        TooLargeError, UndefinedError, NoValueError: A formula has no value.
    """
    check_formulas(reading, MAX_BITS)
    nodes = list(reading.ratio or ()) + ([reading.quantity.node] if reading.quantity else [])
    for formula in formulas_in(nodes):
        if infinity(formula):
            continue
        folded = fold(formula)
        if folded[0] != "number" and not symbols_in(folded):
            with mpmath.workdps(_MIN_DIGITS):
                if not mpmath.isfinite(_value(folded, {}, None)):
                    raise UndefinedError("an infinite value")


def equal_by_any_means(gold: Node, answer: Node) -> bool:
    """Return whether two formulas are equal, exactly where that can be told, else in high precision."""
    try:
        is_equal = equal_exactly(gold, answer, MAX_BITS)
        return equal_numerically(gold, answer) if is_equal is None else is_equal
    except (TooLargeError, UndefinedError, NoValueError, ValueError, ZeroDivisionError):
        return False


def _proportional(gold: Node, answer: Node) -> bool:
    found = proportional(gold, answer)
    return ratio_is_constant(gold, answer) if found is None else found


def _sortable(node: Node) -> Any:
    if infinity(node):
        return infinity(node) * mpmath.inf
    try:
        value = _value(fold(node), {}, None)
    except (NoValueError, UndefinedError, TooLargeError) as error:
        raise NotSortableError(str(error)) from error
    if isinstance(value, mpmath.mpc):
        raise NotSortableError("a complex number")
    return value


WORKER_COMPARER = Comparer(equal_by_any_means, _proportional, _sortable, max_pairs=10_000)
