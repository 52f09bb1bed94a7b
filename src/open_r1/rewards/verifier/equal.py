# SPDX-License-Identifier: Apache-2.0
"""Whether two answers mean the same: by what they are (letters, words, times, quantities), then by their trees.

The package's docstring holds the policy as a table. The first kind of `_RULES` that either reading is of decides; the
trees of all others are compared by structure (equations, collections, regions) and then formula by formula.
"""

import itertools
import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from fractions import Fraction
from typing import Any, TypeGuard

from open_r1.rewards.verifier.answer import (
    one_spelling,
    read_clock,
    read_letters_as_units,
    read_parts_without_labels,
)
from open_r1.rewards.verifier.budget import spend
from open_r1.rewards.verifier.families import (
    choose,
    equal_congruences,
    equal_with_constants,
    expand_plus_minus,
    shifted,
    with_same_arguments,
    with_same_names,
)
from open_r1.rewards.verifier.regions import equal_regions, listed, read_region
from open_r1.rewards.verifier.tokens import DENIALS, FUNCTIONS, TEXT_CLOSE, TEXT_OPEN
from open_r1.rewards.verifier.tree import (
    HUNDRED,
    IMAGINARY,
    ONE,
    PI,
    ZERO,
    Add,
    Bracket,
    Call,
    Choice,
    Clock,
    Combined,
    Degrees,
    Digits,
    Div,
    Formula,
    Matrix,
    Mul,
    Neg,
    Node,
    Number,
    NumberSet,
    Parts,
    PlusMinus,
    Pow,
    Quantity,
    Ratio,
    Reading,
    Relation,
    Several,
    SuchThat,
    Symbol,
    Word,
    Words,
    is_name,
    names_in,
    replaced,
    walk,
)
from open_r1.rewards.verifier.units import CURRENCIES, DEGREE, RADIAN, Unit, find_unit
from open_r1.rewards.verifier.value import FormulaError, equal_values, infinity, order_key, plain_value, proportional

_DIGITS = re.compile(r"[0-9A-Za-z]+(?:\.[0-9A-Za-z]+)?")
_NO_LETTER = re.compile(f"[,、{TEXT_OPEN}{TEXT_CLOSE}]")
# A, D and AD.
_LETTER_LIST = re.compile(rf"[A-J{TEXT_OPEN}{TEXT_CLOSE}](?:[,\s]*[A-J{TEXT_OPEN}{TEXT_CLOSE}])+")
# "Yes, it is possible", "no, they are not equal": what only says the yes or no again.
_SAID_AGAIN = (
    r"(?:it|this|that|they|he|she|there|we|you|the [a-z]+|such an? [a-z]+) "
    r"(?:is|are|was|were|does|do|did|can|could|will|would|has|have|must|exists?)"
)
_NOT_DENIED = r"(?!not|never|no|in|im|un|only|if|when|some|false|wrong)"
_EXPLAINED = {
    "yes": re.compile(rf"yes\s*[,.:;]\s*{_SAID_AGAIN}(?: {_NOT_DENIED}\w+){{0,2}}"),
    "no": re.compile(rf"no\s*[,.:;]\s*{_SAID_AGAIN}(?:n't| ?not| impossible)(?: {_NOT_DENIED}\w+){{0,2}}"),
}
# "The statement is true", "it converges"
_SUBJECT = re.compile(
    r"(?!.*\b(?:one|some|only|none|neither|either|nothing|first|second|before|after|opposite)\b)"
    r"(?:(?:[a-z]+ ){1,2}(?:is|are|was|were)|it|series|sequence|integral|sum|limit) "
)
_OPPOSITES = """left right, up down, upward downward, north south, east west, clockwise counterclockwise, above below,
increase decrease, profit loss, gain loss, toward away, inward outward, positive negative, more less"""
_OPPOSITE_WORDS = [set(pair.split()) for pair in _OPPOSITES.split(",")]
# "pounds" may be either.
_POUNDS = {find_unit("pound"), find_unit("GBP")}
# Minus the absolute zero, and the size of a degree.
_KELVINS = {
    find_unit("celsius"): (Fraction("273.15"), Fraction(1)),
    find_unit("fahrenheit"): (Fraction("459.67"), Fraction(5, 9)),
    find_unit("kelvin"): (Fraction(0), Fraction(1)),
}
_HALF_TURN = Number(Fraction(180))
_HALF_DAY = 12 * 60
_SINGLE_VALUES = (Several, Bracket, Words, Choice, Parts)
_MAX_PAIRS = 10_000
_FLIPPED = {"<": ">", ">": "<", "le": "ge", "ge": "le", "=": "=", "ne": "ne"}
# x_1 and x_2 are the roots of an equation, in any order; a_1 and a_2 are terms.
_ROOTS = frozenset(["x", "z", "t", "lambda"])


