# SPDX-License-Identifier: Apache-2.0
"""Comparison of runs: a table, the settings that differ, and which differences are noise, problem by problem.

    #  model  benchmark  k  avg@k         pass@k  maj@k  truncated  ...
    1  grpo   sums       4  mean [95 %]   ...
    2  sft    sums       4  mean [95 %]   ...

    sums: #2 against #1: difference in points [95 %], p = ...: more than chance
        problems: how many better, worse, alike

1. Runs are found by their `results.json`, and have numbers by which the lines below the table name them.
2. A problem is its text without the prompt template and its gold answer: rows may have any order, and one that stands
   there twice is one. Compared is the mean score of each.
3. Figures of different problems stand in one table, with a warning; problem by problem what both have is compared.
"""

import json
import logging
import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from open_r1.evaluation.intervals import SIGNIFICANCE, PairedDifference, holm, paired_difference
from open_r1.evaluation.run import ANSWERS_NAME, RESULTS_NAME, read_results

logger = logging.getLogger(__name__)

# Settings that decide neither answers nor figures; of the data more than their name says what they are.
_NO_DIFFERENCE = ("model", "servers", "served_with", "dataset", "config", "split", "source", "max_model_len")
_MAX_CHARS = 60
_NONE = "-"
_COLUMNS = ("#", "model", "benchmark", "k", "avg@k", "pass@k", "maj@k", "truncated", "no answer", "mean tokens",
            "date", "folder")  # fmt: skip

Problem = tuple[str, str]


@dataclass(frozen=True)
class Run:
    """A finished run on one benchmark.

    Attributes:
        folder: Where its files are.
        results: What is in `results.json`.
    """

    folder: Path
    results: Mapping[str, Any]

    @property
    def benchmark(self) -> str:
        """Name of the benchmark."""
        return self.results["benchmark"]

    @property
    def settings(self) -> Mapping[str, Any]:
        """All that decides the answers and the figures, and what describes them."""
        return self.results["settings"]

    @property
    def model(self) -> str:
        """Name of the model, with the revision where that isn't `main`."""
        name, revision = self.settings["model"], self.settings.get("revision") or "main"
        return name if revision == "main" else f"{name}@{revision}"

    @property
    def k(self) -> int:
        """Answers a problem."""
        return self.settings["num_samples"]

    def scores(self) -> dict[Problem, float]:
        """Return the mean score of the answers to each problem, NaN where none was judged.

        Raises:
            ValueError: The answers are damaged, or another program's.
        """
        path = self.folder / ANSWERS_NAME
        try:
            rows = pq.read_table(path, columns=["problem", "solution", "score"]).to_pylist()
        except (pa.ArrowInvalid, pa.ArrowKeyError, OSError) as error:
            raise ValueError(f"{path} is damaged, or not from run_benchmarks.py: {error}.") from error
        scores: defaultdict[Problem, list[float]] = defaultdict(list)
        for row in rows:
            judged = scores[" ".join(row["problem"].split()), row["solution"].strip()]
            judged += [] if row["score"] is None or math.isnan(row["score"]) else [row["score"]]
        return {name: float(np.mean(values)) if values else math.nan for name, values in scores.items()}


def find_runs(places: Iterable[Path]) -> list[Run]:
    """Return the runs below folders, or of the files that are named, in the order of their paths; each once.

    Files of the same name that are torn, or by other programs, are left out, with a line in the log.

    Raises:
        ValueError: A place holds no results that can be read.
    """
    found: dict[Path, Run] = {}
    for place in places:
        paths = sorted(place.rglob(RESULTS_NAME)) if place.is_dir() else [place]
        read = {path: read_results(path.parent) for path in paths if path.name == RESULTS_NAME}
        if not any(read.values()):
            raise ValueError(f"{place} holds no {RESULTS_NAME} of run_benchmarks.py that can be read.")
        for path, results in read.items():
            if results is None:
                logger.warning("%s is skipped: it is damaged, or not from run_benchmarks.py.", path)
            else:
                found.setdefault(path.parent.resolve(), Run(path.parent, results))
    return list(found.values())


