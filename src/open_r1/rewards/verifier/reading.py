# SPDX-License-Identifier: Apache-2.0
r"""Reads an answer as what it is: a choice letter, words, digits in a base, a ratio, or a formula with its unit."""

import re
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import lru_cache

from open_r1.rewards.verifier.cursor import Node, parse_number
from open_r1.rewards.verifier.formula import parse
from open_r1.rewards.verifier.normalization import TEXT_CLOSE, TEXT_OPEN, normalize
from open_r1.rewards.verifier.notation import read_notation
from open_r1.rewards.verifier.plain_numbers import is_plain_number
from open_r1.rewards.verifier.quantities import Quantity, split_quantity
from open_r1.rewards.verifier.tokens import MAX_FORMULA_CHARS, Token, UnreadableError, tokenize
from open_r1.rewards.verifier.vocabulary import PLAIN_COMMANDS, TWO_LETTER_WORDS

_MARKS = re.compile(f"[{TEXT_OPEN}{TEXT_CLOSE}]")
_MARK_BEFORE_SIGN = re.compile(rf"{TEXT_CLOSE}(?=[).:])")
_ARTICLE = re.compile(r"(?:an?|the) (?=[^\W\d_]{3})")
_CHOICE_WORD = r"(?:(?:option|choice|answer)\s*)?"
_CHOICE = re.compile(rf"{_CHOICE_WORD}(?:\(\s*([A-Z])\s*\)|([A-Z])\s*[).:]?)", re.IGNORECASE)
# "a:b" and "A:B" are ratios.
_CHOICE_WITH_TEXT = re.compile(
    r"(?:\(([A-Z])\)|([A-Z])(?:[).]|(?-i:(?<=[A-Z]):)(?!\s*[A-Z]\s*(?::|$))))\s*(\S.*)", re.IGNORECASE | re.DOTALL
)
_CHOICES = frozenset("ABCDEFGHIJ")
_CHOICE_LETTER = r"(?:\([A-J]\)|[A-J](?![A-Za-z])[).:]?)"
_CHOICE_LIST = re.compile(rf"{_CHOICE_LETTER}(?:[\s,;/&]+(?:(?:or|and)\s*)?{_CHOICE_LETTER})+")
# What follows a letter that isn't the text of its choice: "or (C)", "12 (C) 13", "is wrong".
_OTHER_CHOICE = re.compile(
    r"(?:or|and|,|;|/|&)(?![A-Za-z])|(?:.*[^A-Za-z(])?(?:\([A-J]\)|[A-J][).:])|[A-J]$"
    r"|(?i:(?:(?:is|was)\s)?(?:not|isn't|wrong|incorrect|false|maybe|perhaps|possibly)\b)",
    re.DOTALL,
)
_BASE = re.compile(
    r"\(?([0-9A-Za-z]+(?:\.[0-9A-Za-z]+)?)\)?\s*(?:_\s*\{?\s*\(?\s*([0-9]{1,2}|[a-z]+)\s*\)?\s*\}?"
    r"|\(?\s*(?:in )?base[\s-]*\{?([0-9]{1,2}|[a-z]+)\}?\)?)"
)
_BASE_NAMES = {"two": 2, "three": 3, "four": 4, "five": 5, "six": 6, "seven": 7, "eight": 8, "nine": 9, "ten": 10}
_BASE_NAMES |= {"twelve": 12, "sixteen": 16, "binary": 2, "octal": 8, "hex": 16, "bin": 2, "oct": 8, "dec": 10}
_PREFIXED = re.compile(r"0([bxo])([0-9A-Fa-f]+)")
_CLOCK = re.compile(r"([01]?[0-9]|2[0-4]):([0-5][0-9])(?:\s*([ap])\.?m\.?)?", re.IGNORECASE)

_WORDS = re.compile(r"[^\W\d_]+(?:[\s,.'’!?:-]+[^\W\d_]+)*[\s.!?]*")
_LETTERS = re.compile(r"[^\W\d_]+")
_PROSE = re.compile(r"[\w\s,.'’!?:;()&-]+")
_SAME_WORDS = {
    "no solutions": "no solution",
    "there is no solution": "no solution",
    "there are no solutions": "no solution",
    "has no solution": "no solution",
    "empty set": "no solution",
    "\u65e0\u89e3": "no solution",
    "\u7121\u89e3": "no solution",
    "no real solution": "no solution",
    "no real solutions": "no solution",
    "there is no real solution": "no solution",
    "there are no real solutions": "no solution",
    "dne": "does not exist",
    "not defined": "undefined",
}
_NAMED: dict[str, Node] = {
    **dict.fromkeys(
        ["all real numbers", "all reals", "real numbers", "any real number", "every real number", "all real values"],
        ("constant", "set:R"),
    ),
    "all integers": ("constant", "set:Z"),
    **dict.fromkeys(["positive infinity", "plus infinity"], ("constant", "oo")),
    **dict.fromkeys(["negative infinity", "minus infinity"], ("neg", ("constant", "oo"))),
}
# What can still be compared with a power in well under a second.
MAX_NUMBER_CHARS = 200_000
_MAX_SPELLED_CHARS = 2_000_000
_DIGIT_RUNS = re.compile(r"\d+")