def equal_readings(gold: Reading, answer: Reading) -> tuple[bool, str]:
    """Return whether the answer is right, and the name of the rule that decided."""
    # "100,200" may be the list that "100, 200" is.
    if gold.text.replace(", ", ",") == answer.text.replace(", ", ","):
        return True, "the same text"
    words = [set(_NO_LETTER.sub(" ", reading.text).casefold().split()) for reading in (gold, answer)]
    if any(pair & words[0] and pair & words[1] and pair & words[0] != pair & words[1] for pair in _OPPOSITE_WORDS):
        return False, "opposite words"
    for kind, rule, compare in _RULES:
        if isinstance(gold.node, kind) or isinstance(answer.node, kind):
            found = compare(gold, answer)
            if found is not None:
                return found, rule
    rule = " and ".join(
        "formula" if isinstance(node, Formula) else type(node).__name__.lower() for node in (gold.node, answer.node)
    )
    return _equal_quantities(gold.node, answer.node) or _equal_otherwise_read(gold, answer), rule


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
        (short in _EXPLAINED and _EXPLAINED[short].fullmatch(long)) or _is_stated(short, long)
        for short, long in ((one, other), (other, one))
    )


def _is_stated(words: str, sentence: str) -> bool:
    """Whether a sentence says of something that it is what the words say, and nothing against it."""
    subject = _SUBJECT.match(sentence)
    if subject is None or not DENIALS.isdisjoint(sentence.split()):
        return False
    return words == one_spelling(sentence[subject.end() :])


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
    one, other = (r.node if isinstance(r.node, Clock) else read_clock(r.text, is_time=True) for r in (gold, answer))
    if one is None or other is None:
        return False
    distance = abs(one.minutes - other.minutes)
    bare = [node for node in (one, other) if not node.has_half]
    # 5:00 may be 5 p.m., 17:00 is, and 0:30 can't be.
    is_open = len(bare) == 1 and 60 <= bare[0].minutes < _HALF_DAY + 60
    return distance == 0 or (is_open and distance % _HALF_DAY == 0)


def _equal_parts(gold: Reading, answer: Reading) -> bool:
    """Compare part by part; without labels on one side in the order in which they stand."""
    sides = [reading.node.items if isinstance(reading.node, Parts) else None for reading in (gold, answer)]
    size = len(sides[0] or sides[1] or ())
    texts = [r.text.replace(TEXT_OPEN, " ").replace(TEXT_CLOSE, " ") for r in (gold, answer)]
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


_RULES: list[tuple[type[Node], str, Callable[[Reading, Reading], bool | None]]] = [
    (Choice, "choice letters", _equal_choices),
    (Parts, "parts", _equal_parts),
    (Digits, "bases", _equal_digits),
    (Words, "words", _equal_words),
    (Clock, "times", _equal_clocks),
    (Ratio, "ratios", _equal_ratios),
]


def _equal_otherwise_read(gold: Reading, answer: Reading) -> bool:
    """Compare once more where the notation may mean two things: "A, D", "12 m"."""
    if _LETTER_LIST.fullmatch(gold.text) and _LETTER_LIST.fullmatch(answer.text):
        return _equal_letters(gold.text, answer.text)
    for reading, other in ((gold, answer), (answer, gold)):
        has_unit = isinstance(other.node, Quantity) and other.node.unit is not None
        is_letter = not has_unit and any(char.isalpha() for char in other.text)
        if isinstance(reading.node, Quantity) or is_letter:
            continue
        again = read_letters_as_units(reading.text, need_space=not has_unit and reading is gold)
        if again and _equal_quantities(*((again, other.node) if reading is gold else (other.node, again))):
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
    if len(units) == 2 and units <= _KELVINS.keys():
        turned = [
            Mul(Add(side.node, Number(zero)), Number(size))
            for side in (one, other)
            for zero, size in [_KELVINS[side.unit]]
        ]
        return equal_formulas(*turned)
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


