# SPDX-License-Identifier: Apache-2.0
r"""Reads intervals, inequalities, memberships and unions of them as one thing: a region of the real line.

A region is a list of pieces (low, high, is_low_closed, is_high_closed) whose ends are formulas or infinities.
"""

from collections.abc import Callable
from fractions import Fraction
from typing import Any, NamedTuple

from open_r1.rewards.verifier.budget import spend
from open_r1.rewards.verifier.cursor import Node
from open_r1.rewards.verifier.exact import NoValueError, TooLargeError, UndefinedError, plain_value

INFINITY: Node = ("constant", "oo")
MINUS_INFINITY: Node = ("neg", INFINITY)
_FLIPPED = {"<": ">", ">": "<", "le": "ge", "ge": "le", "=": "=", "ne": "ne"}
# More than an answer has, and still no work.
_MAX_PAIRS, _MAX_HOLES = 400, 20
_COLLECTIONS = ("set", "both", "list")

Equal = Callable[[Node, Node], bool | None]
Order = Callable[[Node], Any]


class Piece(NamedTuple):
    """An interval."""

    low: Node
    high: Node
    is_low_closed: bool
    is_high_closed: bool


class Region(NamedTuple):
    """Pieces of the real line, and the variable that was said to lie in them (None for bare intervals)."""

    pieces: tuple[Piece, ...]
    variable: Node | None = None


REAL_LINE = Region((Piece(MINUS_INFINITY, INFINITY, False, False),))


def read_region(node: Node, order: Order) -> Region | None:
    """Return the region that a tree describes, or None where it describes none.

    `order` gives a number to sort an end by; it may raise where only a worker can tell.
    """
    kind = node[0]
    if kind == "bracket" and len(node[3]) == 2:
        return Region((Piece(node[3][0], node[3][1], node[1] == "[", node[2] == "]"),))
    if node == ("constant", "set:R"):
        return REAL_LINE
    if kind == "such_that":
        return _read_such_that(node, order)
    if kind == "chain":
        return _read_chain(node[1], order)
    if kind == "cup":
        return _unite([read_region(part, order) for part in node[1:]])
    if kind == "cap":
        return _intersect([read_region(part, order) for part in node[1:]], order)
    if kind == "setminus":
        return _without(node, order)
    if kind in _COLLECTIONS and len(node[1]) > 1:
        return _read_joined(node, order)
    return None


def _read_such_that(node: Node, order: Order) -> Region | None:
    """Read "{x | 0 < x < 3}" and "{x in R | 0 < x < 3}"; the condition must be one on the element itself."""
    element, region = node[1], read_region(node[2], order)
    name = element if is_name(element) else element[1][0] if element[0] == "chain" else None
    if region is None or region.variable is None or region.variable != name:
        return None
    return region if is_name(element) else _intersect([region, read_region(element, order)], order)


def _read_joined(node: Node, order: Order) -> Region | None:
    """Read "x < -1 or x > 3", "x > 1 and x < 3", "x > 1, x < 3"."""
    regions = [read_region(part, order) for part in node[1]]
    if any(region is None or region.variable is None for region in regions):
        is_of_intervals = all(part[0] in ("bracket", "cup") for part in node[1]) and node[0] != "list"
        return _unite(regions) if is_of_intervals else None
    if node[0] == "set":
        return _unite(regions)
    common = _intersect(regions, order)
    # "x < -1, x > 3" can only mean either; with "and" it is empty.
    return common if node[0] == "both" or common is None or common.pieces else _unite(regions)