@dataclass(frozen=True)
class Reading:
    """An answer as it was understood; the first of these that is set counts.

    Attributes:
        text: The normalised text.
        words: Words in one spelling.
        digits: Digits and their base, such as ("101", 2).
        clock: A time of the day or a ratio of two numbers that looks like one.
        ratio: The parts of a ratio.
        quantity: A formula with its unit.
        choice: A choice letter, beside what else was read.
        behind_choice: What follows the letter, as in "B. 12".
    """

    text: str
    words: str | None = None
    digits: tuple[str, int] | None = None
    clock: str | None = None
    ratio: tuple[Node, ...] | None = None
    quantity: Quantity | None = None
    choice: str | None = None
    behind_choice: "Reading | None" = None


def read(text: str) -> Reading:
    r"""Return what an answer says.

    >>> read("101_2").digits, read(r"\text{(B)}").choice, read(r"\text{Tuesday}.").words
    (('101', 2), 'B', 'tuesday')

    Raises:
        UnreadableError: It says nothing that could be compared.
    """
    return _read(text) if len(text) <= MAX_FORMULA_CHARS else _read_long(normalize_long(text))


def normalize_long(text: str) -> str:
    """Return a text that is too long for a formula normalised where it may still be a number, else as it is."""
    if len(text) <= MAX_FORMULA_CHARS:
        return text
    text = text.strip()
    is_number = len(text) <= _MAX_SPELLED_CHARS and 3 * sum(map(len, _DIGIT_RUNS.findall(text))) >= len(text)
    return normalize(text) if is_number or len(text) <= MAX_FORMULA_CHARS else text


def _read_long(normal: str) -> Reading:
    """Read a text that is longer than a formula may be: only a plain number, whose other side may be a power."""
    if len(normal) <= MAX_FORMULA_CHARS:
        return _read(normal)
    if len(normal) > MAX_NUMBER_CHARS or not is_plain_number(normal):
        raise UnreadableError("too long")
    value = parse_number(normal.replace(",", "").strip("+-. "))
    return Reading(normal, quantity=Quantity(("number", -value if normal.startswith("-") else value)))


@lru_cache(maxsize=4_096)
def _read(text: str) -> Reading:
    normal = normalize(text)
    plain = " ".join(_MARKS.sub(" ", _MARK_BEFORE_SIGN.sub("", normal)).split()).strip("* ")
    if not plain:
        raise UnreadableError("blank")
    choice = _CHOICE.fullmatch(plain)
    letter = next((group for group in choice.groups() if group), "").upper() if choice else ""
    if letter in _CHOICES and letter and (len(plain) > 1 or plain.isupper()):
        quantity = Quantity(("symbol", plain)) if len(plain) == 1 and plain not in "EI" else None
        return Reading(normal, choice=letter, quantity=quantity, words=None if quantity else f"choice {letter}")
    if _CHOICE_LIST.fullmatch(plain) and ("(" in plain or ")" in plain):
        symbols = tuple(("symbol", letter) for letter in re.findall(r"\b[A-J]\b", plain))
        return Reading(normal, quantity=Quantity(("list", symbols)))
    with_text = _CHOICE_WITH_TEXT.fullmatch(plain)
    if (
        with_text
        and not _OTHER_CHOICE.match(with_text.group(3))
        and (with_text.group(1) or with_text.group(2)).upper() in _CHOICES
    ):
        found = _read_behind_choice(normal, with_text)
        if found is not None:
            return found
    return _read_value(normal, plain)


def _read_behind_choice(normal: str, found: re.Match[str]) -> Reading | None:
    letter = (found.group(1) or found.group(2)).upper()
    try:
        behind = read(found.group(3))
    except UnreadableError:
        behind = None
    # "(a) x" may be the product of a and x.
    is_product = (
        found.group(1) is not None and behind is not None and behind.words is None and found.group(1).islower()
    )
    return None if is_product else Reading(normal, words=f"choice {letter}", choice=letter, behind_choice=behind)


