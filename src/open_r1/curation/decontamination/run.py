# SPDX-License-Identifier: Apache-2.0
"""One run: a source checked against benchmarks, marked or cleaned, into a folder with card and report.

The whole run is one unit: it takes seconds to minutes, and a killed one is done again by the same command. What is
larger is cut into ranges of rows, each a run of its own into `<output>/part-<start>-<end>`, and merged (`merging.py`).
"""

import logging
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import compress
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from open_r1.curation.decontamination.benchmarks import LoadedBenchmark
from open_r1.curation.decontamination.checking import CheckedBatch, Times, check_rows, require_textual, sized_batches
from open_r1.curation.decontamination.index import Rule, build_index
from open_r1.curation.decontamination.near import NearDuplicates
from open_r1.curation.decontamination.report import DEFAULT_EVIDENCE, REPORT_NAME, TABLE_NAME, Report
from open_r1.curation.decontamination.texts import Oddities, to_strings, to_texts
from open_r1.curation.duplicates import find_exact_duplicates, find_near_duplicates
from open_r1.data.card import DataCard, Step
from open_r1.data.contamination import FATE, FLAG_PREFIX, MARKED, REMOVED
from open_r1.data.folder import DatasetFolder
from open_r1.data.sources import RowSource

logger = logging.getLogger(__name__)

STEP_FLAGGED = "flag contaminated rows"
STEP_REMOVED = "remove contaminated rows"
STEP_DUPLICATES = "remove duplicates"
NOTHING_LEFT = "nothing_left"  # split of a part whose rows are all removed: one of them, for the columns


@dataclass(frozen=True)
class Run:
    """What to do with the rows.

    Args:
        name: Name of the output, for its card.
        columns: Columns with text; a row is flagged when one of them matches.
        rule: When a row counts as contaminated.
        cleanup: Remove flagged rows; else boolean columns `contaminated_<benchmark>` are added.
        near: Containment from which on near duplicates of items are flagged too (`near.py`); None: no such pass.
        duplicates: Jaccard similarity from which on later rows are dropped as duplicates of earlier ones that stay, by
            the text of the columns; None: keep them.
        start: First row.
        end: Row behind the last one; None: to the end.
        num_workers: Threads that match.
        max_evidence: Flagged rows of each benchmark with evidence in the report; the others are counted.
        licence: Licence of the output; None: that of the source.
    """

    name: str
    columns: tuple[str, ...]
    rule: Rule
    cleanup: bool = False
    near: float | None = None
    duplicates: float | None = None
    start: int = 0
    end: int | None = None
    num_workers: int = 2
    max_evidence: int = DEFAULT_EVIDENCE
    licence: str | None = None

    def settings(self, benchmarks: Sequence[LoadedBenchmark]) -> dict[str, Any]:
        """Return what decides the rows, for the card."""
        return {
            "columns": list(self.columns),
            **self.rule.settings(),
            "cleanup": self.cleanup,
            "near": self.near,
            "duplicates": self.duplicates,
            "start": self.start,
            "end": self.end,
            "max_evidence": self.max_evidence,
            "benchmarks": [benchmark.settings() for benchmark in benchmarks],
        }


@dataclass
class Outcome:
    """A finished run: its card, seconds by part, and whether it had been finished before."""

    card: DataCard
    times: Times = field(default_factory=Times)
    was_done: bool = False


def decontaminate(
    source: RowSource, benchmarks: Sequence[LoadedBenchmark], run: Run, output: Path, *, overwrite: bool = False
) -> Outcome:
    """Check the rows of a source, and write them with flags, or those without any, to a folder.

    Raises:
        ValueError: A column is missing or holds no text, the folder holds something else, or no row is left.
    """
    require_textual(source, run.columns)
    taken = [
        FLAG_PREFIX + benchmark.benchmark.name
        for benchmark in benchmarks
        if FLAG_PREFIX + benchmark.benchmark.name in source.column_names
    ]
    if taken and not run.cleanup:
        raise ValueError(
            f"{source.name!r} has columns {taken} already: rename them, or remove flagged rows (--cleanup)"
        )
    settings = run.settings(benchmarks)
    card = DataCard(run.name, settings, [source.parent()], licence=run.licence)
    folder = DatasetFolder(output, card, overwrite=overwrite, licence=run.licence)
    if folder.is_done():
        return Outcome(card, was_done=True)
    times = Times()
    began = time.perf_counter()
    index = build_index([benchmark.benchmark for benchmark in benchmarks], run.rule)
    report = Report(index, run.max_evidence)
    near = None if run.near is None else NearDuplicates(index, run.near)
    times.index_s = time.perf_counter() - began
    with folder:
        batches = check_rows(
            source,
            run.columns,
            index,
            num_workers=run.num_workers,
            start=run.start,
            end=run.end,
            near=near,
            times=times,
        )
        if run.cleanup and run.duplicates is not None:
            times.writing_s = _write_without_repeats(folder, source, batches, report, run)
        else:
            repeats = find_repeats(lambda: _texts(source, run), run)
            times.writing_s = _write(folder, batches, repeats, report, run)
        keep_schema_if_empty(folder, source, run, card.steps[-1].rows_after)
        write_reports(folder, report, settings)
    warn_of_oddities(report, benchmarks)
    return Outcome(card, times)


