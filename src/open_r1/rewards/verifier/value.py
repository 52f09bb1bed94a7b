# SPDX-License-Identifier: Apache-2.0
r"""Whether two formulas are equal: `2\sqrt3` and `\sqrt{12}` exactly, `\ln 9` and `2\ln 3` by digits at points.

*Exactly*: a formula is evaluated modulo a random prime, with random residues for its variables and for everything
that is no algebraic operation (`\ln x`, `\sqrt[3]{2}`, \pi): an *atom*. Atoms are named by the values of their
arguments, so that ln(2x) and ln(x+x) are one. The prime is such that -1 and small primes have square roots modulo it:
they compute as i and the real roots do, whichever of the two each is, as none depends on the others. A residue never
grows: 2^(10^10) is one. Equal residues mean equal formulas (Schwartz-Zippel: unequal ones of degree d have equal
residues with probability d/2^120). Unequal residues prove a difference only where all atoms are free: variables, pi,
f(x).

*By digits*, where residues can't tell: values to 60 digits, of formulas with variables at up to 40 points, positive
and negative ones; a point where either has no real value is left out, so that ln(x^2) = 2 ln x. Odd roots of negative
numbers are real. A small difference is computed again with at least 100 digits more, and is the noise of a zero where
it shrinks. No value has a bound of its error, so this proves nothing. What that gives up: a difference beyond the
100th digit behind the largest number in the formulas counts as none (\sqrt2 is \sqrt2 + 10^{-300}); a division by
what vanishes only by digits (1/(\ln4 - 2\ln2)) has some value; values within 2^-100 of an integer are that integer for
floor and ceil; a difference at an integer that is no point (n = 57) isn't seen; values beyond 2^20000 aren't compared.
"""

import math
import operator
import os
import random
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from fractions import Fraction
from functools import cache
from itertools import chain, count
from typing import Any

import mpmath

from open_r1.rewards.verifier.budget import spend, spend_on_number
from open_r1.rewards.verifier.tree import (
    EULER,
    IMAGINARY,
    INFINITY,
    ONE,
    PI,
    ZERO,
    Add,
    Call,
    Constant,
    Degrees,
    Div,
    Mul,
    Neg,
    Node,
    Number,
    Pow,
    Symbol,
    is_name,
    names_in,
    parts_of,
    rebuild,
    replaced,
    walk,
)

# Bits of a fraction that is computed as such; what is longer is a residue only.
MAX_BITS = 20_000
# Of factorials.
MAX_TERMS = 1_000_000
_SMALL_PRIMES = (2, 3, 5, 7, 11, 13, 17, 19, 23, 29, 31, 37, 41, 43, 47)
_DEGREE = Div(PI, Number(Fraction(180)))
_NUM_ARGUMENTS = {"abs": 1, "floor": 1, "ceil": 1, "exp": 1, "factorial": 1, "double_factorial": 1, "binomial": 2}
_DRAW = random.SystemRandom()

_DIGITS, _MAX_DIGITS = 60, 2_000
# Bits of what is neither large nor small, and of the exponent of a power.
_MODERATE = 100
_ENOUGH_POINTS = 4
_LARGEST_SIZE = 10**12
_NAMES_OF_INTEGERS = frozenset("ijklmnpqNMK")
_NAMES_IN_MPMATH = {f"arc{name}": f"a{name}" for name in ("sin", "cos", "tan", "cot", "sec", "csc")}
_NAMES_IN_MPMATH |= {"lg": "log10", "abs": "fabs", "double_factorial": "fac2"}
_OF_INTEGERS = frozenset(["factorial", "double_factorial", "binomial"])
# Functions that jump, at which almost no random point lies.
_JUMPS = frozenset(["floor", "ceil"])

# mpmath's precision is a setting of a context, and its constants are cached without a lock.
_MP = mpmath.mp.clone()
_LOCK = threading.Lock()
os.register_at_fork(before=_LOCK.acquire, after_in_parent=_LOCK.release, after_in_child=_LOCK.release)


