# SPDX-License-Identifier: Apache-2.0
r"""Tells formulas that a computer algebra system must not see: their value or their parse would take minutes.

A single operation on huge integers can't be interrupted from within its process, so these limits come before any
timeout. They are estimates from the text: numeric towers, exponents, factorials, digits, nesting and plain length.
Real answers stay far below; `2^{2024}`, `(n+1)!` and `e^{x^2}` pass.
"""

import re
from collections import Counter
from math import prod

MAX_FORMULA_CHARS = 1_500
MAX_NESTING = 20
MAX_DIGITS_IN_A_ROW = 1_000
MAX_EXPONENT = 10_000
MAX_FACTORIAL = 200

# The grammar's time doubles with each bare brace around nothing but another.
_STACKED_BRACKETS = re.compile(r"(?:[{(\[]\s*){7}")
_DIGITS = re.compile(rf"[0-9]{{{MAX_DIGITS_IN_A_ROW + 1}}}")
_POWER = r"(?:\^|\*\*)"
_EXPONENT = re.compile(rf"{_POWER}[\s{{(+-]*([0-9]+)")
_EXPONENT_OF_GROUP = re.compile(rf"[)}}]\s*{_POWER}[\s{{(+-]*([0-9]+)")
_EXPONENT_OPENING = re.compile(rf"{_POWER}\s*[{{(]")
_PLAIN_TOWER = re.compile(rf"{_POWER}[\s+-]*[0-9]+\s*{_POWER}")
_GROWING = re.compile(r"\^|\*|!|\\cdot|\\times")
_COMMAND = re.compile(r"\\[a-zA-Z]+")
_FACTORIAL = re.compile(r"([0-9]+)\s*!")
_SYMBOLIC_FACTORIAL = re.compile(r"\(\s*[0-9]{0,2}[a-zA-Z]\s*(?:[+-]\s*[0-9]{1,3}\s*)?\)\s*!")
_NESTED_FACTORIAL = re.compile(r"![\s})]*!|[0-9!][\s})]*[})]\s*!")
_BINOMIAL = re.compile(r"\\[dt]?binom\s*\{?\s*[0-9]{5}")


def is_too_large(text: str) -> bool:
    """Whether the formula is over one of the limits.

    >>> is_too_large("x^{2} + 2^{2024}"), is_too_large("9^{9^{9}}"), is_too_large("(9^9)!"), is_too_large("{" * 100)
    (False, True, True, True)
    """
    return (
        len(text) > MAX_FORMULA_CHARS
        or _DIGITS.search(text) is not None
        or _STACKED_BRACKETS.search(text) is not None
        or _nesting(text) > MAX_NESTING
        or _has_large_power(text)
        or _has_large_factorial(text)
    )


def _nesting(text: str) -> int:
    depth = deepest = 0
    for char in text:
        if char in "{([":
            depth += 1
            deepest = max(deepest, depth)
        elif char in "})]":
            depth -= 1
    return deepest


def _has_large_power(text: str) -> bool:
    if _PLAIN_TOWER.search(text) or any(_is_numeric_tower(group) for group in _exponent_groups(text)):
        return True
    exponents = Counter(int(digits) for digits in _EXPONENT.findall(text))
    # (9^{9999})^{9999}: powers of groups multiply, powers beside each other don't.
    of_groups = Counter(int(digits) for digits in _EXPONENT_OF_GROUP.findall(text))
    nested = prod(max(exponent, 1) for exponent in of_groups.elements()) * max(exponents - of_groups, default=1)
    return max(exponents, default=0) > MAX_EXPONENT or nested > MAX_EXPONENT


def _exponent_groups(text: str) -> list[str]:
    """Return what stands between the braces or brackets of every exponent."""
    groups = []
    for opening in _EXPONENT_OPENING.finditer(text):
        depth = 1
        for end in range(opening.end(), len(text)):
            depth += (text[end] in "{(") - (text[end] in "})")
            if depth == 0:
                break
        groups.append(text[opening.end() : end] if opening.end() < len(text) else "")
    return groups


def _is_numeric_tower(exponent: str) -> bool:
    """Whether an exponent grows by itself and holds no variable that would keep it symbolic."""
    has_variable = re.search(r"[a-zA-Z]", _COMMAND.sub("", exponent)) is not None
    return not has_variable and _GROWING.search(exponent) is not None


def _has_large_factorial(text: str) -> bool:
    text = _SYMBOLIC_FACTORIAL.sub("n!", text)
    factorial = max((int(digits) for digits in _FACTORIAL.findall(text)), default=0)
    return factorial > MAX_FACTORIAL or any(pattern.search(text) for pattern in (_NESTED_FACTORIAL, _BINOMIAL))