@dataclass(frozen=True)
class Comparison:
    """A run beside a baseline, on the problems that both have.

    Attributes:
        baseline: Number of the baseline in the table.
        run: Number of the run.
        benchmark: Its name.
        difference: Of the mean scores, run minus baseline.
        notes: What must be known to read it.
        holm_p_value: Of all comparisons that are made together.
    """

    baseline: int
    run: int
    benchmark: str
    difference: PairedDifference
    notes: list[str]
    holm_p_value: float = math.nan

    @property
    def is_noise(self) -> bool:
        """Whether chance alone may have made the difference."""
        return self.difference.is_too_few or self.holm_p_value >= SIGNIFICANCE

    def __str__(self) -> str:
        found = self.difference
        head = f"{self.benchmark}: #{self.run} against #{self.baseline}: {100 * found.mean:+.1f} points"
        problems = f"{found.num_problems} problem{'s' * (found.num_problems != 1)}: {found.num_better} better, "
        problems += f"{found.num_worse} worse, {found.num_equal} alike"
        if found.is_too_few:
            return "\n    ".join([f"{head}: too few to compare", problems, *self.notes])
        corrected = "" if self.holm_p_value == found.p_value else f" ({self.holm_p_value:.3g} by Holm)"
        says = "noise: chance alone makes such a difference" if self.is_noise else "more than chance"
        interval = f"[{100 * found.low:+.1f}, {100 * found.high:+.1f}], p = {found.p_value:.3g}{corrected}"
        return "\n    ".join([f"{head} {interval}: {says}", problems, *self.notes])


def compare(one: tuple[int, Run], other: tuple[int, Run]) -> Comparison:
    """Compare a baseline, with its number in the table, and another run on the benchmark.

    Raises:
        ValueError: Answers are missing or damaged, or the two have no judged problem in common.
    """
    (baseline_number, baseline), (number, run) = one, other
    first, second = baseline.scores(), run.scores()
    common = [problem for problem in first if problem in second]
    judged = [problem for problem in common if not math.isnan(first[problem] + second[problem])]
    if not judged:
        raise ValueError(f"{baseline.folder} and {run.folder} have no judged problem in common, by text and solution.")
    difference = paired_difference([first[problem] for problem in judged], [second[problem] for problem in judged])
    notes = {
        f"left out are problems that only one of the two has: {len(first) - len(common)} and "
        f"{len(second) - len(common)}": len(first) + len(second) > 2 * len(common),
        f"left out are {len(common) - len(judged)} problems without a judged answer in one of the two": len(common)
        > len(judged),
    }
    return Comparison(baseline_number, number, run.benchmark, difference, [note for note, due in notes.items() if due])


@dataclass
class Overview:
    """All that is shown of runs.

    Attributes:
        runs: By their numbers, from 1.
        comparisons: Problem by problem.
        remarks: What must be known beside.
    """

    runs: dict[int, Run]
    comparisons: list[Comparison]
    remarks: list[str]


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
    runs = dict(enumerate(sorted([*named, *others], key=lambda run: run.benchmark), 1))
    overview = Overview(runs, [], [])
    for benchmark in dict.fromkeys(run.benchmark for run in runs.values()):
        mine = {number: run for number, run in runs.items() if run.benchmark == benchmark}
        overview.remarks += _remarks(benchmark, mine)
        first = [number for number, run in mine.items() if run.folder.resolve() in known]
        if baseline is None and len(mine) > 2:
            overview.remarks.append(f"{benchmark}: name one of {len(mine)} runs by --baseline to compare")
        elif baseline is None:
            first = list(mine)[:1]
        if len(first) > 1 and len(mine) > len(first):
            raise ValueError(f"--baseline has {len(first)} runs on {benchmark}: name the folder of one.")
        for number in [number for number in mine if first and number not in first]:
            try:
                overview.comparisons.append(compare((first[0], runs[first[0]]), (number, runs[number])))
            except ValueError as error:
                overview.remarks.append(f"#{number} isn't compared with #{first[0]} problem by problem: {error}")
    if baseline is not None and not overview.comparisons:
        raise ValueError("\n".join(overview.remarks) or f"There is no other run on a benchmark of {baseline}.")
    p_values = {str(place): entry.difference.p_value for place, entry in enumerate(overview.comparisons)
                if not entry.difference.is_too_few}  # fmt: skip
    for place, p_value in holm(p_values).items():
        overview.comparisons[int(place)] = replace(overview.comparisons[int(place)], holm_p_value=p_value)
    return overview


