# SPDX-License-Identifier: Apache-2.0
r"""Brings the many spellings of one answer to one text, without reading the mathematics in it. Linear in time.

Letters that stood in `\text{...}` are kept between two marks (`TEXT_OPEN`, `TEXT_CLOSE`): "m" in it is a unit and
outside a variable.
"""

import re
import unicodedata
from collections.abc import Callable
from functools import lru_cache

from open_r1.rewards.verifier.tokens import ROMAN_FUNCTIONS, TEXT_CLOSE, TEXT_OPEN

_Rule = tuple[re.Pattern[str], str | Callable[[re.Match[str]], str]]
# Characters that are a command each, and the others.
_COMMAND_CHARACTERS = (
    "\u00b7\u22c5\u2219\u2022 cdot; \u2264\u2a7d le; \u2265\u2a7e ge; \u2205\u00f8\u00d8 emptyset"
    "; \u00d7 times; \u221a sqrt"
    "; \u221e infty; \u2260 ne; \u00b1 pm; \u2213 mp; \u222a cup; \u2229 cap; \u2208 in; \u2248 approx"
    "; \u2216 setminus; \u2192\u27f6 to; \u21cc rightleftharpoons"
    "; \u2228 lor; \u2227 land; \u27e8 langle; \u27e9 rangle; \u230a lfloor; \u230b rfloor; \u2308 lceil; \u2309 rceil"
    "; \u03b1 alpha; \u03b2 beta; \u03b3 gamma; \u03b4 delta; \u03b5 epsilon; \u03b6 zeta; \u03b7 eta"
    "; \u03b8 theta; \u03b9 iota"
    "; \u03ba kappa; \u03bb lambda; \u03bd nu; \u03be xi; \u03c0 pi; \u03c1 rho; \u03c2\u03c3 sigma"
    "; \u03c4 tau; \u03c5 upsilon"
    "; \u03c6 phi; \u03c7 chi; \u03c8 psi; \u03c9 omega"
)
_CHARACTERS = {
    char: rf"\{command} " for chars, command in map(str.split, _COMMAND_CHARACTERS.split(";")) for char in chars
}
_CHARACTERS |= dict.fromkeys("\u2212\u2013\u2014\u2010\u2011\ufe63\uff0d", "-") | dict.fromkeys(
    "\u00f7\u2044\u2215", "/"
)
_CHARACTERS |= dict.fromkeys("\u2018\u2019\u2032", "'") | dict.fromkeys("\u201c\u201d", '"')
_CHARACTERS |= dict.fromkeys("\u00b0\u00ba\u2218", r"^\circ ")
_CHARACTERS |= dict(zip("\u211d\u2124\u211a\u2115\u2102", (rf"\mathbb{{{name}}}" for name in "RZQNC"), strict=True))
_CHARACTERS |= {"\u221b": r"\sqrt[3] ", "\u3001": ", ", "\u3002": ".", "\u00b5": "\u03bc"}
_CHARACTERS |= {"\u6216": r"\text{ or }", "\u4e14": r"\text{ and }"}
_RAISED_RUN = re.compile("[\u2070\u00b9\u00b2\u00b3\u2074-\u207b\u207f\u2071]+")
_LOWERED_RUN = re.compile("[\u2080-\u2089]+")

_POWERS_OF_TEN = {"\u4e07": 4, "\u842c": 4, "\u4ebf": 8, "\u5104": 8}
_TEN_THOUSANDS = re.compile(rf"(?<=[0-9])\s?([{''.join(_POWERS_OF_TEN)}])")

# Numbers of statements: two in a row are two numbers.
_CIRCLED_RUN = re.compile("[\u2460-\u2473](?:[\\s,\u3001]*[\u2460-\u2473])*")

