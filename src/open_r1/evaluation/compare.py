# SPDX-License-Identifier: Apache-2.0
"""Comparison of runs: a table, the settings that differ, and which differences are noise, problem by problem.

    #  model  benchmark  k  avg@k              pass@k  maj@k  truncated  ...
    1  grpo   sums       4  85.6 [73.3, 94.5]  92.5    87.5   0.0 %
    2  sft    sums       4  26.2 [15.1, 39.8]  47.5    27.5   0.0 %

    sums: #2 against #1: -59.4 points [-71.8, -46.9], p = 3.5e-12: more than chance
        40 problems: 1 better, 35 worse, 4 alike; so many show a true difference of 17.4 points in 8 of 10 cases

1. Runs are found by their `results.json`, and have numbers by which the lines below the table name them.
2. A problem is its text without the prompt template, what goes before it in a conversation, and its gold answer: rows
   may have any order, and one that stands there twice is one. Compared is the mean score of each.
3. Figures of different problems stand in one table, with a warning; problem by problem what both have is compared.
"""

import json
import logging
import math
import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from open_r1.data.card import plain_json
from open_r1.evaluation.intervals import POWER, SIGNIFICANCE, PairedDifference, holm, paired_difference
from open_r1.evaluation.run import ANSWERS_NAME, RESULTS_NAME, answers_fit
from open_r1.generation.prompts import fill_template

logger = logging.getLogger(__name__)

_PARTS = {"settings": dict, "counts": dict, "metrics": dict, "benchmark": str}
_AVERAGE = re.compile(r"avg@(\d{1,9})")
# Settings that decide neither answers nor figures; of the model and the data more than their names says what they are.
_NO_DIFFERENCE = ("servers", "served_with", "dataset", "config", "split", "source", "max_model_len")
_OF_THE_CHECKPOINT = ("model", "revision", "model_commit", "model_fingerprint")
_VERSIONS = ("open-r1", "math-verify", "transformers")  # of those in the results, what judges and may generate
_MAX_CHARS = 60
_NONE = "-"
_COLUMNS = ("#", "model", "benchmark", "k", "avg@k", "pass@k", "maj@k", "truncated", "no answer", "mean tokens",
            "tokens/s", "date", "folder")  # fmt: skip

Problem = tuple[str, str, str]


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
        return printable(self.results["benchmark"])

    @property
    def settings(self) -> Mapping[str, Any]:
        """All that decides the answers and the figures, and what describes them."""
        return self.results["settings"]

    @property
    def model(self) -> str:
        """Name of the model, with the revision where that isn't `main`."""
        name, revision = self.settings.get("model") or "?", self.settings.get("revision") or "main"
        return printable(name if revision == "main" else f"{name}@{revision}")

    @property
    def checkpoint(self) -> str:
        """What tells its weights from others: their hash, their commit, or else their name."""
        return str(self.settings.get("model_fingerprint") or self.settings.get("model_commit") or self.model)

    @property
    def k(self) -> int:
        """Answers a problem."""
        return max(int(found[1]) for name in self.results["metrics"] if (found := _AVERAGE.fullmatch(name)))

    def metric(self, name: str) -> float | None:
        """Return a metric; None: the run has none of that name."""
        value = self.results["metrics"].get(name)
        return None if value is None or math.isnan(value) else float(value)

    def scores(self) -> dict[Problem, float]:
        """Return the mean score of the answers to each problem, NaN where none was judged.

        Raises:
            ValueError: There are no answers, they are damaged, another program's, or not those of the results.
        """
        path, template = self.folder / ANSWERS_NAME, self.settings.get("template")
        if not answers_fit(self.folder, self.results):
            raise ValueError(
                f"{path} isn't there, or isn't what {RESULTS_NAME} beside it tells of: repeat the run's command."
            )
        try:
            rows = pq.read_table(path, columns=["problem", "context", "solution", "score"]).to_pylist()
        except (pa.ArrowInvalid, pa.ArrowKeyError, OSError) as error:
            raise ValueError(f"{path} is damaged, or another program's: {error}.") from error
        scores: defaultdict[Problem, list[float]] = defaultdict(list)
        for row in rows:
            name = (row["context"], without_template(row["problem"], template), str(row["solution"]).strip())
            scores[name].append(math.nan if row["score"] is None else row["score"])
        judged = {name: [value for value in values if not math.isnan(value)] for name, values in scores.items()}
        return {name: float(np.mean(values)) if values else math.nan for name, values in judged.items()}


def find_runs(places: Iterable[Path]) -> list[Run]:
    """Return the runs below folders, or of the files that are named, in the order of their paths; each once.

    Of folders, files of the same name that are torn, or by other programs, are left out, with a line in the log.

    Raises:
        ValueError: There is no such place, or nothing to be read in it; a file that is named is torn, or another
            program's.
    """
    found: dict[Path, Run] = {}
    for place in places:
        paths = sorted(place.rglob(RESULTS_NAME)) if place.is_dir() else [place]
        if not paths or not place.exists():
            raise ValueError(f"{place} isn't there, or holds no {RESULTS_NAME} of run_benchmarks.py.")
        for path in paths:
            try:
                run = Run(path.parent, _read(path))
            except ValueError as error:
                if len(paths) == 1:
                    raise
                logger.warning("It is left out: %s", error)
            else:
                found.setdefault(run.folder.resolve(), run)
    return list(found.values())


