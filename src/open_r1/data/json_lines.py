# SPDX-License-Identifier: Apache-2.0
"""JSON lines to Arrow, some megabytes at a time.

    {"problem": "1 + 1?", "answer": 2}
    {"problem": "2 + 2?", "answer": "four"}     gives answer: "2", "four"

A line that is no JSON object, is nested deeper than 100 levels, or has a whole number that 64 bits don't hold, is
refused with its number. Of a column that mixes types, what is no text comes as JSON text. Text that looks like a time
stays text.

1. The reader of `datasets`, which the trainers use, stops where a later line has another type, or another column, than
   the first 10 MB, and makes times of text that looks like one.
2. Whole numbers beyond 2^53 lose digits where fractions stand beside them. Those beyond 2^63 would make all of their
   column doubles.
"""

import contextlib
import io
import json
import logging
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.json

logger = logging.getLogger(__name__)

_BLOCK_BYTES = 8 * 2**20
_UTF8_MARK = b"\xef\xbb\xbf"
_MAX_DEPTH = 100
_NO_BRACKETS = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*"|[^][{}"]+')
_ZEROS = bytes.maketrans(b"123456789", b"000000000")
_ARROW_ERRORS = (pa.ArrowInvalid, pa.ArrowTypeError, pa.ArrowNotImplementedError, OverflowError)


@dataclass(frozen=True)
class _Block:
    """Some megabytes of the file: where it begins, its lines, its first row, its rows."""

    offset: int
    num_lines: int
    row: int
    num_rows: int


@dataclass(frozen=True)
class JsonLines:
    """A file of JSON lines.

    Args:
        path: The file.
        schema: Columns of all lines.
        mixed: Columns that mix types: what is no text in them comes as JSON text.
        blocks: Its parts.
    """

    path: Path
    schema: pa.Schema
    mixed: frozenset[str]
    blocks: Sequence[_Block]

    @property
    def num_rows(self) -> int:
        """Lines that aren't empty."""
        return sum(block.num_rows for block in self.blocks)

    def tables(self, first: int = 0) -> Iterator[tuple[int, pa.Table]]:
        """Yield the rows from the block of row `first` on, in tables, each with the number of its first row."""
        with self.path.open("rb") as file:
            for block in self.blocks:
                if block.row + block.num_rows <= first:
                    continue
                file.seek(block.offset)
                lines = _filled([file.readline() for _ in range(block.num_lines)])
                table = _parse(lines, self.schema)
                if table is None:
                    table = _parse_slowly(lines, self.schema)
                if table.num_rows != block.num_rows:
                    raise ValueError(f"{self.path} changed while it was read: run the command again.")
                yield block.row, table


def open_json_lines(path: Path) -> JsonLines:
    """Read a file of JSON lines once, for its columns.

    Raises:
        ValueError: A line is no JSON object, or has a number too large; the message has its number.
    """
    blocks: list[_Block] = []
    schemas: list[pa.Schema] = []
    mixed: set[str] = set()
    offset = row = number = 0
    with path.open("rb") as file:
        while lines := file.readlines(_BLOCK_BYTES):
            _refuse_wrong(path, number, lines, quickly=True)
            filled = _filled(lines)
            table = _parse(filled, None)
            if table is None:
                _refuse_wrong(path, number, lines)
                table = _parse_slowly(filled, None, mixed)
            blocks.append(_Block(offset, len(lines), row, table.num_rows))
            if table.schema not in schemas:
                schemas.append(table.schema)
            offset, row, number = offset + sum(map(len, lines)), row + table.num_rows, number + len(lines)
    schema, differing = _unify(schemas)
    mixed |= differing
    if mixed:
        logger.warning("%s: columns %s mix types; what is no text comes as JSON text.", path, sorted(mixed))
    return JsonLines(path, schema, frozenset(mixed), blocks)


def refuse_wrong_lines(path: Path, *, quickly: bool) -> None:
    """Raise a ValueError with the number of the first line to refuse: no JSON object, too deep, or a number too large.

    A .json file that holds no lines is looked at as a whole; a list in it is not.

    Args:
        path: The file.
        quickly: Look only for what Arrow's reader does not refuse: deep nesting and lines such as `null`, which end
            the process, and numbers that change.
    """
    number = 0
    if path.suffix.lower() == ".json" and not holds_lines(path):
        whole = path.read_bytes().strip()
        _refuse_wrong(path, 0, [] if whole.startswith(b"[") else [whole], quickly=quickly)
        return
    with path.open("rb") as file:
        while lines := file.readlines(_BLOCK_BYTES):
            _refuse_wrong(path, number, lines, quickly=quickly)
            number += len(lines)


def holds_lines(path: Path) -> bool:
    """Say whether a .json file holds an object a line, as many do."""
    with path.open("rb") as file:
        line = file.readline(2**22).removeprefix(_UTF8_MARK)
    return bool(_too_deep(line)) or _fault(line) is None


