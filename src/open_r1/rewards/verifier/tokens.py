# SPDX-License-Identifier: Apache-2.0
"""Cuts a normalised answer into tokens: numbers, letters, words, commands and signs; the names that it knows."""

import re
from collections.abc import Container
from typing import NamedTuple

from open_r1.rewards.verifier.budget import spend
from open_r1.rewards.verifier.units import is_unit

# Letters that stood in \text{...} are kept between these marks.
TEXT_OPEN, TEXT_CLOSE = "\x02", "\x03"
# Longer formulas are not read; plain numbers of any length are compared before.
MAX_FORMULA_CHARS = 10_000


def _names(text: str) -> frozenset[str]:
    return frozenset(text.split())


def _table(text: str) -> dict[str, str]:
    return dict(row.split() for row in text.split(";"))


# Words of two letters: other pairs of letters are products.
TWO_LETTER_WORDS = _names("no we us up if it in on at to of is by he me my so go do as am pm")
# Words of few letters that answers consist of, or that stand behind a number.
ANSWER_WORDS = _names("no yes all not the none us any both odd even never true false for per pct")
GREEK = _names(
    "alpha beta gamma delta epsilon varepsilon zeta eta theta vartheta iota kappa lambda mu nu xi rho "
    "sigma tau upsilon phi varphi chi psi omega Gamma Delta Theta Lambda Xi Pi Sigma Upsilon Phi Psi "
    "Omega ell hbar top partial"
)
FUNCTIONS = _names("sin cos tan cot sec csc arcsin arccos arctan arccot arcsec arccsc sinh cosh tanh coth ln lg exp")
ALL_FUNCTIONS = FUNCTIONS | {"log", "abs"}
# Functions that are also written as \operatorname or \mathrm.
ROMAN_FUNCTIONS = _names("arcsin arccos arctan arccot sin cos tan cot sec csc ln log lg")
ACCENTS = _names("overline bar dot hat vec widehat tilde overrightarrow")
RELATIONS = _names("= < > le ge ne in notin approx equiv to mapsto subset sim")
MATRICES = _names("matrix pmatrix bmatrix Bmatrix smallmatrix")
DOTS = _names("ldots dots cdots dotsc dotsb")
SEPARATORS = _names(", ; lor land")
# Words behind a number that say something else of it than what it counts: anywhere, and as the first.
DENIALS = _names(
    "not isn't wrong incorrect false never no but most least maybe perhaps possibly unless "
    "except cannot extraneous rejected discarded excluded invalid impossible"
)
POINT_WORDS = _names("the point points ordered pair pairs triple coordinates")
# What has no value here, but may have a value said of it: \\lim_{x \\to 0} f(x) = 3.
OPERATORS = _names("lim int iint oint sum prod max min sup inf gcd lcm det deg dim rank tr arg Re Im Pr set:E cup cap")
QUANTIFIED_WORDS = _names("all any every for positive natural real integer integers number numbers value values of")
# Words that compute with the number before them: anywhere, and as the first ("5 squared", but "5 units squared").
OPERATIONS = _names("plus minus modulo mod pi sqrt")
LOOSENING_WORDS = (
    DENIALS
    | _names("is are was at to or if than up over between through")
    | _names("squared cubed factorial less below twice half halves third thirds quarter quarters fifth fifths tenths")
    | _names("hundredths thousandths")
)
CONSTANTS = {"pi": "pi", "infty": "oo"}
# opening command -> closing command and function
FENCES = {"lfloor": ("rfloor", "floor"), "lceil": ("rceil", "ceil"), "lvert": ("rvert", "abs")}
# Names that are read as commands without a backslash.
PLAIN_COMMANDS = _table("infinity infty; inf infty; oo infty; union cup; or lor; and land")
PLAIN_COMMANDS |= {
    name: name for name in ROMAN_FUNCTIONS | _names("sqrt pi infty exp abs binom frac sinh cosh tanh cis")
}
PLAIN_COMMANDS |= {name: name for name in _names("theta alpha beta gamma lambda phi omega sigma mu")}
# Commands that mean the same, and commands that mean a sign.
SAME_COMMANDS = _table(
    "varepsilon epsilon; vartheta theta; varphi phi"
    "; leq le; leqslant le; geq ge; geqslant ge"
    "; neq ne; lt <; gt >; mod pmod; bmod pmod; rightarrow to; cdot *; times *"
    "; ast *; div /; wedge land; vee lor; varnothing emptyset; colon :; lbrace set{; rbrace set}; { set{"
    "; } set}; vert |"
    "; mid |; lbrack [; rbrack ]; backslash setminus; bigcup cup; bigcap cap; overrightarrow vec"
    "; arcctg arccot; tg tan"
    "; arctg arctan; ctg cot"
)