_TEXT_CIRCLED = re.compile(r"\\textcircled\s?\{?\s?(?:\\(?:text|small)\s?\{?)?\s?(1[0-9]|20|[1-9])\s?\}{0,2}")
_MOD_IN_BRACKETS = re.compile(
    rf"\(\s?(?:\\[pb]?mod|{TEXT_OPEN}?mod{TEXT_CLOSE}?)\s{{0,3}}\{{?([0-9A-Za-z]{{1,9}})\}}?\s?\)"
)

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
_DOLLAR = re.compile(r"\\\$|\$")
# The bar of {x | x > 1} where it stretches; it closes with nothing.
# A space behind a comma parts two numbers, unless it is a negative one.
_THIN_SPACE = r"(?:,\s?)?\\!\s?|\\[,:; ]\s?|\{,\}|\{\s\}|~|[ \u00a0\u2009\u202f]"
_THOUSANDS = re.compile(rf"(?<![0-9.,])([0-9]{{1,3}})((?:(?:{_THIN_SPACE})[0-9]{{3}})+)(?![0-9])")
_REVERSED_BRACKETS = re.compile(r"([\[\]])([^\[\](){};,]{1,99}[;,][^\[\](){};,]{1,99})([\[\]])")
_SEPARATOR = re.compile(_THIN_SPACE)
_SPACING = re.compile(
    r"(\\\\)(?:\s?\[-?[0-9.]+\s?(?:pt|em|ex|mm|cm)\])?"
    r"|\\[,;:!> ]|~|\\q?quad(?![a-zA-Z])|\\[hv]space\s*\{[^{}]*\}|\\hfill(?![a-zA-Z])"
)
_TEXT = re.compile(r"\\(?:text(?:bf|rm|it|sf|tt|sc|up|normal)?|[mh]box)\s*\{((?:[^{}]|\{[^{}]*\})*)\}")
_ROMAN = re.compile(r"\\(?:mathrm|ce|operatorname\*?|mathsf|mathtt)\s*\{((?:[^{}]|\{[^{}]*\})*)\}")
_ROMAN_LETTERS = frozenset(["e", "i", "d", "x", "y", "n"])
_MARKED = f"{TEXT_OPEN}[^{TEXT_CLOSE}]*{TEXT_CLOSE}"
_UNIT_FRACTION = re.compile(rf"\\frac\s*\{{\s*({_MARKED})\s*\}}\s*\{{\s*({_MARKED}\s*(?:\^\s*\{{?[0-9]\}}?)?)\s*\}}")
# m/s, kg m^2
_UNITS = re.compile(r"\s*[A-Za-z]+(?:\s*[/*]\s*\(?[A-Za-z]+|\s+[A-Za-z]+|\^\s*-?[0-9]|(?<=[A-Za-z0-9])\))*\s*")
_LETTERS = re.compile("[A-Za-z]+")
_EXPONENT = re.compile(r"\^\s*\{\s*(-?[0-9])\s*\}")
_WORDS = re.compile(r"[A-Za-z\u00c0-\uffff\s'.,-]*[A-Za-z\u00c0-\uffff][A-Za-z\u00c0-\uffff\s'.,-]*:?\s*")
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
    if "circled" in text:
        text = _TEXT_CIRCLED.sub(lambda found: chr(0x245F + int(found.group(1))), text)
    if not text.isascii():
        text = _to_ascii(text)
    text = strip_delimiters(text)
    if len(text) <= _MAX_RESPELLED_CHARS:
        text = respell(text)
    if "\\" in text:
        text = _rewrite_commands(text)
    text = _REVERSED_BRACKETS.sub(_turn_brackets, text)
    text = _THOUSANDS.sub(lambda found: found.group(1) + _SEPARATOR.sub("", found.group(2)), text)
    if "$" in text:
        text = _rewrite_dollars(text)
    if "\\" in text or "~" in text:
        text = _SPACING.sub(lambda found: found.group(1) or " ", text)
    text = _MOD_IN_BRACKETS.sub(r"\\pmod{\1}", text) if "mod" in text else text
    text = strip_delimiters(" ".join(text.replace("{}", " ").split()) if text != "{}" else text)
    group = _WHOLE_GROUP.fullmatch(text)
    text = group.group(1).strip() if group else text
    return _APPROXIMATELY.sub("", text, count=1)


def _turn_brackets(found: re.Match[str]) -> str:
    """Return the open end of an interval, a bracket turned outwards, as a parenthesis."""
    opening, inner, closing = found.groups()
    return f"{'(' if opening == ']' else opening}{inner}{')' if closing == '[' else closing}"


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
    text = _apply(_LOOKS, text)
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
    text = _RAISED_RUN.sub(lambda found: f"^{{{_unraised(found.group())}}}", text)
    text = _LOWERED_RUN.sub(lambda found: f"_{{{_unraised(found.group())}}}", text)
    text = _TEN_THOUSANDS.sub(lambda found: rf"\times 10^{{{_POWERS_OF_TEN[found.group(1)]}}} ", text)
    text = _CIRCLED_RUN.sub(_list_circled, text)
    return "".join([char if char.isascii() else _spell(char) for char in text])


