# SPDX-License-Identifier: Apache-2.0
"""A column of any text-like Arrow type as blocks of folded UTF-8, without a copy where it is ASCII.

What can't be matched is counted, and the row stays: null, empty, bytes that are no UTF-8, what no text can be made of,
and what lies beyond the first 4 MiB of a row.
"""

import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from open_r1.curation.decontamination.hashing import BLOCK_BYTES, Bytes, Positions
from open_r1.curation.decontamination.normalization import NormalizationName, fold

MAX_ROW_BYTES = 1 << 22
_EMPTY = np.zeros(0, np.uint8)
_BLANK = ord(" ")


@dataclass
class Oddities:
    """Rows that can't be matched, or not whole: how many of each kind, and the first row of the kind."""

    count: Counter[str] = field(default_factory=Counter)
    first_row: dict[str, int] = field(default_factory=dict)

    def add(self, kind: str, rows: Positions | list[int]) -> None:
        """Count rows of a kind, in ascending order."""
        if len(rows):
            self.count[kind] += len(rows)
            self.first_row[kind] = min(int(rows[0]), self.first_row.get(kind, int(rows[0])))

    def merge(self, other: "Oddities", first_row: int) -> None:
        """Add those of a batch that starts at this row."""
        for kind, count in other.count.items():
            self.count[kind] += count
            row = first_row + other.first_row[kind]
            self.first_row[kind] = min(row, self.first_row.get(kind, row))


@dataclass(frozen=True)
class Block:
    """Rows one behind another: folded text, R + 1 positions, and the numbers of the rows in the column."""

    text_N: Bytes
    offsets_R: Positions
    row_R: Positions


def is_textual(kind: pa.DataType) -> bool:
    """Return whether a column of this type can hold text: strings, lists of them, conversations."""
    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    if pa.types.is_list(kind) or pa.types.is_large_list(kind):
        value = kind.value_type
        return _is_string(value) or (pa.types.is_struct(value) and _content_field(value) is not None)
    return _is_string(kind) or pa.types.is_null(kind)


def to_texts(column: pa.Array, oddities: Oddities) -> pa.LargeStringArray:
    """Return the column as strings without nulls; all turns of a conversation are joined by line breaks.

    Raises:
        ValueError: The column holds no text.
    """
    kind = column.type
    if not is_textual(kind):
        raise ValueError(f"a column of type {kind} holds no text: name one of strings, lists of strings or messages")
    if column.null_count:
        oddities.add("null", np.flatnonzero(column.is_null().to_numpy(zero_copy_only=False)))
    if pa.types.is_null(kind):
        return pa.array([""] * len(column), pa.large_string())
    if pa.types.is_dictionary(kind):
        column = column.dictionary_decode()
    if pa.types.is_list(kind) or pa.types.is_large_list(kind):
        column = _joined(column)
    if column.type != pa.large_string():
        column = column.cast(pa.large_string())
    lengths = pc.fill_null(pc.call_function("binary_length", [column]), 1).to_numpy()
    oddities.add("empty", np.flatnonzero(lengths == 0))
    return pc.fill_null(column, "") if column.null_count else column


def blocks(texts: pa.LargeStringArray, normalization: NormalizationName, oddities: Oddities) -> Iterator[Block]:
    """Yield the texts in blocks of about `BLOCK_BYTES`, those that folding changes in blocks behind the others."""
    num_rows = len(texts)
    _, offset_buffer, data_buffer = texts.buffers()
    offsets = np.frombuffer(offset_buffer, np.int64)[texts.offset : texts.offset + num_rows + 1]
    data = np.frombuffer(data_buffer, np.uint8) if data_buffer is not None else _EMPTY
    first, last = int(offsets[0]), int(offsets[-1])
    lengths = np.diff(offsets)
    is_apart = lengths > MAX_ROW_BYTES
    oddities.add("longer than 4 MiB", np.flatnonzero(is_apart))
    if last > first and data[first:last].max() >= 128:
        is_apart |= ~pc.call_function("string_is_ascii", [texts]).to_numpy(zero_copy_only=False)
    if normalization == "default":
        is_apart[_rows_with_thousands(data, offsets)] = True
    apart = np.flatnonzero(is_apart)
    for begin, end in _cuts(np.where(is_apart, 0, lengths) if len(apart) else lengths):
        yield from _plain_blocks(data, offsets[begin : end + 1], is_apart[begin:end], begin)
    if len(apart):
        yield from _folded_blocks(data, offsets, apart, normalization, oddities)


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
        for begin, end in zip((offsets[others] - offsets[0]).tolist(), (offsets[others + 1] - offsets[0]).tolist(),
                              strict=True):  # fmt: skip
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
        raw = data[offsets[row] : min(offsets[row + 1], offsets[row] + MAX_ROW_BYTES)].tobytes()
        text = raw.decode("utf-8", "replace")
        if len(raw) < MAX_ROW_BYTES and "\ufffd" in text and text.encode() != raw:
            broken.append(row)
        pieces.append(fold(text, normalization).encode())
        size += len(pieces[-1])
        if size >= BLOCK_BYTES:
            yield _gathered(pieces, rows[begin : place + 1])
            pieces, size, begin = [], 0, place + 1
    oddities.add("not UTF-8", broken)
    if pieces:
        yield _gathered(pieces, rows[begin:])


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


def _is_string(kind: pa.DataType) -> bool:
    return pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind)


def _content_field(struct: pa.StructType) -> str | None:
    """Return the field of a turn that holds its text."""
    names = [struct.field(index).name for index in range(struct.num_fields)]
    return next((name for name in ("content", "value", "text") if name in names), None)


def _joined(column: pa.ListArray) -> pa.Array:
    """Return the strings of each list joined; a content that is no string is written as JSON."""
    value = column.type.value_type
    values = column.values
    if pa.types.is_struct(value):
        values = values.field(_content_field(value))
        if not _is_string(values.type):
            texts = [None if part is None else json.dumps(part, ensure_ascii=False) for part in values.to_pylist()]
            values = pa.array(texts, pa.string())
    values = pc.fill_null(values.cast(pa.string()), "")  # `binary_join` knows lists of these alone
    offsets = pa.array(column.offsets.to_numpy().astype(np.int32))  # a copy: Arrow wants no sliced offsets and a mask
    lists = pa.ListArray.from_arrays(offsets, values, mask=column.is_null() if column.null_count else None)
    return pc.call_function("binary_join", [lists, pa.scalar("\n")])
