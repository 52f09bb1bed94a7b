# SPDX-License-Identifier: Apache-2.0
r"""Whether two formulas are equal: exactly where that can be told, else in high precision (`high_precision`).

A formula is evaluated modulo a random prime, with random residues for its variables and for everything that is no
algebraic operation (`\ln x`, `\sqrt[3]{2}`, \pi): an *atom*. Atoms are named by the values of their arguments, so that
ln(2x) and ln(x+x) are one. The prime is such that -1 and small primes have square roots modulo it: they compute as i
and the real roots do, whichever of the two each is, as none depends on the others. A residue never grows: 2^(10^10)
is one.

Equal residues mean equal formulas (Schwartz-Zippel: unequal ones of degree d have equal residues with probability
d/2^120). Unequal residues prove a difference only where all atoms are free: variables, pi, f(x).
"""

import math
import operator
import random
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from fractions import Fraction
from functools import cache
from itertools import chain, count
from typing import Any

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
    rebuild,
)

# Bits of a fraction that is computed as such; what is longer is a residue only.
MAX_BITS = 20_000
# Of factorials.
MAX_TERMS = 1_000_000
_SMALL_PRIMES = (2, 3, 5, 7, 11, 13, 17, 19, 23, 29, 31, 37, 41, 43, 47)
_DEGREE = Div(PI, Number(Fraction(180)))
_NUM_ARGUMENTS = {"abs": 1, "floor": 1, "ceil": 1, "exp": 1, "factorial": 1, "double_factorial": 1, "binomial": 2}
_DRAW = random.SystemRandom()


class FormulaError(ValueError):
    """A formula can't be compared by its value."""


class NoValueError(FormulaError):
    """The tree isn't a formula that has a value that can be computed: a set, a relation, words."""


class UndefinedError(FormulaError):
    """The formula divides by zero, or has no value for another reason."""


class TooLargeError(UndefinedError):
    """A number of the formula has too many digits to be computed."""


class NotSortableError(FormulaError):
    """Which of two constants is larger can't be told."""


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


class Evaluator(ABC):
    """Walks through a formula at a point; a subclass computes."""

    def __init__(self, point: Point) -> None:
        self.point: dict[Node, Any] = {name: self.number(value) for name, value in point.items()}

    def value(self, node: Node) -> Any:
        """Return the value of a formula.

        Raises:
            FormulaError: It has none.
        """
        self.spend()
        match node:
            case Number():
                return self.number(node.value)
            case _ if is_name(node) and node in self.point:
                return self.point[node]
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
            case Call(name="root"):
                return self.value(_as_power(*node.arguments))
            case Call():
                return self.call(node, [self.value(argument) for argument in node.arguments])
        raise NoValueError(type(node).__name__)

    @abstractmethod
    def spend(self) -> None: ...

    @abstractmethod
    def number(self, value: Fraction) -> Any: ...

    @abstractmethod
    def leaf(self, node: Symbol | Constant) -> Any: ...

    @abstractmethod
    def combine(self, kind: type[Node], left: Any, right: Any) -> Any:
        """Return the sum, product or quotient."""

    @abstractmethod
    def power(self, base: Any, exponent: Any, written: Node) -> Any:
        """Return base^exponent; `written` is the exponent in the formula."""

    @abstractmethod
    def call(self, node: Call, values: list[Any]) -> Any: ...


