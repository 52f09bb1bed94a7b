# SPDX-License-Identifier: Apache-2.0
"""Splits the tokens of an answer into its formula and its unit, percent sign or currency."""

import re
from collections.abc import Iterator
from fractions import Fraction
from functools import reduce

from open_r1.rewards.verifier.grammar import parse, parse_number
from open_r1.rewards.verifier.tokens import (
    DENIALS,
    LOOSENING_WORDS,
    OPERATIONS,
    POINT_WORDS,
    RELATIONS,
    Token,
    UnreadableError,
)
from open_r1.rewards.verifier.tree import Mul, Node, Number, Quantity
from open_r1.rewards.verifier.units import DEGREE, NO_UNIT, Unit, find_unit

_CURRENCIES = frozenset("$\u00a3\u20ac\u00a5\u20b9\u00a2")
_CURRENCY_PREFIXES = frozenset(["US", "USD", "EUR", "GBP", "Rs"])
_SCALES = {"dozen": 12, "hundred": 100, "thousand": 10**3, "million": 10**6, "billion": 10**9, "trillion": 10**12}
_POWER_WORDS = {"square": 2, "squared": 2, "sq": 2, "cubic": 3, "cubed": 3, "cu": 3}
_CASES = frozenset(["for", "where", "if", "when", "otherwise", "else", "but"])
# A product of more units would have factors without end.
_MAX_UNIT_TOKENS = 60
# Between tokens stands a space: "^ { - 2 }".
_EXPONENT = re.compile(r"\^ (?:\{ (?:(-) )?([0-9]) \}|(?:(-) )?([0-9]))(?= |$)")
_PERCENT_WORDS = frozenset(["percent", "percentage", "pct"])


def read_quantity(tokens: list[Token], *, unit_letters: str = "") -> Node:
    """Return the formula that the tokens hold, as a `Quantity` where a unit or percent sign stands with it.

    `unit_letters` says which single letters behind a number are units: none, "spaced" ones, or "any".

    Raises:
        UnreadableError: They hold no formula, or what stands behind it is no unit.
    """
    tokens = _with_roman_variables(_spell_out(_without_explanation(_with_labels(_without_noun(tokens)))))
    compound = _read_compound(tokens)
    if compound is not None:
        return compound
    tokens, currency = _strip_currency(tokens)
    tokens, is_percent = _strip_percent(tokens)
    tokens, degree = _strip_degree(tokens)
    start = _unit_start(tokens, unit_letters)
    _check_nouns(tokens[start:])
    unit, scale = _read_unit(tokens[start:])
    node = parse(tokens[:start])
    if scale != 1:
        node = Number(node.value * scale) if isinstance(node, Number) else Mul(node, Number(Fraction(scale)))
    units = [found for found in (currency, degree, unit) if found is not None]
    return Quantity(node, reduce(Unit.times, units) if units else None, is_percent) if units or is_percent else node


def _without_noun(tokens: list[Token]) -> list[Token]:
    """Return "the point (1, 2)" without its words."""
    start = 0
    while start < len(tokens) and tokens[start].kind == "word" and tokens[start].text.casefold() in POINT_WORDS:
        start += 1
    return tokens[start:]


def _with_labels(tokens: list[Token]) -> list[Token]:
    r"""Return the words before an equals sign as one name: `\text{Total cost} = 12`."""
    found: list[Token] = []
    words: list[Token] = []
    for token in tokens:
        if token.kind == "word":
            words.append(token)
            continue
        is_label = token.text == "=" and words and (not found or found[-1].text in (",", ";", "land", "lor"))
        name = " ".join(word.text.casefold() for word in words)
        found += [Token("letter", name, words[0].is_spaced)] if is_label else words
        found.append(token)
        words = []
    return found + words


def _without_explanation(tokens: list[Token]) -> list[Token]:
    """Return what stands before "where k is an integer"."""
    for place, token in _outside_of_rows(tokens):
        if place and token.kind == "word" and token.text in ("for", "where"):
            # "5 for n = 1, 6 for n = 2" gives two values.
            rest = tokens[place + 1 :]
            has_cases = any(other.kind == "word" and other.text in _CASES for other in rest)
            if token.text == "for" and any(other.text == "=" for other in rest):
                # "2 for n = 1" is no answer for all n.
                return tokens
            return tokens if has_cases else _without_comma(tokens[:place])
    return tokens


