# SPDX-License-Identifier: Apache-2.0
r"""Answers as what they are: a choice letter, words, digits, a time, a ratio, parts, or a formula with its unit.

>>> read(r"\text{(B)}").node.letter, read(r"\text{Tuesday}.").node
('B', Words(text='tuesday'))
"""

import re
from collections.abc import Iterator
from fractions import Fraction
from functools import lru_cache, reduce

from open_r1.rewards.verifier.grammar import parse, parse_number
from open_r1.rewards.verifier.normalize import normalize
from open_r1.rewards.verifier.tokens import (
    DENIALS,
    LOOSENING_WORDS,
    MAX_FORMULA_CHARS,
    OPERATIONS,
    OPERATORS,
    PLAIN_COMMANDS,
    POINT_WORDS,
    QUANTIFIED_WORDS,
    RELATIONS,
    SEPARATORS,
    TEXT_CLOSE,
    TEXT_OPEN,
    TWO_LETTER_WORDS,
    Token,
    UnreadableError,
    split_tokens,
    tokenize,
)
from open_r1.rewards.verifier.tree import (
    EMPTY_SET,
    INFINITY,
    INTEGERS,
    MINUS_INFINITY,
    REALS,
    Choice,
    Clock,
    Digits,
    Mul,
    Node,
    Number,
    Parts,
    Quantity,
    Ratio,
    Reading,
    Several,
    Words,
)
from open_r1.rewards.verifier.units import DEGREE, NO_UNIT, Unit, find_unit

_PLAIN_NUMBER = re.compile(r"\s*([+-]?)(?:(\d{1,3}(?:,\d{3})+|\d+)(?:\.(\d*))?|\.(\d+))\s*(?:\.\s*)?", re.ASCII)

_MARKS = re.compile(f"[{TEXT_OPEN}{TEXT_CLOSE}]")
_MARK_BEFORE_SIGN = re.compile(rf"{TEXT_CLOSE}(?=[).:])")
_ARTICLE = re.compile(r"\b(?:an?|the|all) (?=[^\W\d_]{3})")

_WORD_JOINT = re.compile(r",?\sand\s|,\s")

_CHOICE_WORD = r"(?:(?:option|choice|answer)\s*)?"
_CHOICE = re.compile(
    rf"{_CHOICE_WORD}(?:\(\s*([A-Z])\s*\)|([A-Z])\s*[).:]?)"
    r"(?: is (?:the )?(?:correct|right)(?: (?:answer|choice|option))?)?",
    re.IGNORECASE,
)
# "a:b" and "A:B" are ratios.
_CHOICE_WITH_TEXT = re.compile(
    r"(?:\(([A-Z])\)|([A-Z])(?:[).]|(?-i:(?<=[A-Z]):)(?!\s*[A-Z]\s*(?::|$))))\s*(\S.*)", re.IGNORECASE | re.DOTALL
)
_CHOICES = frozenset("ABCDEFGHIJ")
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
_BASES = """two 2;three 3;four 4;five 5;six 6;seven 7;eight 8;nine 9;ten 10;twelve 12;sixteen 16;binary 2;octal 8
;hex 16;bin 2;oct 8;dec 10"""
_BASE_NAMES = {name: int(base) for name, base in map(str.split, _BASES.split(";"))}

_CLOCK = re.compile(
    r"(?:at )?([01]?[0-9]|2[0-4])(?::([0-5][0-9]))?\s*(?:([ap])\.?\s?m\.?|o'clock)?(?: sharp)?", re.IGNORECASE
)
_MONTH = r"(jan(?:uary)?|feb(?:ruary)?|mar(?:ch)?|apr(?:il)?|may|june?|july?|aug(?:ust)?|sep(?:t(?:ember)?)?"
_MONTH += r"|oct(?:ober)?|nov(?:ember)?|dec(?:ember)?)\.?"
_DAY = r"([0-3]?[0-9])(?:st|nd|rd|th)?"
_DATE = re.compile(rf"(?:{_MONTH} {_DAY}|{_DAY} (?:of )?{_MONTH})(?:,? ([12][0-9]{{3}}))?", re.IGNORECASE)
_NAMED_TIMES = {"noon": 12 * 60, "midday": 12 * 60, "12 noon": 12 * 60, "midnight": 0, "12 midnight": 0}

