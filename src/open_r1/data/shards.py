# SPDX-License-Identifier: Apache-2.0
"""Rows into parquet files of a bounded size, with one schema that grows where later rows have more than the first.

1. A struct without fields becomes null, which parquet can hold; half a surrogate pair becomes U+FFFD, with a warning.
2. Whole numbers and fractions in a column make it one of fractions, where that loses no digits.
"""

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from open_r1.data.arrow_types import has_booleans_as_fractions, plain_schema, without_empty_structs

logger = logging.getLogger(__name__)

_SHARD_BYTES = 500 * 2**20  # of Arrow data: about the size that the hub advises for a file
_BUFFER_ROWS = 10_000
_BUFFER_BYTES = 64 * 2**20
_ARROW_ERRORS = (pa.ArrowInvalid, pa.ArrowTypeError, pa.ArrowNotImplementedError, OverflowError)


class GrowingSchema:
    """Columns of all rows so far; all splits of a configuration share one, as the reader of `datasets` demands."""

    def __init__(self) -> None:
        self.schema = pa.schema([])
        self._last: pa.Schema | None = None

    def grow(self, schema: pa.Schema) -> None:
        """Take in the columns of more rows.

        Raises:
            ValueError: A column has a type that does not go with the one of earlier rows, or two have one name.
        """
        if self._last is not None and schema.equals(self._last):
            return
        if len(set(schema.names)) < len(schema.names):
            raise ValueError(f"Two columns have the same name: {schema.names}.")
        plain = plain_schema(schema)
        plain = pa.schema([pa.field(entry.name, without_empty_structs(entry.type)) for entry in plain])
        try:
            self.schema = pa.unify_schemas([self.schema, plain], promote_options="permissive")
        except (pa.ArrowInvalid, pa.ArrowTypeError) as error:
            raise ValueError(f"Rows do not fit those before them: {error}.") from error
        self._last = schema


class ShardWriter:
    """Writes `<split>-00000.unfinished`, ... in a folder; names with the number of shards come with `finish`.

    Args:
        folder: Where the files go; it is made.
        split: Name of the split.
        columns: Columns of the configuration.
    """

    def __init__(self, folder: Path, split: str, columns: GrowingSchema) -> None:
        self.folder = folder
        self.split = split
        self.columns = columns
        self.num_rows = 0
        self._shards: list[tuple[Path, pa.Schema]] = []
        self._writer: pq.ParquetWriter | None = None
        self._written_bytes = 0
        self._buffer: list[pa.RecordBatch] = []
        self._buffer_rows = self._buffer_bytes = 0
        folder.mkdir(parents=True, exist_ok=True)

    def write(self, rows: pa.RecordBatch | pa.Table | Sequence[Mapping[str, Any]]) -> None:
        """Add rows.

        Raises:
            ValueError: A column has another type than in earlier rows, or rows hold what Arrow cannot.
        """
        for batch in self._to_batches(rows):
            self.columns.grow(batch.schema)
            if not batch.num_rows:
                continue
            self._buffer.append(batch)
            self.num_rows += batch.num_rows
            self._buffer_rows += batch.num_rows
            self._buffer_bytes += batch.nbytes
            if self._buffer_rows >= _BUFFER_ROWS or self._buffer_bytes >= _BUFFER_BYTES:
                self._flush()

    def finish(self) -> None:
        """Write what is buffered, give all shards the last schema, and the names that say how many there are."""
        self._flush()
        self._end_shard()
        for number, (path, schema) in enumerate(self._shards):
            if schema != self.columns.schema:
                _rewrite(path, self.columns.schema)
            path.rename(self.folder / f"{self.split}-{number:05d}-of-{len(self._shards):05d}.parquet")

    def abandon(self) -> None:
        """Close the file as it is: what was written is not wanted any more."""
        self._buffer = []
        try:
            self._end_shard()
        except OSError as error:  # the disk that is full, perhaps: the error that ended the writing says so already
            logger.debug("Closing a file of %s: %s", self.folder, error)

    def _to_batches(self, rows: pa.RecordBatch | pa.Table | Sequence[Mapping[str, Any]]) -> list[pa.RecordBatch]:
        if isinstance(rows, pa.RecordBatch):
            return [rows]
        if isinstance(rows, pa.Table):
            return rows.to_batches() or [pa.RecordBatch.from_pylist([], rows.schema)]
        if not rows:
            return []
        # All keys of all rows: `from_pylist` alone takes the columns of the first row.
        columns = dict.fromkeys(name for row in rows for name in row)
        arrays = [_to_array(name, [row.get(name) for row in rows]) for name in columns]
        return [pa.RecordBatch.from_arrays(arrays, names=list(columns))]

    def _flush(self) -> None:
        if not self._buffer:
            return
        schema = self.columns.schema
        table = pa.concat_tables([_conform(pa.Table.from_batches([batch]), schema) for batch in self._buffer])
        if self._shards and self._shards[-1][1] != schema:
            self._end_shard()
        self._begin_shard()
        assert self._writer is not None
        self._writer.write_table(table)
        self._written_bytes += self._buffer_bytes
        self._buffer, self._buffer_rows, self._buffer_bytes = [], 0, 0
        if self._written_bytes >= _SHARD_BYTES:
            self._end_shard()

    def _begin_shard(self) -> None:
        if self._writer is None:
            path = self.folder / f"{self.split}-{len(self._shards):05d}.unfinished"
            self._shards.append((path, self.columns.schema))
            self._writer = pq.ParquetWriter(path, self.columns.schema)
            self._written_bytes = 0

    def _end_shard(self) -> None:
        if self._writer is not None:
            writer, self._writer = self._writer, None
            writer.close()


