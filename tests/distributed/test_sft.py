# SPDX-License-Identifier: Apache-2.0
"""SFT by two processes under DDP, ZeRO-2 and ZeRO-3 is the same training as by one process with the same batches."""

import json

import pytest

from open_r1.utils.checkpoints import missing_from
from tests.distributed.trainings import NUM_TEST_ROWS, SFT_RECIPE, training_logs
from tests.integration.tiny import weights_of

pytestmark = pytest.mark.distributed


def test_every_step_equals_that_of_one_process(sft, sft_alone):
    logs, expected = training_logs(sft), training_logs(sft_alone)
    assert [entry["step"] for entry in logs] == list(range(1, SFT_RECIPE["max_steps"] + 1))
    for name in ("loss", "grad_norm", "learning_rate", "num_tokens"):
        values = [entry[name] for entry in logs]
        assert values == pytest.approx([entry[name] for entry in expected], rel=1e-4, abs=0), name
    assert expected[-1]["loss"] < 0.9 * expected[0]["loss"], "nothing was learned, so equality says little"


def test_weights_equal_those_of_one_process(sft, sft_alone):
    weights, expected = weights_of(sft), weights_of(sft_alone)
    assert set(expected) <= set(weights)
    assert max((weights[name] - tensor).abs().max().item() for name, tensor in expected.items()) < 1e-5


def test_evaluation_equals_that_of_one_process(sft, sft_alone):
    metrics, expected = ({**json.loads((run / "all_results.json").read_text())} for run in (sft, sft_alone))
    assert metrics["eval_num_problems"] == NUM_TEST_ROWS
    key = "eval_soft_overlong_punishment_reward/greedy"
    assert metrics[key] == pytest.approx(expected[key], abs=1e-6)


def test_checkpoint_is_complete_with_the_files_of_both_processes(sft):
    checkpoint = sft / f"checkpoint-{SFT_RECIPE['max_steps']}"
    assert missing_from(checkpoint) is None
    names = json.loads((checkpoint / "manifest.json").read_text())["files"]
    assert {"rng_state_0.pth", "rng_state_1.pth"} <= set(names)
    assert missing_from(sft) is None