# "(1) ...; (2) ...", each number behind the start or what ends a part.
_PART_NAME = r"([1-9]|(?i:i{1,3}|iv|vi{0,3})|[a-h])"
_PART_LABELS = [
    re.compile(rf"(?:^|(?<=[\s;,.]))\(\s?{_PART_NAME}\s?\)"),
    re.compile(rf"(?:^|(?<=[\s;,.])){_PART_NAME}\)"),
]
_STATEMENTS = re.compile(r"\([1-9]\)(?:[\s,;]*(?:and\s|\\text\{ ?and ?\})?\s?\([1-9]\))+")
_PART_NAMES = ["123456789", "abcdefgh", ["i", "ii", "iii", "iv", "v", "vi", "vii", "viii"]]
_PROOF = re.compile(r"\u8bc1\u660e|\u7565|\bpro(?:of|ven?)\b|\bomitted\b", re.IGNORECASE)
_OPEN_START = re.compile(r"[-+*/^=<>,;.]")

_WORDS = re.compile(r"[^\W\d_]+(?:[\s,.'’!?:-]+[^\W\d_]+)*[\s.!?]*")
_LETTERS = re.compile(r"[^\W\d_]+")
_PROSE = re.compile(r"(?:[\w\s,.'’!?:;()&-]|\\?%)+")
_CODE = re.compile(r"[A-Z][A-Za-z]*[0-9][A-Za-z0-9]*")
_ELEMENTS = re.compile(r"(?:[A-Z][a-z]?[0-9]*){1,20}(?:\^[0-9]?[+-])?")
# "The sum is 100", which says nothing against it.
_STATED = re.compile(
    rf"(?:{TEXT_OPEN}\s?(?:[A-Za-z]+\s){{1,8}}?(?:is|are|equals)\s?{TEXT_CLOSE}|(?:[A-Za-z]+\s){{1,8}}?(?:is|are|equals)\s)"
    r"[\s:]{0,3}(?=[-+$\\(0-9])"
)
# 14 over 7 before N, in either order; a charge may stand behind elements.
_NUCLIDE = re.compile(r"(?:\^([0-9]+)_(-?[0-9]+)|_(-?[0-9]+)\^([0-9]+))([A-Z][a-z]?)")
_ARROW = re.compile(r"\\(?:long)?rightarrow|\\to(?![a-z])|\\rightleftharpoons|->")
# 1s^2 2s^2 2p^6, [Ne] 3s^2 3p^1
_SHELLS = re.compile(r"(?:\[[A-Z][a-z]\])?(?:[1-7][spdf]\^[0-9]{1,2}){1,20}")
# 20 m by 30 m, 20 by 30
_BY = re.compile(r"\s?(?:\bby\b|\\times|\bx\b)\s?")
_SIZE = re.compile(r"([0-9.]+)\s?([A-Za-z]{0,12})")
_TERM = re.compile(r"[0-9]*(?:\(?(?:[A-Z][a-z]?[0-9]*)+\)?[0-9]*)+(?:\^[0-9]*[+-])?")
_NO_SOLUTION = """no solutions;there is no solution;there are no solutions;has no solution;empty set;\u65e0\u89e3
;\u7121\u89e3;no real solution;no real solutions;there is no real solution;there are no real solutions
;no solution exists;no solutions exist;no real solution exists;no real solutions exist;none"""
_SAME_WORDS: dict[str, str] = dict.fromkeys(_NO_SOLUTION.replace("\n", "").split(";"), "no solution")
_SAME_WORDS |= {"infinitely many solutions": "infinitely many", "dne": "does not exist", "not defined": "undefined"}
_SAME_WORDS |= {"converges": "convergent", "diverges": "divergent", "does not converge": "divergent"}
_SAME_WORDS |= {"quadrant i": "first quadrant", "quadrant ii": "second quadrant"}
_SAME_WORDS |= {"quadrant iii": "third quadrant", "quadrant iv": "fourth quadrant"}
# An odd number is odd and an integer; positive numbers aren't positive integers.
_SAID_ANYWAY = re.compile(
    r"(?:(?<=\bodd)|(?<=\beven)|(?<=\bprime)) (?:integers?|numbers?)$"
    r"|(?<=right)-angled\b|(?<=[a-z]) (?:triangles?|functions?|reactions?|process(?:es)?)$"
)
_REALS = "all real numbers;all reals;real numbers;any real number;every real number;all real values"
_NAMED: dict[str, Node] = {
    **dict.fromkeys(_REALS.split(";"), REALS),
    "integers": INTEGERS,
    "positive infinity": INFINITY,
    "plus infinity": INFINITY,
    "negative infinity": MINUS_INFINITY,
    "minus infinity": MINUS_INFINITY,
    "no solution": EMPTY_SET,
}