class UnreadableError(ValueError):
    """The text is no formula of the grammar."""


class Token(NamedTuple):
    """A token: "number", "letter", "word", "command", "sign" or "end", its text, and whether a space stood before."""

    kind: str
    text: str
    is_spaced: bool


END = Token("end", "", False)

_TOKEN = re.compile(
    rf"(?P<space>\s+)|(?P<number>[0-9]{{1,3}}(?:,[0-9]{{3}})+(?![0-9])(?:\.[0-9]+)?|[0-9]+(?:\.[0-9]*)?|\.[0-9]+)"
    rf"|{TEXT_OPEN}(?P<text>[^{TEXT_CLOSE}]*){TEXT_CLOSE}"
    r"|\\begin\s*\{(?P<begin>[a-zA-Z]+\*?)\}|\\end\s*\{(?P<end>[a-zA-Z]+\*?)\}"
    r"|\\mathbb\s*(?:\{\s*(?P<set>[A-Z])\s*\}|(?P<bare_set>[A-Z]))"
    r"|\\(?P<command>[a-zA-Z]+|.)|(?P<letters>[A-Za-z]+)|(?P<foreign>[^\W\d_A-Za-z]+)|(?P<sign><=|>=|!=|\*\*|->|\|\||.)",
    re.DOTALL,
)
# What stands directly in brackets, and thousands in it; "0,100" is no number anywhere.
_IN_BRACKETS = re.compile(r"(?:[(\[]|\\\{|\\(?:lbrace|langle)(?![a-zA-Z]))(?:(?!\\\})[^()\[\]])*")
_THOUSANDS = re.compile(r"(?<![0-9.])(?<![^\\]\{)[1-9][0-9]{0,2}(?:,[1-9][0-9]{2})+(?!,0[0-9]{2}|[0-9])")
_NO_THOUSANDS = re.compile(r"(?<![0-9.])(?<![0-9],)0[0-9]{0,2}(?:,[0-9]{3})+(?![0-9])")
_EXPONENT_OF_TEN = re.compile(r"(?<![A-Za-z_0-9.])([0-9]++(?:\.[0-9]*+)?)[eE]([+-]?[0-9]+)(?![0-9.A-Za-z])")
# What stands behind a product, as in 2mg\\sin x, \\frac{mgh}{2}, \\sqrt{km}, ml^2, and not behind a unit.
_BEHIND_FACTOR = re.compile(
    r"\s*(?:\}|(?<=mg)[-+(]|\\(?!\}|right|mid|cup|cdot|times|approx|pm|[,;:! ])|(?<=m[glLs])\^)"
)
_VOWEL = re.compile("[aeiouy]", re.IGNORECASE)
_ASCII_SIGNS = {"<=": "le", ">=": "ge", "!=": "ne", "**": "^"}


def tokenize(text: str) -> list[Token]:
    r"""Return the tokens of a normalised text.

    >>> [token.text for token in tokenize(r"2\sqrt{3} \leq 1,234xy")]
    ['2', 'sqrt', '{', '3', '}', 'le', '1234', 'x', 'y']

    Raises:
        UnreadableError: The text is too long.
    """
    if len(text) > MAX_FORMULA_CHARS:
        raise UnreadableError("too long")
    text = _EXPONENT_OF_TEN.sub(r"(\1*10^{\2})", _part_numbers(text) if "," in text else text)
    tokens: list[Token] = []
    is_spaced = False
    for found in _TOKEN.finditer(text):
        kind = found.lastgroup
        content = found.group(kind) if kind else ""
        if kind == "space":
            is_spaced = True
            continue
        if kind == "letters":
            is_behind_number = bool(tokens) and tokens[-1].kind == "number" and (is_spaced or not content.isupper())
            is_factor = _BEHIND_FACTOR.match(text, found.end()) is not None
            tokens += _letters(content, is_spaced, is_behind_number, is_factor)
        else:
            tokens += _tokens_of(kind or "", content, is_spaced)
        is_spaced = False
    spend(5 * len(tokens))
    return tokens


