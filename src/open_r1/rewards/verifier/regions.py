# SPDX-License-Identifier: Apache-2.0
r"""Reads intervals, inequalities, memberships, points and unions of them as one thing: a region of the real line.

A region is a list of pieces whose ends are formulas or infinities. `listed` reads what holds a few integers only
(`0 \le x \le 5, x \in \mathbb{Z}`, `\{1, 2, \ldots, 10\}`) as the set of them.
"""

import math
from collections.abc import Callable, Sequence
from fractions import Fraction
from typing import NamedTuple, TypeGuard

from open_r1.rewards.verifier.tree import (
    INFINITY,
    MINUS_INFINITY,
    REALS,
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
)
from open_r1.rewards.verifier.value import FormulaError, order_key, plain_value

FLIPPED = {"<": ">", ">": "<", "le": "ge", "ge": "le", "=": "=", "ne": "ne"}
# More than an answer has, and still no work.
_MAX_PAIRS, _MAX_HOLES, _MAX_INTEGERS = 400, 20, 1_000

Equal = Callable[[Node, Node], bool]


class Piece(NamedTuple):
    """An interval; a closed one whose ends are the same is a point."""

    low: Node
    high: Node
    is_low_closed: bool
    is_high_closed: bool


class Region(NamedTuple):
    """Pieces of the real line, and the variable that was said to lie in them (None for bare intervals)."""

    pieces: tuple[Piece, ...]
    variable: Node | None = None


REAL_LINE = Region((Piece(MINUS_INFINITY, INFINITY, False, False),))


def is_region(node: Node) -> bool:
    """Whether a tree may describe a part of the real line."""
    if isinstance(node, Several):
        has_piece = any(isinstance(part, (Relation, Combined)) for part in node.items)
        return has_piece and any(is_region(part) for part in node.items)
    return isinstance(node, (Bracket, Relation, Combined, SuchThat)) or node == REALS


def read_region(node: Node) -> Region | None:
    """Return the region that a tree describes, or None where it describes none.

    Raises:
        FormulaError: The order of two ends can't be told.
    """
    match node:
        case Bracket(opening, closing, (low, high)) if opening != "<":
            return Region((Piece(low, high, opening == "[", closing == "]"),))
        case NumberSet("R"):
            return REAL_LINE
        case SuchThat():
            return _read_such_that(node)
        case Relation():
            return _read_relation(node)
        case Combined(left, right, "setminus"):
            return _without(left, right)
        case Combined(left, right, operator):
            parts = _with_points([left, right])
            return _unite(parts) if operator == "cup" else _intersect(parts)
        case Several(_, items) if len(items) > 1:
            return _read_several(node)
    return None


def _read_such_that(node: SuchThat) -> Region | None:
    """Read "{x | 0 < x < 3}" and "{x in R | 0 < x < 3}"; the condition must be one on the element itself."""
    element, region = node.element, read_region(node.condition)
    name = element.sides[0] if isinstance(element, Relation) else element
    if region is None or region.variable is None or region.variable != name:
        return None
    return _intersect([region, read_region(element)]) if isinstance(element, Relation) else region


def _read_several(node: Several) -> Region | None:
    """Read "x < -1 or x > 3", "x > 1 and x < 3", "x > 1, x < 3", "x = 1 or x > 3"."""
    regions = [read_region(part) for part in node.items]
    if node.kind != "list" and any(regions) and not all(regions):
        regions = _with_points(node.items)
    if any(region is None or region.variable is None for region in regions):
        is_of_intervals = all(isinstance(part, (Bracket, Combined)) for part in node.items) and node.kind != "list"
        return _unite(regions) if is_of_intervals else None
    if node.kind == "set":
        return _unite(regions)
    common = _intersect(regions)
    # "x < -1, x > 3" can only mean either; with "and" it is empty.
    return common if node.kind == "both" or common is None or common.pieces else _unite(regions)


def _with_points(parts: Sequence[Node]) -> list[Region | None]:
    """Return the regions of the parts of a union; "x = 1" and "{1}" are points there, beside a real piece."""
    regions = [read_region(part) for part in parts]
    if not any(regions):
        return regions
    return [region or _read_points(part) for region, part in zip(regions, parts, strict=True)]