_BRACKETS = ("(", "[", "{", "set{", "begin:"), (")", "]", "}", "set}", "end:")
_EQUALS = Token("sign", "=", True)
_PARTS_OF_ONE = """one 1;two 2;half 2;halve 2;three 3;third 3;four 4;quarter 4;fourth 4;five 5;fifth 5;six 6;sixth 6
;seven 7;seventh 7;eight 8;eighth 8;nine 9;ninth 9"""
_WORDS_OF_FRACTIONS = {word: int(number) for word, number in map(str.split, _PARTS_OF_ONE.split(";"))}
_FRACTION_WORDS = re.compile(
    r"(one|two|three|four|five|six|seven|eight|nine)[\s-](halves|half|(?:third|quarter|(?:four|fif|six|seven|eigh|nin)th)s?)",
    re.IGNORECASE,
)
_CURRENCIES = frozenset("$\u00a3\u20ac\u00a5\u20b9\u00a2")
_CURRENCY_PREFIXES = frozenset(["US", "USD", "EUR", "GBP", "Rs"])
_SCALES = {"dozen": 12, "hundred": 100, "thousand": 10**3, "million": 10**6, "billion": 10**9, "trillion": 10**12}
_SCALES_OF_HEAT = (find_unit("celsius"), find_unit("fahrenheit"))
_POWER_WORDS = {"square": 2, "squared": 2, "sq": 2, "cubic": 3, "cubed": 3, "cu": 3}
_CASES = frozenset(["for", "where", "if", "when", "otherwise", "else", "but"])
# A product of more units would have factors without end.
_MAX_UNIT_TOKENS = 60
_DEGREE_SIGNS = (["^", "{", "circ", "}"], ["^", "circ"], ["degree"])
# Between tokens stands a space: "^ { - 2 }".
_EXPONENT = re.compile(r"\^ (?:\{ (?:(-) )?([0-9]) \}|(?:(-) )?([0-9]))(?= |$)")
_PERCENT_WORDS = frozenset(["percent", "percentage", "pct"])


def is_plain_number(text: str) -> bool:
    """Whether the text is an integer or a decimal in digits, of any length.

    >>> is_plain_number("-1,234.50"), is_plain_number("1/2")
    (True, False)
    """
    return _PLAIN_NUMBER.fullmatch(text) is not None


def equal_plain_numbers(gold: str, answer: str) -> bool:
    """Return whether two plain numbers are equal, as text, in linear time.

    >>> equal_plain_numbers("1,234", "+1234.0"), equal_plain_numbers("0", "-0.0"), equal_plain_numbers("0.33", "0.333")
    (True, True, False)
    """
    return gold == answer or _spell_number(gold) == _spell_number(answer)


def _spell_number(number: str) -> tuple[bool, str, str]:
    found = _PLAIN_NUMBER.fullmatch(number)
    if found is None:
        raise ValueError(f"{number[:40]!r} is no plain number")
    sign, whole, tail, only_tail = found.groups(default="")
    whole = whole.replace(",", "").lstrip("0")
    tail = (tail or only_tail).rstrip("0")
    return sign == "-" and bool(whole or tail), whole, tail


def read(text: str) -> Reading:
    r"""Return what an answer says.

    >>> read("101_2").node, read(r"\text{(B)}").node.letter, read(r"\text{Tuesday}.").node
    (Digits(digits='101', base=2), 'B', Words(text='tuesday'))

    Raises:
        UnreadableError: It says nothing that could be compared.
    """
    if len(text) > MAX_FORMULA_CHARS:
        raise UnreadableError("too long")
    return _read(text)


@lru_cache(maxsize=4_096)
def _read(text: str) -> Reading:
    normal = normalize(text)
    stated = _STATED.match(normal)
    if stated and DENIALS.isdisjoint(stated.group().casefold().split()):
        normal = normal[stated.end() :]
    plain = " ".join(_MARKS.sub(" ", _MARK_BEFORE_SIGN.sub("", normal)).split()).strip("* ")
    if not plain:
        raise UnreadableError("blank")
    node = _read_parts(plain) or _read_choice(plain) or _read_statements(plain)
    return Reading(normal, node or _read_value(normal, plain))


def _read_parts(plain: str) -> Parts | None:
    """Read "(1) 2; (2) 3", in any order; None where there are no parts, or one is missing."""
    if ")" not in plain[:8]:
        return None
    for pattern in _PART_LABELS:
        found = list(pattern.finditer(plain))
        labels = [label.group(1).lower() for label in found]
        for names in _PART_NAMES:
            if len(found) > 1 and sorted(labels) == sorted(names[: len(found)]) and found[0].start() == 0:
                ends = [*(label.start() for label in found[1:]), len(plain)]
                texts = [plain[label.end() : end].strip(" ;,.") for label, end in zip(found, ends, strict=True)]
                texts = [texts[labels.index(name)] for name in names[: len(found)]]
                if any(map(_PROOF.search, texts)):
                    raise UnreadableError("a part is a proof")
                return Parts(tuple(map(read, texts))) if all(map(_is_whole, texts)) else None
    return None


