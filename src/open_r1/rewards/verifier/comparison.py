# SPDX-License-Identifier: Apache-2.0
r"""Decides whether an answer equals the gold, by the policy in the package's docstring.

Structure first (lists, sets, tuples, intervals, equations, units), then formula by formula with the `equal` that the
caller gives: exact arithmetic in process, high precision in a worker. Three values: True, False, and None where
`equal` couldn't tell.
"""

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from open_r1.rewards.verifier.cursor import Node
from open_r1.rewards.verifier.exact import NoValueError, TooLargeError, UndefinedError, plain_value
from open_r1.rewards.verifier.regions import equal_regions, is_name, names_in, read_region

_MAX_PAIRS = 10_000


@dataclass(frozen=True)
class Comparer:
    """Compares two trees.

    Attributes:
        equal_formulas: Whether two formulas are equal.
        proportional: Whether two formulas differ by a constant factor only.
        value: The value of a constant, to sort by; may raise.
    """

    equal_formulas: Callable[[Node, Node], bool | None]
    proportional: Callable[[Node, Node], bool | None]
    value: Callable[[Node], Any]

    def equal(self, gold: Node, answer: Node) -> bool | None:
        """Return whether two trees mean the same."""
        if gold == answer:
            return True
        gold, answer = _without_domain(expand_plus_minus(gold)), _without_domain(expand_plus_minus(answer))
        if "approx" in (_relation(gold), _relation(answer)):
            return self.any(self.equal(one, other) for one in _approximated(gold) for other in _approximated(answer))
        if gold[0] == "word" or answer[0] == "word":
            return gold[0] == answer[0] and gold[1].casefold() == answer[1].casefold()
        found = self.equal_equations(gold, answer)
        if found is not NotImplemented:
            return found
        gold, answer = _assignments(gold), _assignments(answer)
        return self.equal_collections(gold, answer)

    def equal_equations(self, gold: Node, answer: Node) -> Any:
        """Compare equations with each other and with a bare value; NotImplemented where neither is one."""
        is_gold, is_answer = _relation(gold) == "=", _relation(answer) == "="
        if is_gold and is_answer:
            one, other = self.last(gold), self.last(answer)
            is_same_name = is_name(gold[1][0]) and gold[1][0] == answer[1][0]
            if is_same_name and one is not None and other is not None and self.equal(one, other):
                return True
            if len(gold[1]) != 3 or len(answer[1]) != 3 or not (_is_formula(gold) and _is_formula(answer)):
                same_size = len(gold[1]) == len(answer[1])
                sides = zip(gold[1][::2], answer[1][::2], strict=False)
                return same_size and self.all(self.equal(*pair) for pair in sides)
            return self.proportional(_difference(gold), _difference(answer))
        if not (is_gold or is_answer):
            return NotImplemented
        equation, other = (gold, answer) if is_gold else (answer, gold)
        value = self.last(equation)
        if value is None:
            return False
        return self.equal(value, other) if is_gold else self.equal(other, value)

    def stated(self, node: Node) -> Node:
        """Return the value that an equation gives to its left side, or the tree itself."""
        return (self.last(node) or node) if _relation(node) == "=" else node

    def last(self, equation: Node) -> Node | None:
        """Return the value of "x = 3", "3 = x", "x = 6/2 = 3", "3 + 4 = 7"; None where it states none."""
        sides = list(equation[1][::2])
        if any(relation != "=" for relation in equation[1][1::2]):
            return None
        if len(sides) == 2 and not _is_left(sides[0]) and is_name(sides[1]):
            return sides[0]
        values = sides[1:] if _is_left(sides[0]) else sides
        if len(sides) == 2 and len(values) == 2 and not _is_constant(values):
            return None
        are_equal = all(self.equal(one, other) for one, other in itertools.pairwise(values))
        return values[-1] if are_equal else None

    def equal_collections(self, gold: Node, answer: Node) -> bool | None:
        """Compare sets, lists, tuples, matrices, regions and single formulas."""
        pair = _collection(gold), _collection(answer)
        if _is_region(gold) or _is_region(answer):
            found = self.equal_region_trees(gold, answer)
            if found is not NotImplemented:
                return found
        if pair == (None, None):
            return self.equal_single(gold, answer)
        one, other = pair
        if one is None or other is None:
            kind, items = one or other or ("", ())
            single = gold if one is None else answer
            if kind != "set" or len(items) != 1:
                return False
            return self.equal(single, items[0]) if one is None else self.equal(items[0], single)
        return self.equal_items(one, other)

    def equal_items(self, gold: tuple[str, Sequence[Node]], answer: tuple[str, Sequence[Node]]) -> bool | None:
        kinds = {gold[0], answer[0]}
        if kinds <= {"set", "list"}:
            return self.equal_sets(gold[1], answer[1])
        if kinds == {"tuple"} or kinds == {"tuple", "list"}:
            if len(gold[1]) != len(answer[1]):
                return False
            return self.all(self.equal(one, other) for one, other in zip(gold[1], answer[1], strict=True))
        if len(kinds) == 1 and gold[0] == "matrix":
            if [len(row) for row in gold[1]] != [len(row) for row in answer[1]]:
                return False
            entries = zip(sum(gold[1], ()), sum(answer[1], ()), strict=True)
            return self.all(self.equal(one, other) for one, other in entries)
        if len(kinds) == 1 and gold[0] in ("cup", "cap"):
            return self.equal_sets(gold[1], answer[1])
        if len(kinds) == 1 and len(gold[1]) == len(answer[1]):
            return self.all(self.equal(one, other) for one, other in zip(gold[1], answer[1], strict=True))
        return False

    def equal_sets(self, gold: Sequence[Node], answer: Sequence[Node]) -> bool | None:
        """Return whether every element of each has an equal in the other."""
        if set(gold) == set(answer):
            return True
        keys = _keys(gold), _keys(answer)
        if keys[0] is not None and keys[1] is not None:
            return keys[0] == keys[1]
        if len(gold) * len(answer) > _MAX_PAIRS:
            return False
        table = [[self.equal(one, other) for other in answer] for one in gold]
        return self.all(self.any(line) for line in [*table, *zip(*table, strict=True)])

    def equal_region_trees(self, gold: Node, answer: Node) -> Any:
        if gold[0] == answer[0] == "bracket" and len(gold[3]) == len(answer[3]):
            if gold[1:3] != answer[1:3]:
                return False
            return self.all(self.equal(one, other) for one, other in zip(gold[3], answer[3], strict=True))
        try:
            regions = read_region(gold, self.value), read_region(answer, self.value)
            if regions[0] is not None and regions[1] is not None:
                return equal_regions(regions[0], regions[1], self.equal, self.value)
        except NotSortableError:
            return None
        if gold[0] == answer[0] == "chain":
            return self.equal_chains(gold[1], answer[1])
        return NotImplemented

    def equal_chains(self, gold: tuple[Any, ...], answer: tuple[Any, ...]) -> bool | None:
        """Compare two relations that are no intervals, such as y > x^2 or n = 1 mod 4."""
        if len(gold) != len(answer):
            return False
        flipped = {"<": ">", ">": "<", "le": "ge", "ge": "le"}
        turned: tuple[Any, ...] = tuple(
            flipped.get(part, part) if place % 2 else part for place, part in enumerate(answer[::-1])
        )
        return self.any(
            self.all(
                one == other if place % 2 else self.equal(one, other)
                for place, (one, other) in enumerate(zip(gold, spelling, strict=True))
            )
            for spelling in (answer, turned)
        )

    def equal_single(self, gold: Node, answer: Node) -> bool | None:
        infinities = infinity(gold), infinity(answer)
        if infinities != (0, 0):
            return infinities[0] == infinities[1]
        if (gold[0] == "constant" and gold[1].startswith("set:")) or (
            answer[0] == "constant" and answer[1].startswith("set:")
        ):
            return gold == answer
        if (gold[0] == "degrees") != (answer[0] == "degrees"):
            # 90 degrees are 90, and pi/2.
            bare = [node[1] if node[0] == "degrees" else node for node in (gold, answer)]
            return self.any([self.equal_formulas(*bare), self.equal_formulas(gold, answer)])
        return self.equal_formulas(gold, answer)

    @staticmethod
    def all(verdicts: Any) -> bool | None:
        """Return the conjunction of three-valued verdicts."""
        is_open = False
        for verdict in verdicts:
            if verdict is False:
                return False
            is_open |= verdict is None
        return None if is_open else True

    @staticmethod
    def any(verdicts: Any) -> bool | None:
        """Return the disjunction of three-valued verdicts."""
        is_open = False
        for verdict in verdicts:
            if verdict:
                return True
            is_open |= verdict is None
        return None if is_open else False


