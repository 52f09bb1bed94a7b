# SPDX-License-Identifier: Apache-2.0
"""Contaminated rows, marked or removed, with evidence: what `scripts/decontaminate.py` does.

An entry of `contamination_report.json`; `item` is the row of the benchmark, `start` and `end` are characters of the
row's text (of a conversation: its turns joined by line breaks):

    {"row": 17, "column": "problem", "benchmark": "aime_2024", "item": 3, "kind": "n-gram", "length": 13, "start": 8,
     "end": 61, "matched": "Find the **least** n > 1 ...", "ngram": "find the least n 1 such that n"}

The whole run is one unit: it takes seconds to minutes, and a killed one is done again by the same command. A part
(`--shard 0/8`) writes what it has found in its rows; the merge writes the rows.
"""

import json
import logging
import re
from argparse import Namespace
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from itertools import compress, pairwise
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from open_r1.curation.ngrams import Index, make_rule, pc
from open_r1.curation.parts import finished_parts, part_folder, rows_of_part
from open_r1.data.card import FATE, FLAG_PREFIX, MARKED, REMOVED, DataCard, Step
from open_r1.data.folder import DatasetFolder
from open_r1.data.sources import RowSource, open_source
from open_r1.evaluation.benchmarks import SUPPORTED_BENCHMARKS

logger = logging.getLogger(__name__)

REPORT_NAME = "contamination_report.json"
# Open R1's five, and what two of them are called in the table of benchmarks.
DEFAULT_BENCHMARKS = ("aime_2024", "aime_2025", "math_500", "gpqa", "lcb")
_TABLE_NAMES = {"aime_2024": "aime24", "aime_2025": "aime25"}
_ITEM_COLUMNS = ("problem", "question", "Question", "question_content", "problem_statement", "prompt", "text")
_TEXT_FIELDS = ("content", "value", "text")
_BATCH_ROWS, _BATCH_BYTES = 1024, 1 << 22
_OF_A_PART = ("start", "end", "duplicates")  # settings in which parts differ from the merge

Rows = tuple[int, int]  # the first, and the one behind the last


@dataclass(frozen=True)
class Benchmark:
    """Items of a benchmark, and what a card says of it."""

    name: str
    texts: list[str]
    settings: dict[str, Any]


def load_benchmarks(names: list[str] | None, files: list[str]) -> list[Benchmark]:
    """Return the benchmarks, those of the table first.

    Args:
        names: Names of the table of benchmarks, or Open R1's. None: Open R1's five, or none when there are files.
        files: Local files or folders as `[name=]path[:column]`. One with the name of another stands for it.

    Raises:
        ValueError: A name is unknown or given twice, or a benchmark can't be loaded.
    """
    local = dict(map(_parse_file, files))
    if len(local) < len(files):
        raise ValueError(f"two of --benchmark_file {files} have one name: use name=path:column")
    wanted = list(DEFAULT_BENCHMARKS) if names is None and not files else names or []
    known = {name: SUPPORTED_BENCHMARKS.get(_TABLE_NAMES.get(name, name)) for name in wanted if name not in local}
    unknown = [name for name, benchmark in known.items() if benchmark is None]
    if unknown:
        names = sorted({*DEFAULT_BENCHMARKS, *SUPPORTED_BENCHMARKS})
        raise ValueError(f"unknown benchmarks {unknown}; known are {names}. Others: --benchmark_file")
    places = {name: (it.dataset, it.config, it.split, it.prompt_column) for name, it in known.items() if it}
    places |= {name: (path, None, "train", column) for name, (path, column) in local.items()}
    return [_load(name, *place) for name, place in places.items()]


def _parse_file(text: str) -> tuple[str, tuple[str, str | None]]:
    """Return name, path and column of `[name=]path[:column]`."""
    match = None if Path(text).expanduser().exists() else re.fullmatch(r"(?:([\w.\-]+)=)?(.+?)(?::([^:/]+))?", text)
    name, path, column = match.groups() if match else (None, text, None)
    if not Path(path).expanduser().exists():
        raise ValueError(f"--benchmark_file {text!r}: there is no file or folder {path!r} (in {Path.cwd()})")
    return re.sub(r"\W+", "_", name or Path(path).resolve().name.split(".")[0]), (path, column)


