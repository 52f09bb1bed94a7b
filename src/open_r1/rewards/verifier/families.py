# SPDX-License-Identifier: Apache-2.0
r"""What an answer says of its variables, and variables that may have any name.

"2k pi, k in Z", "x^2 where x > 0", "{2k | k in Z}"; + C; f(x) and f(n).
"""

import math
from collections.abc import Iterator
from fractions import Fraction
from functools import reduce
from itertools import permutations

from open_r1.rewards.verifier.regions import is_domain
from open_r1.rewards.verifier.tree import (
    ZERO,
    Add,
    Call,
    Div,
    Neg,
    Node,
    Number,
    PlusMinus,
    Relation,
    Several,
    Symbol,
    is_name,
    names_in,
    rebuild,
    replaced,
    walk,
)
from open_r1.rewards.verifier.value import FormulaError, equal_values, plain_value

_INTEGER_SETS = frozenset(["Z", "Z+", "N"])
# N holds 0 for some and not for others.
_SAME_SETS = {"N": "Z+"}
# The integers of a family without "in Z", and constants that stand for any number.
_INTEGER_NAMES = frozenset("ijklmnpqt")
_CONSTANT_NAMES = frozenset(["C", "C_1", "C_0"])
_FREE, _FREE_CONSTANTS = Symbol("C"), {Symbol(f"{name}_{number}") for name in "Cc" for number in range(1, 5)}
_ADDED_NAMES = _CONSTANT_NAMES | frozenset(["c", "c_1", "K", "k"])
# What an integer of a family is called in the comparison; no text has such a name.
_INTEGER = "integer "
_MAX_MODULUS = 10_000
_SOME_POINT = Number(Fraction(13, 7))


def expand_plus_minus(node: Node) -> Node:
    """Return a tree with plus-minus signs as the set of its two values."""
    if not any(isinstance(part, PlusMinus) for part in walk(node)):
        return node
    if isinstance(node, Several):
        parts = [expand_plus_minus(part) for part in node.items]
        return Several("set", tuple(item for part in parts for item in _set_items(part)))
    return Several("set", (choose(node, 1), choose(node, -1)))


def _set_items(node: Node) -> tuple[Node, ...]:
    return node.items if isinstance(node, Several) and node.kind == "set" else (node,)


def choose(node: Node, sign: int) -> Node:
    """Return the tree with plus-minus signs as pluses (1) or minuses (-1)."""
    if not isinstance(node, PlusMinus):
        return rebuild(node, lambda part: choose(part, sign))
    left = None if node.left is None else choose(node.left, sign)
    right = choose(node.right, sign)
    right = right if (sign == 1) == (node.sign == "pm") else Neg(right)
    return right if left is None else Add(left, right)


def equal_congruences(gold: Node, answer: Node) -> bool | None:
    """Return whether "n = 1, 5 mod 6" and "n = 6k + 1 or n = 6k - 1" are the same; None for other trees."""
    if not any(isinstance(part, Relation) and "mod" in part.signs for part in (*walk(gold), *walk(answer))):
        return None
    try:
        sides = [_residues(gold), _residues(answer)]
    except FormulaError:
        return None
    names = {name for side in sides for name, _, _ in side} - {None}
    modulus = math.lcm(*(size for side in sides for _, _, size in side))
    if len(names) > 1 or modulus > _MAX_MODULUS:
        return None
    one, other = ({start + step for _, start, size in side for step in range(0, modulus, size)} for side in sides)
    return one == other


