# SPDX-License-Identifier: Apache-2.0
"""kill -9 of all processes, then the same command: it ends where the uninterrupted training ended.

The newest checkpoint also loses what one of the two processes had saved, so that resuming has to pass it over.
Whole copies of the weights (DDP) and weights in parts (ZeRO-3) are resumed once each.
"""

import shutil

import pytest

from open_r1.manifest import missing_from
from tests.distributed.launching import NEEDS_DEEPSPEED, train
from tests.distributed.trainings import GRPO, GRPO_RECIPE, SFT, SFT_RECIPE, kill_and_resume, training_logs
from tests.integration.tiny import weights_of

pytestmark = pytest.mark.distributed
LOSS_TOLERANCE, WEIGHT_TOLERANCE = 1e-5, 1e-6  # relative and absolute; float noise is some 1e-7


def assert_same_end(resumed, uninterrupted, max_steps):
    assert f"Skipping {resumed.damaged}" in resumed.output
    logs, expected = training_logs(resumed.output_dir), training_logs(uninterrupted)
    assert [entry["step"] for entry in logs] == list(range(1, max_steps + 1))
    losses = [entry["loss"] for entry in logs]
    assert losses == pytest.approx([entry["loss"] for entry in expected], rel=LOSS_TOLERANCE, abs=1e-7)
    weights, target = weights_of(resumed.output_dir), weights_of(uninterrupted)
    assert max((weights[name] - tensor).abs().max().item() for name, tensor in target.items()) < WEIGHT_TOLERANCE
    assert missing_from(resumed.output_dir) is None


@NEEDS_DEEPSPEED
def test_sft_goes_on_to_the_same_end_under_zero3(recipes, run_sft):
    output_dir = recipes.folder / "sft-zero3-killed"
    resumed = kill_and_resume("zero3", SFT, recipes.sft, output_dir, kill_at=10, lost="rng_state_1.pth")
    assert f"Resuming from {output_dir / 'checkpoint-5'}" in resumed.output
    assert_same_end(resumed, run_sft("zero3"), SFT_RECIPE["max_steps"])


# The reference is in parts too under ZeRO-3.
def test_grpo_goes_on_to_the_same_end_amid_a_generation(config, recipes, run_grpo):
    output_dir = recipes.folder / f"grpo-{config}-killed"
    resumed = kill_and_resume(config, GRPO, recipes.grpo, output_dir, kill_at=6, lost="rollout_state_1.pt")
    assert f"Resuming from {output_dir / 'checkpoint-3'}" in resumed.output
    assert_same_end(resumed, run_grpo(config), GRPO_RECIPE["max_steps"])


def test_grpo_of_two_processes_goes_on_with_one_at_the_next_generation(recipes, run_grpo, tmp_path):
    output_dir = shutil.copytree(run_grpo("ddp"), tmp_path / "out", ignore=shutil.ignore_patterns("checkpoint-11"))
    words = ["--gradient_accumulation_steps", "4", "--steps_per_generation", "8"]
    ended = train("cpu", GRPO, recipes.grpo, output_dir, *words)
    assert f"Resuming from {output_dir / 'checkpoint-9'}" in ended.output
    assert "rollouts in use are dropped" in ended.output
    assert [entry["step"] for entry in training_logs(output_dir)] == list(range(1, GRPO_RECIPE["max_steps"] + 1))
    assert missing_from(output_dir) is None