def _to_array(name: str, values: list[Any]) -> pa.Array:
    # Never with a type: told `int64`, Arrow cuts 0.5 to 0 without a word.
    try:
        try:
            array = pa.array(values)
            if has_booleans_as_fractions(values, array.type):
                raise pa.ArrowInvalid("booleans beside fractions")
            return array
        except UnicodeEncodeError:
            logger.warning("Column %r holds halves of surrogate pairs, which no file can: they become U+FFFD.", name)
            return pa.array([_without_surrogates(value) for value in values])
    except _ARROW_ERRORS as error:
        raise ValueError(f"Column {name!r} cannot be written: its values must be of one type ({error}).") from error


def _without_surrogates(value: Any) -> Any:
    if isinstance(value, str):
        return value.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    if isinstance(value, Mapping):
        return {_without_surrogates(key): _without_surrogates(entry) for key, entry in value.items()}
    return [_without_surrogates(entry) for entry in value] if isinstance(value, (list, tuple)) else value


def _conform(table: pa.Table, schema: pa.Schema) -> pa.Table:
    """Return a table with the columns of a schema; missing ones are null."""
    columns = []
    for field in schema:
        if field.name not in table.column_names:
            columns.append(pa.nulls(len(table), field.type))
            continue
        column = table[field.name]
        try:
            columns.append(column if column.type == field.type else _cast(column, field.type))
        except _ARROW_ERRORS as error:
            raise ValueError(
                f"Column {field.name!r} does not fit the rows before it: {error}. Make it text in all rows."
            ) from error
    return pa.Table.from_arrays(columns, schema=schema)


def _cast(column: pa.ChunkedArray, kind: pa.DataType) -> pa.ChunkedArray:
    try:
        return column.cast(kind)
    except pa.ArrowNotImplementedError:
        # No kernel from a struct without fields to null: by way of Python.
        values = [_without_empty_structs(value, kind) for value in column.to_pylist()]
        return pa.chunked_array([pa.array(values, type=kind)])


def _without_empty_structs(value: Any, kind: pa.DataType) -> Any:
    if value is None or pa.types.is_null(kind):
        return None
    if pa.types.is_struct(kind):
        return {entry.name: _without_empty_structs(value.get(entry.name), entry.type) for entry in kind}
    if pa.types.is_list(kind) or pa.types.is_large_list(kind):
        return [_without_empty_structs(entry, kind.value_type) for entry in value]
    return value


def _rewrite(path: Path, schema: pa.Schema) -> None:
    rewritten = path.with_suffix(".rewritten")
    with pq.ParquetFile(path) as old, pq.ParquetWriter(rewritten, schema) as new:
        for batch in old.iter_batches():
            new.write_table(_conform(pa.Table.from_batches([batch]), schema))
    rewritten.replace(path)
