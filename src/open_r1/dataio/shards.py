# SPDX-License-Identifier: Apache-2.0
"""Rows into parquet files of a bounded size, with one schema that grows where the first rows had only nulls."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

_SHARD_BYTES = 500 * 2**20  # of Arrow data: about the size that the hub advises for a file
_BUFFER_ROWS = 10_000
_BUFFER_BYTES = 64 * 2**20


class ShardWriter:
    """Writes `<split>-00000.parquet`, ... in a folder; names with the number of shards come with `finish`.

    Args:
        folder: Where the files go; it is made.
        split: Name of the split.
    """

    def __init__(self, folder: Path, split: str) -> None:
        self.folder = folder
        self.split = split
        self.num_rows = 0
        self._schema: pa.Schema | None = None
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
            if not batch.num_rows:
                continue
            self._fit(batch.schema)
            self._buffer.append(batch)
            self.num_rows += batch.num_rows
            self._buffer_rows += batch.num_rows
            self._buffer_bytes += batch.nbytes
            if self._buffer_rows >= _BUFFER_ROWS or self._buffer_bytes >= _BUFFER_BYTES:
                self._flush()

    def close(self) -> None:
        """Write what is buffered, and close the file."""
        self._flush()
        self._end_shard()

    def finish(self) -> None:
        """Give all shards the last schema, and the names that say how many there are."""
        if not self._shards and self._schema is not None:
            raise AssertionError("finish comes after close")
        for number, (path, schema) in enumerate(self._shards):
            if schema != self._schema:
                _rewrite(path, self._schema)
            path.rename(self.folder / f"{self.split}-{number:05d}-of-{len(self._shards):05d}.parquet")

    def _to_batches(self, rows: pa.RecordBatch | pa.Table | Sequence[Mapping[str, Any]]) -> list[pa.RecordBatch]:
        if isinstance(rows, pa.RecordBatch):
            return [rows]
        if isinstance(rows, pa.Table):
            return rows.to_batches()
        if not rows:
            return []
        # All keys of all rows: `from_pylist` alone takes the columns of the first row.
        columns = dict.fromkeys(name for row in rows for name in row)
        known = {field.name: field.type for field in self._schema or [] if not _has_null_type(field.type)}
        arrays = []
        for name in columns:
            values = [row.get(name) for row in rows]
            try:
                arrays.append(pa.array(values, type=known.get(name)))
            except (pa.ArrowInvalid, pa.ArrowTypeError, pa.ArrowNotImplementedError, OverflowError) as error:
                raise ValueError(
                    f"Column {name!r} cannot be written ({error}): its values must be of one type"
                    + (f", {known[name]} as in earlier rows." if name in known else ".")
                ) from error
        return [pa.RecordBatch.from_arrays(arrays, names=list(columns))]

    def _fit(self, schema: pa.Schema) -> None:
        schema = schema.remove_metadata()
        if self._schema is None:
            self._schema = schema
            return
        if schema == self._schema:
            return
        try:
            unified = pa.unify_schemas([self._schema, schema], promote_options="permissive")
        except (pa.ArrowInvalid, pa.ArrowTypeError) as error:
            raise ValueError(f"Rows do not fit those before them: {error}.") from error
        if unified != self._schema:
            self._flush()
            self._end_shard()
            self._schema = unified

    def _flush(self) -> None:
        if not self._buffer:
            return
        assert self._schema is not None
        table = pa.concat_tables([_conform(pa.Table.from_batches([batch]), self._schema) for batch in self._buffer])
        if self._writer is None:
            path = self.folder / f"{self.split}-{len(self._shards):05d}.unfinished"
            self._shards.append((path, self._schema))
            self._writer = pq.ParquetWriter(path, self._schema)
            self._written_bytes = 0
        self._writer.write_table(table)
        self._written_bytes += self._buffer_bytes
        self._buffer, self._buffer_rows, self._buffer_bytes = [], 0, 0
        if self._written_bytes >= _SHARD_BYTES:
            self._end_shard()

    def _end_shard(self) -> None:
        if self._writer is not None:
            self._writer.close()
            self._writer = None


def _conform(table: pa.Table, schema: pa.Schema) -> pa.Table:
    """Return a table with the columns of a schema; missing ones are null."""
    columns = [
        table[field.name].cast(field.type) if field.name in table.column_names else pa.nulls(len(table), field.type)
        for field in schema
    ]
    return pa.Table.from_arrays(columns, schema=schema)


def _rewrite(path: Path, schema: pa.Schema) -> None:
    rewritten = path.with_suffix(".rewritten")
    with pq.ParquetFile(path) as old, pq.ParquetWriter(rewritten, schema) as new:
        for batch in old.iter_batches():
            new.write_table(_conform(pa.Table.from_batches([batch]), schema))
    rewritten.replace(path)


def _has_null_type(kind: pa.DataType) -> bool:
    if pa.types.is_null(kind):
        return True
    if pa.types.is_struct(kind):
        return True  # a later row may have more fields: let Arrow infer, then unify
    return bool(pa.types.is_list(kind) or pa.types.is_large_list(kind)) and _has_null_type(kind.value_type)
