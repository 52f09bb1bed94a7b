# SPDX-License-Identifier: Apache-2.0
"""Which rows share a telling n-gram with a benchmark item, or hold a whole item, and where.

Hashes only point at candidates: the words themselves are compared before a row is flagged.

A whole item (`index.py` says which are looked for so) is found where a row has its words one behind another, with the
same operators between them, and standing by themselves: at the start of the row or behind one of `.?!:;`, a line break
or a label at the start of a line (`(1)`, `Problem 5`, `[INST]`, `<p>`), and at the end before the former.
So `What is 2+2?` is found behind `Solve this.`, but not in `What is 2+2*3?`. An item of one or two words must be the
whole row.

Known limits: grouping is not compared (`\\sqrt{2+3}` is `\\sqrt{2}+3`), nor what an item's letters stand for in the
row before it; `xy` and `x y`, `\\frac12` and `\\frac{1}{2}` are different words; a Chinese or Japanese character is a
word, so that 8 words are about 4; phrases that fewer than `boilerplate_items` of the given items share flag rows.
"""

import re
from collections import Counter
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from open_r1.curation.decontamination.columns import PIECE_BYTES, Block, blocks
from open_r1.curation.decontamination.hashing import Hashes, Positions, Words, find_words
from open_r1.curation.decontamination.index import Index, Item
from open_r1.curation.decontamination.normalization import (
    NormalizationName,
    count_words,
    fold,
    operators,
    original_tokens,
    tokens,
)
from open_r1.curation.decontamination.texts import Oddities, to_texts

_BREAK = re.compile(r"[.?!:;\n]|<[|/]|\[/")
# What may stand between the start of a line and an item: `(1) `, `Question 5) `, `\textbf{Problem 3} `, `[INST] `.
_LABEL = re.compile(
    r"(?:[\s#*>$]|\[/?\w+\]|<[^<>\n]{1,40}>|\\textbf\{|\(?(?:[a-z]|\d{1,3}|[ivx]{1,4})[).\]}]"
    r"|(?:question|problem|exercise|example|task|q|p)\s*#?\d{1,4}[).:\]}]*)*",
    re.IGNORECASE,
)
_LABEL_WORDS = 3
_BREAK_BYTES = np.isin(np.arange(256), np.frombuffer(b".?!:;\n", np.uint8))
_SPACE = re.compile(r"[ \t\n\r]")
_STEP = 2048  # characters whose words are counted at a time
_LINE_BREAK = ord("\n")
_LABEL_BYTES = 40
_ALONE_WORDS = 2
_MAX_COMPARED = 8  # items of a benchmark that have the same n-gram, to choose the one that is named

Kind = Literal["n-gram", "long run", "whole item", "near"]


@dataclass(frozen=True)
class Match:
    """Why a row is flagged for a benchmark: `length` words of the row from word `first` are those of the item.

    `item` is its number in the index, `place` where its words begin to match. `kind` tells how it was found: by an
    n-gram, by a long run of words that are boilerplate in pieces, as an item without telling n-grams, or as a near
    duplicate (`near.py`; `length` is then the whole row). `share` is the part of the item's shingles that a near
    duplicate has; None for the other kinds.
    """

    row: int
    item: int
    place: int
    first: int
    length: int
    kind: Kind
    share: float | None = None


@dataclass
class ColumnMatches:
    """What was found in a column of R rows: a flag for each row and benchmark, one match for each flag, oddities."""

    flags: NDArray[np.bool_]
    matches: list[Match] = field(default_factory=list)
    oddities: Oddities = field(default_factory=Oddities)


def match_column(column: pa.Array, index: Index, *, piece_bytes: int = PIECE_BYTES) -> ColumnMatches:
    """Return the rows of a column that hold something of the index; longer ones are read in pieces of `piece_bytes`.

    Raises:
        ValueError: The column holds no text.
    """
    found = ColumnMatches(np.zeros((len(column), len(index.names)), bool))
    texts = to_texts(column, found.oddities)
    words_before = 0
    for block in blocks(
        texts, index.rule.normalization, found.oddities, overlap_words=index.longest_run, piece_bytes=piece_bytes
    ):
        words = find_words(block.text_N, block.offsets_R, index.rule.normalization)
        words_before = words_before if block.continues else 0
        matcher = _BlockMatcher(block, words, index, found, words_before)
        matcher.match_ngrams()
        if index.long_runs is not None:
            matcher.match_long_runs(*index.long_runs)
        if index.whole_items:
            matcher.match_whole_items()
        if block.next_start is not None:
            words_before += int(np.searchsorted(words.start_T, block.next_start))
    found.matches.sort(key=lambda match: (match.row, index.items[match.item].benchmark))
    return found


