# SPDX-License-Identifier: Apache-2.0
"""What a run reports and records: experiment trackers (off unless named) and the run manifest."""

import dataclasses
import json
import logging
import os
import platform
import time
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from open_r1.configs import GRPOConfig, RewardParameters, SFTConfig
from open_r1.dataio.card import source_commit
from open_r1.dataio.secret_names import is_secret_name

logger = logging.getLogger(__name__)

RUN_MANIFEST_NAME = "run_manifest.json"
_PACKAGES = ("torch", "transformers", "trl", "accelerate", "datasets", "peft", "math-verify", "deepspeed", "vllm")
# Settings that change what is learned: going on from a checkpoint with other values deserves a warning.
_LEARNING_KEYS = (
    "model_name_or_path", "model_revision", "dtype", "bf16", "fp16", "attn_implementation", "chat_template",
    "system_prompt", "eos_token", "use_peft", "lora_r", "lora_alpha", "lora_dropout", "lora_target_modules",
    "load_in_4bit", "load_in_8bit",
    "dataset_name", "dataset_config", "dataset_revision", "dataset_mixture", "dataset_layout", "dataset_seed",
    "dataset_train_split",
    "dataset_prompt_column", "dataset_solution_column", "max_prompt_length",
    "learning_rate", "lr_scheduler_type", "lr_scheduler_kwargs", "warmup_steps", "optim", "weight_decay", "adam_beta1",
    "adam_beta2", "max_grad_norm", "per_device_train_batch_size", "gradient_accumulation_steps", "num_train_epochs",
    "max_steps", "seed", "data_seed", "world_size",
    "max_length", "packing", "assistant_only_loss", "completion_only_loss", "neftune_noise_alpha",
    "num_generations", "max_completion_length", "temperature", "top_p", "top_k", "min_p", "beta", "loss_type",
    "scale_rewards", "num_iterations", "steps_per_generation", "epsilon", "epsilon_high", "delta",
    "importance_sampling_level", "mask_truncated_completions", "reward_funcs", "reward_weights",
    *(entry.name for entry in dataclasses.fields(RewardParameters)),
)  # fmt: skip


def init_wandb_training(training_args: SFTConfig | GRPOConfig) -> None:
    """Hand the W&B fields of the recipe to the library, which reads them from the environment."""
    for name in ("entity", "project", "run_group"):
        value = {"entity": training_args.wandb_entity, "project": training_args.wandb_project,
                 "run_group": training_args.wandb_run_group}[name]  # fmt: skip
        if value is not None:
            os.environ[f"WANDB_{name.upper()}"] = value


def describe_run(script_args: Any, training_args: SFTConfig | GRPOConfig, model_args: Any) -> dict[str, Any]:
    """Return what is needed to repeat a run: every setting, versions, commit and machine."""
    settings = {**_plain(dataclasses.asdict(script_args)), **_plain(training_args.to_dict()),
                **_plain(dataclasses.asdict(model_args)), "world_size": training_args.world_size}  # fmt: skip
    return {
        "started": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
        "settings": settings,
        "versions": {name: found for name in _PACKAGES if (found := _version(name)) is not None},
        "python": platform.python_version(),
        "commit": source_commit(),
    }


def write_run_manifest(output_dir: Path, run: dict[str, Any]) -> None:
    """Append a run to `run_manifest.json`; warn when it goes on with settings that change what is learned."""
    path = output_dir / RUN_MANIFEST_NAME
    runs: list[dict[str, Any]] = []
    before: dict[str, Any] = {}
    if path.is_file():
        try:
            runs = list(json.loads(path.read_text(encoding="utf-8"))["runs"])
            before = dict(runs[-1]["settings"]) if runs else {}
        except (ValueError, KeyError, TypeError):
            runs = []
            logger.warning("%s is damaged and is written anew.", path)
    if runs:
        now = run["settings"]
        changed = [f"{key}: {before.get(key)!r} -> {now.get(key)!r}" for key in _LEARNING_KEYS
                   if before.get(key) != now.get(key)]  # fmt: skip
        if changed:
            logger.warning(
                "Settings differ from the last run in %s (a checkpoint keeps its optimizer, learning rate and "
                "schedule):\n  %s",
                output_dir,
                "\n  ".join(changed),
            )
    output_dir.mkdir(parents=True, exist_ok=True)
    temporary = path.with_suffix(".tmp")
    temporary.write_text(json.dumps({"runs": [*runs, run]}, indent=1, ensure_ascii=False), encoding="utf-8")
    temporary.replace(path)


def _plain(value: Any) -> Any:
    """Make a value fit for JSON; secrets are left out."""
    if isinstance(value, dict):
        return {str(key): _plain(entry) for key, entry in value.items() if not is_secret_name(str(key))}
    if isinstance(value, (list, tuple, set)):
        return [_plain(entry) for entry in value]
    return value if isinstance(value, (str, int, float, bool, type(None))) else str(value)


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None