def _read_value(normal: str, plain: str) -> Reading:
    digits = _read_digits(plain)
    if digits is not None:
        return Reading(normal, digits=digits)
    if plain == "{}":
        return Reading(normal, quantity=Quantity(("set", ())))
    words = _read_words(normal, plain)
    if words in _NAMED:
        return Reading(normal, quantity=Quantity(_NAMED[words]))
    if words == "no solution":
        return Reading(normal, quantity=Quantity(("set", ())))
    words = read_notation(normal) if words is None else words
    if words is not None:
        return Reading(normal, words=words)
    try:
        return _read_formula(normal, plain)
    except UnreadableError:
        if _PROSE.fullmatch(plain) and any(len(run) >= 3 for run in _LETTERS.findall(plain)):
            return Reading(normal, words=_one_spelling(plain))
        raise


def _read_formula(normal: str, plain: str) -> Reading:
    clock = _CLOCK.fullmatch(plain)
    if clock is not None and (clock.group(3) or _is_clock(int(clock.group(1)), int(clock.group(2)))):
        suffix = f" {clock.group(3).lower()}m" if clock.group(3) else ""
        return Reading(normal, clock=f"{int(clock.group(1))}:{clock.group(2)}{suffix}")
    tokens = tokenize(normal)
    parts = _split_ratio(tokens)
    if len(parts) > 1:
        return Reading(normal, ratio=tuple(parse(part) for part in parts))
    return Reading(normal, quantity=split_quantity(tokens))


@lru_cache(maxsize=1_024)
def read_letters_as_units(text: str, *, need_space: bool) -> Reading | None:
    """Return the reading in which a letter behind a number is a unit ("12 m"), or None without one."""
    try:
        tokens = tokenize(normalize(text))
        quantity = split_quantity(tokens, unit_letters="spaced" if need_space else "any")
    except UnreadableError:
        return None
    return Reading(text, quantity=quantity) if quantity.unit is not None else None


def read_as_list(reading: Reading) -> Reading | None:
    """Return the reading of "100,200" as a list of two numbers, or None where that can't be."""
    if not re.fullmatch(r"-?[0-9]{1,3}(?:,[0-9]{3})+", reading.text):
        return None
    items = tuple(("number", Fraction(part)) for part in reading.text.lstrip("-").split(","))
    first = ("neg", items[0]) if reading.text.startswith("-") else items[0]
    return replace(reading, quantity=Quantity(("list", (first, *items[1:]))))


def _is_clock(hours: int, minutes: int) -> bool:
    """Whether h:mm is read as a time: a ratio would be in its lowest terms and without a leading zero."""
    return minutes < 10 or hours == 0 or Fraction(hours, minutes).numerator != hours


def _read_digits(plain: str) -> tuple[str, int] | None:
    compact = plain.replace(" ", "") if "_" in plain else plain
    found = _BASE.fullmatch(compact)
    if found:
        base = found.group(2) or found.group(3)
        number = _BASE_NAMES.get(base) if base.isalpha() else int(base)
        if number is not None and 2 <= number <= 36 and _has_base(found.group(1), number):
            return found.group(1).lstrip("0").upper() or "0", number
    found = _PREFIXED.fullmatch(plain)
    if found:
        return found.group(2).lstrip("0").upper() or "0", {"b": 2, "o": 8, "x": 16}[found.group(1)]
    return None


def _has_base(digits: str, base: int) -> bool:
    """Whether the digits may be of the base; x_2 and 3x_2 are variables."""
    return not digits.isalpha() and all(int(digit, 36) < base for digit in digits if digit != ".")


def _read_words(normal: str, plain: str) -> str | None:
    """Return plain words in one spelling, or None where the text is a formula."""
    if not _WORDS.fullmatch(plain):
        return None
    runs = _LETTERS.findall(plain)
    is_word = [len(run) >= 3 or run.casefold() in TWO_LETTER_WORDS or not run.isascii() for run in runs]
    is_function = [run in PLAIN_COMMANDS or run.casefold() in ("infinity", "or", "and") for run in runs]
    has_word = any(word and not function for word, function in zip(is_word, is_function, strict=True))
    is_marked = TEXT_OPEN in normal and not any(is_function)
    return _one_spelling(plain) if has_word or is_marked else None


def _one_spelling(plain: str) -> str:
    words = " ".join(plain.casefold().replace("\u2019", "'").split()).strip(" .!?,;:")
    words = _ARTICLE.sub("", words)
    return _SAME_WORDS.get(words, words)


def _split_ratio(tokens: list[Token]) -> list[list[Token]]:
    """Return the parts between colons outside of brackets."""
    parts: list[list[Token]] = [[]]
    depth = 0
    for token in tokens:
        if token.kind in ("sign", "command"):
            depth += (token.text in ("(", "[", "{", "set{")) - (token.text in (")", "]", "}", "set}"))
            if token.text == ":" and depth == 0:
                parts.append([])
                continue
        parts[-1].append(token)
    return parts