def _unraised(run: str) -> str:
    return unicodedata.normalize("NFKC", run).replace("\u2212", "-")


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


# Older and regional notations: `{\bf B}`, `{3 \over 4}`, `C_5^2`, `30^o`. Every pattern takes linear time.

_ARGUMENT = r"(?:\{\s*([^{}]{1,20}?)\s*\}|([0-9A-Za-z]))"
_NAME = r"\\(?:text|mathrm|rm|operatorname)\s{0,3}"

_SWITCH = r"\\(rm|bf|it|sf|tt|sl|sc|bfseries|itshape|rmfamily|boldmath|large|Large|LARGE|huge|Huge)(?![a-zA-Z])"
_OVER = re.compile(
    r"(?<!\\)\{((?:[^{}\\]|\{[^{}]*\}|\\(?!(?:over|choose)(?![a-zA-Z]))[^{}])*)"
    r"\\(over|choose)(?![a-zA-Z])((?:[^{}]|\{[^{}]*\})*)\}"
)
_LEAD_IN = re.compile(
    r"(\\text(?:bf|rm|it)?\s{0,3}\{)?\s{0,3}(?:(?:so|thus|hence|therefore),?\s)?(?:the\s)?(?:final\s|correct\s)?"
    r"(?:(?:answer|value|result|solution)\s(?:is(?:\s{0,3}:)?|equals)|answer\s{0,3}[:=])(?![A-Za-z])\s{0,3}(\})?",
    re.IGNORECASE,
)

_RAISED_O = rf"(?:{_NAME}\{{\s{{0,3}}o\s{{0,3}}\}}|o)"
_PRIME = r"(?:'|\^\s{0,3}(?:\{\s{0,3}\\prime\s{0,3}\}|\\prime(?![a-zA-Z])))"
_LEADING_POINT = re.compile(r"(?<![0-9])\.(?=\\(?:overline|bar|dot)(?![a-zA-Z]))")
_DOTS_OVER_ENDS = re.compile(r"(?<=[0-9.])\\dot\s?\{?([0-9])\}?([0-9]{0,20})\\dot\s?\{?([0-9])\}?")
_PERIOD_IN_BRACKETS = re.compile(r"([-+]?[0-9]{0,9}\.[0-9]{0,20})\(([0-9]{1,12})\)")
_PERIOD_WITH_DOTS = re.compile(
    r"([-+]?[0-9]{0,9}\.[0-9]{0,9}?)([0-9]{1,6}?)\2{2,12}\s?(?:\\(?:[lc]?dots|dotsc)|\.\.\.|\u2026)"
)
_MAX_DECIMAL_CHARS = 60
_ORDINAL = re.compile(r"(?<=[0-9])\s?(?:\^\s?\{?\s?)?(?:\\(?:text|mathrm)\s?\{)?(?:st|nd|rd|th)\}{0,2}$")
# The event in P(A|B) = 1/3 is a name: P_{A|B}.
_RATIO = re.compile(r"([0-9]{1,9})\s{0,3}(?:\\text\s{0,3}\{\s{0,3}to\s{0,3}\}|to)\s{0,3}([0-9]{1,9})")


def _font_of_group(found: re.Match[str]) -> str:
    content = found.group(2)
    has_word = re.search("[A-Za-z]{2}", content) is not None
    return rf"\text{{{content}}}" if has_word else f"{{{content}}}"


def _math_font(found: re.Match[str]) -> str:
    return r"\mathrm" if found.group(1) == "rm" else r"\mathbf"


def _binomial(found: re.Match[str]) -> str:
    r"""Return the binomial coefficient; `C_1^2`, a constant squared, stays."""
    groups = [group for group in found.groups() if group]
    whole, part = groups
    is_count = not part.startswith(("-", "+")) and whole not in ("0", "1")
    if whole.isdigit() and part.isdigit():
        is_count = int(part) <= int(whole) and whole not in ("0", "1")
    return rf"\binom{{{whole}}}{{{part}}}" if is_count else found.group()


