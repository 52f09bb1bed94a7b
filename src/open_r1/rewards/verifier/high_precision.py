# SPDX-License-Identifier: Apache-2.0
r"""Whether two formulas with roots, powers, logarithms are equal: by their values to 60 digits, at up to 40 points.

Constants are evaluated once, formulas with variables at points, positive and negative ones; a point where either has
no real value is left out, so that ln(x^2) = 2 ln x. Odd roots of negative numbers are real.

What is computed is no proof: no value has a bound of its error. A small difference is computed again with as many
digits as the formulas' numbers have and 160 more: where it shrinks, it is the noise of a zero. Given up by that: a
difference that long formulas hide below those digits, and values within 2^-100 of an integer, which floor, ceil and
factorials take for it.
"""

import math
import os
import random
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from fractions import Fraction
from typing import Any

import mpmath

from open_r1.rewards.verifier.budget import spend
from open_r1.rewards.verifier.tree import (
    EULER,
    IMAGINARY,
    PI,
    Add,
    Call,
    Constant,
    Mul,
    Node,
    Number,
    Pow,
    Symbol,
    names_in,
    parts_of,
    rebuild,
    walk,
)
from open_r1.rewards.verifier.value import (
    Evaluator,
    NoValueError,
    Point,
    TooLargeError,
    UndefinedError,
    equal_at,
    plain_value,
)

# Digits of the first look, and of the second at most.
_DIGITS, _MAX_DIGITS = 60, 2_000
# Bits of what is neither large nor small.
_MODERATE = 100
# Bits of arguments, and the largest argument of a factorial.
_MAX_MAGNITUDE, _MAX_INTEGER = 4_000, 5_000
_ENOUGH_POINTS, _NUM_INTEGER_POINTS, _NUM_TINY_POINTS = 4, 60, 3
_LARGEST_SIZE = 10**12
_FUNCTIONS = {
    **{name: name for name in ["sin", "cos", "tan", "cot", "sec", "csc", "sinh", "cosh", "tanh", "coth", "exp"]},
    **{f"arc{name}": f"a{name}" for name in ["sin", "cos", "tan", "cot", "sec", "csc"]},
    "ln": "ln",
    "lg": "log10",
    "abs": "fabs",
    "floor": "floor",
    "ceil": "ceil",
}
# The work for their large arguments doesn't grow with the digits before the point.
_TAME = frozenset(["ln", "lg", "abs"])
# Functions that jump, at which almost no random point lies.
_JUMPS = frozenset(["floor", "ceil"])
_OF_INTEGERS: dict[str, Callable[..., int]] = {
    "binomial": math.comb,
    "factorial": math.factorial,
    "double_factorial": lambda value: math.prod(range(value, 0, -2)),
}
_NAMES_OF_INTEGERS = frozenset("ijklmnpqNMK")

# mpmath's precision is a setting of a context, and its constants are cached without a lock.
_MP = mpmath.mp.clone()
_LOCK = threading.Lock()
os.register_at_fork(before=_LOCK.acquire, after_in_parent=_LOCK.release, after_in_child=_LOCK.release)


def equal_numerically(gold: Node, answer: Node) -> bool:
    """Return whether two formulas are equal, with the base 10 or e for logarithms without one.

    Raises:
        FormulaError: Either has no value, or none that can be computed.
    """
    pairs = dict.fromkeys((fold(gold, log), fold(answer, log)) for log in ("lg", "ln"))
    return any(_agree_at_points(*pair) if names_in(Add(*pair)) else _agree(*pair, {}) for pair in pairs)


def real_value(node: Node) -> Fraction:
    """Return a real constant, rounded to 60 digits.

    Raises:
        FormulaError: It is not real, or has no value.
    """
    node = fold(node)
    with _digits(_DIGITS):
        value = _Digits({}).value(node)
    if not _is_real(value) or abs(_MP.mag(value)) > _MAX_MAGNITUDE:
        raise NoValueError("a number that can't be sorted")
    mantissa, exponent = _MP.re(value).man_exp
    return mantissa * Fraction(2) ** exponent


def check_constant(node: Node) -> None:
    """Evaluate a constant.

    Raises:
        FormulaError: It has no value.
    """
    # What divides by zero divides by noise, and changes with every digit.
    _agree(fold(node), Number(Fraction(0)), {})


def fold(node: Node, log: str = "ln") -> Node:
    """Return the tree with every part that is a rational number computed, e^x as a function, and a base for `log`."""
    node = rebuild(node, lambda part: fold(part, log))
    match node:
        case Pow(left=Constant("e")):
            return Call("exp", (node.right,))
        case Call(name="log", arguments=(argument,)):
            return Call(log, (argument,))
    parts = list(parts_of(node))
    if parts and all(isinstance(part, Number) for part in parts):
        try:
            value = plain_value(node)
        except UndefinedError:
            value = None
        return node if value is None else Number(value)
    return node


