# SPDX-License-Identifier: Apache-2.0
"""JSON lines to Arrow in constant memory, whatever the lines hold.

1. The reader of `datasets` stops at a value of another type than the first block's, or at a torn line. Here a column
   that mixes types comes as text (JSON text of what was no text), and lines that are no objects are set aside.
2. Text that looks like a time stays text.
"""

import io
import json
import logging
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.json

logger = logging.getLogger(__name__)

_BLOCK_BYTES = 8 * 2**20


@dataclass
class MalformedLine:
    """A line that is no JSON object.

    Args:
        number: Its number in the file, from 1.
        text: What it holds, at most 200 characters.
    """

    number: int
    text: str


@dataclass
class JsonLines:
    """A file of JSON lines.

    Args:
        path: The file.
    """

    path: Path
    schema: pa.Schema = field(init=False)
    num_rows: int = field(init=False, default=0)
    malformed: list[MalformedLine] = field(init=False, default_factory=list)

    def __post_init__(self) -> None:
        schemas: list[pa.Schema] = []
        for number, lines in self._blocks():
            table = _parse(lines, None)
            if table is None:
                self.malformed += _malformed(number, lines)
                table = _parse_slowly(lines, None)
            self.num_rows += table.num_rows
            if table.schema not in schemas:
                schemas.append(table.schema)
        if self.malformed:
            first = self.malformed[0]
            logger.warning("%s: %d lines are no JSON objects and are left out (first: line %d, %r).",
                           self.path, len(self.malformed), first.number, first.text[:80])  # fmt: skip
        self.schema, mixed = _unify(schemas)
        if mixed:
            logger.warning("%s: columns %s mix types; what is no text in them is kept as JSON text.",
                           self.path, sorted(mixed))  # fmt: skip

    def tables(self) -> Iterator[pa.Table]:
        """Yield the rows in order, in tables of some megabytes, all with `schema`."""
        for _, lines in self._blocks():
            table = _parse(lines, self.schema)
            yield _parse_slowly(lines, self.schema) if table is None else table

    def _blocks(self) -> Iterator[tuple[int, list[bytes]]]:
        """Yield the number of the first line and the lines of each block, without empty ones."""
        number = 1
        with self.path.open("rb") as file:
            while lines := file.readlines(_BLOCK_BYTES):
                yield number, lines
                number += len(lines)


def _parse(lines: list[bytes], schema: pa.Schema | None) -> pa.Table | None:
    """Return the rows of a block read by Arrow, or None where it cannot (mixed types, broken lines, NaN)."""
    filled = [line for line in lines if line.strip()]
    if not filled:
        return (schema or pa.schema([])).empty_table()
    options = pyarrow.json.ParseOptions(
        explicit_schema=schema, unexpected_field_behavior="infer" if schema is None else "ignore"
    )
    block = b"".join(filled)
    read = pyarrow.json.ReadOptions(block_size=len(block) + 1, use_threads=False)
    try:
        table = pyarrow.json.read_json(io.BytesIO(block), read_options=read, parse_options=options)
        if schema is None:
            return table.cast(pa.schema([pa.field(entry.name, _without_times(entry.type)) for entry in table.schema]))
        return table.select(schema.names).cast(schema)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError, pa.ArrowTypeError, KeyError):
        return None  # the slow reader says what is wrong, line by line


def _parse_slowly(lines: list[bytes], schema: pa.Schema | None) -> pa.Table:
    rows = [row for line in lines if line.strip() and (row := _object(line)) is not None]
    names = schema.names if schema is not None else list(dict.fromkeys(name for row in rows for name in row))
    columns = []
    for name in names:
        kind = schema.field(name).type if schema is not None else None
        columns.append(_column([row.get(name) for row in rows], kind))
    if not names:
        return pa.schema([]).empty_table()
    return pa.Table.from_arrays(columns, names=names)


def _column(values: list[Any], kind: pa.DataType | None) -> pa.Array:
    try:
        if kind is None or not pa.types.is_string(kind):
            return pa.array(values, type=kind)
    except (pa.ArrowInvalid, pa.ArrowTypeError, pa.ArrowNotImplementedError, OverflowError):
        if kind is not None:
            raise
    return pa.array([_as_text(value) for value in values], type=pa.string())


def _as_text(value: Any) -> str | None:
    return value if value is None or isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _object(line: bytes) -> dict[str, Any] | None:
    try:
        found = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None


def _malformed(number: int, lines: list[bytes]) -> list[MalformedLine]:
    return [
        MalformedLine(number + offset, line[:200].decode("utf-8", "replace").rstrip())
        for offset, line in enumerate(lines)
        if line.strip() and _object(line) is None
    ]


def _without_times(kind: pa.DataType) -> pa.DataType:
    """Return the type with text where Arrow saw a time in it."""
    if pa.types.is_timestamp(kind):
        return pa.string()
    if pa.types.is_list(kind):
        return pa.list_(_without_times(kind.value_type))
    if pa.types.is_struct(kind):
        return pa.struct([pa.field(entry.name, _without_times(entry.type)) for entry in kind])
    return kind


def _unify(schemas: list[pa.Schema]) -> tuple[pa.Schema, set[str]]:
    """Return one schema for all blocks, and the columns that only text can hold."""
    kinds: dict[str, pa.DataType] = {}
    mixed = set()
    for schema in schemas:
        for entry in schema:
            old = kinds.setdefault(entry.name, entry.type)
            try:
                pair = [pa.schema([pa.field(entry.name, kind)]) for kind in (old, entry.type)]
                kinds[entry.name] = pa.unify_schemas(pair, promote_options="permissive").field(0).type
            except (pa.ArrowInvalid, pa.ArrowTypeError):
                kinds[entry.name] = pa.string()
                mixed.add(entry.name)
    return pa.schema([pa.field(name, kind) for name, kind in kinds.items()]), mixed