def _degrees(found: re.Match[str]) -> str:
    """Return degrees, minutes and seconds as a mixed number of degrees."""
    degrees, minutes, seconds = found.groups()
    parts = 60 * int(minutes) + int(seconds or 0)
    return rf"{degrees}\frac{{{parts}}}{{3600}}^\circ " if parts else rf"{degrees}^\circ "


def _rules(*rows: tuple[str, str | Callable[[re.Match[str]], str]]) -> list[_Rule]:
    return [(re.compile(pattern), new) for pattern, new in rows]


def _apply(rules: list[_Rule], text: str) -> str:
    for pattern, new in rules:
        text = pattern.sub(new, text)
    return text


_OLD_COMMANDS = _rules(
    (r"\\!\s?(?=:)|(?<=:)\\!", ""),
    # Colours and fonts.
    (r"\\(?:text)?color(?:box)?\s{0,3}(?:\[[a-zA-Z]{1,20}\])?\s{0,3}\{[^{}]{1,40}\}", ""),
    (r"(\\(?:mathrm|mathbf|mathit|boldsymbol|bm))\s{1,3}([A-Za-z0-9])(?![A-Za-z0-9])", r"\1{\2}"),
    (rf"(?<!\\)\{{\s{{0,3}}{_SWITCH}\s*([^{{}}\\]*)\}}", _font_of_group),
    (rf"{_SWITCH}(?=\s{{0,3}}\{{)", _math_font),
    (_SWITCH, ""),
    (r"(?<=[0-9])\s?\\(?:mathrm|text)\s?\{[eE]\}\s?(?=[-+]?[0-9])", "e"),
    # Functions in text, and R - {0}.
    (rf"{_NAME}\{{\s{{0,3}}((?:arc)?(?:sin|cos|tan|cot|tg|ctg)|ln|log|cis)\s{{0,3}}\}}", r"\\\1 "),
    (r"(\\mathbb\s?(?:\{\s?R\s?\}|R))\s{0,3}-\s{0,3}(?=\\\{)", r"\1\\setminus "),
)

_OLD_SCRIPTS = _rules(
    (r"(?<![A-Za-z\\{_])(pO?H)(?=\s?=)", r"\\text{\1}"),
    # C_5^2 and {}_5C_2; C is a constant where its index is larger than the other.
    (
        rf"(?<![A-Za-z_^])(?:\\(?:mathrm|text|mathbf|rm)\s{{0,3}}\{{\s{{0,3}}C\s{{0,3}}\}}|(?<!\\)C)\s{{0,3}}"
        rf"_\s{{0,3}}{_ARGUMENT}\s{{0,3}}\^\s{{0,3}}{_ARGUMENT}",
        _binomial,
    ),
    (
        r"(?:\{\}|^|(?<=[-+*/(=]))\s{0,3}[_^](?:\{\s{0,3}([^{}]{1,20}?)\s{0,3}\}|([0-9]{1,3}|[a-z]))\s{0,3}"
        rf"(?:\\mathrm\s{{0,3}}\{{C\}}|C)\s{{0,3}}_{_ARGUMENT}",
        _binomial,
    ),
    # 30^o, and degrees with minutes.
    (
        rf"(?<=[0-9)}}])\s{{0,3}}\^\s{{0,3}}(?:\{{\s{{0,3}}{_RAISED_O}\s{{0,3}}\}}|{_RAISED_O}(?![A-Za-z]))",
        r"^\\circ ",
    ),
    (
        r"(?<![0-9.])([0-9]{1,3})\s{0,3}\^\s{0,3}(?:\{\s{0,3}\\circ\s{0,3}\}|\\circ(?![a-zA-Z]))\s{0,3}([0-5]?[0-9])\s{0,3}"
        rf"{_PRIME}(?:\s{{0,3}}([0-5]?[0-9])\s{{0,3}}(?:\"|{_PRIME}{_PRIME}|\^\s{{0,3}}\{{\\prime\s{{0,3}}\\prime\}}))?(?!['\"])",
        _degrees,
    ),
    # The event in P(A|B) = 1/3 is a name: P_{A|B}.
    (r"(?<![A-Za-z\\])(?:\\Pr|\\mathbb\s?\{?P\}?|P)\s?[(\[]([^()\[\]]{1,60})[)\]](?=\s?=)", r"P_{\1}"),
    (r"(?<![\\^_a-zA-Z}])\{\s{0,3}([-+:=])\s{0,3}\}", r"\1"),
)

