# SPDX-License-Identifier: Apache-2.0
"""The callback `evaluate_checkpoint`: a Slurm job for each saved checkpoint runs the recipe's benchmarks on it.

    <output_dir>/.evaluations/checkpoint-20-1f0c9a3e/    hard links to the model's files, until the job has read them
    <output_dir>/eval_results/checkpoint-20/main/...     what the job writes

1. Open R1 evaluates what was pushed to the hub alone. Here nothing leaves the machine, `save_total_limit` may delete a
   checkpoint before its job has begun, and whatever Slurm does costs the training no step and no result.
"""

import functools
import json
import logging
import re
import secrets
import shlex
import shutil
import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments
from trl import ModelConfig

from open_r1.configs import GRPOConfig, SFTConfig
from open_r1.data.benchmarks import find_benchmarks, word_of
from open_r1.evaluation.jobs import (
    SCRIPT,
    SubmissionError,
    is_slurm_available,
    job_names,
    safe_name,
    submit_evaluation,
)
from open_r1.training.hub import EVALUATIONS_NAME, link_tree

logger = logging.getLogger(__name__)

RESULTS_NAME = "eval_results"
# In a copy: says that it is one, which a job may remove, which job that is, and what submits it where nobody has.
MARKER_NAME = "evaluation_copy.json"
# Seconds that submissions under way have at the end of a training, all together; less where it was told to stop.
END_S, STOPPED_S = 30.0, 10.0
_COPY_NAME = re.compile(r"checkpoint-\d+-[0-9a-f]{8}")


class EvaluateCheckpointCallback(TrainerCallback):
    """Submits `slurm/evaluate.slurm` for each checkpoint; failures are warnings, never the end of a training.

    Args:
        model_config: Not read; all callbacks of the table get it.
    """

    def __init__(self, model_config: ModelConfig | None = None) -> None:
        self.submitted: list[str] = []
        self.failed: list[str] = []
        self._background = Background("evaluations")
        self._was_told = False

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: object
    ) -> None:
        """Remove copies of runs that were killed, unless a job still needs them."""
        copies = Path(args.output_dir) / EVALUATIONS_NAME
        if state.is_world_process_zero and copies.is_dir():
            tidy = functools.partial(remove_unused_copies, sorted(copies.iterdir()))
            self._background.add(Task(tidy, "copies of an earlier run"))

    def on_save(
        self, args: SFTConfig | GRPOConfig, state: TrainerState, control: TrainerControl, **kwargs: object
    ) -> None:
        """Queue the submission for the checkpoint that was just saved."""
        if not state.is_world_process_zero or not args.benchmarks:
            return
        checkpoint = Path(args.output_dir) / f"checkpoint-{state.global_step}"
        reason = None if is_slurm_available() else "there is no `sbatch` on the PATH"
        if (checkpoint / "adapter_config.json").is_file():
            reason = "an adapter can't be served by itself: merge it with scripts/merge_lora.py, and evaluate that"
        if reason is not None:
            if not self._was_told:
                logger.warning("Checkpoints aren't evaluated: %s.", reason)
            self._was_told = True
            return
        copy = Path(args.output_dir) / EVALUATIONS_NAME / f"{checkpoint.name}-{secrets.token_hex(4)}"
        try:
            link_tree(checkpoint, copy)
            if not any(copy.glob("*.safetensors")) and not any(copy.glob("pytorch_model*.bin")):
                raise FileNotFoundError("it has no weights that can be served: they are sharded, or not saved")
            _write_marker(copy)
        except OSError as error:
            self._note_failure(checkpoint.name, error)
            shutil.rmtree(copy, ignore_errors=True)
            return
        submit = functools.partial(self._submit, args, copy, checkpoint.name)
        self._background.add(Task(submit, checkpoint.name, copy))

    def on_train_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: object
    ) -> None:
        """Wait a little for submissions under way, and say what became of all."""
        if not state.is_world_process_zero:
            return
        self._finish(args, STOPPED_S if state.global_step < state.max_steps else END_S)
        copies = Path(args.output_dir) / EVALUATIONS_NAME
        if copies.is_dir() and not any(copies.iterdir()):
            copies.rmdir()
        if self.submitted:
            logger.info(
                "Submitted %d jobs that evaluate checkpoints; results come to %s.",
                len(self.submitted),
                Path(args.output_dir) / RESULTS_NAME,
            )
        if self.failed:
            logger.warning(
                "%d checkpoints have no evaluation: %s. `slurm/evaluate.slurm --model <checkpoint> --benchmarks ...` "
                "submits one by hand.",
                len(self.failed),
                ", ".join(self.failed),
            )

    def _finish(self, args: SFTConfig | GRPOConfig, limit_s: float) -> None:
        """Give Slurm some time, and name the commands for what it had none for. The copies stay for these."""
        left = self._background.finish(limit_s)
        for task in [*([left.under_way] if left.under_way else []), *left.waiting]:
            if task.folder is None:
                continue
            is_told = task is left.under_way
            ask = "Slurm was told and may have the job; if it hasn't, submit" if is_told else "Submit"
            command = "not without its benchmarks"
            try:
                command = shlex.join([str(SCRIPT), *_submission_words(task.folder, task.name, args)])
                _write_marker(task.folder, by_hand=command)
            except ValueError as error:
                command += f" ({error})"
            except OSError as error:  # Slurm has answered at last: its job is done, or it has refused
                logger.warning("%s can't be marked as one that waits for its command: %s", task.folder, error)
            self._note_failure(task.name, f"Slurm has not answered in time. {ask} it by hand: {command}")

    def _submit(self, args: SFTConfig | GRPOConfig, copy: Path, name: str) -> None:
        try:
            words = job_words(copy, name, args)
            job_id = submit_evaluation(words, job_name=_job_name(copy))
        except (SubmissionError, ValueError, OSError) as error:
            self._note_failure(name, error)
            if not (isinstance(error, SubmissionError) and error.may_have_job):
                shutil.rmtree(copy, ignore_errors=True)
        else:
            self.submitted.append(job_id)
            logger.info("Submitted job %s, which evaluates %s.", job_id, name)

    def _note_failure(self, name: str, error: Exception | str) -> None:
        self.failed.append(name)
        logger.warning("%s is not evaluated: %s", name, error)