def _read_points(node: Node) -> Region | None:
    match node:
        case Relation((name, value), ("=",)) if is_name(name) and not names_in(value):
            values, variable = (value,), name
        case Several("set", items) if items and not any(map(names_in, items)):
            values, variable = items, None
        case _:
            return None
    if len(values) > _MAX_HOLES or not all(_is_finite(value) for value in values):
        return None
    return Region(tuple(Piece(value, value, True, True) for value in values), variable)


def _is_finite(node: Node) -> bool:
    try:
        return not math.isinf(order_key(node))
    except FormulaError:
        return False


def _read_relation(node: Relation) -> Region | None:
    sides, signs = node.sides, node.signs
    if signs == ("in",):
        region = read_region(sides[1]) if is_name(sides[0]) else None
        return None if region is None else Region(region.pieces, sides[0])
    if any(sign not in FLIPPED or sign == "=" for sign in signs):
        return None
    if len(sides) == 2:
        return _read_inequality(sides[0], signs[0], sides[1])
    if len(sides) == 3 and is_name(sides[1]):
        directions = {"<": 1, "le": 1, ">": -1, "ge": -1}
        if "ne" in signs or directions[signs[0]] != directions[signs[1]]:
            return None
        low, high = (0, 2) if directions[signs[0]] == 1 else (2, 0)
        closed = [signs[place // 2] in ("le", "ge") for place in (low, high)]
        return Region((Piece(sides[low], sides[high], *closed),), sides[1])
    return None


def _read_inequality(left: Node, sign: str, right: Node) -> Region | None:
    for one, relation, other in ((left, sign, right), (right, FLIPPED[sign], left)):
        if isinstance(one, Call) and _is_distance(one):
            return _read_distance(one.arguments[0], relation, other)
        if is_name(one):
            return _half_line(one, relation, other)
    return None


def _is_distance(node: Call) -> bool:
    """Whether the tree is |x|, |x - 1|; |z| is a complex number's."""
    return node.name == "abs" and not isinstance(node.arguments[0], Call) and Symbol("z") not in names_in(node)


def _read_distance(signed: Node, relation: str, end: Node) -> Region | None:
    """Read "|x| < 2" as "x < 2 and x > -2", "|x| > 2" as "x > 2 or x < -2"."""
    if relation == "ne" or names_in(end):
        return None
    sides = [
        _read_inequality(signed, relation, end),
        _read_inequality(signed, FLIPPED[relation], Neg(end)),
    ]
    return _intersect(sides) if relation in ("<", "le") else _unite(sides)


def _half_line(variable: Node, relation: str, end: Node) -> Region | None:
    if names_in(end):
        return None
    below = Piece(MINUS_INFINITY, end, False, relation == "le")
    above = Piece(end, INFINITY, relation == "ge", False)
    pieces = {"ne": (below, above), "<": (below,), "le": (below,)}.get(relation, (above,))
    return Region(pieces, variable)


def _unite(regions: list[Region | None]) -> Region | None:
    found = [region for region in regions if region is not None]
    variables = {region.variable for region in found if region.variable is not None}
    if len(found) < len(regions) or len(variables) > 1:
        return None
    return Region(tuple(piece for region in found for piece in region.pieces), variables.pop() if variables else None)


def _intersect(regions: list[Region | None]) -> Region | None:
    joined = _unite(regions)
    if joined is None:
        return None
    pieces = list(regions[0].pieces) if regions[0] else []
    for region in regions[1:]:
        others = region.pieces if region else ()
        if len(pieces) * len(others) > _MAX_PAIRS:
            return None
        pieces = [common for one in pieces for other in others if (common := _common(one, other))]
    return Region(tuple(pieces), joined.variable)


def _common(one: Piece, other: Piece) -> Piece | None:
    low, is_low_closed = max(
        ((one.low, one.is_low_closed), (other.low, other.is_low_closed)),
        key=lambda end: (order_key(end[0]), not end[1]),
    )
    high, is_high_closed = min(
        ((one.high, one.is_high_closed), (other.high, other.is_high_closed)),
        key=lambda end: (order_key(end[0]), end[1]),
    )
    is_point = order_key(low) == order_key(high) and is_low_closed and is_high_closed
    return Piece(low, high, is_low_closed, is_high_closed) if order_key(low) < order_key(high) or is_point else None


def _without(whole: Node, holes: Node) -> Region | None:
    region = read_region(whole)
    if region is None or not isinstance(holes, Several) or holes.kind != "set" or len(holes.items) > _MAX_HOLES:
        return None
    for point in holes.items:
        hole = _half_line(Symbol("x"), "ne", point)
        region = _intersect([region, None if hole is None else Region(hole.pieces)])
        if region is None:
            return None
    return region


def equal_regions(gold: Region, answer: Region, equal: Equal) -> bool:
    """Return whether two regions are the same; `equal` compares their ends.

    Raises:
        FormulaError: The order of two ends can't be told.
    """
    if gold.variable is not None and answer.variable is not None and gold.variable != answer.variable:
        return False
    pieces, others = _merge(gold.pieces), _merge(answer.pieces)
    # The kinds of all ends come first, since they cost nothing.
    if [piece[2:] for piece in pieces] != [piece[2:] for piece in others]:
        return False
    pairs = zip(pieces, others, strict=True)
    return all(equal(one.low, other.low) and equal(one.high, other.high) for one, other in pairs)


def _merge(pieces: tuple[Piece, ...]) -> list[Piece]:
    """Return the pieces from left to right, with those that overlap or touch made one."""
    if len(pieces) < 2:
        return list(pieces)
    merged: list[Piece] = []
    for piece in sorted(pieces, key=lambda piece: (order_key(piece.low), not piece.is_low_closed)):
        last = merged[-1] if merged else None
        if last is not None and (
            order_key(piece.low) < order_key(last.high)
            or (order_key(piece.low) == order_key(last.high) and (piece.is_low_closed or last.is_high_closed))
        ):
            end = max(last, piece, key=lambda found: (order_key(found.high), found.is_high_closed))
            merged[-1] = Piece(last.low, end.high, last.is_low_closed, end.is_high_closed)
        else:
            merged.append(piece)
    return merged


def listed(node: Node) -> Node:
    r"""Return bounded integers and evenly spaced dots as the set of their numbers; other trees as they are."""
    if not isinstance(node, Several):
        return node
    try:
        numbers = _fill_dots(node.items) if Word("...") in node.items else _integers_within(node)
    except FormulaError:
        numbers = None
    if numbers is None:
        return node
    kind = "list" if node.kind == "list" and Word("...") in node.items else "set"
    return Several(kind, tuple(Number(Fraction(number)) for number in numbers))


def _fill_dots(items: tuple[Node, ...]) -> Sequence[Fraction] | None:
    """Return 1, 2, ..., 10 in full; with one number before the dots the step is 1."""
    place = items.index(Word("..."))
    first, last = [plain_value(item) for item in items[:place]], [plain_value(item) for item in items[place + 1 :]]
    before, behind = [value for value in first if value is not None], [value for value in last if value is not None]
    if not before or len(behind) != 1 or len(before) < len(first):
        return None
    step = before[1] - before[0] if len(before) > 1 else Fraction(1)
    if step == 0 or any(value != before[0] + number * step for number, value in enumerate(before)):
        return None
    size = (behind[0] - before[0]) / step
    if size.denominator != 1 or not len(before) <= size < _MAX_INTEGERS:
        return None
    return [before[0] + number * step for number in range(int(size) + 1)]


def _integers_within(node: Several) -> Sequence[Fraction] | None:
    """Return the integers that inequalities leave of one variable, said to be an integer."""
    domains = [part for part in node.items if is_domain(part)]
    others = [part for part in node.items if part not in domains]
    if len(domains) != 1 or not others or node.kind == "set":
        return None
    name, kind = domains[0].sides[0], getattr(domains[0].sides[1], "name", "")
    region = _intersect([read_region(part) for part in others])
    if region is None or region.variable != name or kind not in ("Z", "Z+", "N"):
        return None
    numbers: set[int] = set()
    for piece in region.pieces:
        low, high = order_key(piece.low), order_key(piece.high)
        if math.isinf(low) and kind == "Z+":
            low = 0
        if math.isinf(low) or math.isinf(high) or high - low > _MAX_INTEGERS:
            return None
        inside = range(math.ceil(low), math.floor(high) + 1)
        open_ends = {end for end, is_closed in zip((low, high), piece[2:], strict=True) if not is_closed}
        numbers |= set(inside) - open_ends
    if kind == "N" and min(numbers, default=1) <= 0:
        # N holds 0 for some and not for others.
        return None
    return [Fraction(number) for number in sorted(numbers) if kind == "Z" or number > 0]


def is_domain(node: Node) -> TypeGuard[Relation]:
    """Whether the tree says what set of numbers a variable is of: "k in Z"."""
    return isinstance(node, Relation) and node.signs == ("in",) and isinstance(node.sides[1], NumberSet)
