# SPDX-License-Identifier: Apache-2.0
"""One program in one local box: its processes, the socket to its driver, its control group. It's always ended."""

import ast
import asyncio
import contextlib
import errno
import logging
import os
import signal
import socket
import subprocess
import weakref
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from open_r1.sandbox.base import Interactor, Limits, Outcome, ProgramInput, ProgramRun, RunRequest, SandboxError
from open_r1.sandbox.harness.folders import empty
from open_r1.sandbox.harness.processes import MOST_WAITING
from open_r1.sandbox.languages import find_language
from open_r1.sandbox.local.cgroups import Group, machine_oom_kills, make_group
from open_r1.sandbox.local.interpreter import Room, Started, memory_file
from open_r1.sandbox.local.landlock import check_folder
from open_r1.sandbox.wire import program_to_json

if TYPE_CHECKING:
    from open_r1.sandbox.local.setup import Setup

logger = logging.getLogger(__name__)

MIB = 1 << 20
CHUNK = 1 << 18
START_S = 30.0  # a box that the driver doesn't report from by then is no box
ANSWER_S = 20.0  # what the driver may take besides the programs, on a busy machine
LEAVE_S = 2.0  # what a driver that finds itself alone may take to end everything
END_S = 10.0  # what the kernel may take to end the processes in a box
DISK_BYTES = 256 * MIB  # what a program may write, in all its files
LEAST_DISK_BYTES = 16 * MIB  # with less left on the machine's disk, a failure may be for want of it
GROUP_MB = 48  # the driver and bubblewrap, besides the program
GROUP_PROCESSES = 8
HEADER_BYTES = 1 << 20
PART_BYTES = 1 << 30


class BoxLostError(Exception):
    """A run that may have ended for what others did: to be repeated in a new box.

    Args:
        message: What is known.
        run: What counts if the next box ends so too: the program has done it. None: it can't have done it.
    """

    def __init__(self, message: str, run: ProgramRun | None = None) -> None:
        super().__init__(message)
        self.run = run


