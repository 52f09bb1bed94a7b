# SPDX-License-Identifier: Apache-2.0
"""Driver of many requests: a fixed number in flight, every reply in the journal as soon as it comes.

    outcome = run(ask(requests, client.ask_one, journal, max_concurrent=256, total=4000))
    120 of 4000 [00:30<16:10, 4.00gen/s, 310 tokens/s, 3 failed, 12 truncated]

`requests` may be a generator of millions: the next one is made when a place is free. What the journal has is skipped.
"""

import asyncio
import logging
import resource
import signal
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Coroutine, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any, TypeVar

from tqdm import tqdm

from open_r1.generation.journal import Journal
from open_r1.generation.messages import AskOne, Message, Reply, Request, ServersDownError, without_reasoning

T = TypeVar("T")

logger = logging.getLogger(__name__)

_OTHER_FILES = 100  # besides one for each request in flight
_SKIP_AT_A_TIME = 2000  # some milliseconds, after which whoever waits for the event loop has a turn
# The first line of a log comes early: it shows that the servers answer.
_BAR_EVERY_S, _FIRST_LINE_S, _LINE_EVERY_S, _SYNC_EVERY_S = 0.5, 5.0, 30.0, 5.0


@dataclass
class Outcome:
    """What a run did, and how it ended.

    Attributes:
        skipped: Generations that the journal had.
        done: Replies, `failed` among them without a text, and `truncated` cut off at the limit of tokens.
        retries: Attempts beyond the first of each turn.
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

    def add(self, reply: Reply, num_turns: int) -> None:
        """Count a reply to a request of so many turns."""
        self.done += 1
        self.retries += max(0, reply.attempts - num_turns)
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

    SIGINT and SIGTERM stop new requests and give those in flight some time; a second one ends them at once. So does a
    server that refuses all requests.

    Args:
        requests: What to ask for, each generation once; taken one by one.
        ask_one: Answers a request: `Client.ask_one`, or that of a model in this process (`VllmHere`).
        journal: Takes a record of each reply: `Reply.record`.
        max_concurrent: Requests in flight, at least 1, those that wait for their next attempt among them.
        total: Generations that the journal is to have in the end, for the display.
        stop_after_errors: Requests that may fail in a row; 0: any number.
        grace_s: Seconds that requests in flight have after a signal.

    Raises:
        ServersDownError: No server answers, one refuses all, or `stop_after_errors` requests failed in a row; requests
            in flight had their grace.
        JournalError: The disk is full.
    """
    if max_concurrent < 1:
        raise ValueError(f"max_concurrent is {max_concurrent}; it must be at least 1.")
    _allow_open_files(max_concurrent + _OTHER_FILES)
    driver = _Driver(iter(requests), ask_one, journal, stop_after_errors, grace_s)
    return await driver.run(max_concurrent, total)


