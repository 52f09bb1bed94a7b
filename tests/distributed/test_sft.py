# SPDX-License-Identifier: Apache-2.0
"""SFT by two processes under DDP and ZeRO-3 is the same training as by one process with the same batches."""

import json

import pandas as pd
import pytest

from open_r1.manifest import missing_from
from tests.distributed.trainings import NUM_BENCHMARK_ROWS, SFT_RECIPE, training_logs
from tests.integration.tiny import weights_of

pytestmark = pytest.mark.distributed


def test_every_step_equals_that_of_one_process(sft, sft_alone):
    logs, expected = training_logs(sft), training_logs(sft_alone)
    assert [entry["step"] for entry in logs] == list(range(1, SFT_RECIPE["max_steps"] + 1))
    for name, tolerance in (("loss", 1e-4), ("grad_norm", 1e-3), ("learning_rate", 1e-9), ("num_tokens", 0)):
        values = [entry[name] for entry in logs]
        assert values == pytest.approx([entry[name] for entry in expected], rel=tolerance, abs=0), name
    assert expected[-1]["loss"] < 0.9 * expected[0]["loss"], "nothing was learned, so equality says little"


def test_weights_equal_those_of_one_process(sft, sft_alone):
    weights, expected = weights_of(sft), weights_of(sft_alone)
    assert set(expected) <= set(weights)
    assert max((weights[name] - tensor).abs().max().item() for name, tensor in expected.items()) < 1e-5


def benchmark_answers(output_dir, step):
    """Return what the policy answered to each problem of the benchmark at an evaluation."""
    rows = pd.read_parquet(output_dir / "eval_benchmarks" / "more" / f"step-{step:06d}.parquet")
    return [(row.row, row.index_, row.answer) for row in rows.rename(columns={"index": "index_"}).itertuples()]


def test_benchmarks_are_answered_as_by_one_process_each_problem_once(sft, sft_alone):
    for step in (7, 14, 20):
        answers = benchmark_answers(sft, step)
        assert [(row, index) for row, index, _ in answers] == [
            (row, index) for row in range(NUM_BENCHMARK_ROWS) for index in range(2)
        ]
        assert answers == benchmark_answers(sft_alone, step)
    assert len({text for _, _, text in answers}) > 1, "the same answer to everything, so equality says little"
    results = [json.loads((folder / "eval_results.json").read_text()) for folder in (sft, sft_alone)]
    figures = [{name: value for name, value in entry.items() if name.startswith("eval_more/")} for entry in results]
    assert figures[0] == figures[1] and "eval_more/avg@2" in figures[0]


def test_checkpoint_is_complete_with_the_files_of_both_processes(sft):
    checkpoint = sft / f"checkpoint-{SFT_RECIPE['max_steps']}"
    assert missing_from(checkpoint) is None
    names = json.loads((checkpoint / "manifest.json").read_text())["files"]
    assert {"rng_state_0.pth", "rng_state_1.pth"} <= set(names)
    assert missing_from(sft) is None
