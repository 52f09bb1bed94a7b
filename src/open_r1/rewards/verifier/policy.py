# SPDX-License-Identifier: Apache-2.0
"""Compares two readings: choice letters, words, bases, times, ratios, percent and units; see the package's table."""

import re
from fractions import Fraction

from open_r1.rewards.verifier.comparison import Comparer
from open_r1.rewards.verifier.cursor import Node
from open_r1.rewards.verifier.exact import NoValueError, TooLargeError, UndefinedError, plain_value
from open_r1.rewards.verifier.normalization import TEXT_CLOSE, TEXT_OPEN
from open_r1.rewards.verifier.quantities import DEGREE, RADIAN, Quantity
from open_r1.rewards.verifier.reading import Reading, read_as_list, read_letters_as_units
from open_r1.rewards.verifier.units import find_unit

_JOINTS = re.compile(r"\s*(?:,|;|\band\b|\bor\b)\s*(?:\band\b\s*|\bor\b\s*)?")
_DIGITS = re.compile(r"[0-9A-Za-z]+(?:\.[0-9A-Za-z]+)?")
_NO_LETTER = re.compile(f"[,{TEXT_OPEN}{TEXT_CLOSE}]")
_HUNDRED: Node = ("number", Fraction(100))
# "pounds" may be either.
_POUNDS = {find_unit("pound"), find_unit("GBP")}
_HALF_TURN: Node = ("number", Fraction(180))


def equal_readings(gold: Reading, answer: Reading, comparer: Comparer) -> bool | None:
    """Return whether the answer is right, or None where only algebra can tell."""
    if gold.text == answer.text:
        return True
    if gold.choice or answer.choice:
        found = _equal_choices(gold, answer, comparer)
        if found is not None or (gold.quantity is None or answer.quantity is None):
            return found
    if gold.words is not None or answer.words is not None:
        return _equal_words(gold, answer)
    if gold.digits is not None or answer.digits is not None:
        return _equal_digits(gold, answer)
    if gold.clock is not None or answer.clock is not None:
        return _equal_clocks(gold, answer)
    if gold.ratio is not None or answer.ratio is not None:
        return _equal_ratios(gold, answer, comparer)
    if gold.quantity is None or answer.quantity is None:
        return False
    found = equal_quantities(gold.quantity, answer.quantity, comparer)
    return _other_readings(gold, answer, comparer) if found is False else found


def _equal_choices(gold: Reading, answer: Reading, comparer: Comparer) -> bool | None:
    """Compare where either is a choice letter; None where both may be formulas too."""
    if gold.choice and answer.choice:
        return gold.choice == answer.choice
    chosen, other = (gold, answer) if gold.choice else (answer, gold)
    # A small letter alone is a choice as an answer; as a gold it is a variable.
    if gold.choice and other.text.upper() == chosen.choice:
        return True
    if chosen.behind_choice is not None:
        pair = (chosen.behind_choice, other) if gold.choice else (other, chosen.behind_choice)
        return bool(equal_readings(*pair, comparer))
    if chosen.quantity is None or other.quantity is None:
        return False
    is_bare = other.quantity.unit is None and not other.quantity.is_percent and other.quantity.node[0] != "degrees"
    return None if is_bare else False


def _equal_words(gold: Reading, answer: Reading) -> bool:
    if gold.words is None or answer.words is None:
        worded, other = (gold, answer) if gold.words is not None else (answer, gold)
        # "xyz" is read as a word and "x y z" as a product, "ABD" as a word and "A, B, D" as a list.
        return _letters(worded.text) == _letters(other.text)
    if gold.words == answer.words:
        return True
    parts = [sorted(filter(None, _JOINTS.split(words))) for words in (gold.words, answer.words)]
    return len(parts[0]) > 1 and parts[0] == parts[1]


def _letters(text: str) -> str:
    return "".join(_NO_LETTER.sub(" ", text).split())


def _equal_digits(gold: Reading, answer: Reading) -> bool:
    if gold.digits is not None and answer.digits is not None:
        return gold.digits == answer.digits
    based, other = (gold, answer) if gold.digits is not None else (answer, gold)
    text = "".join(other.text.split()).replace(",", "")
    if based.digits is None or not _DIGITS.fullmatch(text):
        return False
    return (text.lstrip("0") or "0").upper() == based.digits[0]


def _equal_clocks(gold: Reading, answer: Reading) -> bool:
    one, other = ((reading.clock or "".join(reading.text.split())).split() for reading in (gold, answer))
    shared = min(len(one), len(other))
    return one[:shared] == other[:shared] if shared else False


