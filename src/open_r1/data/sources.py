# SPDX-License-Identifier: Apache-2.0
"""Rows of one split of one source, as Arrow batches in constant memory.

`loading.load_source` gives whole data sets to the trainers; this is for scripts that go once through the rows.
Parquet files and our own folders are read by Arrow alone (no import of `datasets`: a second less), JSON lines
(.json files too that hold them) by `json_lines`, all else by `load_source`, whose tables lie on disk.

1. A local file is known by its contents: moved or renamed it keeps its fingerprint, so that work on it goes on.
2. Text comes as Arrow's `string` or `large_string`, whatever the file says (dictionaries, views).
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import xxhash

from open_r1.data.arrow_types import plain_schema
from open_r1.data.card import Parent, read_card
from open_r1.data.json_lines import holds_lines, open_json_lines
from open_r1.data.licences import declared_licence
from open_r1.data.published import DEFAULT_CONFIG, published_files, refuse_unfinished
from open_r1.data.slices import parse_split

_HASH_ROWS = 10_000
_HASH_BYTES = 2**22

# (columns, rows of a batch at most, first row wanted) -> (number of its first row, batch); it may begin earlier.
_Reader = Callable[[list[str] | None, int, int], Iterator[tuple[int, pa.RecordBatch]]]


@dataclass
class RowSource:
    """One split of a source, or a slice of it.

    Args:
        name: As the user named it.
        config: Its configuration.
        split: Its split, with the slice.
        revision: Branch, tag or commit on the hub.
        schema: Its columns.
        num_rows: Rows in the slice.
        num_rows_in_split: Rows in the whole split.
        mixed: Columns of a JSON lines file that mix types: what is no text in them comes as JSON text.
    """

    name: str
    config: str | None
    split: str
    revision: str | None
    schema: pa.Schema
    num_rows: int
    num_rows_in_split: int
    mixed: frozenset[str]
    _first: int = field(repr=False)
    _opened: "_Opened" = field(repr=False)

    @property
    def column_names(self) -> list[str]:
        """Names of the columns."""
        return self.schema.names

    def require(self, columns: list[str], setting: str) -> None:
        """Raise a ValueError that lists the columns found when one of `columns` is missing; `setting` names them."""
        missing = [column for column in columns if column not in self.column_names]
        if missing:
            raise ValueError(
                f"The data set {self.name!r} has no columns {missing} (set {setting}). Columns found: "
                f"{self.column_names}"
            )

    def batches(
        self, columns: list[str] | None = None, *, batch_rows: int = 8192, start: int = 0, end: int | None = None
    ) -> Iterator[pa.RecordBatch]:
        """Yield the rows in order, at most `batch_rows` at a time.

        Args:
            columns: Columns to read, in this order; all when None.
            batch_rows: Rows of a batch at most.
            start: First row, from 0 in this slice.
            end: Row behind the last one; None or beyond the end: all.

        Raises:
            ValueError: There is no such column, a bound is negative, or a file is damaged.
        """
        if start < 0 or (end is not None and end < 0) or batch_rows < 1:
            raise ValueError(f"start {start}, end {end}, batch_rows {batch_rows}: bounds are 0 or more, batches 1.")
        self.require(columns or [], "the columns to read")
        end = self.num_rows if end is None else min(end, self.num_rows)
        first, last = self._first + start, self._first + end
        if first >= last:
            return
        for begin, batch in self._opened.read(columns, batch_rows, first):
            behind = begin + batch.num_rows
            if begin >= last:
                return
            if behind > first:
                yield batch.slice(max(first - begin, 0), min(last, behind) - max(first, begin))

    def rows(
        self, columns: list[str] | None = None, *, start: int = 0, end: int | None = None
    ) -> Iterator[dict[str, Any]]:
        """Yield the rows in order as dictionaries."""
        for batch in self.batches(columns, batch_rows=1024, start=start, end=end):
            yield from batch.to_pylist()

    def fingerprint(self) -> str:
        """Return a hash of the contents and the slice: of files by their bytes, not their names, else of the rows."""
        digest = xxhash.xxh3_128()
        digest.update(f"{self._first}:{self.num_rows}".encode())
        for path in self._opened.files:
            digest.update(f"{path.stat().st_size}:".encode())
            with path.open("rb") as file:
                while block := file.read(_HASH_BYTES):
                    digest.update(block)
        if not self._opened.files:
            digest.update(self.schema.serialize())
            for batch in self.batches(batch_rows=_HASH_ROWS):
                digest.update(batch.serialize())
        return digest.hexdigest()[:16]

    def parent(self) -> Parent:
        """Return what a card says of this source; reads all of it for the fingerprint."""
        card = read_card(Path(self.name).expanduser())
        licence = card.licence if card is not None else declared_licence(self.name, self.revision)
        return Parent(
            self.name,
            self.config,
            self.split,
            self.revision,
            self.fingerprint(),
            self.num_rows,
            licence,
            None if card is None else card.summary(),
        )


@dataclass
class _Opened:
    """A whole split: its columns, its rows, how to read them, its files where it is known by them."""

    schema: pa.Schema
    num_rows: int
    read: _Reader
    files: list[Path] = field(default_factory=list)
    mixed: frozenset[str] = frozenset()


def open_source(
    name: str | Path, *, config: str | None = None, split: str = "train", revision: str | None = None, seed: int = 0
) -> RowSource:
    """Open one split of a source for reading.

    Args:
        name: Local parquet, JSON lines, json, csv, tsv or arrow file, a folder (ours, saved by `datasets`, or of such
            files), `tasks/<name>`, or a name on the hub.
        config: Configuration of the data set.
        split: A split, or a slice of one: `train[:100]`, `train[10%:20%]`.
        revision: Branch, tag or commit on the hub.
        seed: Seed of a task.

    Raises:
        ValueError: The source, the split or the slice cannot be found or read.
    """
    name = str(name)
    wanted = parse_split(split)
    opened = _open_local(Path(name).expanduser(), config, wanted.split)
    if opened is None:
        opened = _open_loaded(name, config, wanted.split, revision, seed)
    begin, end = wanted.bounds(opened.num_rows)
    if begin == end:
        raise ValueError(f"The data set {name!r} has no rows in {split!r}: the split has {opened.num_rows}.")
    names = opened.schema.names
    if not names or len(set(names)) < len(names):
        raise ValueError(f"The columns of {name!r} need names of their own; found {names}.")
    return RowSource(
        name,
        config,
        split,
        revision,
        opened.schema,
        end - begin,
        opened.num_rows,
        opened.mixed,
        begin,
        opened,
    )


def _open_local(path: Path, config: str | None, split: str) -> _Opened | None:
    """Return a source of files that Arrow reads by itself, or None for all others."""
    if path.is_dir():
        card = read_card(path)
        if card is None:
            refuse_unfinished(path)
            return None
        files = published_files(path, card, config)
        if split not in files:
            of_config = "" if config is None else f" in its configuration {config!r}"
            raise ValueError(f"{path} has no split {split!r}{of_config}; it has {sorted(files)}.")
        return _open_parquet(files[split])
    suffix = path.suffix.lower()
    if not path.is_file() or not (suffix in (".parquet", ".jsonl") or (suffix == ".json" and holds_lines(path))):
        return None
    if split != "train" or config not in (None, DEFAULT_CONFIG):
        raise ValueError(f"{path} is one file: its only split is 'train' (not {split!r}), without configurations.")
    return _open_parquet([path]) if suffix == ".parquet" else _open_json_lines(path)


def _open_parquet(files: list[Path]) -> _Opened:
    try:
        metadata = [pq.read_metadata(file) for file in files]
        schemas = [pq.read_schema(file).remove_metadata() for file in files]
    except (pa.ArrowInvalid, OSError) as error:
        raise ValueError(f"Cannot read {files[0].parent}/{files[0].name}: {error}") from error
    schema = plain_schema(schemas[0])
    for file, found in zip(files, schemas, strict=True):
        if plain_schema(found) != schema:
            raise ValueError(f"{file} has other columns than {files[0].name}: {found.names}, types {found.types}.")

    def read(columns: list[str] | None, batch_rows: int, first: int) -> Iterator[tuple[int, pa.RecordBatch]]:
        begin = 0
        for file, known in zip(files, metadata, strict=True):
            for group in range(known.num_row_groups):
                num_rows = known.row_group(group).num_rows
                if begin + num_rows > first:
                    for batch in _read_group(file, known, group, columns, batch_rows):
                        yield begin, _plain(batch)
                        begin += batch.num_rows
                else:
                    begin += num_rows

    return _Opened(schema, sum(known.num_rows for known in metadata), read, files)


def _read_group(
    file: Path, metadata: pq.FileMetaData, group: int, columns: list[str] | None, batch_rows: int
) -> Iterator[pa.RecordBatch]:
    # Opened anew for each group: an open reader keeps its pre-read buffers.
    try:
        with pq.ParquetFile(file, metadata=metadata, pre_buffer=False) as opened:
            for batch in opened.iter_batches(batch_rows, [group], columns):
                yield batch if columns is None else batch.select(columns)
    except (pa.ArrowInvalid, OSError) as error:
        raise ValueError(f"Cannot read {file}: {error}") from error


def _plain(batch: pa.RecordBatch) -> pa.RecordBatch:
    schema = batch.schema.remove_metadata()
    plain = plain_schema(schema)
    return batch.replace_schema_metadata(None) if plain == schema else batch.cast(plain)


def _open_json_lines(path: Path) -> _Opened:
    lines = open_json_lines(path)

    def read(columns: list[str] | None, batch_rows: int, first: int) -> Iterator[tuple[int, pa.RecordBatch]]:
        for begin, table in lines.tables(first):
            for batch in (table if columns is None else table.select(columns)).to_batches(batch_rows):
                yield begin, batch
                begin += batch.num_rows

    return _Opened(lines.schema, lines.num_rows, read, [path], lines.mixed)


def _open_loaded(name: str, config: str | None, split: str, revision: str | None, seed: int) -> _Opened:
    from open_r1.data.loading import load_source, take_split  # imports `datasets`: a second

    plain = take_split(load_source(name, config, seed, revision), split, name).with_format("arrow")

    def read(columns: list[str] | None, batch_rows: int, first: int) -> Iterator[tuple[int, pa.RecordBatch]]:
        chosen = plain if columns is None else plain.select_columns(columns)
        for begin in range(first, len(chosen), batch_rows):
            for batch in chosen[begin : begin + batch_rows].combine_chunks().to_batches():
                yield begin, _plain(batch)
                begin += batch.num_rows

    path = Path(name).expanduser()
    schema = plain_schema(plain.features.arrow_schema.remove_metadata())
    return _Opened(schema, len(plain), read, [path] if path.is_file() else [])
