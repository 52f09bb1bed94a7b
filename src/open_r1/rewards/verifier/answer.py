# SPDX-License-Identifier: Apache-2.0
r"""Reads an answer as what it is: a choice letter, words, digits in a base, a time, a ratio, parts, or a formula."""

import re
from fractions import Fraction
from functools import lru_cache

from open_r1.rewards.verifier.grammar import parse, parse_number
from open_r1.rewards.verifier.normalize import normalize
from open_r1.rewards.verifier.quantity import read_quantity
from open_r1.rewards.verifier.tokens import (
    DENIALS,
    MAX_FORMULA_CHARS,
    PLAIN_COMMANDS,
    TEXT_CLOSE,
    TEXT_OPEN,
    TWO_LETTER_WORDS,
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
    Neg,
    Node,
    Number,
    Parts,
    Quantity,
    Ratio,
    Reading,
    Several,
    Words,
)

# What can still be compared with a power in well under a second.
MAX_NUMBER_CHARS = 200_000
_MAX_SPELLED_CHARS = 2_000_000
_DIGIT_RUNS = re.compile(r"\d+")
_PLAIN_NUMBER = re.compile(r"\s*([+-]?)(?:(\d{1,3}(?:,\d{3})+|\d+)(?:\.(\d*))?|\.(\d+))\s*(?:\.\s*)?", re.ASCII)

_MARKS = re.compile(f"[{TEXT_OPEN}{TEXT_CLOSE}]")
_MARK_BEFORE_SIGN = re.compile(rf"{TEXT_CLOSE}(?=[).:])")
_ARTICLE = re.compile(r"(?:an?|the) (?=[^\W\d_]{3})")

_CHOICE_WORD = r"(?:(?:option|choice|answer)\s*)?"
_CHOICE = re.compile(rf"{_CHOICE_WORD}(?:\(\s*([A-Z])\s*\)|([A-Z])\s*[).:]?)", re.IGNORECASE)
# "a:b" and "A:B" are ratios.
_CHOICE_WITH_TEXT = re.compile(
    r"(?:\(([A-Z])\)|([A-Z])(?:[).]|(?-i:(?<=[A-Z]):)(?!\s*[A-Z]\s*(?::|$))))\s*(\S.*)", re.IGNORECASE | re.DOTALL
)
_CHOICES = frozenset("ABCDEFGHIJ")
_CHOICE_LETTER = r"(?:\([A-J]\)|[A-J](?![A-Za-z])[).:]?)"
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
_BASE_NAMES = {"two": 2, "three": 3, "four": 4, "five": 5, "six": 6, "seven": 7, "eight": 8, "nine": 9, "ten": 10}
_BASE_NAMES |= {"twelve": 12, "sixteen": 16, "binary": 2, "octal": 8, "hex": 16, "bin": 2, "oct": 8, "dec": 10}

_CLOCK = re.compile(
    r"(?:at )?([01]?[0-9]|2[0-4])(?::([0-5][0-9]))?\s*(?:([ap])\.?\s?m\.?|noon|o'clock)?(?: sharp)?", re.IGNORECASE
)
_MONTH = r"(jan(?:uary)?|feb(?:ruary)?|mar(?:ch)?|apr(?:il)?|may|june?|july?|aug(?:ust)?|sep(?:t(?:ember)?)?"
_MONTH += r"|oct(?:ober)?|nov(?:ember)?|dec(?:ember)?)\.?"
_DAY = r"([0-3]?[0-9])(?:st|nd|rd|th)?"
_DATE = re.compile(rf"(?:{_MONTH} {_DAY}|{_DAY} (?:of )?{_MONTH})(?:,? ([12][0-9]{{3}}))?", re.IGNORECASE)
_NAMED_TIMES = {"noon": 12 * 60, "midday": 12 * 60, "12 noon": 12 * 60, "midnight": 0, "12 midnight": 0}