# Trees.


def equal(gold: Node, answer: Node) -> bool:
    """Return whether two trees mean the same."""
    spend(4)
    if gold == answer:
        return True
    if isinstance(gold, Number) and isinstance(answer, Relation) and answer.signs[-1] == "mod":
        # The remainder 23 is 23 mod 105.
        answer = answer.sides[-2]
    for interval, middle in ((gold, answer), (answer, gold)):
        if isinstance(interval, Bracket) and isinstance(middle, PlusMinus):
            return len(interval.items) == 2 and all(
                map(equal_values, interval.items, [choose(middle, -1), choose(middle, 1)])
            )
    gold, answer = (listed(expand_plus_minus(node)) for node in (gold, answer))
    found = equal_congruences(gold, answer)
    if found is not None:
        return found
    pair = with_same_names(gold, answer)
    if pair is None:
        return False
    # One shift for all parts of a family: below, its integer has its name already.
    shifts = [] if pair == (gold, answer) else shifted(pair[1])
    gold, answer = pair
    sides, exact = _sides_of_approximation(gold), _sides_of_approximation(answer)
    if sides != [gold] or exact != [answer]:
        # Of an answer only what it gives as exact counts: a chain of guesses must not be right for each of them.
        return any(equal(side, value) for side in sides for value in exact[:1])
    if isinstance(gold, Word) or isinstance(answer, Word):
        return isinstance(gold, Word) and isinstance(answer, Word) and gold.text.casefold() == answer.text.casefold()
    return any(_equal_families(gold, other) for other in itertools.chain([answer], shifts))


def _equal_families(gold: Node, answer: Node) -> bool:
    if _is_equation(gold) or _is_equation(answer):
        return _equal_equations(gold, answer)
    return _equal_statements(gold, answer)


def _equal_each(gold: Sequence[Node], answer: Sequence[Node]) -> bool:
    return len(gold) == len(answer) and all(map(equal, gold, answer))


# Equations.


def _is_equation(node: Node) -> TypeGuard[Relation]:
    return isinstance(node, Relation) and set(node.signs) == {"="}


def _sides_of_approximation(node: Node) -> list[Node]:
    r"""Return what stands before and behind the `\approx` of a tree; nothing where there are several.

    An approximated variable is given the value: x \approx 3 is x = 3.
    """
    if not isinstance(node, Relation) or "approx" not in node.signs:
        return [node]
    place = node.signs.index("approx") + 1
    before, behind = node.sides[:place], node.sides[place:]
    if len(behind) > 1:
        return []
    if is_name(before[-1]):
        return [Relation((*before, *behind), (*node.signs[: place - 1], "="))]
    return [before[0] if len(before) == 1 else Relation(before, node.signs[: place - 1]), behind[0]]


def _equal_equations(gold: Node, answer: Node) -> bool:
    """Compare where at least one is an equation: with another one, or with a bare value."""
    if _is_equation(gold) and _is_equation(answer):
        return _equal_two_equations(gold, with_same_arguments(gold, answer))
    if _is_equation(gold):
        value = _value_beside(gold, answer, is_gold=True)
        return value is not None and equal(value, answer)
    value = _value_beside(answer, gold, is_gold=False) if _is_equation(answer) else None
    return value is not None and equal(gold, value)


def _value_beside(equation: Relation, bare: Node, *, is_gold: bool) -> Node | None:
    """Return what an equation gives that is compared with a bare value: the list of its names, or its value."""
    spread = _spread(equation)
    return spread if isinstance(bare, (Bracket, Several)) and spread != equation else _last(equation, is_gold=is_gold)


