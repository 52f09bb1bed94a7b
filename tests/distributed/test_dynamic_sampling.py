# SPDX-License-Identifier: Apache-2.0
"""Dynamic sampling by two processes: groups lie across them, and are refilled wherever their rows are."""

from pathlib import Path

import pandas as pd
import pytest
import torch
import yaml
from transformers import AutoTokenizer

from tests.distributed.launching import train
from tests.distributed.trainings import GRPO, kill_and_resume, training_logs
from tests.integration.tiny import are_identical, log_history, weights_of

pytestmark = pytest.mark.distributed
# 3 rows x 4 steps per generation x 2 processes = 24 completions: the second of three groups spans both processes. Two
# optimizer steps share them, so that checkpoints of odd steps hold what is learned from.
NUM_ROWS, GROUP = 24, 8
SETTINGS = {
    "per_device_train_batch_size": 3,
    "num_generations": GROUP,
    "dynamic_sampling_rounds": 2,
    "loss_type": "grpo",
    "max_steps": 6,
    "save_steps": 1,
    "save_total_limit": None,
    "do_eval": False,
    "eval_strategy": "no",
    "eval_greedy": False,
}
REWARD = """
def of_even_sums(completions, solution, **columns):
    lengths = [len(completion[0]["content"]) for completion in completions]
    return [float(length * (1 - int(s) % 2)) for s, length in zip(solution, lengths)]
"""


@pytest.fixture(scope="module")
def recipe(recipes) -> Path:
    (recipes.folder / "of_even_sums.py").write_text(REWARD, encoding="utf-8")
    reward = f"{recipes.folder / 'of_even_sums.py'}:of_even_sums"
    settings = {**yaml.safe_load(recipes.grpo.read_text(encoding="utf-8")), **SETTINGS, "reward_funcs": [reward]}
    path = recipes.folder / "dynamic.yaml"
    path.write_text(yaml.safe_dump(settings), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def finished(recipe) -> Path:
    output_dir = recipe.with_suffix("")
    train("ddp", GRPO, recipe, output_dir)
    return output_dir


def rounds(output_dir: Path, step: int) -> list[pd.DataFrame]:
    return [pd.read_parquet(path) for path in sorted((output_dir / "rollouts").glob(f"train-{step:06d}-*.parquet"))]


def learned_from(output_dir: Path, step: int) -> list[dict[str, torch.Tensor]]:
    """Return the micro-batches, those of the first process first, that a checkpoint holds."""
    paths = [output_dir / f"checkpoint-{step}" / f"rollout_state_{rank}.pt" for rank in (0, 1)]
    return [batch for path in paths for batch in torch.load(path, weights_only=True)["buffered_inputs"]]


@pytest.mark.parametrize("step", [1, 3, 5])
def test_batch_holds_the_rows_of_informative_groups(finished, step):
    tokenizer = AutoTokenizer.from_pretrained(finished)
    drawn = rounds(finished, step)
    assert [len(rows) % GROUP for rows in drawn] == [0] * len(drawn)
    slots, expected = NUM_ROWS // GROUP, []
    for rows in drawn:
        groups = [group for _, group in rows.groupby(rows.index // GROUP) if group["of_even_sums"].nunique() > 1]
        expected += [row for group in groups[: slots - len(expected) // GROUP] for row in group.itertuples()]
    found, batches = [], learned_from(finished, step)
    for batch in batches:
        for row in range(3):
            if (is_token := batch["completion_mask"][row].bool()).any():
                prompt = batch["prompt_ids"][row][batch["prompt_mask"][row].bool()]
                text = tokenizer.decode(batch["completion_ids"][row][is_token], skip_special_tokens=True)
                found.append((tokenizer.decode(prompt), text, batch["advantages"][row].item()))
                lengths = [batch[name].shape[1] for name in ("ref_per_token_logps", "old_per_token_logps")]
                assert lengths == [batch["completion_ids"].shape[1]] * 2
                assert (batch["ref_per_token_logps"][row][is_token] < 0).all()
    rendered = [
        tokenizer.apply_chat_template(list(row.prompt), add_generation_prompt=True, tokenize=False) for row in expected
    ]
    wanted = [
        (prompt, row.completion, pytest.approx(row.advantage, abs=1e-5))
        for prompt, row in zip(rendered, expected, strict=True)
    ]
    assert len(found) == len(wanted)
    assert all(row in wanted for row in found)
    num_tokens = sum(batch["completion_mask"].sum() for batch in batches)
    assert all(batch["num_items_in_batch"] == num_tokens for batch in batches)
    if len(drawn) > 1:
        scales = [batch["loss_scale"].item() for batch in batches]
        assert scales == pytest.approx([NUM_ROWS / len(expected)] * len(batches))


def test_processes_agree_on_rounds(finished):
    for entry in training_logs(finished)[::2]:
        num_rounds = entry["dynamic_sampling/rounds"]
        assert num_rounds == len(rounds(finished, entry["step"])) - 1
    assert {entry.get("dynamic_sampling/rounds", 0) for entry in log_history(finished)} > {0}


def test_run_that_was_killed_ends_like_an_uninterrupted_one(recipe, finished):
    output_dir = recipe.parent / f"{recipe.stem}-killed"
    resumed = kill_and_resume("ddp", GRPO, recipe, output_dir, kill_at=4, lost="rollout_state_1.pt")
    assert f"Resuming from {output_dir / 'checkpoint-3'}" in resumed.output
    assert are_identical(weights_of(output_dir), weights_of(finished))
    for step in (1, 3, 5):
        pd.testing.assert_frame_equal(pd.concat(rounds(output_dir, step)), pd.concat(rounds(finished, step)))