# "(1) ...; (2) ...", each number behind the start or what ends a part.
_PART_NAME = r"([1-9]|i{1,3}|iv|vi{0,3}|[a-h])"
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
_ELEMENTS = re.compile(r"(?:[A-Z][a-z]?[0-9]*){1,20}")
# "The sum is 100", which says nothing against it.
_STATED = re.compile(
    rf"(?:{TEXT_OPEN}\s?(?:[A-Za-z]+\s){{1,8}}?(?:is|are|equals)\s?{TEXT_CLOSE}|(?:[A-Za-z]+\s){{1,8}}?(?:is|are|equals)\s)"
    r"[\s:]{0,3}(?=[-+$\\(0-9])"
)
# 14 over 7 before N, in either order; a charge may stand behind elements.
_NUCLIDE = re.compile(r"(?:\^([0-9]+)_(-?[0-9]+)|_(-?[0-9]+)\^([0-9]+))([A-Z][a-z]?)")
_ARROW = re.compile(r"\\(?:long)?rightarrow|\\to(?![a-z])|\\rightleftharpoons|->")
_TERM = re.compile(r"[0-9]*(?:\(?(?:[A-Z][a-z]?[0-9]*)+\)?[0-9]*)+(?:\^[0-9]*[+-])?")
_SAME_WORDS = {
    **dict.fromkeys(
        [
            "no solutions",
            "there is no solution",
            "there are no solutions",
            "has no solution",
            "empty set",
            "\u65e0\u89e3",
            "\u7121\u89e3",
            "no real solution",
            "no real solutions",
            "there is no real solution",
            "there are no real solutions",
        ],
        "no solution",
    ),
    "dne": "does not exist",
    "not defined": "undefined",
}
_NAMED: dict[str, Node] = {
    **dict.fromkeys(
        ["all real numbers", "all reals", "real numbers", "any real number", "every real number", "all real values"],
        REALS,
    ),
    "all integers": INTEGERS,
    **dict.fromkeys(["positive infinity", "plus infinity"], INFINITY),
    **dict.fromkeys(["negative infinity", "minus infinity"], MINUS_INFINITY),
    "no solution": EMPTY_SET,
}


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
    return _read(text) if len(text) <= MAX_FORMULA_CHARS else _read_long(normalize_long(text))


def normalize_long(text: str) -> str:
    """Return a text that is too long for a formula normalised where it may still be a number, else as it is."""
    if len(text) <= MAX_FORMULA_CHARS:
        return text
    text = text.strip()
    is_number = len(text) <= _MAX_SPELLED_CHARS and 3 * sum(map(len, _DIGIT_RUNS.findall(text))) >= len(text)
    return normalize(text) if is_number or len(text) <= MAX_FORMULA_CHARS else text


def _read_long(normal: str) -> Reading:
    """Read a text that is longer than a formula may be: only a plain number, whose other side may be a power."""
    if len(normal) <= MAX_FORMULA_CHARS:
        return _read(normal)
    if len(normal) > MAX_NUMBER_CHARS or not is_plain_number(normal):
        raise UnreadableError("too long")
    value = parse_number(normal.replace(",", "").strip("+-. "))
    return Reading(normal, Number(-value if normal.startswith("-") else value))


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
        labels = [label.group(1) for label in found]
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
    node = _read_digits(plain) or _read_clock(plain) or _read_date(plain)
    if node is not None:
        return node
    if plain == "{}":
        return EMPTY_SET
    words = _read_words(normal, plain) or _read_chemistry(plain)
    if words in _NAMED:
        return _NAMED[words]
    if words is not None:
        return Words(words)
    try:
        return _read_formula(normal)
    except UnreadableError:
        # H_2SO_4 is H2SO4.
        formula = re.sub(r"[_{}\s]", "", plain)
        if _CODE.fullmatch(plain) or _ELEMENTS.fullmatch(formula):
            return Words(formula)
        if _PROSE.fullmatch(plain) and any(len(run) >= 3 or not run.isascii() for run in _LETTERS.findall(plain)):
            return Words(_one_spelling(plain))
        raise