def _equal_two_equations(gold: Relation, answer: Relation) -> bool:
    gold, answer = _turned(gold), _turned(answer)
    one, other = _last(gold), _last(answer)
    left, other_left = gold.sides[0], answer.sides[0]
    if one is not None and isinstance(left, Bracket) and _spread(answer) != answer:
        return equal(one, _spread(answer))
    if other is not None and isinstance(other_left, Bracket) and _spread(gold) != gold:
        return equal(_spread(gold), other)
    if not (names_in(gold) or names_in(answer)):
        return one is not None and other is not None and equal(one, other)
    is_same_name = is_name(left) and left == other_left
    is_same_name |= _is_function_of(left, other_left) or _is_function_of(other_left, left)
    if is_same_name and one is not None and other is not None:
        found = equal(one, other)
        # Of "y = ..." and "y = ..." the right sides decide, where y stands on neither.
        if found or (left == other_left and left not in names_in(one) | names_in(other)):
            return found
    is_plain = len(gold.sides) == len(answer.sides) == 2
    if not is_plain or not all(isinstance(side, (Formula, NumberSet)) for side in gold.sides + answer.sides):
        return _equal_each(gold.sides, answer.sides)
    # x = 3 is an answer to 2x + 1 = 7; the reverse repeats the question.
    return not _is_solved(gold) and proportional(_difference(gold), _difference(answer))


def _turned(equation: Relation) -> Relation:
    """Return "3 = x" as "x = 3"."""
    is_turned = len(equation.sides) == 2 and is_name(equation.sides[1]) and not _is_left(equation.sides[0])
    return Relation(equation.sides[::-1], equation.signs) if is_turned else equation


def _is_function_of(node: Node, other: Node) -> bool:
    """Whether one left side is f(x) and the other y, or y(x) and y."""
    if not isinstance(node, Call) or len(node.arguments) != 1 or not isinstance(node.arguments[0], Symbol):
        return False
    same = Symbol("y") if node.name in ("f", "g", "h") else Symbol(node.name)
    return node.arguments[0] != other == same


def _is_solved(node: Relation) -> bool:
    """Whether every side is a variable or a constant: x = 3, x > 3, a < x < 2a; not 2x + 1 = 7, nor y = 2x."""
    if len(node.sides) == 3 and is_name(node.sides[1]):
        return True
    is_open = any(names_in(side) and not is_name(side) for side in node.sides)
    return not is_open and not all(map(is_name, node.sides))


def _are_solved(node: Node) -> bool:
    return all(_is_solved(part) for part in walk(node) if isinstance(part, Relation))


def stated(node: Node) -> Node:
    """Return the value that an equation gives to its left side, or the tree itself."""
    return (_last(node) or node) if _is_equation(node) else node


def _last(equation: Relation, *, is_gold: bool = False) -> Node | None:
    """Return the value of "x = 3", "3 = x", "x = 6/2 = 3", "3 + 4 = 7"; None where it states none.

    An answer may repeat what was asked for, "m + n = 3"; a gold "x + y = 3" is a line.
    """
    if any(sign != "=" for sign in equation.signs):
        return None
    sides = _turned(equation).sides
    is_known = _is_measured(sides[0]) if is_gold else _is_asked_for(sides[0])
    has_left = _is_left(sides[0]) or (is_known and not any(map(names_in, sides[1:])))
    values = sides[1:] if has_left else sides
    if len(values) == 2 and len(sides) == 2 and any(map(names_in, values)):
        return None
    if not all(itertools.starmap(equal, itertools.pairwise(values))):
        return None
    value = values[-1]
    # (x, y) = (1, 2) gives a point.
    is_point = isinstance(value, Bracket) and isinstance(sides[0], Bracket)
    return replace(value, opening="<", closing=">") if is_point else value


def _is_left(node: Node) -> bool:
    r"""Whether the tree is what a value is given to: x, f(x), (x, y), A \cap B."""
    if isinstance(node, Bracket):
        return all(map(is_name, node.items))
    if isinstance(node, Combined):
        return all(isinstance(part, (Symbol, Combined)) and _is_left(part) for part in (node.left, node.right))
    return is_name(node)


def _is_measured(node: Node) -> bool:
    r"""Whether a left side can only be the name of a quantity, so that its equation is none to solve: AB, AB/CD."""
    if isinstance(node, Call) and node.name == "abs":
        node = node.arguments[0]
    if isinstance(node, Div):
        return _is_measured(node.left) and _is_measured(node.right)
    return isinstance(node, Mul) and all(
        _is_measured(part) or (isinstance(part, Symbol) and part.name.isupper()) for part in (node.left, node.right)
    )