class FormulaError(ValueError):
    """A tree has no value, or none that can be computed or sorted: a set, words, a number of too many digits."""


class UndefinedError(FormulaError):
    """A formula divides by zero, or has no value at a point for another reason."""


# A fraction as long as it is short, then a residue.
Value = Fraction | int
Point = Mapping[Node, Fraction]


def _random_prime() -> int:
    """Return a prime that no text can have been made to fit: 9 modulo 16, and 1 modulo the odd small primes."""
    prime = 9
    while any(pow(small, prime // 2, prime) != 1 for small in _SMALL_PRIMES):
        prime = 4 * math.prod(_SMALL_PRIMES) * (2 * _DRAW.getrandbits(71) + 1) + 1
    return prime


_PRIME = _random_prime()
# The fourth power of an eighth root of one is -1.
_EIGHTH = next(root for base in count(2) if pow(root := pow(base, _PRIME // 8, _PRIME), 4, _PRIME) != 1)
_I = _EIGHTH**2 % _PRIME


@cache
def _root_of_prime(number: int) -> int:
    """Return a square root of a small prime: number^((p+7)/16) is one but for an eighth root of one."""
    near = pow(number, _PRIME // 16 + 1, _PRIME)
    return next(root for power in range(8) if pow(root := near * _EIGHTH**power % _PRIME, 2, _PRIME) == number)


class _Residues:
    """Evaluates formulas exactly, at one random point.

    Attributes:
        is_pure: Whether all atoms were free, so that unequal values prove unequal formulas.
    """

    def __init__(self) -> None:
        self.atoms: dict[tuple[object, ...], int] = {}
        self.is_pure = True

    def value(self, node: Node) -> Any:
        """Return the value of a formula.

        Raises:
            FormulaError: It has none.
        """
        spend(1)
        match node:
            case Number():
                return self.number(node.value)
            case Symbol() | Constant():
                return self.leaf(node)
            case Neg():
                return self.combine(Mul, self.number(Fraction(-1)), self.value(node.part))
            case Degrees():
                return self.combine(Mul, self.value(node.part), self.value(_DEGREE))
            case Add() | Mul() | Div():
                return self.combine(type(node), self.value(node.left), self.value(node.right))
            case Pow():
                return self.power(self.value(node.left), self.value(node.right), node.right)
            case Call(name="root", arguments=(radicand, degree)):
                power = Number(1 / degree.value) if isinstance(degree, Number) and degree.value else Div(ONE, degree)
                return self.value(Pow(radicand, power))
            case Call():
                return self.call(node, [self.value(argument) for argument in node.arguments])
        raise FormulaError(type(node).__name__)

    def number(self, value: Fraction) -> Any:
        return value

    def leaf(self, node: Symbol | Constant) -> Any:
        if node == INFINITY:
            raise UndefinedError("infinity")
        return _I if node == IMAGINARY else self.atom(node, is_free=node != EULER)

    def atom(self, *key: object, is_free: bool = False) -> int:
        self.is_pure &= is_free
        return self.atoms.setdefault(key, _DRAW.randrange(2, _PRIME))

    def residue(self, value: Value) -> int:
        return value.numerator * pow(value.denominator, -1, _PRIME) % _PRIME

    def combine(self, kind: type[Node], left: Any, right: Any) -> Any:
        """Return the sum, product or quotient."""
        if kind is Div and self.residue(right) == 0:
            raise UndefinedError("division by zero")
        operation = _OPERATIONS[kind]
        if isinstance(left, Fraction) and isinstance(right, Fraction) and _bits(left) + _bits(right) <= MAX_BITS:
            spend_on_number(_bits(left) + _bits(right))
            return operation(left, right)
        if kind is Div:
            spend(3)
            return self.residue(left) * pow(self.residue(right), -1, _PRIME) % _PRIME
        return operation(self.residue(left), self.residue(right)) % _PRIME

    def power(self, base: Any, exponent: Any, written: Node) -> Any:
        """Return base^exponent; `written` is the exponent in the formula, whose denominator tells odd roots."""
        if self.residue(base) == 0 and isinstance(exponent, Fraction):
            if exponent <= 0:
                raise UndefinedError("zero to the power of zero or less")
            return Fraction(0)
        if isinstance(exponent, Fraction) and exponent.denominator == 1:
            return self.whole_power(base, int(exponent))
        if isinstance(exponent, Fraction) and isinstance(base, Fraction):
            return self.root(base, exponent)
        # sqrt(x^2) isn't x.
        return self.atom("pow", self.residue(base), self.residue(exponent))

    def whole_power(self, base: Value, exponent: int) -> Value:
        if isinstance(base, Fraction):
            exponent = exponent % 2 if abs(base) == 1 else exponent
            num_bits = _bits(base) * abs(exponent)
            if num_bits <= MAX_BITS:
                spend_on_number(num_bits)
                return base**exponent
        spend(5 + exponent.bit_length() / 4)
        return pow(self.residue(base), exponent, _PRIME)

    def root(self, base: Fraction, exponent: Fraction) -> Value:
        """Return base^exponent for a fraction as exponent: a rational number, or one times an atom or square roots."""
        degree, whole = exponent.denominator, math.floor(exponent)
        spend_on_number(_bits(base))
        if base > 0 and degree <= 64:
            top, bottom = _integer_root(base.numerator, degree), _integer_root(base.denominator, degree)
            if top is not None and bottom is not None:
                return self.whole_power(Fraction(top, bottom), exponent.numerator)
        if degree == 2:
            rest = self.square_root(base)
        else:
            rest = self.atom("pow", self.residue(base), self.residue(exponent - whole))
        return self.combine(Mul, self.whole_power(base, whole), rest)

    def square_root(self, base: Fraction) -> Value:
        rest = abs(base.numerator) * base.denominator
        root = _I if base < 0 else 1
        for prime in _SMALL_PRIMES:
            while rest % prime == 0:
                spend(1 + rest.bit_length() / 1_000)
                rest //= prime
                root = root * _root_of_prime(prime) % _PRIME
        whole = math.isqrt(rest)
        root *= whole if whole * whole == rest else self.atom("square root", rest)
        return self.combine(Div, root % _PRIME, Fraction(base.denominator))

    def call(self, node: Call, values: list[Any]) -> Any:
        if _NUM_ARGUMENTS.get(node.name, len(values)) != len(values):
            raise FormulaError(f"{node.name} of {len(values)} arguments")
        if node.name == "exp":
            return self.power(self.value(EULER), values[0], node)
        fractions = [value for value in values if isinstance(value, Fraction)]
        found = self.call_exactly(node.name, fractions) if len(fractions) == len(values) else None
        return self.atom(node.name, *map(self.residue, values), is_free=is_name(node)) if found is None else found

    def call_exactly(self, name: str, values: list[Fraction]) -> Value | None:
        """Return the value of a function of fractions where it is rational, else None."""
        if name in _OF_FRACTIONS:
            return Fraction(_OF_FRACTIONS[name](*values))
        first, last = int(values[0]), int(values[-1])
        if name not in _OF_INTEGERS or [first, last] != [values[0], values[-1]] or not 0 <= last <= first:
            return None
        if name == "binomial":
            last = min(last, first - last)
            top, bottom = range(first - last + 1, first + 1), range(1, last + 1)
            return self.combine(Div, self.product(top), self.product(bottom))
        return self.product(range(first, 0, -1 if name == "factorial" else -2))

    def product(self, numbers: range) -> Value:
        if numbers and abs(numbers[-1] - numbers[0]) > MAX_TERMS:
            raise UndefinedError("a product of too many factors")
        spend(1 + len(numbers) / 3)
        if len(numbers) * max(numbers, default=1).bit_length() <= MAX_BITS:
            return Fraction(math.prod(numbers))
        result = 1
        for number in numbers:
            result = result * number % _PRIME
        return result


_OPERATIONS: dict[type[Node], Callable[[Any, Any], Any]] = {
    Add: operator.add,
    Mul: operator.mul,
    Div: operator.truediv,
}
# Functions of fractions that are rational.
_OF_FRACTIONS: dict[str, Callable[..., Fraction | int]] = {
    "abs": abs,
    "floor": math.floor,
    "ceil": math.ceil,
}


def _bits(value: Fraction) -> int:
    return value.numerator.bit_length() + value.denominator.bit_length()


def _integer_root(number: int, degree: int) -> int | None:
    """Return the exact root of a positive integer by Newton's method, or None."""
    if degree == 2:
        root = math.isqrt(number)
    elif number.bit_length() > 4_096:
        return None
    else:
        root = 1 << -(-number.bit_length() // degree)
        while (closer := ((degree - 1) * root + number // root ** (degree - 1)) // degree) < root:
            root = closer
    return root if root**degree == number else None


class _Digits(_Residues):
    """Evaluates formulas at a point, in mpmath's digits.

    Attributes:
        largest: n, where no number on the way has a magnitude of more than 2^n.
    """

    def __init__(self, point: Point) -> None:
        super().__init__()
        self.point = {name: self.number(value) for name, value in point.items()}
        self.largest = -math.inf

    def value(self, node: Node) -> Any:
        spend(4 + (_MP.prec / 1_000) ** 2)
        value = self.point[node] if is_name(node) and node in self.point else super().value(node)
        size = _magnitude(value)
        if MAX_BITS < abs(size) < math.inf or not _MP.isfinite(value):
            raise UndefinedError("a value of too many digits")
        self.largest = max(self.largest, size)
        return value

    def number(self, value: Fraction) -> Any:
        return _MP.mpf(value.numerator) / value.denominator

    def leaf(self, node: Symbol | Constant) -> Any:
        if node == IMAGINARY:
            return _MP.mpc(0, 1)
        if node not in (PI, EULER):
            raise FormulaError(f"{node.name} has no value")
        return +(_MP.pi if node == PI else _MP.e)

    def combine(self, kind: type[Node], left: Any, right: Any) -> Any:
        return _OPERATIONS[kind](left, right)

    def apply(self, name: str, *values: Any) -> Any:
        """Return a function's value; the work for a large argument grows with its digits."""
        size = max(map(_magnitude, values))
        is_complex = any(isinstance(value, _MP.mpc) for value in values)
        spend((6 if is_complex else 2) * (8 + 40 * ((_MP.prec + max(size, 0)) / 1_000) ** 2))
        return getattr(_MP, name)(*values)

    def power(self, base: Any, exponent: Any, written: Node) -> Any:
        if (not base and _MP.re(exponent) <= 0) or _magnitude(exponent) > _MODERATE:
            raise UndefinedError("a power without value, or with too many digits")
        is_negative = not isinstance(base, _MP.mpc) and base < 0
        if isinstance(written, Number) and is_negative and written.value.denominator % 2:
            return (-1) ** written.value.numerator * self.apply("power", -base, exponent)
        return self.apply("power", base, exponent)

    def call(self, node: Call, values: list[Any]) -> Any:
        name = node.name
        if name == "log":
            return self.apply("ln", values[0]) / self.apply("ln", values[1])
        if len(values) != _NUM_ARGUMENTS.get(name, 1) or is_name(node):
            raise FormulaError(f"the function {name} of {len(values)} arguments")
        if name in _OF_INTEGERS | _JUMPS:
            nearest = [_MP.nint(_MP.re(value)) for value in values]
            is_whole = all(_magnitude(value - near) < -_MODERATE for value, near in zip(values, nearest, strict=True))
            if name in _OF_INTEGERS and not (is_whole and min(nearest) >= 0 and max(nearest) < MAX_TERMS):
                raise UndefinedError(f"{name} of what is no natural number, or a large one")
            values = nearest if is_whole else values
        return self.apply(_NAMES_IN_MPMATH.get(name, name), *values)


def _magnitude(value: Any) -> float:
    """Return the least n with |value| < 2^n, or a little more."""
    return int(_MP.mag(value)) if value and _MP.isfinite(value) else -math.inf


def _is_real(value: Any) -> bool:
    return not isinstance(value, _MP.mpc) or _magnitude(value.imag) <= _magnitude(value) - 2 * _DIGITS


@contextmanager
def _digits(number: int) -> Iterator[None]:
    """Compute with so many digits; no other thread does."""
    with _LOCK, _MP.workdps(number):
        try:
            yield
        except (ZeroDivisionError, ValueError) as error:
            # mpmath raises a ValueError at a pole.
            raise error if isinstance(error, FormulaError) else UndefinedError(str(error)) from error


def _folded(node: Node, log: str = "ln") -> Node:
    """Return the tree with every part that is a rational number computed, and a base for `log`."""
    node = rebuild(node, lambda part: _folded(part, log))
    if isinstance(node, Call) and node.name == "log" and len(node.arguments) == 1:
        return Call(log, node.arguments)
    parts = list(parts_of(node))
    if parts and all(isinstance(part, Number) for part in parts):
        try:
            value = plain_value(node)
        except UndefinedError:
            return node
        return node if value is None else Number(value)
    return node


def _points_for(node: Node, *, is_integer: bool = False) -> Iterator[Point]:
    """Return random points: tiny and small ones, large ones, and some beyond all numbers of a formula.

    The tiny ones are reciprocals of those: elsewhere e^{-500x} is nothing beside 1, and e^{500x} everything. Integers
    stand beside the numbers of the formula too: floor(n/100) jumps at 100.
    """
    draw = random.Random("points")
    first, *names = sorted(names_in(node), key=repr)
    values = [part.value for part in walk(node) if isinstance(part, Number)]
    sizes = sorted({abs(size) for value in values for size in (value.numerator, value.denominator)})
    sizes = [size for size in sizes if 10 <= size <= _LARGEST_SIZE]
    if is_integer:
        for place in [*range(1, 26), *(size + step for size in sizes[-5:] for step in (-1, 0, 1))]:
            yield {first: Fraction(place)} | {name: Fraction(draw.randrange(1, 60)) for name in names}
        return
    scales = [Fraction(1, size) for size in sizes[-3:]] + [3] * 8 + [30, 300] + [12 * max([10, *sizes])] * 4
    for number, scale in enumerate(reversed(scales)):
        signs = ([1], [-1], [1], [1, -1])[number % 4]
        places = {name: draw.choice(signs) * draw.randrange(100_000, 1_000_000) for name in [first, *names]}
        yield {name: scale * Fraction(place, 1_000_003) for name, place in places.items()}


def _equal_by_digits(gold: Node, answer: Node) -> bool:
    """Return whether two formulas agree at all points where both have values, and that those are some."""
    both = Add(gold, answer)
    names = names_in(both)
    if not names:
        return bool(_agree(gold, answer, {}, is_complex=True))
    looks = [(_points_for(both), False), (_points_for(both, is_integer=True), False), (_points_for(both), True)]
    if any(isinstance(part, Call) and part.name in _JUMPS for part in walk(both)):
        is_whole = all(getattr(name, "name", "x")[0] in _NAMES_OF_INTEGERS for name in names)
        looks = [(chain(looks[1][0], [] if is_whole else looks[0][0]), False)]
    for points, is_complex in looks:
        num_agreeing = 0
        for point in points:
            try:
                found = _agree(gold, answer, point, is_complex=is_complex)
            except UndefinedError:
                continue
            if found is False:
                return False
            num_agreeing += found is True
        if num_agreeing >= _ENOUGH_POINTS:
            return True
    return False


def _agree(gold: Node, answer: Node, point: Point, *, is_complex: bool) -> bool | None:
    """Return whether two formulas have the same value at a point; None where either has none that is real."""
    with _digits(_DIGITS):
        evaluator = _Digits(point)
        one, other = evaluator.value(gold), evaluator.value(answer)
        if not is_complex and not (_is_real(one) and _is_real(other)):
            return None
        first, least = one - other, evaluator.largest - _MODERATE
        if _magnitude(first) > least:
            return False
    digits = 160 + math.ceil(max(evaluator.largest, 0) / 3)
    if digits > _MAX_DIGITS:
        raise UndefinedError("a difference that needs too many digits")
    with _digits(digits):
        evaluator = _Digits(point)
        second = evaluator.value(gold) - evaluator.value(answer)
        # Noise shrinks with every digit; e^{-1000} is small, and doesn't.
        before = _magnitude(first) if first else least
        return not second or _magnitude(second) < min(before - 3 * _DIGITS, evaluator.largest - 3 * digits)


def infinity(node: Node) -> int:
    """Return 1 or -1 for plus or minus infinity, else 0."""
    sign = 1
    while isinstance(node, Neg):
        sign, node = -sign, node.part
    return sign if node == INFINITY else 0


def plain_value(node: Node) -> Fraction | None:
    """Return the value of a formula that is a rational number of up to `MAX_BITS` bits, else None.

    Raises:
        FormulaError: It has no value.
    """
    value = _Residues().value(node)
    return value if isinstance(value, Fraction) else None


def equal_values(gold: Node, answer: Node) -> bool:
    """Return whether two formulas are equal, with the base 10 or e for logarithms without one.

    Raises:
        FormulaError: Either has no value, or none that can be computed.
    """
    if gold == answer:
        return True
    if infinity(gold) or infinity(answer):
        return infinity(gold) == infinity(answer)
    evaluator = _Residues()
    one, other = evaluator.value(gold), evaluator.value(answer)
    if isinstance(one, Fraction) and isinstance(other, Fraction):
        return one == other
    if evaluator.is_pure or evaluator.residue(one) == evaluator.residue(other):
        return evaluator.residue(one) == evaluator.residue(other)
    pairs = dict.fromkeys((_folded(gold, log), _folded(answer, log)) for log in ("lg", "ln"))
    return any(_equal_by_digits(*pair) for pair in pairs)


def proportional(gold: Node, answer: Node) -> bool:
    """Return whether two formulas differ by a constant factor other than zero, so that they vanish together."""
    both = Add(gold, answer)
    if not names_in(both):
        return False
    # n! has a value at integers only.
    for point in chain(_points_for(both), _points_for(both, is_integer=True)):
        numbers = {name: Number(value) for name, value in point.items()}
        first, other = replaced(gold, numbers), replaced(answer, numbers)
        try:
            if not (equal_values(first, ZERO) or equal_values(other, ZERO)):
                return equal_values(Mul(first, answer), Mul(other, gold))
        except FormulaError:
            continue
    return False


def order_key(node: Node) -> Fraction | float:
    """Return the real value of a constant to sort by, plus or minus infinity too.

    Raises:
        FormulaError: It has variables, is complex or has no value.
    """
    if infinity(node):
        return infinity(node) * math.inf
    value = plain_value(node)
    if value is not None:
        return value
    node = _folded(node)
    with _digits(_DIGITS):
        found = _Digits({}).value(node)
    if not _is_real(found):
        raise FormulaError("a number that can't be sorted")
    # NOTE: the mantissa has no sign.
    mantissa, exponent = _MP.re(found).man_exp
    return int(_MP.sign(_MP.re(found))) * mantissa * Fraction(2) ** exponent


def check_value(node: Node) -> None:
    """Evaluate a gold's formula once.

    Raises:
        FormulaError: It has no value, or none that can be computed.
    """
    if infinity(node):
        return
    evaluator = _Residues()
    evaluator.value(node)
    if not evaluator.is_pure and not names_in(node):
        node = _folded(node)
        with _digits(_DIGITS):
            _Digits({}).value(node)
