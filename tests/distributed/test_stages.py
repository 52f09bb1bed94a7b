# SPDX-License-Identifier: Apache-2.0
"""A curriculum over two processes: they change together by what both have measured, and resume after kill -9."""

from pathlib import Path

import pandas as pd
import pytest
import yaml

from tests.distributed.launching import train
from tests.distributed.trainings import GRPO, GRPO_RECIPE, kill_and_resume, training_logs
from tests.integration.tiny import weights_of, write_rows

pytestmark = pytest.mark.distributed
# A generation serves two optimizer steps. The second stage ends by the completions that are cut off, which are not as
# many on one process as on the other.
STAGES = [
    {"max_completion_length": 24, "until": {"steps": 2}},
    {"max_completion_length": 32, "num_generations": 8, "until": {"truncated_above": 0.1, "window": 2}},
    {"num_generations": 4},
]
STAGE_OF_STEP = [1, 1, 2, 2, 2, 2, 3, 3]


@pytest.fixture(scope="module")
def recipe(recipes) -> Path:
    changes = {"beta": 0.0, "do_eval": False, "eval_strategy": "no", "max_steps": 8}
    data = {"model_name_or_path": str(recipes.folder / "model"), "dataset_name": str(recipes.folder / "sums")}
    rows = [{"problem": f"90+{number}", "solution": str(90 + number)} for number in range(16)]
    harder = write_rows(recipes.folder / "harder" / "train.jsonl", rows)
    stages = [STAGES[0], {**STAGES[1], "dataset_name": str(harder.parent)}, STAGES[2]]
    path = recipes.folder / "stages.yaml"
    path.write_text(yaml.safe_dump({**GRPO_RECIPE, **data, **changes, "stages": stages}), encoding="utf-8")
    return path


def test_processes_change_stages_together_and_resume_within_one(recipes, recipe):
    unbroken = recipes.folder / "stages"
    train("ddp", GRPO, recipe, unbroken)
    assert [entry["stage"] for entry in training_logs(unbroken)] == STAGE_OF_STEP
    rows = pd.concat([pd.read_parquet(path) for path in sorted((unbroken / "rollouts").glob("*.parquet"))])
    batches = [batch["prompt"].astype(str).to_list() for _, batch in rows.groupby("step", sort=True)]
    for group, batch in zip([16, 8, 8, 4], batches, strict=True):
        assert batch == [prompt for prompt in batch[::group] for _ in range(group)]
        assert len(set(batch)) == 16 // group
        assert all(("90+" in prompt) == (group < 16) for prompt in batch)

    resumed = kill_and_resume("ddp", GRPO, recipe, recipes.folder / "killed", kill_at=6, lost="rollout_state_1.pt")

    assert "Resuming from" in resumed.output and "checkpoint-3" in resumed.output
    assert [entry["stage"] for entry in training_logs(resumed.output_dir)] == STAGE_OF_STEP
    weights, target = weights_of(resumed.output_dir), weights_of(unbroken)
    assert max((weights[name] - tensor).abs().max().item() for name, tensor in target.items()) < 1e-6