def _is_asked_for(node: Node) -> bool:
    r"""Whether a left side of an answer that is no name may be what was asked for: AB, m + n, m - n, |a|, \sin A."""
    match node:
        case Symbol():
            return True
        case Add(left, Neg(right)) | Add(left, right):
            return _is_asked_for(left) and _is_asked_for(right)
        case Call(name, arguments) if name in FUNCTIONS or name == "abs":
            return _is_measured(node) or _is_asked_for(arguments[0])
    return _is_measured(node)


def _spread(node: Relation) -> Node:
    """Return "x = y = z = 1" as "x = 1, y = 1, z = 1"; other trees as they are."""
    names, value = node.sides[:-1], node.sides[-1]
    if len(names) < 2 or set(node.signs) != {"="} or not all(map(is_name, names)) or names_in(value):
        return node
    return Several("list", tuple(Relation((name, value), ("=",)) for name in names))


# A fraction in n fractions would grow to 2^n parts.
_MAX_SPLIT_PARTS = 2_000


def _difference(equation: Relation) -> Node:
    """Return a formula that vanishes where an equation holds: without its denominators."""
    return _split_fraction(Add(equation.sides[0], Neg(equation.sides[1])))[0]


def _split_fraction(node: Node) -> tuple[Node, Node, int]:
    """Return numerator, denominator and a bound of their parts."""
    if isinstance(node, Neg):
        top, bottom, size = _split_fraction(node.part)
        return Neg(top), bottom, size + 1
    if not isinstance(node, (Add, Mul, Div)):
        return node, ONE, 2
    (top, bottom, size), (other_top, other_bottom, other_size) = map(_split_fraction, (node.left, node.right))
    if 2 * (size + other_size) > _MAX_SPLIT_PARTS:
        return node, ONE, size + other_size
    if isinstance(node, Mul):
        return Mul(top, other_top), Mul(bottom, other_bottom), size + other_size + 2
    if isinstance(node, Div):
        return Mul(top, other_bottom), Mul(bottom, other_top), size + other_size + 2
    if bottom == other_bottom:
        return Add(top, other_top), bottom, size + other_size + 1
    crossed = Add(Mul(top, other_bottom), Mul(other_top, bottom))
    return crossed, Mul(bottom, other_bottom), 2 * (size + other_size)


# Collections.


def _equal_statements(gold: Node, answer: Node) -> bool:
    """Compare collections and regions, with the names left out that are given the same values on both sides."""
    (bare, names), (other, other_names) = _without_names(gold), _without_names(answer)
    if names and other_names:
        return names == other_names and _equal_collections(bare, other)
    if (names and _has_equations(answer)) or (other_names and _has_equations(gold)):
        # "x = 1 or y = 2x" has names of its own.
        return _equal_collections(gold, answer)
    return _equal_collections(bare, other)


def _has_equations(node: Node) -> bool:
    return isinstance(node, Several) and bool(node.items) and all(map(_is_equation, node.items))


def _without_names(node: Node) -> tuple[Node, list[Node]]:
    """Return "x = 1 or x = 2" as the set of 1 and 2, "x = 1, y = 2" as the tuple (1, 2), and the names.

    "x = 1 or y = 2" is no tuple, and a tuple is no open interval. "p = 1, q = 2; p = 3, q = 4" is a set of tuples.
    """
    if isinstance(node, Relation) and node.signs == ("in",) and isinstance(node.sides[1], Several):
        name = node.sides[0]
        if _is_left(name):
            return node.sides[1], list(name.items) if isinstance(name, Bracket) else [name]
    if not isinstance(node, Several) or not node.items:
        return node, []
    pairs = [
        (part.sides[0], part.sides[1]) for part in node.items if isinstance(part, Relation) and part.signs == ("=",)
    ]
    if len(pairs) < len(node.items) or not all(is_name(name) for name, _ in pairs):
        return node, []
    names, values = [name for name, _ in pairs], tuple(value for _, value in pairs)
    letters = {str(getattr(name, "name", "")).partition("_")[0] for name in names}
    if len(letters) == 1 and letters <= _ROOTS:
        return Several("set", values), [Symbol(*letters)]
    if len(set(names)) == 1:
        return Several("set", values), names[:1]
    size = len(set(names))
    rows = [dict(pairs[start : start + size]) for start in range(0, len(pairs), size)]
    if any(len(row) < size for row in rows) or (len(rows) == 1 and node.kind == "set"):
        return node, []
    order = sorted(rows[0], key=str)
    tuples = tuple(Bracket("<", ">", tuple(row[name] for name in order)) for row in rows)
    return (tuples[0] if len(tuples) == 1 else Several("set", tuples)), order


