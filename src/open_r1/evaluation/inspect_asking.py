# SPDX-License-Identifier: Apache-2.0
"""Requests that inspect-ai decides on: sent by the project's client, each answer in a journal before inspect has it.

1. inspect keeps samples in memory and copies its whole log at each flush: a process that is killed loses what came
   since the last one. Here nothing is lost but what was in flight; a log is made anew from the journal.
"""

import asyncio
import signal
import time
from collections.abc import Coroutine, Mapping
from typing import Any, NoReturn, TypeVar

from open_r1.evaluation.engines import Question
from open_r1.generation.balancing import RefusedError, ServersDownError
from open_r1.generation.client import ChatClient
from open_r1.generation.engine import TooManyErrorsError, Totals, taken_signals
from open_r1.generation.journal import Journal, JournalError
from open_r1.generation.publishing import Results
from open_r1.generation.requests import ChatReply, ChatRequest

T = TypeVar("T")

_STOP_AFTER_ERRORS = 100
_SYNC_EVERY_S = 5.0


class Asking:
    """Gives the answers of one run: those that the journal has, and those of the servers.

    Args:
        question: What is asked.
        client: Open.
        journal: Takes a record of each reply.
        earlier: What the journal had when the run began.

    Attributes:
        totals: What was done so far.
        stopped_by: The signal that ended the run early.
        cut_off: Requests in flight that were dropped.
        seconds: From the first request to the last answer.
    """

    def __init__(self, question: Question, client: ChatClient, journal: Journal, earlier: Results) -> None:
        self.totals = Totals()
        self.stopped_by: signal.Signals | None = None
        self.cut_off = 0
        self.seconds = 0.0
        self._prompts, self._grace_s = question.problems.prompts, question.settings.grace_s
        self._client, self._journal, self._earlier = client, journal, earlier
        self._failure: BaseException | None = None
        self._begun: float | None = None
        self._failed_in_a_row = self._in_flight = 0
        self._stop, self._stop_now, self._idle = asyncio.Event(), asyncio.Event(), asyncio.Event()

    async def answer(self, row: int, index: int) -> Mapping[str, Any]:
        """Return the record of an answer to the problem of a row; doesn't return once the run is about to end."""
        key, messages, turns = self._prompts.get(row)
        if (key, index) in self._journal.finished:
            found = self._earlier.get(key, index)
            if found is not None:
                self.totals.skipped += 1
                return found
        if self._stop.is_set():
            await _forever()
        request = ChatRequest(key, index, messages, turns)
        reply = await self._complete(request)
        record = reply.record(request)
        try:
            self._journal.append(record)
        except JournalError as error:
            await self._give_up(error)
        self.totals.add(reply, 1 + len(turns))
        await self._check(reply)
        return record

    async def _complete(self, request: ChatRequest) -> ChatReply:
        if self._begun is None:
            self._begun = time.perf_counter()
        self._in_flight += 1
        try:
            reply = await self._client.complete(request)
        except ServersDownError as error:
            failure = error
        else:
            self.seconds = time.perf_counter() - self._begun
            return reply
        finally:
            self._in_flight -= 1
            if not self._in_flight:
                self._idle.set()
        return await self._give_up(failure)

    async def _check(self, reply: ChatReply) -> None:
        self._failed_in_a_row = self._failed_in_a_row + 1 if reply.text is None else 0
        if self._failed_in_a_row >= _STOP_AFTER_ERRORS:
            await self._give_up(
                TooManyErrorsError(
                    f"{self._failed_in_a_row} requests in a row failed, the last with: {reply.error}. They are kept "
                    "as failed; mend the cause and go on with the same command."
                )
            )

    async def _give_up(self, error: Exception) -> NoReturn:
        self._failure = self._failure or error
        if not isinstance(error, RefusedError):  # others in flight may be at servers that don't refuse
            self._stop_now.set()
        self._stop.set()
        await _forever()

    async def drive(self, evaluation: Coroutine[Any, Any, T]) -> T | None:
        """Run inspect to its end; None: it was ended early.

        SIGINT and SIGTERM stop new requests and give those in flight some time; a second one ends them at once.

        Raises:
            ServersDownError: No server has answered for as long as the patience lasts.
            RefusedError: A server refuses the key, the model, the address or the account.
            JournalError: The disk is full.
            TooManyErrorsError: So many requests failed in a row that the rest would too.
        """
        task = asyncio.create_task(evaluation)
        syncing, stopping = asyncio.create_task(self._sync()), asyncio.create_task(self._stop.wait())
        ending, idle = asyncio.create_task(self._stop_now.wait()), asyncio.create_task(self._when_idle())
        try:
            with taken_signals(self._on_signal, self._grace_s):
                await asyncio.wait({task, syncing, stopping}, return_when=asyncio.FIRST_COMPLETED)
                if not task.done():
                    await asyncio.wait(
                        {task, ending, idle}, timeout=self._grace_s, return_when=asyncio.FIRST_COMPLETED
                    )
                    self.cut_off = self._in_flight
                    task.cancel()  # inspect writes its log of what there is
                    await asyncio.wait({task})
        finally:
            others = (task, syncing, stopping, ending, idle)
            for other in others:
                other.cancel()
            ended = await asyncio.gather(*others, return_exceptions=True)
            self._journal.sync()
        if self._failure is not None:
            raise self._failure
        for error in ended[:2]:
            if isinstance(error, BaseException) and not isinstance(error, asyncio.CancelledError):
                raise error
        return None if self._stop.is_set() else task.result()

    async def _when_idle(self) -> None:
        """Return when nothing is in flight any more, once the run is about to end."""
        await self._stop.wait()
        while self._in_flight:
            self._idle.clear()
            await self._idle.wait()

    async def _sync(self) -> None:
        while True:
            await asyncio.sleep(_SYNC_EVERY_S)
            await asyncio.to_thread(self._journal.sync)

    def _on_signal(self, number: int) -> None:
        if self.stopped_by is not None:
            self._stop_now.set()
        self.stopped_by = self.stopped_by or signal.Signals(number)
        self._stop.set()


async def _forever() -> NoReturn:
    """Wait to be cancelled with the evaluation."""
    while True:
        await asyncio.get_running_loop().create_future()
