# SPDX-License-Identifier: Apache-2.0
r"""Notation that has no value here and is compared as it is written: AB \perp CD, 1+2+\cdots+n, \mathbb{Z}_{12}."""

import re

from open_r1.rewards.verifier.tokens import TEXT_CLOSE, TEXT_OPEN

_MARKED_ELEMENT = rf"{TEXT_OPEN}\s?[A-Z][a-z]?\s?{TEXT_CLOSE}"
_NOTATION = re.compile(
    r"\\(?:perp|parallel|subseteq|supseteq|supset|cong|nmid|aleph|mathcal|mathscr|mathfrak)(?![a-zA-Z])"
    r"|(?:[+*-]|\\cdot|\\times)\s?\\[lc]?dots(?![a-zA-Z])|\\[lc]?dots\s?(?:[+*-]|\\cdot|\\times)"
    r"|\\mathbb\s?\{?[A-Z]\}?\s?_\s?\{?\s?[0-9a-z]"
    rf"|\^\s?\{{?\s?{TEXT_OPEN}(?:st|nd|rd|th){TEXT_CLOSE}"
    rf"|^(?:{_MARKED_ELEMENT}\s?(?:_\s?\{{?[0-9]+\}}?\s?)?)+$"
    r"|^[A-Za-z0-9 ^]+\\mid[A-Za-z0-9 ^]+$"
)
# An operator at an end leaves a text unfinished.
_OPEN_END = re.compile(r"[+*/=<>^_({\[-]$|^[*/=<>^_)}\]]")
_SAME_DOTS = re.compile(r"\\(?:[lc]?dots[bc]?)(?![a-zA-Z])")
_SINGLE_GROUP = re.compile(r"\{([A-Za-z0-9])\}")
_IGNORED = re.compile(rf"[\s{TEXT_OPEN}{TEXT_CLOSE}]+")


def read_notation(normal: str) -> str | None:
    r"""Return one spelling of a normalised text in such a notation, or None for other texts.

    >>> read_notation(r"AB \perp CD"), read_notation("1 + 2 + \\cdots + n"), read_notation("x + 1")
    ('AB\\perpCD', '1+2+\\dots+n', None)
    """
    if not _NOTATION.search(normal) or "\\begin" in normal:
        return None
    compact = _SINGLE_GROUP.sub(r"\1", _IGNORED.sub("", _SAME_DOTS.sub(r"\\dots", normal)))
    is_balanced = all(compact.count(one) == compact.count(other) for one, other in ("{}", "()"))
    return compact if is_balanced and not _OPEN_END.search(compact) else None