class LocalBox:
    """A submission, or an interactor, in a box of its own. Make it with `open_box`, end it with `close`.

    Attributes:
        compiled: The compiler's run; None where nothing is compiled.
        binary: The compiled program, if it's kept.
        limits: Of a run.
        is_closed: Whether programs can't kill the driver.
        kills_itself: Whether a run that a SIGKILL ended is a result: this program's have ended so in two boxes.
    """

    def __init__(self, started: Started, way: socket.socket, group: Group | None, log: int, limits: Limits) -> None:
        self.process, self.root, self.folder = started.process, started.root, started.folder
        self.way, self.group, self.log, self.limits = way, group, log, limits
        self.compiled: ProgramRun | None = None
        self.binary: bytes | None = None
        self.kills_itself, self.is_closed = False, True
        self._has_run = False
        self._kills, self._machine_kills = 0, machine_oom_kills()
        self._waiting, self._patience_s = bytearray(), 0.0

    @property
    def has_program(self) -> bool:
        """Whether there is a program to run."""
        return self.compiled is None or self.compiled.outcome is Outcome.OK

    async def run_batch(self, inputs: Sequence[ProgramInput], runs: list[ProgramRun]) -> None:
        """Run the program on some inputs, appending to `runs`; the next input is sent while the program runs.

        Raises:
            BoxLostError, SandboxError: As of `result`.
        """

        async def feed() -> None:
            for given in inputs:
                await self.send_input(given)

        feeding = asyncio.ensure_future(feed())
        try:
            for _ in inputs:
                runs.append(await self.result())
        finally:
            feeding.cancel()
            await asyncio.gather(feeding, return_exceptions=True)

    async def send_input(self, given: ProgramInput, role: str | None = None, passed: Sequence[int] = ()) -> None:
        """Send what a run gets.

        Args:
            given: The input.
            role: "submission" or "interactor" in a communication task.
            passed: The ends of its pipes there: to read from, to write to.
        """
        stdin, files = _encoded(given.stdin), {name: _encoded(text) for name, text in given.files.items()}
        header = {
            "stdin": len(stdin),
            "files": _sizes(files),
            "args": [*given.args],
            "output_file": given.output_file,
            "role": role,
        }
        self._has_run = True
        await self._send(header, [stdin, *files.values()], passed)

    async def result(self) -> ProgramRun:
        """Return the next run.

        Raises:
            BoxLostError: The box is lost after a program has run in it.
            SandboxError: It's lost, and no program had anything to do with it.
        """
        return await self._run(self.limits)

    async def prepare(self, job: Mapping[str, Any], files: Mapping[str, bytes], compile_limits: Limits) -> None:
        """Send the program and wait until it is compiled; see `result`."""
        await self._send({**job, "files": _sizes(files, job["executable"])}, list(files.values()))
        if job["compile"] is not None:
            self._has_run = True
            self.compiled = await self._run(compile_limits)

    def limit_group(self, memory_mb: int, processes: int) -> None:
        """Lower the limits of the box from the compiler's to the program's, where a control group has them."""
        try:
            if self.group is not None:
                self.group.set_limits(memory_mb + GROUP_MB, processes + GROUP_PROCESSES)
        except OSError as error:
            if error.errno != errno.EBUSY:  # the compiler's files are still in memory
                raise

    async def _run(self, limits: Limits) -> ProgramRun:
        """Return the run that the driver reports next; the binary comes with the compiler's."""
        try:
            async with self._answers(MOST_WAITING * limits.backstop_s + ANSWER_S):
                record = await self._record()
                stdout, stderr, binary = [
                    await self._bytes(record.pop(name)) for name in ("stdout", "stderr", "binary")
                ]
                was_ended = record.pop("was_ended")
                run = ProgramRun(
                    Outcome(record.pop("outcome")),
                    stdout=stdout.decode("utf-8", "replace"),
                    stderr=stderr.decode("utf-8", "replace"),
                    **record,
                )
        except BoxLostError as error:
            own, others = self._memory_kills()
            if own:
                error.run = ProgramRun(Outcome.MEMORY_LIMIT, stderr=f"The program ended its box. {error}")
            elif others:
                error.run = None
            raise
        self.binary = self.binary or binary or None
        # Asked after each run, also after one that ended well: a kill is never charged to a later one.
        own, others = self._memory_kills()
        if own:
            return replace(run, outcome=Outcome.MEMORY_LIMIT)
        if run.outcome is Outcome.RUNTIME_ERROR and not was_ended:
            self._require_own_failure(run, others)
        return run

    def _memory_kills(self) -> tuple[bool, bool]:
        """Return whether the kernel has killed since this was last asked: for the box's limit, for want elsewhere."""
        known, self._machine_kills = self._machine_kills, machine_oom_kills()
        elsewhere = self._machine_kills > known
        if self.group is None:
            return False, elsewhere
        kills, self._kills = self._kills, self.group.oom_kills()
        if self._kills == kills:
            return False, False
        is_own = self.group.has_met_limit()
        return is_own, not is_own

    def _require_own_failure(self, run: ProgramRun, was_memory_elsewhere: bool) -> None:
        """Raise BoxLostError for a failure that others may have caused."""
        words = "Killed signal terminated program"  # of a compiler's own child, as GCC says it
        is_killed = signal.SIGKILL in (run.signal, (run.exit_code or 0) - 128) or words in run.stderr
        if was_memory_elsewhere and (is_killed or self.group is not None):
            raise BoxLostError("The machine, or the trainer's own group, has no memory left.")
        if is_killed and not self.kills_itself:
            raise BoxLostError("A program was killed, and not by its box.", run)
        if self.folder is not None:
            try:
                check_folder(self.folder, LEAST_DISK_BYTES)
            except OSError as error:
                raise BoxLostError(f"The folder of a box has no room any more: {error}") from error

    async def _send(self, header: dict[str, Any], parts: Sequence[bytes] = (), passed: Sequence[int] = ()) -> None:
        """Send a message, and descriptors with it."""
        loop = asyncio.get_running_loop()
        line = repr(header).encode() + b"\n"
        try:
            if passed:
                await self._writable()
                line = line[socket.send_fds(self.way, [line], list(passed)) :]
            await loop.sock_sendall(self.way, line)
            for part in parts:
                await loop.sock_sendall(self.way, part)
        except OSError as error:
            self._fail(f"The box takes nothing more ({error}). {self._said()}", error)

    async def ready(self) -> None:
        """Wait for the driver's report."""
        async with self._answers(START_S):
            await self._record()

    @contextlib.asynccontextmanager
    async def _answers(self, timeout_s: float) -> Any:
        """Limit the time that answers may take; turn what is wrong with them into the loss of the box."""
        self._patience_s = timeout_s
        try:
            yield
        except (OSError, ValueError, TypeError, KeyError, SyntaxError) as error:
            self._fail(f"The box is lost ({type(error).__name__}: {error}). {self._said()}", error)

    async def _record(self) -> dict[str, Any]:
        while b"\n" not in self._waiting:
            if len(self._waiting) > HEADER_BYTES:
                raise ValueError("a line without end")
            await self._more()
        line, _, rest = bytes(self._waiting).partition(b"\n")
        self._waiting = bytearray(rest)
        record = ast.literal_eval(line.decode())
        if "error" in record:
            self._has_run = self._has_run and record["has_run"] != 0
            self._fail(f"The driver failed: {record['error']}.")
        return record

    async def _bytes(self, size: int) -> bytes:
        if not 0 <= size <= PART_BYTES:
            raise ValueError(f"a part of {size} bytes")
        while len(self._waiting) < size:
            await self._more()
        taken = bytes(self._waiting[:size])
        del self._waiting[:size]
        return taken

    async def _more(self) -> None:
        """Read what comes next; of a time in which this process was stopped, a second at most counts."""
        loop = asyncio.get_running_loop()
        while True:
            try:
                data = self.way.recv(CHUNK)
                break
            except BlockingIOError:
                pass
            if self._patience_s <= 0:
                raise TimeoutError("the driver is silent")
            step_s = min(1.0, self._patience_s)
            ready = loop.create_future()
            loop.add_reader(self.way, lambda ready=ready: ready.done() or ready.set_result(None))
            try:
                await asyncio.wait([ready], timeout=step_s)
            finally:
                loop.remove_reader(self.way)
            self._patience_s -= 0.0 if ready.done() else step_s
        if not data:
            raise ConnectionResetError("the driver has ended")
        self._waiting += data

    async def _writable(self) -> None:
        loop = asyncio.get_running_loop()
        ready = loop.create_future()
        loop.add_writer(self.way, lambda: ready.done() or ready.set_result(None))
        try:
            await ready
        finally:
            loop.remove_writer(self.way)

    def _fail(self, message: str, cause: Exception | None = None) -> NoReturn:
        if not self._has_run:
            raise SandboxError(message) from cause
        # A driver that ends without a word was killed from outside, where programs can't do it.
        is_killed = self.is_closed and isinstance(cause, ConnectionError) and not self._said()
        run = ProgramRun(Outcome.RUNTIME_ERROR, stderr=f"The program ended its box. {message}")
        raise BoxLostError(message, None if is_killed else run) from cause

    def _said(self) -> str:
        """Return what bubblewrap or the driver complained of."""
        return os.pread(self.log, 4096, 0).decode("utf-8", "replace").strip()

    def enter_group(self) -> None:
        """Move all processes of the box into its control group; the kernel may take some milliseconds for that."""
        if self.group is not None:
            with contextlib.suppress(ProcessLookupError):  # it has ended already: there will be no report
                self.group.add(self.process.pid)

    async def close(self, entering: asyncio.Future[None] | None = None) -> None:
        """End everything in the box and wait until it's gone; a caller cancelled any number of times holds nothing up.

        Args:
            entering: What still moves the box into its control group, to be waited for first.
        """
        self.way.close()  # the driver ends everything when nobody is there any more
        ending = asyncio.ensure_future(self._ended(entering))
        _ENDINGS.add(ending)
        ending.add_done_callback(_ENDINGS.discard)
        await asyncio.shield(ending)

    async def _ended(self, entering: asyncio.Future[None] | None) -> None:
        try:
            if entering is not None:
                await asyncio.wait([entering])
                entering.exception()  # who opened the box has it, or something graver
            if not await _exited(self.process, LEAVE_S):
                self._kill()
                if not await _exited(self.process, END_S):
                    logger.error("A local box (process %d) doesn't end.", self.process.pid)
                    return
            await self._remove_traces()
        except OSError as error:  # no reason to lose the results
            logger.error("What a local box has left can't be removed: %s.", error)
        finally:
            os.close(self.log)

    async def _remove_traces(self) -> None:
        """Remove the folder and the group; the kernel needs a moment for its last processes."""
        if self.folder is not None:
            empty(self.folder)
            Path(self.folder).rmdir()
        group, patience = self.group, 200
        while group is not None and not group.remove():
            if patience == 0:
                logger.error("The control group of a local box can't be removed: processes %s.", group.pids())
                return
            patience -= 1
            group.kill()
            await asyncio.sleep(0.01)

    def _kill(self) -> None:
        """Kill the driver, with which the kernel ends all others in the box; then what holds the box."""
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children")
        with contextlib.suppress(OSError):  # a kernel without these lists, or it has just ended
            for child in children.read_text().split():
                os.kill(int(child), signal.SIGKILL)
                return  # its parent ends by itself, behind everything in the box
        self.process.kill()