def _residues(node: Node, modulus: int = 0) -> list[tuple[Node | None, int, int]]:
    """Return (variable, residue, modulus) of a congruence, of several of each.

    Raises:
        FormulaError: It is no congruence.
    """
    if isinstance(node, Several):
        found: list[tuple[Node | None, int, int]] = []
        # "1, 5 mod 6" has its modulus at the end, and its variable at the start.
        for item in reversed([item for item in node.items if not is_domain(item)]):
            found += _residues(item, found[-1][2] if found else modulus)
        return found
    *names, value = node.sides if isinstance(node, Relation) else [node]
    if isinstance(node, Relation) and node.signs[-1] == "mod":
        modulus = _integer(value)
        *names, value = names
    index = next(iter(names_in(value)), None)
    starts = [_integer(replaced(value, {index: Number(Fraction(place))}) if index else value) for place in range(3)]
    step = starts[1] - starts[0] if index else modulus
    if len(names) > 1 or step == 0 or (index and starts[2] - starts[1] != step):
        raise FormulaError("no congruence")
    return [(names[0] if names else None, starts[0] % abs(step), abs(step))]


def _integer(node: Node) -> int:
    value = plain_value(node)
    if value is None or value.denominator > 1:
        raise FormulaError("no integer")
    return int(value)


def with_same_names(gold: Node, answer: Node) -> tuple[Node, Node] | None:
    r"""Return two trees without the sets of their integers, as in "2k, k in Z", and with one name for them.

    None where the sets or the roles of the variables differ.
    """
    (gold, gold_sets), (answer, answer_sets) = _split_domains(gold), _split_domains(answer)
    kinds = sorted(gold_sets.values()), sorted(answer_sets.values())
    if kinds[0] and len(kinds[0]) == len(kinds[1]) and kinds[0] != kinds[1]:
        return None
    kind = (kinds[0] or kinds[1] or [""])[0]
    is_bound = not any(kinds) and isinstance(gold, Relation) and isinstance(answer, Relation)
    if is_bound and gold.sides[0] == answer.sides[0] and len(names_in(gold)) == len(names_in(answer)) == 2:
        # n = 2^k - 1 and n = 2^m - 1.
        kind = "N"
    elif max(map(len, kinds)) != 1 or not ((kinds[0] and kinds[1]) or kind in _INTEGER_SETS):
        return gold, answer
    name, other = next(iter(gold_sets), None), next(iter(answer_sets), None)
    if name and other and name != other and name in names_in(answer):
        return None
    name, other = name or _index(gold, answer, other), other or _index(answer, gold, name)
    if name is None or other is None:
        return gold, answer
    # The index of a_n and the argument of f(n) are no such integers, nor is the x of y = x + 1.
    is_index = isinstance(name, Symbol) and name.name in _INTEGER_NAMES
    new = Symbol((_INTEGER if is_index else "variable ") + kind)
    return replaced(gold, {name: new}), replaced(answer, {other: new})


def shifted(node: Node) -> Iterator[Node]:
    """Return a family of all integers k with k + 1, -k and the like for k: the same family."""
    index = Symbol(f"{_INTEGER}Z")
    names = names_in(node)
    if index not in names or any("_" in getattr(name, "name", "") for name in names):
        return
    for step in (*range(1, 7), *range(-6, 1)):
        for sign in (index, Neg(index)):
            yield replaced(node, {index: Add(sign, Number(Fraction(step)))})


def _index(node: Node, other: Node, name: Node | None) -> Node | None:
    """Return the integer of a family without "in Z": the other's, or the only variable that the other lacks."""
    own = names_in(node)
    if name in own:
        return name
    found = [part for part in own - names_in(other) if isinstance(part, Symbol)]
    return found[0] if len(found) == 1 and found[0].name in _INTEGER_NAMES else None


def _split_domains(node: Node) -> tuple[Node, dict[Node, str]]:
    if not isinstance(node, Several) or len(node.items) < 2:
        return node, {}
    # In "x > 0, x in Z" the set is said of the answer's own variable.
    bounded = [part for part in node.items if isinstance(part, Relation) and part.signs[0] not in ("=", "in", "ne")]
    own = set().union(*map(names_in, bounded))
    domains = [part for part in node.items if is_domain(part) and part.sides[0] not in own]
    kept = [part for part in node.items if part not in domains]
    if not domains or not kept:
        return node, {}
    sets = {part.sides[0]: getattr(part.sides[1], "name", "") for part in domains}
    sets = {name: _SAME_SETS.get(kind, kind) for name, kind in sets.items()}
    return (kept[0] if len(kept) == 1 else Several(node.kind, tuple(kept))), sets


