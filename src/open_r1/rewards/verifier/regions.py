# SPDX-License-Identifier: Apache-2.0
r"""Intervals, inequalities, memberships and unions of them as parts of the real line: `[1, 2)` is `1 \le x < 2`.

A region is where it may begin and end, and whether it holds a number. Two regions are the same where they hold the
same of all their ends and of a number between each two. Ends with variables, `(a, b)`, are tried at numbers for them.
`listed` reads what holds a few integers only (`0 \le x \le 5, x \in \mathbb{Z}`, `\{1, 2, \ldots, 10\}`) as the set of
them.
"""

import itertools
import math
import operator
from collections.abc import Callable, Iterable, Sequence
from fractions import Fraction
from functools import cache
from typing import NamedTuple, TypeGuard

from open_r1.rewards.verifier.budget import spend
from open_r1.rewards.verifier.tree import (
    Bracket,
    Call,
    Combined,
    Neg,
    Node,
    Number,
    NumberSet,
    Relation,
    Several,
    SuchThat,
    Symbol,
    Word,
    is_name,
    names_in,
    replaced,
)
from open_r1.rewards.verifier.value import FormulaError, infinity, order_key, plain_value

_COMPARE: dict[str, Callable[[Fraction | float, Fraction | float], bool]] = {
    "<": operator.lt,
    "le": operator.le,
    ">": operator.gt,
    "ge": operator.ge,
    "ne": operator.ne,
}
# More than an answer has, and still no work.
_MAX_INTEGERS = 1_000
# Ends that differ by less are one: \log_2 8 has digits, 3 hasn't.
_NEAREST = 10**40
_INSIDE = Symbol("a number of an interval")
_DOTS = Word("...")

Key = Callable[[Node], Fraction | float]


class Region(NamedTuple):
    """A part of the real line: its possible ends, whether it holds a number, and the variable that lies in it.

    `holds` is given a number and the function that gives the value of an end; bare intervals have no variable.
    """

    ends: tuple[Node, ...]
    holds: Callable[[Fraction, Key], bool]
    variable: Node | None = None


def read_region(node: Node) -> Region | None:
    """Return the region that a tree describes, or None where it describes none.

    Raises:
        FormulaError: Whether a list of inequalities means all of them or any can't be told.
    """
    match node:
        case Bracket(opening, closing, (low, high)) if opening != "<":
            signs = tuple("le" if bracket in "[]" else "<" for bracket in (opening, closing))
            interval = _read_chain((low, _INSIDE, high), signs)
            return interval and interval._replace(variable=None)
        case NumberSet("R"):
            return Region((), lambda place, key: True)
        case SuchThat(element, condition):
            # The condition must be one on the element itself.
            region = read_region(condition)
            name = element.sides[0] if isinstance(element, Relation) else element
            if region is None or region.variable != name:
                return None
            return _join([region, read_region(element)], all) if isinstance(element, Relation) else region
        case Relation((name, where), ("in",)):
            region = read_region(where) if is_name(name) else None
            return region and region._replace(variable=name)
        case Relation(sides, signs):
            return _read_chain(sides, signs)
        case Combined(left, right, name):
            return _join(_with_points([left, right]), _OPERATORS[name])
        case Several(kind, items) if len(items) > 1 and any(
            isinstance(item, (Relation, Combined)) or _is_endless(item) for item in items
        ):
            return _read_several(kind, items)
    return None


_OPERATORS: dict[str, Callable[[list[bool]], bool]] = {
    "cup": any,
    "cap": all,
    "setminus": lambda held: held[0] and not held[1],
}


