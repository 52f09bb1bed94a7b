# SPDX-License-Identifier: Apache-2.0
"""Compares two readings by what they are: choice letters, words, bases, times, parts, ratios, quantities.

The package's docstring holds the policy as a table. The first kind of `_RULES` that either reading is of decides.
"""

import itertools
import re
from collections.abc import Callable
from fractions import Fraction

from open_r1.rewards.verifier.answer import (
    read_as_clock,
    read_as_list,
    read_letters_as_units,
    read_parts_without_labels,
)
from open_r1.rewards.verifier.structures import equal, equal_formulas, stated
from open_r1.rewards.verifier.tokens import TEXT_CLOSE, TEXT_OPEN
from open_r1.rewards.verifier.tree import (
    HUNDRED,
    ONE,
    PI,
    ZERO,
    Bracket,
    Choice,
    Clock,
    Combined,
    Degrees,
    Digits,
    Div,
    Matrix,
    Mul,
    Node,
    Number,
    NumberSet,
    Parts,
    Quantity,
    Ratio,
    Reading,
    Relation,
    Several,
    SuchThat,
    Symbol,
    Words,
)
from open_r1.rewards.verifier.units import CURRENCIES, DEGREE, RADIAN, Unit, find_unit
from open_r1.rewards.verifier.value import FormulaError, plain_value

_DIGITS = re.compile(r"[0-9A-Za-z]+(?:\.[0-9A-Za-z]+)?")
_NO_LETTER = re.compile(f"[,、{TEXT_OPEN}{TEXT_CLOSE}]")
# A, D and AD.
_LETTER_LIST = re.compile(rf"[A-J{TEXT_OPEN}{TEXT_CLOSE}](?:[,\s]*[A-J{TEXT_OPEN}{TEXT_CLOSE}])+")
# "Yes, it is possible", "no, they are not equal": what only says the yes or no again.
_SAID_AGAIN = (
    r"(?:it|this|that|they|he|she|there|we|you) "
    r"(?:is|are|was|were|does|do|did|can|could|will|would|has|have|must|exists?)"
)
_NOT_DENIED = r"(?!not|never|no|in|im|un|only|if|when|some|false|wrong)"
_EXPLAINED = {
    "yes": re.compile(rf"yes\s*[,.:;]\s*{_SAID_AGAIN}(?: {_NOT_DENIED}\w+){{0,2}}"),
    "no": re.compile(rf"no\s*[,.:;]\s*{_SAID_AGAIN}(?:n't| ?not| impossible)(?: {_NOT_DENIED}\w+){{0,2}}"),
}
# "pounds" may be either.
_POUNDS = {find_unit("pound"), find_unit("GBP")}
_HALF_TURN = Number(Fraction(180))
_HALF_DAY = 12 * 60
_SINGLE_VALUES = (Several, Bracket, Words, Choice, Parts)


def equal_readings(gold: Reading, answer: Reading) -> tuple[bool, str]:
    """Return whether the answer is right, and the name of the rule that decided."""
    if gold.text == answer.text:
        return True, "the same text"
    for kind, rule, compare in _RULES:
        if isinstance(gold.node, kind) or isinstance(answer.node, kind):
            found = compare(gold, answer)
            if found is not None:
                return found, rule
    if _equal_quantities(gold.node, answer.node):
        return True, _kinds(gold.node, answer.node)
    return _equal_otherwise_read(gold, answer), _kinds(gold.node, answer.node)


def _kinds(gold: Node, answer: Node) -> str:
    """Return what was compared: "formula and formula", "equation and list"."""
    return " and ".join(_KIND_NAMES.get(type(node), "formula") for node in (gold, answer))


def _is_right(gold: Reading, answer: Reading) -> bool:
    return equal_readings(gold, answer)[0]


def _equal_choices(gold: Reading, answer: Reading) -> bool | None:
    """Compare where either is a choice letter; None where both may be formulas too."""
    if isinstance(gold.node, Choice) and isinstance(answer.node, Choice):
        return gold.node.letter == answer.node.letter
    choice, other = (gold.node, answer) if isinstance(gold.node, Choice) else (answer.node, gold)
    if not isinstance(choice, Choice):
        return None
    # A small letter alone is a choice as an answer; as a gold it is a variable.
    if choice is gold.node and other.text.upper() == choice.letter:
        return True
    if choice.behind is not None:
        return _is_right(choice.behind, other) if choice is gold.node else _is_right(other, choice.behind)
    is_formula = not isinstance(other.node, (Words, Digits, Clock, Ratio, Parts, Quantity, Degrees))
    return None if choice.is_variable and is_formula else False