def with_same_arguments(gold: Relation, answer: Relation) -> Relation:
    """Return "f(n) = n^2" in the variables of the gold "f(x) = x^2", and "a_k = 2k" as "a_n = 2n"."""
    names, others = _arguments(gold.sides[0]), _arguments(answer.sides[0])
    if names is None or others is None or names[0] != others[0] or len(names[1]) != len(others[1]):
        return answer
    if set(names[1]) & (names_in(Several("list", answer.sides[1:])) - set(others[1])):
        return answer
    new = dict[Node, Node](zip(others[1], names[1], strict=True))
    return Relation((gold.sides[0], *(replaced(side, new) for side in answer.sides[1:])), answer.signs)


def _arguments(left: Node) -> tuple[str, tuple[Symbol, ...]] | None:
    """Return the name and the distinct variables of f(x, y) or a_n; None for other left sides."""
    if isinstance(left, Symbol):
        name, _, index = left.name.partition("_")
        return (name, (Symbol(index),)) if index.islower() and len(index) == 1 else None
    if not isinstance(left, Call) or not is_name(left):
        return None
    symbols = tuple(part for part in left.arguments if isinstance(part, Symbol) and part.name.islower())
    return (left.name, symbols) if len(set(symbols)) == len(left.arguments) else None


def equal_with_constants(gold: Node, answer: Node) -> bool:
    r"""Return whether two formulas are equal but for a constant that may be any number: x^2 + C, x^2 + 5 + c.

    Only a capital C of the gold is one: the c of `mx + c` was given. The constants of C_1 e^x + C_2 have any names.
    """
    for one, other in ((gold, answer), (answer, gold)):
        constants = [name for name in names_in(one) if name in _FREE_CONSTANTS or (name == _FREE and one is gold)]
        given = names_in(one) - set(constants)
        others = [name for name in names_in(other) - given if getattr(name, "name", "x")[0] not in "xyzt"]
        # Capacities are divided by, too.
        bottoms = [part.right for part in walk(one) if isinstance(part, Div)]
        if (
            len(given) != 1
            or not 0 < len(constants) == len(others) < 4
            or set(constants) & set().union(*map(names_in, bottoms))
        ):
            continue
        orders = (dict(zip(order, constants, strict=True)) for order in permutations(others))
        if any(equal_values(one, replaced(other, new)) for new in orders):
            return True
    return _equal_but_for_added(gold, answer)


def _equal_but_for_added(gold: Node, answer: Node) -> bool:
    """Return whether two antiderivatives differ by a constant: both end in + C, and nothing else holds it."""
    bare, other = _without_added(gold, _CONSTANT_NAMES), _without_added(answer, _ADDED_NAMES)
    if bare is None or other is None or names_in(bare) != names_in(other) or len(names_in(bare)) != 1:
        return False
    difference = Add(bare, Neg(other))
    (name,) = names_in(bare)
    return equal_values(difference, ZERO) or equal_values(difference, replaced(difference, {name: _SOME_POINT}))


def _without_added(node: Node, allowed: frozenset[str]) -> Node | None:
    """Return a sum without its constant; None where there isn't one, or it stands elsewhere too."""
    terms = list(_addends(node))
    constants = [term for term in terms if isinstance(term, Symbol) and term.name in allowed]
    rest = [term for term in terms if term not in constants]
    if len(constants) != 1 or not rest or constants[0] in set().union(*map(names_in, rest)):
        return None
    return reduce(Add, rest)


def _addends(node: Node) -> Iterator[Node]:
    if isinstance(node, Add):
        yield from _addends(node.left)
        yield from _addends(node.right)
    else:
        yield node