def _load(name: str, dataset: str, config: str | None, split: str, column: str | None) -> Benchmark:
    try:
        source = open_source(dataset, config=config, split=split)
    except ValueError as error:
        raise ValueError(f"{error} Offline, give a local copy: --benchmark_file {name}=<file>:{column}") from error
    column = column or next((known for known in _ITEM_COLUMNS if known in source.column_names), _ITEM_COLUMNS[0])
    source.require([column], f"--benchmark_file {dataset}:<column>")
    texts = list(_texts(source, [column]))
    settings = {"name": name, "source": dataset, "config": config, "split": split, "column": column}
    return Benchmark(name, texts, settings | {"items": len(texts), "fingerprint": source.fingerprint()})


def texts_of(column: pa.Array) -> pa.LargeStringArray:
    """Return the text of each cell, "" for null: a string, or all turns of a conversation joined by line breaks.

    Raises:
        ValueError: A cell is no text.
    """
    if pa.types.is_string(column.type) or pa.types.is_large_string(column.type):
        return column.cast(pa.large_string()).fill_null("")
    return pa.array([_text_of(cell) for cell in column.to_pylist()], pa.large_string())


def _text_of(cell: Any) -> str:
    if isinstance(cell, list):
        return "\n".join(map(_text_of, cell))
    if isinstance(cell, dict):
        return _text_of(next((cell[name] for name in _TEXT_FIELDS if cell.get(name) is not None), None))
    if cell is not None and not isinstance(cell, str):
        raise ValueError(f"a column holds {cell!r}, which is no text: name columns of text or messages")
    return cell or ""


def _texts(source: RowSource, columns: list[str]) -> Iterator[str]:
    """Yield the text of each row: that of its columns, joined by line breaks."""
    for batch in source.batches(columns):
        yield from map("\n".join, zip(*(texts_of(column).to_pylist() for column in batch.columns), strict=True))