def _read(path: Path) -> dict[str, Any]:
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path} is torn, or no JSON: {error}. Repeat its run, or move it away.") from error
    value = value if isinstance(value, dict) else {}
    lacking = [name for name, kind in _PARTS.items() if not isinstance(value.get(name), kind)]
    averages = [] if lacking else [name for name in value["metrics"] if _AVERAGE.fullmatch(name)]
    if lacking or len(averages) != 1 or not isinstance(value["metrics"][averages[0]], float):
        reason = f"no {', '.join(lacking)}" if lacking else f"{len(averages)} avg@k in place of one number"
        raise ValueError(f"{path} has {reason}: it is no {RESULTS_NAME} of run_benchmarks.py.")
    return value


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
        power = f"a true difference of {100 * found.detectable:.1f} points in {10 * POWER:.0f} of 10 cases"
        return "\n    ".join([f"{head} {interval}: {says}", f"{problems}; so many show {power}", *self.notes])


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
        f"k differs ({baseline.k} and {run.k}): averages can be compared, pass@k and maj@k not": baseline.k != run.k,
    }
    return Comparison(baseline_number, number, run.benchmark, difference, [note for note, due in notes.items() if due])


def without_template(text: str, template: object) -> str:
    r"""Return a problem without the text around it, and with single spaces.

    >>> without_template("Solve: 1 +  1\nBox it.", "Solve: {prompt}\nBox it."), without_template("1+1", None)
    ('1 + 1', '1+1')
    """
    around = fill_template(str(template), "\0").split("\0")
    if len(around) == 2 and text.startswith(around[0]) and text.endswith(around[1]):
        text = text[len(around[0]) : len(text) - len(around[1])]
    return " ".join(text.split())


@dataclass
class Overview:
    """All that is shown of runs.

    Attributes:
        runs: By their numbers, from 1.
        differences: By benchmark, the settings in which its runs differ, with their values by the run's number.
        comparisons: Problem by problem.
        remarks: What must be known beside.
    """

    runs: dict[int, Run]
    differences: dict[str, dict[str, dict[int, Any]]]
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
    overview = Overview(runs, {}, [], [])
    for benchmark in dict.fromkeys(run.benchmark for run in runs.values()):
        mine = {number: run for number, run in runs.items() if run.benchmark == benchmark}
        overview.differences[benchmark] = _differences(mine)
        overview.remarks += _remarks(benchmark, mine)
        first = [number for number, run in mine.items() if run.folder.resolve() in known]
        if baseline is None:
            first = list(mine)[:1] if len(mine) == 2 else []
            overview.remarks += [f"{benchmark}: name one of {len(mine)} runs by --baseline to compare"][
                : len(mine) > 2
            ]
        if len(first) > 1 and len(mine) > len(first):
            raise ValueError(f"--baseline has {len(first)} runs on {benchmark}: name the folder of one.")
        for number in [number for number in mine if first and number not in first]:
            try:
                overview.comparisons.append(compare((first[0], runs[first[0]]), (number, runs[number])))
            except ValueError as error:
                overview.remarks.append(f"#{number} isn't compared with #{first[0]} problem by problem: {error}")
    if baseline is not None and not overview.comparisons:
        raise ValueError("\n".join(overview.remarks) or f"There is no other run on a benchmark of {baseline}.")
    shown = {str(place): entry.difference.p_value for place, entry in enumerate(overview.comparisons)
             if not entry.difference.is_too_few}  # fmt: skip
    for place, p_value in holm(shown).items():
        overview.comparisons[int(place)] = replace(overview.comparisons[int(place)], holm_p_value=p_value)
    return overview


def _remarks(benchmark: str, runs: Mapping[int, Run]) -> list[str]:
    """Return what must be known of runs on one benchmark: other problems, the same checkpoint, differing settings."""
    lines = []
    if len({_key([run.settings.get(name) for name in ("source", "limit")]) for run in runs.values()}) > 1:
        lines.append(f"{benchmark}: WARNING: these runs were asked different problems (other data, or another limit)")
    same: defaultdict[str, list[int]] = defaultdict(list)
    for number, run in runs.items():
        same[run.checkpoint].append(number)
    for numbers in [*same.values()] if len(same) < len(runs) else [list(runs)]:
        found = _differences({number: runs[number] for number in numbers})
        # What tells checkpoints apart stands in the table.
        said = [_said(name, values) for name, values in found.items() if name not in _OF_THE_CHECKPOINT]
        which = ", ".join(f"#{number}" for number in numbers)
        is_same, is_known = len(same) < len(runs), runs[numbers[0]].checkpoint != runs[numbers[0]].model
        alike = (
            " have the same model's name (no hash, no commit) and" if not is_known else " are the same checkpoint and"
        )
        if len(numbers) > 1 and (said or is_same):
            because = "; ".join(said) or "nothing that was recorded: chance, or the machines"
            lines.append(f"{benchmark}: {which}{alike if is_same else ''} differ by {because}")
    return lines


