# SPDX-License-Identifier: Apache-2.0
r"""N-grams of benchmark items, and the rows that share them, by Arrow kernels.

>>> index = Index(make_rule(8, "default"))
>>> index.add("aime_2024", 0, "Find the least $n>1$ such that $n^2$ ends in the same two digits as $n$.")
>>> counts = index.build()
>>> rows = ["2+2?", "Problem 3. Find the **least** n > 1 such that n² ends in the same digit"]
>>> [hit] = index.match(pa.array(rows, pa.large_string()))
>>> hit.row, hit.kind, hit.length
(1, 'n-gram', 13)

Words, by the normalization:

    none      lower case, split at white space: `normalize_string` of Open R1 and s1
    default   runs of letters, runs of digits, LaTeX commands; a Chinese or Japanese character alone is a word.
              `$x\,\le\,\dfrac{1}{2}$`, `x ≤ ½` and `x <= 1/2` are all [x, 1, 2]

An n-gram is *distinctive* when it flags a row by itself. With the default rule it then is in fewer than
`boilerplate_items` different items, and half of its words are prose (`x_1, x_2, x_3, x_4` is eight words) that is not
part of such boilerplate: `21 sheep. Express your answer as a` is boilerplate behind a number. A run of three times as
many words flags whatever the number of items, if half of it is prose and the row continues with half of the item.

An item without distinctive n-grams (a short one, a formula) flags a row that holds it whole, with the same operators,
standing by itself: behind the start of the row, one of `.?!:;`, a line break or a label (`Question`, `(1)`, `[INST]`),
and before the end, one of these signs, or a word that begins a sentence (`Let's think`). So `What is 2+2?` is found
behind `Solve this.`, but not in `What is 2+2*3?`. An item of one or two words must be the whole row.

Not seen through: grouping in short items, `xy` for `x y`, `\frac12`; in Chinese and Japanese 8 characters are 8 words.

Axes: N words of all rows or items, I items, R rows.
"""

import re
import unicodedata
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from functools import cached_property, lru_cache
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute
from numpy.typing import NDArray

from open_r1.curation.commands import ALIASES, IGNORED, OPERATORS, SYMBOLS

pc: Any = pyarrow.compute  # its functions are made at import
NormalizationName = Literal["none", "default"]
Positions = NDArray[np.int64]
Hashes = NDArray[np.uint64]

# From the planted corpus (tests/rows/planted.py): from 2 to 8, all contaminated rows are found and no others; from 16
# on, rows are flagged for a phrase like `Find $m+n$` and its neighbours.
DEFAULT_BOILERPLATE_ITEMS = 5
_LEAD_WORDS = 4  # by which whole items are looked up
_LABEL_CHARACTERS = 80
_SPAN_CHARACTERS = 2000
_TABLE_BITS = 22
_NUM_COMPARED = 8  # items of a benchmark with the same n-gram, of which the one with most in common is named

# Not behind a bracket: (242,735) is a pair; nor behind the sign of a superscript.
_THOUSANDS = r"(?<![0-9.,(\[{^])[0-9]{1,3}(?:(?:,|\{,\}|\\,|,?\\!)[0-9]{3})+(?![0-9])"
_SUPERSCRIPTS = "[⁰¹²³⁴-⁹⁺⁻⁼⁽⁾ⁿⁱ]+"
_JOINED = "[^\\W\\d_]|[\u00ad\u0300-\u036f\u0483-\u0487\u0591-\u05bd\u064b-\u0652\u200b-\u200d\u3099\u309a]"
_SINGLE = "[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u3098\u309b-\u30ff\u3400-\u9fff\uf900-\ufaff]"
# What is normalised as one: words stand in it, or it stands between words.
_PIECE = re.compile(rf"\\[a-zA-Z]+|{_THOUSANDS}|[0-9]+|{_SUPERSCRIPTS}|{_SINGLE}|(?:{_JOINED})+|.", re.DOTALL)
_NEEDS_FOLDING = r"[^\x00-\x7f]|[0-9](?:,|\{,\}|\\,|,?\\!)[0-9]{3}"
_GREEK = re.compile(r"GREEK (?:SMALL|CAPITAL) LETTER (?:FINAL )?([A-Z]+)( SYMBOL)?$")
_ALONE = ("CJK UNIFIED", "CJK COMPATIBILITY IDEOGRAPH", "HIRAGANA", "KATAKANA", "THAI", "LAO", "KHMER", "MYANMAR")
_NO_WORDS = frozenset({"\\", *(f"\\{name}" for name in IGNORED)})