class _Driver:
    def __init__(
        self, requests: Iterator[Request], ask_one: AskOne, journal: Journal, stop_after_errors: int, grace_s: float
    ) -> None:
        self._requests, self._ask_one, self._journal = requests, ask_one, journal
        self._stop_after_errors, self._grace_s = stop_after_errors, grace_s
        self._outcome = Outcome()
        self._stop, self._stop_now = asyncio.Event(), asyncio.Event()
        self._in_flight = self._failed_in_a_row = 0
        self._down: list[ServersDownError] = []

    async def run(self, max_concurrent: int, total: int | None) -> Outcome:
        """As `ask`."""
        workers = [asyncio.create_task(self._work()) for _ in range(max_concurrent)]
        answered = asyncio.gather(*workers)
        watching = asyncio.create_task(_watch(self._outcome, total, self._journal))
        stopping, ending = asyncio.create_task(self._stop.wait()), asyncio.create_task(self._stop_now.wait())
        is_main = threading.current_thread() is threading.main_thread()  # others get no signals
        numbers = (signal.SIGINT, signal.SIGTERM) if is_main else ()
        loop = asyncio.get_running_loop()
        try:
            for number in numbers:
                loop.add_signal_handler(number, self._on_signal, number)
            await asyncio.wait({answered, watching, stopping}, return_when=asyncio.FIRST_COMPLETED)
            if self._stop.is_set():
                await asyncio.wait({answered, ending}, timeout=self._grace_s, return_when=asyncio.FIRST_COMPLETED)
            self._outcome.cut_off = self._in_flight
        finally:
            for number in numbers:
                loop.remove_signal_handler(number)
            for task in (*workers, watching, stopping, ending):
                task.cancel()
            ended = await asyncio.gather(answered, watching, return_exceptions=True)
            await asyncio.gather(*workers, stopping, ending, return_exceptions=True)
            self._journal.sync()
        for error in [*ended, *self._down]:
            if isinstance(error, BaseException) and not isinstance(error, asyncio.CancelledError):
                raise error
        return self._outcome

    async def _work(self) -> None:
        for request in self._requests:
            if (request.key, request.index) in self._journal:
                self._outcome.skipped += 1
                if self._outcome.skipped % _SKIP_AT_A_TIME == 0:
                    await asyncio.sleep(0)
                continue
            self._in_flight += 1
            try:
                reply = await _converse(request, self._ask_one)
            except ServersDownError as error:
                self._end(error)
                return
            finally:
                self._in_flight -= 1
            self._journal.append(reply.record(request))
            self._outcome.add(reply, 1 + len(request.turns))
            self._failed_in_a_row = self._failed_in_a_row + 1 if reply.text is None else 0
            if self._stop_after_errors and self._failed_in_a_row >= self._stop_after_errors:
                self._end(
                    ServersDownError(
                        f"{self._failed_in_a_row} requests in a row failed, the last with: {reply.error}. Mend the "
                        "cause and repeat the command (generate_reasoning.py: with --retry-errors)."
                    )
                )
            if self._stop.is_set():
                return

    def _end(self, error: ServersDownError) -> None:
        self._down.append(error)
        self._stop.set()

    def _on_signal(self, number: int) -> None:
        if self._outcome.stopped_by is not None:
            self._stop_now.set()
            return
        logger.warning("Stopping: requests in flight have %g s; Ctrl-C again ends at once.", self._grace_s)
        self._outcome.stopped_by = signal.Signals(number)
        self._stop.set()


async def _converse(request: Request, ask_one: AskOne) -> Reply:
    """Return the reply to the last turn, with the conversation and the costs of all."""
    if not request.turns:
        return await ask_one(request)
    conversation: list[Message] = [*request.messages]
    reply = await ask_one(replace(request, turns=()))
    for turn in request.turns:
        # An answer that was cut off is no answer: what the user says next wouldn't follow from it.
        if reply.text is None or reply.finish_reason == "length":
            break
        said = {"role": "assistant", "content": without_reasoning(reply.text)}
        conversation += [said, {"role": "user", "content": turn}]
        before, reply = reply, await ask_one(replace(request, messages=[*conversation], turns=()))
        usage = dict(Counter(before.usage) + Counter(reply.usage))
        attempts, latency_s = before.attempts + reply.attempts, before.latency_s + reply.latency_s
        reply = replace(reply, usage=usage, attempts=attempts, latency_s=latency_s)
    answer = [] if reply.text is None else [{"role": "assistant", "content": reply.text}]
    return replace(reply, conversation=[*conversation, *answer])


async def _watch(outcome: Outcome, total: int | None, journal: Journal) -> None:
    """Draw a bar on a terminal, write a line now and then to a log; have the disk keep what was written."""
    started = synced = time.monotonic()
    due = started + _FIRST_LINE_S
    with tqdm(total=total, unit="gen", dynamic_ncols=True, disable=not sys.stderr.isatty()) as bar:
        while True:
            await asyncio.sleep(_BAR_EVERY_S)
            now = time.monotonic()
            tokens_per_s = outcome.completion_tokens / (now - started)
            more = f"{tokens_per_s:.0f} tokens/s, {outcome.failed} failed, {outcome.truncated} truncated"
            bar.initial, bar.n = outcome.skipped, outcome.skipped + outcome.done
            bar.set_postfix_str(more)
            if bar.disable and now >= due:
                due = now + _LINE_EVERY_S
                count, spent_s = outcome.skipped + outcome.done, now - started
                line = tqdm.format_meter(
                    count, total or 0, spent_s, 0, unit="gen", postfix=more, initial=outcome.skipped
                )
                logger.info("%s", line)
            if now - synced >= _SYNC_EVERY_S:
                synced = now
                await asyncio.to_thread(journal.sync)


def _allow_open_files(count: int) -> None:
    """Raise this process's limit of open files, which is often 1024: each request in flight is one."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if 0 <= soft < count:  # -1: no limit
        resource.setrlimit(resource.RLIMIT_NOFILE, (count if hard < 0 else min(count, hard), hard))
