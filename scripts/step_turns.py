# SPDX-License-Identifier: Apache-2.0
"""Timing of optimizer steps, and two trainings that take turns step by step in one process.

What drifts on a machine (clock, caches, neighbours) then touches both alike, so that the paired differences of their
steps are far steadier than two runs one after the other.
"""

import threading
import time
from collections.abc import Callable

from transformers import TrainerCallback


class StepTimer(TrainerCallback):
    """Notes CPU and wall seconds of every optimizer step, from the end of one to the end of the next.

    With `turns`, a training waits after each step until the other one has done its step.
    """

    def __init__(self, turns: "Turns | None" = None) -> None:
        self.turns = turns
        self.cpu: list[float] = []
        self.wall: list[float] = []
        self._started = (0.0, 0.0)

    def on_train_begin(self, *args: object, **kwargs: object) -> None:
        """Wait for the first turn."""
        self._wait_and_start()

    def on_step_end(self, *args: object, **kwargs: object) -> None:
        """Take the times of the step and pass the turn on."""
        self.cpu.append(time.process_time() - self._started[0])
        self.wall.append(time.perf_counter() - self._started[1])
        self._wait_and_start()

    def _wait_and_start(self) -> None:
        if self.turns is not None:
            self.turns.pass_on()
        self._started = (time.process_time(), time.perf_counter())


class Turns:
    """Two trainings in two threads of a process, of which only one runs at any time."""

    def __init__(self) -> None:
        self._condition = threading.Condition()
        self._waiting: list[threading.Thread] = []
        self._threads: list[threading.Thread] = []
        self._active: threading.Thread | None = None
        self._errors: list[BaseException] = []

    def run(self, trainings: list[Callable[[], object]]) -> None:
        """Run the trainings to their ends, setting them up one after the other."""
        for training in trainings:
            thread = threading.Thread(target=self._run_one, args=(training,))
            with self._condition:
                self._threads.append(thread)
                self._active = thread
            thread.start()
            with self._condition:
                self._condition.wait_for(lambda thread=thread: thread in self._waiting or not thread.is_alive())
        with self._condition:
            self._active = self._threads[0]
            self._condition.notify_all()
        for thread in self._threads:
            thread.join()
        if self._errors:
            raise self._errors[0]

    def pass_on(self) -> None:
        """Let the other training run; return when it is this one's turn again."""
        me = threading.current_thread()
        with self._condition:
            self._waiting.append(me)
            others = [thread for thread in self._threads if thread is not me]
            if others:
                self._active = others[0]
            self._condition.notify_all()
            self._condition.wait_for(lambda: len(self._threads) == 2 and self._active is me)
            self._waiting.remove(me)

    def _run_one(self, training: Callable[[], object]) -> None:
        try:
            training()
        except BaseException as error:  # noqa: BLE001 - raised again in the main thread
            self._errors.append(error)
        finally:
            with self._condition:
                self._active = next((t for t in self._threads if t is not threading.current_thread()), None)
                self._condition.notify_all()
