# SPDX-License-Identifier: Apache-2.0
r"""Texts as tokens that tell problems apart: words, numbers, and every sign that changes a formula.

>>> tokens_of("Compute $2^{3} \\times 1,000$."), tokens_of("compute  2³ × 1000")
(['compute', '2', '^', '3', '*', '1000'], ['compute', '2', '^', '3', '*', '1000'])
>>> deciding_tokens(tokens_of("Take seven of the 3 sheep - a few - and find AB, or A."))
['7', '3', '-', '-', 'AB', 'A']
"""

import re
import sys
import unicodedata
from collections.abc import Sequence

# Signs of LaTeX and their characters, each as one token.
_SIGNS = {
    "times": "*", "cdot": "*", "ast": "*", "div": "/", "le": "\u2264", "leq": "\u2264", "leqslant": "\u2264",
    "ge": "\u2265", "geq": "\u2265", "geqslant": "\u2265", "ne": "\u2260", "neq": "\u2260", "lt": "<", "gt": ">",
    "cup": "\u222a", "cap": "\u2229", "pm": "\u00b1", "mp": "\u2213", "sqrt": "\u221a", "in": "\u2208",
    "notin": "\u2209", "infty": "\u221e", "sum": "\u2211", "prod": "\u220f", "int": "\u222b", "to": "\u2192",
    "rightarrow": "\u2192", "subset": "\u2282", "subseteq": "\u2286", "approx": "\u2248", "equiv": "\u2261",
    "mid": "\u2223", "nmid": "\u2224", "prime": "'", "colon": ":", "vert": "|", "lvert": "|", "rvert": "|",
}  # fmt: skip
_ONE_FORM = str.maketrans({
    "\u00d7": "*", "\u22c5": "*", "\u00b7": "*", "\u2217": "*", "\u00f7": "/", "\u2215": "/", "\u2044": "/",
    "\u2212": "-", "\u2010": "-", "\u2011": "-", "\u2032": "'", "\u2236": ":",
})  # fmt: skip
_GREEK = (
    "alpha beta gamma delta epsilon zeta eta theta iota kappa lamda mu nu xi omicron pi rho sigma tau upsilon phi chi "
    "psi omega"
)
_SIGNS |= {name: unicodedata.lookup(f"GREEK SMALL LETTER {name.upper()}") for name in _GREEK.split()}
_SIGNS |= {name.title(): unicodedata.lookup(f"GREEK CAPITAL LETTER {name.upper()}") for name in _GREEK.split()}
_SIGNS |= {f"var{name}": _SIGNS[name] for name in ("epsilon", "theta", "kappa", "pi", "rho", "sigma", "phi")}
_SIGNS |= {"lambda": _SIGNS["lamda"], "Lambda": _SIGNS["Lamda"], "degree": "\u00b0"}
# Commands and marks that only change how a formula looks.
_CONTENTS = re.compile(r"\\(?:text(?:bf|it|rm|sf)?|math(?:rm|bf|it|sf|bb)|operatorname)\*? ?\{([^{}]*)\}")
_DEGREES = re.compile(r"\^ ?(?:\\circ(?![a-zA-Z])|\{ ?\\circ ?\})")
_THOUSANDS = re.compile(r"(?<=\d)(?:\{,\}|,?\\[,!])(?=\d{3}(?!\d))")
_LAYOUT = re.compile(
    r"\\(?:displaystyle|textstyle|text|textbf|mathrm|mathbf|mathit|operatorname|limits|quad|qquad)(?![a-zA-Z])"
    r"|\\[,;:! \\()\[\]]|^[^\S\n]*[-*+>]\s+(?=[^\W\d_]{2})",
    re.MULTILINE,
)
_SIZE = re.compile(r"(?:(?<!\s)\s+)?\\(?:left|right|[bB]igg?[lr]?)(?![a-zA-Z])\s*")
_COMMAND = re.compile(r"\\([a-zA-Z]+)")
_FRACTION = re.compile(r"\\[dt]frac(?![a-zA-Z])")
_SUPERSCRIPTS = re.compile("[\u00b2\u00b3\u00b9\u2070-\u207f]+")
_SUBSCRIPTS = re.compile("[\u2080-\u209c]+")
_VULGAR = re.compile("[\u00bc-\u00be\u2150-\u215e\u2189]")
_SINGLE = re.compile(r"\{\s*(\d+|[^\W\d_])\s*\}")
_NAME = re.compile("[A-Z]{2,4}")
_SHOUTED = re.compile("[A-Z]{5}")
_DASH = re.compile(r"\u2013(?=\s?\d)")