def _differences(runs: Mapping[int, Run]) -> dict[str, dict[int, Any]]:
    """Return all that differs between runs and may change their figures, versions too."""
    described: dict[int, dict[str, Any]] = {}
    for number, run in runs.items():
        versions = run.results.get("versions") or {}
        described[number] = {name: value for name, value in run.settings.items() if name not in _NO_DIFFERENCE}
        described[number] |= {f"version of {name}": versions.get(name) for name in _VERSIONS}
        described[number] |= {"commit of open-r1": run.results.get("commit")}
    names = dict.fromkeys(name for values in described.values() for name in values)
    columns = {name: {number: values.get(name) for number, values in described.items()} for name in names}
    return {name: values for name, values in columns.items() if len(set(map(_key, values.values()))) > 1}


def _key(value: Any) -> str:
    return json.dumps(value, sort_keys=True, ensure_ascii=False)


def _said(name: str, values: Mapping[int, Any]) -> str:
    groups: defaultdict[str, list[str]] = defaultdict(list)
    for number, value in values.items():
        groups[_short(value)].append(f"#{number}")
    return f"{name}: {', '.join(f'{value} ({chr(44).join(numbers)})' for value, numbers in groups.items())}"


def _short(value: Any) -> str:
    text = printable("not set" if value is None else value if isinstance(value, str) else _key(value))
    return text if len(text) <= _MAX_CHARS else f"{text[: _MAX_CHARS - 20]} ... {text[-15:]}"


def printable(value: Any) -> str:
    r"""Return a text in which nothing moves the cursor of a terminal, or ends the line.

    >>> printable("a\x1b[2J\nb")
    'a\\x1b[2J\\nb'
    """
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in str(value))


def _cells(number: int, run: Run) -> list[str]:
    """Return a row of the table."""
    speed = (run.results.get("speed") or {}).get("tokens_per_s")
    tokens = [_NONE if value is None else f"{value:,.0f}" for value in (run.metric("mean_length_tokens"), speed)]
    shares = [run.metric(name) for name in ("truncated", "no_answer")]
    return [
        str(number),
        run.model,
        run.benchmark,
        str(run.k) if run.results.get("is_complete", True) else f"{run.k} !",
        *(_estimate(run, f"{name}@{run.k}") for name in ("avg", "pass", "maj")),
        *(_NONE if value is None else f"{100 * value:.1f} %" for value in shares),
        *tokens,
        printable(run.results.get("date") or _NONE)[:16].replace("T", " "),
        printable(run.folder),
    ]


def _estimate(run: Run, name: str) -> str:
    value, low, high = (run.metric(f"{name}{end}") for end in ("", "_low", "_high"))
    if value is None:
        return _NONE
    return f"{100 * value:.1f}" + ("" if low is None or high is None else f" [{100 * low:.1f}, {100 * high:.1f}]")


def as_text(overview: Overview, *, is_markdown: bool = False) -> str:
    """Return the table, in percent with 95 % intervals, and what there is to say of it."""
    rows = [list(_COLUMNS), *(_cells(number, run) for number, run in overview.runs.items())]
    if is_markdown:
        lines = ["| " + " | ".join(cell.replace("|", r"\|") for cell in row) + " |" for row in rows]
        lines.insert(1, "|" + "---|" * len(_COLUMNS))
    else:
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        lines = ["  ".join(map(str.ljust, row, widths)).rstrip() for row in rows]
    notes = [
        f"#{number}: {printable(note)}"
        for number, run in overview.runs.items()
        for note in run.results.get("notes") or ()
    ]
    said = [*map(str, overview.comparisons), *overview.remarks, *notes]
    bullet = "- " if is_markdown else ""
    return "\n".join([*lines, *([""] if said else []), *(f"{bullet}{line}" for line in said)])


def as_json(overview: Overview) -> dict[str, Any]:
    """Return all of it: `runs`, `differences`, `comparisons`, `remarks`; NaN as null."""
    names = ("metrics", "counts", "date", "settings", "speed")
    runs = [
        {"number": number, "folder": str(run.folder), "model": run.model, "benchmark": run.benchmark, "k": run.k}
        | {name: run.results.get(name) for name in names}
        for number, run in overview.runs.items()
    ]
    comparisons = [{**asdict(entry), "is_noise": entry.is_noise} for entry in overview.comparisons]
    known = {
        "runs": runs,
        "differences": overview.differences,
        "comparisons": comparisons,
        "remarks": overview.remarks,
    }
    return json.loads(json.dumps(plain_json(known)), parse_constant=lambda name: None)
