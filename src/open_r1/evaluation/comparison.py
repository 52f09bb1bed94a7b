# SPDX-License-Identifier: Apache-2.0
"""A table over runs on benchmarks, why the same checkpoint got different numbers, and which differences are noise.

1. Runs have numbers, by which the lines below the table name them.
2. Figures of different problems stand in one table, with a warning; problem by problem what both have is compared.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from open_r1.data.card import plain_json
from open_r1.evaluation.pairing import Comparison, compare, corrected
from open_r1.evaluation.runs import (
    OF_THE_CHECKPOINT,
    Difference,
    Run,
    differing_problems,
    differing_settings,
    find_runs,
    printable,
)

_NONE = "-"
_COLUMNS = (
    "#",
    "model",
    "benchmark",
    "k",
    "avg@k",
    "pass@k",
    "maj@k",
    "truncated",
    "no answer",
    "mean tokens",
    "tokens/s",
    "date",
    "folder",
)


@dataclass(frozen=True)
class Group:
    """Runs on one benchmark.

    Attributes:
        benchmark: Its name.
        numbers: Of the runs.
        differences: Settings in which they differ.
        same_checkpoint: Numbers of runs of the same weights, where there are several, and what they differ in.
        has_different_problems: Whether they were asked different problems.
    """

    benchmark: str
    numbers: Sequence[int]
    differences: Sequence[Difference]
    same_checkpoint: Sequence[tuple[Sequence[int], Sequence[Difference]]]
    has_different_problems: bool


@dataclass(frozen=True)
class Overview:
    """All that is shown of runs.

    Attributes:
        runs: By their numbers, from 1.
        groups: What differs, by benchmark.
        comparisons: Problem by problem.
        remarks: What must be known beside.
    """

    runs: Mapping[int, Run]
    groups: Sequence[Group]
    comparisons: Sequence[Comparison]
    remarks: Sequence[str] = field(default_factory=list)


def overview_of(places: Sequence[Path], baseline: Path | None = None) -> Overview:
    """Read runs, and compare them with a baseline; of two runs on a benchmark the first is the baseline.

    Args:
        places: Folders with runs anywhere below, or files.
        baseline: Folder or file of the run, or runs on several benchmarks, to compare with; None: only two are
            compared.

    Raises:
        ValueError: A place holds no runs, a file is damaged, or nothing can be compared with the baseline.
    """
    named = [] if baseline is None else find_runs([baseline])
    known = {run.folder.resolve() for run in named}
    others = [run for run in find_runs(places) if run.folder.resolve() not in known]
    ordered = sorted([*named, *others], key=lambda run: run.benchmark)
    runs = dict(enumerate(ordered, 1))
    groups = [_group_of(name, runs) for name in dict.fromkeys(run.benchmark for run in ordered)]
    pairs, remarks = _pairs(runs, groups, known)
    if baseline is not None and not pairs:
        raise ValueError(f"There is no other run on a benchmark of {baseline} to compare it with.")
    comparisons, failed = [], []
    for first, other in pairs:
        try:
            comparisons.append(compare((first, runs[first]), (other, runs[other])))
        except ValueError as error:
            failed.append(f"#{other} isn't compared with #{first} problem by problem: {error}")
    if baseline is not None and not comparisons:
        raise ValueError("\n".join(failed))
    return Overview(runs, groups, corrected(comparisons), [*remarks, *failed])


def _group_of(benchmark: str, runs: Mapping[int, Run]) -> Group:
    mine = {number: run for number, run in runs.items() if run.benchmark == benchmark}
    by_checkpoint: dict[str, dict[int, Run]] = {}
    for number, run in mine.items():
        by_checkpoint.setdefault(run.checkpoint, {})[number] = run
    same = [(list(alike), differing_settings(alike)) for alike in by_checkpoint.values() if len(alike) > 1]
    return Group(benchmark, list(mine), differing_settings(mine), same, differing_problems(list(mine.values())))


def _pairs(
    runs: Mapping[int, Run], groups: Sequence[Group], baselines: set[Path]
) -> tuple[list[tuple[int, int]], list[str]]:
    """Return which runs are compared with which, and what is said of those that aren't."""
    pairs, remarks = [], []
    for group in groups:
        first = [number for number in group.numbers if runs[number].folder.resolve() in baselines]
        if not baselines and len(group.numbers) == 2:
            first = group.numbers[:1]
        elif not baselines:
            if len(group.numbers) > 1:
                example = printable(runs[group.numbers[0]].folder)
                remarks.append(
                    f"{group.benchmark}: {len(group.numbers)} runs, none compared problem by problem; name "
                    f"one by --baseline, for instance --baseline {example}"
                )
            continue
        others = [number for number in group.numbers if number not in first]
        for other in others:
            if not first:
                remarks.append(f"#{other} is compared with nothing: the baseline has no run on {group.benchmark}")
                continue
            if len(first) > 1:
                raise ValueError(
                    f"--baseline has {len(first)} runs on {group.benchmark} for #{other}: name the folder of one, "
                    f"as {runs[first[0]].folder}."
                )
            pairs.append((first[0], other))
    return pairs, remarks


