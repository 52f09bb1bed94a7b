# SPDX-License-Identifier: Apache-2.0
r"""Whether two formulas with roots, powers, logarithms are equal: by their values to 60 digits and more.

Constants are evaluated once, formulas with variables at points, positive and negative ones; a point where either has
no real value is left out, so that ln(x^2) = 2 ln x. Odd roots of negative numbers are real. Every value carries a
bound of its error (`Ball`): a difference larger than its error is a proof; a smaller one is none before the error is
smaller than any difference that such short formulas could have, and the digits grow until it is.
"""

import math
import os
import random
import threading
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, TypeVar

import mpmath

from open_r1.rewards.verifier.budget import spend
from open_r1.rewards.verifier.tree import (
    EULER,
    IMAGINARY,
    PI,
    Add,
    Call,
    Constant,
    Div,
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

# Bits of the error that is asked for: of constants, and at points.
_BITS_OF_CONSTANTS, _BITS_AT_POINTS = 340, 200
# Where formulas ask for many bits, few are tried first; beyond the maximum they aren't compared.
_MANY_BITS, _MAX_BITS = 400, 6_700
# Bits of arguments, and the largest argument of a factorial.
_MAX_MAGNITUDE, _MAX_INTEGER = 4_000, 5_000
# The magnitude of zero, and of the error of what is exact.
_NOTHING = -(10**12)
_ENOUGH_POINTS = 4
_NUM_INTEGER_POINTS = 60
_NUM_TINY_POINTS = 3
_LARGEST_SIZE = 10**12
_FUNCTIONS = {
    **{name: name for name in ["sin", "cos", "tan", "cot", "sec", "csc", "sinh", "cosh", "tanh", "coth", "exp"]},
    **{f"arc{name}": f"a{name}" for name in ["sin", "cos", "tan", "cot", "sec", "csc"]},
    **{name: name for name in ["ln", "floor", "ceil"]},
    "lg": "log10",
    "abs": "fabs",
}
# Functions that jump, at which almost no random point lies.
_JUMPS = frozenset(["floor", "ceil"])
_OF_INTEGERS: dict[str, Callable[..., int]] = {
    "binomial": math.comb,
    "factorial": math.factorial,
    "double_factorial": lambda value: math.prod(range(value, 0, -2)),
}
_NAMES_OF_INTEGERS = frozenset("ijklmnpqNMK")

_T = TypeVar("_T")

# mpmath's precision is a setting of a context, and its constants are cached without a lock.
_MP = mpmath.mp.clone()


_LOCK = threading.Lock()
os.register_at_fork(before=_LOCK.acquire, after_in_parent=_LOCK.release, after_in_child=_LOCK.release)


class _ImpreciseError(Exception):
    """The value needs so many bits more."""

    def __init__(self, num_bits: int) -> None:
        super().__init__(f"{num_bits} bits more")
        self.num_bits = max(num_bits, 1)


@dataclass(slots=True)
class Ball:
    """A real or complex number that is off by 2^error at most."""

    value: Any
    error: int


def equal_numerically(gold: Node, answer: Node) -> bool:
    """Return whether two formulas are equal, with the base 10 or e for logarithms without one.

    Raises:
        FormulaError: Either has no value, or none that can be computed.
    """
    pairs = dict.fromkeys((fold(gold, log), fold(answer, log)) for log in ("lg", "ln"))
    return any(_agree_at_points(*pair) if names_in(Add(*pair)) else _agree_in_digits(*pair, {}) for pair in pairs)


def real_value(node: Node) -> Fraction:
    """Return a real constant, rounded to 100 digits.

    Raises:
        FormulaError: It is not real, or has no value.
    """

    def rounded(evaluator: _Balls) -> Fraction:
        ball = evaluator.value(fold(node))
        if not _is_real(ball) or abs(_magnitude(ball.value)) > _MAX_MAGNITUDE:
            raise NoValueError("a number that can't be sorted")
        mantissa, exponent = _MP.re(ball.value).man_exp
        return mantissa * Fraction(2) ** exponent

    return _computed(rounded, {}, _BITS_OF_CONSTANTS)


def check_constant(node: Node) -> None:
    """Evaluate a constant.

    Raises:
        FormulaError: It has no value.
    """
    node = fold(node)
    _computed(lambda evaluator: evaluator.value(node), {}, _BITS_AT_POINTS)


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


def _as_real(value: Fraction) -> Any:
    return _MP.mpf(value.numerator) / value.denominator


def _num_bits(node: Node) -> float:
    """Return about how many bits the numbers of a formula have, those of its powers written out."""
    if isinstance(node, Number):
        return node.value.numerator.bit_length() + node.value.denominator.bit_length()
    if isinstance(node, Pow) and isinstance(node.right, Number):
        return min(abs(node.right.value), _MAX_BITS) * _num_bits(node.left)
    return sum(map(_num_bits, parts_of(node)))


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
            found = _agree_in_digits(gold, answer, point, is_complex=is_complex) if found is None else found
        except UndefinedError:
            continue
        if found is False:
            return False
        num_agreeing += found is True
    return True if num_agreeing >= num_points else None


def _agree_in_digits(gold: Node, answer: Node, point: Point, *, is_complex: bool = False) -> bool | None:
    """Return whether two formulas have the same value at a point; None where either has none that is real."""
    num_bits = (_BITS_AT_POINTS if point else _BITS_OF_CONSTANTS) + 3 * math.ceil(_num_bits(gold) + _num_bits(answer))

    def agree(evaluator: _Balls) -> bool | None:
        one, other = evaluator.value(gold), evaluator.value(answer)
        if point and not is_complex and not (_is_real(one) and _is_real(other)):
            return None
        # Of constants every digit counts; of formulas those at small points do.
        scale = max(_magnitude(one.value), _magnitude(other.value), 0) if point else 0
        return evaluator.is_zero(evaluator.combine(Add, one, Ball(-other.value, other.error)), scale)

    return _computed(agree, point, num_bits)


def _computed(compute: Callable[["_Balls"], _T], point: Point, num_bits: int) -> _T:
    """Return what a function makes of an evaluator whose errors are small enough."""
    # Few digits tell most different values apart.
    precision = num_bits + 30 if num_bits < _MANY_BITS else _BITS_AT_POINTS
    with _LOCK:
        while precision <= _MAX_BITS:
            try:
                with _MP.workprec(precision):
                    return compute(_Balls(point, num_bits))
            except _ImpreciseError as error:
                precision += max(error.num_bits, precision // 2) + 10
            except ZeroDivisionError as error:
                raise UndefinedError("division by zero") from error
    raise TooLargeError("a difference that needs too many digits")


def _magnitude(value: Any) -> int:
    """Return the least n with |value| < 2^n, or a little more."""
    return int(_MP.mag(value)) if value else _NOTHING


def _is_real(ball: Ball) -> bool:
    return not isinstance(ball.value, _MP.mpc) or _magnitude(ball.value.imag) <= ball.error + 1


class _Balls(Evaluator):
    """Evaluates formulas at a point."""

    def __init__(self, point: Point, num_bits: int) -> None:
        super().__init__(point)
        self.num_bits = num_bits

    def spend(self) -> None:
        spend(4 + (_MP.prec / 1_000) ** 2)

    def number(self, value: Fraction) -> Ball:
        return self.rounded(_as_real(value), _NOTHING)

    def leaf(self, node: Symbol | Constant) -> Ball:
        if node == IMAGINARY:
            return Ball(_MP.mpc(0, 1), _NOTHING)
        if node not in (PI, EULER):
            raise NoValueError(f"{node.name} has no value")
        return self.rounded(+(_MP.pi if node == PI else _MP.e), _NOTHING)

    def rounded(self, value: Any, error: int) -> Ball:
        error = max(error, _magnitude(value) - _MP.prec) + 1
        if isinstance(value, _MP.mpc):
            # Where the parts are of very different sizes, mpmath writes out all digits between them.
            real, imaginary = (part if _magnitude(part) > error else _MP.mpf(0) for part in (value.real, value.imag))
            value = _MP.mpc(real, imaginary) if imaginary else real
        return Ball(value, error)

    def combine(self, kind: type[Node], left: Ball, right: Ball) -> Ball:
        one, other = left.value, right.value
        if kind is Add:
            return self.rounded(one + other, max(left.error, right.error) + 1)
        if kind is Mul:
            sizes = max(_magnitude(one), left.error), max(_magnitude(other), right.error)
            return self.rounded(one * other, max(sizes[0] + right.error, sizes[1] + left.error) + 1)
        if self.is_zero(right):
            raise UndefinedError("division by zero")
        error = max(left.error, _magnitude(one / other) + right.error)
        return self.rounded(one / other, error - _magnitude(other) + 3)

    def is_zero(self, ball: Ball, scale: int = 0) -> bool:
        """Return whether a value is zero: its error isn't smaller than the value, but smaller than asked for."""
        if _magnitude(ball.value) > ball.error + 2:
            return False
        missing = ball.error - scale + self.num_bits
        if missing > 0:
            raise _ImpreciseError(missing)
        return True

    def apply(self, function: Callable[..., Any], *balls: Ball, cost: int = 1, is_tame: bool = False) -> Ball:
        """Return a function's value; its error is what the errors of the arguments make of it.

        The work for a large argument grows with its digits, unless the function is tame: ln, but not sin.
        """
        size = 0 if is_tame else max(_magnitude(ball.value) for ball in balls)
        if size > _MAX_MAGNITUDE:
            raise TooLargeError("a function of a large number")
        is_complex = any(isinstance(ball.value, _MP.mpc) for ball in balls)
        times = cost * (3 if is_complex else 1) * 2
        spend(times * (8 + 40 * ((_MP.prec + max(size, 0)) / 1_000) ** 2))
        try:
            value = function(*(ball.value for ball in balls))
            near = [ball.value + (_MP.ldexp(1, ball.error) if ball.error > _NOTHING // 2 else 0) for ball in balls]
            neighbour = function(*near)
        except (ValueError, ZeroDivisionError) as error:
            # A pole.
            raise UndefinedError(str(error)) from error
        if not _MP.isfinite(value):
            raise UndefinedError("an infinite value")
        if not _MP.isfinite(neighbour):
            raise _ImpreciseError(_MP.prec)
        return self.rounded(value, _magnitude(neighbour - value) + 3)

    def power(self, base: Ball, exponent: Ball, written: Node) -> Ball:
        """Return a power; `written` is its exponent in the formula, whose denominator tells odd roots."""
        if _MP.re(exponent.value) <= 0 and self.is_zero(base):
            raise UndefinedError("zero to the power of zero or less")
        if _magnitude(exponent.value) > _MAX_MAGNITUDE // 2:
            raise TooLargeError("a power with too many digits")
        is_negative = not isinstance(base.value, _MP.mpc) and base.value < 0
        if isinstance(written, Number) and is_negative and written.value.denominator % 2:
            sign = -1 if written.value.numerator % 2 else 1
            return self.apply(lambda one, other: sign * _MP.power(-one, other), base, exponent, cost=2, is_tame=True)
        return self.apply(_MP.power, base, exponent, cost=2, is_tame=True)

    def call(self, node: Call, values: list[Ball]) -> Ball:
        name = node.name
        if name == "log" and len(values) == 2:
            return self.combine(Div, *(self.apply(_MP.ln, value, is_tame=True) for value in values))
        if name in _OF_INTEGERS:
            return self.call_of_integers(name, values)
        if name not in _FUNCTIONS or len(values) != 1:
            raise NoValueError(f"the function {name} of {len(values)} arguments")
        whole = self.integer(values[0]) if name in ("floor", "ceil") else None
        argument = values[0] if whole is None else self.number(Fraction(whole))
        return self.apply(getattr(_MP, _FUNCTIONS[name]), argument, is_tame=name in ("ln", "lg", "abs"))

    def call_of_integers(self, name: str, values: list[Ball]) -> Ball:
        integers = [number for number in map(self.integer, values) if number is not None]
        if len(integers) < len(values) or min(integers) < 0:
            raise UndefinedError(f"{name} of what is no natural number")
        if max(map(abs, integers)) > _MAX_INTEGER:
            raise TooLargeError(f"{name} of a large number")
        spend(max(integers) / 2)
        return self.number(Fraction(_OF_INTEGERS[name](*integers)))

    def integer(self, value: Any) -> int | None:
        if not isinstance(value, Ball) or not _is_real(value):
            return None
        if _magnitude(value.value) > _MAX_BITS:
            raise TooLargeError("an integer with too many digits")
        real = _MP.re(value.value)
        nearest = int(_MP.nint(real))
        return nearest if self.is_zero(Ball(real - nearest, value.error)) else None
