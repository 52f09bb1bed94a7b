# SPDX-License-Identifier: Apache-2.0
"""Write a finished run of run_benchmarks.py as a log of inspect-ai, to look at its answers one by one.

    python scripts/export_inspect_log.py eval_results/grpo/main/sums
    inspect view --log-dir eval_results/grpo/main/sums

It needs the extra `eval`, and asks no model. A sample is a row, an epoch one of its answers, with the run's score. Of
a conversation the last message is shown.
"""

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow.parquet as pq

from open_r1.evaluation.judgement import score_of
from open_r1.evaluation.results import ANSWERS_NAME, check_answers, read_results

if TYPE_CHECKING:
    from inspect_ai.log import EvalSample

SCORER = "judged"  # as of `open_r1.evaluation.inspect_scoring`


def export(folder: Path) -> Path:
    """Write `<benchmark>.eval` into the folder of a run, and return its path.

    Raises:
        ValueError: The folder has no finished run, or answers of another one.
    """
    from inspect_ai import log as logs

    results = read_results(folder)
    if results is None:
        raise ValueError(f"{folder} has no results.json of run_benchmarks.py.")
    check_answers(folder, results)
    settings, name = results["settings"], results["benchmark"]
    samples = [_sample_of(row, settings["model"]) for row in pq.read_table(folder / ANSWERS_NAME).to_pylist()]
    metrics = {key: logs.EvalMetric(name=key, value=value) for key, value in results["metrics"].items()}
    log = logs.EvalLog(
        status="success",
        eval=logs.EvalSpec(
            created=results["date"],
            task=name,
            dataset=logs.EvalDataset(name=name, location=settings["dataset"], samples=results["counts"]["problems"]),
            model=settings["model"],
            config=logs.EvalConfig(epochs=settings["num_samples"]),
            metadata={"settings": settings, "counts": results["counts"]},
        ),
        results=logs.EvalResults(
            total_samples=len(samples),
            completed_samples=len(samples),
            scores=[logs.EvalScore(name=SCORER, scorer=SCORER, metrics=metrics)],
        ),
        samples=samples,
    )
    path = folder / f"{name}.eval"
    logs.write_eval_log(log, str(path), format="eval")
    return path


def _sample_of(row: dict[str, Any], model: str) -> "EvalSample":
    from inspect_ai.log import EvalSample
    from inspect_ai.model import ModelOutput, StopReason
    from inspect_ai.scorer import Score

    reasons: dict[str, StopReason] = {"stop": "stop", "length": "max_tokens"}
    reason = reasons.get(row["finish_reason"], "unknown")
    score = Score(value=score_of(row["verdict"]), answer=row["extracted"], metadata={"verdict": row["verdict"]})
    return EvalSample(
        id=row["row"],
        epoch=row["index"] + 1,
        input=row["problem"],
        target=row["solution"],
        output=ModelOutput.from_content(model, row["answer"] or "", reason, row["error"]),
        scores={SCORER: score},
    )


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, metavar="RUN", help="folder with results.json and answers.parquet")
    return parser


def main(argv: list[str] | None = None) -> int:
    """Write the log; a refusal is one message and exit code 1."""
    try:
        print(export(build_parser().parse_args(argv).folder))
    except (ValueError, OSError) as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