# Not signs: the frames of LaTeX ($, ~) and of Markdown (`).
_SYMBOLS = "".join(
    re.escape(character)
    for character in map(chr, range(0x80, sys.maxunicode + 1))
    if unicodedata.category(character)[0] == "S"
)
_TOKEN = re.compile(
    r"[\s,;$]+|("  # skipped whole, with an empty token: a run of a million is passed once
    r"[^\W\d_]+"  # words
    r"|\d+(?:,\d{3})*(?:\.\d+)?|(?<![\d.])\.\d+"  # numbers: 1,000 is 1000, .5 is 0.5
    r"|[+/=<>^%|]|-(?![^\W\d_]{2})|(?<![^\W\d_]{2})-"  # but no hyphens
    r"|(?<=[\d)])!|(?<![^\W\d_]{2})(?<=[^\W\d_])!|(?<=\w)\*(?=\w)|(?<=\s)\*(?=\s)|(?<=[\d)]\s)\*|(?<=[\d)])\*|\*(?=\s?[\d(])"
    r"|(?<=[^\W_])_(?=[\d{\\])|(?<=\d):(?=\d)|(?<=\d\s):(?=\s\d)|(?<=\b[^\W\d_])'+(?![^\W\d_])"  # a_1, 3:4, f'
    r"|\((?=\s?[-+\d\\]|\s?[^\W\d_]\b)|(?<=[\d}])\)|(?<=[\d}]\s)\)|(?<=\b[^\W\d_])\)"
    r"|(?<=\b[^\W\d_]\s)\)|\{|\}"
    f"|[{_SYMBOLS}])"
)

_UNITS = (
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen "
    "eighteen nineteen"
)
_TENS = "twenty thirty forty fifty sixty seventy eighty ninety"
_NUMBERS = {word: str(number) for number, word in enumerate(_UNITS.split())}
_NUMBERS |= {word: str(10 * number) for number, word in enumerate(_TENS.split(), 2)}
# Words on which an answer hangs, though all others are the same.
_WORDS = (
    "hundred thousand million billion half third quarter once twice thrice double triple maximum minimum maximal "
    "minimal maximize minimize max min largest smallest greatest least biggest longest shortest most more fewer less "
    "higher lower increasing decreasing increase decrease increases decreases even odd positive negative prime "
    "composite rational irrational not no never without plus minus times sum product difference quotient union "
    "intersection above below before after inside outside left right clockwise counterclockwise north south east "
    "west sin cos tan cot sec csc sine cosine tangent arcsin arccos arctan log ln exp lcm gcd convex concave "
    "mean median mode first last"
)
_DECIDING = frozenset(_WORDS.split())


def tokens_of(text: str) -> list[str]:
    """Return the words, numbers and signs of a text, in order.

    Words come in lower case, but for single letters and names of up to four capitals (`AB`, the side of a triangle);
    in a text that is all in capitals there are no such names.
    """
    found = [token for token in _TOKEN.findall(_plain(text)) if token]
    has_names = not (_SHOUTED.search(text) and _COMMAND.sub("", text).isupper())
    return [_one_form(token, has_names=has_names) for token in found]


def deciding_tokens(tokens: Sequence[str]) -> list[str]:
    """Return the tokens in which copies of a problem must agree, in order.

    These are numbers, also as words, signs, single letters that aren't words (a, I), names of up to four capitals,
    and words such as maximum.
    """
    found = []
    for token, following in zip(tokens, [*tokens[1:], ""], strict=True):
        if len(token) > 1 and token[0].isalpha():
            if token in _NUMBERS or token in _DECIDING or token.isupper():
                found.append(_NUMBERS.get(token, token))
        elif token not in ("a", "A", "I") or len(following) < 2 or not following[0].isalpha():
            found.append(token)
    return found


def _plain(text: str) -> str:
    """Return a text with one spelling of each sign; super- and subscripts stay apart from the digits beside them."""
    text = _VULGAR.sub(lambda found: f" {unicodedata.normalize('NFKC', found[0])} ", text)
    text = _SUPERSCRIPTS.sub(lambda found: f"^{{{unicodedata.normalize('NFKC', found[0])}}}", text)
    text = _SUBSCRIPTS.sub(lambda found: f"_{{{unicodedata.normalize('NFKC', found[0])}}}", text)
    text = unicodedata.normalize("NFKC", text).translate(_ONE_FORM)
    if "\u2013" in text:
        text = _DASH.sub("-", text)
    if "{,}" in text or "\\" in text:
        text = _CONTENTS.sub(r" \1 ", _THOUSANDS.sub(",", _DEGREES.sub("\u00b0", text)))
    if "\\" in text:
        text = _SIZE.sub("", _FRACTION.sub(r"\\frac", text))
        text = _LAYOUT.sub(" ", text)
        text = _COMMAND.sub(lambda found: f" {_SIGNS.get(found[1], found[1])} ", text)
    else:
        text = _LAYOUT.sub(" ", text)
    return _SINGLE.sub(r"\1 ", text) if "{" in text else text


def _one_form(token: str, *, has_names: bool) -> str:
    if len(token) > 1:
        if token[0].isdigit():
            return token.replace(",", "")
        if token[0] == ".":
            return f"0{token}"
        folded = token.casefold()
        is_name = has_names and _NAME.fullmatch(token) and folded not in _DECIDING and folded not in _NUMBERS
        return token if is_name else folded
    return token