Collection = tuple[str, Sequence[Any]]


def _collection(node: Node) -> Collection | None:
    """Return what kind of collection a tree is and what it holds; None for a single value."""
    match node:
        case Several(kind, items):
            return ("list" if kind == "list" else "set"), items
        case Bracket("[", "]", items) if all(isinstance(item, Bracket) and item.opening == "[" for item in items):
            return "matrix", [item.items for item in items if isinstance(item, Bracket)]
        case Bracket(opening, closing, items):
            is_tuple = opening == "<" or (opening, closing) == ("(", ")") or len(items) != 2
            return ("tuple" if is_tuple else f"interval {opening}{closing}"), items
        case Combined(left, right, "cup"):
            parts = _collection(left), _collection(right)
            if parts[0] is not None and parts[1] is not None and {parts[0][0], parts[1][0]} <= {"set", "list"}:
                return "set", (*parts[0][1], *parts[1][1])
            return "cup", (left, right)
        case Combined(left, right, operator):
            return operator, (left, right)
        case Matrix(rows):
            return "matrix", rows
        case Relation(sides, signs):
            return f"relations {' '.join(signs)}", sides
        case SuchThat(element, condition):
            return "such that", (element, condition)
    return None


def _as_column(node: Node) -> Node:
    """Return a row or a column as a tuple; other trees as they are."""
    is_vector = isinstance(node, Matrix) and (len(node.rows) == 1 or all(len(row) == 1 for row in node.rows))
    return Bracket("<", ">", sum(node.rows, ())) if isinstance(node, Matrix) and is_vector else node


def _equal_collections(gold: Node, answer: Node) -> bool:
    """Compare sets, lists, tuples, matrices, regions and single formulas."""
    gold, answer = _as_column(gold), _as_column(answer)
    found = _equal_as_regions(gold, answer)
    if found is not None:
        return found
    one, other = _collection(gold), _collection(answer)
    if one is None and other is None:
        return equal_formulas(gold, answer)
    if one is None or other is None:
        kind, items = one or other or ("", ())
        vector = _as_vector(gold if one is None else answer, len(items)) if kind == "tuple" else None
        if vector is not None:
            return _equal_each(*((vector, items) if one is None else (items, vector)))
        # The same value in several spellings is one value.
        pairs = [(gold, item) if one is None else (item, answer) for item in items] if kind == "set" else []
        return bool(pairs) and all(itertools.starmap(equal, pairs))
    # {(1, 2)} against (1, 2).
    if one[0] == "set" and len(one[1]) == 1 and other[0] not in ("set", "list"):
        return equal(one[1][0], answer)
    if other[0] == "set" and len(other[1]) == 1 and one[0] not in ("set", "list"):
        return equal(gold, other[1][0])
    return _equal_items(one, other)


def _as_vector(node: Node, size: int) -> list[Node] | None:
    """Return the coordinates of 3i - 2j + k; None where the tree is no sum of i, j and k."""
    axes: list[Node] = [IMAGINARY, Symbol("j"), Symbol("k")]
    known = {part for part in walk(node) if part in axes}
    if not known & {*axes[1:]} or size > len(axes):
        return None
    if size < len(axes) and axes[2] in known:
        return None
    found: list[Node] = []
    for axis in axes[:size]:
        part = replaced(node, {name: ONE if name == axis else ZERO for name in known})
        value = plain_value(part)
        found.append(part if value is None else Number(value))
    return found


def _equal_items(gold: Collection, answer: Collection) -> bool:
    kinds = {gold[0], answer[0]}
    if kinds == {"list"} and len(gold[1]) != len(answer[1]):
        return False
    if kinds <= {"set", "list"} or (len(kinds) == 1 and gold[0] in ("cup", "cap")):
        return _equal_sets(gold[1], answer[1])
    if len(gold[1]) != len(answer[1]) or not (len(kinds) == 1 or kinds == {"tuple", "list"}):
        return False
    if gold[0] == "matrix":
        entries = zip(gold[1], answer[1], strict=True)
        return all(_equal_each(row, other) for row, other in entries)
    return _equal_each(gold[1], answer[1])


