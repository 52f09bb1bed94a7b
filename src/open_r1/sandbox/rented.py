# SPDX-License-Identifier: Apache-2.0
"""What the providers of rented machines share: one new box a request, always given back; retries; runs in rounds.

1. Batches: the runs of a request go in rounds of `stop_after`, then twice as many, and so on, since each round costs a
   round trip; `go_on` is asked about each batch, and runs behind the one that ended it are dropped.
   A round is no larger than what the trainer can hold of its reply (`remote_reply.ROUND_BYTES`).
2. A box that is lost takes its round with it; the round is repeated once in a new box, then the request fails. A
   driver that twice, in one round, is killed or says more than it can while its machine goes on, was attacked by the
   submission: the first run of that round is a runtime error, those behind it are left out.
3. Nothing that a submission's box says is believed of other boxes: which languages there are is asked of a box in
   which nobody's programs have run.
4. An interactor is refused: in one machine, and as one user, a submission can write its manager's verdict.
"""

import abc
import asyncio
import contextlib
import dataclasses
import logging
import math
import random
import secrets
from collections.abc import AsyncIterator, Coroutine

from open_r1.sandbox.base import (
    GoOn,
    Outcome,
    ProgramRun,
    RunRequest,
    RunResult,
    Sandbox,
    SandboxError,
    UnsupportedLanguageError,
    UnsupportedRequestError,
    all_ok,
)
from open_r1.sandbox.languages import find_language
from open_r1.sandbox.remote_driver import BYTES_PER_S, CALL_S, RemoteBox, drive, longest_s, look_around
from open_r1.sandbox.remote_reply import DriverEndedError, Reply, TransientError, most_runs
from open_r1.sandbox.wire import result_from_json

logger = logging.getLogger(__name__)

END_S = 8.0  # to give a box back; an interrupted caller waits 10 s for it
GRACE_S = 30.0  # for the answer to a start that nobody wants any more
MARGIN_S = 60  # of a box's life over what its programs may take: starting, moving texts
FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.5, 8.0  # between two tries to start a box
ENDED_ITS_BOX = ProgramRun(Outcome.RUNTIME_ERROR, stderr="ended its box")


class _Progress:
    """What is known of a request so far: boxes may come and go meanwhile."""

    def __init__(self, request: RunRequest) -> None:
        self.request = request
        self.compile: ProgramRun | None = None
        self.binary: bytes | None = None
        self.tests: list[ProgramRun | None] = []
        self.is_done = False
        self._size = request.stop_after or max(1, len(request.inputs))
        self._is_first = True

    def next_request(self) -> RunRequest:
        """Return the request for the next round, which runs the compiled program of the first."""
        whole, start = self.request, len(self.tests)
        inputs = whole.inputs[start : start + min(self._size, most_runs(whole))]
        if self._is_first:
            keeps = whole.keeps_binary or len(inputs) < len(whole.inputs)
            return dataclasses.replace(whole, inputs=inputs, stop_after=None, keeps_binary=keeps)
        part = dataclasses.replace(whole, inputs=inputs, stop_after=None, keeps_binary=False)
        if self.binary is None:
            return part
        name = f"main_{secrets.token_hex(4)}"
        return dataclasses.replace(part, language="binary", files={name: self.binary, **whole.files})

    async def add(self, result: RunResult, go_on: GoOn) -> None:
        """Take the result of a round and ask whether to go on, batch by batch."""
        if self._is_first:
            self.compile, self.binary = result.compile, result.binary
        self._is_first = False
        self._size *= 2
        batch = self.request.stop_after or max(1, len(result.tests))
        for start in range(0, len(result.tests), batch):
            runs = result.tests[start : start + batch]
            first = len(self.tests)
            self.tests += runs
            known = [run for run in runs if run is not None]
            is_last = len(self.tests) == len(self.request.inputs)
            if len(known) < len(runs) or not (is_last or await go_on(first, known)):
                self.is_done = True
                return
        self.is_done = len(self.tests) >= len(self.request.inputs)

    def result(self) -> RunResult:
        """Return the result of the whole request; what wasn't run is None."""
        missing = len(self.request.inputs) - len(self.tests)
        binary = self.binary if self.request.keeps_binary else None
        return RunResult(self.compile, (*self.tests, *[None] * missing), binary)