def _read_several(kind: str, items: Sequence[Node]) -> Region | None:
    """Read "x < -1 or x > 3", "x > 1 and x < 3", "x > 1, x < 3", "x = 1 or x > 3"."""
    regions = [read_region(item) for item in items] if kind == "list" else _with_points(items)
    if any(region is None or region.variable is None for region in regions):
        is_of_intervals = all(isinstance(item, (Bracket, Combined)) for item in items) and (
            kind != "list" or any(map(_is_endless, items))
        )
        return _join(regions, any) if is_of_intervals else None
    common = _join(regions, all)
    # "x < -1, x > 3" can only mean either; with "and" it is empty.
    is_either = kind == "set" or (kind == "list" and common is not None and not any(_held([common], {})))
    return _join(regions, any) if is_either else common


def _is_endless(node: Node) -> bool:
    """Whether the tree is no pair, since it has an infinite end."""
    return isinstance(node, Bracket) and any(map(infinity, node.items))


def _with_points(parts: Sequence[Node]) -> list[Region | None]:
    """Return the regions of the parts of a union; "x = 1" and "{1}" are points there, beside a real region."""
    regions = [read_region(part) for part in parts]
    if not any(regions):
        return regions
    return [region or _read_points(part) for region, part in zip(regions, parts, strict=True)]


def _read_points(node: Node) -> Region | None:
    match node:
        case Relation((name, value), ("=",)) if is_name(name):
            values, variable = (value,), name
        case Several("set", items):
            values, variable = items, None
        case _:
            return None
    if any(map(names_in, values)):
        return None
    return Region(values, lambda place, key: any(key(value) == place for value in values), variable)


def _read_chain(sides: Sequence[Node], signs: Sequence[str]) -> Region | None:
    """Read "x > 3", "1 < x <= 2", "|x| < 2"; of two sides, one is free of variables."""
    if not set(signs) <= _COMPARE.keys() or len(sides) > 3:
        return None
    distances = [isinstance(side, Call) and side.name == "abs" and is_name(side.arguments[0]) for side in sides]
    inner = [side.arguments[0] if isinstance(side, Call) and side.name == "abs" else side for side in sides]
    places = [1] if len(sides) == 3 else [place for place in (0, 1) if not names_in(sides[1 - place])]
    places = [place for place in places if is_name(sides[place]) or distances[place]]
    # |z| is a complex number's.
    if not places or (distances[places[0]] and inner[places[0]] == Symbol("z")):
        return None
    if len(sides) == 3 and ("ne" in signs or (signs[0] in "<le") != (signs[1] in "<le")):
        return None
    (middle, *_) = places
    ends = [side for place, side in enumerate(sides) if place != middle]
    ends += [Neg(end) for end in ends] if distances[middle] else []

    def holds(number: Fraction, key: Key) -> bool:
        number = abs(number) if distances[middle] else number
        values = [number if place == middle else key(side) for place, side in enumerate(sides)]
        return all(_COMPARE[sign](*pair) for sign, pair in zip(signs, itertools.pairwise(values), strict=True))

    return Region(tuple(ends), holds, inner[middle])


def _join(regions: Sequence[Region | None], choose: Callable[[list[bool]], bool]) -> Region | None:
    """Return the region of the numbers of which `choose` says so, given which of the regions hold them."""
    found = [region for region in regions if region is not None]
    variables = {region.variable for region in found} - {None}
    if len(found) < len(regions) or len(variables) > 1:
        return None
    ends = tuple(end for region in found for end in region.ends)
    return Region(
        ends,
        lambda place, key: choose([region.holds(place, key) for region in found]),
        next(iter(variables), None),
    )


def _key_at(point: dict[Node, Node]) -> Key:
    """Return the function that gives the values of ends where variables have these values."""

    @cache
    def value_of(end: Node) -> Fraction | float:
        value = order_key(replaced(end, point))
        return value if isinstance(value, float) else Fraction(round(value * _NEAREST), _NEAREST)

    def key(end: Node) -> Fraction | float:
        spend(1)
        return value_of(end)

    return key


