# SPDX-License-Identifier: Apache-2.0
"""What a word of a text is: as upstream has it, or behind case, Unicode, markdown, punctuation and LaTeX spacing.

    none      lower case, split at white space: `normalize_string` of Open R1 and s1
    default   runs of letters, runs of digits, LaTeX commands; a Chinese or Japanese character alone is a word.
              `$x\\,\\le\\,\\dfrac{1}{2}$`, `x ≤ ½` and `x <= 1/2` are all [x, 1, 2]

This is the reference, text by text; `hashing.py` does the same to a million words at a time, and a test holds them
together. Both read a *folded* text: ASCII mostly as it stands, all else brought to ASCII as far as that goes.

Numbers are written without separators of thousands: `1,000` and `1{,}000` are 1000.

Formatting commands, operators and relations are no words, since they have too many spellings. `operators` returns
them, for where they alone tell two problems apart (`7+9-8`, `7-9+8`).
"""

import re
import unicodedata
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

from open_r1.curation.decontamination.commands import ALIASES, IGNORED, OPERATORS, SYMBOLS

NormalizationName = Literal["none", "default"]

_WORD = re.compile(r"\S+")
_TOKEN = re.compile(r"\\?[a-z\x80-\U0010ffff]+|[0-9]+")
# What must be folded in one piece: a run of superscripts (10⁻¹² is 10^-12), a character with its combining marks.
_SUPERSCRIPTS = re.compile(r"[⁰¹²³⁴-⁹⁺⁻⁼⁽⁾ⁿⁱ]+")
_CLUSTER = re.compile(
    r"[⁰¹²³⁴-⁹⁺⁻⁼⁽⁾ⁿⁱ]+|.[\u0300-\u036f\u0483-\u0487\u0591-\u05bd\u064b-\u0652\u3099\u309a]*", re.DOTALL
)
# Not behind a bracket: (242,735) is a pair; nor behind the sign of a superscript, which is there when it is folded.
_THOUSANDS = re.compile(r"(?<![0-9.,(\[{^])[0-9]{1,3}(?:(?:,|\{,\}|\\,|,?\\!)[0-9]{3})+(?![0-9])")
_NOT_ASCII = re.compile(r"[^\x00-\x7f]+")
_MAY_HAVE_THOUSANDS = re.compile(r"[,}!][0-9]{3}")
_NO_DIGITS = re.compile(r"[^0-9]+")
_GREEK = re.compile(r"GREEK (?:SMALL|CAPITAL) LETTER (?:FINAL )?([A-Z]+)( SYMBOL)?$")
_ALONE = ("CJK UNIFIED", "CJK COMPATIBILITY IDEOGRAPH", "HIRAGANA", "KATAKANA", "THAI", "LAO", "KHMER", "MYANMAR")


@dataclass(frozen=True)
class Token:
    """A word as it is compared, and where it stands in the folded text, in characters."""

    key: str
    start: int
    end: int


def normalize_string(text: str) -> str:
    """Return the text in lower case, with single spaces for white space.

    >>> normalize_string("  Find\\n the  VALUE ")
    'find the value'
    """
    return " ".join(text.lower().split())


def word_ngrams(text: str, n: int) -> list[str]:
    """Return the n-grams of a text's words, each joined by a space; none if the text has fewer than n words.

    >>> word_ngrams("a b c", 2)
    ['a b', 'b c']
    """
    words = text.split()
    return [" ".join(words[start : start + n]) for start in range(len(words) - n + 1)]


def fold(text: str, normalization: NormalizationName) -> str:
    """Return the text that words are read from; ASCII without separators of thousands is returned as it is."""
    if normalization == "none":
        return text if text.isascii() else normalize_string(text)
    if _MAY_HAVE_THOUSANDS.search(text):
        text = _THOUSANDS.sub(lambda match: _NO_DIGITS.sub("", match[0]), text)
    return text if text.isascii() else _fold_unicode(text)


def _fold_unicode(text: str) -> str:
    text = unicodedata.normalize("NFC", text)
    if _SUPERSCRIPTS.search(text):
        text = _SUPERSCRIPTS.sub(_lower_superscripts, text)
    return _NOT_ASCII.sub(lambda match: match[0].translate(_FOLDED), text).lower()