_ENDINGS: set[asyncio.Future[None]] = set()  # the loop itself holds only weak references
_WAYS: weakref.WeakSet[socket.socket] = weakref.WeakSet()  # of all boxes, both ends


def _close_ways() -> None:
    """Close what a fork of this process got of its boxes: a box ends when nobody holds its socket any more."""
    for way in list(_WAYS):
        way.close()


os.register_at_fork(after_in_child=_close_ways)


async def _exited(process: subprocess.Popen[bytes], timeout_s: float) -> bool:
    """Wait for the end of a process without a thread; return whether it came in time."""
    loop = asyncio.get_running_loop()
    pidfd = os.pidfd_open(process.pid)
    ended = loop.create_future()
    loop.add_reader(pidfd, lambda: ended.done() or ended.set_result(None))
    try:
        async with asyncio.timeout(timeout_s):
            await ended
    except TimeoutError:
        return False
    finally:
        loop.remove_reader(pidfd)
        os.close(pidfd)
    process.wait()
    return True


async def open_box(
    setup: "Setup",
    part: RunRequest | Interactor,
    inputs: Sequence[ProgramInput],
    compile_limits: Limits,
    keeps_binary: bool = False,
) -> LocalBox:
    """Start a box, send the program and compile it.

    Args:
        setup: How boxes are made.
        part: The program.
        inputs: What it will get: the box has room for it.
        compile_limits: Of the compiler.
        keeps_binary: Whether the compiled program comes out.

    Raises:
        BoxLostError, SandboxError: As of `LocalBox.result`.
    """
    program = setup.programs.get(find_language(part.language).name)
    job = program_to_json(part, compile_limits, program) | {"keeps_binary": keeps_binary}
    files = {
        name: content if isinstance(content, bytes) else _encoded(content) for name, content in part.files.items()
    }
    extra = sum(map(len, files.values())) + max(map(_size, inputs), default=0)
    extra_mb = -(-(extra + 2 * part.limits.output_bytes) // MIB)  # the driver holds what a program prints
    memory_mb, processes = part.limits.memory_mb + extra_mb, part.limits.processes
    first = (memory_mb, processes)
    if job["compile"] is not None:
        first = (max(memory_mb, compile_limits.memory_mb), max(processes, compile_limits.processes))
    box = await _start(setup, Room(DISK_BYTES + extra, *first), part.limits)
    try:
        job |= {"root": box.root, "watches": box.group is None}
        await box.prepare(job, files, compile_limits)
        if first != (memory_mb, processes):
            box.limit_group(memory_mb, processes)
    except BaseException:
        await box.close()
        raise
    return box


async def _start(setup: "Setup", room: Room, limits: Limits) -> LocalBox:
    """Start a box and return it once its driver has reported.

    Raises:
        SandboxError: It doesn't start.
    """
    try:
        box = _start_processes(setup, room, limits)
    except OSError as error:  # no descriptors, processes or memory are left, or no room for a folder
        raise SandboxError(f"A local box can't be started: {error}.") from error
    entering = asyncio.ensure_future(asyncio.to_thread(box.enter_group))
    try:
        await box.ready()
        await asyncio.shield(entering)
    except BaseException as error:
        await box.close(entering)
        if isinstance(error, (OSError, RuntimeError)):  # the latter where no thread can be started
            raise SandboxError(f"A local box can't be put into its control group: {error}.") from error
        raise
    return box


def _start_processes(setup: "Setup", room: Room, limits: Limits) -> LocalBox:
    """Start the processes of a box; what was made for them is gone if that fails."""
    with contextlib.ExitStack() as stack:
        group = make_group(room.memory_mb + GROUP_MB, room.processes + GROUP_PROCESSES)
        if group is not None:
            stack.callback(group.remove)
        log = memory_file(b"")
        stack.callback(os.close, log)
        ours, theirs = socket.socketpair()
        _WAYS.update((ours, theirs))
        stack.callback(ours.close)
        with theirs:
            ours.setblocking(False)
            started = setup.mechanism.start(setup.interpreter, setup.folders, theirs.fileno(), log, room)
        stack.pop_all()
    box = LocalBox(started, ours, group, log, limits)
    box.is_closed = setup.mechanism.name != "none"
    return box


def _encoded(text: str) -> bytes:
    """Return a text as bytes; what can't be in UTF-8 (half a surrogate pair) becomes a question mark."""
    return text.encode("utf-8", "replace")


def _sizes(files: Mapping[str, bytes], executable: str | None = None) -> list[tuple[str, int, bool]]:
    return [(name, len(content), name == executable) for name, content in files.items()]


def _size(given: ProgramInput) -> int:
    """Return an upper bound of the bytes of an input."""
    texts = (given.stdin, *given.files.values())
    return sum(len(text) if text.isascii() else 4 * len(text) for text in texts)