def _sizes(*nodes: Node) -> set[int]:
    """Return the whole numbers in formulas, those of their fractions too, up to a trillion."""
    values = [part.value for node in nodes for part in walk(node) if isinstance(part, Number)]
    sizes = {size for value in values for size in (abs(value.numerator), value.denominator)}
    return {size for size in sizes if size <= _LARGEST_SIZE}


def points_for(gold: Node, answer: Node, *, is_integer: bool = False) -> Iterator[Point]:
    """Return random points: tiny and small ones, large ones, and some beyond all numbers of the formulas.

    The tiny ones are reciprocals of those: elsewhere e^{-500x} is nothing beside 1, and e^{500x} everything.
    """
    draw = random.Random("points")
    names = sorted(names_in(Add(gold, answer)), key=repr)
    sizes = _sizes(gold, answer)
    for size in [] if is_integer else sorted(sizes - set(range(10)))[-_NUM_TINY_POINTS:]:
        yield {name: Fraction(draw.randrange(300_000, 1_000_000), 1_000_003 * size) for name in names}
    beyond = 12 * max(sizes, default=10)
    small = [(3, [1])] * 4 + [(3, [1, -1])] * 4
    for top, signs in [*small, (30, [1, -1]), (300, [1, -1]), (beyond, [1]), (beyond, [-1]), *[(beyond, [1, -1])] * 2]:
        if is_integer:
            yield {name: Fraction(draw.randrange(1, _NUM_INTEGER_POINTS)) for name in names}
        else:
            places = {name: draw.choice(signs) * draw.randrange(top * 100_000, top * 1_000_000) for name in names}
            yield {name: Fraction(place, 1_000_003) for name, place in places.items()}


def _jump_points(gold: Node, answer: Node) -> Iterator[Point]:
    r"""Return points of integers, beside the numbers of the formulas too: \lfloor n/100\rfloor jumps at 100."""
    first, *names = sorted(names_in(Add(gold, answer)), key=repr)
    jumps = {size + step for size in _sizes(gold, answer) for step in (-1, 0, 1)}
    for place in sorted({*range(1, _NUM_INTEGER_POINTS + 1), *sorted(jumps - {0})[-_NUM_INTEGER_POINTS:]}):
        draw = random.Random(place)
        yield {first: Fraction(place)} | {name: Fraction(draw.randrange(1, _NUM_INTEGER_POINTS)) for name in names}


def _agree_at_points(gold: Node, answer: Node) -> bool:
    if any(isinstance(part, Call) and part.name in _JUMPS for part in walk(Add(gold, answer))):
        if not _agree_at_all(gold, answer, _jump_points(gold, answer), num_points=1):
            return False
        if all(getattr(name, "name", "x")[0] in _NAMES_OF_INTEGERS for name in names_in(Add(gold, answer))):
            return True
    for is_integer, is_complex in ((False, False), (True, False), (False, True)):
        points = points_for(gold, answer, is_integer=is_integer)
        found = _agree_at_all(gold, answer, points, is_complex=is_complex)
        if found is not None:
            return found
    return False


def _agree_at_all(
    gold: Node, answer: Node, points: Iterable[Point], *, num_points: int = _ENOUGH_POINTS, is_complex: bool = False
) -> bool | None:
    """Return whether two formulas agree at all points where both have values; None where those are too few."""
    num_agreeing = 0
    for point in points:
        try:
            found = equal_at(gold, answer, point)
            found = _agree(gold, answer, point, is_complex=is_complex) if found is None else found
        except UndefinedError:
            continue
        if found is False:
            return False
        num_agreeing += found is True
    return True if num_agreeing >= num_points else None


def _agree(gold: Node, answer: Node, point: Point, *, is_complex: bool = True) -> bool | None:
    """Return whether two formulas have the same value at a point; None where either has none that is real."""
    with _digits(_DIGITS):
        evaluator = _Digits(point)
        one, other = evaluator.value(gold), evaluator.value(answer)
        if not is_complex and not (_is_real(one) and _is_real(other)):
            return None
        first = one - other
        if _magnitude(first) > evaluator.largest - _MODERATE:
            return False
    digits = 160 + math.ceil(_num_bits(gold) + _num_bits(answer))
    if digits > _MAX_DIGITS:
        raise TooLargeError("a difference that needs too many digits")
    with _digits(digits):
        evaluator = _Digits(point)
        one, other = evaluator.value(gold), evaluator.value(answer)
        size, second = max(_magnitude(one), _magnitude(other), evaluator.largest), one - other
    # Noise is small beside the values; where they are noise themselves, it shrinks with every digit.
    growth = _magnitude(second) - _magnitude(first) if first and second else 0
    if growth > 3 * _DIGITS:
        raise UndefinedError("division by noise")
    return not second or growth < -3 * _DIGITS or _magnitude(second) < size - 2.5 * digits


@contextmanager
def _digits(number: int) -> Iterator[None]:
    """Compute with so many digits; no other thread does."""
    with _LOCK, _MP.workdps(number):
        try:
            yield
        except ZeroDivisionError as error:
            raise UndefinedError("division by zero") from error


