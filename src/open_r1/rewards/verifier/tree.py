# SPDX-License-Identifier: Apache-2.0
"""The trees that answers are read as: formulas, what they are collected in, and what no formula is.

Formulas have a value (`value`); collections and relations are made of them; the last group are whole answers that
are compared by rules of their own.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, fields, replace
from fractions import Fraction
from functools import cache
from typing import Any, TypeVar, dataclass_transform

from open_r1.rewards.verifier.budget import spend
from open_r1.rewards.verifier.units import Unit

_T = TypeVar("_T")


@dataclass_transform(frozen_default=True)
def _node(kind: type[_T]) -> type[_T]:
    return dataclass(frozen=True, slots=True)(kind)


@_node
class Node:
    """A part of a tree; nodes of one class with equal fields are equal."""


@_node
class Formula(Node):
    """What may have a value (`value`)."""


@_node
class Number(Formula):
    value: Fraction


@_node
class Symbol(Formula):
    """A variable, with its subscript and primes: x, x_1, AB is Mul(A, B)."""

    name: str


@_node
class Constant(Formula):
    """One of "pi", "e", "i", "oo"."""

    name: str


@_node
class Neg(Formula):
    part: Node


@_node
class Degrees(Formula):
    """An angle of `part` degrees."""

    part: Node


@_node
class Binary(Formula):
    left: Node
    right: Node


@_node
class Add(Binary):
    pass


@_node
class Mul(Binary):
    pass


@_node
class Div(Binary):
    pass


@_node
class Pow(Binary):
    pass


@_node
class Call(Formula):
    r"""A function of its arguments: "sin", "root" (radicand, degree), "log" (x, base), "abs", "f'", "P"."""

    name: str
    arguments: tuple[Node, ...]


@_node
class PlusMinus(Node):
    r"""`left \pm right`, or `\mp`; `left` is None where nothing stands before the sign."""

    left: Node | None
    right: Node
    sign: str


@_node
class NumberSet(Node):
    r"""`\mathbb{Z}` and its kin: "Z", "Z+", "R"."""

    name: str


@_node
class Word(Node):
    """A word within a formula, such as the condition "otherwise"."""

    text: str


@_node
class Relation(Node):
    """A chain of relations: n sides and n - 1 signs between them ("=", "<", "le", "in", "approx", "mod", ...)."""

    sides: tuple[Node, ...]
    signs: tuple[str, ...]


@_node
class Several(Node):
    """Several values or statements: a "set" (braces, "or"), "both" ("and", a system), or a "list" (bare commas)."""

    kind: str
    items: tuple[Node, ...]


@_node
class Bracket(Node):
    """A tuple or an interval: "(" or "[" or "<" to ")" or "]" or ">"."""

    opening: str
    closing: str
    items: tuple[Node, ...]


@_node
class Combined(Node):
    """A union ("cup"), intersection ("cap") or difference ("setminus")."""

    left: Node
    right: Node
    operator: str


@_node
class Matrix(Node):
    rows: tuple[tuple[Node, ...], ...]


@_node
class SuchThat(Node):
    """The set of the elements that fulfil a condition."""

    element: Node
    condition: Node


@_node
class Quantity(Node):
    """A value with its unit (None without one) and its percent sign: 50 of 50%."""

    node: Node
    unit: Unit | None = None
    is_percent: bool = False


@_node
class Ratio(Node):
    """3:4:5, and what it is the ratio of: V_1:V_2 = 11:21."""

    parts: tuple[Node, ...]
    names: tuple[Node, ...] = ()


@_node
class Clock(Node):
    """A time of the day: minutes since midnight, and whether its half is said (5 p.m., noon)."""

    minutes: int
    has_half: bool


@_node
class Digits(Node):
    """Digits in a base: 101_2."""

    digits: str
    base: int


@_node
class Words(Node):
    """Words in one spelling, or notation that is compared as it is written."""

    text: str


@_node
class Reading(Node):
    """A whole answer: its normalised text, and what it was read as."""

    text: str
    node: Node


@_node
class Choice(Node):
    """A choice letter; what follows it ("B. 12"); and whether it may be a variable as well, as a bare letter may."""

    letter: str
    behind: Reading | None = None
    is_variable: bool = False


@_node
class Parts(Node):
    """The answers to the numbered parts of a question: (1) 2; (2) 3."""

    items: tuple[Reading, ...]


ZERO, ONE, TWO, HUNDRED = (Number(Fraction(value)) for value in (0, 1, 2, 100))
PI, EULER, IMAGINARY, INFINITY = (Constant(name) for name in ("pi", "e", "i", "oo"))
MINUS_INFINITY = Neg(INFINITY)
REALS, INTEGERS = NumberSet("R"), NumberSet("Z")
EMPTY_SET = Several("set", ())


@cache
def _field_names(kind: type[Node]) -> tuple[str, ...]:
    return tuple(field.name for field in fields(kind))


def parts_of(node: Node) -> Iterator[Node]:
    """Return the nodes that a node is directly made of, those in its rows and lists too."""
    for name in _field_names(type(node)):
        yield from _nodes_in(getattr(node, name))


def _nodes_in(field: Any) -> Iterator[Node]:
    if isinstance(field, Node):
        yield field
    elif isinstance(field, tuple):
        for part in field:
            yield from _nodes_in(part)


def walk(node: Node) -> Iterator[Node]:
    """Return a tree's nodes, itself first."""
    nodes = [node]
    while nodes:
        node = nodes.pop()
        spend(1)
        yield node
        nodes += parts_of(node)


