# SPDX-License-Identifier: Apache-2.0
"""Rows into parquet files of a bounded size, which all have the columns of the first 10,000 rows.

A struct without fields becomes null, which parquet can hold.
"""

import logging
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from open_r1.data.arrow_types import plain_schema, without_empty_structs

logger = logging.getLogger(__name__)

_SHARD_BYTES = 500 * 2**20  # of Arrow data: about the size that the hub advises for a file
_BUFFER_ROWS = 10_000
_BUFFER_BYTES = 64 * 2**20


def unify(schemas: Iterable[pa.Schema]) -> pa.Schema:
    """Return one schema for all rows, without types that parquet or the reader of `datasets` lacks.

    Raises:
        ValueError: A column has types that don't go together, or two have one name.
    """
    plain = []
    for schema in schemas:
        if len(set(schema.names)) < len(schema.names):
            raise ValueError(f"Two columns have the same name: {schema.names}.")
        schema = plain_schema(schema)
        plain.append(pa.schema([pa.field(entry.name, without_empty_structs(entry.type)) for entry in schema]))
    try:
        return pa.unify_schemas(plain, promote_options="permissive")
    except (pa.ArrowInvalid, pa.ArrowTypeError) as error:
        raise ValueError(f"Rows do not fit those before them: {error}.") from error


class ShardWriter:
    """Writes `<split>-00000.unfinished`, ... in a folder; names with the number of shards come with `finish`.

    Args:
        folder: Where the files go; it is made.
        split: Name of the split.
        schemas: Columns of each configuration, added with its first rows where they are not declared.
        config: The configuration. All its splits have the same columns, as the reader of `datasets` demands.
    """

    def __init__(self, folder: Path, split: str, schemas: dict[str, pa.Schema], config: str) -> None:
        self.folder = folder
        self.split = split
        self.num_rows = 0
        self._schemas, self._config = schemas, config
        self._shards: list[Path] = []
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
        for batch in _to_batches(rows):
            if not batch.num_rows:
                continue
            self._buffer.append(batch)
            self.num_rows += batch.num_rows
            self._buffer_rows += batch.num_rows
            self._buffer_bytes += batch.nbytes
            if self._buffer_rows >= _BUFFER_ROWS or self._buffer_bytes >= _BUFFER_BYTES:
                self._flush()

    def finish(self) -> None:
        """Write what is buffered, and give all shards the names that say how many there are."""
        self._flush()
        self._end_shard()
        for number, path in enumerate(self._shards):
            path.rename(self.folder / f"{self.split}-{number:05d}-of-{len(self._shards):05d}.parquet")

    def abandon(self) -> None:
        """Close the file as it is: what was written is not wanted any more."""
        self._buffer = []
        try:
            self._end_shard()
        except OSError as error:  # the disk that is full, perhaps: the error that ended the writing says so already
            logger.debug("Closing a file of %s: %s", self.folder, error)

    def _flush(self) -> None:
        if not self._buffer:
            return
        if self._config not in self._schemas:
            self._schemas[self._config] = unify(batch.schema for batch in self._buffer)
        schema = self._schemas[self._config]
        table = pa.concat_tables([conform(pa.Table.from_batches([batch]), schema) for batch in self._buffer])
        if self._writer is None:
            self._shards.append(self.folder / f"{self.split}-{len(self._shards):05d}.unfinished")
            self._writer = pq.ParquetWriter(self._shards[-1], schema)
            self._written_bytes = 0
        self._writer.write_table(table)
        self._written_bytes += self._buffer_bytes
        self._buffer, self._buffer_rows, self._buffer_bytes = [], 0, 0
        if self._written_bytes >= _SHARD_BYTES:
            self._end_shard()

    def _end_shard(self) -> None:
        if self._writer is not None:
            writer, self._writer = self._writer, None
            writer.close()


def _to_batches(rows: pa.RecordBatch | pa.Table | Sequence[Mapping[str, Any]]) -> list[pa.RecordBatch]:
    if isinstance(rows, pa.RecordBatch):
        return [rows]
    if isinstance(rows, pa.Table):
        return rows.to_batches()
    # All keys of all rows: `from_pylist` alone takes the columns of the first row.
    return pa.table(
        {name: [row.get(name) for row in rows] for name in dict.fromkeys(name for row in rows for name in row)}
    ).to_batches()


def conform(table: pa.Table, schema: pa.Schema) -> pa.Table:
    """Return a table with the columns of a schema; missing ones are null.

    Raises:
        ValueError: It has a column that the schema has not, or whose values would change.
    """
    if new := sorted(set(table.column_names) - set(schema.names)):
        raise ValueError(f"Columns {new} are not in the rows before: {schema.names}.")
    columns = []
    for field in schema:
        if field.name not in table.column_names:
            columns.append(pa.nulls(len(table), field.type))
            continue
        column = table[field.name]
        try:
            columns.append(column if column.type == field.type else _cast(column, field.type))
        except (pa.ArrowInvalid, pa.ArrowTypeError, pa.ArrowNotImplementedError) as error:
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
    if value is None or (pa.types.is_null(kind) and value == {}):
        return None
    if pa.types.is_null(kind):
        raise pa.ArrowTypeError(f"they are null, and this is {value!r:.100}")
    if pa.types.is_struct(kind):
        return {entry.name: _without_empty_structs(value.get(entry.name), entry.type) for entry in kind}
    if pa.types.is_list(kind) or pa.types.is_large_list(kind):
        return [_without_empty_structs(entry, kind.value_type) for entry in value]
    return value
