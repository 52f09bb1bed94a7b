# SPDX-License-Identifier: Apache-2.0
r"""Compares a gold and an answer exactly, without a computer algebra system, where that is possible.

`exact_match` says True or False for equal strings, numbers (integers and decimals of any length, fractions) and choice
letters, and None for everything else: units, percentages, roots, sets, formulas are left to math-verify.
Numbers are compared as they stand: 0.333 is not 1/3.
"""

import re
from fractions import Fraction

_SPELLINGS = (("\u2212", "-"), ("{,}", ","), (r"\dfrac", r"\frac"), (r"\tfrac", r"\frac"), (r"\$", ""))
_DELIMITERS = (("$$", "$$"), ("$", "$"), (r"\(", r"\)"), (r"\[", r"\]"))
_SPACING = re.compile(r"\\[,;:!> ]|~|\\q?quad\b|\\(?:displaystyle|left|right)(?![a-zA-Z])")
_TEXT = re.compile(r"\\(?:text|textbf|textrm|textit|mathrm|mathbf|mbox)\s*\{([^{}\\]*)\}")
_SPACE_BESIDE_SYMBOL = re.compile(r"(?<![A-Za-z0-9.,])\s+|(?<!,)\s+(?![A-Za-z0-9.])")
# "1,2" is a list and "1,234" a number; a list is written with a space after its commas here, a number never.
_LIST_COMMA = re.compile(r",(?!\s|\d{3}(?!\d))")

_DECIMAL = re.compile(r"([+-]?)(\d{1,3}(?:,\d{3})+|\d*)(?:\.(\d*))?")
_FRACTION = re.compile(r"([+-]?)\\frac(?:\{([+-]?\d+)\}|(\d))\s?(?:\{([+-]?\d+)\}|(\d))|([+-]?\d+)/([+-]?\d+)")
_CHOICE = re.compile(r"\(?([A-J])\)?[.:]?")
_CHOICE_WITH_TEXT = re.compile(r"(?:\(([A-J])\)|([A-J])[.):])\s*\S")
_WORD = re.compile(r"yes|no|[A-Za-z][A-Za-z' ]{3,}", re.IGNORECASE)

# int() of longer strings is refused by Python (4,300 digits) or slow.
MAX_FRACTION_DIGITS = 2_000


def exact_match(gold: str, answer: str) -> bool | None:
    r"""Return whether the two are equal, or None where only algebra can tell.

    >>> exact_match("1,234", "1234.0"), exact_match("0.5", r"\dfrac{1}{2}"), exact_match("1/3", "0.333")
    (True, True, False)
    >>> exact_match("B", r"\textbf{(B)}"), exact_match("B", "(C) 12"), exact_match(r"2\sqrt{3}", r"\sqrt{12}")
    (True, False, None)
    """
    gold, answer = normalize(gold), normalize(answer)
    if gold and gold == answer:
        return True
    gold_number, answer_number = _parse_number(gold), _parse_number(answer)
    if gold_number is not None and answer_number is not None:
        return gold_number == answer_number
    gold_choice = _CHOICE.fullmatch(gold)
    if gold_choice:
        return _match_choice(gold_choice.group(1), answer)
    if _WORD.fullmatch(gold) and _WORD.fullmatch(answer):
        # NOTE: to a LaTeX parser a word is a product of letters, in which their order is lost.
        return gold.casefold() == answer.casefold()
    return None


def normalize(text: str) -> str:
    r"""Return the text without math delimiters, spacing commands, text wrappers and a final period.

    >>> normalize(r"$\left( 1,\, \dfrac{1}{2} \right)$."), normalize(r"\text{ Yes }"), normalize("1{,}234")
    ('(1, \\frac{1}{2})', 'Yes', '1,234')
    """
    text = strip_delimiters(text)
    for written, meant in _SPELLINGS:
        text = text.replace(written, meant)
    text = _TEXT.sub(r" \1 ", _SPACING.sub(" ", text))
    text = _SPACE_BESIDE_SYMBOL.sub("", _LIST_COMMA.sub(", ", " ".join(text.split())))
    return strip_delimiters(text)


def strip_delimiters(text: str) -> str:
    """Return the text without a final period and without delimiters around the whole of it."""
    text = text.strip()
    if text.endswith(".") and not text.endswith(".."):
        text = text[:-1].rstrip()
    for opening, closing in _DELIMITERS:
        inner = text[len(opening) : len(text) - len(closing)]
        if text.startswith(opening) and text.endswith(closing) and inner and opening not in inner:
            return strip_delimiters(inner)
    return text


def _parse_number(text: str) -> Fraction | str | None:
    """Return the exact value of a plain number: a Fraction, or a canonical decimal where it is too long for one."""
    decimal = _DECIMAL.fullmatch(text)
    if decimal and (decimal.group(2) or decimal.group(3)):
        sign, whole, tail = decimal.groups(default="")
        digits, tail = whole.replace(",", "").lstrip("0") or "0", tail.rstrip("0")
        sign = "-" if sign == "-" and (digits != "0" or tail) else ""
        canonical = f"{sign}{digits}.{tail or '0'}"
        return canonical if len(canonical) > MAX_FRACTION_DIGITS else Fraction(canonical)
    fraction = _FRACTION.fullmatch(text)
    if fraction is None or len(text) > MAX_FRACTION_DIGITS:
        return None
    sign, top, top_digit, bottom, bottom_digit, top_plain, bottom_plain = fraction.groups(default="")
    numerator = int(f"{top or top_digit or top_plain}")
    denominator = int(f"{bottom or bottom_digit or bottom_plain}")
    if denominator == 0:
        return None
    return Fraction(-numerator if sign == "-" else numerator, denominator)


def _match_choice(gold: str, answer: str) -> bool | None:
    """Return whether the answer chooses the letter: "B", "(B)", "B.", "(B) 12"; None when it names no choice."""
    choice = _CHOICE.fullmatch(answer.upper() if len(answer) > 1 else answer)
    if choice is None:
        choice = _CHOICE_WITH_TEXT.match(answer)
    return None if choice is None else gold == next(letter for letter in choice.groups() if letter)