class NotSortableError(ValueError):
    """Which of two ends of intervals is larger can't be told here."""


def _relation(node: Node) -> str | None:
    return node[1][1] if node[0] == "chain" else None


def _approximated(node: Node) -> list[Node]:
    return list(node[1][::2]) if _relation(node) == "approx" else [node]


def _is_left(node: Node) -> bool:
    """Whether the tree is what a value is given to: x, f(x), (x, y)."""
    return is_name(node) or (node[0] == "bracket" and all(is_name(part) for part in node[3]))


def _is_formula(equation: Node) -> bool:
    return all(side[0] not in ("bracket", "set", "list", "both", "pm", "matrix", "word") for side in equation[1][::2])


def _is_constant(nodes: Sequence[Node]) -> bool:
    return not any(names_in(node) for node in nodes)


def _difference(equation: Node) -> Node:
    return numerator(("add", equation[1][0], ("neg", equation[1][2])))


def numerator(node: Node) -> Node:
    """Return a formula that vanishes where the given one does: without its denominators."""
    return _split_fraction(node)[0]


_ONE: Node = ("number", Fraction(1))


def _split_fraction(node: Node) -> tuple[Node, Node]:
    kind = node[0]
    if kind == "neg":
        top, bottom = _split_fraction(node[1])
        return ("neg", top), bottom
    if kind in ("add", "mul", "div"):
        (top, bottom), (other_top, other_bottom) = _split_fraction(node[1]), _split_fraction(node[2])
        if kind == "mul":
            return ("mul", top, other_top), ("mul", bottom, other_bottom)
        if kind == "div":
            return ("mul", top, other_bottom), ("mul", bottom, other_top)
        if bottom == other_bottom:
            return ("add", top, other_top), bottom
        return ("add", ("mul", top, other_bottom), ("mul", other_top, bottom)), ("mul", bottom, other_bottom)
    return node, _ONE