def rebuild(node: Node, change: Callable[[Node], Node]) -> Node:
    """Return the node with `change` of each of its direct parts in the place of the part."""
    spend(1)
    changed = {}
    for name in _field_names(type(node)):
        old = getattr(node, name)
        new = _changed(old, change)
        if new is not old:
            changed[name] = new
    return replace(node, **changed) if changed else node


def _changed(field: Any, change: Callable[[Node], Node]) -> Any:
    if isinstance(field, Node):
        return change(field)
    if isinstance(field, tuple) and field and isinstance(field[0], (Node, tuple)):
        return tuple(_changed(part, change) for part in field)
    return field


def replaced(node: Node, new: Mapping[Node, Node]) -> Node:
    """Return the tree with other nodes for variables and constants, all at once."""
    if isinstance(node, (Symbol, Constant, Call)) and node in new:
        return new[node]
    return rebuild(node, lambda part: replaced(part, new))


def is_name(node: Node) -> bool:
    """Whether the tree is a variable, or a function of one: x, f(x), f'(x)."""
    is_function = isinstance(node, Call) and len(node.name.rstrip("'").removesuffix("^-1")) == 1
    return is_function or isinstance(node, Symbol)


def names_in(node: Node) -> set[Node]:
    """Return the free variables of a tree; f(x) is one of them."""
    if is_name(node):
        spend(1)
        return {node}
    return set().union(*(names_in(part) for part in parts_of(node)))


_MAX_SHOWN_CHARS = 300
_MAX_SHOWN_DEPTH = 12
_MAX_SHOWN_BITS = 1_000


def show(node: Node) -> str:
    """Return a tree in one line, for people: {1, -2}, x = 3, "yes"."""
    node = node.node if isinstance(node, Reading) else node
    text = _show(node, 0)
    return cut(text[1:-1] if isinstance(node, Binary) else text)


def cut(text: str) -> str:
    """Return a text without what is beyond a line or two."""
    return text if len(text) <= _MAX_SHOWN_CHARS else f"{text[:_MAX_SHOWN_CHARS]}..."


def _show(node: Node, depth: int) -> str:
    if depth > _MAX_SHOWN_DEPTH:
        return "..."

    def joined(parts: Iterable[Node], joint: str = ", ") -> str:
        return joint.join(_show(part, depth + 1) for part in parts)

    match node:
        case Number(value):
            is_long = max(abs(value.numerator), value.denominator).bit_length() > _MAX_SHOWN_BITS
            return "a long number" if is_long else str(value)
        case Relation(sides, signs):
            behind = (f" {sign} {joined([side])}" for sign, side in zip(signs, sides[1:], strict=True))
            return "".join([joined(sides[:1]), *behind])
        case Quantity(inner, unit, is_percent):
            size = [] if unit is None else [str(unit.factor), *(f"{base}^{power}" for base, power in unit.dimensions)]
            return " ".join([joined([inner]), *(["%"] if is_percent else []), *size])
        case Several("list", items):
            return joined(items)
    template = _SHOWN.get(type(node))
    if template is None:
        return f"{type(node).__name__}({joined(parts_of(node))})"
    shown = {name: getattr(node, name) for name in _field_names(type(node))}
    shown |= {name: joined(_nodes_in(part)) for name, part in shown.items() if isinstance(part, (Node, tuple))}
    return template.format(**shown)


_SHOWN: dict[type[Node], str] = {
    Symbol: "{name}",
    Constant: "{name}",
    NumberSet: "{name}",
    Clock: "{minutes} minutes after midnight",
    Choice: "choice {letter}",
    Parts: "{items}",
    Ratio: "ratio {parts}",
    Word: '"{text}"',
    Words: '"{text}"',
    Neg: "-{part}",
    Degrees: "{part} degrees",
    Add: "({left} + {right})",
    Mul: "({left}*{right})",
    Div: "({left}/{right})",
    Pow: "({left}^{right})",
    Call: "{name}({arguments})",
    Combined: "{left} {operator} {right}",
    Several: "{{{items}}}",
    Bracket: "{opening}{items}{closing}",
    SuchThat: "{{{element} | {condition}}}",
    Digits: "{digits} to the base {base}",
    Reading: "{node}",
}