def job_words(copy: Path, name: str, args: SFTConfig | GRPOConfig) -> list[str]:
    """Return the arguments of the script for a copy of a checkpoint.

    Raises:
        ValueError: A benchmark is unknown, or a local one has gone.
    """
    # A new run in the same folder gives other weights the same name: results of before are put aside.
    words = [
        "--model",
        str(copy.resolve()),
        "--remove_model_copy",
        "--model_name",
        name,
        "--overwrite",
        "--output_dir",
        str((Path(args.output_dir) / RESULTS_NAME).resolve()),
    ]
    words += ["--benchmarks", *map(word_of, find_benchmarks(args.benchmarks))]
    words += [f"--system_prompt={args.system_prompt}"] if args.system_prompt else []
    return words + (["--trust_remote_code"] if args.trust_remote_code else [])


def remove_unused_copies(copies: list[Path]) -> None:
    """Remove copies of checkpoints that no job waits for or reads; those to be submitted by hand and others stay."""
    names = {copy: _noted_job_name(copy) for copy in copies if _is_copy(copy)}
    try:
        used = job_names(sorted(names.values())) if names else set()
    except (SubmissionError, OSError) as error:
        logger.warning(
            "Copies of checkpoints in %s stay, since it isn't known whether jobs need them: %s.",
            copies[0].parent,
            error,
        )
        return
    for copy in (copy for copy, name in names.items() if name not in used):
        if (command := _read_marker(copy).get("by_hand")) is not None:
            logger.warning(
                "No job evaluates %s, of an earlier run: remove it, or submit it by hand: %s", copy, command
            )
            continue
        try:
            shutil.rmtree(copy)
        except OSError as error:
            logger.warning("No job evaluates %s, of an earlier run, but it can't be removed: %s.", copy, error)
        else:
            logger.warning("No job evaluates %s, of an earlier run: removed.", copy)


def _is_copy(path: Path) -> bool:
    """Whether it is a copy of ours, or what is left of one that was being made."""
    return path.is_dir() and ((path / MARKER_NAME).is_file() or _COPY_NAME.fullmatch(path.name) is not None)


def _noted_job_name(copy: Path) -> str:
    """The job of a copy as it was submitted: the folder of the run may have another name since."""
    return _read_marker(copy).get("job_name") or _job_name(copy)


def _read_marker(copy: Path) -> dict[str, str]:
    try:
        found = json.loads((copy / MARKER_NAME).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return {name: str(value) for name, value in found.items()} if isinstance(found, dict) else {}


def _write_marker(copy: Path, **more: str) -> None:
    (copy / MARKER_NAME).write_text(json.dumps({"job_name": _job_name(copy), **more}) + "\n", encoding="utf-8")


def _submission_words(copy: Path, name: str, args: SFTConfig | GRPOConfig) -> list[str]:
    return [f"--sbatch=--job-name={_job_name(copy)}", *job_words(copy, name, args)]


def _job_name(copy: Path) -> str:
    """The job of a copy, by which a killed run's successor finds out whether it is needed."""
    return safe_name(f"evaluate-{copy.parents[1].resolve().name}-{copy.name}")


@dataclass(frozen=True)
class Task:
    """Something to do.

    Attributes:
        work: Does it; what it raises ends the thread, and with it all that waits.
        name: For messages.
        folder: What it needs.
    """

    work: Callable[[], None]
    name: str
    folder: Path | None = None


@dataclass(frozen=True)
class Left:
    """What wasn't done in time: the task under way, if any, and those not begun."""

    under_way: Task | None
    waiting: tuple[Task, ...]


class Background:
    """A thread for tasks, started with the first one.

    Args:
        name: Of the thread.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._waiting: deque[Task] = deque()
        self._under_way: Task | None = None
        self._changed = threading.Condition()
        self._is_started = False

    def add(self, task: Task) -> None:
        """Queue a task."""
        with self._changed:
            self._waiting.append(task)
            self._changed.notify_all()
            if not self._is_started:
                self._is_started = True
                threading.Thread(target=self._work, name=self._name, daemon=True).start()

    def finish(self, timeout_s: float) -> Left:
        """Wait until all is done, or the time is over; what isn't begun by then is given up."""
        with self._changed:
            self._changed.wait_for(lambda: not self._waiting and self._under_way is None, timeout_s)
            left = Left(self._under_way, tuple(self._waiting))
            self._waiting.clear()
        return left

    def _work(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: bool(self._waiting))
                self._under_way = self._waiting.popleft()
            self._under_way.work()
            with self._changed:
                self._under_way = None
                self._changed.notify_all()