def _equal_words(gold: Reading, answer: Reading) -> bool:
    if _LETTER_LIST.fullmatch(gold.text) and _LETTER_LIST.fullmatch(answer.text):
        return _equal_letters(gold.text, answer.text)
    if not isinstance(gold.node, Words) or not isinstance(answer.node, Words):
        # "xyz" is read as a word and "x y z" as a product, "ABD" as a word and "A, B, D" as a list.
        return _letters(gold.text) == _letters(answer.text)
    one, other = gold.node.text, answer.node.text
    if one == other:
        return True
    return any(
        short in _EXPLAINED and _EXPLAINED[short].fullmatch(long) for short, long in ((one, other), (other, one))
    )


def _equal_letters(gold: str, answer: str) -> bool:
    """Return whether A, B, D and ABD are the same letters; without commas on both sides their order counts."""
    one, other = _letters(gold), _letters(answer)
    return sorted(one) == sorted(other) if "," in gold + answer else one == other


def _letters(text: str) -> str:
    return "".join(_NO_LETTER.sub(" ", text).split())


def _equal_digits(gold: Reading, answer: Reading) -> bool:
    if isinstance(gold.node, Digits) and isinstance(answer.node, Digits):
        return gold.node == answer.node
    based, other = (gold.node, answer) if isinstance(gold.node, Digits) else (answer.node, gold)
    text = "".join(_NO_LETTER.sub("", other.text).split())
    return isinstance(based, Digits) and bool(_DIGITS.fullmatch(text)) and _spell(text) == based.digits


def _spell(digits: str) -> str:
    return (digits.lstrip("0") or "0").upper()


def _equal_clocks(gold: Reading, answer: Reading) -> bool:
    one, other = (side.node if isinstance(side.node, Clock) else read_as_clock(side.text) for side in (gold, answer))
    if one is None or other is None:
        return "".join(gold.text.split()) == "".join(answer.text.split())
    distance = abs(one.minutes - other.minutes)
    bare = [node for node in (one, other) if not node.has_half]
    # 5:00 may be 5 p.m., 17:00 is, and 0:30 can't be.
    is_open = len(bare) == 1 and 60 <= bare[0].minutes < _HALF_DAY + 60
    return distance == 0 or (is_open and distance % _HALF_DAY == 0)


def _equal_parts(gold: Reading, answer: Reading) -> bool:
    """Compare part by part; without labels on one side in the order in which they stand."""
    sides = [reading.node.items if isinstance(reading.node, Parts) else None for reading in (gold, answer)]
    size = len(sides[0] or sides[1] or ())
    texts = [
        _NO_LETTER.sub(lambda found: found.group() if found.group() == "," else " ", r.text) for r in (gold, answer)
    ]
    one, other = (side or read_parts_without_labels(text, size) for side, text in zip(sides, texts, strict=True))
    if one is None or other is None or len(one) != len(other):
        return False
    return all(map(_is_right, one, other))


def _equal_ratios(gold: Reading, answer: Reading) -> bool:
    one, other = _as_ratio(gold.node), _as_ratio(answer.node)
    if one is None or other is None or len(one.parts) != len(other.parts):
        return False
    if one.names and other.names and one.names != other.names:
        return False
    if [equal(part, ZERO) for part in one.parts] != [equal(part, ZERO) for part in other.parts]:
        return False
    return all(
        equal(Mul(one.parts[first], other.parts[second]), Mul(one.parts[second], other.parts[first]))
        for first, second in itertools.combinations(range(len(one.parts)), 2)
    )


def _as_ratio(node: Node) -> Ratio | None:
    """Return 3/4 as 3:4; a list or a quantity is no ratio."""
    if isinstance(node, Ratio):
        return node
    if isinstance(node, Relation) and node.signs == ("=",) and isinstance(node.sides[0], Div):
        return Ratio((node.sides[1], ONE), (node.sides[0].left, node.sides[0].right))
    if isinstance(node, (Quantity, *_SINGLE_VALUES)):
        return None
    return Ratio((node, ONE))


