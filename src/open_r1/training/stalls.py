# SPDX-License-Identifier: Apache-2.0
"""Watchdog of a training that no longer moves, such as one whose processes wait for each other in NCCL.

    No step for 1800 s (`stall_timeout_s`); the stacks of all threads:
    Thread 0x00007f3c... (most recent call first):
      File ".../torch/distributed/distributed_c10d.py", line 3168 in all_reduce

Every process prints its stacks and ends. Under Slurm the answer beside the stop file has the job queued again.
"""

import faulthandler
import json
import sys
import threading
import time
from os import _exit  # before `run_script` replaces it

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from open_r1.manifest import write_whole
from open_r1.training.stopping import answer_path, find_stop_file

STATUS = 75  # EX_TEMPFAIL
_GRACE_S = 10.0  # until the others have printed theirs: the launcher ends them with the first


class StallCallback(TrainerCallback):
    """Ends the process when no step, micro-batch or save has ended for so long; evaluations don't count.

    Args:
        timeout_s: Seconds, those in which the process is suspended left out.
    """

    def __init__(self, timeout_s: float) -> None:
        self.timeout_s = timeout_s
        self.is_paused = False
        self._waited_s = 0.0
        self._step = 0
        self._ended = threading.Event()
        self._stop_file = find_stop_file()

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: object
    ) -> None:
        """Begin to watch."""
        self._ended.clear()
        self._waited_s = 0.0
        threading.Thread(target=self._watch, name="stalls", daemon=True).start()

    def stop(self) -> None:
        """Watch no longer; also where an error has ended the training."""
        self._ended.set()

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: object
    ) -> None:
        """Note that the training moves."""
        self._waited_s, self._step = 0.0, state.global_step

    def on_substep_end(self, *args: object, **kwargs: object) -> None:
        """Note that the training moves."""
        self._waited_s = 0.0

    on_save = on_evaluate = on_substep_end

    def _watch(self) -> None:
        tick_s = min(5.0, self.timeout_s / 20)
        while not self._ended.wait(tick_s):
            self._waited_s = 0.0 if self.is_paused else self._waited_s + tick_s
            if self._waited_s >= self.timeout_s:
                self._end()

    def _end(self) -> None:
        sys.stderr.write(f"No step for {self.timeout_s:g} s (`stall_timeout_s`); the stacks of all threads:\n")
        faulthandler.dump_traceback(2)
        sys.stderr.flush()
        if self._stop_file is not None:
            write_whole(answer_path(self._stop_file), json.dumps({"step": self._step, "stalled_s": self.timeout_s}))
        time.sleep(min(_GRACE_S, self.timeout_s))
        _exit(STATUS)
