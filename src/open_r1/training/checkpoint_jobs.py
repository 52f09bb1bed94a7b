# SPDX-License-Identifier: Apache-2.0
"""Jobs on saved checkpoints: pushes to the hub, and benchmarks in jobs of Slurm, while the training continues.

    <output_dir>/.uploads/checkpoint-20-77b2f01c/        hard links to the model's files, until they are uploaded
    <output_dir>/.evaluations/checkpoint-20-1f0c9a3e/    the same, until the job of Slurm has read them
    <output_dir>/eval_results/checkpoint-20/main/...     what that job writes

`save_total_limit` may delete a checkpoint long before its job has begun: hence the links. Whatever the hub or Slurm
does costs the training no step: a job that fails is a warning. Open R1 evaluates what was pushed to the hub alone.
"""

import logging
import secrets
import shutil
import threading
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from queue import SimpleQueue

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from open_r1.configs.training import TrainingConfig
from open_r1.data.push import describe
from open_r1.evaluation.benchmarks import find_benchmarks, word_of
from open_r1.evaluation.jobs import flags_of_answers, submit_evaluation
from open_r1.training.checkpoints import step_of
from open_r1.training.hub import EVALUATIONS_NAME, UPLOADS_NAME, checkpoint_revisions, link_tree, push_folder

logger = logging.getLogger(__name__)


class CheckpointCallback(TrainerCallback):
    """Runs jobs on copies of each checkpoint, one after the other in a thread.

    Attributes:
        undone: Names of the jobs that have failed, or have not ended.
    """

    folder: str  # of the copies, in `output_dir`
    done: str  # what becomes of a checkpoint, for messages
    end_s = stopped_s = threading.TIMEOUT_MAX  # to wait at the end of a training, and of one that was asked to stop

    def __init__(self) -> None:
        self.undone: list[str] = []
        self._tasks: SimpleQueue[Callable[[], None]] = SimpleQueue()

    def names_of(self, args: TrainingConfig, checkpoint: Path) -> list[str]:
        """Return the names of the jobs on a checkpoint."""
        return [checkpoint.name]

    def run_job(self, args: TrainingConfig, name: str, copy: Path) -> None:
        """Do the job on a copy."""
        raise NotImplementedError

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: object
    ) -> None:
        """Start the thread."""
        if state.is_world_process_zero:
            # A daemon: a process that crashes waits for nobody.
            threading.Thread(target=self._work, name=type(self).__name__, daemon=True).start()

    def on_save(self, args: TrainingConfig, state: TrainerState, control: TrainerControl, **kwargs: object) -> None:
        """Queue the jobs on the checkpoint that was just saved."""
        if not state.is_world_process_zero:
            return
        checkpoint = Path(args.output_dir) / f"checkpoint-{state.global_step}"
        for name in self.names_of(args, checkpoint):
            copy = checkpoint.with_name(self.folder) / f"{checkpoint.name}-{secrets.token_hex(4)}"
            self.undone.append(name)
            try:
                link_tree(checkpoint, copy)
            except OSError as error:
                self._give_up(name, copy, error)
            else:
                self._tasks.put(partial(self._run, args, name, copy))

    def on_train_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: object
    ) -> None:
        """Wait for the jobs, and name those that have failed."""
        if not state.is_world_process_zero:
            return
        are_done = threading.Event()
        self._tasks.put(are_done.set)
        limit_s = self.stopped_s if state.global_step < state.max_steps else self.end_s
        # The other ranks wait at a barrier meanwhile, which breaks after `ddp_timeout`.
        are_done.wait(min(limit_s, args.ddp_timeout / 2) if args.world_size > 1 else limit_s)
        if self.undone:
            logger.warning("Not %s: %s.", self.done, ", ".join(self.undone))
        with suppress(OSError):
            (Path(args.output_dir) / self.folder).rmdir()  # where it is empty

    def _work(self) -> None:
        while True:
            self._tasks.get()()

    def _run(self, args: TrainingConfig, name: str, copy: Path) -> None:
        try:
            self.run_job(args, name, copy)
        except Exception as error:  # noqa: BLE001 - clients raise many kinds; none may end a training
            self._give_up(name, copy, error)
        else:
            self.undone.remove(name)

    def _give_up(self, name: str, copy: Path, error: Exception) -> None:
        logger.warning("%s was not %s: %s", name, self.done, describe(error))
        if not isinstance(error, TimeoutError):  # Slurm may have taken the job, which needs the copy
            shutil.rmtree(copy, ignore_errors=True)


class PushToHubRevisionCallback(CheckpointCallback):
    """Pushes each checkpoint to the hub: to a branch of its own, or as `hub_strategy` says.

    Args:
        model_config: Not read: Open R1's callback has it.
    """

    folder, done = UPLOADS_NAME, "pushed to the hub"

    def __init__(self, model_config: object = None) -> None:
        super().__init__()

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: object
    ) -> None:
        """Remove what an earlier run, killed during an upload, left behind."""
        if state.is_world_process_zero:
            shutil.rmtree(Path(args.output_dir) / self.folder, ignore_errors=True)
        super().on_train_begin(args, state, control)

    def names_of(self, args: TrainingConfig, checkpoint: Path) -> list[str]:
        """Return the branches that it goes to."""
        return checkpoint_revisions(args, step_of(checkpoint))

    def run_job(self, args: TrainingConfig, name: str, copy: Path) -> None:
        """Push a copy."""
        commit = push_folder(args, copy, name)
        logger.info("Pushed %s to the hub: %s", name, commit.commit_url)
        shutil.rmtree(copy, ignore_errors=True)


class EvaluateCheckpointCallback(CheckpointCallback):
    """Submits `slurm/evaluate.slurm` for each checkpoint."""

    folder, done = EVALUATIONS_NAME, "evaluated"
    end_s, stopped_s = 30.0, 10.0

    def run_job(self, args: TrainingConfig, name: str, copy: Path) -> None:
        """Submit the job.

        Raises:
            FileNotFoundError: The checkpoint has no weights that can be served: they are sharded, or not saved.
        """
        if not any(copy.glob("*.safetensors")) and not any(copy.glob("pytorch_model*.bin")):
            raise FileNotFoundError("it has no weights that can be served: they are sharded, or not saved")
        words = [
            f"--model={copy.resolve()}",
            "--remove_model_copy",
            f"--model_name={name}",
            "--overwrite",  # results of before: a new run in the same folder gives other weights the same name
            f"--output_dir={(Path(args.output_dir) / 'eval_results').resolve()}",
            *("--benchmarks", *map(word_of, find_benchmarks(args.benchmarks))),
            *flags_of_answers(args),
        ]
        job_id = submit_evaluation(words, job_name=f"evaluate-{copy.parents[1].resolve().name}-{copy.name}")
        logger.info("Submitted job %s, which evaluates %s.", job_id, name)