def _read_statements(plain: str) -> Several | None:
    """Read (1)(3)(4) as the list of these statements, never as a product."""
    if not _STATEMENTS.fullmatch(plain):
        return None
    return Several("list", tuple(Number(Fraction(number)) for number in re.findall("[0-9]+", plain)))


def _is_whole(text: str) -> bool:
    """Whether a text may be the answer to a part: "(1) + (2)" is a sum."""
    is_open = _OPEN_START.match(text) and not text[1:2].isalnum()
    return bool(text) and not is_open and text.count("(") + text.count("[") == text.count(")") + text.count("]")


def read_parts_without_labels(text: str, num_parts: int) -> tuple[Reading, ...] | None:
    """Return the readings of "2; 3" or "2, 3" as the answers to so many parts; None where they aren't so many."""
    for separator in ";,":
        texts = _split_outside_of_brackets(text, separator)
        if len(texts) == num_parts:
            try:
                return tuple(map(read, texts))
            except UnreadableError:
                return None
    return None


def _split_outside_of_brackets(text: str, separator: str) -> list[str]:
    parts, depth = [""], 0
    for char in text:
        depth += (char in "([{") - (char in ")]}")
        if char == separator and depth == 0:
            parts.append("")
        else:
            parts[-1] += char
    return parts


def _read_choice(plain: str) -> Choice | None:
    choice = _CHOICE.fullmatch(plain)
    if choice:
        letter = (choice.group(1) or choice.group(2)).upper()
        if letter in _CHOICES and (len(plain) > 1 or plain.isupper()):
            return Choice(letter, is_variable=len(plain) == 1 and plain not in "EI")
        return None
    with_text = _CHOICE_WITH_TEXT.fullmatch(plain)
    if with_text is None or _OTHER_CHOICE.match(with_text.group(3)):
        return None
    letter = with_text.group(1) or with_text.group(2)
    if letter.upper() not in _CHOICES:
        return None
    try:
        behind = read(with_text.group(3))
    except UnreadableError:
        behind = None
    # "(a) x" may be the product of a and x.
    is_worded = behind is None or isinstance(behind.node, (Words, Choice))
    return Choice(letter.upper(), behind) if with_text.group(2) or letter.isupper() or is_worded else None


def _read_value(normal: str, plain: str) -> Node:
    node = _read_digits(plain) or read_clock(plain) or _read_date(plain)
    if node is not None:
        return node
    if plain == "{}":
        return EMPTY_SET
    fraction = _FRACTION_WORDS.fullmatch(plain)
    if fraction:
        top, bottom = (_WORDS_OF_FRACTIONS[word.casefold().rstrip("s")] for word in fraction.groups())
        return Number(Fraction(top, bottom))
    words = _read_words(normal, plain) or _read_chemistry(plain)
    if words in _NAMED:
        return _NAMED[words]
    if words is not None:
        return Words(words)
    sizes = [_SIZE.fullmatch(part) for part in _BY.split(plain)]
    if len(sizes) > 1 and all(sizes) and (" by " in plain or all(size[2] for size in sizes if size)):
        return read(", ".join(rf"{size[1]}\text{{ {size[2]}}}" for size in sizes if size)).node
    try:
        return _read_formula(normal)
    except UnreadableError:
        # H_2SO_4 is H2SO4.
        formula = re.sub(r"[_{}\s]", "", plain)
        if _CODE.fullmatch(plain) or _ELEMENTS.fullmatch(formula):
            return Words(formula)
        if _PROSE.fullmatch(plain) and any(len(run) >= 3 or not run.isascii() for run in _LETTERS.findall(plain)):
            return Words(one_spelling(plain))
        raise


def _read_formula(normal: str) -> Node:
    tokens = _with_items(tokenize(normal))
    equals = [place for place, token in enumerate(tokens) if token.text == "=" and token.kind == "sign"]
    head, tail = (tokens[: equals[0]], tokens[equals[0] + 1 :]) if len(equals) == 1 else ([], tokens)
    parts, names = (split_tokens(part, ":", *_BRACKETS) for part in (tail, head))
    if any(token.kind == "word" or token.text in OPERATORS for token in head) and len(parts) == 1:
        # What stands before "=" is the name of the value.
        return read_quantity([Token("letter", " ".join(token.text for token in head), True), _EQUALS, *tail])
    if len(parts) == 1:
        return read_quantity(tokens)
    if all(token.kind == "word" for token in parts[0]):
        # A label: "Total: 12".
        return read_quantity(tail[len(parts[0]) + 1 :])
    return Ratio(tuple(map(parse, parts)), tuple(map(parse, names)) if len(names) == len(parts) else ())


