# SPDX-License-Identifier: Apache-2.0
"""Parts that were made from ranges of rows, put together: what one run over all rows would have made."""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from open_r1.curation.decontamination.benchmarks import LoadedBenchmark
from open_r1.curation.decontamination.checking import sized_batches
from open_r1.curation.decontamination.index import build_index
from open_r1.curation.decontamination.report import REPORT_NAME, Report
from open_r1.curation.decontamination.run import (
    Outcome,
    Run,
    add_results,
    find_repeats,
    keep_schema_if_empty,
    texts_of,
    warn_of_oddities,
    write_reports,
)
from open_r1.data.card import DataCard, read_card
from open_r1.data.folder import DatasetFolder
from open_r1.data.sources import RowSource, open_source

_OF_A_PART = ("start", "end", "duplicates")


def part_folder(output: Path, start: int, end: int) -> Path:
    """Return the folder of a range of rows; the names sort as the numbers do."""
    return output / f"part-{start:010d}-{end:010d}"


def merge_parts(
    source: RowSource, benchmarks: Sequence[LoadedBenchmark], run: Run, output: Path, *, overwrite: bool = False
) -> Outcome:
    """Put the finished parts in a folder together, drop duplicates if asked, and write card and report.

    Raises:
        ValueError: Rows are in no part or in two, or a part was made from another source or with other settings.
    """
    settings = run.settings(benchmarks)
    card = DataCard(run.name, settings, [source.parent()], licence=run.licence)
    folder = DatasetFolder(output, card, overwrite=overwrite, licence=run.licence)
    if folder.is_done():
        return Outcome(card, was_done=True)
    parts = _find_parts(output, card, source.num_rows)
    report = Report(build_index([benchmark.benchmark for benchmark in benchmarks], run.rule), run.max_evidence)
    for part in parts:
        report.absorb(json.loads((part / REPORT_NAME).read_text(encoding="utf-8")))
    repeats = find_repeats(lambda: (text for batch in _batches(parts) for text in texts_of(batch, run)), run)
    num_clean = num_left = 0
    with folder:
        for batch in _batches(parts):
            keep = np.ones(batch.num_rows, bool)
            if repeats is not None:
                keep = ~repeats[num_clean : num_clean + batch.num_rows]
            num_clean += batch.num_rows
            num_left += int(keep.sum())
            folder.write(batch if keep.all() else batch.filter(pa.array(keep)))
        keep_schema_if_empty(folder, source, run, num_left)
        add_results(card, report, run, (source.num_rows, num_clean, num_left))
        write_reports(folder, report, settings)
    warn_of_oddities(report, benchmarks)
    return Outcome(card)


def _find_parts(output: Path, card: DataCard, num_rows: int) -> list[Path]:
    """Return the parts in the order of their rows."""
    parts, behind = [], 0
    for part in sorted(output.glob("part-*")):
        found = read_card(part)
        if found is None:
            raise ValueError(f"{part} is not finished: run that part again, or remove its folder.")
        is_same_source = [parent.identity() for parent in found.parents] == [
            parent.identity() for parent in card.parents
        ]
        if _common(found.settings) != _common(card.settings) or not is_same_source:
            differing = [name for name, value in _common(found.settings).items() if card.settings.get(name) != value]
            raise ValueError(
                f"{part} was made from another source or with other settings ({', '.join(differing) or 'source'}): "
                "make all parts and the merge with the same flags and data, or remove its folder."
            )
        start, end = int(found.settings["start"]), int(found.settings["end"])
        if start != behind:
            found_parts = "no part" if start > behind else "two parts"
            raise ValueError(
                f"{output} has {found_parts} with row {min(start, behind)}: run the part that is missing, or remove "
                "the folder that is too many."
            )
        parts.append(part)
        behind = end
    if behind != num_rows:
        raise ValueError(
            f"{output} has no part with row {behind}, of {num_rows} rows: run the parts that are missing."
        )
    return parts


def _common(settings: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in settings.items() if name not in _OF_A_PART}


def _batches(parts: list[Path]) -> Iterator[pa.RecordBatch]:
    for part in parts:
        card = read_card(part)
        if card is not None and not card.counts.get("train"):
            continue  # all its rows are removed
        yield from sized_batches(open_source(str(part)))