def _without_comma(tokens: list[Token]) -> list[Token]:
    return tokens[:-1] if tokens[-1].text in (",", ";") else tokens


def _outside_of_rows(tokens: list[Token]) -> Iterator[tuple[int, Token]]:
    """Return the tokens, with their places, that stand in no matrix and no system."""
    depth = 0
    for place, token in enumerate(tokens):
        if token.kind == "command":
            depth += token.text.startswith("begin:") - token.text.startswith("end:")
        if depth == 0:
            yield place, token


def _spell_out(tokens: list[Token]) -> list[Token]:
    """Return "2k (k in Z)" as "2k, k in Z"."""
    if len(tokens) < 6 or not (tokens[-1].kind == "sign" and tokens[-1].text == ")"):
        return tokens
    depth, has_relation = 0, False
    for place in range(len(tokens) - 1, 0, -1):
        token = tokens[place]
        if token.kind in ("sign", "command"):
            depth += (token.text in (")", "]", "}", "set}")) - (token.text in ("(", "[", "{", "set{"))
            has_relation |= depth == 1 and token.text in RELATIONS
        if depth == 0:
            # f(x = 2) holds no domain.
            if place == 1 or token.text != "(" or not has_relation:
                return tokens
            return [*tokens[:place], Token("sign", ",", False), *tokens[place + 1 : -1]]
    return tokens


def _with_roman_variables(tokens: list[Token]) -> list[Token]:
    r"""Return the tokens with the \mathrm{m} of "1 < m < 2" as a variable: no unit stands there alone."""
    ends = ["=", *(token.text if token.kind in ("sign", "command") else "" for token in tokens), "="]
    if not RELATIONS.intersection(ends[1:-1]):
        return tokens
    return [
        Token("letter", token.text, token.is_spaced)
        if token.kind == "word" and len(token.text) == 1 and ends[place] in RELATIONS and ends[place + 2] in RELATIONS
        else token
        for place, token in enumerate(tokens)
    ]


def _check_nouns(tokens: list[Token]) -> None:
    """Refuse words that take back or loosen the number before them: "5 is wrong", "5 at most"."""
    words = [token.text.casefold() for token in tokens if token.kind == "word"]
    if words and (words[0] in LOOSENING_WORDS or not (DENIALS | OPERATIONS).isdisjoint(words)):
        raise UnreadableError("words that are no noun")


