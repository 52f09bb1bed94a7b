# SPDX-License-Identifier: Apache-2.0
"""From the flags of `scripts/decontaminate.py` to a run, and from its outcome to the lines that are printed."""

import re
import time
from argparse import Namespace
from collections.abc import Iterator
from pathlib import Path

from open_r1.curation.decontamination.benchmarks import LoadedBenchmark, load_benchmarks
from open_r1.curation.decontamination.index import make_rule
from open_r1.curation.decontamination.merging import merge_parts, part_folder
from open_r1.curation.decontamination.report import REPORT_NAME, TABLE_NAME
from open_r1.curation.decontamination.run import Outcome, Run, decontaminate
from open_r1.curation.packages import require_package
from open_r1.data.sources import RowSource, open_source

OUTPUT_SUFFIX = "_decontaminated"
# What a part leaves to the run that merges them.
_OF_THE_MERGE = {"deduplicate": None, "report": None, "new_dataset_name": None, "push_to_hub": False}


def run_command(args: Namespace, started: float) -> Iterator[str]:
    """Do what the flags say; yield the lines for the user.

    Args:
        args: Flags of `scripts/decontaminate.py`, checked.
        started: `time.perf_counter()` when the program started.

    Raises:
        ValueError: Something can't be found, read or written; the message says what to do.
        RuntimeError: The data set is written, but the hub does not take it.
    """
    output = output_folder(args)
    if not args.merge and not (args.shard is None and args.start is None and args.end is None):
        args = Namespace(**vars(args) | _OF_THE_MERGE)
    pushed = _pushed_name(args)
    if pushed is not None:
        from open_r1.data.push import check_push

        setting = "--new_dataset_name" if args.new_dataset_name else "--push_to_hub"
        pushed = check_push(pushed, private=not args.public, setting=setting)
    benchmarks = load_benchmarks(args.benchmarks, args.benchmark_file)
    source = open_source(args.dataset, config=args.config, split=args.split, revision=args.revision)
    run = _make_run(args, source, output.name)
    start_up_s = time.perf_counter() - started
    if args.merge:
        outcome = merge_parts(source, benchmarks, run, output, overwrite=args.overwrite)
    else:
        output = output if run.end is None else part_folder(output, run.start, run.end)
        outcome = decontaminate(source, benchmarks, run, output, overwrite=args.overwrite)
    if outcome.was_done:
        yield f"{output} was finished earlier with the same settings; nothing to do (--overwrite does it again)."
    else:
        yield from _summary(outcome, benchmarks, output)
    if args.report is not None:
        name = TABLE_NAME if args.report.suffix == ".md" else REPORT_NAME
        args.report.parent.mkdir(parents=True, exist_ok=True)
        args.report.write_text((output / name).read_text(encoding="utf-8"), encoding="utf-8")
        yield f"Report: {args.report}"
    if pushed is not None:
        from open_r1.data.push import push_folder

        yield f"Pushed: {push_folder(output, pushed, private=not args.public, config=args.config)}"
    if not outcome.was_done:
        yield _seconds(outcome, time.perf_counter() - started, start_up_s)


def _pushed_name(args: Namespace) -> str | None:
    """Return the name on the hub, None when nothing is pushed; upstream's default name after a bare --push_to_hub."""
    if args.new_dataset_name:
        return args.new_dataset_name
    if not args.push_to_hub:
        return None
    if Path(args.dataset).exists() or args.dataset.startswith("tasks/"):
        raise ValueError("--push_to_hub needs --new_dataset_name when the data set does not come from the hub")
    return f"{args.dataset}{OUTPUT_SUFFIX}"


def output_folder(args: Namespace) -> Path:
    """Return where the data set goes: as named, or after the pushed name, or after the source."""
    if args.output_dir is not None:
        return args.output_dir
    if args.new_dataset_name:
        return Path("data") / args.new_dataset_name.rstrip("/").rsplit("/", 1)[-1]
    path = Path(args.dataset)
    name = path.name.split(".")[0] if path.is_file() else path.name or path.resolve().name
    return Path("data") / f"{name}{OUTPUT_SUFFIX}"


def rows_of_shard(shard: str, num_rows: int) -> tuple[int, int]:
    """Return the rows of a shard `i/n`, i from 0.

    Raises:
        ValueError: It is no such shard, or there are more shards than rows.

    >>> rows_of_shard("1/3", 10)
    (3, 6)
    """
    match = re.fullmatch(r"(\d+)/(\d+)", shard)
    if match is None or not int(match[1]) < int(match[2]):
        raise ValueError(
            f"--shard {shard!r} is no part of a whole: write 0/8 for the first of eight, 7/8 for the last"
        )
    number, count = int(match[1]), int(match[2])
    if count > num_rows:
        raise ValueError(f"--shard {shard!r}: there are only {num_rows} rows")
    return num_rows * number // count, num_rows * (number + 1) // count


def _make_run(args: Namespace, source: RowSource, name: str) -> Run:
    if args.near_duplicates is not None or (args.deduplicate is not None and args.deduplicate < 1):
        require_package("datasketch", "Near duplicates")
    start, end = args.start or 0, args.end
    if args.shard is not None:
        start, end = rows_of_shard(args.shard, source.num_rows)
    elif args.start is not None or args.end is not None:
        end = source.num_rows if args.end is None else min(args.end, source.num_rows)
    if not 0 <= start < (source.num_rows if end is None else end):
        raise ValueError(f"--start {args.start} --end {args.end} choose no rows of {source.num_rows}")
    return Run(
        name,
        tuple(dict.fromkeys(args.problem_column)),
        make_rule(args.ngram_size, args.normalization, args.boilerplate_items),
        cleanup=args.cleanup,
        near=args.near_duplicates,
        duplicates=args.deduplicate,
        start=start,
        end=end,
        num_workers=args.num_workers,
        max_evidence=args.max_evidence,
        licence=args.licence,
    )


def _summary(outcome: Outcome, benchmarks: list[LoadedBenchmark], output: Path) -> Iterator[str]:
    found = outcome.card.contamination
    assert found is not None  # a run that was not finished before has checked rows
    for benchmark in benchmarks:
        counts = found["benchmarks"][benchmark.benchmark.name]
        yield (
            f"{benchmark.benchmark.name}: {counts['flagged_rows']} rows flagged, by {counts['items_found']} of "
            f"{len(benchmark.benchmark.texts)} items"
        )
    for step in outcome.card.steps:
        detail = ", ".join(f"{name} {count}" for name, count in step.detail.get("removed", {}).items() if count)
        yield f"{step.name}: {step.rows_before} -> {step.rows_after} rows" + (f" ({detail})" if detail else "")
    yield f"Written: {output}, with {REPORT_NAME} and {TABLE_NAME}"


def _seconds(outcome: Outcome, total_s: float, start_up_s: float) -> str:
    times = outcome.times
    return (
        f"Seconds: {total_s:.2f} in all; start-up {start_up_s:.2f}, index {times.index_s:.2f}, reading "
        f"{times.reading_s:.2f}, matching {times.matching_s:.2f}, writing {times.writing_s:.2f} (these three overlap)"
    )