class _Residues(Evaluator):
    """Evaluates formulas at one point, random but for the variables that are given.

    Attributes:
        is_pure: Whether all atoms were free, so that unequal values prove unequal formulas.
    """

    def __init__(self, point: Point) -> None:
        super().__init__(point)
        self.atoms: dict[tuple[object, ...], int] = {}
        self.is_pure = True

    def spend(self) -> None:
        spend(1)

    def number(self, value: Fraction) -> Value:
        return value

    def leaf(self, node: Symbol | Constant) -> Value:
        if node == INFINITY:
            raise UndefinedError("infinity")
        return _I if node == IMAGINARY else self.atom(node, is_free=node != EULER)

    def atom(self, *key: object, is_free: bool = False) -> int:
        self.is_pure &= is_free
        return self.atoms.setdefault(key, _DRAW.randrange(2, _PRIME))

    def residue(self, value: Value) -> int:
        return value.numerator * pow(value.denominator, -1, _PRIME) % _PRIME

    def combine(self, kind: type[Node], left: Value, right: Value) -> Value:
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

    def power(self, base: Value, exponent: Value, written: Node) -> Value:
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
        # At given points the real ones count: sqrt(x^3) is x sqrt(x).
        self.is_pure &= base > 0 or not self.point
        for prime in _SMALL_PRIMES:
            while rest % prime == 0:
                spend(1 + rest.bit_length() / 1_000)
                rest //= prime
                root = root * _root_of_prime(prime) % _PRIME
        whole = math.isqrt(rest)
        root *= whole if whole * whole == rest else self.atom("square root", rest)
        return self.combine(Div, root % _PRIME, Fraction(base.denominator))

    def call(self, node: Call, values: list[Value]) -> Value:
        if _NUM_ARGUMENTS.get(node.name, len(values)) != len(values):
            raise NoValueError(f"{node.name} of {len(values)} arguments")
        if node.name == "exp":
            return self.power(self.value(EULER), values[0], node)
        fractions = [value for value in values if isinstance(value, Fraction)]
        found = self.call_exactly(node.name, fractions) if len(fractions) == len(values) else None
        return self.atom(node.name, *map(self.residue, values), is_free=is_name(node)) if found is None else found

    def call_exactly(self, name: str, values: list[Fraction]) -> Value | None:
        """Return the value of a function of fractions where it is rational, else None."""
        integers = [int(value) for value in values]
        if name in _OF_FRACTIONS:
            return Fraction(_OF_FRACTIONS[name](*values))
        first, last = integers[0], integers[-1]
        if integers != values or not 0 <= last <= first:
            return None
        match name:
            case "factorial" | "double_factorial":
                return self.product(range(first, 0, -1 if name == "factorial" else -2))
            case "binomial":
                last = min(last, first - last)
                top, bottom = range(first - last + 1, first + 1), range(1, last + 1)
                return self.combine(Div, self.product(top), self.product(bottom))
        return None

    def product(self, numbers: range) -> Value:
        if numbers and abs(numbers[-1] - numbers[0]) > MAX_TERMS:
            raise TooLargeError("a product of too many factors")
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


def _as_power(radicand: Node, degree: Node) -> Node:
    if isinstance(degree, Number) and degree.value:
        return Pow(radicand, Number(1 / degree.value))
    return Pow(radicand, Div(ONE, degree))


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
    value = _Residues({}).value(node)
    return value if isinstance(value, Fraction) else None


def equal_values(gold: Node, answer: Node) -> bool:
    """Return whether two formulas are equal.

    Raises:
        FormulaError: Either has no value, or none that can be computed.
    """
    if gold == answer:
        return True
    if infinity(gold) or infinity(answer):
        return infinity(gold) == infinity(answer)
    found = equal_at(gold, answer, {})
    if found is not None:
        return found
    from open_r1.rewards.verifier.high_precision import equal_numerically

    return equal_numerically(gold, answer)


def equal_at(gold: Node, answer: Node, point: Point) -> bool | None:
    """Return whether two formulas are equal where variables have these values; None where exactness can't tell."""
    evaluator = _Residues(point)
    one, other = evaluator.value(gold), evaluator.value(answer)
    if isinstance(one, Fraction) and isinstance(other, Fraction):
        return one == other
    return True if evaluator.residue(one) == evaluator.residue(other) else False if evaluator.is_pure else None


def proportional(gold: Node, answer: Node) -> bool:
    """Return whether two formulas differ by a constant factor other than zero, so that they vanish together.

    Raises:
        FormulaError: Either has no value, or none that can be computed.
    """
    from open_r1.rewards.verifier.high_precision import points_for

    # n! has a value at integers only.
    for point in chain(points_for(gold, answer), points_for(gold, answer, is_integer=True)):
        first, other = _at(gold, point), _at(answer, point)
        try:
            if not (equal_values(first, ZERO) or equal_values(other, ZERO)):
                return equal_values(Mul(first, answer), Mul(other, gold))
        except UndefinedError:
            continue
    return False


def _at(node: Node, point: Point) -> Node:
    return Number(point[node]) if node in point else rebuild(node, lambda part: _at(part, point))


def order_key(node: Node) -> Fraction | float:
    """Return the real value of a constant to sort by, plus or minus infinity too.

    Raises:
        NotSortableError: It has variables, is complex or has no value.
    """
    if infinity(node):
        return infinity(node) * math.inf
    try:
        value = plain_value(node)
        if value is not None:
            return value
        from open_r1.rewards.verifier.high_precision import real_value

        return real_value(node)
    except FormulaError as error:
        raise NotSortableError(str(error)) from error


def check_value(node: Node) -> None:
    """Evaluate a gold's formula once.

    Raises:
        FormulaError: It has no value, or none that can be computed.
    """
    if infinity(node):
        return
    evaluator = _Residues({})
    evaluator.value(node)
    if evaluator.is_pure or names_in(node):
        return
    from open_r1.rewards.verifier.high_precision import check_constant

    check_constant(node)