def expand_plus_minus(node: Node) -> Node:
    """Return a tree with plus-minus signs as the set of its two values."""
    if not _has_plus_minus(node):
        return node
    if node[0] == "chain" and _relation(node) == "=":
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


def _without_domain(node: Node) -> Node:
    r"""Return "x = 2k, k in Z" without what is said of k."""
    if node[0] not in ("list", "both") or len(node[1]) < 2:
        return node
    kept = [part for part in node[1] if not (_relation(part) == "in" and part[1][2][0] == "constant")]
    if len(kept) == len(node[1]) or not kept:
        return node
    return kept[0] if len(kept) == 1 else (node[0], tuple(kept))


def _assignments(node: Node) -> Node:
    """Return "x = 1 or x = 2" as the set of 1 and 2, and "x = 1, y = 2" as the tuple (1, 2)."""
    if node[0] not in ("set", "list", "both") or not node[1]:
        return node
    if not all(_relation(part) == "=" and len(part[1]) == 3 and is_name(part[1][0]) for part in node[1]):
        return node
    names = [part[1][0] for part in node[1]]
    values = tuple(part[1][2] for part in node[1])
    if len(set(names)) == 1:
        return ("set", values)
    if len(set(names)) == len(names):
        ordered = sorted(zip(names, values, strict=True), key=lambda pair: str(pair[0]))
        return ("bracket", "(", ")", tuple(value for _, value in ordered))
    return node


def _collection(node: Node) -> tuple[str, Sequence[Any]] | None:
    kind = node[0]
    if kind in ("set", "both"):
        return "set", node[1]
    if kind == "list":
        return "list", node[1]
    if kind == "bracket":
        is_tuple = node[1:3] == ("(", ")") or len(node[3]) != 2
        return ("tuple" if is_tuple else f"interval {node[1]}{node[2]}"), node[3]
    if kind == "cup":
        parts = [_collection(part) for part in node[1:]]
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


def _is_region(node: Node) -> bool:
    if node[0] in ("set", "list", "both"):
        return any(_is_region(part) for part in node[1]) and any(part[0] in ("chain", "cup") for part in node[1])
    return node[0] in ("bracket", "chain", "cup", "cap", "setminus", "such_that") or node == ("constant", "set:R")


def _keys(nodes: Sequence[Node]) -> set[Any] | None:
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
