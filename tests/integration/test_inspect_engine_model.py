# SPDX-License-Identifier: Apache-2.0
"""A whole evaluation offline: a real model of our own by transformers, asked and scored by inspect-ai."""

import json

import pyarrow.parquet as pq
import pytest
from inspect_ai.log import read_eval_log

from scripts.run_benchmarks import main
from tests.integration.benchmark_runs import write_rows
from tests.integration.tiny import build_tiny

NUM_PROBLEMS, NUM_SAMPLES = 3, 2


@pytest.fixture(scope="module")
def evaluated(tmp_path_factory):
    """Return the folder of one run by each engine."""
    folder = tmp_path_factory.mktemp("evaluated")
    model = build_tiny(folder).model
    write_rows(
        folder / "sums.jsonl",
        [{"problem": f"{number}+1", "solution": str(number + 1)} for number in range(NUM_PROBLEMS)],
    )
    for engine in ("inspect", "direct"):
        status = main([
            "--model_id", str(model), "--backend", "transformers", "--engine", engine, "--data",
            str(folder / "sums.jsonl"), "--output_dir", str(folder / "out"), "--num_samples", str(NUM_SAMPLES),
            "--max_tokens", "12", "--prompt_template", "{prompt}", "--temperature", "1",
        ])  # fmt: skip
        assert status == 0
    return folder / "out" / "model" / "main"


def answers_of(folder):
    return pq.read_table(folder / "answers.parquet").to_pylist()


def test_every_answer_is_in_the_log_and_in_the_results(evaluated):
    log = read_eval_log(str(next((evaluated / "sums-inspect" / "inspect").glob("*.eval"))))
    assert log.status == "success"
    logged = {(sample.id, sample.epoch - 1): sample.output.completion for sample in log.samples}
    answers = answers_of(evaluated / "sums-inspect")
    assert len(answers) == len(logged) == NUM_PROBLEMS * NUM_SAMPLES
    assert all(logged[row["row"], row["index"]] in row["answer"] for row in answers)  # reasoning stands apart
    assert all(0 < row["num_tokens"] <= 12 for row in answers)


def test_answers_to_one_problem_differ_and_are_those_of_the_direct_engine(evaluated):
    texts = {name: [row["answer"] for row in answers_of(evaluated / name)] for name in ("sums", "sums-inspect")}
    assert texts["sums-inspect"] == texts["sums"]
    assert len(set(texts["sums-inspect"])) == NUM_PROBLEMS * NUM_SAMPLES


def test_metrics_are_the_same_by_both_engines_and_inspects_scorer(evaluated):
    results = {name: json.loads((evaluated / name / "results.json").read_text()) for name in ("sums", "sums-inspect")}
    ours, direct = results["sums-inspect"], results["sums"]
    assert ours["metrics"] == direct["metrics"]
    assert ours["engine_metrics"]["avg@2"] == ours["metrics"]["avg@2"]
    assert ours["settings"]["model_fingerprint"] == direct["settings"]["model_fingerprint"]