_LOOKS = _rules(
    # Sets of numbers.
    (r"(\\in\s*)\\(?:mathbf|mathrm|bf|rm|textbf)\s*\{\s*([NZQRC])\s*\}", r"\1\\mathbb{\2}"),
    (r"\\\\|\\[()\[\]]", lambda found: found.group() if found.group() == r"\\" else " "),
    # Micrometres and kilo-ohms.
    (r"(?<=[{~ ])\\mu\s?([AFCHNTVWgmsLJ])(?=\s?\})", "\u03bc\\1"),
    (r"\\mu\s?\\(?:mathrm|text|rm)\s?\{\s?([A-Za-z]{1,4})\s?\}", "\\\\text{ \u03bc\\1}"),
    (
        r"(?<=[0-9}\s~,;])(?:\\(?:mathrm|text|rm)\s?\{\s?([kKmM]?)\s?\}|([kKM]))?\s?\\Omega(?![a-zA-Z_^'])(?=\s*\$?\.?$)",
        r"\\text{ \1ohm}",
    ),
    # The bar of {x | x > 1} where it stretches closes with nothing.
    (r"\\left\s*\|([^|]*?)\\right\s*\.", r"\\mid \1"),
    (
        r"\\(left|right)\s*(?:\||\\vert(?![a-zA-Z]))",
        lambda found: r"\lvert " if found.group(1) == "left" else r"\rvert ",
    ),
    (r"\\(?:left|right)\s*\.(?!\d)", " "),
    (r"\\(?:left|right|[bB]igg?[lrm]?|displaystyle|textstyle|limits|nolimits|phantom\s*\{\})(?![a-zA-Z])\s*", " "),
    (r"\\[dtc]frac(?![a-zA-Z])", r"\\frac"),
    (r"\\[dt]binom(?![a-zA-Z])", r"\\binom"),
    (r"\\(?:mathbf|boldsymbol|bm|mathit|mathnormal|emph|underline|bold|pmb)(?![a-zA-Z])\s*(?=\{)", ""),
    (r"\\(?:boxed|fbox)\s*(?=\{)", ""),
)


def respell(text: str) -> str:
    r"""Return the text in the notation that the grammar reads.

    >>> respell(r"{3 \over 4}"), respell(r"C_5^2"), respell(r"\textcolor{red}{30^o}"), respell("The answer is 5")
    ('\\frac{3}{4}', '\\binom{5}{2}', '{30^\\circ }', '5')
    """
    lead_in = _LEAD_IN.match(text)
    if lead_in:
        is_open = lead_in.group(1) and not lead_in.group(2)
        text = (lead_in.group(1) if is_open else "") + text[lead_in.end() :].lstrip()
    if "\\" in text:
        text = _apply(_OLD_COMMANDS, text)
        if "\\over" in text or "\\choose" in text:
            text = _OVER.sub(_fraction, text)
            whole = _OVER.fullmatch(f"{{{text}}}")
            text = _fraction(whole) if whole else text
    if any(mark in text for mark in "^_{PH"):
        text = _apply(_OLD_SCRIPTS, text)
    text = _ORDINAL.sub("", text)
    text = _RATIO.sub(r"\1:\2", text) if _RATIO.fullmatch(text) else text
    return _respell_decimal(text) if "." in text else text


def _fraction(found: re.Match[str]) -> str:
    top, infix, bottom = found.groups()
    return rf"\{'frac' if infix == 'over' else 'binom'}{{{top.strip()}}}{{{bottom.strip()}}}"


def _respell_decimal(text: str) -> str:
    r"""Return a repeating decimal with a bar over its period."""
    text = _DOTS_OVER_ENDS.sub(r"\\overline{\1\2\3}", _LEADING_POINT.sub("0.", text))
    if len(text) > _MAX_DECIMAL_CHARS:
        return text
    for pattern in (_PERIOD_IN_BRACKETS, _PERIOD_WITH_DOTS):
        found = pattern.fullmatch(text)
        if found:
            return rf"{found.group(1)}\overline{{{found.group(2)}}}"
    return text
