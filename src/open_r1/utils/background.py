# SPDX-License-Identifier: Apache-2.0
"""Tasks done one after the other beside a training, which never waits for them longer than it says.

Unlike those of a `ThreadPoolExecutor`, a process that ends doesn't wait for the tasks: a crash is seen at once.
"""

import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path


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