_BREAK = re.compile(r"[.?!:;\n]|<[|/](?:[^<>\n]{1,40}>)?|\[/(?:\w+\])?")
_SENTENCE = re.compile(r"[A-Z][a-z'’]")
_LABEL = re.compile(
    r"(?:[\s#*>$]|\[/?\w+\]|<[^<>\n]{1,40}>|\\textbf\{|\(?(?:[a-z]|\d{1,3}|[ivx]{1,4})[).\]}]"
    r"|(?:question|problem|exercise|example|task|q|p|solve)\s*#?(?:\d{1,4})?[).:\]}]*(?!\w))*",
    re.IGNORECASE,
)
# Delimiters of mathematics, markdown's emphasis and headings, hyphens between words, grouping and spacing.
_NO_OPERATORS = re.compile(
    r"\\[()\[\]]|\*\*+|__+|(?<!\S)\*(?=\S)|(?<=\S)\*(?!\S)|(?<=[a-z]{2})-(?=[a-z]{2})|[{}$]|\\[,;:! ]|^#+ |^[-*] ",
    re.MULTILINE,
)
_OPERATOR = re.compile(
    "|".join(re.escape(name) + ("(?![a-z])" if name[-1].isalpha() else "") for name in sorted(OPERATORS, reverse=True))
    + r"|<=|>=|!=|->|[-+*/=<>^%!|()](?!=)"
)


@dataclass(frozen=True)
class Rule:
    """When a row counts as contaminated.

    Args:
        ngram_size: Words of an n-gram, at least 1.
        normalization: What a word is.
        boilerplate_items: An n-gram in this many or more different items flags no row by itself; 0: each does.
        whole_items: Whether items without distinctive n-grams are looked for as a whole.
        min_prose: Words of prose outside of boilerplate in a distinctive n-gram; 0: anything will do.
    """

    ngram_size: int = 8
    normalization: NormalizationName = "default"
    boilerplate_items: int = DEFAULT_BOILERPLATE_ITEMS
    whole_items: bool = True
    min_prose: int = 4

    def settings(self) -> dict[str, Any]:
        """Return the rule as settings of a card."""
        return asdict(self)