def _read_chain(parts: tuple[Any, ...], order: Order) -> Region | None:
    if len(parts) == 3 and parts[1] == "in":
        if not is_name(parts[0]):
            return None
        region = read_region(parts[2], order)
        return None if region is None else Region(region.pieces, parts[0])
    relations, sides = parts[1::2], parts[::2]
    if any(relation not in _FLIPPED or relation == "=" for relation in relations):
        return None
    if len(sides) == 2:
        if _is_distance(sides[0]):
            return _read_distance(sides[0], relations[0], sides[1], order)
        if _is_distance(sides[1]):
            return _read_distance(sides[1], _FLIPPED[relations[0]], sides[0], order)
        if is_name(sides[0]):
            return _half_line(sides[0], relations[0], sides[1])
        if is_name(sides[1]):
            return _half_line(sides[1], _FLIPPED[relations[0]], sides[0])
        return _read_linear(sides[0], relations[0], sides[1])
    if len(sides) == 3 and is_name(sides[1]):
        directions = {"<": 1, "le": 1, ">": -1, "ge": -1}
        if "ne" in relations or directions[relations[0]] != directions[relations[1]]:
            return None
        low, high = (0, 2) if directions[relations[0]] == 1 else (2, 0)
        closed = relations[low // 2] in ("le", "ge"), relations[high // 2] in ("le", "ge")
        return Region((Piece(sides[low], sides[high], *closed),), sides[1])
    return None


def _is_distance(node: Node) -> bool:
    """Whether the tree is |x|, |x - 1|; |z| is a complex number's."""
    is_abs = node[0] == "call" and node[1] == "abs"
    return is_abs and node[2][0][0] != "call" and ("symbol", "z") not in names_in(node)


def _read_distance(distance: Node, relation: str, end: Node, order: Order) -> Region | None:
    """Read "|x| < 2" as "x < 2 and x > -2", "|x| > 2" as "x > 2 or x < -2"."""
    if relation == "ne" or names_in(end):
        return None
    signed: Node = distance[2][0]
    sides = [
        _read_chain((signed, relation, end), order),
        _read_chain((signed, _FLIPPED[relation], ("neg", end)), order),
    ]
    return _intersect(sides, order) if relation in ("<", "le") else _unite(sides)


def _half_line(variable: Node, relation: str, end: Node) -> Region | None:
    if names_in(end):
        return None
    if relation == "ne":
        pieces: tuple[Piece, ...] = (
            Piece(MINUS_INFINITY, end, False, False),
            Piece(end, INFINITY, False, False),
        )
    elif relation in ("<", "le"):
        pieces = (Piece(MINUS_INFINITY, end, False, relation == "le"),)
    else:
        pieces = (Piece(end, INFINITY, relation == "ge", False),)
    return Region(pieces, variable)


def _read_linear(left: Node, relation: str, right: Node) -> Region | None:
    """Solve an inequality that is linear in its only variable: 2x + 1 > 7."""
    names = names_in(left) | names_in(right)
    if len(names) != 1:
        return None
    variable = names.pop()
    difference: Node = ("add", left, ("neg", right))
    points = [Fraction(0), Fraction(1), Fraction(2), Fraction(-7, 3), Fraction(1009, 7)]
    try:
        found = [plain_value(replace_symbol(difference, variable, ("number", point))) for point in points]
    except (NoValueError, TooLargeError, UndefinedError):
        return None
    values = [value for value in found if value is not None]
    if len(values) < len(points):
        return None
    start, slope = values[0], values[1] - values[0]
    if slope == 0 or any(value != start + slope * point for value, point in zip(values, points, strict=True)):
        return None
    return _half_line(variable, relation if slope > 0 else _FLIPPED[relation], ("number", -start / slope))


def _unite(regions: list[Region | None]) -> Region | None:
    if any(region is None for region in regions):
        return None
    found = [region for region in regions if region is not None]
    variables = {region.variable for region in found if region.variable is not None}
    if len(variables) > 1:
        return None
    return Region(tuple(piece for region in found for piece in region.pieces), variables.pop() if variables else None)


def _intersect(regions: list[Region | None], order: Order) -> Region | None:
    joined = _unite(regions)
    if joined is None:
        return None
    pieces = list(regions[0].pieces) if regions[0] else []
    for region in regions[1:]:
        others = region.pieces if region else ()
        if len(pieces) * len(others) > _MAX_PAIRS:
            return None
        pieces = [common for one in pieces for other in others if (common := _common(one, other, order))]
    return Region(tuple(pieces), joined.variable)


def _common(one: Piece, other: Piece, order: Order) -> Piece | None:
    low, is_low_closed = max(
        ((one.low, one.is_low_closed), (other.low, other.is_low_closed)), key=lambda end: (order(end[0]), not end[1])
    )
    high, is_high_closed = min(
        ((one.high, one.is_high_closed), (other.high, other.is_high_closed)), key=lambda end: (order(end[0]), end[1])
    )
    is_point = order(low) == order(high) and is_low_closed and is_high_closed
    return Piece(low, high, is_low_closed, is_high_closed) if order(low) < order(high) or is_point else None


def _without(node: Node, order: Order) -> Region | None:
    region = read_region(node[1], order)
    if region is None or node[2][0] != "set" or len(node[2][1]) > _MAX_HOLES:
        return None
    for point in node[2][1]:
        hole = _half_line(("symbol", "x"), "ne", point)
        region = _intersect([region, None if hole is None else Region(hole.pieces)], order)
        if region is None:
            return None
    return region


def equal_regions(gold: Region, answer: Region, equal: Equal, order: Order) -> bool | None:
    """Return whether two regions are the same, or None where only a worker can tell."""
    if gold.variable is not None and answer.variable is not None and gold.variable != answer.variable:
        return False
    gold_pieces, answer_pieces = _merge(gold.pieces, order), _merge(answer.pieces, order)
    if len(gold_pieces) != len(answer_pieces):
        return False
    verdicts = []
    for one, other in zip(gold_pieces, answer_pieces, strict=True):
        if one[2:] != other[2:]:
            return False
        verdicts += [equal(one.low, other.low), equal(one.high, other.high)]
    return False if False in verdicts else None if None in verdicts else True


def _merge(pieces: tuple[Piece, ...], order: Order) -> list[Piece]:
    """Return the pieces from left to right, with those that overlap or touch made one."""
    if len(pieces) < 2:
        return list(pieces)
    merged: list[Piece] = []
    for piece in sorted(pieces, key=lambda piece: (order(piece.low), not piece.is_low_closed)):
        last = merged[-1] if merged else None
        if last is not None and (
            order(piece.low) < order(last.high)
            or (order(piece.low) == order(last.high) and (piece.is_low_closed or last.is_high_closed))
        ):
            end = max(last, piece, key=lambda found: (order(found.high), found.is_high_closed))
            merged[-1] = Piece(last.low, end.high, last.is_low_closed, end.is_high_closed)
        else:
            merged.append(piece)
    return merged


def is_name(node: Node) -> bool:
    """Whether the tree is a variable, or a function of one: x, f(x), f'(x)."""
    return node[0] == "symbol" or (node[0] == "call" and len(node[1].rstrip("'").removesuffix("^-1")) == 1)


def names_in(node: Node) -> set[Node]:
    """Return the variables of a tree."""
    names, fields = set(), [node]
    while fields:
        field = fields.pop()
        spend(1)
        is_node = bool(field) and isinstance(field[0], str)
        if is_node and field[0] in ("number", "constant", "word"):
            continue
        if is_node and is_name(field):
            names.add(field)
        else:
            fields += [part for part in field if isinstance(part, tuple)]
    return names


def replace_symbol(node: Node, symbol: Node, value: Node) -> Node:
    """Return the formula with a value for a variable."""
    if node == symbol:
        return value
    return tuple(replace_symbol(field, symbol, value) if isinstance(field, tuple) else field for field in node)
