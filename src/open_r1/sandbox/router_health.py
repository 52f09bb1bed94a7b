# SPDX-License-Identifier: Apache-2.0
"""Whether the provider behind a router runs programs, by what was seen of it and, now and then, by a probe."""

import asyncio
import math
import time
from collections.abc import Callable, Coroutine
from typing import Any

from open_r1.sandbox.base import ProgramInput, RunRequest
from open_r1.sandbox.router_gate import Refusal

PROBE = RunRequest("python", {"main.py": "print(6 * 7)"}, (ProgramInput(),))
PROBE_TIMEOUT_S = 60.0
FAILURE_AGE_S = 10.0  # a provider that is down is asked no more often, however many ask for it


class Health:
    """What is known of the provider; one probe at a time, for all who ask.

    Args:
        probe: Runs a program at the provider; returns why that failed, or None.
        start: Makes a task of a coroutine.
        age_s: How long a good run proves that the provider answers.
    """

    def __init__(
        self,
        probe: Callable[[], Coroutine[Any, Any, Refusal | None]],
        start: Callable[[Coroutine[Any, Any, Refusal | None]], asyncio.Task[Refusal | None]],
        age_s: float,
    ) -> None:
        self._probe, self._start, self._age_s = probe, start, age_s
        self._last_good = self._last_bad = self._probed = -math.inf
        self._failure: Refusal | None = None
        self._probing: asyncio.Task[Refusal | None] | None = None

    @property
    def is_good(self) -> bool:
        """Whether the provider did well when it was last used, if it was."""
        return self._last_good >= self._last_bad

    def note(self, *, is_good: bool) -> None:
        """Take down how a run went."""
        if is_good:
            self._last_good = time.monotonic()
        else:
            self._last_bad = time.monotonic()

    async def check(self) -> None:
        """Return if the provider answers, now or not long ago.

        Raises:
            Refusal: It doesn't.
        """
        now = time.monotonic()
        if now - self._last_good <= self._age_s:
            return
        if self._failure is not None and now - self._probed <= FAILURE_AGE_S:
            raise self._failure
        if self._probing is None or self._probing.done():
            self._probing = self._start(self._probe_once())
        failure = await asyncio.shield(self._probing)
        if failure is not None:
            raise failure

    async def _probe_once(self) -> Refusal | None:
        self._failure = await self._probe()
        self._probed = time.monotonic()
        self.note(is_good=self._failure is None)
        return self._failure
