# SPDX-License-Identifier: Apache-2.0
"""JSON lines to Arrow in constant memory, whatever the lines hold.

1. The reader of `datasets` stops at a value of another type than the first block's, or at a torn line. Here a column
   that mixes types comes as text (JSON text of what was no text), and lines that are no objects are set aside.
2. Text that looks like a time stays text, integers stay exact: beside fractions, those beyond 2^53 make a column text.
3. Of a key that is twice in an object the last value counts, as for Python's `json`.
"""

import io
import json
import logging
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.json

from open_r1.data.arrow_types import has_booleans_as_fractions
from open_r1.data.json_types import unify, wide_integers, without_times
from open_r1.data.malformed import MalformedLines, parse_object

logger = logging.getLogger(__name__)

_BLOCK_BYTES = 8 * 2**20
_UTF8_MARK = b"\xef\xbb\xbf"
# Arrow's reader recurses without bound: a line with 100,000 open brackets would end the process.
_MAX_BRACKETS = 5_000
_LONG_NUMBER = re.compile(rb"(?<![\d.])\d{16,}(?![\d.eE])")


@dataclass(frozen=True)
class _Block:
    """Some megabytes of the file: where it begins, number of its first line, its lines, its first row, its rows."""

    offset: int
    line: int
    num_lines: int
    row: int
    num_rows: int


@dataclass
class JsonLines:
    """A file of JSON lines; opening it reads it once.

    Args:
        path: The file.
        schema: Columns of all lines.
        num_rows: Lines that are objects.
        malformed: Lines that are none; empty lines are neither.
        mixed: Columns that mix types: what is no text in them comes as JSON text.
    """

    path: Path
    schema: pa.Schema = field(init=False)
    num_rows: int = field(init=False, default=0)
    malformed: MalformedLines = field(init=False)
    mixed: frozenset[str] = field(init=False, default=frozenset())
    _blocks: list[_Block] = field(init=False, repr=False, default_factory=list)

    def __post_init__(self) -> None:
        self.malformed = MalformedLines(self.path)
        mixed: set[str] = set()
        schemas: list[tuple[pa.Schema, frozenset[tuple[str, ...]]]] = []
        for offset, number, lines in _read_blocks(self.path):
            table = _parse_exactly(lines)
            if table is None:
                self._set_malformed_aside(offset, number, lines)
                table = _parse_slowly(lines, None, mixed)
            self._blocks.append(_Block(offset, number, len(lines), self.num_rows, table.num_rows))
            self.num_rows += table.num_rows
            seen = without_times(table.schema), wide_integers(table)
            if seen not in schemas:
                schemas.append(seen)
        if self.malformed:
            first = self.malformed[0]
            logger.warning(
                "%s: %d lines are no JSON objects and are left out (first: line %d, %s: %r).",
                self.path,
                len(self.malformed),
                first.number,
                first.reason,
                first.text[:80],
            )
        self.schema, differing = unify(schemas)
        self.mixed = frozenset(mixed | differing)
        if self.mixed:
            logger.warning(
                "%s: columns %s mix types; what is no text in them is kept as JSON text.",
                self.path,
                sorted(self.mixed),
            )

    def tables(self, first: int = 0) -> Iterator[tuple[int, pa.Table]]:
        """Yield the rows in order, in tables of some megabytes, each with the number of its first row.

        Args:
            first: First row wanted: the tables before it are not read.

        Raises:
            ValueError: The file changed since it was opened.
        """
        with self.path.open("rb") as file:
            for block in self._blocks:
                if block.row + block.num_rows <= first:
                    continue
                file.seek(block.offset)
                lines = _without_mark(block.offset, [file.readline() for _ in range(block.num_lines)])
                table = _parse(lines, self.schema)
                if table is None:
                    table = _parse_slowly(lines, self.schema)
                if table.num_rows != block.num_rows:
                    raise ValueError(f"{self.path} changed while it was read: run the command again.")
                yield block.row, table

    def _set_malformed_aside(self, offset: int, number: int, lines: list[bytes]) -> None:
        for line in lines:
            if line.strip() and parse_object(line) is None:
                self.malformed.append(number, offset, len(line))
            offset, number = offset + len(line), number + 1