@lru_cache(maxsize=1_024)
def read_letters_as_units(text: str, *, need_space: bool) -> Quantity | None:
    """Return the quantity in which a letter behind a number is a unit ("12 m"), or None without one."""
    try:
        found = read_quantity(tokenize(normalize(text)), unit_letters="spaced" if need_space else "any")
    except UnreadableError:
        return None
    return found if isinstance(found, Quantity) and found.unit is not None else None


def read_clock(plain: str, *, is_time: bool = False) -> Clock | None:
    """Return a time of the day; h:mm is one if it `is_time`, or can be no ratio.

    A ratio would be in its lowest terms and without a leading zero.
    """
    if plain.casefold() in _NAMED_TIMES:
        return Clock(_NAMED_TIMES[plain.casefold()], has_half=True)
    found = _CLOCK.fullmatch(plain)
    if found is None:
        return None
    hours, minutes, half = int(found.group(1)), int(found.group(2) or 0), (found.group(3) or "").lower()
    if half:
        return Clock((hours % 12 + 12 * (half == "p")) * 60 + minutes, has_half=True) if 0 < hours < 13 else None
    is_time |= minutes < 10 or hours == 0 or Fraction(hours, minutes).numerator != hours
    is_time = is_time if found.group(2) else plain.casefold().endswith("clock")
    return Clock(hours * 60 + minutes, has_half=False) if is_time else None


def _read_date(plain: str) -> Words | None:
    """Read "October 9, 2017" and "9 October 2017" as one; None for what is no date."""
    found = _DATE.fullmatch(plain)
    if found is None:
        return None
    month, day = found.group(1) or found.group(4), found.group(2) or found.group(3)
    return Words(f"{month[:3].casefold()} {int(day)} {found.group(5) or ''}".rstrip())


def _read_digits(plain: str) -> Digits | None:
    compact = plain.replace(" ", "") if "_" in plain else plain
    found = _BASE.fullmatch(compact)
    if found:
        base = found.group(2) or found.group(3)
        number = _BASE_NAMES.get(base) if base.isalpha() else int(base)
        if number is not None and 2 <= number <= 36 and _has_base(found.group(1), number):
            return Digits(found.group(1).lstrip("0").upper() or "0", number)
    return None


def _has_base(digits: str, base: int) -> bool:
    """Whether the digits may be of the base; x_2 and 3x_2 are variables, DEAD_{16} isn't."""
    is_name = digits.isalpha() and not (base == 16 and digits.isupper() and len(digits) > 1)
    return not is_name and all(int(digit, 36) < base for digit in digits if digit != ".")


def _read_words(normal: str, plain: str) -> str | None:
    """Return plain words in one spelling, or None where the text is a formula."""
    if not _WORDS.fullmatch(plain):
        return None
    runs = _LETTERS.findall(plain)
    is_word = [len(run) >= 3 or run.casefold() in TWO_LETTER_WORDS or not run.isascii() for run in runs]
    is_function = [run in PLAIN_COMMANDS or run.casefold() in ("infinity", "or", "and") for run in runs]
    has_word = any(word and not function for word, function in zip(is_word, is_function, strict=True))
    is_marked = TEXT_OPEN in normal and not any(is_function)
    return one_spelling(plain) if has_word or is_marked else None


def _read_chemistry(plain: str) -> str | None:
    r"""Return one spelling of a reaction, its terms in any order, or of a nuclide; None for other texts.

    >>> _read_chemistry(r"O_2 + 2H_2 \to 2H_2O"), _read_chemistry("^{14}_{7}N")
    ('2H2+O2->2H2O', '14-7-N')
    """
    nuclide = _NUCLIDE.fullmatch(re.sub(r"[{}\s]", "", plain))
    if nuclide:
        mass, charge = nuclide.group(1) or nuclide.group(4), nuclide.group(2) or nuclide.group(3)
        return f"{mass}-{charge}-{nuclide.group(5)}"
    shells = re.sub(r"[{}\s]", "", plain)
    if _SHELLS.fullmatch(shells) and shells.count("^") > 1:
        return shells
    sides = [re.sub(r"[_{}\s]|\((?:aq|s|l|g)\)", "", side).split("+") for side in _ARROW.split(plain)]
    terms = [term for side in sides for term in side]
    is_reaction = len(sides) == 2 and len(terms) > 2 and any(re.search("[A-Z][a-z]?[0-9]", term) for term in terms)
    if not is_reaction or not all(map(_TERM.fullmatch, terms)):
        return None
    return "->".join("+".join(sorted(side)) for side in sides)