def make_rule(ngram_size: int, normalization: NormalizationName, boilerplate_items: int | None = None) -> Rule:
    """Return upstream's rule for `none`, else the default one; `boilerplate_items` overrides that part in both."""
    if normalization == "none":
        return Rule(ngram_size, "none", boilerplate_items or 0, whole_items=False, min_prose=0)
    items = DEFAULT_BOILERPLATE_ITEMS if boilerplate_items is None else boilerplate_items
    return Rule(ngram_size, "default", items, min_prose=(ngram_size + 1) // 2)


@dataclass(frozen=True)
class Hit:
    """Why a row is flagged, with the evidence.

    Attributes:
        row: Number in the column.
        benchmark: Name of the benchmark.
        item: Row of the benchmark.
        kind: `n-gram`, `long run` (boilerplate in pieces), or `whole item`.
        length: Words in common.
        start: First character of these words in the row's text.
        end: Character behind the last one.
        matched: What stands there, 2,000 characters at most.
        ngram: The first of these words, as they are compared.
    """

    row: int
    benchmark: str
    item: int
    kind: str
    length: int
    start: int
    end: int
    matched: str
    ngram: str


class Index:
    """The n-grams of all items that flag a row, and the items that do so as a whole."""

    def __init__(self, rule: Rule) -> None:
        self.rule = rule
        self.items: list[tuple[str, int, str]] = []  # benchmark, row there, text
        self.tables: list[_Table] = []

    def add(self, benchmark: str, number: int, text: str) -> None:
        """Add an item, before `build`; one without a word flags nothing."""
        self.items.append((benchmark, number, text))

    @cached_property
    def keys(self) -> list[list[str]]:
        """Words of each item."""
        lists = words(pa.array([text for _, _, text in self.items], pa.large_string()), self.rule.normalization)
        return [canonical(found, self.rule.normalization) for found in lists.to_pylist()]

    @cached_property
    def _ids(self) -> dict[str, int]:
        """Number of each word of the items, in all its spellings; -1: to be passed over."""
        ids = {word: number for number, word in enumerate(sorted({word for found in self.keys for word in found}))}
        if self.rule.normalization == "none":
            return ids
        spelled = {f"\\{name}": ids[f"\\{meant}"] for name, meant in ALIASES.items() if f"\\{meant}" in ids}
        return ids | spelled | dict.fromkeys(_NO_WORDS, -1)

    @cached_property
    def _vocabulary(self) -> tuple[pa.Array, pa.Array]:
        return pa.array(list(self._ids), pa.large_string()), pa.array(list(self._ids.values()), pa.int64())

    def read(self, texts: pa.Array) -> tuple[Positions, Positions]:
        """Return the numbers of all words of a column (-2: no item has it), and where each row begins, and the end."""
        lists = words(texts, self.rule.normalization)
        offsets = lists.offsets.to_numpy() - lists.offsets[0].as_py()
        spelled, ids = self._vocabulary
        found = ids.take(pc.index_in(lists.flatten(), value_set=spelled))
        numbers = pc.fill_null(found, -2).to_numpy()
        is_word = numbers != -1
        return numbers[is_word], np.append(0, np.cumsum(is_word))[offsets]

    @cached_property
    def ids_N(self) -> tuple[Positions, Positions]:
        """Words of all items by number, and where each item begins, and the end."""
        lengths = [len(found) for found in self.keys]
        ids = [self._ids[word] for found in self.keys for word in found]
        return np.array(ids, np.int64), np.append(0, np.cumsum(lengths)).astype(np.int64)

    @cached_property
    def _item_N(self) -> Positions:
        return np.repeat(np.arange(len(self.items)), np.diff(self.ids_N[1]))

    def build(self) -> dict[str, int]:
        """Find what is looked up, when all items are added; return its counts for the report.

        Raises:
            ValueError: No item has a word.
        """
        (ids_N, first_I), item_N = self.ids_N, self._item_N
        if not len(ids_N):
            raise ValueError(f"no item of {sorted({name for name, _, _ in self.items})} has any word to match")
        rule, n = self.rule, self.rule.ngram_size

        def starts(length: int) -> Positions:
            return np.flatnonzero(item_N[: max(len(item_N) - length + 1, 0)] == item_N[length - 1 :])

        ngrams, hashes = starts(n), windows(ids_N, n)
        number = np.unique(hashes[ngrams], return_inverse=True)[1]
        contents: dict[tuple[str, ...], int] = {}
        content_I = np.array([contents.setdefault(tuple(found), len(contents)) for found in self.keys])
        pairs = np.unique(np.stack([number, content_I[item_N[ngrams]]]), axis=1)
        is_shared = np.bincount(pairs[0])[number] >= (rule.boilerplate_items or np.inf)
        prose_N = np.array([is_prose(word) for found in self.keys for word in found])
        own_N = prose_N.copy()
        for place in range(n):
            own_N[ngrams[is_shared] + place] = False
        is_formulaic = _sums(own_N, ngrams, n) < rule.min_prose
        distinctive = ngrams[~(is_shared | is_formulaic)]
        counts = {
            "items": len(contents),
            "distinctive n-grams": len(np.unique(hashes[distinctive])),
            "boilerplate n-grams": len(np.unique(hashes[ngrams[is_shared]])),
            "n-grams without enough prose": len(np.unique(hashes[ngrams[is_formulaic & ~is_shared]])),
        }
        is_distinctive_N = np.zeros(len(ids_N), bool)
        is_distinctive_N[distinctive] = True
        runs = starts(3 * n)
        runs = runs[_sums(is_distinctive_N, runs, 2 * n + 1) == 0]
        runs = runs[2 * _sums(prose_N, runs, 3 * n) >= (3 * n if rule.min_prose else 0)]
        benchmark_N = np.unique([name for name, _, _ in self.items], return_inverse=True)[1][item_N]
        self.tables = [_Table("n-gram", n, hashes[distinctive], distinctive, benchmark_N)]
        if rule.boilerplate_items and len(runs):
            self.tables.append(_Table("long run", 3 * n, windows(ids_N, 3 * n)[runs], runs, benchmark_N))
        if rule.whole_items:
            rest = np.setdiff1d(item_N, item_N[distinctive])
            counts["items looked for as a whole"] = len(rest)
            leads = np.minimum(np.diff(first_I)[rest], _LEAD_WORDS)
            for length in np.unique(leads).tolist():
                firsts = first_I[rest[leads == length]]
                self.tables.append(_Table("whole item", length, windows(ids_N, length)[firsts], firsts, benchmark_N))
        return counts

    def match(self, texts: pa.Array) -> list[Hit]:
        """Return the first hit of each benchmark in each row of a column of large strings, by row."""
        words_N, first_R = self.read(texts)
        hits: dict[tuple[int, str], Hit] = {}
        for table in self.tables:
            for first, row, positions in table.find(words_N, first_R):
                own, nearest = words_N[first : first_R[row + 1]], {}
                for position in positions:
                    item = int(self._item_N[position])
                    benchmark, number, _ = self.items[item]
                    length = 0 if (row, benchmark) in hits else self._common(table, own, item, position)
                    if length > nearest.get(benchmark, (0,))[0]:
                        nearest[benchmark] = (length, item, number, position - int(self.ids_N[1][item]))
                for benchmark, (length, item, number, place) in nearest.items():
                    text, begin = texts[row].as_py(), first - int(first_R[row])
                    keys, found = self.keys[item][place : place + length], spans(text, self.rule.normalization)
                    own = found[begin : begin + length]
                    is_located = [word for word, _, _ in own] == keys
                    start, end = (own[0][1], own[-1][2]) if is_located else (0, len(text))
                    if table.kind == "whole item":
                        behind = found[begin + length][1] if is_located and len(found) > begin + length else len(text)
                        is_row = begin == 0 and first + length == first_R[row + 1]
                        if not (is_row or (length > 2 and is_located and _stands_alone(text, start, end, behind))):
                            continue
                        item_text = self.items[item][2]
                        places = spans(item_text, self.rule.normalization)
                        if operators(text[start:end]) != operators(item_text[places[0][1] : places[-1][2]]):
                            continue
                    matched, ngram = text[start:end][:_SPAN_CHARACTERS], " ".join(keys[: self.rule.ngram_size])
                    hits[row, benchmark] = Hit(row, benchmark, number, table.kind, length, start, end, matched, ngram)
        return [hits[key] for key in sorted(hits)]

    def _common(self, table: "_Table", own: Positions, item: int, position: int) -> int:
        """Return how many words of an item from a position on a row begins with; 0 where these are not enough."""
        ids_N, first_I = self.ids_N
        wanted = ids_N[position : first_I[item + 1]]
        differ = np.flatnonzero(own[: len(wanted)] != wanted[: len(own)])
        common = int(differ[0]) if len(differ) else min(len(own), len(wanted))
        num_words = first_I[item + 1] - first_I[item]
        needed = {"n-gram": table.length, "long run": max(table.length, num_words / 2)}
        return common if common >= needed.get(table.kind, num_words) else 0


def _stands_alone(text: str, start: int, end: int, behind: int) -> bool:
    """Return whether words from `start` to `end`, of which the next begins `behind`, stand by themselves."""
    begins_sentence = behind > end and _SENTENCE.match(text, behind)
    if behind < len(text) and not begins_sentence and not _BREAK.search(text[end:behind]):
        return False
    before = text[max(start - _LABEL_CHARACTERS, 0) : start]
    label = before[max((match.end() for match in _BREAK.finditer(before)), default=0) :]
    return len(label) < _LABEL_CHARACTERS and _LABEL.fullmatch(label) is not None


class _Table:
    """Runs of `length` words of items: their hashes in ascending order, and where each begins."""

    def __init__(self, kind: str, length: int, hashes: Hashes, positions: Positions, benchmark_N: Positions) -> None:
        order = np.lexsort((benchmark_N[positions], hashes))
        if kind == "n-gram":
            groups = np.stack([hashes, benchmark_N[positions].astype(np.uint64)])[:, order]
            is_first = np.append(True, (groups[:, 1:] != groups[:, :-1]).any(axis=0))[: len(order)]
            starts = np.flatnonzero(is_first)
            rank = np.arange(len(order)) - np.repeat(starts, np.diff(np.append(starts, len(order))))
            order = order[rank < _NUM_COMPARED]
        self.kind, self.length = kind, length
        self.hashes, self.positions = hashes[order], positions[order]
        self._may_have = np.zeros(1 << _TABLE_BITS, bool)
        self._may_have[self._places(hashes)] = True

    @staticmethod
    def _places(hashes: Hashes) -> Positions:
        return (hashes >> np.uint64(64 - _TABLE_BITS)).view(np.int64)

    def find(self, ids_N: Positions, first_R: Positions) -> Iterator[tuple[int, int, list[int]]]:
        """Yield the words of rows where such a run may begin, the row, and where it begins in items."""
        own = windows(ids_N, self.length)
        firsts = np.flatnonzero(self._may_have.take(self._places(own)))
        low, high = (np.searchsorted(self.hashes, own[firsts], side=side) for side in ("left", "right"))
        rows = np.searchsorted(first_R, firsts, side="right") - 1
        inside = (low < high) & (firsts + self.length <= first_R[rows + 1])
        columns = (firsts[inside], rows[inside], low[inside], high[inside])
        for first, row, start, end in zip(*(column.tolist() for column in columns), strict=True):
            yield first, row, self.positions[start:end].tolist()


def windows(ids_N: Positions, length: int) -> Hashes:
    """Return a hash of 64 bits of each run of words."""
    if length == 1:
        return ids_N.view(np.uint64) * np.uint64(0x9E3779B97F4A7C15)
    half = length // 2
    halves = windows(ids_N, half)
    both = _mixed(halves[:-half], halves[half:])
    return both if length == 2 * half else _mixed(both[:-1], windows(ids_N, 1)[2 * half :])


def _mixed(one: Hashes, other: Hashes) -> Hashes:
    mixed = (one ^ (other * np.uint64(0xC2B2AE3D27D4EB4F))) * np.uint64(0x165667B19E3779F9)
    mixed ^= mixed >> np.uint64(29)
    return mixed


def _sums(flags: NDArray[np.bool_], starts: Positions, length: int) -> Positions:
    sums = np.append(0, np.cumsum(flags))
    return sums[starts + length] - sums[starts]


def words(texts: pa.Array, normalization: NormalizationName) -> pa.LargeListArray:
    """Return the words of each text; with the default normalization `canonical` has the last say."""
    # NOTE: a copy. Of a slice `replace_with_mask` makes an array that `ascii_lower` misreads (Arrow 26).
    texts = texts.take(pa.array(np.arange(len(texts))))
    if normalization == "none":
        is_other = pc.invert(pc.string_is_ascii(texts))
        texts = _replaced(texts, is_other, lambda text: " ".join(text.lower().split()))
        return pc.utf8_split_whitespace(pc.utf8_trim_whitespace(pc.ascii_lower(texts)))
    texts = _replaced(texts, pc.match_substring_regex(texts, _NEEDS_FOLDING), fold)
    texts = pc.replace_substring(pc.ascii_lower(texts), "\\", " \\")
    texts = pc.replace_substring_regex(texts, "([0-9]+)", r" \1 ")
    texts = pc.replace_substring_regex(texts, r"[^\\a-z0-9\x80-\x{10ffff}]+", " ")
    return pc.ascii_split_whitespace(pc.ascii_trim_whitespace(texts))


def _replaced(texts: pa.Array, mask: pa.BooleanArray, replace: Any) -> pa.Array:
    found = [replace(text) for text in texts.filter(mask).to_pylist()]
    return pc.replace_with_mask(texts, mask, pa.array(found, texts.type)) if found else texts


def canonical(found: list[str], normalization: NormalizationName) -> list[str]:
    """Return words without formatting commands and operators, with one name for each command."""
    if normalization == "none":
        return [word for word in found if word]
    found = [f"\\{ALIASES.get(word[1:], word[1:])}" if word[:1] == "\\" else word for word in found if word]
    return [word for word in found if word not in _NO_WORDS]


@lru_cache(1024)
def spans(text: str, normalization: NormalizationName) -> list[tuple[str, int, int]]:
    """Return the words of a text with their places in it, in characters."""
    if normalization == "none":
        return [(match[0].lower(), *match.span()) for match in re.finditer(r"\S+", text)]
    pieces = list(_PIECE.finditer(text))
    lists = words(pa.array([piece[0] for piece in pieces], pa.large_string()), normalization).to_pylist()
    return [
        (word, *piece.span())
        for piece, found in zip(pieces, lists, strict=True)
        for word in canonical(found, normalization)
    ]


def is_prose(word: str) -> bool:
    """Return whether a word has two letters or more: no command, letter of a formula, or number."""
    return len(word.encode()) > 1 and word[0] != "\\" and not word.isdigit()


def operators(text: str) -> list[str]:
    r"""Return the operators and relations of a text in their order, whatever their spelling.

    >>> operators(r"\(2 \le \frac{x}{2} - 1\)") == operators("$2 <= x/2-1$") == ["<=", "/", "-"]
    True
    """
    plain = _NO_OPERATORS.sub(" ", fold(text).lower())
    return [OPERATORS.get(match[0], match[0]) for match in _OPERATOR.finditer(plain)]


def fold(text: str) -> str:
    """Return a text in ASCII as far as that goes, its numbers without separators of thousands."""
    text = re.sub(_THOUSANDS, lambda match: re.sub("[^0-9]+", "", match[0]), text)
    if text.isascii():
        return text
    text = unicodedata.normalize("NFC", text)
    text = re.sub(_SUPERSCRIPTS, lambda match: " ^" + unicodedata.normalize("NFKC", match[0]), text)
    return text.translate(_FOLDED)


class _Folded(dict[int, str]):
    """What stands for a character, found when it is first met."""

    def __missing__(self, code: int) -> str:
        folded = self[code] = _fold_character(chr(code))
        return folded


_FOLDED = _Folded()


def _fold_character(character: str) -> str:
    if character.isascii() or character in SYMBOLS:
        return SYMBOLS.get(character, character)
    compatible, category = unicodedata.normalize("NFKC", character), unicodedata.category(character)
    if compatible != character:
        text = compatible.translate(_FOLDED)
        return f" {text} " if category == "No" else text  # 5½ is 5 1/2
    name = unicodedata.name(character, "")
    if category[0] in "LM":
        greek = _GREEK.match(name)
        if greek:
            return f" \\{greek[1].lower().replace('lamda', 'lambda')} "
        return f" {character} " if name.startswith(_ALONE) else character.casefold()
    if category == "Nd":
        return str(unicodedata.decimal(character))
    # Soft hyphens and zero-width characters join what they stand between.
    return {"Pd": "-", "Cf": ""}.get(category, " ")
