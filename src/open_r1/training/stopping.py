# SPDX-License-Identifier: Apache-2.0
"""Stop file: a training ends between two steps when it appears, with a checkpoint from which the same command resumes.

Launchers do not hand signals on to the trainer, so whoever supervises it (a Slurm job before its time limit) names a
file in `OPEN_R1_STOP_FILE` and makes it when time runs out. SIGTERM, which Slurm sends to every process of a job that
is preempted or cancelled, asks for the same. `<file>.done` says that the training was stopped, and the checkpoint.
"""

import json
import logging
import os
import signal
from pathlib import Path
from types import FrameType
from typing import Any

import torch
from accelerate.utils import broadcast
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from open_r1.manifest import write_whole

logger = logging.getLogger(__name__)

STOP_FILE_VARIABLE = "OPEN_R1_STOP_FILE"


def find_stop_file() -> Path | None:
    """Return the file whose appearance stops the training, or None when nobody has named one; heed SIGTERM with it."""
    name = os.environ.get(STOP_FILE_VARIABLE)
    if not name:
        return None
    if signal.getsignal(signal.SIGTERM) is signal.SIG_IGN:
        # Whoever started the launcher has made it ignore SIGTERM, so that this process lives to save. Until there is
        # something to save the signal ends it.
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
    return Path(name).absolute()


def answer_path(stop_file: Path) -> Path:
    """Return where a training says that it was stopped: JSON with `step` and `checkpoint`."""
    return stop_file.with_name(f"{stop_file.name}.done")


class StopFileCallback(TrainerCallback):
    """Saves and stops at the end of the step in which the stop file appears, or SIGTERM comes.

    A training whose last step this is ends as usual, without an answer. An evaluation that is due at the same step is
    left to the resumed run (`TrainingMixin`), since time is short.

    Args:
        stop_file: Looked for by the first process alone, once in a step.
    """

    def __init__(self, stop_file: Path) -> None:
        self.stop_file = stop_file
        self.checkpoint: Path | None = None  # to resume from; None while nothing has stopped it
        self._is_stopping = False
        self._was_terminated = False
        self._pid = os.getpid()
        self._previous_handler: Any = None

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: object
    ) -> None:
        """Clear away an older answer, and start to listen for SIGTERM."""
        if state.is_world_process_zero:
            answer_path(self.stop_file).unlink(missing_ok=True)
        self._previous_handler = signal.signal(signal.SIGTERM, self._note_termination)

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: object
    ) -> None:
        """Ask for a checkpoint when it is time to stop."""
        if control.should_training_stop or not self._is_asked_to_stop(args, state):
            return
        self._is_stopping = True
        args.save_only_model = False  # nothing could resume from weights alone
        control.should_save = True
        control.should_evaluate = False
        control.should_log = args.logging_strategy != "no"  # the losses since the last log are not in a checkpoint
        if state.is_world_process_zero:
            logger.warning("Asked to stop: saving step %d first.", state.global_step)

    def on_save(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: object) -> None:
        """Stop and say so, now that the checkpoint is complete."""
        if not self._is_stopping:
            return
        # Not earlier: a checkpoint keeps this flag, and a resumed run may restore it.
        control.should_training_stop = True
        self.checkpoint = Path(args.output_dir).absolute() / f"checkpoint-{state.global_step}"
        if state.is_world_process_zero:
            answer = {"step": state.global_step, "checkpoint": str(self.checkpoint)}
            write_whole(answer_path(self.stop_file), json.dumps(answer))

    def on_epoch_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: object
    ) -> None:
        """Do nothing more at the end of an epoch that was only cut short."""
        if self._is_stopping:
            control.should_log = control.should_evaluate = control.should_save = False

    def on_train_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: object
    ) -> None:
        """Let the same command resume later: a stop file that was obeyed, or came too late, is removed."""
        signal.signal(signal.SIGTERM, self._previous_handler)
        if state.is_world_process_zero:
            self.stop_file.unlink(missing_ok=True)

    def _is_asked_to_stop(self, args: TrainingArguments, state: TrainerState) -> bool:
        is_asked = state.is_world_process_zero and (self._was_terminated or self.stop_file.exists())
        if args.world_size == 1:
            return is_asked
        flag = broadcast(torch.tensor(int(is_asked), device=args.device), from_process=0)
        return bool(flag.item())

    def _note_termination(self, number: int, frame: FrameType | None) -> None:
        if os.getpid() == self._pid:
            self._was_terminated = True
            return
        # A forked child (workers of a data loader) has inherited this handler: it ends as it would without.
        signal.signal(number, signal.SIG_DFL)
        os.kill(os.getpid(), number)
