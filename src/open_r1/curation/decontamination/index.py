# SPDX-License-Identifier: Apache-2.0
"""One index of the n-grams of all items of all benchmarks.

An item's n-gram is *telling* when it flags a row by itself. With the default normalisation it then is in fewer than
`boilerplate_items` different items, and half of its words are prose (`x_1, x_2, x_3, x_4` is eight words) that is not
part of such boilerplate: `21 sheep. Express your answer as a` is boilerplate behind a number. A run of three times as
many words flags whatever the number of items, if half of it is prose and it is at least half of the item: five sources
may tell the same problem, each with an ending of its own, while the frame that problems of a contest share is less of
each. An item without telling n-grams (a short one, a formula, one that is all boilerplate) counts as found where it
stands in a row as a whole: `matching.py` says how.

The default of 5 comes from the planted corpus (`tests/rows/planted.py`, 3,220 contaminated rows, 3,000 others; all
with 8 words): from 2 to 8, all contaminated rows are found and no others (with 2 and 3, the 20 rows that share a story
with three items only by their long runs); from 16 on, 600 rows are flagged for a phrase like `Find $m+n$` and its
neighbours.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from open_r1.curation.decontamination.columns import blocks
from open_r1.curation.decontamination.hashing import Hashes, Positions, Words, find_words
from open_r1.curation.decontamination.normalization import NormalizationName, fold, is_word, operators, tokens
from open_r1.curation.decontamination.texts import Oddities, to_texts

DEFAULT_BOILERPLATE_ITEMS = 5

_TABLE_BITS = 20


@dataclass(frozen=True)
class Rule:
    """When a row counts as contaminated.

    Args:
        ngram_size: Words of an n-gram, at least 1.
        normalization: What a word is (`normalization.py`).
        boilerplate_items: An n-gram in this many or more different items flags no row by itself; 0: each does.
        whole_items: Whether items without telling n-grams are looked for as a whole.
        min_prose: Words of prose outside of boilerplate in a telling n-gram; 0: anything will do.
    """

    ngram_size: int = 8
    normalization: NormalizationName = "default"
    boilerplate_items: int = DEFAULT_BOILERPLATE_ITEMS
    whole_items: bool = True
    min_prose: int = 4

    def __post_init__(self) -> None:
        if self.ngram_size < 1:
            raise ValueError(f"ngram_size must be at least 1, not {self.ngram_size}")
        if self.boilerplate_items == 1 or self.boilerplate_items < 0:
            raise ValueError(
                f"boilerplate_items must be 0 (off) or at least 2, not {self.boilerplate_items}: every n-gram is "
                "in one item"
            )

    @property
    def long_run(self) -> int:
        """Words of a run that flags whatever the number of items it is in."""
        return 3 * self.ngram_size

    def settings(self) -> dict[str, Any]:
        """Return the rule as settings of a card."""
        return asdict(self)


def make_rule(ngram_size: int, normalization: NormalizationName, boilerplate_items: int | None = None) -> Rule:
    """Return upstream's rule for `none`, else the default one; `boilerplate_items` overrides that part in both."""
    if normalization == "none":
        return Rule(ngram_size, "none", boilerplate_items or 0, whole_items=False, min_prose=0)
    items = DEFAULT_BOILERPLATE_ITEMS if boilerplate_items is None else boilerplate_items
    return Rule(ngram_size, "default", items, whole_items=True, min_prose=(ngram_size + 1) // 2)


@dataclass(frozen=True)
class Benchmark:
    """A benchmark's name, and the texts of its items in the order of its rows; None for a row without text."""

    name: str
    texts: Sequence[str | None]


@dataclass(frozen=True)
class Item:
    """One item: its benchmark and row there, its folded text, its words, and of what content it is."""

    benchmark: int
    number: int
    text: str
    keys: tuple[str, ...]
    content: int

    @cached_property
    def operators(self) -> list[str]:
        """Operators from the first word to the last."""
        found = tokens(self.text, "default")
        return operators(self.text[found[0].start : found[-1].end])


@dataclass
class Index:
    """The n-grams of all items.

    E telling n-grams: `hash_E` ascending; the items of entry e are `item_of` from `first_E[e]` up to `first_E[e + 1]`,
    with the n-gram's place in each in `place_of`; `benchmarks_E` has a bit a benchmark. `whole_items` are items
    without telling n-grams by their number of words: hashes ascending, and the items. `long_runs` are those of
    `rule.long_run` words without telling n-grams: hashes ascending, and item and place of each; None: there are none.
    """

    rule: Rule
    names: list[str]
    items: list[Item]
    hash_E: Hashes
    first_E: Positions
    item_of: Positions
    place_of: Positions
    benchmarks_E: list[int]
    whole_items: dict[int, tuple[Hashes, list[int]]]
    num_boilerplate: int
    num_light: int
    long_runs: tuple[Hashes, list[tuple[int, int]]] | None = None
    tables: list[NDArray[np.bool_]] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        # A hash in both tables is looked up for good: 3 % of those that are not in the index, of 150,000 n-grams.
        self.tables = [np.zeros(1 << _TABLE_BITS, bool) for _ in range(2)]
        for table, bits in zip(self.tables, table_places(self.hash_E), strict=True):
            table[bits] = True

    @property
    def longest_run(self) -> int:
        """The most words that must be seen together."""
        _, entries = self.long_runs or (None, [])
        with_runs = (len(self.items[number].keys) for number, _ in entries)  # it counts how much of an item is there
        return max([self.rule.ngram_size, self.rule.long_run, *self.whole_items, *with_runs]) + 1

    def find(self, hashes: Hashes) -> tuple[Positions, Positions]:
        """Return which of the hashes are of telling n-grams, and of which entries."""
        if not len(self.hash_E) or not len(hashes):
            return np.zeros(0, np.int64), np.zeros(0, np.int64)
        found = np.flatnonzero(self.tables[0].take((hashes >> _FIRST).view(np.int64)))
        found = found[self.tables[1].take(((hashes.take(found) >> _SECOND) & _MASK).view(np.int64))]
        candidates = hashes.take(found)
        entries = np.minimum(np.searchsorted(self.hash_E, candidates), len(self.hash_E) - 1)
        is_equal = self.hash_E.take(entries) == candidates
        return found[is_equal], entries[is_equal]

    def occurrences(self, entry: int) -> list[tuple[int, int]]:
        """Return the items that an n-gram is in, each with its place there in words."""
        between = slice(int(self.first_E[entry]), int(self.first_E[entry + 1]))
        return list(zip(self.item_of[between].tolist(), self.place_of[between].tolist(), strict=True))

    def summary(self) -> dict[str, int]:
        """Return counts for the report."""
        return {
            "items": len(self.items),
            "telling n-grams": len(self.hash_E),
            "boilerplate n-grams": self.num_boilerplate,
            "n-grams without enough prose": self.num_light,
            "items looked for as a whole": sum(len(items) for _, items in self.whole_items.values()),
        }


_FIRST = np.uint64(64 - _TABLE_BITS)
_SECOND = np.uint64(64 - 2 * _TABLE_BITS)
_MASK = np.uint64((1 << _TABLE_BITS) - 1)


def table_places(hashes: Hashes) -> tuple[Positions, Positions]:
    """Return where hashes stand in the two tables."""
    return (hashes >> _FIRST).view(np.int64), ((hashes >> _SECOND) & _MASK).view(np.int64)


def build_index(benchmarks: Sequence[Benchmark], rule: Rule) -> Index:
    """Return the index of the benchmarks' items; items without a word are left out.

    Raises:
        ValueError: No item has a word, or there are more than 64 benchmarks.
    """
    if len(benchmarks) > 64:
        raise ValueError(f"{len(benchmarks)} benchmarks at a time; the most are 64: check them in two runs")
    items = _read_items(benchmarks, rule)
    if not items:
        raise ValueError(f"No item of {[benchmark.name for benchmark in benchmarks]} has a word to look for.")
    hashes, item_of, place_of = _all_windows(items, rule)
    is_boilerplate = _is_boilerplate(hashes, item_of, items, rule)
    is_light = _is_light(is_boilerplate, item_of, place_of, items, rule)
    kept = np.flatnonzero(~(is_boilerplate | is_light))
    kept = kept[np.argsort(hashes[kept], kind="stable")]
    hash_E, first_E = np.unique(hashes[kept], return_index=True)
    first_E = np.append(first_E, len(kept))
    names = [benchmark.name for benchmark in benchmarks]
    counts = (len(np.unique(hashes[is_boilerplate])), len(np.unique(hashes[is_light])))
    index = _assemble(rule, names, items, hash_E, first_E, item_of[kept], place_of[kept], *counts)
    index.long_runs = _long_runs(item_of[kept], place_of[kept], items, rule)
    return index


def _is_boilerplate(hashes: Hashes, item_of: Positions, items: list[Item], rule: Rule) -> NDArray[np.bool_]:
    """Return which n-grams are in too many items of different content."""
    if not rule.boilerplate_items or not len(hashes):
        return np.zeros(len(hashes), bool)
    content = np.array([item.content for item in items])
    values, number = np.unique(hashes, return_inverse=True)
    pairs = np.unique(np.stack([number, content[item_of]]), axis=1)
    return np.bincount(pairs[0], minlength=len(values))[number] >= rule.boilerplate_items


def _is_light(
    is_boilerplate: NDArray[np.bool_], item_of: Positions, place_of: Positions, items: list[Item], rule: Rule
) -> NDArray[np.bool_]:
    """Return which other n-grams have too little prose outside of boilerplate to flag by themselves."""
    is_light = np.zeros(len(is_boilerplate), bool)
    if not rule.min_prose or not len(is_light):
        return is_light
    n = rule.ngram_size
    firsts = np.flatnonzero(place_of == 0)
    for first, end in zip(firsts, np.append(firsts[1:], len(item_of)), strict=True):
        weight = np.array([is_word(key) for key in items[item_of[first]].keys])
        for place in np.flatnonzero(is_boilerplate[first:end]).tolist():
            weight[place : place + n] = False
        sums = np.append(0, np.cumsum(weight))
        is_light[first:end] = sums[n:] - sums[:-n] < rule.min_prose
    return is_light & ~is_boilerplate


def _assemble(
    rule: Rule,
    names: list[str],
    items: list[Item],
    hash_E: Hashes,
    first_E: Positions,
    item_of: Positions,
    place_of: Positions,
    num_boilerplate: int,
    num_light: int,
) -> Index:
    benchmarks = np.array([1 << item.benchmark for item in items], np.uint64)
    bits = np.bitwise_or.reduceat(benchmarks[item_of], first_E[:-1]).tolist() if len(hash_E) else []
    whole: dict[int, tuple[Hashes, list[int]]] = {}
    if rule.whole_items:
        by_length: dict[int, list[int]] = {}
        for number in sorted(set(range(len(items))) - set(item_of.tolist())):
            by_length.setdefault(len(items[number].keys), []).append(number)
        whole = {length: _whole_hashes(items, numbers, rule) for length, numbers in by_length.items()}
    return Index(rule, names, items, hash_E, first_E, item_of, place_of, bits, whole, num_boilerplate, num_light)


def _long_runs(
    item_of: Positions, place_of: Positions, items: list[Item], rule: Rule
) -> tuple[Hashes, list[tuple[int, int]]] | None:
    """Return the long runs of enough prose in which no n-gram is telling; what is telling is found without them."""
    length = rule.long_run
    is_telling = [np.zeros(max(len(item.keys) - rule.ngram_size + 1, 0), bool) for item in items]
    for number, place in zip(item_of.tolist(), place_of.tolist(), strict=True):
        is_telling[number][place] = True
    found: list[tuple[int, tuple[int, int]]] = []
    for number, item in enumerate(items):
        if len(item.keys) < length or is_telling[number].all():
            continue
        told = np.append(0, np.cumsum(is_telling[number]))
        prose = np.append(0, np.cumsum([is_word(key) for key in item.keys]))
        count = len(item.keys) - length + 1
        is_silent = told[length - rule.ngram_size + 1 :][:count] == told[:count]
        is_prose = 2 * (prose[length:] - prose[:-length]) >= length if rule.min_prose else np.ones(count, bool)
        places = np.flatnonzero(is_silent & is_prose)
        if len(places):
            hashes = _item_words(item, rule).windows(length)
            found += [(int(hashes[place]), (number, place)) for place in places.tolist()]
    found.sort()
    return (np.array([value for value, _ in found], np.uint64), [entry for _, entry in found]) if found else None


def _item_words(item: Item, rule: Rule) -> Words:
    text_N = np.frombuffer(item.text.encode(), np.uint8)
    return find_words(text_N, np.array([0, len(text_N)]), rule.normalization)


def _read_items(benchmarks: Sequence[Benchmark], rule: Rule) -> list[Item]:
    items, contents = [], {}
    for number, benchmark in enumerate(benchmarks):
        for row, text in enumerate(benchmark.texts):
            folded = fold(text or "", rule.normalization)
            keys = tuple(token.key for token in tokens(folded, rule.normalization))
            if keys:
                digest = hashlib.sha256(" ".join(keys).encode()).digest()
                content = contents.setdefault(digest, len(contents))
                items.append(Item(number, row, folded, keys, content))
    return items


def _all_windows(items: list[Item], rule: Rule) -> tuple[Hashes, Positions, Positions]:
    """Return the hash of each n-gram of each item, the item, and the n-gram's place in it."""
    hashes, item_of, place_of = [np.zeros(0, np.uint64)], [np.zeros(0, np.int64)], [np.zeros(0, np.int64)]
    texts = to_texts(pa.array([item.text for item in items], pa.large_string()), Oddities())
    for block in blocks(texts, rule.normalization, Oddities()):
        words = find_words(block.text_N, block.offsets_R, rule.normalization)
        windows = words.windows(rule.ngram_size)
        for place, item in enumerate(block.row_R.tolist()):
            begin = int(words.first_R[place])
            count = max(int(words.first_R[place + 1]) - begin - rule.ngram_size + 1, 0)
            hashes.append(windows[begin : begin + count])
            item_of.append(np.full(count, item))
            place_of.append(np.arange(count))
    return np.concatenate(hashes), np.concatenate(item_of), np.concatenate(place_of)


def _whole_hashes(items: list[Item], numbers: list[int], rule: Rule) -> tuple[Hashes, list[int]]:
    """Return the hashes of whole items of one length in ascending order, and the items."""
    texts = pa.array([items[number].text for number in numbers], pa.large_string())
    found = []
    for block in blocks(texts, rule.normalization, Oddities()):
        words = find_words(block.text_N, block.offsets_R, rule.normalization)
        length = len(items[numbers[0]].keys)
        places = np.flatnonzero(np.diff(words.first_R) == length)  # a row that is set apart is blank in its own place
        hashes = words.windows_at(words.first_R[places], length)
        found.extend(zip(hashes.tolist(), (numbers[row] for row in block.row_R[places].tolist()), strict=True))
    found.sort()
    return np.array([value for value, _ in found], np.uint64), [number for _, number in found]
