# SPDX-License-Identifier: Apache-2.0
"""A column of any text-like Arrow type as blocks of folded UTF-8, without a copy where it is ASCII.

A row of more than 1 MiB comes in pieces that are cut at white space and overlap. What can't be matched is counted, and
the row stays: bytes that are no UTF-8, and stretches of 4 MiB without white space, which are left out.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from open_r1.curation.decontamination.hashing import BLOCK_BYTES, Bytes, Positions
from open_r1.curation.decontamination.normalization import NormalizationName, count_words, fold
from open_r1.curation.decontamination.texts import Oddities

PIECE_BYTES = 1 << 20
MAX_STRETCH_BYTES = 1 << 22
_OVERLAP_BYTES = 1 << 12
_SPACE = re.compile(rb"[ \t\n\r]")
_LEFT_OUT = "\ua500".encode()  # a word by itself, so that those around it don't follow one another
_EMPTY = np.zeros(0, np.uint8)
_BLANK = ord(" ")


@dataclass(frozen=True)
class Block:
    """Rows one behind another: folded text, R + 1 positions, and the numbers of the rows in the column.

    Or a piece of one long row: one that `continues` begins within the row, and its words from byte `next_start` on
    come again in the next block; None: the row ends here.
    """

    text_N: Bytes
    offsets_R: Positions
    row_R: Positions
    continues: bool = False
    next_start: int | None = None


def blocks(
    texts: pa.LargeStringArray,
    normalization: NormalizationName,
    oddities: Oddities,
    *,
    overlap_words: int | None = None,
    piece_bytes: int = PIECE_BYTES,
) -> Iterator[Block]:
    """Yield the texts in blocks of about `BLOCK_BYTES`, those that folding changes in blocks behind the others.

    Args:
        texts: Texts, none of them null.
        normalization: How they are folded.
        oddities: Where to count what can't be matched.
        overlap_words: Words at least that two pieces of a long row have in common; None: all rows come whole.
        piece_bytes: From how many bytes on a row is long.
    """
    num_rows = len(texts)
    _, offset_buffer, data_buffer = texts.buffers()
    offsets = np.frombuffer(offset_buffer, np.int64)[texts.offset : texts.offset + num_rows + 1]
    data = np.frombuffer(data_buffer, np.uint8) if data_buffer is not None else _EMPTY
    first, last = int(offsets[0]), int(offsets[-1])
    lengths = np.diff(offsets)
    is_long = lengths > (piece_bytes if overlap_words is not None else last - first)
    is_apart = is_long.copy()
    if last > first and data[first:last].max() >= 128:
        is_apart |= ~pc.call_function("string_is_ascii", [texts]).to_numpy(zero_copy_only=False)
    if normalization == "default":
        is_apart[_rows_with_thousands(data, offsets)] = True
    apart = np.flatnonzero(is_apart & ~is_long)
    for begin, end in _cuts(np.where(is_apart, 0, lengths)):
        yield from _plain_blocks(data, offsets[begin : end + 1], is_apart[begin:end], begin)
    if len(apart):
        yield from _folded_blocks(data, offsets, apart, normalization, oddities)
    for row in np.flatnonzero(is_long).tolist():
        raw = data[offsets[row] : offsets[row + 1]].tobytes()
        yield from _pieces(row, raw, normalization, oddities, overlap_words or 0, piece_bytes)


def _rows_with_thousands(data: Bytes, offsets: Positions) -> Positions:
    """Return the rows that may have separators of thousands (`normalization.fold`), and some more."""
    first, last = int(offsets[0]), int(offsets[-1])
    text_N = data[first:last]
    is_digit = (text_N - 48) < 10
    is_separator = (text_N == ord(",")) | (text_N == ord("}")) | (text_N == ord("!"))
    places = np.flatnonzero(is_separator[:-3] & is_digit[1:-2] & is_digit[2:-1] & is_digit[3:])
    return np.searchsorted(offsets, places + first, side="right") - 1


def _plain_blocks(data: Bytes, offsets: Positions, is_apart: NDArray[np.bool_], first_row: int) -> Iterator[Block]:
    """Yield rows that lie one behind another as one block, without those that are set apart."""
    text_N = data[offsets[0] : offsets[-1]]
    others = np.flatnonzero(is_apart)
    if not len(others):
        yield Block(text_N, offsets - offsets[0], np.arange(first_row, first_row + len(is_apart)))
    elif 2 * int(np.diff(offsets)[others].sum()) < len(text_N):
        text_N = text_N.copy()
        for begin, end in zip(
            (offsets[others] - offsets[0]).tolist(), (offsets[others + 1] - offsets[0]).tolist(), strict=True
        ):
            text_N[begin:end] = _BLANK
        yield Block(text_N, offsets - offsets[0], np.arange(first_row, first_row + len(is_apart)))
    elif len(others) < len(is_apart):
        rows = np.flatnonzero(~is_apart)
        yield _gathered([data[offsets[row] : offsets[row + 1]].tobytes() for row in rows], first_row + rows)


def _folded_blocks(
    data: Bytes, offsets: Positions, rows: Positions, normalization: NormalizationName, oddities: Oddities
) -> Iterator[Block]:
    pieces: list[bytes] = []
    size, begin, broken = 0, 0, []
    for place, row in enumerate(rows.tolist()):
        raw = data[offsets[row] : offsets[row + 1]].tobytes()
        text, is_broken = _decoded(raw)
        if is_broken:
            broken.append(row)
        pieces.append(fold(text, normalization).encode())
        size += len(pieces[-1])
        if size >= BLOCK_BYTES:
            yield _gathered(pieces, rows[begin : place + 1])
            pieces, size, begin = [], 0, place + 1
    oddities.add("not UTF-8", broken)
    if pieces:
        yield _gathered(pieces, rows[begin:])


def _decoded(raw: bytes) -> tuple[str, bool]:
    """Return a text, and whether some of its bytes were no UTF-8."""
    text = raw.decode("utf-8", "replace")
    return text, "\ufffd" in text and text.encode() != raw


def _pieces(
    row: int, raw: bytes, normalization: NormalizationName, oddities: Oddities, overlap_words: int, piece_bytes: int
) -> Iterator[Block]:
    """Yield a long row in pieces; nothing that folding reads as one reaches over white space."""
    whole = _without_stretches(raw)
    if whole is not raw:
        oddities.add("without white space for 4 MiB and not checked there", [row])
    begin, is_broken = 0, False
    while True:
        end = behind = _cut(whole, begin + piece_bytes)
        text, is_bad = _decoded(whole[begin:end])
        is_broken |= is_bad
        overlap = ""
        while behind < len(whole):
            behind = _cut(whole, behind + max(_OVERLAP_BYTES, behind - end))
            overlap = _lowered(_decoded(whole[end:behind])[0], normalization)
            if count_words(overlap, normalization) > overlap_words:
                break
        core = _lowered(text, normalization).encode() + b" "
        piece = core + overlap.encode()
        is_last = behind >= len(whole) and count_words(overlap, normalization) <= overlap_words
        yield Block(
            np.frombuffer(piece, np.uint8),
            np.array([0, len(piece)]),
            np.array([row]),
            begin > 0,
            None if is_last else len(core),
        )
        if is_last:
            break
        begin = end
    if is_broken:
        oddities.add("not UTF-8", [row])


def _lowered(text: str, normalization: NormalizationName) -> str:
    """Return a text folded, in lower case although it may be ASCII: it goes with others that are not."""
    folded = fold(text, normalization)
    return folded.lower() if folded.isascii() else folded


def _cut(raw: bytes, place: int) -> int:
    """Return the first place behind white space from here on, or the end."""
    found = _SPACE.search(raw, place)
    return found.end() if found else len(raw)


def _without_stretches(raw: bytes) -> bytes:
    """Return the row with a word for each stretch that is too long; the row itself when there is none."""
    text_N = np.frombuffer(raw, np.uint8)
    spaces = np.flatnonzero((text_N == 32) | (text_N == 9) | (text_N == 10) | (text_N == 13))
    edges = np.concatenate([[-1], spaces, [len(raw)]])
    long = np.flatnonzero(np.diff(edges) - 1 > MAX_STRETCH_BYTES)
    if not len(long):
        return raw
    pieces, begin = [], 0
    for place in long.tolist():
        pieces += [raw[begin : edges[place] + 1], _LEFT_OUT]
        begin = int(edges[place + 1])
    return b"".join([*pieces, raw[begin:]])


def _gathered(pieces: list[bytes], rows: Positions) -> Block:
    offsets = np.zeros(len(pieces) + 1, np.int64)
    np.cumsum([len(piece) for piece in pieces], out=offsets[1:])
    return Block(np.frombuffer(b"".join(pieces), np.uint8), offsets, rows)


def _cuts(lengths: Positions) -> list[tuple[int, int]]:
    """Return ranges of rows of about `BLOCK_BYTES` each."""
    if not len(lengths):
        return []
    number = np.cumsum(lengths) // BLOCK_BYTES
    edges = np.flatnonzero(number[1:] != number[:-1]) + 1
    bounds = [0, *edges.tolist(), len(lengths)]
    return list(pairwise(bounds))
