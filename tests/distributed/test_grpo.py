# SPDX-License-Identifier: Apache-2.0
"""GRPO by two processes under DDP, ZeRO-2 and ZeRO-3: one policy, and groups whose completions two processes made."""

import json

import pandas as pd
import pytest
import torch

from tests.distributed.launching import NEEDS_DEEPSPEED
from tests.distributed.trainings import GRPO_RECIPE, NUM_TEST_ROWS

pytestmark = pytest.mark.distributed
STEPS = range(1, GRPO_RECIPE["max_steps"] + 1)


@pytest.fixture
def grpo(config, run_grpo):
    return run_grpo(config)


def recorded(output_dir, step, rank):
    return torch.load(output_dir / "parameters" / f"{step}-{rank}.pt", weights_only=True)


def test_parameters_are_identical_on_both_processes_after_every_step(grpo):
    hashes = [[recorded(grpo, step, rank)["hash"] for rank in (0, 1)] for step in STEPS]
    assert [first for first, _ in hashes] == [second for _, second in hashes]
    assert len({first for first, _ in hashes}) == len(STEPS), "a step changed nothing"


@NEEDS_DEEPSPEED
@pytest.mark.parametrize("zero", ["zero2", "zero3"])
def test_zero_equals_ddp_after_every_step(zero, run_grpo):
    # Under ZeRO-3 each process holds a part, so that equal copies prove little: the values have to be right too.
    runs = run_grpo(zero), run_grpo("ddp")
    for step in STEPS:
        parameters, expected = (recorded(run, step, 0)["parameters"] for run in runs)
        assert parameters.keys() == expected.keys()
        assert max((parameters[name] - expected[name]).abs().max().item() for name in expected) < 1e-5, step


def test_advantages_are_relative_to_a_group_that_spans_both_processes(grpo):
    files = sorted((grpo / "rollouts").glob("train-*.parquet"))
    assert len(files) == (len(STEPS) + 1) // 2
    for path in files:
        rows = pd.read_parquet(path)
        assert len(rows) == GRPO_RECIPE["num_generations"]
        assert rows["solution"].nunique() == 1
        rewards = rows["accuracy_reward"] + rows["soft_overlong_punishment_reward"]
        expected = (rewards - rewards.mean()) / (rewards.std() + 1e-4)
        assert rewards.std() > 0.05
        assert rows["advantage"].tolist() == pytest.approx(expected.tolist(), abs=1e-4)
        # Each process sampled by itself: the halves are not copies of each other.
        half = len(rows) // 2
        assert rows["completion"][:half].tolist() != rows["completion"][half:].tolist()


def test_evaluation_counts_each_problem_once(grpo):
    metrics = json.loads((grpo / "all_results.json").read_text())
    assert metrics["eval_num_problems"] == NUM_TEST_ROWS