def find_hits(
    source: RowSource, columns: list[str], index: Index, rows: Rows, processes: int
) -> Iterator[dict[str, Any]]:
    """Yield evidence of flagged rows, in the order of rows; rows without text as `{"row", "column"}` alone.

    Args:
        source: The rows.
        columns: Columns with text; a row is flagged when one of them matches.
        index: Finds the hits.
        rows: Which rows.
        processes: Processes that match.
    """

    def find(rows: Rows) -> list[dict[str, Any]]:
        found, (start, end) = [], rows
        for batch in source.batches(columns, start=start, end=end):
            for name, column in zip(columns, batch.columns, strict=True):
                texts = texts_of(column)
                num_bytes = pc.binary_length(texts).to_numpy()
                found += [{"row": start + row, "column": name} for row in np.flatnonzero(num_bytes == 0).tolist()]
                edges = np.flatnonzero(np.diff(np.cumsum(num_bytes) // _BATCH_BYTES)) + 1
                for first, behind in pairwise([0, *edges.tolist(), len(texts)]):
                    piece = texts.slice(first, behind - first)
                    hits = map(asdict, index.match(piece))
                    found += [{**hit, "row": start + first + hit["row"], "column": name} for hit in hits]
            start += batch.num_rows
        return found

    ranges = [(first, min(first + _BATCH_ROWS, rows[1])) for first in range(*rows, _BATCH_ROWS)]
    if processes == 1 or len(ranges) == 1:
        yield from (hit for found in map(find, ranges) for hit in found)
        return
    # Forked processes have the index already; it is not sent to them.
    with ProcessPoolExecutor(processes, get_context("fork"), _WORK.append, (find,)) as pool:
        yield from (hit for found in pool.map(_work, ranges, chunksize=4) for hit in found)


_WORK: list[Callable[[Rows], list[dict[str, Any]]]] = []


def _work(rows: Rows) -> list[dict[str, Any]]:
    return _WORK[-1](rows)


def count_hits(
    hits: Iterable[dict[str, Any]], names: list[str], rows: Rows, max_evidence: int | None
) -> tuple[NDArray[np.bool_], dict[str, Any]]:
    """Return the flags of R rows for each benchmark, and the report.

    Args:
        hits: What `find_hits` yields.
        names: The benchmarks.
        rows: Which rows.
        max_evidence: Hits of each benchmark that the report shows; None: a part, which shows all to the merge.
    """
    flags = np.zeros((rows[1] - rows[0], len(names)), bool)
    items: dict[str, Counter[str]] = {name: Counter() for name in names}
    found_by, empty, evidence, left_out = Counter[str](), dict[str, dict[str, int]](), [], 0
    for hit in hits:
        if max_evidence is None:
            evidence.append(hit)
        if "benchmark" not in hit:
            counts = empty.setdefault(hit["column"], {"rows": 0, "first_row": hit["row"]})
            counts["rows"] += 1
            continue
        place = (hit["row"] - rows[0], names.index(hit["benchmark"]))
        if flags[place]:
            continue  # by another column
        flags[place] = True
        found_by[hit["kind"]] += 1
        items[hit["benchmark"]][str(hit["item"])] += 1
        if max_evidence is not None:
            is_shown = items[hit["benchmark"]].total() <= max_evidence
            evidence += [hit] * is_shown
            left_out += not is_shown
    num_flagged = dict(zip(names, flags.sum(axis=0).tolist(), strict=True))
    return flags, {
        "rows": len(flags),
        "flagged_rows": int(flags.any(axis=1).sum()),
        "benchmarks": {name: {"flagged_rows": num_flagged[name], "items_found": len(items[name])} for name in names},
        "found_by": dict(found_by),
        "rows_without_text": empty,
        "items": items,
        "evidence_left_out": left_out,
        "evidence": evidence,
    }


def decontaminate(args: Namespace) -> Iterator[str]:
    """Do what the flags of `scripts/decontaminate.py` say; yield the lines for the user.

    Raises:
        ValueError: Something can't be found, read or written, or no row is left; the message says what to do.
        RuntimeError: The data set is written, but the hub does not take it.
    """
    output, pushed = args.output_dir or _output_folder(args), None
    is_part = not args.merge and not (args.shard is None and args.start is None and args.end is None)
    if (args.new_dataset_name or args.push_to_hub) and not is_part:
        from open_r1.data.push import check_push

        setting = "--new_dataset_name" if args.new_dataset_name else "--push_to_hub"
        pushed = check_push(_pushed_name(args), private=not args.public, setting=setting)
    benchmarks = load_benchmarks(args.benchmarks, args.benchmark_file)
    names = [benchmark.name for benchmark in benchmarks]
    source = open_source(args.dataset, config=args.config, split=args.split, revision=args.revision)
    source.require(args.problem_column, "--problem_column")
    taken = sorted({FLAG_PREFIX + name for name in names} & set(source.column_names))
    if taken and not args.cleanup:
        raise ValueError(
            f"{source.name!r} has columns {taken} already: rename them, or remove flagged rows (--cleanup)"
        )
    rule = make_rule(args.ngram_size, args.normalization, args.boilerplate_items)
    rows = rows_of_part(args.shard, args.start, args.end, source.num_rows)
    settings = {
        "columns": args.problem_column,
        **rule.settings(),
        "cleanup": args.cleanup,
        "duplicates": None if is_part else args.deduplicate,
        "start": rows[0],
        "end": rows[1] if is_part else None,
        "max_evidence": args.max_evidence,
        "benchmarks": [benchmark.settings for benchmark in benchmarks],
    }
    card = DataCard(output.name, settings, [source.parent()], licence=args.licence)
    whole, output = output, part_folder(output, *rows) if is_part else output
    folder = DatasetFolder(output, card, overwrite=args.overwrite, licence=args.licence)
    if folder.is_done():
        yield f"{output} was finished earlier with the same settings; nothing to do (--overwrite does it again)."
    else:
        parts = finished_parts(whole, card, source.num_rows, ignored=_OF_A_PART) if args.merge else []
        index = Index(rule)
        for benchmark in benchmarks:
            for number, text in enumerate(benchmark.texts):
                index.add(benchmark.name, number, text)
        content = {"settings": settings, "index": index.build()}
        with folder:
            if args.merge:
                reports = (json.loads((part / REPORT_NAME).read_text(encoding="utf-8")) for part in parts)
                hits = (hit for report in reports for hit in report["evidence"])
            else:
                hits = find_hits(source, args.problem_column, index, rows, args.processes)
            flags, report = count_hits(hits, names, rows, None if is_part else args.max_evidence)
            columns = {FLAG_PREFIX + name: flags[:, number] for number, name in enumerate(names)}
            if is_part:
                folder.write(pa.table(columns))
            else:
                _write(folder, source, columns, report, args)
            folder.write_text(REPORT_NAME, json.dumps(content | report, indent=1, ensure_ascii=False) + "\n")
        yield from _summary(report, card)
        yield f"Written: {output}, with {REPORT_NAME}"
    if pushed is not None:
        from open_r1.data.push import push_folder

        yield f"Pushed: {push_folder(output, pushed, private=not args.public, config=args.config)}"


def _pushed_name(args: Namespace) -> str:
    """Return the name on the hub; upstream's default name after a bare --push_to_hub."""
    if args.new_dataset_name:
        return args.new_dataset_name
    if Path(args.dataset).exists() or args.dataset.startswith("tasks/"):
        raise ValueError("--push_to_hub needs --new_dataset_name when the data set does not come from the hub")
    return f"{args.dataset}_decontaminated"


def _output_folder(args: Namespace) -> Path:
    """Return where the data set goes: after the pushed name, or after the source."""
    if args.new_dataset_name:
        return Path("data") / args.new_dataset_name.rstrip("/").rsplit("/", 1)[-1]
    path = Path(args.dataset)
    return Path("data") / f"{path.name.split('.')[0] if path.is_file() else path.resolve().name}_decontaminated"


def _write(
    folder: DatasetFolder,
    source: RowSource,
    columns: dict[str, NDArray[np.bool_]],
    report: dict[str, Any],
    args: Namespace,
) -> None:
    """Write the rows that stay, with their flags where flagged ones do, and count the steps in the card."""
    is_clean = ~np.any(list(columns.values()), axis=0)
    kept = is_clean if args.cleanup else np.ones(len(is_clean), bool)
    verb, fate = ("remove", REMOVED) if args.cleanup else ("flag", MARKED)
    detail = {"flagged": {name: counts["flagged_rows"] for name, counts in report["benchmarks"].items()}}
    steps = [Step(f"{verb} contaminated rows", len(kept), int(kept.sum()), detail)]
    if args.deduplicate is not None:
        from open_r1.curation.duplicates import find_repeats

        repeats = find_repeats(lambda: compress(_texts(source, args.problem_column), kept), args.deduplicate)
        kept[kept] = [number is None for number in repeats]
        detail = {"similarity": args.deduplicate}
        steps.append(Step("remove duplicates", steps[0].rows_after, int(kept.sum()), detail))
    if not kept.any():
        raise ValueError(f"all {len(kept)} rows of {source.name!r} are contaminated: nothing is left to write")
    folder.card.steps += steps
    counts = {name: value for name, value in report.items() if name not in ("items", "evidence", "evidence_left_out")}
    rule = make_rule(args.ngram_size, args.normalization, args.boilerplate_items).settings()
    how = {FATE: fate, "rule": rule, "report": REPORT_NAME}
    folder.card.contamination = counts | how
    first = 0
    for batch in source.batches(batch_rows=_BATCH_ROWS):
        own, table = slice(first, first + batch.num_rows), pa.Table.from_batches([batch])
        for name, flags in () if args.cleanup else columns.items():
            table = table.append_column(name, [pa.array(flags[own])])
        folder.write(table.filter(pa.array(kept[own])))
        first += batch.num_rows


def _summary(report: dict[str, Any], card: DataCard) -> Iterator[str]:
    for column, counts in report["rows_without_text"].items():
        found = (counts["rows"], column, counts["first_row"])
        logger.warning("%d rows have no text in column %r (first: row %d) and are kept.", *found)
    for name, counts in report["benchmarks"].items():
        yield f"{name}: {counts['flagged_rows']} rows flagged, by {counts['items_found']} items"
    for step in card.steps:
        yield f"{step.name}: {step.rows_before} -> {step.rows_after} rows"
