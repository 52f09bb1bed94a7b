# SPDX-License-Identifier: Apache-2.0
r"""Rewrites older and regional notations as the one that the grammar reads: `{\bf B}`, `{3 \over 4}`, `C_5^2`, `30^o`.

Every pattern takes linear time; texts longer than a formula may be are left to the caller.
"""

import re

_ARGUMENT = r"(?:\{\s*([^{}]{1,20}?)\s*\}|([0-9A-Za-z]))"
_SPACES = r"(?:\\[ ,;]|\s|~){0,5}"
_NAME = r"\\(?:text|mathrm|rm|operatorname)\s{0,3}"

_COLOUR = re.compile(r"\\(?:text)?color(?:box)?\s{0,3}(?:\[[a-zA-Z]{1,20}\])?\s{0,3}\{[^{}]{1,40}\}")
_SWITCH = r"\\(rm|bf|it|sf|tt|sl|sc|bfseries|itshape|rmfamily|boldmath|large|Large|LARGE|huge|Huge)(?![a-zA-Z])"
_FONT_OF_ONE = re.compile(r"(\\(?:mathrm|mathbf|mathit|boldsymbol|bm))\s{1,3}([A-Za-z0-9])(?![A-Za-z0-9])")
_SWITCHED_GROUP = re.compile(rf"(?<!\\)\{{\s{{0,3}}{_SWITCH}\s*([^{{}}\\]*)\}}")
_SWITCHED_ARGUMENT = re.compile(rf"{_SWITCH}(?=\s{{0,3}}\{{)")
_BARE_SWITCH = re.compile(_SWITCH)
_NEGATIVE_SPACE = re.compile(r"\\!\s?(?=:)|(?<=:)\\!")
_BRACED_SIGN = re.compile(r"(?<![\\^_a-zA-Z}])\{\s{0,3}([-+:=])\s{0,3}\}")
_OVER = re.compile(
    r"(?<!\\)\{((?:[^{}\\]|\{[^{}]*\}|\\(?!(?:over|choose)(?![a-zA-Z]))[^{}])*)"
    r"\\(over|choose)(?![a-zA-Z])((?:[^{}]|\{[^{}]*\})*)\}"
)
_LEAD_IN = re.compile(
    r"(\\text(?:bf|rm|it)?\s{0,3}\{)?\s{0,3}(?:(?:so|thus|hence|therefore),?\s)?(?:the\s)?(?:final\s|correct\s)?"
    r"(?:(?:answer|value|result|solution)\s(?:is(?:\s{0,3}:)?|equals)|answer\s{0,3}[:=])(?![A-Za-z])\s{0,3}(\})?",
    re.IGNORECASE,
)

_LOW_HIGH = re.compile(
    rf"(?<![A-Za-z_^])(?:\\(?:mathrm|text|mathbf|rm)\s{{0,3}}\{{\s{{0,3}}C\s{{0,3}}\}}|(?<!\\)C)\s{{0,3}}"
    rf"_\s{{0,3}}{_ARGUMENT}\s{{0,3}}\^\s{{0,3}}{_ARGUMENT}"
)
_BEFORE_BEHIND = re.compile(
    r"(?:\{\}|^|(?<=[-+*/(=]))\s{0,3}[_^](?:\{\s{0,3}([^{}]{1,20}?)\s{0,3}\}|([0-9]{1,3}|[a-z]))\s{0,3}"
    rf"(?:\\mathrm\s{{0,3}}\{{C\}}|C)\s{{0,3}}_{_ARGUMENT}"
)
_MODULUS = r"(?:\{\s{0,3}([^{}]{1,20}?)\s{0,3}\}|([0-9]{1,9}|[A-Za-z](?![A-Za-z])))"
_MOD_IN_BRACKETS = re.compile(
    rf"\(\s{{0,3}}(?:\\[pb]?mod(?![a-zA-Z])|{_NAME}\{{\s{{0,3}}mod\s{{0,3}}\}}|mod(?![a-zA-Z])){_SPACES}"
    rf"{_MODULUS}\s{{0,3}}\)"
)
_MOD = re.compile(rf"\\[pb]?mod(?![a-zA-Z]){_SPACES}{_MODULUS}")
_CONGRUENCE = re.compile(r"\\equiv(?![a-zA-Z])|\u2261")