def _held(regions: Sequence[Region], point: dict[Node, Node]) -> list[bool]:
    """Return which regions hold each of their ends, and a number between each two, before and behind them."""
    key = _key_at(point)
    values = {key(end) for region in regions for end in region.ends}
    ends = sorted(Fraction(value) for value in values if not isinstance(value, float)) or [Fraction(0)]
    between = [(low + high) / 2 for low, high in itertools.pairwise(ends)]
    places = [ends[0] - 1, *ends, *between, ends[-1] + 1]
    return [region.holds(place, key) for place in places for region in regions]


def equal_regions(gold: Region, answer: Region) -> bool:
    """Return whether two regions are the same, and not empty."""
    if None not in (gold.variable, answer.variable) and gold.variable != answer.variable:
        return False
    names = sorted(set().union(*map(names_in, gold.ends + answer.ends)), key=repr)
    is_somewhere = False
    for order, sign in [(names, 1), (names[::-1], 1), (names, -1)][: 3 if names else 1]:
        try:
            numbers = {name: Number(Fraction(sign * 37 * place, 7)) for place, name in enumerate(order, 1)}
            held = _held([gold, answer], dict[Node, Node](numbers))
        except FormulaError:
            continue
        if held[::2] != held[1::2]:
            return False
        is_somewhere |= any(held)
    return is_somewhere


def listed(node: Node) -> Node:
    r"""Return bounded integers and evenly spaced dots as the set of their numbers; other trees as they are."""
    if not isinstance(node, Several):
        return node
    has_dots = _DOTS in node.items
    try:
        numbers = _fill_dots(node.items) if has_dots else _integers_within(node)
    except FormulaError:
        numbers = None
    if numbers is None:
        return node
    return Several(
        "list" if node.kind == "list" and has_dots else "set",
        tuple(Number(Fraction(number)) for number in numbers),
    )


def _fill_dots(items: tuple[Node, ...]) -> Iterable[Fraction] | None:
    """Return 1, 2, ..., 10 in full; with one number before the dots the step is 1."""
    place = items.index(_DOTS)
    values = [plain_value(item) for item in items if item != _DOTS]
    known = [value for value in values if value is not None]
    if not 0 < place == len(items) - 2 or len(known) < len(values):
        return None
    *before, last = known
    step = before[1] - before[0] if len(before) > 1 else Fraction(1)
    size = (last - before[0]) / step if step else Fraction(0)
    if size.denominator != 1 or not len(before) <= size < _MAX_INTEGERS:
        return None
    full = [before[0] + number * step for number in range(int(size) + 1)]
    return full if full[: len(before)] == before else None


def _integers_within(node: Several) -> Iterable[int] | None:
    """Return the integers that inequalities leave of one variable, said to be an integer."""
    domains = [part for part in node.items if is_domain(part)]
    region = _join([read_region(part) for part in node.items if part not in domains], all)
    if len(domains) != 1 or region is None or node.kind == "set" or region.variable != domains[0].sides[0]:
        return None
    kind, key = getattr(domains[0].sides[1], "name", ""), _key_at({})
    ends = [value for value in map(key, region.ends) if not isinstance(value, float)]
    if kind not in ("Z", "Z+", "N") or not ends:
        return None
    low, high = 1 if kind == "Z+" else math.floor(min(ends)), math.ceil(max(ends))
    is_open = region.holds(Fraction(high + 1), key) or (kind != "Z+" and region.holds(Fraction(low - 1), key))
    if is_open or high - low > _MAX_INTEGERS:
        return None
    numbers = [number for number in range(low, high + 1) if region.holds(Fraction(number), key)]
    # N holds 0 for some and not for others.
    return None if kind == "N" and min(numbers, default=1) <= 0 else numbers


def is_domain(node: Node) -> TypeGuard[Relation]:
    """Whether the tree says what set of numbers a variable is of: "k in Z"."""
    return isinstance(node, Relation) and node.signs == ("in",) and isinstance(node.sides[1], NumberSet)