def split_tokens(
    tokens: list[Token], separators: Container[str], opening: tuple[str, ...], closing: tuple[str, ...]
) -> list[list[Token]]:
    """Return the parts between the separators outside of brackets, whose tokens begin as given."""
    parts: list[list[Token]] = [[]]
    depth = 0
    for token in tokens:
        is_mark = token.kind in ("sign", "command")
        depth += is_mark and token.text.startswith(opening)
        depth -= is_mark and token.text.startswith(closing)
        if is_mark and depth == 0 and token.text in separators:
            parts.append([])
        else:
            parts[-1].append(token)
    return parts


def _part_numbers(text: str) -> str:
    """Return the text with a space behind each comma that parts numbers: "(2,100)" is a pair, "(1,000)" is not.

    Directly inside brackets a comma parts numbers, except where others there have a space ("(1,234, 5)"), or where a
    number would begin with 0.
    """
    text = _NO_THOUSANDS.sub(_with_spaces, text)
    return _IN_BRACKETS.sub(
        lambda found: found.group() if ", " in found.group() else _THOUSANDS.sub(_with_spaces, found.group()), text
    )


def _with_spaces(found: re.Match[str]) -> str:
    return found.group().replace(",", ", ")


def _tokens_of(kind: str, content: str, is_spaced: bool) -> list[Token]:
    if kind == "number":
        return [Token("number", content.replace(",", ""), is_spaced)]
    if kind in ("text", "foreign"):
        return _words(content, is_spaced)
    if kind in ("begin", "end"):
        return [Token("command", f"{kind}:{content}", is_spaced)]
    if kind in ("set", "bare_set"):
        return [Token("command", f"set:{content}", is_spaced)]
    if kind == "command":
        name = SAME_COMMANDS.get(content, content)
        return [Token("sign" if len(name) == 1 else "command", name, is_spaced)]
    name = _ASCII_SIGNS.get(content, content)
    return [Token("command" if name in ("le", "ge", "ne") else "sign", name, is_spaced)]


def _words(content: str, is_spaced: bool) -> list[Token]:
    tokens = []
    for word in content.split():
        name = word.casefold().strip(".,;:")
        if name in ("or", "and", "infinity"):
            tokens.append(Token("command", PLAIN_COMMANDS[name], True))
        elif name:
            tokens.append(Token("word", word.strip(".,;:"), is_spaced))
        if word.endswith((",", ";", ":")):
            tokens.append(Token("sign", ":" if word.endswith(":") else ",", False))
    return tokens


def _letters(content: str, is_spaced: bool, is_behind_number: bool, is_factor: bool) -> list[Token]:
    """Return a run of letters as a function name, a word, a unit, or the variables it multiplies."""
    if len(content) == 1:
        return [Token("letter", content, is_spaced)]
    lowered = content.casefold()
    if content in PLAIN_COMMANDS or lowered in ("or", "and", "infinity"):
        return [Token("command", PLAIN_COMMANDS.get(content) or PLAIN_COMMANDS[lowered], is_spaced)]
    # "NO" within a formula is a product, of "AB" and its kin.
    is_word = len(content) > 3 and _VOWEL.search(content) is not None
    # Bob; 3 red.
    is_word |= len(content) == 3 and not is_factor and (content.istitle() or (is_behind_number and is_spaced))
    if (
        is_word
        or (lowered in ANSWER_WORDS and not content.isupper())
        or (not is_factor and is_unit(content, is_behind_number=is_behind_number))
    ):
        return [Token("word", content, is_spaced)]
    return [Token("letter", letter, is_spaced and place == 0) for place, letter in enumerate(content)]