def matched_span(text: str, match: Match, index: Index) -> tuple[int, int]:
    """Return where in a row's text the words are that matched, in characters; of a near duplicate the whole text."""
    if match.kind == "near":
        return 0, len(text)
    begin, end, skipped = _around(text, match.first, match.length, index.rule.normalization)
    first = match.first - skipped
    found = original_tokens(text[begin:end], index.rule.normalization)[first : first + match.length]
    keys = tuple(token.key for token in found)
    if keys != index.items[match.item].keys[match.place : match.place + match.length]:
        return 0, len(text)  # Unicode that is composed otherwise as a whole: the row then is the evidence
    return begin + found[0].start, begin + found[-1].end


def _around(text: str, first: int, length: int, normalization: NormalizationName) -> tuple[int, int, int]:
    """Return a part of a text that holds these words, cut at white space, and how many words stand before it."""
    begin = end = skipped = count = 0
    while end < len(text) and count < first + length:
        space = _SPACE.search(text, end + _STEP)
        behind = space.end() if space else len(text)
        here = count_words(fold(text[end:behind], normalization), normalization)
        if count + here <= first:
            begin, skipped = behind, count + here
        end, count = behind, count + here
    return begin, end, skipped


class _BlockMatcher:
    """Candidates of one block, compared word by word."""

    def __init__(self, block: Block, words: Words, index: Index, found: ColumnMatches, words_before: int) -> None:
        self._block, self._words, self._index, self._found = block, words, index, found
        self._first_R = words.first_R - words_before  # where rows begin, also those that began in an earlier block
        self._row_bits: dict[int, int] = {}  # benchmarks that a row is flagged for already
        if block.continues:
            flags = found.flags[int(block.row_R[0])]
            self._row_bits[0] = sum(1 << int(benchmark) for benchmark in np.flatnonzero(flags))

    def match_ngrams(self) -> None:
        """Flag rows by telling n-grams."""
        n = self._index.rule.ngram_size
        first_R = self._words.first_R
        firsts, entries = self._index.find(self._words.windows(n))
        places = np.searchsorted(first_R, firsts, side="right") - 1
        inside = firsts + n <= first_R[places + 1]  # not into the next row
        firsts, entries, places = firsts[inside].tolist(), entries[inside].tolist(), places[inside].tolist()
        for first, entry, place in zip(firsts, entries, places, strict=True):
            new = self._index.benchmarks_E[entry] & ~self._row_bits.get(place, 0)
            if new:
                self._compare_ngram(first, place, entry, new)

    def _compare_ngram(self, first: int, place: int, entry: int, new: int) -> None:
        """Flag a row for the benchmarks in `new` that have the words at `first`; name the item with most in common."""
        n = self._index.rule.ngram_size
        nearest: dict[int, tuple[int, int, int]] = {}
        own = self._keys(first, n)
        compared = Counter[int]()
        for item, start in self._index.occurrences(entry):
            benchmark = self._index.items[item].benchmark
            keys = self._index.items[item].keys[start:]
            if not new >> benchmark & 1 or compared[benchmark] == _MAX_COMPARED or own != keys[:n]:
                continue  # known already, enough to choose from, or other words with the same hash
            compared[benchmark] += 1
            length = self._common_words(first, place, keys)
            nearest[benchmark] = max(nearest.get(benchmark, (0, 0, 0)), (length, -item, -start))
        for length, item, start in nearest.values():
            first_in_row = first - int(self._first_R[place])
            self._flag(Match(int(self._block.row_R[place]), -item, -start, first_in_row, length, "n-gram"), place)

    def match_long_runs(self, hashes: Hashes, entries: list[tuple[int, int]]) -> None:
        """Flag rows by long runs of words that are no telling n-grams one by one."""
        length, first_R = self._index.rule.long_run, self._words.first_R
        candidates = self._words.windows(length)
        low = np.searchsorted(hashes, candidates)
        firsts = np.flatnonzero(hashes.take(np.minimum(low, len(hashes) - 1)) == candidates)
        places = np.searchsorted(first_R, firsts, side="right") - 1
        inside = firsts + length <= first_R[places + 1]
        for first, place in zip(firsts[inside].tolist(), places[inside].tolist(), strict=True):
            for number in range(int(low[first]), len(entries)):
                if hashes[number] != candidates[first]:
                    break
                self._compare_long_run(first, place, *entries[number])

    def _compare_long_run(self, first: int, place: int, number: int, start: int) -> None:
        item, length = self._index.items[number], self._index.rule.long_run
        is_flagged = self._row_bits.get(place, 0) >> item.benchmark & 1
        if is_flagged or self._keys(first, length) != item.keys[start : start + length]:
            return
        common = self._common_words(first, place, item.keys[start:])
        if 2 * common < len(item.keys):
            return  # the frame that problems of one site share, not the problem
        first_in_row = first - int(self._first_R[place])
        self._flag(Match(int(self._block.row_R[place]), number, start, first_in_row, common, "long run"), place)

    def _common_words(self, first: int, place: int, keys: tuple[str, ...]) -> int:
        """Return how many words of the row from `first` are these, before one differs."""
        own = self._keys(first, min(len(keys), int(self._words.first_R[place + 1]) - first))
        return next((count for count, pair in enumerate(zip(own, keys, strict=False)) if pair[0] != pair[1]), len(own))

    def match_whole_items(self) -> None:
        """Flag rows that hold an item without telling n-grams by itself."""
        starts = self._sentence_starts()
        first_R = self._words.first_R
        places = np.searchsorted(first_R, starts, side="right") - 1
        left = first_R[places + 1] - starts
        for length, (hashes, items) in self._index.whole_items.items():
            fits = np.flatnonzero(left >= length)
            candidates = self._words.windows_at(starts[fits], length)
            low = np.searchsorted(hashes, candidates)
            for number in np.flatnonzero(hashes.take(np.minimum(low, len(hashes) - 1)) == candidates).tolist():
                first, place = int(starts[fits[number]]), int(places[fits[number]])
                for item in range(int(low[number]), len(items)):
                    if hashes[item] != candidates[number]:
                        break
                    self._compare_whole(first, place, items[item])

    def _compare_whole(self, first: int, place: int, number: int) -> None:
        item = self._index.items[number]
        length = len(item.keys)
        is_flagged = self._row_bits.get(place, 0) >> item.benchmark & 1
        if is_flagged or self._keys(first, length) != item.keys or not self._stands_alone(first, place, item):
            return
        first_in_row = first - int(self._first_R[place])
        self._flag(Match(int(self._block.row_R[place]), number, 0, first_in_row, length, "whole item"), place)

    def _stands_alone(self, first: int, place: int, item: Item) -> bool:
        words, length = self._words, len(item.keys)
        begin, end = int(words.first_R[place]), int(words.first_R[place + 1])
        is_last = self._block.next_start is None
        is_row = first == begin and first + length == end and is_last and not self._block.continues
        if length <= _ALONE_WORDS and not is_row:
            return False
        behind = (
            self._text(int(words.end_T[first + length - 1]) - 1, int(words.start_T[first + length]))
            if (first + length < end)
            else "\n" * is_last
        )
        if not _BREAK.search(behind) or not self._begins_apart(first, place):
            return False
        if self._index.rule.normalization == "none":
            return True  # its words hold the operators
        inside = self._text(int(words.start_T[first]), int(words.end_T[first + length - 1]))
        return operators(inside) == item.operators

    def _sentence_starts(self) -> Positions:
        """Return the first words of rows and the words behind a break, in ascending order."""
        start_T, first_R = self._words.start_T, self._words.first_R
        breaks = np.flatnonzero(_BREAK_BYTES[self._block.text_N])
        own = first_R[:0] if self._block.continues else first_R[:-1]
        lines = np.searchsorted(start_T, np.flatnonzero(self._block.text_N == _LINE_BREAK), side="right")
        lines = np.concatenate([own, lines])
        labelled = [lines + words for words in range(1, _LABEL_WORDS + 1)]
        starts = np.concatenate([lines, *labelled, np.searchsorted(start_T, breaks, side="right")])
        starts = np.unique(starts)
        return starts[starts < len(start_T)]

    def _begins_apart(self, first: int, place: int) -> bool:
        """Return whether a word stands behind a break, at the start of the row, or behind a label of a line."""
        words, begin = self._words, int(self._block.offsets_R[place])
        before = self._text(int(words.end_T[first - 1]), int(words.start_T[first])) if first else ""
        if first == words.first_R[place] or _BREAK.search(before):
            return True
        end = int(words.end_T[first - 1])
        if self._index.rule.normalization == "none" and _BREAK.search(self._text(end - 1, end)):
            return True
        line = self._text(
            max(begin, int(words.start_T[max(first - _LABEL_WORDS, 0)]) - _LABEL_BYTES), int(words.start_T[first])
        )
        return _LABEL.fullmatch(line.rpartition("\n")[2]) is not None

    def _keys(self, first: int, length: int) -> tuple[str, ...]:
        text = self._text(int(self._words.start_T[first]), int(self._words.end_T[first + length - 1]))
        return tuple(token.key for token in tokens(text, self._index.rule.normalization))

    def _text(self, start: int, end: int) -> str:
        return self._block.text_N[start:end].tobytes().decode("utf-8", "replace")  # it may begin within a letter

    def _flag(self, match: Match, place: int) -> None:
        benchmark = self._index.items[match.item].benchmark
        self._row_bits[place] = self._row_bits.get(place, 0) | 1 << benchmark
        self._found.flags[match.row, benchmark] = True
        self._found.matches.append(match)
