# SPDX-License-Identifier: Apache-2.0
"""Many requests, a fixed number in flight, every reply in the journal as soon as it is there.

    outcome = run(run_requests(requests, client, journal, max_concurrent=256))

`requests` may be a generator of millions: the next one is made when a place is free. What the journal has is skipped.
"""

import asyncio
import logging
import resource
import signal
import threading
from collections.abc import Callable, Coroutine, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

from open_r1.generation.balancing import RefusedError
from open_r1.generation.journal import Journal
from open_r1.generation.messages import Reply, Request

T = TypeVar("T")

logger = logging.getLogger(__name__)

_SIGNALS = (signal.SIGINT, signal.SIGTERM)
_OTHER_FILES = 100  # besides one for each request in flight
_SKIP_AT_A_TIME = 2000  # some milliseconds, after which whoever waits for the event loop has a turn


class Completer(Protocol):
    """Answers requests: a `ChatClient`, or a model in this process."""

    async def complete(self, request: Request) -> Reply:
        """Return what comes of a request; a failure is a reply with `error`."""
        ...


class TooManyErrorsError(RuntimeError):
    """So many requests failed in a row that the rest would too."""


@dataclass
class Totals:
    """What was done so far, by this process.

    Attributes:
        skipped: Generations that the journal had.
        done: Replies, `failed` among them without a text, and `truncated` cut off at the limit of tokens.
        retries: Attempts beyond the first of each request.
    """

    skipped: int = 0
    done: int = 0
    failed: int = 0
    truncated: int = 0
    retries: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    last_error: str = ""

    def add(self, reply: Reply, num_turns: int) -> None:
        """Count a reply to a request of so many turns."""
        self.done += 1
        self.retries += max(0, reply.attempts - num_turns)
        self.prompt_tokens += reply.usage.get("prompt_tokens", 0)
        self.completion_tokens += reply.usage.get("completion_tokens", 0)
        if reply.text is None:
            self.failed += 1
            self.last_error = reply.error or ""
        elif reply.finish_reason == "length":
            self.truncated += 1


@dataclass(frozen=True)
class Outcome:
    """How a run ended.

    Attributes:
        totals: What was done.
        stopped_by: The signal that ended it early; None: all requests were answered.
        cut_off: Requests in flight that were dropped; they are asked again next time.
    """

    totals: Totals
    stopped_by: signal.Signals | None = None
    cut_off: int = 0


