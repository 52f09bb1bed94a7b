# SPDX-License-Identifier: Apache-2.0
"""Two runs on a benchmark compared problem by problem, by their `answers.parquet`.

A problem is its text, without the prompt template, what goes before it in a conversation, and its gold answer: rows
may have any order, and a problem that stands there twice is one. What is compared is the share of right answers to
each.
"""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from open_r1.evaluation.judging import score_of
from open_r1.evaluation.paired import POWER, SIGNIFICANCE, PairedDifference, holm, paired_difference
from open_r1.evaluation.results import ANSWERS_NAME, check_answers
from open_r1.evaluation.runs import Run
from open_r1.generation.prompts import fill_template

_COLUMNS = ["problem", "context", "solution", "verdict"]
_MARK = "\0"

Problem = tuple[str, str, str]


@dataclass(frozen=True)
class Comparison:
    """A run beside a baseline, on the problems that both have.

    Attributes:
        baseline: Number of the baseline in the table.
        run: Number of the run.
        benchmark: Its name.
        difference: Of the share of right answers, run minus baseline.
        holm_p_value: Of all comparisons that are made together.
        num_together: How many these are.
        notes: What must be known to read it.
    """

    baseline: int
    run: int
    benchmark: str
    difference: PairedDifference
    holm_p_value: float
    num_together: int = 1
    notes: list[str] = field(default_factory=list)

    @property
    def is_noise(self) -> bool:
        """Whether chance alone may have made the difference."""
        return self.holm_p_value >= SIGNIFICANCE

    def as_json(self) -> dict[str, Any]:
        """Return all of it."""
        difference = {name: None if value != value else value for name, value in asdict(self.difference).items()}
        return {**asdict(self), "difference": difference, "is_noise": self.is_noise}

    def __str__(self) -> str:
        found = self.difference
        corrected = "" if self.holm_p_value == found.p_value else f" ({self.holm_p_value:.3g} by Holm)"
        says = "noise: chance alone makes such a difference" if self.is_noise else "more than chance"
        lines = [
            f"{self.benchmark}: #{self.run} against #{self.baseline}: {100 * found.mean:+.1f} points "
            f"[{100 * found.low:+.1f}, {100 * found.high:+.1f}], p = {found.p_value:.3g}{corrected}: {says}",
            f"{found.num_problems} problem{'s' * (found.num_problems != 1)}: {found.num_better} better, "
            f"{found.num_worse} worse, {found.num_equal} alike{self._detectable()}",
            *self.notes,
        ]
        return "\n    ".join(lines)

    def _detectable(self) -> str:
        value, together = self.difference.detectable, ""
        if self.num_together > 1:
            together = f", by Holm for {self.num_together} comparisons"
        if np.isnan(value):
            return f"; so few can show nothing at the {100 * SIGNIFICANCE:.0f} % level{together}"
        return (
            f"; so many show a true difference of {100 * value:.1f} points in {10 * POWER:.0f} of 10 cases{together}"
        )


def corrected(comparisons: Sequence[Comparison]) -> list[Comparison]:
    """Return comparisons that are made together with p values, and what they can show, corrected by Holm."""
    found = holm({str(place): entry.difference.p_value for place, entry in enumerate(comparisons)})
    number = len(comparisons)
    return [
        replace(
            entry,
            difference=replace(entry.difference, detectable=entry.difference.detectable_among(number)),
            holm_p_value=found[str(place)],
            num_together=number,
        )
        for place, entry in enumerate(comparisons)
    ]


