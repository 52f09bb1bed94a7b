# SPDX-License-Identifier: Apache-2.0
"""Questions about trees of `formula`, and other shapes of them."""

from collections.abc import Sequence
from fractions import Fraction
from typing import Any

from open_r1.rewards.verifier.cursor import Node
from open_r1.rewards.verifier.exact import NoValueError, TooLargeError, UndefinedError, plain_value
from open_r1.rewards.verifier.regions import is_name, names_in
from open_r1.rewards.verifier.vocabulary import FUNCTIONS


def relation(node: Node) -> str | None:
    """Return the first sign of a chain of relations; None for other trees."""
    return node[1][1] if node[0] == "chain" else None


def approximated(node: Node) -> list[Node]:
    r"""Return what stands before and behind the `\approx` of a tree; nothing where there are several.

    An approximated variable is given the value: x \approx 3 is x = 3.
    """
    if node[0] != "chain" or "approx" not in node[1][1::2]:
        return [node]
    parts = node[1]
    place = 1 + 2 * parts[1::2].index("approx")
    before, behind = parts[:place], parts[place + 1 :]
    if len(behind) > 1:
        return []
    if is_name(before[-1]):
        return [("chain", (*before, "=", *behind))]
    return [before[0] if len(before) == 1 else ("chain", before), behind[0]]


def is_left(node: Node) -> bool:
    """Whether the tree is what a value is given to: x, f(x), (x, y)."""
    return is_name(node) or (node[0] in ("bracket", "tuple") and all(is_name(part) for part in node[-1]))


def is_measured(node: Node) -> bool:
    """Whether a left side can only be the name of a quantity, so that its equation is none to solve: AB, |AB|."""
    if node[0] == "call" and node[1] == "abs":
        node = node[2][0]
    return node[0] == "mul" and all(
        is_measured(part) or (part[0] == "symbol" and part[1].isupper()) for part in node[1:]
    )


def is_asked_for(node: Node) -> bool:
    r"""Whether a left side of an answer that is no name may be what was asked for: AB, m + n, m - n, |a|, \sin A."""
    kind = node[0]
    if kind == "symbol":
        return True
    if kind == "add":
        return all(is_asked_for(part) for part in (node[1], node[2][1] if node[2][0] == "neg" else node[2]))
    return is_measured(node) or (kind == "call" and node[1] in FUNCTIONS | {"abs"} and is_asked_for(node[2][0]))


def spread(node: Node) -> Node:
    """Return "x = y = z = 1" as "x = 1, y = 1, z = 1"; other trees as they are."""
    if node[0] != "chain":
        return node
    sides, signs = node[1][::2], node[1][1::2]
    names = sides[:-1]
    if len(names) < 2 or set(signs) != {"="} or not all(map(is_name, names)) or names_in(sides[-1]):
        return node
    return ("list", tuple(("chain", (name, "=", sides[-1])) for name in names))


def is_function_of(node: Node, other: Node) -> bool:
    """Whether one left side is f(x) and the other y."""
    is_call = node[0] == "call" and node[1] in ("f", "g", "h") and len(node[2]) == 1 and node[2][0][0] == "symbol"
    return is_call and other == ("symbol", "y") and node[2][0] != other


def is_formula(equation: Node) -> bool:
    """Whether both sides of an equation are formulas, no collections."""
    return all(
        side[0] not in ("bracket", "tuple", "set", "list", "both", "pm", "matrix", "word") for side in equation[1][::2]
    )


def is_constant(nodes: Sequence[Node]) -> bool:
    """Whether no tree holds a variable."""
    return not any(names_in(node) for node in nodes)


def difference(equation: Node) -> Node:
    """Return a formula that vanishes where an equation holds."""
    return numerator(("add", equation[1][0], ("neg", equation[1][2])))


def numerator(node: Node) -> Node:
    """Return a formula that vanishes where the given one does: without its denominators."""
    return _split_fraction(node)[0]


_ONE: Node = ("number", Fraction(1))
# A fraction in n fractions would grow to 2^n parts.
_MAX_SPLIT_PARTS = 2_000


def _split_fraction(node: Node) -> tuple[Node, Node, int]:
    """Return numerator, denominator and a bound of their parts."""
    kind = node[0]
    if kind == "neg":
        top, bottom, size = _split_fraction(node[1])
        return ("neg", top), bottom, size + 1
    if kind not in ("add", "mul", "div"):
        return node, _ONE, 2
    (top, bottom, size), (other_top, other_bottom, other_size) = (_split_fraction(part) for part in node[1:])
    if 2 * (size + other_size) > _MAX_SPLIT_PARTS:
        return node, _ONE, size + other_size
    if kind == "mul":
        return ("mul", top, other_top), ("mul", bottom, other_bottom), size + other_size + 2
    if kind == "div":
        return ("mul", top, other_bottom), ("mul", bottom, other_top), size + other_size + 2
    if bottom == other_bottom:
        return ("add", top, other_top), bottom, size + other_size + 1
    crossed = ("add", ("mul", top, other_bottom), ("mul", other_top, bottom))
    return crossed, ("mul", bottom, other_bottom), 2 * (size + other_size)


