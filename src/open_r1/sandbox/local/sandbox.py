# SPDX-License-Identifier: Apache-2.0
"""The provider `local`: a box on this machine for each request, two for a communication task."""

import asyncio
import contextlib
import errno
import logging
import os
import weakref
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import dataclass, field, replace

from open_r1.sandbox.base import (
    GoOn,
    Interactor,
    Outcome,
    ProgramInput,
    ProgramRun,
    RunRequest,
    RunResult,
    Sandbox,
    SandboxError,
    UnsupportedLanguageError,
    all_ok,
)
from open_r1.sandbox.languages import find_language
from open_r1.sandbox.local.box import BoxLostError, LocalBox, open_box
from open_r1.sandbox.local.interpreter import BOX_USER, has_other_users
from open_r1.sandbox.local.setup import Setup, find_setup

logger = logging.getLogger(__name__)

BOXES_A_CORE = 2
PAUSES_S = (0.05, 0.5, 2.0)  # before a box that failed is made anew: who took all processes or memory may be gone then
DENIED = (os.strerror(errno.EAGAIN), "can't start new thread")  # what programs say to whom a process is denied


@dataclass
class _Progress:
    """How far a request has come, over all boxes that it needed."""

    compiled: ProgramRun | None = None
    binary: bytes | None = None
    runs: list[ProgramRun] = field(default_factory=list)
    num_failures: int = 0
    lost_at: int | None = None
    kills_itself: bool = False
    was_denied: bool = False


class LocalSandbox(Sandbox):
    """Boxes on this machine; what isolates them is found out at the first use, once in each process."""

    name = "local"

    def __init__(self, *, python: str | None = None, mechanism: str | None = None) -> None:
        """Build it; nothing is started.

        Args:
            python: The interpreter in the boxes; None for the project's if the boxes' user can start it, else the
                system's.
            mechanism: "bwrap" or "landlock", or "none" for no isolation at all; None for what the environment's
                OPEN_R1_SANDBOX says, else the first of the two that passes a probe.
        """
        self.python, self.mechanism = python, mechanism
        self._setup: Setup | None = None

    async def setup(self) -> Setup:
        """Return how boxes are made here.

        Raises:
            SandboxError: Nothing here isolates programs, or the interpreter can't be used.
        """
        if self._setup is None:
            self._setup = await find_setup(self.python, self.mechanism)
        return self._setup

    async def languages(self) -> tuple[str, ...]:
        """Return the names of the languages it can run; see `Sandbox.languages`."""
        return tuple((await self.setup()).programs)

    def describe(self) -> str:
        """Return one line for the log; before the first use it doesn't know what isolates the programs."""
        return "local: not tried out yet" if self._setup is None else self._setup.describe()

    async def run(self, request: RunRequest, go_on: GoOn = all_ok) -> RunResult:
        """Compile and run a submission in a new box; see `Sandbox.run`.

        A run that may have ended for what others did is repeated in a new box. One that ends so again is the program's
        failure, unless it can't have done it: then it's a SandboxError.
        """
        setup = await self.setup()
        for part in (request, request.interactor):
            if part is not None:
                _check_language(setup, part.language)
        progress = _Progress()
        while not await self._attempt(setup, request, progress, go_on):
            pass
        left = len(request.inputs) - len(progress.runs)
        return RunResult(progress.compiled, (*progress.runs, *(None,) * left), progress.binary)

    async def _attempt(self, setup: Setup, request: RunRequest, progress: _Progress, go_on: GoOn) -> bool:
        """Go on with a request in a new box; return whether it's done."""
        try:
            async with _Place() as place, _boxes(setup, request, progress) as (box, interactor):
                if _is_denied(box.compiled, progress):
                    await asyncio.sleep(PAUSES_S[1])
                    return False
                while box.has_program and len(progress.runs) < len(request.inputs):
                    first, batch = _next_batch(request, len(progress.runs))
                    with _our_failures():
                        await _run_batch(box, interactor, batch, progress.runs)
                    for index, run in enumerate(progress.runs[first:], first):
                        if _is_denied(run, progress):
                            del progress.runs[index:]
                            await asyncio.sleep(PAUSES_S[1])
                            return False
                    if len(progress.runs) == len(request.inputs):
                        return True
                    place.leave()  # who is asked may need boxes too
                    if not await go_on(first, progress.runs[first:]):
                        return True
                    await place.take()
                return True
        except BoxLostError as error:
            return _note_loss(request, progress, error)
        except SandboxError as error:
            if progress.num_failures == len(PAUSES_S):
                raise
            logger.warning("A local box failed, another one tries again: %s", error)
            await asyncio.sleep(PAUSES_S[progress.num_failures])
            progress.num_failures += 1
            return False


class _Place:
    """A place for a running box, of which this process has a few for each core: more would only wait for each other.

    Programs that sleep leave their cores to others, hence more places than cores.
    """

    def __init__(self) -> None:
        loop = asyncio.get_running_loop()
        if loop not in _PLACES:
            _PLACES[loop] = asyncio.Semaphore(BOXES_A_CORE * len(os.sched_getaffinity(0)))
        self._places, self._is_taken = _PLACES[loop], False

    async def take(self) -> None:
        """Wait for a free place and take it."""
        await self._places.acquire()
        self._is_taken = True

    def leave(self) -> None:
        """Give it back, if it's taken."""
        if self._is_taken:
            self._is_taken = False
            self._places.release()

    async def __aenter__(self) -> "_Place":
        """Take it."""
        await self.take()
        return self

    async def __aexit__(self, *_: object) -> None:
        """Give it back."""
        self.leave()