class RentedSandbox(Sandbox):
    """A sandbox whose boxes are machines of a paid provider."""

    max_life_s: int = 3600

    def __init__(self, start_timeout_s: float = 120.0) -> None:
        if start_timeout_s <= 0:
            raise ValueError(f"start_timeout_s must be positive, got {start_timeout_s}.")
        self.start_timeout_s = start_timeout_s
        self._languages: tuple[str, ...] | None = None
        self._has_told = False
        self._endings: set[asyncio.Task[None]] = set()

    @property
    def ask_patience_s(self) -> float:
        """Return the seconds that `languages` may take: to start a box, look around there and give it back."""
        return self.start_timeout_s + GRACE_S + END_S + 4 * CALL_S

    @abc.abstractmethod
    async def start(self, name: str, life_s: int) -> RemoteBox:
        """Start one machine that ends by itself after `life_s`.

        Args:
            name: Unique to the box that is wanted; a repeated start with it, after a failure, leaves one machine.
            life_s: Seconds.

        Raises:
            TransientError: It may work a moment later.
            SandboxError: It won't: the key, the template.
        """

    async def prepare(self) -> None:
        """Do what may take longer than a start, once for all boxes.

        Raises:
            SandboxError: It failed.
        """

    async def languages(self) -> tuple[str, ...]:
        """Return the languages of the machine; the first time a box is started to look."""
        if self._languages is None:
            async with self._box(MARGIN_S) as box:
                self._languages = (*await look_around(box), "binary")
        assert self._languages is not None
        return self._languages

    async def run(self, request: RunRequest, go_on: GoOn = all_ok) -> RunResult:
        """Compile and run a submission in a new machine (see the module's docstring)."""
        self._check(request)
        progress = _Progress(request)
        losses: list[type[TransientError]] = []
        while not progress.is_done:
            try:
                async with self._box(self._life_s(request)) as box:
                    while not progress.is_done:
                        part = progress.next_request()
                        reply = await drive(box, part)
                        if reply.result is None:
                            await self._check_denied(request, box)
                        self._tell_network(box, reply)
                        await progress.add(await asyncio.to_thread(_read_result, reply, part, box), go_on)
                        losses.clear()
            except TransientError as error:
                losses.append(type(error))
                if losses.count(type(error)) == 1:
                    logger.warning("%s: %s; repeating it in a new box", self.name, error)
                elif isinstance(error, DriverEndedError) and request.inputs:
                    logger.warning("%s: %s; twice, so the submission did it", self.name, error)
                    progress.tests.append(ENDED_ITS_BOX)
                    progress.is_done = True
                else:
                    raise SandboxError(f"{error} (twice, in two boxes)") from error
        return progress.result()

    async def aclose(self) -> None:
        """Wait for boxes that are being given back."""
        if self._endings:
            await asyncio.wait(self._endings)

    def _life_s(self, request: RunRequest) -> int:
        """Return the seconds that a box is asked for: all that the request can take."""
        text = sum(len(given.stdin) + sum(map(len, given.files.values())) for given in request.inputs)
        return min(self.max_life_s, math.ceil(MARGIN_S + longest_s(request) + text / BYTES_PER_S))

    async def _check_denied(self, request: RunRequest, box: RemoteBox) -> None:
        """Refuse a language that a box says it hasn't, when another says so too.

        Raises:
            UnsupportedLanguageError: No box has it.
            DriverEndedError: Others have it, so that who ran in that box has lied.
        """
        await self.languages()
        self._check(request)
        raise DriverEndedError(f"The box {box.id} denied a language that others have")

    def _tell_network(self, box: RemoteBox, reply: Reply) -> None:
        """Say once that programs have the network where we meant to cut it."""
        if not reply.has_prefix and not self._has_told:
            self._has_told = True
            text = "%s: programs there have the network: `%s` doesn't work in the machine, use another snapshot"
            logger.warning(text, self.name, " ".join(box.prefix))

    def _check(self, request: RunRequest) -> None:
        """Refuse interactors, languages that nobody has, and those that the machine hasn't, where that's known."""
        if request.interactor is not None:
            raise UnsupportedRequestError(
                f"{self.name} runs no interactor: it would share the machine with the submission, which could write "
                "the verdict in its place. Use the provider 'local', or Piston's package cms_ioi."
            )
        name = find_language(request.language).name
        if self._languages is not None and name not in self._languages:
            raise UnsupportedLanguageError(f"{self.describe()} has no {name}, but {', '.join(self._languages)}.")

    @contextlib.asynccontextmanager
    async def _box(self, life_s: int) -> AsyncIterator[RemoteBox]:
        """Start a box, and end it whatever happens."""
        await self.prepare()
        box = await self._start_in_time(life_s)
        try:
            yield box
        finally:
            await self._finish(self._end(box, life_s))

    async def _start_in_time(self, life_s: int) -> RemoteBox:
        """Start a box, again and again for `start_timeout_s`, with growing pauses, while the failure may pass."""
        clock = asyncio.get_running_loop().time
        end, pause, name, failure = clock() + self.start_timeout_s, FIRST_PAUSE_S, secrets.token_hex(16), None
        while True:
            try:
                async with asyncio.timeout_at(end):
                    return await self._start_or_end(name, life_s)
            except TransientError as error:
                failure = error
            except TimeoutError as error:
                failure = failure or TransientError(f"{self.name} gave no answer, or no machine that is ready")
                raise SandboxError(f"{failure} (for {self.start_timeout_s:g} s)") from error
            wait = pause * random.uniform(0.5, 1.0)
            if clock() + wait >= end:
                raise SandboxError(f"{failure} (for {self.start_timeout_s:g} s)") from failure
            await asyncio.sleep(wait)
            pause = min(2 * pause, LONGEST_PAUSE_S)

    async def _start_or_end(self, name: str, life_s: int) -> RemoteBox:
        """Start a box; when cancelled meanwhile, see the start through and end the box: nobody else knows of it."""
        starting = asyncio.ensure_future(self.start(name, life_s))
        try:
            return await asyncio.shield(starting)
        except asyncio.CancelledError:
            await self._finish(self._end_started(starting, life_s))
            raise

    async def _end_started(self, starting: asyncio.Future[RemoteBox], life_s: int) -> None:
        await asyncio.wait([starting], timeout=GRACE_S)
        if not starting.done():
            starting.cancel()
            await asyncio.wait([starting], timeout=END_S / 2)
            text = "%s: a start was given up without an answer; a box of it may live for up to %d s"
            logger.warning(text, self.name, life_s)
        if starting.done() and not starting.cancelled() and starting.exception() is None:
            await self._end(starting.result(), life_s)

    async def _finish(self, job: Coroutine[None, None, None]) -> None:
        """Await a job for a while; it goes on when this is cancelled or takes longer."""
        task = asyncio.ensure_future(job)
        self._endings.add(task)
        task.add_done_callback(self._endings.discard)
        await asyncio.wait([task], timeout=END_S)

    async def _end(self, box: RemoteBox, life_s: int) -> None:
        """Give a box back; it costs money until it ends, so a failure is repeated once and told."""
        for attempt in (1, 2):
            try:
                async with asyncio.timeout(END_S / 2):
                    await box.end()
                return
            except Exception as error:  # noqa: BLE001 - whatever the SDK raises, the result of the run stands
                if attempt == 2:
                    text = "%s: box %s could not be given back and costs money for up to %d s, end it by hand: %s %s"
                    logger.warning(text, self.name, box.id, life_s, type(error).__name__, error)


def _read_result(reply: Reply, request: RunRequest, box: RemoteBox) -> RunResult:
    """Return the driver's result, which must fit the request."""
    try:
        result = result_from_json(reply.result or {})
        if len(result.tests) != len(request.inputs):
            raise ValueError(f"{len(result.tests)} runs for {len(request.inputs)} inputs")
    except (ValueError, TypeError, KeyError, AttributeError, OverflowError) as error:
        raise TransientError(f"The driver in the box {box.id} left nonsense: {error!r}") from error
    return result