def _num_bits(node: Node) -> float:
    """Return about how many bits the numbers of a formula have, those of its powers written out."""
    if isinstance(node, Number):
        return node.value.numerator.bit_length() + node.value.denominator.bit_length()
    if isinstance(node, Pow) and isinstance(node.right, Number):
        return min(abs(node.right.value), _MAX_DIGITS) * _num_bits(node.left)
    return sum(map(_num_bits, parts_of(node)))


def _magnitude(value: Any) -> float:
    """Return the least n with |value| < 2^n, or a little more."""
    return int(_MP.mag(value)) if value else -math.inf


def _is_real(value: Any) -> bool:
    return not isinstance(value, _MP.mpc) or _magnitude(value.imag) <= _magnitude(value) - 2 * _DIGITS


class _Digits(Evaluator):
    """Evaluates formulas at a point."""

    largest = -math.inf

    def spend(self) -> None:
        spend(4 + (_MP.prec / 1_000) ** 2)

    def number(self, value: Fraction) -> Any:
        return _MP.mpf(value.numerator) / value.denominator

    def leaf(self, node: Symbol | Constant) -> Any:
        if node == IMAGINARY:
            return _MP.mpc(0, 1)
        if node not in (PI, EULER):
            raise NoValueError(f"{node.name} has no value")
        return +(_MP.pi if node == PI else _MP.e)

    def combine(self, kind: type[Node], left: Any, right: Any) -> Any:
        value = left + right if kind is Add else left * right if kind is Mul else left / right
        self.largest = max(self.largest, _magnitude(left), _magnitude(right), _magnitude(value))
        if isinstance(value, _MP.mpc):
            # Where the parts are of very different sizes, mpmath writes out all digits between them.
            limit = _magnitude(value) - _MP.prec
            real, imaginary = (part if _magnitude(part) > limit else _MP.mpf(0) for part in (value.real, value.imag))
            return _MP.mpc(real, imaginary) if imaginary else real
        return value

    def apply(self, function: Callable[..., Any], *values: Any, is_tame: bool = False) -> Any:
        """Return a function's value; the work for a large argument grows with its digits unless it is tame: ln."""
        size = 0 if is_tame else max(map(_magnitude, values))
        if size > _MAX_MAGNITUDE:
            raise TooLargeError("a function of a large number")
        spend(
            (6 if any(isinstance(value, _MP.mpc) for value in values) else 2)
            * (8 + 40 * ((_MP.prec + max(size, 0)) / 1_000) ** 2)
        )
        try:
            value = function(*values)
        except ValueError as error:
            raise UndefinedError(str(error)) from error  # a pole
        if not _MP.isfinite(value):
            raise UndefinedError("an infinite value")
        return value

    def power(self, base: Any, exponent: Any, written: Node) -> Any:
        """Return a power; `written` is its exponent in the formula, whose denominator tells odd roots."""
        if not base and _MP.re(exponent) <= 0:
            raise UndefinedError("zero to the power of zero or less")
        if _magnitude(exponent) > _MAX_MAGNITUDE // 2:
            raise TooLargeError("a power with too many digits")
        is_negative = not isinstance(base, _MP.mpc) and base < 0
        if isinstance(written, Number) and is_negative and written.value.denominator % 2:
            sign = -1 if written.value.numerator % 2 else 1
            return sign * self.apply(_MP.power, -base, exponent, is_tame=True)
        return self.apply(_MP.power, base, exponent, is_tame=True)

    def call(self, node: Call, values: list[Any]) -> Any:
        name = node.name
        if name == "log" and len(values) == 2:
            argument, base = (self.apply(_MP.ln, value, is_tame=True) for value in values)
            return argument / base
        if name in _OF_INTEGERS:
            integers = [number for number in map(self.integer, values) if number is not None]
            if len(integers) < len(values) or min(integers) < 0:
                raise UndefinedError(f"{name} of what is no natural number")
            if max(integers) > _MAX_INTEGER:
                raise TooLargeError(f"{name} of a large number")
            spend(max(integers) / 2)
            return self.number(Fraction(_OF_INTEGERS[name](*integers)))
        if name not in _FUNCTIONS or len(values) != 1:
            raise NoValueError(f"the function {name} of {len(values)} arguments")
        whole = self.integer(values[0]) if name in _JUMPS else None
        argument = values[0] if whole is None else _MP.mpf(whole)
        return self.apply(getattr(_MP, _FUNCTIONS[name]), argument, is_tame=name in _TAME)

    def integer(self, value: Any) -> int | None:
        """Return the integer that a value is, but for noise."""
        if not _is_real(value):
            return None
        if _magnitude(value) > _MAX_MAGNITUDE:
            raise TooLargeError("an integer with too many digits")
        nearest = _MP.nint(_MP.re(value))
        return int(nearest) if _magnitude(_MP.re(value) - nearest) < -_MODERATE else None