_PLACES: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, asyncio.Semaphore] = weakref.WeakKeyDictionary()


@contextlib.contextmanager
def _our_failures() -> Iterator[None]:
    """Turn errors of this machine (no descriptors, memory or processes left) into those of a sandbox."""
    try:
        yield
    except OSError as error:
        raise SandboxError(f"A local box failed: {type(error).__name__}: {error}") from error


@contextlib.asynccontextmanager
async def _boxes(
    setup: Setup, request: RunRequest, progress: _Progress
) -> AsyncIterator[tuple[LocalBox, LocalBox | None]]:
    """Start the box of a submission and, in a communication task, that of the interactor; end both."""
    async with contextlib.AsyncExitStack() as stack:
        left = request.inputs[len(progress.runs) :]
        own_inputs = left if request.interactor is None else ()
        with _our_failures():
            box = await open_box(setup, request, own_inputs, request.compile_limits, request.keeps_binary)
        stack.push_async_callback(box.close)
        progress.compiled, progress.binary = box.compiled, box.binary
        box.kills_itself = progress.kills_itself
        interactor = None
        if request.interactor is not None and box.has_program:
            with _our_failures():
                interactor = await _open_interactor(setup, request.interactor, request)
            stack.push_async_callback(interactor.close)
        yield box, interactor


async def _open_interactor(setup: Setup, part: Interactor, request: RunRequest) -> LocalBox:
    try:
        box = await open_box(setup, part, request.inputs, request.compile_limits)
    except BoxLostError as error:
        raise SandboxError(f"The interactor's box was lost: {error}") from error
    if not box.has_program:
        await box.close()
        message = "" if box.compiled is None else box.compiled.stderr[-1000:]
        raise ValueError(f"The interactor doesn't compile: {message}")
    return box


async def _run_batch(
    box: LocalBox, interactor: LocalBox | None, batch: Sequence[ProgramInput], runs: list[ProgramRun]
) -> None:
    """Run the program on some inputs, appending to `runs`."""
    if interactor is None:
        await box.run_batch(batch, runs)
        return
    for given in batch:
        runs.append(await _communicate(box, interactor, given))


async def _communicate(box: LocalBox, interactor: LocalBox, given: ProgramInput) -> ProgramRun:
    """Let a submission and an interactor talk over two pipes; return the submission's run with the other's."""
    with contextlib.ExitStack() as stack:
        to_read, to_write = _pipe(stack), _pipe(stack)
        await box.send_input(ProgramInput(), "submission", (to_read[0], to_write[1]))
        await interactor.send_input(given, "interactor", (to_write[0], to_read[1]))
    run, other = await asyncio.gather(box.result(), interactor.result(), return_exceptions=True)
    if isinstance(run, BaseException):
        raise run
    if isinstance(other, BoxLostError):
        raise SandboxError(f"The interactor's box was lost: {other}") from other
    if isinstance(other, BaseException):
        raise other
    return replace(run, interactor=other)


def _pipe(stack: contextlib.ExitStack) -> tuple[int, int]:
    """Return the ends of a pipe that the users of boxes may open again by their paths below `/dev/fd`."""
    ends = os.pipe()
    for fd in ends:
        stack.callback(os.close, fd)
        if has_other_users():
            os.fchown(fd, BOX_USER, BOX_USER)
            os.fchmod(fd, 0o666)
    return ends


def _next_batch(request: RunRequest, num_done: int) -> tuple[int, tuple[ProgramInput, ...]]:
    """Return the index of the first run of the batch that is to go on, and the inputs that are left of it."""
    size = request.stop_after or len(request.inputs)
    first = num_done - num_done % size
    return first, request.inputs[num_done : first + size]


def _note_loss(request: RunRequest, progress: _Progress, error: BoxLostError) -> bool:
    """Note a run, or the compiler's, that is to be repeated or has been; return whether the request is done.

    Raises:
        SandboxError: It was repeated, and the program can't have done it.
    """
    if progress.lost_at != len(progress.runs):
        progress.lost_at = len(progress.runs)
        logger.info("A local box was lost, another one goes on: %s", error)
        return False
    if error.run is None:
        raise SandboxError(f"A run has ended twice for what others did: {error}") from error
    if error.run.signal is not None or error.run.exit_code is not None:
        progress.kills_itself, progress.lost_at = True, None  # it's run once more, and that counts
        return False
    if find_language(request.language).compile and progress.compiled is None:
        progress.compiled = error.run
    else:
        progress.runs.append(error.run)
    return True


def _is_denied(run: ProgramRun | None, progress: _Progress) -> bool:
    """Return whether a run, or the compiler's, failed for want of a process and is to be repeated.

    The user's or the machine's other processes may have used up a limit. Once in each request: what fails so again has
    done it.
    """
    denied = run is not None and run.outcome is Outcome.RUNTIME_ERROR and any(word in run.stderr for word in DENIED)
    if progress.was_denied or not denied:
        return False
    progress.was_denied = True
    logger.info("A program was denied a process, another box tries it again.")
    return True


def _check_language(setup: Setup, name: str) -> None:
    language = find_language(name)
    if language.name != "binary" and language.name not in setup.programs:
        raise UnsupportedLanguageError(
            f"This machine can't run {language.name}: {language.program!r} isn't there or can't be started by the "
            f"boxes' user; there are {', '.join(setup.programs)}."
        )