def _read_formula(normal: str) -> Node:
    tokens = tokenize(normal)
    equals = [place for place, token in enumerate(tokens) if token.text == "=" and token.kind == "sign"]
    head, tail = (tokens[: equals[0]], tokens[equals[0] + 1 :]) if len(equals) == 1 else ([], tokens)
    parts, names = (split_tokens(part, ":", ("(", "[", "{", "set{"), (")", "]", "}", "set}")) for part in (tail, head))
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


def read_as_list(text: str) -> Node | None:
    """Return "100,200" as a list of two numbers, or None where that can't be."""
    if not re.fullmatch(r"-?[0-9]{1,3}(?:,[0-9]{3})+", text):
        return None
    items: list[Node] = [Number(Fraction(part)) for part in text.lstrip("-").split(",")]
    return Several("list", (Neg(items[0]) if text.startswith("-") else items[0], *items[1:]))


def read_as_clock(text: str) -> Clock | None:
    """Return 11:17, which may be a ratio as well, as a time."""
    found = _CLOCK.fullmatch(text)
    return Clock(int(found.group(1)) * 60 + int(found.group(2)), has_half=False) if found and found.group(2) else None


def _read_clock(plain: str) -> Clock | None:
    if plain.casefold() in _NAMED_TIMES:
        return Clock(_NAMED_TIMES[plain.casefold()], has_half=True)
    found = _CLOCK.fullmatch(plain)
    if found is None:
        return None
    hours, minutes, half = int(found.group(1)), int(found.group(2) or 0), (found.group(3) or "").lower()
    if half:
        return Clock((hours % 12 + 12 * (half == "p")) * 60 + minutes, has_half=True) if 0 < hours < 13 else None
    if plain.casefold().endswith("noon"):
        return Clock(12 * 60, has_half=True) if (hours, minutes) == (12, 0) else None
    is_time = plain.casefold().endswith("clock") or (found.group(2) is not None and _is_clock(hours, minutes))
    return Clock(hours * 60 + minutes, has_half=False) if is_time else None


def _read_date(plain: str) -> Words | None:
    """Read "October 9, 2017" and "9 October 2017" as one; None for what is no date."""
    found = _DATE.fullmatch(plain)
    if found is None:
        return None
    month, day = found.group(1) or found.group(4), found.group(2) or found.group(3)
    return Words(f"{month[:3].casefold()} {int(day)} {found.group(5) or ''}".rstrip())


def _is_clock(hours: int, minutes: int) -> bool:
    """Whether h:mm is read as a time: a ratio would be in its lowest terms and without a leading zero."""
    return minutes < 10 or hours == 0 or Fraction(hours, minutes).numerator != hours


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
    return _one_spelling(plain) if has_word or is_marked else None


def _read_chemistry(plain: str) -> str | None:
    r"""Return one spelling of a reaction, its terms in any order, or of a nuclide; None for other texts.

    >>> _read_chemistry(r"O_2 + 2H_2 \to 2H_2O"), _read_chemistry("^{14}_{7}N")
    ('2H2+O2->2H2O', '14-7-N')
    """
    nuclide = _NUCLIDE.fullmatch(re.sub(r"[{}\s]", "", plain))
    if nuclide:
        mass, charge = nuclide.group(1) or nuclide.group(4), nuclide.group(2) or nuclide.group(3)
        return f"{mass}-{charge}-{nuclide.group(5)}"
    sides = [re.sub(r"[_{}\s]", "", side).split("+") for side in _ARROW.split(plain)]
    terms = [term for side in sides for term in side]
    is_reaction = len(sides) == 2 and len(terms) > 2 and any(re.search("[A-Z][a-z]?[0-9]", term) for term in terms)
    if not is_reaction or not all(map(_TERM.fullmatch, terms)):
        return None
    return "->".join("+".join(sorted(side)) for side in sides)


def _one_spelling(plain: str) -> str:
    words = " ".join(plain.casefold().replace("\u2019", "'").split()).strip(" .!?,;:")
    words = _ARTICLE.sub("", words)
    return _SAME_WORDS.get(words, words)