def compare(one: tuple[int, Run], other: tuple[int, Run]) -> Comparison:
    """Compare a baseline, with its number in the table, and another run on the benchmark.

    Raises:
        ValueError: Answers are missing or damaged, or the two have no problem in common.
    """
    (baseline_number, baseline), (number, run) = one, other
    first, second = read_scores(baseline), read_scores(run)
    common = [problem for problem in first if problem in second]
    if not common:
        raise ValueError(
            f"#{baseline_number} and #{number} have no problem of {run.benchmark} in common, by text and solution: "
            f"{baseline.folder} has {len(first)}, {run.folder} has {len(second)} others."
        )
    if all(np.isnan(first[problem] + second[problem]) for problem in common):
        judged = [sum(not np.isnan(scores[problem]) for problem in common) for scores in (first, second)]
        raise ValueError(
            f"No problem of {run.benchmark} has a verdict in both: of {len(common)}, {baseline.folder} "
            f"(#{baseline_number}) has {judged[0]} with one, {run.folder} (#{number}) {judged[1]}. Repeat the run "
            "that lacks them, or leave it out."
        )
    difference = paired_difference([first[problem] for problem in common], [second[problem] for problem in common])
    notes = [
        f"{_problems_are(len(only) - len(common))} in #{where} only, and left out"
        for only, where in ((first, baseline_number), (second, number))
        if len(only) > len(common)
    ]
    unjudged = len(common) - difference.num_problems
    if unjudged:
        notes.append(f"{_problems_are(unjudged)} left out: no judged answer in one of the two")
    if baseline.k != run.k:
        notes.append(
            f"k differs ({baseline.k} and {run.k}): averages can be compared, pass@k and maj@k of these k not"
        )
    for where, entry in ((baseline_number, baseline), (number, run)):
        if not entry.is_complete:
            failed, lost = (entry.results["counts"].get(name, "some") for name in ("failed", "lost"))
            notes.append(f"#{where} isn't complete: {failed} requests have failed, {lost} answers have no verdict")
    return Comparison(baseline_number, number, run.benchmark, difference, difference.p_value, notes=notes)


def _problems_are(count: int) -> str:
    return f"{count} problem is" if count == 1 else f"{count} problems are"


def read_scores(run: Run) -> dict[Problem, float]:
    """Return the share of right answers to each problem, NaN where none was judged.

    Raises:
        ValueError: There is no such file, or it is damaged, another's, or not of the run's results.
    """
    path = run.folder / ANSWERS_NAME
    if not path.is_file():
        raise ValueError(
            f"{run.folder} has no {ANSWERS_NAME}, which a comparison problem by problem needs: repeat "
            "the run, or leave --baseline out."
        )
    template = run.settings.get("template")
    scores: defaultdict[Problem, list[float]] = defaultdict(list)
    for row in _rows_of(path):
        problem = without_template(row["problem"], template if isinstance(template, str) else None)
        try:
            score = score_of(row["verdict"])
        except ValueError as error:
            raise ValueError(f"{path} is another version's, or another program's: {error}.") from error
        scores[row["context"], problem, str(row["solution"]).strip()].append(score)
    check_answers(run.folder, run.results)
    judged = {problem: [value for value in values if not np.isnan(value)] for problem, values in scores.items()}
    return {problem: float(np.mean(values)) if values else np.nan for problem, values in judged.items()}


def _rows_of(path: Path) -> list[dict[str, Any]]:
    try:
        return pq.read_table(path, columns=_COLUMNS).to_pylist()
    except (pa.ArrowInvalid, pa.ArrowKeyError, OSError) as error:
        raise ValueError(f"{path} is damaged, or another program's: {error}.") from error


def without_template(text: str, template: str | None) -> str:
    r"""Return a problem without the text around it, and with single spaces.

    >>> without_template("Solve: 1 +  1\nBox it.", "Solve: {prompt}\nBox it."), without_template("1+1", None)
    ('1 + 1', '1+1')
    """
    around = [] if template is None or "{prompt}" not in template else fill_template(template, _MARK).split(_MARK)
    if len(around) == 2 and text.startswith(around[0]) and text.endswith(around[1]):
        text = text[len(around[0]) : len(text) - len(around[1])]
    return " ".join(text.split())