def expand_plus_minus(node: Node) -> Node:
    """Return a tree with plus-minus signs as the set of its two values."""
    if not _has_plus_minus(node):
        return node
    if node[0] == "chain" and relation(node) == "=":
        return ("set", tuple(_choose(node, sign) for sign in (1, -1)))
    if node[0] in ("set", "list", "both"):
        parts = [expand_plus_minus(part) for part in node[1]]
        return ("set", tuple(item for part in parts for item in (part[1] if part[0] == "set" else (part,))))
    return ("set", tuple(_choose(node, sign) for sign in (1, -1)))


def _has_plus_minus(node: object) -> bool:
    if not isinstance(node, tuple):
        return False
    return (bool(node) and node[0] == "pm") or any(_has_plus_minus(part) for part in node)


def _choose(node: Any, sign: int) -> Any:
    if not isinstance(node, tuple):
        return node
    if node and node[0] == "pm":
        left, right = _choose(node[1], sign), _choose(node[2], sign)
        is_plus = (sign == 1) == (node[3] == "pm")
        right = right if is_plus else ("neg", right)
        return right if left is None else ("add", left, right)
    return tuple(_choose(part, sign) for part in node)


# x_1 and x_2 are the roots of an equation, in any order; a_1 and a_2 are terms.
_ROOTS = frozenset(["x", "z", "t", "lambda"])


def assignments(node: Node) -> tuple[Node, list[Node]]:
    """Return "x = 1 or x = 2" as the set of 1 and 2, "x = 1, y = 2" as the tuple (1, 2), and the names.

    "x = 1 or y = 2" is no tuple, and a tuple is no open interval.
    """
    if relation(node) == "in" and len(node[1]) == 3 and is_name(node[1][0]) and node[1][2][0] == "set":
        return node[1][2], [node[1][0]]
    if node[0] not in ("set", "list", "both") or not node[1]:
        return node, []
    if not all(relation(part) == "=" and len(part[1]) == 3 and is_name(part[1][0]) for part in node[1]):
        return node, []
    names = [part[1][0] for part in node[1]]
    values = tuple(part[1][2] for part in node[1])
    letters = {str(name[1]).partition("_")[0] for name in names}
    if len(letters) == 1 and letters <= _ROOTS:
        return ("set", values), [("symbol", *letters)]
    if len(set(names)) == 1:
        return ("set", values), names[:1]
    if len(set(names)) == len(names) and node[0] != "set":
        ordered = sorted(zip(names, values, strict=True), key=lambda pair: str(pair[0]))
        return ("tuple", tuple(value for _, value in ordered)), [name for name, _ in ordered]
    return node, []


def collection(node: Node) -> tuple[str, Sequence[Any]] | None:
    """Return what kind of collection a tree is and what it holds; None for a single value."""
    kind = node[0]
    if kind in ("set", "both"):
        return "set", node[1]
    if kind == "list":
        return "list", node[1]
    if kind == "tuple":
        return "tuple", node[1]
    if kind == "bracket":
        is_tuple = node[1:3] == ("(", ")") or len(node[3]) != 2
        return ("tuple" if is_tuple else f"interval {node[1]}{node[2]}"), node[3]
    if kind == "cup":
        parts = [collection(part) for part in node[1:]]
        if all(part is not None and part[0] == "set" for part in parts):
            return "set", tuple(item for part in parts if part is not None for item in part[1])
        return "cup", node[1:]
    if kind == "matrix":
        rows = node[1]
        if len(rows) == 1 or all(len(row) == 1 for row in rows):
            return "tuple", sum(rows, ())
        return "matrix", rows
    if kind == "chain":
        return f"relations {' '.join(node[1][1::2])}", node[1][::2]
    return (kind, node[1:]) if kind in ("such_that", "cap", "setminus") else None


def is_region(node: Node) -> bool:
    """Whether a tree may describe a part of the real line."""
    if node[0] in ("set", "list", "both"):
        return any(is_region(part) for part in node[1]) and any(part[0] in ("chain", "cup") for part in node[1])
    return node[0] in ("bracket", "chain", "cup", "cap", "setminus", "such_that") or node == ("constant", "set:R")


def plain_values(nodes: Sequence[Node]) -> set[Any] | None:
    """Return the values of elements that are plain numbers, or None where one isn't."""
    try:
        values = {plain_value(node) for node in nodes}
    except (NoValueError, UndefinedError, TooLargeError):
        return None
    return None if None in values else values


def infinity(node: Node) -> int:
    """Return 1 or -1 for plus or minus infinity, else 0."""
    sign = 1
    while node[0] == "neg":
        sign, node = -sign, node[1]
    return sign if node == ("constant", "oo") else 0