def tokens(folded: str, normalization: NormalizationName) -> list[Token]:
    """Return the words of a folded text."""
    if folded.isascii():
        folded = folded.lower()
    if normalization == "none":
        return [Token(match[0], match.start(), match.end()) for match in _WORD.finditer(folded)]
    found = []
    for match in _TOKEN.finditer(folded):
        key = match[0]
        if key[0] == "\\":
            name = ALIASES.get(key[1:], key[1:])
            if name in IGNORED:
                continue
            key = "\\" + name
        found.append(Token(key, match.start(), match.end()))
    return found


def count_words(folded: str, normalization: NormalizationName) -> int:
    """Return how many words a folded text has."""
    if normalization == "none":
        return len(folded.split())
    names = _TOKEN.findall(folded.lower() if folded.isascii() else folded)
    return len(names) - sum(name[0] == "\\" and ALIASES.get(name[1:], name[1:]) in IGNORED for name in names)


def original_tokens(text: str, normalization: NormalizationName) -> list[Token]:
    """Return the words of a text with their places in the text as it is, before folding."""
    is_plain = normalization == "none" or not _THOUSANDS.search(text)
    if text.isascii() and is_plain:
        return tokens(text, normalization)
    if normalization == "none":
        return [Token(match[0].lower(), match.start(), match.end()) for match in _WORD.finditer(text)]
    pieces, places = [], []
    numbers = [match.span() for match in _THOUSANDS.finditer(text)]
    separators = {place for span in numbers for place in range(*span) if not text[place].isdigit()}
    for match in _CLUSTER.finditer(text):
        if match.start() in separators:
            continue
        piece = match[0].lower() if match[0].isascii() else _fold_unicode(match[0])
        pieces.append(piece)
        places.extend([(match.start(), match.end())] * len(piece))
    return [
        Token(token.key, places[token.start][0], places[token.end - 1][1])
        for token in tokens("".join(pieces), normalization)
    ]


@lru_cache(maxsize=100_000)
def is_word(key: str) -> bool:
    """Return whether a token is prose: two letters or more, and no command; no letter of a formula, no number."""
    return len(key.encode()) > 1 and key[0] != "\\" and not key.isdigit()


def operators(folded: str) -> list[str]:
    """Return the operators and relations of a folded text in their order, whatever their spelling.

    >>> operators(r"\\(2 \\le \\frac{x}{2} - 1\\)") == operators("$2 <= x/2-1$") == ["<=", "/", "-"]
    True
    """
    return [OPERATORS.get(match[0], match[0]) for match in _OPERATOR.finditer(_NO_OPERATORS.sub(" ", folded.lower()))]


# Delimiters of mathematics, markdown's emphasis and headings, hyphens between words, grouping and spacing.
_NO_OPERATORS = re.compile(
    r"\\[()\[\]]|\*\*+|__+|(?<!\S)\*(?=\S)|(?<=\S)\*(?!\S)|(?<=[a-z]{2})-(?=[a-z]{2})|[{}$]|\\[,;:! ]|^#+ |^[-*] ",
    re.MULTILINE,
)
_OPERATOR = re.compile(
    "|".join(re.escape(name) + ("(?![a-z])" if name[-1].isalpha() else "") for name in sorted(OPERATORS, reverse=True))
    + r"|<=|>=|!=|->|[-+*/=<>^%!|()](?!=)"
)


def _lower_superscripts(match: re.Match[str]) -> str:
    return " ^" + unicodedata.normalize("NFKC", match[0])


class _Folded(dict[int, str]):
    """What stands for a character, found when it is first met."""

    def __missing__(self, code: int) -> str:
        folded = self[code] = _fold_character(chr(code))
        return folded


_FOLDED = _Folded()


def _fold_character(character: str) -> str:
    if character.isascii():
        return character.lower()
    if character in SYMBOLS:
        return SYMBOLS[character]
    compatible = unicodedata.normalize("NFKC", character)
    category = unicodedata.category(character)
    if compatible != character:
        text = "".join(_FOLDED[ord(part)] for part in compatible)
        return f" {text} " if category == "No" else text  # 5½ is 5 1/2
    if category[0] in "LM":
        return _fold_letter(character)
    if category == "Nd":
        return str(unicodedata.decimal(character))
    if category == "Pd":
        return "-"
    return "" if category == "Cf" else " "  # soft hyphens and zero-width characters join what they stand between


def _fold_letter(character: str) -> str:
    name = unicodedata.name(character, "")
    if name.startswith(_ALONE):
        return f" {character} "
    greek = _GREEK.match(name)
    if greek:
        return f" \\{greek[1].lower().replace('lamda', 'lambda')} "
    return character.casefold()