def _read_compound(tokens: list[Token]) -> Quantity | None:
    """Read a sum of quantities such as "5 hours 30 minutes"; None where it is none."""
    parts = [token for token in tokens if token.text not in ("land", ",")]
    if len(parts) < 4 or [token.kind for token in parts] != ["number", "word"] * (len(parts) // 2):
        return None
    units = [find_unit(token.text) for token in parts[1::2]]
    first = units[0]
    sizes = [unit.factor for unit in units if unit is not None and first and unit.dimensions == first.dimensions]
    # "5 cm, 3 cm" is a list: a sum goes from large units to small ones.
    if first is None or len(sizes) < len(units) or sizes != sorted(set(sizes), reverse=True):
        return None
    total = sum(parse_number(token.text) * size for token, size in zip(parts[::2], sizes, strict=True))
    return Quantity(Number(Fraction(total)), Unit(first.dimensions, Fraction(1)))


def _strip_currency(tokens: list[Token]) -> tuple[list[Token], Unit | None]:
    """Return the tokens without a currency sign before or behind the number, and its unit."""
    place = 1 if tokens and tokens[0].text in ("-", "+") else 0
    if place < len(tokens) and tokens[place].text in _CURRENCY_PREFIXES:
        unit = find_unit(tokens[place].text)
        tokens = tokens[:place] + tokens[place + 1 :]
        if tokens[place:] and tokens[place].text == ".":
            tokens = tokens[:place] + tokens[place + 1 :]
        if place == len(tokens) or tokens[place].text not in _CURRENCIES:
            return tokens, unit
    for where in (place, len(tokens) - 1):
        if 0 <= where < len(tokens) and len(tokens) > 1 and tokens[where].text in _CURRENCIES:
            return tokens[:where] + tokens[where + 1 :], find_unit(tokens[where].text)
    return tokens, None


def _strip_percent(tokens: list[Token]) -> tuple[list[Token], bool]:
    if len(tokens) > 1 and tokens[-1].text == "%" and all(token.text not in (",", "lor", "land") for token in tokens):
        return tokens[:-1], True
    for place, token in enumerate(tokens):
        if place and token.kind == "word" and token.text.casefold() in _PERCENT_WORDS:
            return tokens[:place] + tokens[place + 1 :], True
    return tokens, False


def _strip_degree(tokens: list[Token]) -> tuple[list[Token], Unit | None]:
    r"""Return the tokens without a degree sign at their end (`90^\circ`, `20^\circ C`), and its unit."""
    scale = ""
    body = tokens
    if body and body[-1].text in ("C", "F") and body[-1].kind in ("letter", "word"):
        scale, body = body[-1].text, body[:-1]
    texts = [token.text for token in body[-4:]]
    size = 0
    if texts == ["^", "{", "circ", "}"]:
        size = 4
    elif texts[-2:] == ["^", "circ"]:
        size = 2
    elif texts[-1:] == ["degree"] and body[-1].kind == "command":
        size = 1
    behind_equals = max((place for place, token in enumerate(body) if token.text == "="), default=-1) + 1
    is_single = size and len(body) > size + behind_equals and _is_plain_number(body[behind_equals:-size])
    if not is_single:
        return tokens, None
    return body[:-size], find_unit(f"\u00b0{scale}") if scale else DEGREE


def _is_plain_number(tokens: list[Token]) -> bool:
    r"""Whether the tokens are no function or list, whose last part alone the degree sign would belong to."""
    return all(
        token.kind == "number" or token.text in ("-", "+", "frac", "{", "}", "(", ")", "/", ".") for token in tokens
    )


def _unit_start(tokens: list[Token], unit_letters: str) -> int:
    """Return where the unit begins: at the first word behind a value."""
    for place, token in _outside_of_rows(tokens):
        if place == 0:
            continue
        if token.kind == "word":
            is_bracketed = place > 1 and tokens[place - 1].text == "(" and tokens[-1].text == ")"
            return place - 1 if is_bracketed and tokens[place - 2].kind == "number" else place
        is_behind_value = tokens[place - 1].kind == "number" or tokens[place - 1].text in (")", "}")
        is_letter = token.kind == "letter" and (
            unit_letters == "any" or (unit_letters == "spaced" and token.is_spaced)
        )
        if is_letter and is_behind_value and find_unit(token.text):
            return place
    return len(tokens)


def _read_unit(tokens: list[Token]) -> tuple[Unit | None, int]:
    """Return the unit that the tokens name, None where they name none, and a number word's factor."""
    if len(tokens) > _MAX_UNIT_TOKENS:
        raise UnreadableError("too many words behind a number")
    unit, scale, sign, power_of_next = NO_UNIT, 1, 1, 1
    previous: Unit | None = None
    place = 0
    while place < len(tokens):
        token = tokens[place]
        place += 1
        name = token.text
        if (token.kind == "sign" and name == "/") or (token.kind == "word" and name == "per"):
            sign, previous = -1, None
        elif token.kind == "word" and name.casefold().rstrip("s") in _SCALES:
            scale *= _SCALES[name.casefold().rstrip("s")]
        elif token.kind == "word" and name.casefold() in _POWER_WORDS:
            power = _POWER_WORDS[name.casefold()]
            if previous is not None and name.casefold().endswith("d"):
                unit = unit.times(previous, sign * (power - 1))
            else:
                power_of_next = power
        elif token.kind in ("word", "letter"):
            previous = find_unit(name)
            power, place = _read_exponent(tokens, place)
            if previous is not None:
                unit = unit.times(previous, sign * power * power_of_next)
            elif token.kind == "letter":
                raise UnreadableError(f"{name!r} is no unit")
            power_of_next = 1
        elif token.text not in ("*", "(", ")"):
            raise UnreadableError(f"{name!r} behind a unit")
    return (None if unit == NO_UNIT else unit), scale


def _read_exponent(tokens: list[Token], place: int) -> tuple[int, int]:
    found = _EXPONENT.match(" ".join(token.text for token in tokens[place : place + 5]))
    return (int("".join(filter(None, found.groups()))), place + len(found.group().split())) if found else (1, place)