def _refuse_wrong(path: Path, number: int, lines: Sequence[bytes], *, quickly: bool = False) -> None:
    for place, line in enumerate(lines, number + 1):
        line = line.removeprefix(_UTF8_MARK).strip() if place == 1 else line.strip()
        fault = _too_deep(line)
        if line and not fault and not (quickly and line[:1] == b"{" and line[-1:] == b"}"):
            fault = _fault(line)
        if fault := fault or _too_large(line):
            raise ValueError(f"{path}, line {place}: {fault}.")


def _too_deep(line: bytes) -> str | None:
    if line.count(b"{") + line.count(b"[") <= _MAX_DEPTH:
        return None
    depth = deepest = 0
    for sign in _NO_BRACKETS.sub(b"", line):
        depth += 1 if sign in b"{[" else -1
        deepest = max(deepest, depth)
    return f"nested {deepest} levels deep, and {_MAX_DEPTH} are allowed" if deepest > _MAX_DEPTH else None


def _too_large(line: bytes) -> str | None:
    if b"0" * 19 not in line.translate(_ZEROS):
        return None
    numbers: list[str] = []
    with contextlib.suppress(ValueError):  # no JSON: the reader says so
        json.loads(line, parse_int=numbers.append)
    for digits in numbers:
        if len(digits) > 20 or not -(2**63) <= int(digits) < 2**63:
            return f"{digits:.50} is beyond 64 bits; write it as text"
    return None


def _fault(line: bytes) -> str | None:
    try:
        found = json.loads(line.decode("utf-8"))
        json.dumps(found, ensure_ascii=False).encode("utf-8")  # half of a surrogate pair raises
    except ValueError as error:
        return f"no JSON ({error})"
    return None if isinstance(found, dict) else f"a JSON {type(found).__name__}, no object"


def _filled(lines: Iterable[bytes]) -> list[bytes]:
    return [line for line in (line.removeprefix(_UTF8_MARK).strip() for line in lines) if line]


def _parse(lines: list[bytes], schema: pa.Schema | None) -> pa.Table | None:
    """Return the rows of a block read by Arrow, or None where it cannot (mixed types, wrong lines)."""
    block = b"\n".join(lines) + b"\n"
    options = pyarrow.json.ParseOptions(
        explicit_schema=schema, unexpected_field_behavior="infer" if schema is None else "ignore"
    )
    try:
        block.decode("utf-8")  # Arrow does not look
        read = pyarrow.json.ReadOptions(block_size=len(block) + 1, use_threads=False)
        table = pyarrow.json.read_json(io.BytesIO(block), read_options=read, parse_options=options)
        if schema is None:
            untimed = pa.schema([pa.field(entry.name, _untimed(entry.type)) for entry in table.schema])
            if untimed != table.schema:
                return _parse(lines, untimed)
        else:
            table = table.select(schema.names).cast(schema)
    except (*_ARROW_ERRORS, UnicodeDecodeError, KeyError):
        return None
    return table if table.num_rows == len(lines) and table.num_columns else None


def _untimed(kind: pa.DataType) -> pa.DataType:
    if pa.types.is_temporal(kind):
        return pa.string()
    if pa.types.is_list(kind):
        return pa.list_(_untimed(kind.value_type))
    if pa.types.is_struct(kind):
        return pa.struct([pa.field(entry.name, _untimed(entry.type)) for entry in kind])
    return kind


def _parse_slowly(lines: list[bytes], schema: pa.Schema | None, mixed: set[str] | None = None) -> pa.Table:
    """Return the rows of a block line by line; add the columns to `mixed` of which some values become text."""
    rows = [json.loads(line) for line in lines]
    names = schema.names if schema is not None else list(dict.fromkeys(name for row in rows for name in row))
    columns = {}
    for name in names:
        values = [row.get(name) for row in rows]
        columns[name] = _column(values, None if schema is None else schema.field(name).type)
        is_text = all(value is None or isinstance(value, str) for value in values)
        if mixed is not None and pa.types.is_string(columns[name].type) and not is_text:
            mixed.add(name)
    if not names:  # rows without any column still count
        return pa.Table.from_batches([pa.RecordBatch.from_struct_array(pa.array(rows, pa.struct([])))])
    return pa.table(columns)


def _column(values: list[Any], kind: pa.DataType | None) -> pa.Array:
    if kind is None or not pa.types.is_string(kind):
        try:
            return pa.array(values, type=kind)
        except _ARROW_ERRORS:
            if kind is not None:
                raise
    texts = (
        value if value is None or isinstance(value, str) else json.dumps(value, ensure_ascii=False) for value in values
    )
    return pa.array(texts, type=pa.string())


def _unify(schemas: Iterable[pa.Schema]) -> tuple[pa.Schema, set[str]]:
    """Return one schema for all blocks, and the columns that only text can hold."""
    fields: dict[str, pa.Field] = {}
    mixed = set()
    for entry in (entry for schema in schemas for entry in schema):
        pair = [pa.schema([fields.setdefault(entry.name, entry)]), pa.schema([entry])]
        try:
            fields[entry.name] = pa.unify_schemas(pair, promote_options="permissive").field(0)
        except (pa.ArrowInvalid, pa.ArrowTypeError):
            fields[entry.name] = pa.field(entry.name, pa.string())
            mixed.add(entry.name)
    return pa.schema(list(fields.values())), mixed