def one_spelling(plain: str) -> str:
    words = " ".join(plain.casefold().replace("\u2019", "'").split()).strip(" .!?,;:").removesuffix("\u6761\u4ef6")
    items = _WORD_JOINT.split(_ARTICLE.sub("", words))
    words = ", ".join(sorted(items) if " and " in words or words[:1].isdigit() else items)
    words = _SAID_ANYWAY.sub("", words)
    return _SAME_WORDS.get(words, words)


# Formulas with units, percent signs and currencies.


def read_quantity(tokens: list[Token], *, unit_letters: str = "") -> Node:
    """Return the formula that the tokens hold, as a `Quantity` where a unit or percent sign stands with it.

    `unit_letters` says which single letters behind a number are units: none, "spaced" ones, or "any".

    Raises:
        UnreadableError: They hold no formula, or what stands behind it is no unit.
    """
    tokens = _with_roman_variables(_spell_out(_without_explanation(_with_labels(_without_noun(tokens)))))
    compound = _read_compound(tokens)
    if compound is not None:
        return compound
    tokens, currency = _strip_currency(tokens)
    tokens, is_percent = _strip_percent(tokens)
    tokens, degree = _strip_degree(tokens)
    start = _unit_start(tokens, unit_letters)
    _check_nouns(tokens[start:])
    unit, scale = _read_unit(tokens[start:])
    node = parse(tokens[:start])
    if scale != 1:
        node = Number(node.value * scale) if isinstance(node, Number) else Mul(node, Number(Fraction(scale)))
    units = [found for found in (currency, degree, unit) if found is not None]
    return Quantity(node, reduce(Unit.times, units) if units else None, is_percent) if units or is_percent else node


def _with_items(tokens: list[Token]) -> list[Token]:
    """Return "mean 7, mode: 5" and "7 boys, 5 girls" with names for their values, and "3 cm, 4 cm" as "3, 4 cm"."""
    parts = split_tokens(tokens, SEPARATORS, *_BRACKETS)
    if len(parts) < 2 or not all(parts):
        return tokens
    joints, place = [], -1
    for part in parts[:-1]:
        place += len(part) + 1
        joints.append(tokens[place])
    heads, values, tails = zip(*map(_cut_words, parts), strict=True)
    if all(values) and len(set(map(_text_of, tails))) == 1 and tails[0]:
        # One unit behind each value: it stands behind the last.
        parts = [[*head, *value] for head, value in zip(heads, values, strict=True)]
        parts[-1] += tails[-1]
    names = [_text_of(head) for head in heads] if all(heads) else [_text_of(tail) for tail in tails]
    is_named = (
        all(values) and all(names) and len(set(names)) == len(names) and (all(heads) or not any(map(find_unit, names)))
    )
    if is_named and not any(token.text in RELATIONS for part in parts for token in part):
        parts = [[Token("word", name, True), _EQUALS, *value] for name, value in zip(names, values, strict=True)]
    joined = [*parts[0]]
    for joint, part in zip(joints, parts[1:], strict=True):
        joined += [joint, *part]
    return joined


def _cut_words(part: list[Token]) -> tuple[list[Token], list[Token], list[Token]]:
    """Return the words before a value, without a colon, the value, and the words behind it."""
    start = next((place for place, token in enumerate(part) if token.kind != "word" and token.text != ":"), len(part))
    end = next((place for place, token in enumerate(part) if place > start and token.kind == "word"), len(part))
    return [token for token in part[:start] if token.text != ":"], part[start:end], part[end:]


def _text_of(tokens: list[Token]) -> str:
    return " ".join(token.text.casefold() for token in tokens)


def _without_noun(tokens: list[Token]) -> list[Token]:
    """Return "the point (1, 2)" and "all integers n > 2" without their words."""
    start = next((place for place, token in enumerate(tokens) if token.kind != "word"), 0)
    words = {token.text.casefold() for token in tokens[:start]}
    is_noun = words <= POINT_WORDS or (words <= QUANTIFIED_WORDS and tokens[start + 1].text in RELATIONS)
    return tokens[start:] if is_noun else tokens


def _with_labels(tokens: list[Token]) -> list[Token]:
    r"""Return the words before an equals sign as one name: `\text{Total cost} = 12`."""
    found: list[Token] = []
    words: list[Token] = []
    for token in tokens:
        if token.kind == "word":
            words.append(token)
            continue
        is_label = token.text == "=" and words and (not found or found[-1].text in (",", ";", "land", "lor"))
        name = " ".join(word.text.casefold() for word in words)
        found += [Token("letter", name, words[0].is_spaced)] if is_label else words
        found.append(token)
        words = []
    return found + words


