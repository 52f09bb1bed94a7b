# SPDX-License-Identifier: Apache-2.0
r"""Tells in exact arithmetic whether two formulas are equal, where that is possible without an algebra system.

A formula is evaluated as a fraction, with a random fraction for every variable and for everything that is no rational
operation (`\sin x`, `\sqrt{3}`, \pi): an *atom*. Atoms are named by the values of their arguments, so that sin(2x) and
sin(x+x) are one. Equal values at random points of 40 bits mean equal formulas (Schwartz-Zippel: a formula of degree d
slips through with probability d/2^40 a point). Unequal values prove a difference only between rational functions of
variables and pi; else the answer is None and `numeric` decides.
"""

import math
import random
from fractions import Fraction
from functools import lru_cache

from open_r1.rewards.verifier.budget import spend, spend_on_number
from open_r1.rewards.verifier.cursor import Node

# Bits of the largest number that is computed: in process, and in a worker (330,000 decimal digits: a second at most).
QUICK_BITS = 40_000
MAX_BITS = 1_100_000
_LARGEST_SQUARE_TRIED = 1_000


class TooLargeError(ValueError):
    """A number of the formula has too many digits to be computed: in process, or by a worker too (`is_final`)."""

    def __init__(self, num_bits: float | Fraction) -> None:
        super().__init__("a number with too many digits")
        self.is_final = num_bits > MAX_BITS


class UndefinedError(ValueError):
    """The formula divides by zero, or has no value for another reason."""


class NoValueError(ValueError):
    """The tree isn't a formula that has a value: a set, a relation, words."""


class Evaluator:
    """Evaluates formulas at one random point, the same for every formula it is given.

    Attributes:
        num_atoms_used: How often a variable or an atom was looked up; unchanged by a formula that is a plain number.
        is_pure: Whether all atoms were variables or pi, so that unequal values prove unequal formulas.
    """

    def __init__(self, seed: int, max_bits: int = QUICK_BITS) -> None:
        self.random = random.Random(seed)
        self.max_bits = max_bits
        self.atoms: dict[object, Fraction] = {}
        self.num_atoms_used = 0
        self.is_pure = True

    def value(self, node: Node) -> Fraction:
        """Return the value of a formula at the point.

        Raises:
            TooLargeError: A number would have more than `max_bits` bits.
            UndefinedError: It has no value there.
            NoValueError: It is no formula.
        """
        spend(1)
        kind = node[0]
        if kind == "number":
            return node[1]
        if kind == "symbol":
            return self.atom(node, is_pure=True)
        if kind == "constant":
            if node[1] == "oo":
                raise UndefinedError("infinity")
            return self.atom(node, is_pure=node[1] == "pi")
        if kind == "neg":
            return -self.value(node[1])
        if kind in ("add", "mul", "div"):
            return self.operation(kind, self.value(node[1]), self.value(node[2]))
        if kind == "pow":
            return self.power(node[1], node[2])
        if kind == "degrees":
            return self.value(node[1]) * self.atom(("constant", "pi"), is_pure=True) / 180
        if kind == "call":
            return self.call(node[1], node[2])
        raise NoValueError(kind)

    def atom(self, key: object, *, is_pure: bool) -> Fraction:
        self.num_atoms_used += 1
        self.is_pure &= is_pure
        if key not in self.atoms:
            self.atoms[key] = Fraction(self.random.getrandbits(40) + 2, self.random.getrandbits(8) + 1)
        return self.atoms[key]

    def operation(self, kind: str, left: Fraction, right: Fraction) -> Fraction:
        if kind == "div":
            if right == 0:
                raise UndefinedError("division by zero")
            right = 1 / right
        self.check(bits(left) + bits(right))
        return left + right if kind == "add" else left * right

    def check(self, num_bits: float | Fraction) -> None:
        if num_bits > self.max_bits:
            raise TooLargeError(num_bits)
        spend_on_number(float(num_bits))

    def power(self, base_node: Node, exponent: Node) -> Fraction:
        before = self.num_atoms_used
        base = self.value(base_node)
        is_constant = self.num_atoms_used == before
        before = self.num_atoms_used
        power = self.value(exponent)
        if self.num_atoms_used > before:
            return self.atom(("pow", base, power), is_pure=False)
        if power.denominator == 1:
            if base == 0 and power <= 0:
                raise UndefinedError("zero to the power of zero or less")
            self.check(bits(base) * abs(power) if abs(base) not in (0, 1) else 0)
            return base ** int(power)
        if not is_constant:
            # sqrt(x^2) isn't x.
            return self.atom(("pow", base, power), is_pure=False)
        return self.root(base, power)

    def root(self, base: Fraction, power: Fraction) -> Fraction:
        """Return base^power for a fraction as power: exactly where it is rational, else as rational times an atom."""
        if base == 0:
            if power < 0:
                raise UndefinedError("division by zero")
            return base
        self.check(bits(base) * abs(power))
        degree = power.denominator
        if base > 0 and degree <= 64:
            top, bottom = _integer_root(base.numerator, degree), _integer_root(base.denominator, degree)
            if top is not None and bottom is not None:
                return Fraction(top, bottom) ** power.numerator
        if power == Fraction(1, 2) and base > 0:
            square, rest = _split_square(base)
            return square * self.atom(("pow", rest, power), is_pure=False)
        whole = math.floor(power)
        if whole and bits(base) * abs(whole) <= self.max_bits:
            return base**whole * self.atom(("pow", base, power - whole), is_pure=False)
        return self.atom(("pow", base, power), is_pure=False)

    def call(self, name: str, arguments: tuple[Node, ...]) -> Fraction:
        if name == "root":
            degree = self.value(arguments[1])
            if degree == 0:
                raise UndefinedError("a root of degree zero")
            return self.power(arguments[0], ("number", 1 / degree))
        before = self.num_atoms_used
        values = tuple(self.value(argument) for argument in arguments)
        if self.num_atoms_used == before:
            exact = self.exact_call(name, values)
            if exact is not None:
                return exact
        return self.atom((name, *values), is_pure=False)

    def exact_call(self, name: str, values: tuple[Fraction, ...]) -> Fraction | None:
        """Return the value of a function of plain numbers where it is rational, else None."""
        if name in ("abs", "floor", "ceil") and len(values) == 1:
            return Fraction({"abs": abs, "floor": math.floor, "ceil": math.ceil}[name](values[0]))
        if name in ("min", "max"):
            return min(values) if name == "min" else max(values)
        if any(value.denominator != 1 for value in values):
            return None
        integers = [int(value) for value in values]
        if name in ("gcd", "lcm"):
            return Fraction(math.gcd(*integers) if name == "gcd" else math.lcm(*integers))
        if name == "factorial" and integers[0] >= 0:
            self.check(integers[0] * max(1, integers[0].bit_length()))
            return Fraction(math.factorial(integers[0]))
        if name == "double_factorial" and integers[0] >= 0:
            self.check(integers[0] * max(1, integers[0].bit_length()))
            return Fraction(math.prod(range(integers[0], 0, -2)))
        if name == "binomial" and len(integers) == 2 and 0 <= integers[1] <= integers[0]:
            self.check(min(integers[1], integers[0] - integers[1]) * integers[0].bit_length())
            return Fraction(math.comb(*integers))
        return None


