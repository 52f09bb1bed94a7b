# SPDX-License-Identifier: Apache-2.0
r"""Decides whether an answer equals the gold, by the policy in the package's docstring.

Structure first (lists, sets, tuples, intervals, equations, units), then formula by formula with the `equal` that the
caller gives: exact arithmetic in process, high precision in a worker. Three values: True, False, and None where
`equal` couldn't tell.
"""

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from open_r1.rewards.verifier.budget import spend
from open_r1.rewards.verifier.cursor import Node
from open_r1.rewards.verifier.domains import unfold, without_condition, without_domains
from open_r1.rewards.verifier.regions import equal_regions, is_name, names_in, read_region
from open_r1.rewards.verifier.trees import (
    approximated,
    assignments,
    collection,
    difference,
    expand_plus_minus,
    infinity,
    is_asked_for,
    is_constant,
    is_formula,
    is_function_of,
    is_left,
    is_measured,
    is_region,
    plain_values,
    relation,
    spread,
)


@dataclass(frozen=True)
class Comparer:
    """Compares two trees.

    Attributes:
        equal_formulas: Whether two formulas are equal.
        proportional: Whether two formulas differ by a constant factor only.
        value: The value of a constant, to sort by; may raise.
        max_pairs: How many pairs of elements of two sets are compared; more are None.
    """

    equal_formulas: Callable[[Node, Node], bool | None]
    proportional: Callable[[Node, Node], bool | None]
    value: Callable[[Node], Any]
    max_pairs: int

    def equal(self, gold: Node, answer: Node) -> bool | None:
        """Return whether two trees mean the same."""
        spend(4)
        if gold == answer:
            return True
        pair = without_domains(unfold(expand_plus_minus(gold)), unfold(expand_plus_minus(answer)))
        if pair is None:
            return False
        bare = without_condition(pair[0], only_holes=True), without_condition(pair[1], only_holes=False)
        # A condition on one side only is left out; what the gold says of more than holes is part of it.
        gold, answer = bare if (bare[0] == pair[0]) != (bare[1] == pair[1]) else pair
        sides, answers = approximated(gold), approximated(answer)
        if sides != [gold] or answers != [answer]:
            # Of an answer only what it gives as exact counts: a chain of guesses must not be right for each of them.
            return self.any(self.equal(side, exact) for side in sides for exact in answers[:1])
        if gold[0] == "word" or answer[0] == "word":
            return gold[0] == answer[0] and gold[1].casefold() == answer[1].casefold()
        found = self.equal_equations(gold, answer)
        if found is not NotImplemented:
            return found
        (gold, names), (answer, other_names) = assignments(gold), assignments(answer)
        return (not names or not other_names or names == other_names) and self.equal_collections(gold, answer)

    def equal_equations(self, gold: Node, answer: Node) -> Any:
        """Compare equations with each other and with a bare value; NotImplemented where neither is one."""
        is_gold, is_answer = relation(gold) == "=", relation(answer) == "="
        if is_gold and is_answer:
            one, other = self.last(gold), self.last(answer)
            is_same_name = is_name(gold[1][0]) and gold[1][0] == answer[1][0]
            if not (names_in(gold) or names_in(answer)):
                return one is not None and other is not None and self.equal(one, other)
            is_same_name |= is_function_of(gold[1][0], answer[1][0]) or is_function_of(answer[1][0], gold[1][0])
            if is_same_name and one is not None and other is not None:
                found = self.equal(one, other)
                # Of "y = ..." and "y = ..." the right sides decide, where y stands on neither.
                is_explicit = gold[1][0] == answer[1][0] and gold[1][0] not in names_in(one) | names_in(other)
                if found or is_explicit:
                    return found
            if len(gold[1]) != 3 or len(answer[1]) != 3 or not (is_formula(gold) and is_formula(answer)):
                same_size = len(gold[1]) == len(answer[1])
                sides = zip(gold[1][::2], answer[1][::2], strict=False)
                return same_size and self.all(self.equal(*pair) for pair in sides)
            return self.proportional(difference(gold), difference(answer))
        if not (is_gold or is_answer):
            return NotImplemented
        equation, other = (gold, answer) if is_gold else (answer, gold)
        if other[0] in ("bracket", "list", "both", "set") and spread(equation) != equation:
            return self.equal(spread(gold), spread(answer))
        value = self.last(equation, is_gold=is_gold)
        if value is None:
            return False
        return self.equal(value, other) if is_gold else self.equal(other, value)

    def stated(self, node: Node) -> Node:
        """Return the value that an equation gives to its left side, or the tree itself."""
        return (self.last(node) or node) if relation(node) == "=" else node

    def last(self, equation: Node, *, is_gold: bool = False) -> Node | None:
        """Return the value of "x = 3", "3 = x", "x = 6/2 = 3", "3 + 4 = 7"; None where it states none.

        An answer may repeat what was asked for, "m + n = 3"; a gold "x + y = 3" is a line.
        """
        sides = list(equation[1][::2])
        if any(relation != "=" for relation in equation[1][1::2]):
            return None
        if len(sides) == 2 and not is_left(sides[0]) and is_name(sides[1]):
            return sides[0]
        is_known = is_measured(sides[0]) if is_gold else is_asked_for(sides[0])
        has_left = is_left(sides[0]) or (is_known and is_constant(sides[1:]))
        values = sides[1:] if has_left else sides
        if len(sides) == 2 and len(values) == 2 and not is_constant(values):
            return None
        are_equal = all(self.equal(one, other) for one, other in itertools.pairwise(values))
        if are_equal and values[-1][0] == "bracket" and sides[0][0] == "bracket":
            # (x, y) = (1, 2) gives a point.
            return ("tuple", values[-1][3])
        return values[-1] if are_equal else None

    def equal_collections(self, gold: Node, answer: Node) -> bool | None:
        """Compare sets, lists, tuples, matrices, regions and single formulas."""
        pair = collection(gold), collection(answer)
        if is_region(gold) or is_region(answer):
            found = self.equal_region_trees(gold, answer)
            if found is not NotImplemented:
                return found
        if pair == (None, None):
            return self.equal_single(gold, answer)
        one, other = pair
        if one is None or other is None:
            kind, items = one or other or ("", ())
            single = gold if one is None else answer
            if kind != "set" or not items:
                return False
            # The same value in several spellings is one value.
            return self.all(self.equal(single, item) if one is None else self.equal(item, single) for item in items)
        # {(1, 2)} against (1, 2).
        if one[0] == "set" and len(one[1]) == 1 and other[0] not in ("set", "list"):
            return self.equal(one[1][0], answer)
        if other[0] == "set" and len(other[1]) == 1 and one[0] not in ("set", "list"):
            return self.equal(gold, other[1][0])
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
        if not gold or not answer or set(gold) == set(answer):
            return set(gold) == set(answer)
        keys = plain_values(gold), plain_values(answer)
        if keys[0] is not None and keys[1] is not None:
            return keys[0] == keys[1]
        if len(gold) * len(answer) > self.max_pairs:
            return None
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
        # "3 mod 7" is the right side of "x = 3 mod 7".
        shorter = min(len(gold), len(answer))
        gold, answer = (
            chain[2:] if len(chain) > shorter and chain[1] == "equiv" and is_name(chain[0]) else chain
            for chain in (gold, answer)
        )
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