def _remarks(benchmark: str, runs: Mapping[int, Run]) -> list[str]:
    """Return what must be known of runs on one benchmark: other problems, and the settings that differ."""

    def differing(described: Mapping[int, Mapping[str, Any]]) -> list[str]:
        lines = []
        for name in dict.fromkeys(name for values in described.values() for name in values):
            numbers: defaultdict[str, list[str]] = defaultdict(list)
            for number, values in described.items():
                value = json.dumps(values.get(name), sort_keys=True, ensure_ascii=False)
                numbers[value].append(f"#{number}")
            if len(numbers) > 1:
                lines.append(
                    f"{name}: {', '.join(f'{_short(text)} ({chr(44).join(numbers[text])})' for text in numbers)}"
                )
        return lines

    lines = []
    if differing(
        {number: {name: run.settings.get(name) for name in ("source", "limit")} for number, run in runs.items()}
    ):
        lines.append(f"{benchmark}: WARNING: these runs were asked different problems (other data, or another limit)")
    settings = {number: {name: value for name, value in run.settings.items() if name not in _NO_DIFFERENCE}
                | {"commit of open-r1": run.results.get("commit")} for number, run in runs.items()}  # fmt: skip
    if found := differing(settings):
        lines.append(f"{benchmark}: the runs differ by {'; '.join(found)}")
    return lines


def _short(text: str) -> str:
    return text if len(text) <= _MAX_CHARS else f"{text[: _MAX_CHARS - 20]} ... {text[-15:]}"


def _cells(number: int, run: Run) -> list[str]:
    """Return a row of the table."""
    metrics = run.results["metrics"]
    length = metrics.get("mean_length_tokens")
    shares = [metrics.get(name) for name in ("truncated", "no_answer")]
    return [
        str(number),
        run.model,
        run.benchmark,
        str(run.k) if run.results["is_complete"] else f"{run.k} !",
        *(_estimate(metrics, f"{name}@{run.k}") for name in ("avg", "pass", "maj")),
        *(_NONE if value is None else f"{100 * value:.1f} %" for value in shares),
        _NONE if length is None else f"{length:,.0f}",
        run.results["date"][:16].replace("T", " "),
        str(run.folder),
    ]


def _estimate(metrics: Mapping[str, float], name: str) -> str:
    value, low, high = (metrics.get(f"{name}{end}") for end in ("", "_low", "_high"))
    if value is None:
        return _NONE
    return f"{100 * value:.1f}" + ("" if low is None or high is None else f" [{100 * low:.1f}, {100 * high:.1f}]")


def as_text(overview: Overview) -> str:
    """Return the table, in percent with 95 % intervals, and what there is to say of it."""
    rows = [list(_COLUMNS), *(_cells(number, run) for number, run in overview.runs.items())]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ["  ".join(map(str.ljust, row, widths)).rstrip() for row in rows]
    notes = [f"#{number}: {note}" for number, run in overview.runs.items() for note in run.results["notes"]]
    said = [*map(str, overview.comparisons), *overview.remarks, *notes]
    return "\n".join([*lines, *([""] if said else []), *said])
