# SPDX-License-Identifier: Apache-2.0
"""Local boxes: one is started for a submission, talked to, ended always; lost, the submission gets another one.

    result = await LocalSandbox().run(RunRequest("python", {"main.py": "print(input())"}, (ProgramInput("1"),)))

What others may have done to a run (a kill from outside, a full disk, a trainer without memory) is no result: the run
begins anew in another box. It counts there if the program may have done it, and is a SandboxError if it can't have.
"""

import ast
import asyncio
import contextlib
import itertools
import logging
import math
import os
import signal
import socket
import subprocess
import weakref
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from open_r1.sandbox.base import (
    GoOn,
    Interactor,
    Limits,
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
from open_r1.sandbox.harness.folders import empty
from open_r1.sandbox.harness.processes import MOST_WAITING
from open_r1.sandbox.languages import find_language, input_message, program_message
from open_r1.sandbox.local.bwrap import DISK
from open_r1.sandbox.local.cgroups import Group, find_place
from open_r1.sandbox.local.interpreter import BOX_USER, NUM_USERS
from open_r1.sandbox.local.landlock import check_folder, new_folder
from open_r1.sandbox.local.setup import Setup, describe, find_setup
from open_r1.sandbox.running import gather

logger = logging.getLogger(__name__)

MIB = 1 << 20
BOXES_A_CORE = 2  # programs that sleep leave their cores to others
PAUSES_S = (0.05, 2.0)  # before a lost box is made anew: who took all processes or memory may be gone then
START_S = 30  # a box that the driver doesn't report from by then is no box
ANSWER_S = 20  # what the driver may take besides the programs, on a busy machine
LEAVE_S = 2.0  # what a driver that finds itself alone may take to end everything
END_S = 10.0  # what the kernel may take to end the processes in a box
DISK_BYTES = 256 * MIB  # what a program may write, in all its files
LEAST_DISK_BYTES = 16 * MIB  # with less left on the machine's disk, a failure may be for want of it
GROUP_MB = 48  # the driver and bubblewrap, besides the program
GROUP_PROCESSES = 8
LINE_BYTES = 1 << 20  # the longest line of the driver's
GCC_KILLED = "Killed signal terminated program"  # of a compiler's own child

# What the interpreter of a box starts with: the driver's parts become modules, of which the last goes to work.
_BOOTSTRAP = """
import marshal, os, sys
for name, code in marshal.loads(os.pread({code_fd}, 1 << 16, 0)):
    module = sys.modules[name] = type(sys)(name)
    exec(code, module.__dict__)
module.serve({way}, {settings!r})
"""
_COUNTER = itertools.count()


class LocalSandbox(Sandbox):
    """Boxes on this machine; what isolates them is found out at the first use."""

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
        self._trying = asyncio.Lock()

    async def setup(self) -> Setup:
        """Return how boxes are made here.

        Raises:
            SandboxError: Nothing here isolates programs, or the interpreter can't be used.
        """
        if self._setup is not None:
            return self._setup
        async with self._trying:
            self._setup = self._setup or await find_setup(
                self.python, self.mechanism, partial(run_request, most_boxes=1)
            )
            return self._setup

    async def languages(self) -> tuple[str, ...]:
        """Return the names of the languages it can run; see `Sandbox.languages`."""
        return tuple((await self.setup()).programs)

    def describe(self) -> str:
        """Return one line for the log; before the first use it doesn't know what isolates the programs."""
        return "local: not tried out yet" if self._setup is None else describe(self._setup)

    async def run(self, request: RunRequest, go_on: GoOn = all_ok) -> RunResult:
        """Compile and run a submission in a new box; see `Sandbox.run`."""
        setup = await self.setup()
        for part in filter(None, (request, request.interactor)):
            language = find_language(part.language)
            if language.program and language.name not in setup.programs:
                raise UnsupportedLanguageError(
                    f"This machine can't run {language.name}: {language.program!r} isn't there or can't be started by "
                    f"the boxes' user; there are {', '.join(setup.programs)}."
                )
        return await run_request(setup, request, go_on)


class BoxLostError(Exception):
    """A failure of a box, or a run that may have ended for what others did: to be repeated in a new box.

    Attributes:
        run: What counts if the next box ends so too: the program has done it. None: it can't have done it.
    """

    run: ProgramRun | None = None


async def run_request(
    setup: Setup, request: RunRequest, go_on: GoOn = all_ok, *, most_boxes: int = 1 + len(PAUSES_S)
) -> RunResult:
    """Compile and run a submission in a new box; see `Sandbox.run`.

    Args:
        setup: How boxes are made.
        request: The submission.
        go_on: As of `Sandbox.run`.
        most_boxes: In which a run may fail for reasons that aren't the program's.
    """
    num_lost = 0
    while True:
        runs: list[ProgramRun] = []
        box = LocalBox(setup, request, request, accepts=num_lost > 0)
        try:
            async with places, contextlib.AsyncExitStack() as boxes:
                await _run_inputs(boxes, box, runs, go_on)
            break
        except BoxLostError as loss:
            num_lost += 1
            if num_lost > 1 and loss.run is not None:
                if find_language(request.language).compile and box.compiled is None:
                    box.compiled = loss.run
                else:
                    runs.append(loss.run)
                break
            if num_lost == most_boxes:
                raise SandboxError(f"A local box failed again and again: {loss}") from loss
            logger.info("A local box was lost and is replaced: %s", loss)
            await asyncio.sleep(PAUSES_S[num_lost - 1])
    return RunResult(box.compiled, (*runs, *(None,) * (len(request.inputs) - len(runs))), box.binary)


def _begin() -> None:
    """Let no box run yet: at import, and in a fork, where a box's socket that stays open would keep it alive."""
    global places, _ways
    for way in _ways:
        way.close()
    places, _ways = asyncio.Semaphore(BOXES_A_CORE * len(os.sched_getaffinity(0))), weakref.WeakSet()


_ways: weakref.WeakSet[socket.socket] = weakref.WeakSet()  # of all boxes, both ends
places: asyncio.Semaphore
_begin()
os.register_at_fork(after_in_child=_begin)


async def _run_inputs(boxes: contextlib.AsyncExitStack, box: "LocalBox", runs: list[ProgramRun], go_on: GoOn) -> None:
    """Run a request in a new box, and one more for an interactor, appending to `runs`."""
    request, interactor = box.request, None
    await box.open(boxes, () if request.interactor else request.inputs, request.cpu_left_s(None, ()))
    if not box.has_program:
        return
    if request.interactor is not None:
        interactor = LocalBox(box.setup, request.interactor, request)
        await interactor.open(boxes, request.inputs)
        if not interactor.has_program:
            raise ValueError(f"The interactor doesn't compile: {interactor.compiled and interactor.compiled.stderr}")
    num_inputs = len(request.inputs)
    size = request.stop_after or max(1, num_inputs)
    for first in range(0, num_inputs, size):
        with our_failures():
            await box.run_batch(request.inputs[first : first + size], runs, interactor)
        if len(runs) < num_inputs:
            places.release()  # who is asked may need boxes too
            try:
                if not await go_on(first, runs[first:]):
                    return
            finally:
                await places.acquire()


@contextlib.contextmanager
def our_failures() -> Iterator[None]:
    """Turn errors of this machine (no descriptors, memory, processes or threads left) into the loss of a box."""
    try:
        yield
    except (OSError, RuntimeError) as error:
        raise BoxLostError(f"A local box failed: {type(error).__name__}: {error}") from error


class LocalBox:
    """A submission, or an interactor, in a box of its own.

    Attributes:
        compiled: The compiler's run; None where nothing is compiled.
        binary: The compiled program, if it's kept.
    """

    def __init__(
        self, setup: Setup, part: RunRequest | Interactor, request: RunRequest, *, accepts: bool = False
    ) -> None:
        """Note what is to run; nothing is started.

        Args:
            setup: How boxes are made.
            part: The program.
            request: It, or the request that it's the interactor of.
            accepts: Whether a failure that others may have caused counts: it's the second.
        """
        self.setup, self.part, self.request, self.accepts = setup, part, request, accepts
        self.compiled: ProgramRun | None = None
        self.binary: bytes | None = None
        self._held = contextlib.AsyncExitStack()

    @property
    def has_program(self) -> bool:
        """Whether there is a program to run."""
        return self.compiled is None or self.compiled.outcome is Outcome.OK

    async def open(
        self, boxes: contextlib.AsyncExitStack, inputs: Sequence[ProgramInput], cpu_left_s: float = math.inf
    ) -> None:
        """Start the box, with room for any of the inputs, send the program and compile it.

        Args:
            boxes: Ends the box.
            inputs: Those that may come.
            cpu_left_s: CPU seconds of the compiler and all runs.

        Raises:
            BoxLostError: It failed.
        """
        part, limits, first = self.part, self.part.limits, self.request.compile_limits
        program = self.setup.programs.get(find_language(part.language).name)
        job, files = program_message(part, self.request, program, cpu_left_s)
        sizes = [sum(map(len, input_message(given)[1])) for given in inputs]
        extra = sum(map(len, files)) + max(sizes, default=0)
        memory_mb = limits.memory_mb - (-(extra + 2 * limits.output_bytes) // MIB)  # the driver holds what is printed
        of_runs = memory_mb + GROUP_MB, limits.processes + GROUP_PROCESSES
        of_all = max(of_runs[0], first.memory_mb), max(of_runs[1], first.processes)
        boxes.push_async_callback(self._close)
        with our_failures():
            self._start(DISK_BYTES + extra, *(of_all if job["compile"] else of_runs))
            self._reader, self._writer = await asyncio.open_unix_connection(sock=self._way, limit=LINE_BYTES)
            self._held.callback(self._writer.transport.abort)
            self._writer.transport.set_write_buffer_limits(0)
            await self._answer(START_S)
            await asyncio.shield(self._entering)
            await self.send({**job, "root": self._root, "watches": not self._group.limits_memory}, files)
            if job["compile"] is not None:
                self.compiled = await self.next_run(first)
                self._group.set_limits(*of_runs)

    def _start(self, disk_bytes: int, memory_mb: int, processes: int) -> None:
        """Start the processes; what is made for them is held until they have ended."""
        setup, held = self.setup, self._held
        self._group = Group(find_place())
        held.push_async_callback(self._remove_group)
        self._group.set_limits(memory_mb, processes)
        self._folder = None if "root" in setup.settings else new_folder(disk_bytes)
        held.callback(self._remove_folder)
        self._log = os.memfd_create("open_r1_box")
        held.callback(os.close, self._log)
        # The kernel counts processes by users, not by boxes.
        user = BOX_USER + 1 + (131 * os.getpid() + next(_COUNTER)) % NUM_USERS if setup.as_root else None
        settings = {"root": self._folder, "user": user, "disk_bytes": disk_bytes, **setup.settings}
        self._root = settings["root"]
        self._way, theirs = socket.socketpair()
        _ways.update((self._way, theirs))
        with theirs:
            way, code_fd = theirs.fileno(), setup.interpreter.code_fd
            code = _BOOTSTRAP.format(code_fd=code_fd, way=way, settings=settings)
            # As little of the interpreter as it needs.
            driver = [setup.interpreter.path, "-I", "-S", "-E", "-X", "frozen_modules=on", "-c", code]
            try:
                self._process = subprocess.Popen(
                    [*(str(disk_bytes) if word == DISK else word for word in setup.command), *driver],
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.DEVNULL,
                    stderr=self._log,
                    env={},
                    cwd="/",
                    pass_fds=(code_fd, way),
                    start_new_session=True,  # an interrupt from the terminal ends boxes only through us
                )
                held.push_async_callback(self._end_processes)
            finally:
                held.callback(self._way.close)  # the driver ends everything when nobody is there any more
        # It may take the kernel some milliseconds to move all processes.
        self._entering = asyncio.ensure_future(asyncio.to_thread(self._group.add, self._process.pid))
        held.push_async_callback(asyncio.gather, self._entering, return_exceptions=True)

    async def run_batch(
        self, inputs: Sequence[ProgramInput], runs: list[ProgramRun], interactor: "LocalBox | None" = None
    ) -> None:
        """Run the program on some inputs, appending to `runs`; the next input is sent while the program runs.

        Raises:
            BoxLostError: It failed, or a run may have ended for what others did.
        """
        if interactor is not None:
            for given in inputs:
                runs.append(await self._communicate(given, interactor))
            return
        for number in range(-1, len(inputs)):
            for given in inputs[number + 1 : number + 2]:
                await self.send(*input_message(given))
            if number >= 0:
                runs.append(await self.next_run(self.part.limits))

    async def _communicate(self, given: ProgramInput, interactor: "LocalBox") -> ProgramRun:
        """Let a submission and an interactor talk over two pipes; return the submission's run with the other's."""
        with contextlib.ExitStack() as stack:
            ends = [*os.pipe(), *os.pipe()]
            for fd in ends:
                stack.callback(os.close, fd)
            for fd in ends[::2]:  # may be opened again by its path below `/dev/fd`
                os.fchmod(fd, 0o666)
            await self.send(*input_message(ProgramInput(), "submission"), (ends[0], ends[3]))
            await interactor.send(*input_message(given, "interactor"), (ends[2], ends[1]))
        run, talk = await gather([self.next_run(self.part.limits), interactor.next_run(interactor.part.limits)])
        return replace(run, interactor=talk)

    async def send(self, header: dict[str, Any], parts: Sequence[bytes], passed: Sequence[int] = ()) -> None:
        """Send a message, and descriptors with it; it waits here until the driver takes it."""
        line = repr(header).encode() + b"\n"
        if passed:
            await self._writer.drain()
        while passed:
            try:
                line, passed = line[socket.send_fds(self._way, [line], passed) :], ()
            except BlockingIOError:
                await asyncio.sleep(0.01)
        self._writer.writelines([line, *parts])

    async def next_run(self, limits: Limits) -> ProgramRun:
        """Return the run that the driver reports next; the binary comes with the compiler's.

        Raises:
            BoxLostError: The box failed, or others may have caused a failure.
        """
        try:
            record, (stdout, stderr, binary) = await self._answer(MOST_WAITING * limits.backstop_s + ANSWER_S)
        except BoxLostError as loss:
            outcome = None
            if self._group.new_kills()[0]:
                outcome = Outcome.MEMORY_LIMIT
            elif isinstance(loss.__cause__, TimeoutError):
                outcome = Outcome.TIME_LIMIT
            elif self.setup.mechanism == "none":  # nothing keeps a program from its driver
                outcome = Outcome.RUNTIME_ERROR
            if outcome is not None and self.part is self.request:
                loss.run = ProgramRun(outcome, stderr=f"The program ended its box, or held it up. {loss}")
            raise
        was_ended = record.pop("was_ended")
        texts = {"stdout": stdout.decode("utf-8", "replace"), "stderr": stderr.decode("utf-8", "replace")}
        run = ProgramRun(Outcome(record.pop("outcome")), **texts, **record)
        self.binary = self.binary or binary or None
        # Asked after each run, also after one that ended well: a kill is never charged to a later one.
        own, elsewhere = self._group.new_kills()
        if own:
            return replace(run, outcome=Outcome.MEMORY_LIMIT)
        if run.outcome is not Outcome.RUNTIME_ERROR or was_ended:
            return run
        is_killed = signal.SIGKILL in (run.signal, (run.exit_code or 0) - 128) or GCC_KILLED in run.stderr
        if elsewhere and (is_killed or self._group.limits_memory):
            raise BoxLostError("The machine, or the trainer's own group, has no memory left.")
        if is_killed and not self.accepts:
            loss = BoxLostError("A program was killed, and not by its box.")
            loss.run = run if self.part is self.request else None
            raise loss
        if self._folder is not None:
            with our_failures():
                check_folder(self._folder, LEAST_DISK_BYTES)
        return run

    async def _answer(self, timeout_s: float) -> tuple[dict[str, Any], list[bytes]]:
        """Return the driver's next answer."""
        try:
            async with asyncio.timeout(timeout_s):  # a suspended trainer may lose its box, and gets another one
                line = await self._reader.readline()
                if not line:
                    raise EOFError("the driver has ended")
                record = ast.literal_eval(line.decode())
                if "error" in record:
                    raise ValueError(record["error"])
                names = ("stdout", "stderr", "binary")
                return record, [await self._reader.readexactly(record.pop(name, 0)) for name in names]
        except (OSError, EOFError, ValueError, TypeError, SyntaxError) as error:
            said = os.pread(self._log, 4096, 0).decode("utf-8", "replace").strip()
            raise BoxLostError(f"The box was lost ({type(error).__name__}: {error}). {said}") from error

    async def _close(self) -> None:
        """End everything in the box and wait until it's gone, however often the caller is cancelled."""
        ending = asyncio.ensure_future(self._end())
        _ENDINGS.add(ending)
        ending.add_done_callback(_ENDINGS.discard)
        await asyncio.shield(ending)

    async def _end(self) -> None:
        try:
            await self._held.aclose()
        except OSError as error:  # no reason to lose the results
            logger.error("Leftovers of a local box can't be removed: %s.", error)

    async def _end_processes(self) -> None:
        for timeout_s in (LEAVE_S, END_S):
            with contextlib.suppress(subprocess.TimeoutExpired):
                await asyncio.to_thread(self._process.wait, timeout_s)
                return
            # With the driver the kernel ends all others in the box; its parent then ends by itself.
            children = Path(f"/proc/{self._process.pid}/task/{self._process.pid}/children")
            with contextlib.suppress(OSError):  # a kernel without these lists, or it has just ended
                for pid in children.read_text().split()[:1] or [self._process.pid]:
                    os.kill(int(pid), signal.SIGKILL)
        logger.error("A local box (process %d) doesn't end.", self._process.pid)

    def _remove_folder(self) -> None:
        if self._folder is not None:
            if hasattr(self, "_process"):
                empty(self._folder)
            Path(self._folder).rmdir()

    async def _remove_group(self) -> None:
        for _ in range(200):  # the kernel needs a moment for the last processes
            if self._group.remove():
                return
            await asyncio.sleep(0.01)
        logger.error("The control group of a local box can't be removed.")


_ENDINGS: set[asyncio.Future[None]] = set()  # the loop itself holds only weak references
