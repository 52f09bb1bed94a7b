# SPDX-License-Identifier: Apache-2.0
"""All rows of a source against an index, in one pass: one thread reads, several match, the caller writes.

numpy and Arrow release the interpreter's lock, so threads run side by side. No more than a few batches are in memory,
whatever the number of rows.
"""

import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from open_r1.curation.decontamination.index import Index
from open_r1.curation.decontamination.matching import Match, match_column
from open_r1.curation.decontamination.texts import Oddities, is_textual
from open_r1.data.sources import RowSource

BATCH_ROWS = 8192
BATCH_BYTES = 1 << 23
_READ_ROWS = 256  # at a time: nobody knows how long rows are before they are read (dictionaries hide it)

# A further look at the texts of a batch: column -> flags of R rows and benchmarks, and matches.
Pass = Callable[[pa.Array], tuple[NDArray[np.bool_], list[Match]]]


@dataclass
class CheckedBatch:
    """R rows of the source from `first_row`: their flags for each benchmark, and what matched in which column."""

    first_row: int
    rows: pa.RecordBatch
    flags: NDArray[np.bool_]
    matches: list[tuple[str, Match]]
    oddities: dict[str, Oddities]


@dataclass
class Times:
    """Seconds spent in each part; the parts overlap, and those of matching are summed over the threads."""

    index_s: float = 0.0
    reading_s: float = 0.0
    matching_s: float = 0.0
    writing_s: float = 0.0


def require_textual(source: RowSource, columns: Sequence[str]) -> None:
    """Raise a ValueError when a column is missing or holds no text."""
    source.require(list(columns), "--problem_column")
    for column in columns:
        kind = source.schema.field(column).type
        if not is_textual(kind):
            textual = [field.name for field in source.schema if is_textual(field.type)]
            raise ValueError(
                f"Column {column!r} of {source.name!r} holds {kind}, no text. Set --problem_column to one of {textual}"
            )


def sized_batches(
    source: RowSource, columns: list[str] | None = None, *, start: int = 0, end: int | None = None
) -> Iterator[pa.RecordBatch]:
    """Yield the rows in order, at most `BATCH_ROWS` at a time and about `BATCH_BYTES`, whatever rows come when.

    Args:
        source: The rows.
        columns: Columns to read; all when None.
        start: First row.
        end: Row behind the last one; None: to the end.
    """
    waiting: list[pa.RecordBatch] = []
    num_rows = num_bytes = 0
    for batch in _small_batches(source, columns, start, end):
        if waiting and (num_rows + batch.num_rows > BATCH_ROWS or num_bytes + batch.nbytes > BATCH_BYTES):
            yield _concatenated(waiting)
            waiting, num_rows, num_bytes = [], 0, 0
        waiting.append(batch)
        num_rows, num_bytes = num_rows + batch.num_rows, num_bytes + batch.nbytes
    if waiting:
        yield _concatenated(waiting)


def _small_batches(
    source: RowSource, columns: list[str] | None, start: int, end: int | None
) -> Iterator[pa.RecordBatch]:
    """Yield few rows at a time, and fewer from where one batch is too large; reading then starts anew behind it."""
    rows_at_a_time, first = _READ_ROWS, start
    end = source.num_rows if end is None else min(end, source.num_rows)
    while first < end:
        for batch in source.batches(columns, batch_rows=rows_at_a_time, start=first, end=end):
            few = min(max(batch.num_rows * BATCH_BYTES // (batch.nbytes * 9 // 8 + 1), 1), batch.num_rows)
            yield from (batch.slice(begin, few) for begin in range(0, batch.num_rows, few))
            first += batch.num_rows
            if batch.nbytes > 4 * BATCH_BYTES and rows_at_a_time > 1:
                rows_at_a_time = max(rows_at_a_time * BATCH_BYTES // batch.nbytes, 1)
                break


def _concatenated(batches: list[pa.RecordBatch]) -> pa.RecordBatch:
    return batches[0] if len(batches) == 1 else pa.concat_batches(batches)


def check_rows(
    source: RowSource,
    columns: Sequence[str],
    index: Index,
    *,
    num_workers: int = 2,
    start: int = 0,
    end: int | None = None,
    near: Pass | None = None,
    times: Times | None = None,
) -> Iterator[CheckedBatch]:
    """Yield all rows in order, with what was found in these columns.

    Args:
        source: The rows.
        columns: Columns with text; a row is flagged when one of them matches.
        index: The benchmarks.
        num_workers: Threads that match.
        start: First row.
        end: Row behind the last one; None: to the end.
        near: A further pass over each column, for rows that no n-gram flags.
        times: Where to add the seconds.
    """
    require_textual(source, columns)
    times = times if times is not None else Times()
    batches = sized_batches(source, start=start, end=end)

    def read() -> pa.RecordBatch | None:
        began = time.perf_counter()
        batch = next(batches, None)
        times.reading_s += time.perf_counter() - began
        return batch

    with ThreadPoolExecutor(1) as reader, ThreadPoolExecutor(num_workers) as workers:
        waiting: deque[Future[tuple[CheckedBatch, float]]] = deque()
        first_row, ahead = start, reader.submit(read)
        while True:
            while ahead is not None and len(waiting) <= num_workers:
                batch = ahead.result()
                if batch is None:
                    ahead = None
                    break
                ahead = reader.submit(read)
                waiting.append(workers.submit(_check_batch, first_row, batch, columns, index, near))
                first_row += batch.num_rows
            if not waiting:
                return
            checked, seconds = waiting.popleft().result()
            times.matching_s += seconds
            yield checked


def _check_batch(
    first_row: int, batch: pa.RecordBatch, columns: Sequence[str], index: Index, near: Pass | None
) -> tuple[CheckedBatch, float]:
    began = time.perf_counter()
    flags = np.zeros((batch.num_rows, len(index.names)), bool)
    matches: list[tuple[str, Match]] = []
    oddities = {}
    for column in columns:
        found = match_column(batch.column(column), index)
        oddities[column] = found.oddities
        matches.extend((column, match) for match in found.matches)
        flags |= found.flags
        if near is not None:
            near_flags, near_matches = near(batch.column(column))
            matches.extend(
                (column, match) for match in near_matches if not flags[match.row, index.items[match.item].benchmark]
            )
            flags |= near_flags
    return CheckedBatch(first_row, batch, flags, matches, oddities), time.perf_counter() - began
