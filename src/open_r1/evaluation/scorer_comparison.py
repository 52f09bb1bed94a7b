# SPDX-License-Identifier: Apache-2.0
"""The answers of a finished run, whichever engine asked for them, as our judge and as another scorer see them.

<output>/disagreements.jsonl    each answer that the two judge differently, and why (see `disagreements`)
<output>/comparison.json        how many there are of each kind
<output>/lighteval/             lighteval's results and details, where its metric is the scorer
"""

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import version
from itertools import groupby
from pathlib import Path
from statistics import fmean
from typing import Any

import pyarrow.parquet as pq

from open_r1.data.benchmarks import Benchmark
from open_r1.data.card import plain_json
from open_r1.evaluation.disagreements import DISAGREEMENTS_NAME, Disagreements
from open_r1.evaluation.judging import Answer
from open_r1.evaluation.lighteval_environment import Lighteval
from open_r1.evaluation.lighteval_scores import Answered, Scored, Scores, score_answers
from open_r1.evaluation.results import ANSWERS_NAME, check_answers, read_results
from open_r1.evaluation.settings import label_of
from open_r1.rewards.verifier import Verdict

COMPARISON_NAME = "comparison.json"
SCORERS = ("lighteval", "math_verify")
_RIGHT = 0.5  # a score from here on is right


@dataclass
class ScorerComparison:
    """Counts of answers.

    Attributes:
        folder: Where the files are.
        scorer: The other one, of `SCORERS`.
        both_right: Right for both.
        both_wrong: Wrong for both.
        ours_alone: Right for our judge alone.
        scorer_alone: Right for the scorer alone.
        not_judged: Our judge abstains: the gold can't be read.
        metrics: The scorer's figures, as it names them.
        versions: Of what it scores with.
    """

    folder: Path
    scorer: str
    both_right: int = 0
    both_wrong: int = 0
    ours_alone: int = 0
    scorer_alone: int = 0
    not_judged: int = 0
    metrics: Mapping[str, float] = field(default_factory=dict)
    versions: Mapping[str, str] = field(default_factory=dict)

    @property
    def total(self) -> int:
        """Answers that both have seen."""
        return self.both_right + self.both_wrong + self.ours_alone + self.scorer_alone + self.not_judged

    def add(self, answer: Answer) -> None:
        """Count an answer."""
        is_right = (answer.engine_score or 0.0) >= _RIGHT
        if math.isnan(answer.score):
            self.not_judged += 1
        elif answer.score == 1.0:
            self.both_right, self.ours_alone = self.both_right + is_right, self.ours_alone + (not is_right)
        else:
            self.scorer_alone, self.both_wrong = self.scorer_alone + is_right, self.both_wrong + (not is_right)

    def as_json(self) -> dict[str, Any]:
        """Return what `comparison.json` holds."""
        counts = {name: value for name, value in vars(self).items() if name != "folder"}
        return {"total": self.total, **counts, "disagreements": DISAGREEMENTS_NAME}


def compare_scorers(folder: Path, output: Path, scorer: str = "lighteval") -> ScorerComparison:
    """Have another scorer judge the answers of a run, beside the verdicts that are there.

    Args:
        folder: Of a finished run on one benchmark, with `results.json` and `answers.parquet`.
        output: Folder for what comes of it.
        scorer: One of `SCORERS`.

    Raises:
        ValueError: There is no finished run, or it has no answers, others than its results tell of, or programs.
        LightevalError: lighteval's environment can't be made, or it has failed.
    """
    results = read_results(folder)
    if results is None or not (folder / ANSWERS_NAME).is_file():
        raise ValueError(
            f"{folder} holds no finished run: name the folder with {ANSWERS_NAME} and results.json, "
            "<output_dir>/<model>/<revision>/<benchmark>/."
        )
    check_answers(folder, results)
    kind = results["settings"].get("kind", "math")
    if kind not in ("math", "choices"):
        raise ValueError(f"{folder} has answers of the kind {kind!r}; {scorer} scores math and choices.")
    answers = [row for row in pq.read_table(folder / ANSWERS_NAME).to_pylist() if row["answer"] is not None]
    if not answers:
        raise ValueError(f"{folder / ANSWERS_NAME} holds no answers: all requests have failed.")
    if scorer == "math_verify":
        found = _scored_by_math_verify(answers)
        metrics = {"accuracy": fmean(scored.score for scored in found.values())}
        comparison = ScorerComparison(output, scorer, metrics=metrics, versions={scorer: version("math-verify")})
    else:
        lighteval = Lighteval()
        output.mkdir(parents=True, exist_ok=True)
        scores = _scored_by_lighteval(lighteval, folder, output, results, answers)
        comparison = ScorerComparison(output, scorer, metrics=scores.metrics, versions=lighteval.versions)
        found = scores.found
    _write(comparison, answers, found)
    return comparison


def _scored_by_math_verify(answers: Sequence[Mapping[str, Any]]) -> dict[tuple[int, int], Scored]:
    from open_r1.rewards import math_verify  # brings sympy

    judgements = math_verify.judge_all([row["solution"] for row in answers], [row["answer"] for row in answers])
    return {
        (row["row"], row["index"]): Scored(
            float(judgement.verdict == Verdict.RIGHT), f"reads {judgement.answer_read} and {judgement.gold_read}"
        )
        for row, judgement in zip(answers, judgements, strict=True)
    }


def _scored_by_lighteval(
    lighteval: Lighteval,
    folder: Path,
    output: Path,
    results: Mapping[str, Any],
    answers: Sequence[Mapping[str, Any]],
) -> Scores:
    settings = results["settings"]
    sampling = {name: settings[name] for name in ("temperature", "top_p") if settings.get(name) is not None}
    return score_answers(
        lighteval,
        Benchmark(results["benchmark"], str(folder.resolve()), kind=settings.get("kind", "math")),
        list(_answered(answers)),
        model=label_of(str(settings["model"])),
        sampling=sampling,
        system_prompt=None,
        folder=output / "lighteval",
        log_path=output / "lighteval.log",
    )


def _answered(answers: Iterable[Mapping[str, Any]]) -> Iterable[Answered]:
    """The answers of a file, which has those to a problem together, by problem."""
    for row, group in groupby(answers, key=lambda answer: answer["row"]):
        of_a_problem = list(group)
        messages = [{"role": "user", "content": of_a_problem[0]["problem"]}]
        texts = {answer["index"]: answer["answer"] for answer in of_a_problem}
        yield Answered(row, messages, of_a_problem[0]["solution"], texts)


def _write(
    comparison: ScorerComparison, answers: Iterable[Mapping[str, Any]], found: Mapping[tuple[int, int], Scored]
) -> None:
    comparison.folder.mkdir(parents=True, exist_ok=True)
    with Disagreements(comparison.folder) as file:
        for row in answers:
            scored = found[row["row"], row["index"]]
            answer = Answer(
                row=row["row"],
                index=row["index"],
                text=row["answer"],
                finish_reason=row["finish_reason"],
                num_tokens=row["num_tokens"],
                verdict=row["verdict"],
                error=row["error"],
                extracted=row.get("extracted"),
                engine_score=scored.score,
                engine_note=scored.note,
            )
            comparison.add(answer)
            file.add(answer, row["problem"], row["solution"])
    part = comparison.folder / f".{COMPARISON_NAME}.part"
    text = json.dumps(plain_json(comparison.as_json()), indent=2, ensure_ascii=False)
    part.write_text(text + "\n", encoding="utf-8")
    part.replace(comparison.folder / COMPARISON_NAME)
