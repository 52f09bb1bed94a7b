# SPDX-License-Identifier: Apache-2.0
"""What the router lets in, counts and refuses: places for runs, numbers for Prometheus, reasons as JSON."""

import asyncio
import contextlib
import time
from collections import Counter, deque
from collections.abc import AsyncIterator, Iterator
from typing import Any

LONGEST_MESSAGE = 4000  # it may repeat what the request holds


class Refusal(Exception):
    """A request that gets no result, with what to answer.

    Args:
        status: HTTP status.
        kind: What is wrong, for programs: busy, sandbox, language, request, too_large, token, internal.
        message: The same for people.
        retry_after_s: Seconds after which it's worth another try; None: it isn't.
        details: Further values of the reply.
    """

    def __init__(
        self, status: int, kind: str, message: str, *, retry_after_s: int | None = None, **details: Any
    ) -> None:
        message = message if len(message) <= LONGEST_MESSAGE else message[:LONGEST_MESSAGE] + "..."
        message = message.encode("utf-8", "replace").decode()  # half of a surrogate pair can't be sent
        super().__init__(message)
        self.status, self.kind, self.retry_after_s = status, kind, retry_after_s
        self.body = {"error": {"kind": kind, "message": message, **details}}

    @property
    def headers(self) -> dict[str, str]:
        """Return the headers of the reply."""
        headers = {} if self.retry_after_s is None else {"retry-after": str(self.retry_after_s)}
        return headers | ({"www-authenticate": "Bearer"} if self.status == 401 else {})


class Gate:
    """Places for runs: `max_parallel` run, `max_queue` wait, first come first served; more are refused.

    A run that waits for its client gives its place away meanwhile: the client may need one to decide. It's the next to
    get one when it goes on.
    """

    def __init__(self, max_parallel: int, max_queue: int) -> None:
        if max_parallel < 1 or max_queue < 0:
            raise ValueError(f"max_parallel is at least 1 and max_queue 0, got {max_parallel} and {max_queue}.")
        self.max_parallel, self.max_queue = max_parallel, max_queue
        self.admitted = self.running = 0
        self._new: deque[asyncio.Future[None]] = deque()
        self._resuming: deque[asyncio.Future[None]] = deque()

    @property
    def room(self) -> int:
        """Return how many runs are let in."""
        return self.max_parallel + self.max_queue

    @property
    def waiting(self) -> int:
        """Return how many runs wait for a place."""
        return self.admitted - self.running

    def check_room(self, num_runs: int = 1) -> None:
        """Refuse this many runs where there's no room now (429), or never for so many (413)."""
        if num_runs > self.room:
            raise Refusal(413, "too_large", f"{num_runs} scripts in one request; this router takes {self.room}.")
        if self.admitted + num_runs > self.room:
            message = f"{self.running} runs and {self.waiting} waiting; this router takes {self.room}. Try again."
            raise Refusal(429, "busy", message, retry_after_s=1)

    @contextlib.contextmanager
    def admit(self, num_runs: int = 1) -> Iterator[None]:
        """Hold room for this many runs, whether they wait or run.

        Raises:
            Refusal: As of `check_room`.
        """
        self.check_room(num_runs)
        self.admitted += num_runs
        try:
            yield
        finally:
            self.admitted -= num_runs

    @contextlib.asynccontextmanager
    async def place(self) -> AsyncIterator[None]:
        """Wait for one of the places to run, and hold it."""
        await self._take(self._new)
        try:
            yield
        finally:
            self._give()

    @contextlib.asynccontextmanager
    async def pause(self) -> AsyncIterator[None]:
        """Give the held place and room away for a while; behind it, the place that is free next is taken."""
        self._give()
        self.admitted -= 1
        try:
            try:
                yield
            finally:
                self.admitted += 1
            await self._take(self._resuming)
        except BaseException:
            self.running += 1  # it's ending: `place` gives this one back at once
            raise

    async def _take(self, queue: deque[asyncio.Future[None]]) -> None:
        if self.running < self.max_parallel:
            self.running += 1
            return
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        queue.append(turn)
        try:
            await turn  # whoever gives a place hands it over with its count
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                self._give()
            raise

    def _give(self) -> None:
        for queue in (self._resuming, self._new) if self.running <= self.max_parallel else ():
            while queue:
                turn = queue.popleft()
                if not turn.done():
                    turn.set_result(None)
                    return
        self.running -= 1


class Metrics:
    """The router's numbers since it started, as Prometheus reads them."""

    def __init__(self, gate: Gate) -> None:
        self.gate = gate
        self.replies: Counter[tuple[str, int]] = Counter()
        self.runs = self.sandbox_errors = self.cancelled = 0
        self.run_seconds = self.wait_seconds = 0.0

    @contextlib.contextmanager
    def running(self, waited_s: float) -> Iterator[None]:
        """Count a run that has got its place."""
        start = time.monotonic()
        self.wait_seconds += waited_s
        try:
            yield
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        finally:
            self.runs += 1
            self.run_seconds += time.monotonic() - start

    def text(self) -> str:
        """Return all numbers in Prometheus's text format, version 0.0.4."""
        refused = sum(num for (_, status), num in self.replies.items() if status == 429)
        lines = ["# TYPE open_r1_router_requests_total counter"]
        for (path, status), num in sorted(self.replies.items()):
            lines.append(f'open_r1_router_requests_total{{path="{path}",status="{status}"}} {num}')
        for name, kind, value in (
            ("in_flight", "gauge", self.gate.running),
            ("queued", "gauge", self.gate.waiting),
            ("places", "gauge", self.gate.max_parallel),
            ("refused_total", "counter", refused),
            ("sandbox_errors_total", "counter", self.sandbox_errors),
            ("cancelled_total", "counter", self.cancelled),
            ("wait_seconds_total", "counter", self.wait_seconds),
        ):
            lines += [f"# TYPE open_r1_router_{name} {kind}", f"open_r1_router_{name} {value}"]
        lines += [
            "# TYPE open_r1_router_run_seconds summary",
            f"open_r1_router_run_seconds_sum {self.run_seconds}",
            f"open_r1_router_run_seconds_count {self.runs}",
        ]
        return "\n".join(lines) + "\n"