_RAISED_O = rf"(?:{_NAME}\{{\s{{0,3}}o\s{{0,3}}\}}|o)"
_DEGREE = re.compile(
    rf"(?<=[0-9)}}])\s{{0,3}}\^\s{{0,3}}(?:\{{\s{{0,3}}{_RAISED_O}\s{{0,3}}\}}|{_RAISED_O}(?![A-Za-z]))"
)
_PRIME = r"(?:'|\^\s{0,3}(?:\{\s{0,3}\\prime\s{0,3}\}|\\prime(?![a-zA-Z])))"
_ARC = re.compile(
    r"(?<![0-9.])([0-9]{1,3})\s{0,3}\^\s{0,3}(?:\{\s{0,3}\\circ\s{0,3}\}|\\circ(?![a-zA-Z]))\s{0,3}([0-5]?[0-9])\s{0,3}"
    rf"{_PRIME}(?:\s{{0,3}}([0-5]?[0-9])\s{{0,3}}(?:\"|{_PRIME}{_PRIME}|\^\s{{0,3}}\{{\\prime\s{{0,3}}\\prime\}}))?(?!['\"])"
)

_LEADING_POINT = re.compile(r"(?<![0-9])\.(?=\\(?:overline|bar|dot)(?![a-zA-Z]))")
_DOTS_OVER_ENDS = re.compile(r"(?<=[0-9.])\\dot\s?\{?([0-9])\}?([0-9]{0,20})\\dot\s?\{?([0-9])\}?")
_PERIOD_IN_BRACKETS = re.compile(r"([-+]?[0-9]{0,9}\.[0-9]{0,20})\(([0-9]{1,12})\)")
_PERIOD_WITH_DOTS = re.compile(
    r"([-+]?[0-9]{0,9}\.[0-9]{0,9}?)([0-9]{1,6}?)\2{2,12}\s?(?:\\(?:[lc]?dots|dotsc)|\.\.\.|\u2026)"
)
_MAX_DECIMAL_CHARS = 60
_RATIO = re.compile(r"([0-9]{1,9})\s{0,3}(?:\\text\s{0,3}\{\s{0,3}to\s{0,3}\}|to)\s{0,3}([0-9]{1,9})")
_REALS_WITHOUT = re.compile(r"(\\mathbb\s?(?:\{\s?R\s?\}|R))\s{0,3}-\s{0,3}(?=\\\{)")
_TEXT_FUNCTION = re.compile(rf"{_NAME}\{{\s{{0,3}}((?:arc)?(?:sin|cos|tan|cot|tg|ctg)|ln|log|cis)\s{{0,3}}\}}")


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
        text = _respell_commands(text)
        text = respell_congruence(text)
    if "^" in text or "_" in text:
        text = _respell_scripts(text)
    if "{" in text:
        text = _BRACED_SIGN.sub(r"\1", text)
    text = _RATIO.sub(r"\1:\2", text) if _RATIO.fullmatch(text) else text
    return _respell_decimal(text) if "." in text else text


def _respell_commands(text: str) -> str:
    text = _COLOUR.sub("", _NEGATIVE_SPACE.sub("", text))
    text = _FONT_OF_ONE.sub(r"\1{\2}", text)
    text = _BARE_SWITCH.sub("", _SWITCHED_ARGUMENT.sub(_math_font, _SWITCHED_GROUP.sub(_font_of_group, text)))
    if "\\over" in text or "\\choose" in text:
        text = _OVER.sub(_fraction, text)
        whole = _OVER.fullmatch(f"{{{text}}}")
        text = _fraction(whole) if whole else text
    text = _TEXT_FUNCTION.sub(r"\\\1 ", text)
    return _REALS_WITHOUT.sub(r"\1\\setminus ", text)


def _fraction(found: re.Match[str]) -> str:
    top, infix, bottom = found.groups()
    return rf"\{'frac' if infix == 'over' else 'binom'}{{{top.strip()}}}{{{bottom.strip()}}}"


def _font_of_group(found: re.Match[str]) -> str:
    content = found.group(2)
    has_word = re.search("[A-Za-z]{2}", content) is not None
    return rf"\text{{{content}}}" if has_word else f"{{{content}}}"


def _math_font(found: re.Match[str]) -> str:
    return r"\mathrm" if found.group(1) == "rm" else r"\mathbf"


def _respell_scripts(text: str) -> str:
    text = _LOW_HIGH.sub(_binomial, text)
    text = _BEFORE_BEHIND.sub(_binomial, text)
    return _ARC.sub(_degrees, _DEGREE.sub(r"^\\circ ", text))


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


def respell_congruence(text: str) -> str:
    r"""Return a congruence with `\pmod{...}`, however its modulus is written.

    >>> respell_congruence(r"x \equiv 3 \ (\mathrm{mod}\ 7)"), respell_congruence(r"17 \bmod 5")
    ('x \\equiv 3 \\ \\pmod{7}', '17 \\bmod 5')
    """
    if "mod" not in text or not (_CONGRUENCE.search(text) or "\\pmod" in text):
        return text
    return _MOD.sub(_modulus, _MOD_IN_BRACKETS.sub(_modulus, text))


def _modulus(found: re.Match[str]) -> str:
    return rf"\pmod{{{found.group(1) or found.group(2)}}}"
