# SPDX-License-Identifier: Apache-2.0
"""Driver of many requests: a fixed number in flight, every reply in the journal as soon as it comes.

    outcome = run(ask(requests, client.ask_one, journal, max_concurrent=256, total=4000))
    3%|▎         | 120/4000 [00:30<16:10, 4.00gen/s, 310 tokens/s, 3 failed, 12 truncated]

`requests` may be a generator of millions: the next one is made when a place is free. What the journal has is skipped.
"""

import asyncio
import logging
import resource
import signal
import sys
import threading
import time
from collections.abc import Callable, Coroutine, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, TypeVar

from tqdm import tqdm

from open_r1.generation.journal import Journal
from open_r1.generation.messages import AskOne, Reply, Request, ServersDownError

T = TypeVar("T")

logger = logging.getLogger(__name__)

_BAR_EVERY_S, _LINE_EVERY_S = 0.5, 30.0  # on a terminal, in a log


@dataclass
class Outcome:
    """What a run did, and how it ended.

    Attributes:
        skipped: Generations that the journal had.
        done: Replies, `failed` among them without a text, and `truncated` cut off at the limit of tokens.
        retries: Attempts beyond the first of each.
        stopped_by: The signal that ended it early; None: all requests were answered.
        cut_off: Requests in flight that were dropped; they are asked again next time.
    """

    skipped: int = 0
    done: int = 0
    failed: int = 0
    truncated: int = 0
    retries: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    last_error: str = ""
    stopped_by: signal.Signals | None = None
    cut_off: int = 0

    def add(self, reply: Reply) -> None:
        """Count a reply."""
        self.done += 1
        self.retries += max(0, reply.attempts - 1)
        self.prompt_tokens += reply.usage.get("prompt_tokens", 0)
        self.completion_tokens += reply.usage.get("completion_tokens", 0)
        self.truncated += reply.finish_reason == "length"
        if reply.text is None:
            self.failed += 1
            self.last_error = reply.error or ""


def run(coroutine: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine to its end, on uvloop where it is installed: a fifth less CPU time a request."""
    factory: Callable[[], asyncio.AbstractEventLoop] | None = None
    with suppress(ImportError):
        from uvloop import new_event_loop as factory
    with asyncio.Runner(loop_factory=factory) as runner:
        return runner.run(coroutine)


async def ask(
    requests: Iterable[Request],
    ask_one: AskOne,
    journal: Journal,
    *,
    max_concurrent: int = 256,
    total: int | None = None,
    stop_after_errors: int = 100,
    grace_s: float = 10.0,
) -> Outcome:
    """Ask for all generations that the journal doesn't have, and show how far it is.

    SIGINT and SIGTERM stop new requests and give those in flight some time; a second one ends them at once.

    Args:
        requests: What to ask for, each generation once; taken one by one.
        ask_one: Answers a request: `Client.ask_one`, or that of a model in this process (`TransformersHere.ask_one`).
        journal: Takes a record of each reply: `Reply.record`.
        max_concurrent: Requests in flight, at least 1, those that wait for their next attempt among them.
        total: Generations that the journal is to have in the end, for the display.
        stop_after_errors: Requests that may fail in a row; 0: any number.
        grace_s: Seconds that requests in flight have after a signal, or where one ends the run.

    Raises:
        ServersDownError: No server answers, one refuses all, or `stop_after_errors` requests failed in a row.
        JournalError: The disk is full.
    """
    if max_concurrent < 1:
        raise ValueError(f"max_concurrent is {max_concurrent}; it must be at least 1.")
    _allow_open_files()
    every_s = _BAR_EVERY_S if sys.stderr.isatty() else _LINE_EVERY_S
    with tqdm(total=total, unit="gen", dynamic_ncols=True, mininterval=every_s, maxinterval=every_s) as bar:
        asking = _Asking(ask_one, journal, stop_after_errors, grace_s, bar)
        todo = iter(requests)
        await asking.run([asking.work(todo) for _ in range(max_concurrent)])
    if asking.errors:
        raise asking.errors[0]
    return asking.outcome


@dataclass(eq=False)
class _Asking:
    """A run in progress."""

    ask_one: AskOne
    journal: Journal
    stop_after_errors: int
    grace_s: float
    bar: tqdm
    outcome: Outcome = field(default_factory=Outcome)
    stop: asyncio.Event = field(default_factory=asyncio.Event)
    stop_now: asyncio.Event = field(default_factory=asyncio.Event)
    errors: list[Exception] = field(default_factory=list)
    in_flight: int = 0
    failed_in_a_row: int = 0
    started: float = field(default_factory=time.monotonic)

    async def run(self, workers: Iterable[Coroutine[Any, Any, None]]) -> None:
        """Await the workers, or a signal or an error of one and then the others' grace."""
        is_main = threading.current_thread() is threading.main_thread()  # others get no signals
        numbers = (signal.SIGINT, signal.SIGTERM) if is_main else ()
        loop = asyncio.get_running_loop()
        for number in numbers:
            loop.add_signal_handler(number, self.on_signal, number)
        answered = asyncio.gather(*workers)
        tasks = (answered, asyncio.create_task(self.stop.wait()), asyncio.create_task(self.stop_now.wait()))
        try:
            await asyncio.wait(tasks[:2], return_when=asyncio.FIRST_COMPLETED)
            await asyncio.wait(tasks[::2], timeout=self.grace_s, return_when=asyncio.FIRST_COMPLETED)
            self.outcome.cut_off = self.in_flight
        finally:
            for number in numbers:
                loop.remove_signal_handler(number)
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def work(self, requests: Iterator[Request]) -> None:
        """Ask for one request after the other."""
        try:
            for request in requests:
                if (request.key, request.index) in self.journal:
                    self.outcome.skipped += 1
                    self.bar.initial, self.bar.n = self.outcome.skipped, self.bar.n + 1
                    continue
                self.in_flight += 1
                try:
                    reply = await self.ask_one(request)
                finally:
                    self.in_flight -= 1
                self.take(request, reply)
                if self.stop.is_set():
                    return
        except Exception as error:  # noqa: BLE001 - raised by `ask`, when the others had their grace
            self.errors.append(error)
            self.stop.set()

    def take(self, request: Request, reply: Reply) -> None:
        """Keep a reply; raise a ServersDownError where all fail."""
        self.journal.append(reply.record(request))
        outcome = self.outcome
        outcome.add(reply)
        tokens_per_s = outcome.completion_tokens / (time.monotonic() - self.started)
        said = f"{tokens_per_s:.0f} tokens/s, {outcome.failed} failed, {outcome.truncated} truncated"
        self.bar.set_postfix_str(said, refresh=False)
        self.bar.update()
        self.failed_in_a_row = self.failed_in_a_row + 1 if reply.text is None else 0
        if self.stop_after_errors and self.failed_in_a_row >= self.stop_after_errors:
            raise ServersDownError(
                f"{self.failed_in_a_row} requests in a row failed, the last with: {reply.error}. Fix the cause and "
                "repeat the command (generate_reasoning.py: with --retry-errors)."
            )

    def on_signal(self, number: int) -> None:
        """Let the requests in flight end, or at the second signal none."""
        if self.outcome.stopped_by is not None:
            self.stop_now.set()
            return
        logger.warning("Stopping: requests in flight have %g s; Ctrl-C again ends at once.", self.grace_s)
        self.outcome.stopped_by = signal.Signals(number)
        self.stop.set()


def _allow_open_files() -> None:
    """Raise this process's limit of open files, which is often 1024: each request in flight is one."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
