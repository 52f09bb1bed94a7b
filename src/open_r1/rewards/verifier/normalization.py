# SPDX-License-Identifier: Apache-2.0
r"""Brings the many spellings of one answer to one text, without reading the mathematics in it. Linear in time.

Letters that stood in `\text{...}` are kept between two marks (`TEXT_OPEN`, `TEXT_CLOSE`): "m" in it is a unit and
outside a variable.
"""

import re
import unicodedata
from functools import lru_cache

from open_r1.rewards.verifier.spellings import respell
from open_r1.rewards.verifier.vocabulary import ROMAN_FUNCTIONS

TEXT_OPEN, TEXT_CLOSE = "\x02", "\x03"

_CHARACTERS = {
    **dict.fromkeys("\u2212\u2013\u2014\u2010\u2011\ufe63\uff0d", "-"),
    **dict.fromkeys("\u2018\u2019\u2032", "'"),
    **dict.fromkeys("\u201c\u201d", '"'),
    **dict.fromkeys("\u00b7\u22c5\u2219\u2022", r"\cdot "),
    **dict.fromkeys("\u00f7\u2044\u2215", "/"),
    **dict.fromkeys("\u2264\u2a7d", r"\le "),
    **dict.fromkeys("\u2265\u2a7e", r"\ge "),
    **dict.fromkeys("\u2205\u00f8\u00d8", r"\emptyset "),
    **dict.fromkeys("\u00b0\u00ba\u2218", r"^\circ "),
    "\u00d7": r"\times ",
    "\u03c0": r"\pi ",
    "\u221a": r"\sqrt ",
    "\u221b": r"\sqrt[3] ",
    "\u221e": r"\infty ",
    "\u2260": r"\ne ",
    "\u00b1": r"\pm ",
    "\u2213": r"\mp ",
    "\u222a": r"\cup ",
    "\u2229": r"\cap ",
    "\u2208": r"\in ",
    "\u2248": r"\approx ",
    "\u2216": r"\setminus ",
    "\u2228": r"\lor ",
    "\u2227": r"\land ",
    "\u27e8": r"\langle ",
    "\u27e9": r"\rangle ",
    "\u230a": r"\lfloor ",
    "\u230b": r"\rfloor ",
    "\u2308": r"\lceil ",
    "\u2309": r"\rceil ",
    "\u211d": r"\mathbb{R}",
    "\u2124": r"\mathbb{Z}",
    "\u211a": r"\mathbb{Q}",
    "\u2115": r"\mathbb{N}",
    "\u2102": r"\mathbb{C}",
    "\u3002": ".",
    "\u6216": r"\text{ or }",
    "\u4e14": r"\text{ and }",
    "\u00b5": "\u03bc",
}
_GREEK = (
    "alpha beta gamma delta epsilon zeta eta theta iota kappa lambda mu nu xi o pi rho sigma sigma tau upsilon phi"
)
_CHARACTERS |= {
    chr(0x3B1 + place): rf"\{name} "
    for place, name in enumerate(f"{_GREEK} chi psi omega".split())
    if name not in ("o", "pi", "mu")
}
_RAISED: dict[str, str] = dict(
    zip(
        "\u2070\u00b9\u00b2\u00b3\u2074\u2075\u2076\u2077\u2078\u2079\u207b\u207a\u207f\u2071",
        "0123456789-+ni",
        strict=True,
    )
)
_LOWERED: dict[str, str] = dict(
    zip("\u2080\u2081\u2082\u2083\u2084\u2085\u2086\u2087\u2088\u2089", "0123456789", strict=True)
)
_RAISED_RUN = re.compile(f"[{''.join(_RAISED)}]+")
_LOWERED_RUN = re.compile(f"[{''.join(_LOWERED)}]+")

# Numbers of statements: two in a row are two numbers.
_CIRCLED_RUN = re.compile("[\u2460-\u2473](?:[\\s,\u3001]*[\u2460-\u2473])*")

