# SPDX-License-Identifier: Apache-2.0
"""Benchmarks of saved checkpoints: where a recipe names `benchmarks`, a Slurm job runs them on each.

    <output_dir>/.evaluations/checkpoint-20-1f0c9a3e/    hard links to the model's files, until the job has read them
    <output_dir>/eval_results/checkpoint-20/main/...     what the job writes

1. Open R1 evaluates what was pushed to the hub alone. Here nothing leaves the machine, and `save_total_limit` may
   delete a checkpoint before its job has begun.
2. Whatever Slurm does costs the training no step: after an outage a checkpoint lacks its job, with a warning.
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
from open_r1.evaluation.benchmarks import find_benchmarks, word_of
from open_r1.evaluation.jobs import flags_of_answers, submit_evaluation
from open_r1.training.hub import EVALUATIONS_NAME, link_tree

logger = logging.getLogger(__name__)

# How long the end of a training waits for Slurm; less where it was asked to stop.
END_S, STOPPED_S = 30.0, 10.0


class EvaluateCheckpointCallback(TrainerCallback):
    """Submits `slurm/evaluate.slurm` for each checkpoint, in a thread; failures are warnings.

    Attributes:
        without_job: Names of checkpoints for which no job is submitted, or not yet.
    """

    def __init__(self) -> None:
        self.without_job: list[str] = []
        self._tasks: SimpleQueue[Callable[[], None]] = SimpleQueue()

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: object
    ) -> None:
        """Begin to submit."""
        if state.is_world_process_zero:
            # A daemon: a process that crashes doesn't wait for Slurm.
            threading.Thread(target=self._work, name="checkpoint-jobs", daemon=True).start()

    def on_save(self, args: TrainingConfig, state: TrainerState, control: TrainerControl, **kwargs: object) -> None:
        """Queue the submission for the checkpoint that was just saved."""
        if not state.is_world_process_zero:
            return
        checkpoint = Path(args.output_dir) / f"checkpoint-{state.global_step}"
        self.without_job.append(checkpoint.name)
        copy = Path(args.output_dir) / EVALUATIONS_NAME / f"{checkpoint.name}-{secrets.token_hex(4)}"
        try:
            link_tree(checkpoint, copy)
            if not any(copy.glob("*.safetensors")) and not any(copy.glob("pytorch_model*.bin")):
                raise FileNotFoundError("it has no weights that can be served: they are sharded, or not saved")
        except OSError as error:
            _give_up(copy, checkpoint.name, error)
        else:
            self._tasks.put(partial(self._submit, args, copy, checkpoint.name))

    def on_train_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: object
    ) -> None:
        """Wait a little for submissions under way, and name the checkpoints without a job."""
        if not state.is_world_process_zero:
            return
        is_done = threading.Event()
        self._tasks.put(is_done.set)
        limit_s = STOPPED_S if state.global_step < state.max_steps else END_S
        if not is_done.wait(limit_s):
            logger.warning("Slurm has not answered within %.0f s.", limit_s)
        if self.without_job:
            logger.warning("No job evaluates these checkpoints: %s.", ", ".join(self.without_job))
        with suppress(OSError):
            (Path(args.output_dir) / EVALUATIONS_NAME).rmdir()  # where it is empty

    def _work(self) -> None:
        while True:
            self._tasks.get()()

    def _submit(self, args: TrainingConfig, copy: Path, name: str) -> None:
        try:
            job_id = submit_evaluation(job_words(copy, name, args), job_name=_job_name(copy))
        except TimeoutError as error:  # Slurm may have taken the job, which needs the copy
            logger.warning("%s may not be evaluated: %s", name, error)
        except (OSError, RuntimeError, ValueError) as error:
            _give_up(copy, name, error)
        else:
            self.without_job.remove(name)
            logger.info("Submitted job %s, which evaluates %s.", job_id, name)


def job_words(copy: Path, name: str, args: TrainingConfig) -> list[str]:
    """Return the arguments of the script for a copy of a checkpoint.

    Raises:
        ValueError: A benchmark is unknown, or a local one has gone.
    """
    return [
        f"--model={copy.resolve()}",
        "--remove_model_copy",
        f"--model_name={name}",
        "--overwrite",  # results of before: a new run in the same folder gives other weights the same name
        f"--output_dir={(Path(args.output_dir) / 'eval_results').resolve()}",
        *("--benchmarks", *map(word_of, find_benchmarks(args.benchmarks))),
        *flags_of_answers(args),
    ]


def _job_name(copy: Path) -> str:
    """Return the name of a copy's job."""
    return f"evaluate-{copy.parents[1].resolve().name}-{copy.name}"


def _give_up(copy: Path, name: str, error: Exception) -> None:
    logger.warning("%s is not evaluated: %s", name, error)
    shutil.rmtree(copy, ignore_errors=True)