def cells_of(number: int, run: Run) -> list[str]:
    """Return a row of the table."""
    k, speed = run.k, run.tokens_per_s
    return [
        str(number),
        run.model,
        run.benchmark,
        str(k) if run.is_complete else f"{k} !",
        *(_estimate(run, name) for name in ("avg", "pass", "maj")),
        _percent(run.metric("truncated")),
        _percent(run.metric("no_answer")),
        _whole(run.metric("mean_length_tokens")),
        _whole(speed),
        printable(run.results.get("date") or _NONE)[:16].replace("T", " "),
        printable(run.folder),
    ]


def _estimate(run: Run, name: str) -> str:
    value, interval = run.metric(f"{name}@{run.k}"), run.interval(name)
    if value is None:
        return _NONE
    return f"{100 * value:.1f}" + ("" if interval is None else f" [{100 * interval[0]:.1f}, {100 * interval[1]:.1f}]")


def _percent(value: float | None) -> str:
    return _NONE if value is None else f"{100 * value:.1f} %"


def _whole(value: float | None) -> str:
    return _NONE if value is None else f"{value:,.0f}"


def as_text(overview: Overview, *, is_markdown: bool = False) -> str:
    """Return the table, in percent with 95 % intervals, and what there is to say of it."""
    rows = [list(_COLUMNS), *(cells_of(number, run) for number, run in overview.runs.items())]
    if is_markdown:
        lines = ["| " + " | ".join(cell.replace("|", r"\|") for cell in row) + " |" for row in rows]
        lines.insert(1, "|" + "---|" * len(_COLUMNS))
    else:
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        lines = [
            "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
        ]
    said = [*_said_of_groups(overview), *map(str, overview.comparisons), *overview.remarks, *_notes(overview)]
    bullet = "- " if is_markdown else ""
    blank = [""] if said else []
    return "\n".join([*lines, *blank, *(f"{bullet}{line}" for line in said)])


def _said_of_groups(overview: Overview) -> list[str]:
    lines = []
    for group in overview.groups:
        if group.has_different_problems:
            numbers = ", ".join(f"#{number}" for number in group.numbers)
            lines.append(
                f"{group.benchmark}: WARNING: {numbers} were asked different problems (other data, or "
                "another limit): their figures can't be compared as they stand"
            )
        for numbers, differences in group.same_checkpoint:
            which = ", ".join(f"#{number}" for number in numbers)
            because = "; ".join(map(str, differences)) or "nothing that was recorded: only chance, or the machines"
            # A name alone may have stood for other weights each time.
            is_known = overview.runs[numbers[0]].is_checkpoint_known
            alike = "are the same checkpoint" if is_known else "have the same model's name (no hash, no commit)"
            lines.append(f"{group.benchmark}: {which} {alike}; they differ by {because}")
        # What tells checkpoints apart stands in the table.
        others = [entry for entry in group.differences if entry.name not in OF_THE_CHECKPOINT]
        is_said = any(len(numbers) == len(group.numbers) for numbers, _ in group.same_checkpoint)
        if others and not is_said:
            lines.append(f"{group.benchmark}: beside the checkpoint, they differ by {'; '.join(map(str, others))}")
    return lines


def _notes(overview: Overview) -> list[str]:
    return [
        f"#{number}: {printable(note)}"
        for number, run in overview.runs.items()
        for note in run.results.get("notes") or ()
    ]


def as_json(overview: Overview) -> dict[str, Any]:
    """Return all of it: `runs`, `groups`, `comparisons`, `remarks`."""
    groups = [
        {
            "benchmark": group.benchmark,
            "runs": list(group.numbers),
            "has_different_problems": group.has_different_problems,
            "differences": {entry.name: entry.values for entry in group.differences},
            "same_checkpoint": [list(numbers) for numbers, _ in group.same_checkpoint],
        }
        for group in overview.groups
    ]
    runs = [
        {
            "number": number,
            "folder": str(run.folder),
            "model": run.model,
            "benchmark": run.benchmark,
            "k": run.k,
            "metrics": run.results["metrics"],
            "counts": run.results["counts"],
            "tokens_per_s": run.tokens_per_s,
            "date": run.results.get("date"),
            "settings": run.settings,
        }
        for number, run in overview.runs.items()
    ]
    comparisons = [entry.as_json() for entry in overview.comparisons]
    return plain_json({"runs": runs, "groups": groups, "comparisons": comparisons, "remarks": overview.remarks})