_DELIMITERS = (
    ("$$", "$$"),
    ("$", "$"),
    (r"\(", r"\)"),
    (r"\[", r"\]"),
    ("**", "**"),
    ("`", "`"),
    ('"', '"'),
    ("'", "'"),
)
_INNER_DELIMITER = re.compile(r"\\\\|\\[()\[\]]")
_DOLLAR = re.compile(r"\\\$|\$")
_SIZE = re.compile(
    r"\\(?:left|right|[bB]igg?[lrm]?|displaystyle|textstyle|limits|nolimits|phantom\s*\{\})(?![a-zA-Z])\s*"
)
_BAR = re.compile(r"\\(left|right)\s*(?:\||\\vert(?![a-zA-Z]))")
_INVISIBLE_BRACKET = re.compile(r"\\(?:left|right)\s*\.(?!\d)")
_FRACTION = re.compile(r"\\[dtc]frac(?![a-zA-Z])")
_BINOMIAL = re.compile(r"\\[dt]binom(?![a-zA-Z])")
# A space behind a comma parts two numbers, unless it is a negative one.
_THIN_SPACE = r"(?:,\s?)?\\!\s?|\\[,:; ]\s?|\{,\}|\{\s\}|~|[ \u00a0\u2009\u202f]"
_THOUSANDS = re.compile(rf"(?<![0-9.,])([0-9]{{1,3}})((?:(?:{_THIN_SPACE})[0-9]{{3}})+)(?![0-9])")
_SEPARATOR = re.compile(_THIN_SPACE)
_SPACING = re.compile(
    r"(\\\\)(?:\s?\[-?[0-9.]+\s?(?:pt|em|ex|mm|cm)\])?"
    r"|\\[,;:!> ]|~|\\q?quad(?![a-zA-Z])|\\[hv]space\s*\{[^{}]*\}|\\hfill(?![a-zA-Z])"
)
_TEXT = re.compile(r"\\(?:text(?:bf|rm|it|sf|tt|sc|up|normal)?|[mh]box)\s*\{((?:[^{}]|\{[^{}]*\})*)\}")
_ROMAN = re.compile(r"\\(?:mathrm|operatorname\*?|mathsf|mathtt)\s*\{((?:[^{}]|\{[^{}]*\})*)\}")
_ROMAN_LETTERS = frozenset(["e", "i", "d", "x", "y", "n"])
_MARKED = f"{TEXT_OPEN}[^{TEXT_CLOSE}]*{TEXT_CLOSE}"
_UNIT_FRACTION = re.compile(rf"\\frac\s*\{{\s*({_MARKED})\s*\}}\s*\{{\s*({_MARKED}\s*(?:\^\s*\{{?[0-9]\}}?)?)\s*\}}")
# m/s, kg m^2
_UNITS = re.compile(r"\s*[A-Za-z]+(?:\s*[/*]\s*[A-Za-z]+|\s+[A-Za-z]+|\^\s*-?[0-9])*\s*")
_LETTERS = re.compile("[A-Za-z]+")
_EXPONENT = re.compile(r"\^\s*\{\s*(-?[0-9])\s*\}")
_FONT = re.compile(r"\\(?:mathbf|boldsymbol|bm|mathit|mathnormal|emph|underline|bold|pmb)(?![a-zA-Z])\s*(?=\{)")
_BOLD_SET = re.compile(r"(\\in\s*)\\(?:mathbf|mathrm|bf|rm|textbf)\s*\{\s*([NZQRC])\s*\}")
_BOX = re.compile(r"\\(?:boxed|fbox)\s*(?=\{)")
_WORDS = re.compile(r"[A-Za-z\u00c0-\uffff\s'.,-]*[A-Za-z\u00c0-\uffff][A-Za-z\u00c0-\uffff\s'.,-]*")
# {5}, where fonts and colours were: braces around one value.
_WHOLE_GROUP = re.compile(r"\{([^{},;]*[^{},;\\\s]\s*)\}")
# Longer texts can only be plain numbers.
_MAX_RESPELLED_CHARS = 10_000
_APPROXIMATELY = re.compile(
    r"^(?:(?:\\approx|\\simeq|\\cong|\\sim)(?![a-zA-Z])|[\x02\s]*(?:is\s+)?(?:approximately|about|roughly|approx\.?)\b[\x03\s]*)\s*",
    re.IGNORECASE,
)


def normalize(text: str) -> str:
    r"""Return the text with one spelling for signs, spaces, delimiters, fonts, thousands and brackets.

    >>> normalize(r"$\left( 1,\, \dfrac{1}{2} \right)$."), normalize("\u22123\u00bd"), normalize(r"1{,}234\,567")
    ('( 1, \\frac{1}{2} )', '-3\\frac{1}{2}', '1234567')
    >>> normalize(r"12\text{ cm}") == f"12{TEXT_OPEN} cm{TEXT_CLOSE}"
    True
    """
    if not text.isascii():
        text = _to_ascii(text)
    text = strip_delimiters(text)
    if len(text) <= _MAX_RESPELLED_CHARS:
        text = respell(text)
    if "\\" in text:
        text = _rewrite_commands(text)
    text = _THOUSANDS.sub(lambda found: found.group(1) + _SEPARATOR.sub("", found.group(2)), text)
    if "$" in text:
        text = _rewrite_dollars(text)
    if "\\" in text or "~" in text:
        text = _SPACING.sub(lambda found: found.group(1) or " ", text)
    text = strip_delimiters(" ".join(text.replace("{}", " ").split()) if text != "{}" else text)
    group = _WHOLE_GROUP.fullmatch(text)
    text = group.group(1).strip() if group else text
    return _APPROXIMATELY.sub("", text, count=1)


