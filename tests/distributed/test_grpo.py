# SPDX-License-Identifier: Apache-2.0
"""GRPO by two processes under DDP, ZeRO-2 and ZeRO-3: one policy, and groups whose completions two processes made."""

import json

import pandas as pd
import pytest
import torch

from tests.distributed.launching import NEEDS_DEEPSPEED, train
from tests.distributed.trainings import GRPO_RECIPE, NUM_TEST_ROWS, RECORD

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


OWN = """
import torch
from trl.trainer.utils import nanstd
from open_r1.training.losses import importance_ratios

def clipped(log_probs, old, ref, advantages, mask, settings):
    ratios, advantages = importance_ratios(log_probs, old, mask, settings), advantages[:, None]
    return -torch.min(ratios * advantages, ratios.clamp(1 - settings.epsilon, 1 + settings.epsilon) * advantages)

def scaled(rewards, settings):
    return (rewards - rewards.nanmean(1, keepdim=True)) / (nanstd(rewards, dim=1)[:, None] + 1e-4)
"""


def test_own_loss_and_advantage_equal_those_of_trl(recipes, run_grpo):
    own = recipes.folder / "own.py"
    own.write_text(OWN, encoding="utf-8")
    functions = ["--loss", f"{own}:clipped", "--advantage", f"{own}:scaled"]
    run, expected = recipes.folder / "grpo-own", run_grpo("ddp")
    train("ddp", RECORD, recipes.grpo, run, "--callbacks", "record_parameters", *functions)
    for step in STEPS:
        found, parameters = (recorded(folder, step, 0)["parameters"] for folder in (run, expected))
        assert max((found[name] - parameters[name]).abs().max().item() for name in parameters) < 1e-5, step
    for path in (expected / "rollouts").glob("*.parquet"):
        rows = pd.read_parquet(path), pd.read_parquet(run / "rollouts" / path.name)
        assert rows[1]["advantage"].tolist() == pytest.approx(rows[0]["advantage"].tolist(), abs=1e-5)


def test_evaluation_counts_each_problem_once(grpo):
    metrics = json.loads((grpo / "all_results.json").read_text())
    assert metrics["eval_num_problems"] == NUM_TEST_ROWS