def run(coroutine: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine to its end, on uvloop where it is installed: a fifth less CPU time a request.

    Raises:
        RuntimeError: An event loop runs in this thread already.
    """
    if _is_loop_running():
        coroutine.close()
        raise RuntimeError(
            "An event loop runs in this thread already, as in a notebook: call this in a thread of its "
            "own, as by `await asyncio.to_thread(...)`."
        )
    factory: Callable[[], asyncio.AbstractEventLoop] | None = None
    with suppress(ImportError):
        from uvloop import new_event_loop as factory
    with asyncio.Runner(loop_factory=factory) as runner:
        return runner.run(coroutine)


def _is_loop_running() -> bool:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True


async def run_requests(
    requests: Iterable[Request],
    client: Completer,
    journal: Journal,
    *,
    max_concurrent: int = 256,
    totals: Totals | None = None,
    stop_after_errors: int = 100,
    grace_s: float = 10.0,
    sync_every_s: float = 5.0,
    retry_flag: str = "--retry-errors",
) -> Outcome:
    """Answer all requests that the journal doesn't have.

    SIGINT and SIGTERM stop new requests and give those in flight some time; a second one ends them at once. So does a
    server that refuses all requests.

    Args:
        requests: What to ask for, each generation once; taken one by one.
        client: Open, with a model.
        journal: Takes a record of each reply: `Reply.record`.
        max_concurrent: Requests in flight, those that wait for their next attempt among them.
        totals: Counted on while it runs, for a display.
        stop_after_errors: Requests that may fail in a row; 0: any number.
        grace_s: Seconds that requests in flight have after a signal.
        retry_flag: What asks for failed requests again, as the command spells it.
        sync_every_s: How often the disk is told to keep what was written, for a loss of power.

    Raises:
        ValueError: So many connections at a time aren't allowed here.
        ServersDownError: No server has answered for as long as the client's patience lasts.
        RefusedError: A server refuses the key, the model, the address or the account; requests in flight, perhaps at
            other servers, had their grace.
        JournalError: The disk is full.
        TooManyErrorsError: `stop_after_errors` requests failed in a row.
    """
    if max_concurrent < 1:
        raise ValueError(f"max_concurrent is {max_concurrent}; it must be at least 1.")
    allow_open_files(max_concurrent)
    engine = _Engine(requests, client, journal, totals or Totals(), stop_after_errors, retry_flag)
    return await engine.run(max_concurrent, grace_s, sync_every_s)


def allow_open_files(max_concurrent: int) -> None:
    """Raise this process's limit of open files, which is often 1024: each request in flight is one.

    Raises:
        ValueError: So many aren't allowed here.
    """
    count = max_concurrent + _OTHER_FILES
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY or soft >= count:
        return
    if hard != resource.RLIM_INFINITY and hard < count:
        raise ValueError(
            f"{count} open files are needed and {hard} are allowed: ask for less at a time (max_concurrent), or raise "
            "the limit (ulimit -Hn)."
        )
    resource.setrlimit(resource.RLIMIT_NOFILE, (count, hard))


class _Engine:
    def __init__(
        self,
        requests: Iterable[Request],
        client: Completer,
        journal: Journal,
        totals: Totals,
        stop_after_errors: int,
        retry_flag: str,
    ) -> None:
        self._requests: Iterator[Request] = iter(requests)
        self._client, self._journal, self._totals = client, journal, totals
        self._stop_after_errors, self._retry_flag = stop_after_errors, retry_flag
        self._failed_in_a_row = 0
        self._in_flight = 0
        self._signals: list[signal.Signals] = []
        self._refusal: RefusedError | None = None
        self._stop, self._stop_now = asyncio.Event(), asyncio.Event()

    async def run(self, max_concurrent: int, grace_s: float, sync_every_s: float) -> Outcome:
        """As `run_requests`."""
        workers = [asyncio.create_task(self._work()) for _ in range(max_concurrent)]
        answered = asyncio.gather(*workers)
        syncing = asyncio.create_task(self._sync(sync_every_s))
        stopping, ending = asyncio.create_task(self._stop.wait()), asyncio.create_task(self._stop_now.wait())
        cut_off = 0
        try:
            with taken_signals(self._on_signal, grace_s):
                await asyncio.wait({answered, syncing, stopping}, return_when=asyncio.FIRST_COMPLETED)
                if self._stop.is_set() and not answered.done():
                    await asyncio.wait({answered, ending}, timeout=grace_s, return_when=asyncio.FIRST_COMPLETED)
            cut_off = self._in_flight
        finally:
            for task in (*workers, syncing, stopping, ending):
                task.cancel()
            ended = await asyncio.gather(answered, syncing, return_exceptions=True)
            await asyncio.gather(*workers, stopping, ending, return_exceptions=True)
            self._journal.sync()
        for error in ended:
            if isinstance(error, BaseException) and not isinstance(error, asyncio.CancelledError):
                raise error
        if self._refusal is not None:
            raise self._refusal
        return Outcome(self._totals, self._signals[0] if self._signals else None, cut_off)

    async def _work(self) -> None:
        while not self._stop.is_set():
            request, is_end = self._next()
            if is_end:
                return
            if request is None:
                await asyncio.sleep(0)
                continue
            self._in_flight += 1
            try:
                reply = await self._client.complete(request)
            except RefusedError as error:
                self._refusal = self._refusal or error
                self._stop.set()
                return
            finally:
                self._in_flight -= 1
            self._journal.append(reply.record(request))
            self._totals.add(reply, 1 + len(request.turns))
            self._check(reply)

    def _next(self) -> tuple[Request | None, bool]:
        """Return the next request to send, and whether there are no more; None: not found yet."""
        finished = self._journal.finished
        for _ in range(_SKIP_AT_A_TIME):
            request = next(self._requests, None)
            if request is None:
                return None, True
            if (request.key, request.index) not in finished:
                return request, False
            self._totals.skipped += 1
        return None, False

    def _check(self, reply: Reply) -> None:
        self._failed_in_a_row = self._failed_in_a_row + 1 if reply.text is None else 0
        if self._stop_after_errors and self._failed_in_a_row >= self._stop_after_errors:
            raise TooManyErrorsError(
                f"{self._failed_in_a_row} requests in a row failed, the last with: {reply.error}. They are kept as "
                f"failed; mend the cause and go on with {self._retry_flag}."
            )

    async def _sync(self, every_s: float) -> None:
        while True:
            await asyncio.sleep(every_s)
            await asyncio.to_thread(self._journal.sync)

    def _on_signal(self, number: int) -> None:
        self._signals.append(signal.Signals(number))
        self._stop.set()
        if len(self._signals) > 1:
            self._stop_now.set()


@contextmanager
def taken_signals(on_signal: Callable[[int], None], grace_s: float) -> Iterator[None]:
    """Hand SIGINT and SIGTERM to a function while it runs, on the running loop; only the main thread can.

    Args:
        on_signal: Called with the signal's number.
        grace_s: Seconds that requests in flight have after the first, for the line that says so.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    loop = asyncio.get_running_loop()
    taken: list[int] = []

    def take(number: int) -> None:
        if not taken:
            logger.warning("Stopping: requests in flight have %g s; Ctrl-C again ends at once.", grace_s)
        taken.append(number)
        on_signal(number)

    before = {number: signal.getsignal(number) for number in _SIGNALS}
    for number in _SIGNALS:
        loop.add_signal_handler(number, take, number)
    try:
        yield
    finally:
        for number, handler in before.items():
            loop.remove_signal_handler(number)
            signal.signal(number, handler)
