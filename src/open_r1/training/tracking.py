# SPDX-License-Identifier: Apache-2.0
"""Experiment trackers (off unless named) and the manifest of a run."""

import dataclasses
import json
import logging
import os
import platform
import sys
import time
import uuid
from pathlib import Path
from typing import Any

import torch

from open_r1.cluster.submission import OWN_TRACKING_VARIABLE
from open_r1.configs.training import TrainingConfig
from open_r1.manifest import RUN_MANIFEST_NAME, source_commit, versions_of, write_whole
from open_r1.secret_names import command_line, hide_secrets, is_secret_name

logger = logging.getLogger(__name__)

_PACKAGES = ("torch", "transformers", "trl", "accelerate", "datasets", "peft", "math-verify", "deepspeed", "vllm")
# Settings that change nothing of what is learned.
_OF_A_LAUNCH = ("resume_from_checkpoint", "local_rank", "ddp_timeout", "report", "run_name")


def init_wandb_training(training_args: TrainingConfig) -> None:
    """Hand the W&B fields of the recipe to the library, which reads them from the environment."""
    given = {
        "WANDB_ENTITY": training_args.wandb_entity,
        "WANDB_PROJECT": training_args.wandb_project,
        "WANDB_RUN_GROUP": training_args.wandb_run_group,
    }
    os.environ.update({name: value for name, value in given.items() if value is not None})


def continue_tracking(training_args: TrainingConfig, *, is_fresh_start: bool) -> str:
    """Make trackers continue the run of this folder, and return the id under which they know it.

    W&B tells runs apart by their id, which an environment variable gives unless the user has set it; trackio by their
    name, that of the recipe or one with that id. A fresh start in a used folder gets another id.

    Args:
        training_args: `run_name` is set for trackio.
        is_fresh_start: The run leaves what the folder holds.
    """
    runs = _read_runs(Path(training_args.output_dir))
    earlier = [str(run["tracking_id"]) for run in runs if run.get("tracking_id")]
    tracking_id = uuid.uuid4().hex[:12] if is_fresh_start or not earlier else earlier[-1]
    if "wandb" in training_args.report_to:
        # What an earlier training of this process has set is not the user's choice.
        if "WANDB_RUN_ID" not in os.environ or os.environ["WANDB_RUN_ID"] == os.environ.get(OWN_TRACKING_VARIABLE):
            os.environ["WANDB_RUN_ID"] = os.environ[OWN_TRACKING_VARIABLE] = tracking_id
        os.environ.setdefault("WANDB_RESUME", "allow")
    if "trackio" in training_args.report_to:
        folder = Path(training_args.output_dir).absolute().name
        training_args.run_name = training_args.run_name or f"{folder}-{tracking_id}"
    return tracking_id


def has_begun(output_dir: Path) -> bool:
    """Say whether an earlier attempt of this Slurm job, which was requeued since, has trained in this folder."""
    if os.environ.get("SLURM_RESTART_COUNT", "0") == "0":
        return False
    return any(run.get("slurm_job") == os.environ["SLURM_JOB_ID"] for run in _read_runs(output_dir))


def recorded_starts(output_dir: Path) -> list[str | None]:
    """Return the checkpoint from which each run in a folder resumed, oldest first; None: it began without one."""
    return [run["started_from"] for run in _read_runs(output_dir) if "started_from" in run]


def describe_run(script_args: Any, training_args: TrainingConfig, model_args: Any) -> dict[str, Any]:
    """Return what is needed to repeat a run: every setting, versions, commit and machine."""
    settings = {
        **_plain(dataclasses.asdict(script_args)),
        **_plain(training_args.to_dict()),
        **_plain(dataclasses.asdict(model_args)),
        "world_size": training_args.world_size,
    }
    return {
        "started": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
        "command": command_line(sys.argv),
        "hardware": f"{training_args.world_size} x {_device_name()}",
        "settings": settings,
        "versions": versions_of(_PACKAGES),
        "python": platform.python_version(),
        "commit": source_commit(),
        "slurm_job": os.environ.get("SLURM_JOB_ID"),
    }


def _device_name() -> str:
    return torch.cuda.get_device_name() if torch.cuda.is_available() else f"CPU ({platform.machine()})"


def write_run_manifest(output_dir: Path, run: dict[str, Any]) -> None:
    """Append a run to `run_manifest.json`; warn when it resumes with other settings that change what is learned."""
    path = output_dir / RUN_MANIFEST_NAME
    runs = _read_runs(output_dir)
    if runs:
        before, now = runs[-1]["settings"], run["settings"]
        changed = [
            f"{key}: {before.get(key)!r} -> {now.get(key)!r}"
            for key in sorted(before.keys() | now.keys())
            if before.get(key) != now.get(key) and key not in _OF_A_LAUNCH
        ]
        if changed:
            logger.warning(
                "Settings differ from the last run in %s (a checkpoint keeps its optimizer, learning rate and "
                "schedule):\n  %s",
                output_dir,
                "\n  ".join(changed),
            )
    output_dir.mkdir(parents=True, exist_ok=True)
    write_whole(path, json.dumps({"runs": [*runs, run]}, indent=1, ensure_ascii=False))


def mark_finished(output_dir: Path) -> None:
    """Note that the last run in a folder has come to its end, evaluation and push included."""
    runs = _read_runs(output_dir)
    if runs:
        runs[-1]["finished"] = time.strftime("%Y-%m-%dT%H:%M:%S%z")
        write_whole(output_dir / RUN_MANIFEST_NAME, json.dumps({"runs": runs}, indent=1, ensure_ascii=False))


def is_finished(output_dir: Path, run: dict[str, Any]) -> bool:
    """Say whether the last run in a folder was this one, whatever it was to start from, and has come to its end."""
    runs = _read_runs(output_dir)
    if not runs or "finished" not in runs[-1]:
        return False
    before, now = ({**each["settings"], "resume_from_checkpoint": None} for each in (runs[-1], run))
    return before == json.loads(json.dumps(now))


def _read_runs(output_dir: Path) -> list[dict[str, Any]]:
    """Return the runs that the manifest names; none where there is no manifest, or a damaged one."""
    manifest = read_json(output_dir / RUN_MANIFEST_NAME)
    return [] if manifest is None else manifest["runs"]


def read_json(path: Path) -> dict[str, Any] | None:
    """Return the contents of a JSON file, or None when there is none or it is damaged."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, json.JSONDecodeError, UnicodeDecodeError):
        return None


def _plain(value: Any) -> Any:
    """Make a value fit for JSON; secrets are left out."""
    if isinstance(value, dict):
        return {str(key): _plain(entry) for key, entry in value.items() if not is_secret_name(str(key))}
    if isinstance(value, (list, tuple, set)):
        return [_plain(entry) for entry in value]
    return value if isinstance(value, (int, float, bool, type(None))) else hide_secrets(str(value))