_KIND_NAMES: dict[type[Node], str] = {
    Quantity: "quantity",
    Relation: "equation",
    Several: "list",
    Bracket: "tuple",
    Combined: "union",
    Matrix: "matrix",
    SuchThat: "set",
    NumberSet: "set",
}
_RULES: list[tuple[type[Node], str, Callable[[Reading, Reading], bool | None]]] = [
    (Choice, "choice letters", _equal_choices),
    (Parts, "parts", _equal_parts),
    (Digits, "bases", _equal_digits),
    (Words, "words", _equal_words),
    (Clock, "times", _equal_clocks),
    (Ratio, "ratios", _equal_ratios),
]


def _equal_otherwise_read(gold: Reading, answer: Reading) -> bool:
    """Compare once more where the notation may mean two things: "100,200", "12 m"."""
    if _LETTER_LIST.fullmatch(gold.text) and _LETTER_LIST.fullmatch(answer.text):
        return _equal_letters(gold.text, answer.text)
    for reading, other in ((gold, answer), (answer, gold)):
        as_list = read_as_list(reading.text) if isinstance(other.node, (Several, Bracket)) else None
        has_unit = isinstance(other.node, Quantity) and other.node.unit is not None
        as_unit = None
        is_letter = not has_unit and any(char.isalpha() for char in other.text)
        if not isinstance(reading.node, Quantity) and not is_letter:
            as_unit = read_letters_as_units(reading.text, need_space=not has_unit and reading is gold)
        for again in filter(None, (as_list, as_unit)):
            if _equal_quantities(*((again, other.node) if reading is gold else (other.node, again))):
                return True
    return False


def _equal_quantities(gold: Node, answer: Node) -> bool:
    """Return whether two quantities are the same; a unit or percent sign on one side only is read past."""
    gold, answer = _variable(gold), _variable(answer)
    one, other = (node if isinstance(node, Quantity) else Quantity(node) for node in (gold, answer))
    if one.is_percent != other.is_percent:
        return one.unit is None and other.unit is None and _equal_with_one_percent(one, other)
    units = {one.unit, other.unit}
    if units in ({DEGREE, None}, {DEGREE, RADIAN}):
        turned = [_in_radians(node) if node.unit == DEGREE else node.node for node in (one, other)]
        return (RADIAN not in units and equal(one.node, other.node)) or equal(*turned)
    if one.unit is None or other.unit is None or units == _POUNDS or one.unit == other.unit:
        return equal(one.node, other.node)
    if one.unit.dimensions != other.unit.dimensions:
        return _is_rate_beside_price(one.unit, other.unit) and equal(one.node, other.node)
    if one.unit.factor == other.unit.factor:
        return equal(one.node, other.node)
    return equal_formulas(*(Mul(stated(node.node), Number(node.unit.factor)) for node in (one, other) if node.unit))


def _is_rate_beside_price(one: Unit, other: Unit) -> bool:
    """Whether one is $ per day, where the other is $."""
    short, long = sorted((one.dimensions, other.dimensions), key=len)
    extra = set(long) - set(short)
    return len(short) == 1 and short[0][0] in CURRENCIES and set(short) < set(long) and all(p < 0 for _, p in extra)


def _variable(node: Node) -> Node:
    return Symbol(node.letter) if isinstance(node, Choice) else node


def _in_radians(quantity: Quantity) -> Node:
    return Div(Mul(stated(quantity.node), PI), _HALF_TURN)


def _equal_with_one_percent(gold: Quantity, answer: Quantity) -> bool:
    one, other = (Div(side.node, HUNDRED) if side.is_percent else side.node for side in (gold, answer))
    if equal(one, other):
        return True
    return (gold.is_percent or not _is_proportion(gold.node)) and equal(gold.node, answer.node)


def _is_proportion(node: Node) -> bool:
    """Whether a bare value may have a magnitude of at most 1: of variables and roots nothing is known here."""
    try:
        value = plain_value(node)
    except FormulaError:
        return False
    return value is None or abs(value) <= 1
