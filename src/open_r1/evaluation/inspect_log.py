# SPDX-License-Identifier: Apache-2.0
"""Finished runs as logs of inspect-ai, to look at answers one by one in its viewer.

python scripts/export_inspect_log.py eval_results/grpo/main/sums    # then `inspect view --log-dir` of it
"""

import math
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
from inspect_ai import log
from inspect_ai.model import ModelOutput, StopReason
from inspect_ai.scorer import Score

from open_r1.evaluation.run import ANSWERS_NAME, read_results

SCORER = "judged"


def export(folder: Path) -> Path:
    """Write `<benchmark>.eval` into the folder of a finished run, and return its path; asks no model.

    A sample is a row, an epoch one of its answers, with the run's score. A conversation is shown as JSON.

    Raises:
        ValueError: The folder has no finished run, or answers of another one.
    """
    results = read_results(folder)
    if results is None:
        raise ValueError(f"{folder} has no results.json of run_benchmarks.py, or not its answers.")
    settings, name = results["settings"], results["benchmark"]
    samples = [_sample_of(row, settings["model"]) for row in pq.read_table(folder / ANSWERS_NAME).to_pylist()]
    metrics = {key: log.EvalMetric(name=key, value=value) for key, value in results["metrics"].items()}
    written = log.EvalLog(
        status="success",
        eval=log.EvalSpec(
            created=results["date"],
            task=name,
            dataset=log.EvalDataset(name=name, location=settings["dataset"], samples=results["counts"]["problems"]),
            model=settings["model"],
            config=log.EvalConfig(epochs=settings["num_samples"]),
            metadata={"settings": settings, "counts": results["counts"]},
        ),
        results=log.EvalResults(
            total_samples=len(samples),
            completed_samples=len(samples),
            scores=[log.EvalScore(name=SCORER, scorer=SCORER, metrics=metrics)],
        ),
        samples=samples,
    )
    path = folder / f"{name}.eval"
    log.write_eval_log(written, str(path), format="eval")
    return path


def _sample_of(row: dict[str, Any], model: str) -> log.EvalSample:
    reasons: dict[str, StopReason] = {"stop": "stop", "length": "max_tokens"}
    reason = reasons.get(row["finish_reason"], "unknown")
    score = math.nan if row["score"] is None else row["score"]
    return log.EvalSample(
        id=row["row"],
        epoch=row["index"] + 1,
        input=row["problem"],
        target=row["solution"],
        output=ModelOutput.from_content(model, row["answer"] or "", reason, row["error"]),
        scores={SCORER: Score(value=score, answer=row["extracted"], metadata={"verdict": row["verdict"]})},
    )