def _without_explanation(tokens: list[Token]) -> list[Token]:
    """Return what stands before "where k is an integer"."""
    for place, token in _outside_of_rows(tokens):
        if place and token.kind == "word" and token.text in ("for", "where"):
            # "5 for n = 1, 6 for n = 2" gives two values.
            rest = tokens[place + 1 :]
            has_cases = any(other.kind == "word" and other.text in _CASES for other in rest)
            if token.text == "for" and any(other.text == "=" for other in rest):
                # "2 for n = 1" is no answer for all n.
                return tokens
            constants = [other.text for other in rest if other.kind == "letter"] if _has_constant(rest) else []
            named = {name: f"C_{number}" for number, name in enumerate(dict.fromkeys(constants), 1)}
            kept = [token._replace(text=named.get(token.text, token.text)) for token in tokens[:place]]
            return tokens if has_cases else _without_comma(kept)
    return tokens


def _has_constant(tokens: list[Token]) -> bool:
    return any(token.text in ("constant", "constants", "arbitrary") for token in tokens)


def _without_comma(tokens: list[Token]) -> list[Token]:
    return tokens[:-1] if tokens[-1].text in (",", ";") else tokens


def _outside_of_rows(tokens: list[Token]) -> Iterator[tuple[int, Token]]:
    """Return the tokens, with their places, that stand in no matrix and no system."""
    depth = 0
    for place, token in enumerate(tokens):
        if token.kind == "command":
            depth += token.text.startswith("begin:") - token.text.startswith("end:")
        if depth == 0:
            yield place, token


def _spell_out(tokens: list[Token]) -> list[Token]:
    """Return "2k (k in Z)" as "2k, k in Z"."""
    if len(tokens) < 6 or not (tokens[-1].kind == "sign" and tokens[-1].text == ")"):
        return tokens
    depth, has_relation = 0, False
    for place in range(len(tokens) - 1, 0, -1):
        token = tokens[place]
        if token.kind in ("sign", "command"):
            depth += (token.text in (")", "]", "}", "set}")) - (token.text in ("(", "[", "{", "set{"))
            has_relation |= depth == 1 and token.text in RELATIONS
        if depth == 0:
            # f(x = 2) holds no domain.
            if place == 1 or token.text != "(" or not has_relation:
                return tokens
            return [*tokens[:place], Token("sign", ",", False), *tokens[place + 1 : -1]]
    return tokens


def _with_roman_variables(tokens: list[Token]) -> list[Token]:
    r"""Return the tokens with the \mathrm{m} of "1 < m < 2" as a variable: no unit stands there alone."""
    ends = ["=", *(token.text if token.kind in ("sign", "command") else "" for token in tokens), "="]
    if not RELATIONS.intersection(ends[1:-1]):
        return tokens
    return [
        Token("letter", token.text, token.is_spaced)
        if token.kind == "word" and len(token.text) == 1 and ends[place] in RELATIONS and ends[place + 2] in RELATIONS
        else token
        for place, token in enumerate(tokens)
    ]


def _check_nouns(tokens: list[Token]) -> None:
    """Refuse words that take back or loosen the number before them: "5 is wrong", "5 at most"."""
    words = [token.text.casefold() for token in tokens if token.kind == "word"]
    if words and (words[0] in LOOSENING_WORDS or not (DENIALS | OPERATIONS).isdisjoint(words)):
        raise UnreadableError("words that are no noun")