def strip_delimiters(text: str) -> str:
    r"""Return the text without a final period and without delimiters around the whole of it.

    >>> strip_delimiters(r" $x$. "), strip_delimiters("$1$ or $2$"), strip_delimiters("**42**")
    ('x', '$1$ or $2$', '42')
    """
    text = text.strip()
    for _ in range(8):
        before = text
        if text.endswith("\\"):
            # The space of "5\\ " was stripped, or a line break ended it.
            text = text.rstrip("\\").rstrip()
        if text.endswith((".", ",", ";")) and not text.endswith((r"\,", r"\;", "..")):
            text = text[:-1].rstrip()
        for opening, closing in _DELIMITERS:
            inner = text[len(opening) : len(text) - len(closing)]
            if text.startswith(opening) and text.endswith(closing) and inner and opening not in inner:
                text = inner.strip()
        if text == before:
            break
    return text


def _rewrite_commands(text: str) -> str:
    """Return the text with one command for each meaning and without those that only change how it looks."""
    text = _BOLD_SET.sub(r"\1\\mathbb{\2}", text)
    text = _INNER_DELIMITER.sub(lambda found: found.group() if found.group() == r"\\" else " ", text)
    text = _BAR.sub(lambda found: r"\lvert " if found.group(1) == "left" else r"\rvert ", text)
    text = _SIZE.sub(" ", _INVISIBLE_BRACKET.sub(" ", text))
    text = _BINOMIAL.sub(r"\\binom", _FRACTION.sub(r"\\frac", text))
    text = _BOX.sub("", _FONT.sub("", text))
    for _ in range(3):
        text, count = _TEXT.subn(_mark_text, text)
        text, more = _ROMAN.subn(_mark_roman, text)
        if count + more == 0:
            break
    return _UNIT_FRACTION.sub(r" \1/\2", text)


def _mark_text(found: re.Match[str]) -> str:
    content = _SPACING.sub(" ", found.group(1))
    if TEXT_OPEN in content:
        return f" {content} "
    if content.strip() in _ROMAN_LETTERS:
        return f"{content.strip()} "
    if _WORDS.fullmatch(content):
        return f"{TEXT_OPEN}{content}{TEXT_CLOSE}"
    content = _EXPONENT.sub(r"^\1", content.replace(r"\cdot", "*"))
    if _UNITS.fullmatch(content):
        return _LETTERS.sub(rf"{TEXT_OPEN}\g<0>{TEXT_CLOSE}", content)
    return f" {content} "


def _mark_roman(found: re.Match[str]) -> str:
    content = found.group(1).strip()
    # \mathrm{e} and \operatorname{lcm} are mathematics, \mathrm{cm} is a unit.
    if content in _ROMAN_LETTERS:
        return f"{content} "
    return rf"\{content} " if content in ROMAN_FUNCTIONS else _mark_text(found)


def _rewrite_dollars(text: str) -> str:
    r"""Return the text with `\$` for money and without dollar signs that open or close a formula."""
    signs = [found.start() for found in _DOLLAR.finditer(text) if found.group() == "$"]
    if len(signs) % 2 == 0:
        return _DOLLAR.sub(lambda found: found.group() if found.group() != "$" else " ", text)
    return _DOLLAR.sub(r"\\$", text)


def _to_ascii(text: str) -> str:
    """Return the text with LaTeX for mathematical characters and without invisible ones."""
    text = unicodedata.normalize("NFC", text)
    text = _RAISED_RUN.sub(lambda found: "^{" + "".join(_RAISED[char] for char in found.group()) + "}", text)
    text = _LOWERED_RUN.sub(lambda found: "_{" + "".join(_LOWERED[char] for char in found.group()) + "}", text)
    text = _CIRCLED_RUN.sub(_list_circled, text)
    return "".join([char if char.isascii() else _spell(char) for char in text])


def _list_circled(found: re.Match[str]) -> str:
    numbers = [ord(char) - ord("\u2460") + 1 for char in found.group() if "\u2460" <= char <= "\u2473"]
    return f" {','.join(map(str, numbers))} "


@lru_cache(maxsize=4096)
def _spell(char: str) -> str:
    if char in _CHARACTERS:
        return _CHARACTERS[char]
    category = unicodedata.category(char)
    # NOTE: a zero-width character inside a number must not hide a digit from the comparison.
    if category in ("Cf", "Cc"):
        return ""
    if category == "Nd":
        return str(unicodedata.decimal(char))
    if category == "No" and "\u2044" in unicodedata.normalize("NFKC", char):
        top, bottom = unicodedata.normalize("NFKC", char).split("\u2044")
        return rf"\frac{{{top}}}{{{bottom}}}"
    if category == "Zs":
        return " "
    folded = unicodedata.normalize("NFKC", char)
    return folded if folded.isascii() else char