def _read_blocks(path: Path) -> Iterator[tuple[int, int, list[bytes]]]:
    """Yield where each block begins, the number of its first line, and its lines."""
    offset, number = 0, 1
    with path.open("rb") as file:
        while lines := file.readlines(_BLOCK_BYTES):
            num_bytes = sum(map(len, lines))
            yield offset, number, _without_mark(offset, lines)
            offset, number = offset + num_bytes, number + len(lines)


def _without_mark(offset: int, lines: list[bytes]) -> list[bytes]:
    """Turn the mark of UTF-8 at the beginning of a file into spaces, so that positions stay."""
    if offset == 0 and lines and lines[0].startswith(_UTF8_MARK):
        lines[0] = b"   " + lines[0][3:]
    return lines


def _parse_exactly(lines: list[bytes]) -> pa.Table | None:
    """Return the rows of a block with types of their own, or None where Arrow cannot read all of it exactly."""
    table = _parse(lines, None)
    if table is None or not any(_holds_fractions(kind) for kind in table.schema.types):
        return table
    # Beside fractions Arrow reads integers as fractions too: those beyond 2^53 would lose digits.
    return None if any(_LONG_NUMBER.search(line) for line in lines) else table


def _holds_fractions(kind: pa.DataType) -> bool:
    return "double" in str(kind)


def _parse(lines: list[bytes], schema: pa.Schema | None) -> pa.Table | None:
    """Return the rows of a block read by Arrow, or None where it cannot (mixed types, broken lines)."""
    filled = [line for line in map(bytes.strip, lines) if line]
    if not filled or not all(map(_is_fit_for_arrow, filled)):
        return None
    options = pyarrow.json.ParseOptions(
        explicit_schema=schema, unexpected_field_behavior="infer" if schema is None else "ignore"
    )
    block = b"\n".join(filled) + b"\n"
    read = pyarrow.json.ReadOptions(block_size=len(block) + 1, use_threads=False)
    try:
        block.decode("utf-8")  # Arrow does not look
        table = pyarrow.json.read_json(io.BytesIO(block), read_options=read, parse_options=options)
        if schema is not None:
            table = table.select(schema.names).cast(schema)
    except (
        pa.ArrowInvalid,
        pa.ArrowNotImplementedError,
        pa.ArrowTypeError,
        UnicodeDecodeError,
        KeyError,
        OverflowError,
    ):
        return None  # the slow reader says what is wrong, line by line
    # Two objects on a line, or one on two: also for the slow reader to say.
    return table if table.num_rows == len(filled) and table.num_columns else None


def _is_fit_for_arrow(line: bytes) -> bool:
    """Say whether a line looks like an object: Arrow crashes on a lone `null` and on deep nesting."""
    if not (line.startswith(b"{") and line.endswith(b"}")):
        return False
    return len(line) < 2 * _MAX_BRACKETS or line.count(b"{") + line.count(b"[") < _MAX_BRACKETS


def _parse_slowly(lines: list[bytes], schema: pa.Schema | None, mixed: set[str] | None = None) -> pa.Table:
    """Return the rows of a block line by line; add the columns to `mixed` of which some values become text."""
    rows = [row for line in lines if line.strip() and (row := parse_object(line)) is not None]
    names = schema.names if schema is not None else list(dict.fromkeys(name for row in rows for name in row))
    columns = [
        _column([row.get(name) for row in rows], None if schema is None else schema.field(name).type) for name in names
    ]
    if mixed is not None:
        mixed |= {
            name
            for name, column in zip(names, columns, strict=True)
            if pa.types.is_string(column.type) and not _is_text(row.get(name) for row in rows)
        }
    if not names:  # rows without any column still count
        batch = pa.RecordBatch.from_struct_array(pa.array([{}] * len(rows), pa.struct([])))
        return pa.Table.from_batches([batch])
    return pa.Table.from_arrays(columns, names=names)


def _column(values: list[Any], kind: pa.DataType | None) -> pa.Array:
    try:
        if kind is None or not pa.types.is_string(kind):
            array = pa.array(values, type=kind)
            if kind is not None or not has_booleans_as_fractions(values, array.type):
                return array
    except (pa.ArrowInvalid, pa.ArrowTypeError, pa.ArrowNotImplementedError, OverflowError):
        if kind is not None:
            raise
    return pa.array([_as_text(value) for value in values], type=pa.string())


def _is_text(values: Iterable[Any]) -> bool:
    return all(value is None or isinstance(value, str) for value in values)


def _as_text(value: Any) -> str | None:
    return value if value is None or isinstance(value, str) else json.dumps(value, ensure_ascii=False)