def _equal_sets(gold: Sequence[Node], answer: Sequence[Node]) -> bool:
    """Return whether every element of each has an equal in the other."""
    if not gold or not answer or set(gold) == set(answer):
        return set(gold) == set(answer)
    if len(gold) * len(answer) > _MAX_PAIRS:
        return False
    table = [[equal(one, other) for other in answer] for one in gold]
    return all(any(line) for line in [*table, *zip(*table, strict=True)])


# Regions and inequalities.


def _equal_as_regions(gold: Node, answer: Node) -> bool | None:
    """Compare intervals and inequalities; None where they are something else."""
    if isinstance(gold, Bracket) and isinstance(answer, Bracket) and len(gold.items) == len(answer.items):
        is_tuple = "<" in (gold.opening, answer.opening)
        if not is_tuple and (gold.opening, gold.closing) != (answer.opening, answer.closing):
            return False
        return _equal_each(gold.items, answer.items)
    try:
        regions = read_region(gold), read_region(answer)
        if regions[0] is not None and regions[1] is not None:
            return (_are_solved(answer) or not _are_solved(gold)) and equal_regions(regions[0], regions[1])
    except FormulaError:
        return False
    if isinstance(gold, Relation) and isinstance(answer, Relation):
        return _equal_inequalities(gold, answer)
    return None


def _equal_inequalities(gold: Relation, answer: Relation) -> bool:
    """Compare two inequalities up to moved terms and a constant factor, which turns the sign where it's negative."""
    pair = [(node.signs[0], Add(node.sides[0], Neg(node.sides[1]))) for node in (gold, answer)]
    if any(len(node.signs) != 1 or node.signs[0] not in _FLIPPED for node in (gold, answer)):
        return False
    (sign, difference), (other_sign, other) = pair
    if (_is_solved(gold) and not _is_solved(answer)) or not proportional(difference, other):
        return False
    ratio = Div(difference, other)
    names = sorted(names_in(ratio), key=str)
    ratio = replaced(ratio, {name: Number(Fraction(17 + 12 * place, 7)) for place, name in enumerate(names)})
    try:
        is_positive = order_key(ratio) > 0
    except FormulaError:
        return False
    return sign == (other_sign if is_positive else _FLIPPED[other_sign])


# Formulas.


def equal_formulas(gold: Node, answer: Node) -> bool:
    """Compare two formulas, infinities or sets of numbers."""
    infinities = infinity(gold), infinity(answer)
    if infinities != (0, 0):
        return infinities[0] == infinities[1]
    if isinstance(gold, NumberSet) or isinstance(answer, NumberSet):
        return gold == answer
    pairs = [(gold, answer)]
    if isinstance(gold, Degrees) != isinstance(answer, Degrees):
        # 90 degrees are 90, and pi/2.
        bare = [node.part if isinstance(node, Degrees) else node for node in (gold, answer)]
        pairs.insert(0, (bare[0], bare[1]))
    return any(itertools.starmap(_equal_values, pairs))


def _equal_values(gold: Node, answer: Node) -> bool:
    if isinstance(gold.part if isinstance(gold, Neg) else gold, Number) and any(map(_is_undone, walk(answer))):
        return False
    try:
        if equal_values(gold, answer):
            return True
        if names_in(gold) and names_in(answer):
            return equal_with_constants(gold, answer)
    except FormulaError:
        pass
    return False


def _is_undone(node: Node) -> bool:
    """Whether arithmetic was left to do: 123 * 456, 2^3 * 7 and 536 - 859, but not 1.2 * 10^3 nor 2^{127} - 1."""
    if not isinstance(node, (Add, Mul)):
        return False
    sides = [side.part if isinstance(side, Neg) else side for side in (node.left, node.right)]
    if isinstance(node, Mul):
        sides = [side.left if isinstance(side, Pow) else side for side in sides]
        return all(isinstance(side, Number) and side.value != 10 for side in sides)
    return all(isinstance(side, Number) for side in sides)