def _equal_ratios(gold: Reading, answer: Reading, comparer: Comparer) -> bool | None:
    sides = []
    for reading in (gold, answer):
        if reading.ratio is not None:
            sides.append(reading.ratio)
        elif reading.quantity is not None and reading.quantity.unit is None and not reading.quantity.is_percent:
            sides.append((reading.quantity.node, ("number", Fraction(1))))
    if len(sides) < 2 or len(sides[0]) != len(sides[1]):
        return False
    one, other = sides
    if gold.ratio is None or answer.ratio is None:
        return comparer.equal(("div", one[0], one[1]), ("div", other[0], other[1]))
    return comparer.all(
        comparer.equal(("mul", one[0], other[place]), ("mul", one[place], other[0])) for place in range(1, len(one))
    )


def _other_readings(gold: Reading, answer: Reading, comparer: Comparer) -> bool | None:
    """Compare once more where the notation may mean two things: "100,200", "12 m"."""
    verdicts: list[bool | None] = [False]
    for place, (reading, other) in enumerate(((gold, answer), (answer, gold))):
        if reading.quantity is None or other.quantity is None:
            continue
        as_list = read_as_list(reading) if other.quantity.node[0] in ("list", "set", "both", "bracket") else None
        has_letters = any(char.isalpha() for char in other.text)
        as_unit = None
        if reading.quantity.unit is None and not (has_letters and other.quantity.unit is None):
            need_space = other.quantity.unit is None and reading is gold
            as_unit = read_letters_as_units(reading.text, need_space=need_space)
        for again in (as_list, as_unit):
            if again is not None and again.quantity is not None:
                pair = (again.quantity, other.quantity) if place == 0 else (other.quantity, again.quantity)
                verdicts.append(equal_quantities(*pair, comparer))
    return comparer.any(verdicts)


def equal_quantities(gold: Quantity, answer: Quantity, comparer: Comparer) -> bool | None:
    """Return whether two quantities are the same; a unit or percent sign on one side only is read past."""
    if gold.is_percent != answer.is_percent:
        if gold.unit is not None or answer.unit is not None:
            return False
        return _equal_with_one_percent(gold, answer, comparer)
    nodes = gold.node, answer.node
    if gold.unit is None and answer.unit is None:
        return comparer.equal(*nodes)
    units = {gold.unit, answer.unit}
    if units == {DEGREE, None} or units == {DEGREE, RADIAN}:
        in_radians = [
            _in_radians(quantity.node) if quantity.unit == DEGREE else quantity.node for quantity in (gold, answer)
        ]
        verdicts = [] if RADIAN in units else [comparer.equal(*nodes)]
        return comparer.any([*verdicts, *_equal_values(in_radians, comparer)])
    if gold.unit is None or answer.unit is None:
        return comparer.equal(*nodes)
    if {gold.unit, answer.unit} == _POUNDS:
        return comparer.equal(*nodes)
    if gold.unit.dimensions != answer.unit.dimensions:
        return False
    if gold.unit.factor == answer.unit.factor:
        return comparer.equal(*nodes)
    bare = comparer.stated(gold.node), comparer.stated(answer.node)
    factors = ("number", gold.unit.factor), ("number", answer.unit.factor)
    scaled = [("mul", node, factor) for node, factor in zip(bare, factors, strict=True)]
    return comparer.any(_equal_values(scaled, comparer))


def _in_radians(node: Node) -> Node:
    return ("div", ("mul", node, ("constant", "pi")), _HALF_TURN)


def _equal_values(nodes: list[Node], comparer: Comparer) -> list[bool | None]:
    """Compare two scaled formulas; a list or an equation has no scaled value."""
    return [comparer.equal_single(*nodes)]


def _equal_with_one_percent(gold: Quantity, answer: Quantity, comparer: Comparer) -> bool | None:
    values = [
        ("div", quantity.node, _HUNDRED) if quantity.is_percent else quantity.node for quantity in (gold, answer)
    ]
    verdicts = [comparer.equal(*values)]
    if gold.is_percent or not _is_proportion(gold.node):
        verdicts.append(comparer.equal(gold.node, answer.node))
    return comparer.any(verdicts)


def _is_proportion(node: Node) -> bool:
    """Whether a bare value may have a magnitude of at most 1: of variables and roots nothing is known here."""
    try:
        value = plain_value(node)
    except (TooLargeError, UndefinedError, NoValueError):
        return False
    return value is None or abs(value) <= 1