def bits(value: Fraction) -> int:
    """Return the size of a fraction in bits."""
    return value.numerator.bit_length() + value.denominator.bit_length()


def plain_value(node: Node, max_bits: int = QUICK_BITS) -> Fraction | None:
    """Return the value of a formula that is a rational number, else None.

    Raises:
        TooLargeError, UndefinedError, NoValueError: As `Evaluator.value`.
    """
    if node[0] == "number":
        return node[1]
    evaluator = Evaluator(0, max_bits)
    value = evaluator.value(node)
    return None if evaluator.num_atoms_used else value


def equal_exactly(gold: Node, answer: Node, max_bits: int = QUICK_BITS) -> bool | None:
    """Return whether two formulas are equal, or None where exact arithmetic can't tell.

    Raises:
        TooLargeError, UndefinedError, NoValueError: As `Evaluator.value`.
    """
    if gold == answer:
        return True
    is_equal = True
    for seed in _SEEDS:
        evaluator = Evaluator(seed, max_bits)
        if evaluator.value(gold) != evaluator.value(answer):
            if evaluator.is_pure:
                return False
            is_equal = False
            break
        if not evaluator.num_atoms_used:
            break
    return True if is_equal else None


def fresh_seed() -> int:
    """Return a seed that no text can have been made to fit."""
    return _FRESH.getrandbits(64)


_FRESH = random.SystemRandom()
_SEEDS = (fresh_seed(), fresh_seed())


def _integer_root(number: int, degree: int) -> int | None:
    """Return the exact root of a positive integer, or None."""
    if number == 1:
        return 1
    if degree == 2:
        root = math.isqrt(number)
    elif number.bit_length() > 4_096:
        return None
    else:
        root = 1 << -(-number.bit_length() // degree)
        while True:
            closer = ((degree - 1) * root + number // root ** (degree - 1)) // degree
            if closer >= root:
                break
            root = closer
    return root if root**degree == number else None


@lru_cache(maxsize=4096)
def _split_square(value: Fraction) -> tuple[Fraction, int]:
    """Return (s, n) with sqrt(value) = s * sqrt(n), n an integer without small square factors."""
    rest, square = value.numerator * value.denominator, 1
    factor = 2
    while factor <= _LARGEST_SQUARE_TRIED and factor * factor <= rest and rest.bit_length() <= 256:
        while rest % (factor * factor) == 0:
            rest //= factor * factor
            square *= factor
        factor += 1
    return Fraction(square, value.denominator), rest
