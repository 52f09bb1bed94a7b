# SPDX-License-Identifier: Apache-2.0
"""The trainings of these tests: recipes and data for the tiny model, and what happens to a run."""

import json
import random
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from tests.distributed.launching import train
from tests.integration.tiny import build_tiny, write_rows

SFT, GRPO = "src/open_r1/sft.py", "src/open_r1/grpo.py"
RECORD, HELD = "tests/distributed/record_parameters.py", "tests/distributed/held_training.py"
NUM_TEST_ROWS = 7  # odd: two processes have to fill up the last batch
NUM_BENCHMARK_ROWS = 5

# Two processes take 2 rows x 2 accumulation steps each, one process takes the same 8 rows at once.
COMMON = {
    "seed": 7, "bf16": False, "gradient_checkpointing": False, "report_to": "none", "disable_tqdm": True,
    "per_device_train_batch_size": 2, "gradient_accumulation_steps": 2, "logging_steps": 1, "save_total_limit": 2,
    "learning_rate": 1e-3, "lr_scheduler_type": "cosine", "max_grad_norm": 1.0,
    "do_eval": True, "eval_strategy": "steps", "eval_steps": 7, "per_device_eval_batch_size": 4,
}  # fmt: skip
SFT_RECIPE = {
    **COMMON, "learning_rate": 2e-2, "max_length": 128, "max_steps": 20, "save_steps": 5, "warmup_steps": 3,
    "eval_benchmarks_num_samples": 2, "eval_benchmarks_max_tokens": 16, "eval_benchmarks_temperature": 1.0,
    "eval_benchmarks_template": "{prompt}", "eval_benchmarks_log_answers": True,
}  # fmt: skip
# 2 rows x 4 steps per generation x 2 processes = 16 completions: a group spans both processes, serves two optimizer
# steps, and is in use when a checkpoint is saved after an odd step. Lengths differ, so rewards do.
GRPO_RECIPE = {
    **COMMON,
    "dataset_prompt_column": "problem",
    "eval_greedy": True,
    "reward_funcs": ["accuracy", "soft_overlong_punishment"],
    "max_completion_length": 48,
    "max_completion_len": 48,
    "soft_punish_cache": 48,
    "num_generations": 16,
    "steps_per_generation": 4,
    "max_steps": 11,
    "save_steps": 3,
    "beta": 0.04,
    "use_bias_correction_kl": False,
    "log_completions": True,
    "num_generations_eval": 2,
}


@dataclass(frozen=True)
class Recipes:
    """Recipes for the tiny model, and the folder in which runs put their results."""

    folder: Path
    sft: Path
    grpo: Path


@dataclass(frozen=True)
class Resumed:
    """A training that was killed, lost one process's file of its newest checkpoint, and was started again."""

    output_dir: Path
    damaged: Path
    output: str


def write_recipes(folder: Path) -> Recipes:
    """Saves the tiny model, the data and the recipes below a folder."""
    tiny = build_tiny(folder)
    source = random.Random(0)
    for split, size in (("train", 64), ("test", NUM_TEST_ROWS)):
        write_rows(folder / "sums" / f"{split}.jsonl", [row_of_sum(source) for _ in range(size)])
    sums = write_rows(folder / "more.jsonl", [row_of_sum(source) for _ in range(NUM_BENCHMARK_ROWS)])
    own: dict[str, dict[str, Any]] = {"sft": {"eval_benchmarks": [str(sums)]}, "grpo": {}}
    paths = {}
    for name, recipe in (("sft", SFT_RECIPE), ("grpo", GRPO_RECIPE)):
        paths[name] = folder / f"{name}.yaml"
        settings = {"model_name_or_path": str(tiny.model), "dataset_name": str(folder / "sums"), **recipe, **own[name]}
        paths[name].write_text(yaml.safe_dump(settings), encoding="utf-8")
    return Recipes(folder, **paths)


def row_of_sum(source: random.Random) -> dict[str, Any]:
    """Return a sum of 2 to 9 digits: rows differ much in tokens, so a mean over tokens is no mean over processes."""
    digits = [source.randint(0, 9) for _ in range(source.randint(2, 9))]
    problem, steps, total = "+".join(map(str, digits)), "", 0
    for digit in digits:
        total += digit
        steps += f"{total}\n"
    answer = f"<think>\n{steps}</think>\n<answer>\n\\boxed{{{total}}}\n</answer>"
    messages = [{"role": "user", "content": problem}, {"role": "assistant", "content": answer}]
    return {"problem": problem, "solution": str(total), "messages": messages}


def kill_and_resume(config: str, script: str, recipe: Path, output_dir: Path, kill_at: int, lost: str) -> Resumed:
    """Kills a training once `checkpoint-<kill_at>` is complete, deletes a file from it, and runs the command again.

    The next step never begins, so that no later checkpoint is there, however late the kill comes.
    """
    damaged = output_dir / f"checkpoint-{kill_at}"
    command = (config, HELD, recipe, output_dir, "--callbacks", "hold")
    env = {"HELD_SCRIPT": Path(script).stem}
    train(*command, kill_when=(damaged / "manifest.json").exists, env=env | {"HELD_BEFORE": str(kill_at + 1)})
    assert not (output_dir / "manifest.json").exists(), "the training was over before it could be killed"
    (found,) = damaged.rglob(lost)
    found.unlink()
    ended = train(*command, env=env)
    return Resumed(output_dir, damaged, ended.output)


def training_logs(output_dir: Path) -> list[dict[str, Any]]:
    """Return what was logged at each optimizer step."""
    state = json.loads((output_dir / "trainer_state.json").read_text(encoding="utf-8"))
    return [entry for entry in state["log_history"] if "loss" in entry]