def _read_compound(tokens: list[Token]) -> Quantity | None:
    """Read a sum of quantities such as "5 hours 30 minutes"; None where it is none."""
    parts = [token for token in tokens if token.text not in ("land", ",")]
    kinds = ["number" if token.kind == "number" else "unit" for token in parts]
    if len(parts) < 4 or kinds != ["number", "unit"] * (len(parts) // 2):
        return None
    units = [find_unit(token.text) for token in parts[1::2]]
    first = units[0]
    sizes = [unit.factor for unit in units if unit is not None and first and unit.dimensions == first.dimensions]
    # "5 cm, 3 cm" is a list: a sum goes from large units to small ones.
    if first is None or len(sizes) < len(units) or sizes != sorted(set(sizes), reverse=True):
        return None
    total = sum(parse_number(token.text) * size for token, size in zip(parts[::2], sizes, strict=True))
    return Quantity(Number(Fraction(total)), Unit(first.dimensions, Fraction(1)))


def _strip_currency(tokens: list[Token]) -> tuple[list[Token], Unit | None]:
    """Return the tokens without a currency sign before or behind the number, and its unit."""
    place = 1 if tokens and tokens[0].text in ("-", "+") else 0
    unit = None
    if tokens[place:] and tokens[place].text in _CURRENCY_PREFIXES:
        unit = find_unit(tokens[place].text)
        tokens = tokens[:place] + tokens[place + 1 :]
        if tokens[place:] and tokens[place].text == ".":
            tokens = tokens[:place] + tokens[place + 1 :]
    for where in (place, len(tokens) - 1):
        if 0 <= where < len(tokens) > 1 and tokens[where].text in _CURRENCIES:
            return tokens[:where] + tokens[where + 1 :], find_unit(tokens[where].text)
    return tokens, unit


def _strip_percent(tokens: list[Token]) -> tuple[list[Token], bool]:
    joints = (",", "lor", "land") if not tokens or tokens[0].kind in ("letter", "word") else (",", "lor", "land", "=")
    if len(tokens) > 1 and tokens[-1].text == "%" and all(token.text not in joints for token in tokens):
        return tokens[:-1], True
    for place, token in enumerate(tokens):
        if place and token.kind == "word" and token.text.casefold() in _PERCENT_WORDS:
            return tokens[:place] + tokens[place + 1 :], True
    return tokens, False


def _strip_degree(tokens: list[Token]) -> tuple[list[Token], Unit | None]:
    r"""Return the tokens without a degree sign at their end (`90^\circ`, `20^\circ C`), and its unit."""
    scale = tokens[-1].text if tokens[-1:] and tokens[-1].kind in ("letter", "word") else ""
    body = tokens[:-1] if scale in ("C", "F") else tokens
    texts = [token.text for token in body]
    sizes = [size for size in (4, 2, 1) if texts[-size:] in _DEGREE_SIGNS]
    if not sizes:
        return tokens, None
    value = body[: -sizes[0]]
    behind_equals = max((place for place, token in enumerate(value) if token.text == "="), default=-1) + 1
    if not value[behind_equals:] or not _is_plain_number(value[behind_equals:]):
        return tokens, None
    return value, find_unit(f"\u00b0{scale}") if body is not tokens else DEGREE


def _is_plain_number(tokens: list[Token]) -> bool:
    r"""Whether the tokens are no function or list, whose last part alone the degree sign would belong to."""
    return all(
        token.kind == "number" or token.text in ("-", "+", "frac", "{", "}", "(", ")", "/", ".") for token in tokens
    )


def _unit_start(tokens: list[Token], unit_letters: str) -> int:
    """Return where the unit begins: at the first word behind a value."""
    for place, token in _outside_of_rows(tokens):
        if place == 0:
            continue
        if token.kind == "word":
            is_bracketed = place > 1 and tokens[place - 1].text == "(" and tokens[-1].text == ")"
            is_behind = is_bracketed and tokens[place - 2].kind == "number"
            return place - 1 if is_behind or tokens[place - 1].text == "/" else place
        is_behind_value = tokens[place - 1].kind == "number" or tokens[place - 1].text in (")", "}")
        is_letter = token.kind == "letter" and (
            unit_letters == "any" or (unit_letters == "spaced" and token.is_spaced)
        )
        if is_letter and is_behind_value and find_unit(token.text):
            return place
    return len(tokens)


def _read_unit(tokens: list[Token]) -> tuple[Unit | None, int]:
    """Return the unit that the tokens name, None where they name none, and a number word's factor."""
    if len(tokens) > _MAX_UNIT_TOKENS:
        raise UnreadableError("too many words behind a number")
    unit, scale, sign, power_of_next = NO_UNIT, 1, 1, 1
    previous: Unit | None = None
    place = 0
    while place < len(tokens):
        token = tokens[place]
        place += 1
        name = token.text
        if (token.kind == "sign" and name == "/") or (name == "per" or (place > 1 and name in ("a", "an"))):
            sign, previous = -1, None
        elif token.kind == "word" and name.casefold().rstrip("s") in _SCALES:
            scale *= _SCALES[name.casefold().rstrip("s")]
        elif token.kind == "word" and name.casefold() in _POWER_WORDS:
            power = _POWER_WORDS[name.casefold()]
            if previous is not None and name.casefold().endswith("d"):
                unit = unit.times(previous, sign * (power - 1))
            else:
                power_of_next = power
        elif token.kind in ("word", "letter"):
            previous = find_unit(name)
            if previous in _SCALES_OF_HEAT and unit == DEGREE:
                unit = NO_UNIT
            power, place = _read_exponent(tokens, place)
            if previous is not None:
                unit = unit.times(previous, sign * power * power_of_next)
            elif token.kind == "letter":
                raise UnreadableError(f"{name!r} is no unit")
            power_of_next = 1
        elif token.text not in ("*", "(", ")"):
            raise UnreadableError(f"{name!r} behind a unit")
    return (None if unit == NO_UNIT else unit), scale


def _read_exponent(tokens: list[Token], place: int) -> tuple[int, int]:
    found = _EXPONENT.match(" ".join(token.text for token in tokens[place : place + 5]))
    return (int("".join(filter(None, found.groups()))), place + len(found.group().split())) if found else (1, place)