def _write(
    folder: DatasetFolder, batches: Iterator[CheckedBatch], repeats: NDArray[np.bool_] | None, report: Report, run: Run
) -> float:
    """Write what is left of the batches, and the steps into the card; return the seconds that writing took."""
    seconds, num_rows, num_clean, num_left = 0.0, 0, 0, 0
    for batch in batches:
        report.add(batch)
        rows, num_rows = batch.rows, num_rows + batch.rows.num_rows
        keep = ~batch.flags.any(axis=1) if run.cleanup else np.ones(rows.num_rows, bool)
        num_clean += int(keep.sum())
        if repeats is not None:
            first = batch.first_row - run.start
            keep &= ~repeats[first : first + rows.num_rows]
        num_left += int(keep.sum())
        began = time.perf_counter()
        if not run.cleanup:
            rows = _with_flags(rows, batch.flags, report.index.names)
        folder.write(rows if keep.all() else rows.filter(pa.array(keep)))
        seconds += time.perf_counter() - began
    add_results(folder.card, report, run, (num_rows, num_clean, num_left))
    return seconds


def _write_without_repeats(
    folder: DatasetFolder, source: RowSource, batches: Iterator[CheckedBatch], report: Report, run: Run
) -> float:
    """Write the rows that are neither contaminated nor repeat one that stays: known when all rows are checked."""
    flagged = []
    for checked in batches:
        report.add(checked)
        flagged.append(checked.flags.any(axis=1))
    is_clean = ~np.concatenate(flagged)
    keep, num_clean = is_clean.copy(), int(is_clean.sum())
    repeats = find_repeats(lambda: compress(_texts(source, run), is_clean), run)
    if repeats is not None and num_clean:
        keep[keep] = ~repeats
    began, first = time.perf_counter(), 0
    for batch in sized_batches(source, start=run.start, end=run.end):
        own = keep[first : first + batch.num_rows]
        folder.write(batch.filter(pa.array(own)))
        first += batch.num_rows
    add_results(folder.card, report, run, (len(keep), num_clean, int(keep.sum())))
    return time.perf_counter() - began


def add_results(card: DataCard, report: Report, run: Run, num_rows: tuple[int, int, int]) -> None:
    """Add the result and the steps to a card: rows read, rows without contamination, rows left."""
    read, clean, left = num_rows
    fate = {FATE: REMOVED if run.cleanup else MARKED}
    card.contamination = (
        report.result() | fate | {"rule": run.rule.settings(), "near": run.near, "report": REPORT_NAME}
    )
    if run.cleanup:
        card.steps.append(Step(STEP_REMOVED, read, clean, {"removed": dict(report.removed)}))
    else:
        card.steps.append(Step(STEP_FLAGGED, read, read, {"flagged": dict(report.flagged)}))
    if run.duplicates is not None:
        card.steps.append(Step(STEP_DUPLICATES, clean, left, {"similarity": run.duplicates}))


def keep_schema_if_empty(folder: DatasetFolder, source: RowSource, run: Run, num_left: int) -> None:
    """Let a part of which no row is left be finished all the same: its first row goes into a split of its own.

    Raises:
        ValueError: No row is left of a whole data set.
    """
    if num_left:
        return
    if run.end is None:
        raise ValueError(f"all {source.num_rows} rows of {source.name!r} are contaminated: nothing is left to write")
    folder.write(next(source.batches(batch_rows=1, start=run.start)), split=NOTHING_LEFT)


def write_reports(folder: DatasetFolder, report: Report, settings: dict[str, Any]) -> None:
    """Write the report as JSON and as a table."""
    folder.write_text(REPORT_NAME, report.to_json(settings))
    folder.write_text(TABLE_NAME, report.to_table())


def _with_flags(rows: pa.RecordBatch, flags: NDArray[np.bool_], names: Sequence[str]) -> pa.RecordBatch:
    columns = [pa.array(flags[:, number]) for number in range(len(names))]
    return pa.RecordBatch.from_arrays(
        [*rows.columns, *columns], names=[*rows.schema.names, *(FLAG_PREFIX + name for name in names)]
    )


def find_repeats(texts: Callable[[], Iterable[str]], run: Run) -> NDArray[np.bool_] | None:
    """Return for each text whether it repeats an earlier one; None when nobody asked. `texts` starts them anew."""
    if run.duplicates is None:
        return None
    is_repeat = np.array([number is not None for number in find_exact_duplicates(texts())])
    if run.duplicates < 1:
        near = find_near_duplicates(texts(), threshold=run.duplicates)
        is_repeat |= np.array([number is not None for number in near])
    return is_repeat


def _texts(source: RowSource, run: Run) -> Iterator[str]:
    for batch in sized_batches(source, list(run.columns), start=run.start, end=run.end):
        yield from texts_of(batch, run)


def texts_of(batch: pa.RecordBatch, run: Run) -> Iterator[str]:
    """Yield the text of each row: that of its columns, joined by line breaks."""
    parts = [to_strings(to_texts(batch.column(column), Oddities())) for column in run.columns]
    for texts in zip(*parts, strict=True):
        yield "\n".join(texts)


def warn_of_oddities(report: Report, benchmarks: Sequence[LoadedBenchmark]) -> None:
    """Warn of rows and items without text."""
    for column, oddities in report.oddities.items():
        for kind, count in sorted(oddities.count.items()):
            logger.warning(
                "%d rows of column %r are %s (first: row %d); they stay.",
                count,
                column,
                kind,
                oddities.first_row[kind],
            )
    for benchmark in benchmarks:
        count = sum(benchmark.oddities.count[kind] for kind in ("null", "empty"))
        if count:
            logger.warning("%d items of %s have no text in column %r.", count, benchmark.source, benchmark.column)
        if benchmark.oddities.count["not UTF-8"]:
            logger.warning(
                "%d items of %s are not UTF-8 in column %r (first: item %d): U+FFFD stands for what they have.",
                benchmark.oddities.count["not UTF-8"],
                benchmark.source,
                benchmark.column,
                benchmark.oddities.first_row["not UTF-8"],
            )
