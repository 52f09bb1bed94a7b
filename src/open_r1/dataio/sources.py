# SPDX-License-Identifier: Apache-2.0
"""Rows of one split of one source, as Arrow batches in constant memory.

`loading.load_source` gives whole data sets to the trainers; this is for scripts that go once through the rows.
Parquet files and our own folders are read by Arrow alone (no import of `datasets`: a second less), JSON lines by
`json_lines`, all else by `load_source`, whose tables lie on disk.
"""

import glob
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import xxhash

from open_r1.dataio.card import Parent, read_card
from open_r1.dataio.json_lines import JsonLines, MalformedLine

_SLICE = re.compile(r"(?P<split>[\w.\-/]+)(\[(?P<start>-?\d+%?)?:(?P<stop>-?\d+%?)?\])?")
_HASH_ROWS = 10_000

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
        malformed: Lines of a JSON lines file that are no objects; they are in no batch.
    """

    name: str
    config: str | None
    split: str
    revision: str | None
    schema: pa.Schema
    num_rows: int
    _first: int = field(repr=False)
    _read: _Reader = field(repr=False)
    _files: list[Path] = field(repr=False, default_factory=list)
    _licence: str | None = field(repr=False, default=None)
    malformed: list[MalformedLine] = field(repr=False, default_factory=list)

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
            columns: Columns to read; all when None.
            batch_rows: Rows of a batch at most.
            start: First row, from 0 in this slice.
            end: Row behind the last one; None or beyond the end: all.
        """
        end = self.num_rows if end is None else min(end, self.num_rows)
        first, last = self._first + start, self._first + end
        for begin, batch in self._read(columns, batch_rows, first):
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
        """Return a hash of the contents: of the files as they lie there, else of the rows."""
        digest = xxhash.xxh3_128()
        if self._files:
            for path in self._files:
                digest.update(path.name.encode())
                with path.open("rb") as file:
                    while block := file.read(2**22):
                        digest.update(block)
            digest.update(self.split.encode())
        else:
            digest.update(self.schema.serialize())
            for batch in self.batches(batch_rows=_HASH_ROWS):
                digest.update(batch.serialize())
        return digest.hexdigest()[:16]

    def parent(self) -> Parent:
        """Return what a card says of this source."""
        return Parent(self.name, self.config, self.split, self.revision, self.fingerprint(), self.num_rows,
                      self._licence)  # fmt: skip


def open_source(
    name: str, *, config: str | None = None, split: str = "train", revision: str | None = None, seed: int = 0
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
    match = _SLICE.fullmatch(split)
    if match is None:
        raise ValueError(f"{split!r} is no split and no slice of one: write train, train[:100] or train[10%:20%].")
    opened = _open_local(Path(name).expanduser(), config, match["split"])
    if opened is None:
        opened = _open_loaded(name, config, match["split"], revision, seed)
    total = opened.num_rows
    begin, end, _ = slice(_position(match["start"], total), _position(match["stop"], total)).indices(total)
    opened.name, opened.config, opened.split, opened.revision = name, config, split, revision
    opened.num_rows, opened._first = max(end - begin, 0), begin
    if opened.num_rows == 0:
        raise ValueError(f"The data set {name!r} has no rows in {split!r} (the split has {total}).")
    return opened


def _position(text: str | None, total: int) -> int | None:
    if text is None:
        return None
    return round(total * int(text[:-1]) / 100) if text.endswith("%") else int(text)


def _open_local(path: Path, config: str | None, split: str) -> RowSource | None:
    """Return a source of files that Arrow reads by itself, or None for all others."""
    if path.is_dir() and (card := read_card(path)) is not None:
        data = path / ("data" if config in (None, "default") else str(config))
        files = sorted(data.glob(f"{glob.escape(split)}-*.parquet"))
        if not files:
            raise ValueError(f"{path} has no split {split!r} (config {config!r}); its card counts {card.counts}.")
        return _open_parquet(files, card.licence)
    if path.is_file() and split == "train" and config is None:
        if path.suffix.lower() == ".parquet":
            return _open_parquet([path], None)
        if path.suffix.lower() == ".jsonl":
            return _open_json_lines(path)
    return None


def _open_parquet(files: list[Path], licence: str | None) -> RowSource:
    try:
        metadata = [pq.read_metadata(file) for file in files]
        schema = pq.read_schema(files[0]).remove_metadata()
    except (pa.ArrowInvalid, OSError) as error:
        raise ValueError(f"Cannot read {files[0].parent}/{files[0].name}: {error}") from error

    def read(columns: list[str] | None, batch_rows: int, first: int) -> Iterator[tuple[int, pa.RecordBatch]]:
        begin = 0
        for file, known in zip(files, metadata, strict=True):
            for group in range(known.num_row_groups):
                num_rows = known.row_group(group).num_rows
                if begin + num_rows <= first:
                    begin += num_rows
                    continue
                # Opened anew for each group: an open reader keeps its pre-read buffers.
                with pq.ParquetFile(file, metadata=known, pre_buffer=False) as opened:
                    for batch in opened.iter_batches(batch_rows, [group], columns):
                        yield begin, batch
                        begin += batch.num_rows

    return RowSource("", None, "", None, schema, sum(known.num_rows for known in metadata), 0, read, files, licence)


def _open_json_lines(path: Path) -> RowSource:
    lines = JsonLines(path)

    def read(columns: list[str] | None, batch_rows: int, first: int) -> Iterator[tuple[int, pa.RecordBatch]]:
        begin = 0
        for table in lines.tables():
            for batch in (table if columns is None else table.select(columns)).to_batches(batch_rows):
                yield begin, batch
                begin += batch.num_rows

    return RowSource("", None, "", None, lines.schema, lines.num_rows, 0, read, [path], None, lines.malformed)


def _open_loaded(name: str, config: str | None, split: str, revision: str | None, seed: int) -> RowSource:
    from open_r1.dataio.loading import load_source, take_split  # imports `datasets`: a second

    rows = take_split(load_source(name, config, seed, revision), split, name)
    plain = rows.with_format("arrow")

    def read(columns: list[str] | None, batch_rows: int, first: int) -> Iterator[tuple[int, pa.RecordBatch]]:
        chosen = plain if columns is None else plain.select_columns(columns)
        for begin in range(first, len(chosen), batch_rows):
            table = chosen[begin : begin + batch_rows]
            for batch in table.combine_chunks().to_batches():
                yield begin, batch
                begin += batch.num_rows

    licence = rows.info.license or None
    return RowSource("", None, "", None, rows.features.arrow_schema.remove_metadata(), len(rows), 0, read, [], licence)
