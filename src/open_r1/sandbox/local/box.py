# SPDX-License-Identifier: Apache-2.0
"""One local box: its processes, the socket to its driver, its control group. It's always ended, and waited for."""

import asyncio
import contextlib
import json
import logging
import os
import signal
import socket
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from open_r1.sandbox.base import SandboxError
from open_r1.sandbox.harness.folders import empty
from open_r1.sandbox.local.cgroups import Group, make_group
from open_r1.sandbox.local.setup import Setup
from open_r1.sandbox.local.started import Room, Started, memory_file

logger = logging.getLogger(__name__)

CHUNK = 1 << 18
START_S = 30.0  # a box that the driver doesn't report from by then is no box
LEAVE_S = 2.0  # what a driver that finds itself alone may take to end everything
END_S = 10.0  # what the kernel may take to end the processes in a box
GROUP_MB = 48  # the driver and bubblewrap, besides the program
GROUP_PROCESSES = 8
HEADER_BYTES = 1 << 20
PART_BYTES = 1 << 30


class BoxLostError(Exception):
    """The driver ended, fell silent or talked nonsense after programs had run: they may have done it.

    Attributes:
        was_memory: Whether the kernel had killed a process for want of memory.
    """

    was_memory = False


@dataclass(frozen=True)
class Reply:
    """An answer of the driver: what a program did, its output, its errors, the binary."""

    record: dict[str, Any]
    stdout: bytes = b""
    stderr: bytes = b""
    binary: bytes = b""


class LocalBox:
    """A box that runs. Make it with `open_box`, end it with `close`."""

    def __init__(self, started: Started, way: socket.socket, group: Group | None, log: int) -> None:
        self.process, self.root, self.folder = started.process, started.root, started.folder
        self.way, self.group, self.log = way, group, log
        self.has_run = False
        self._waiting = bytearray()

    def enter_group(self) -> None:
        """Move all processes of the box into its control group; the kernel may take some milliseconds for that."""
        if self.group is not None:
            with contextlib.suppress(ProcessLookupError):  # it has ended already: there will be no report
                self.group.add(self.process.pid)

    def limit(self, memory_mb: int, processes: int) -> None:
        """Change what everything in the box may use, where a control group limits it; see `Group.set_limits`."""
        if self.group is not None:
            self.group.set_limits(memory_mb + GROUP_MB, processes + GROUP_PROCESSES)

    async def send(self, header: dict[str, Any], parts: Sequence[bytes] = (), passed: Sequence[int] = ()) -> None:
        """Send a message, and descriptors with it.

        Raises:
            BoxLostError, SandboxError: Nobody takes it; see `reply`.
        """
        loop = asyncio.get_running_loop()
        line = json.dumps(header).encode() + b"\n"
        try:
            if passed:
                await self._writable()
                line = line[socket.send_fds(self.way, [line], list(passed)) :]
            await loop.sock_sendall(self.way, line)
            for part in parts:
                await loop.sock_sendall(self.way, part)
        except OSError as error:
            self._fail(f"The box takes nothing more ({error}). {self.said()}", error)

    async def reply(self, timeout_s: float) -> Reply:
        """Return the driver's next answer.

        Raises:
            BoxLostError: There's none, after a program has run in the box.
            SandboxError: There's none, and no program had anything to do with it.
        """
        try:
            async with asyncio.timeout(timeout_s):
                record = json.loads(await self._line())
                if not isinstance(record, dict):
                    raise ValueError("an answer is a record")
                parts = [await self._bytes(int(record.pop(name, 0))) for name in ("stdout", "stderr", "binary")]
        except (OSError, ValueError, TypeError) as error:
            self._fail(f"The box is lost ({type(error).__name__}: {error}). {self.said()}", error)
        if "error" in record:
            self.has_run = self.has_run and record.get("has_run") != 0
            self._fail(f"The driver failed: {record['error']}.")
        return Reply(record, *parts)

    def _fail(self, message: str, cause: Exception | None = None) -> NoReturn:
        raise (BoxLostError if self.has_run else SandboxError)(message) from cause

    async def _line(self) -> bytes:
        while b"\n" not in self._waiting:
            if len(self._waiting) > HEADER_BYTES:
                raise ValueError("a line without end")
            await self._more()
        line, _, rest = bytes(self._waiting).partition(b"\n")
        self._waiting = bytearray(rest)
        return line

    async def _bytes(self, size: int) -> bytes:
        if not 0 <= size <= PART_BYTES:
            raise ValueError(f"a part of {size} bytes")
        while len(self._waiting) < size:
            await self._more()
        taken = bytes(self._waiting[:size])
        del self._waiting[:size]
        return taken

    async def _more(self) -> None:
        data = await asyncio.get_running_loop().sock_recv(self.way, CHUNK)
        if not data:
            raise ConnectionError("the driver has ended")
        self._waiting += data

    async def _writable(self) -> None:
        loop = asyncio.get_running_loop()
        ready = loop.create_future()
        loop.add_writer(self.way, lambda: ready.done() or ready.set_result(None))
        try:
            await ready
        finally:
            loop.remove_writer(self.way)

    def said(self) -> str:
        """Return what bubblewrap or the driver complained of."""
        return os.pread(self.log, 4096, 0).decode("utf-8", "replace").strip()

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
            if not await exited(self.process, LEAVE_S):
                self._kill()
                if not await exited(self.process, END_S):
                    logger.error("A local box (process %d) doesn't end.", self.process.pid)
                    return
            await self._remove_traces()
        finally:
            os.close(self.log)

    async def _remove_traces(self) -> None:
        """Remove the group and the folder; what can't be removed is no reason to lose the results."""
        try:
            if self.group is not None:
                await self._remove_group(self.group)
        except OSError as error:
            logger.error("The control group of a local box can't be removed: %s.", error)
        try:
            if self.folder is not None:
                empty(self.folder)
                Path(self.folder).rmdir()
        except OSError as error:
            logger.error("The folder of a local box can't be removed: %s.", error)

    async def _remove_group(self, group: Group) -> None:
        for _ in range(200):
            if group.remove():
                return
            group.kill()
            await asyncio.sleep(0.01)
        logger.error("The control group of a local box can't be removed: processes %s.", group.pids())

    def _kill(self) -> None:
        """Kill the driver, with which the kernel ends all others in the box; then what holds the box."""
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children")
        with contextlib.suppress(OSError):  # a kernel without these lists, or it has just ended
            for child in children.read_text().split():
                os.kill(int(child), signal.SIGKILL)
                return  # its parent ends by itself, behind everything in the box
        self.process.kill()


_ENDINGS: set[asyncio.Future[None]] = set()  # the loop itself holds only weak references


async def exited(process: subprocess.Popen[bytes], timeout_s: float) -> bool:
    """Wait for the end of a process without a thread; return whether it came in time."""
    loop = asyncio.get_running_loop()
    try:
        pidfd = os.pidfd_open(process.pid)
    except (OSError, AttributeError):  # Linux before 5.3
        deadline = loop.time() + timeout_s
        while process.poll() is None and loop.time() < deadline:
            await asyncio.sleep(0.005)
        return process.poll() is not None
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


async def open_box(setup: Setup, room: Room) -> LocalBox:
    """Start a box and return it once its driver has reported.

    Args:
        setup: How boxes are made in this process.
        room: What may be used in it.

    Raises:
        SandboxError: It doesn't start.
    """
    try:
        box = _start(setup, room)
    except OSError as error:  # no descriptors, processes or memory are left, or no room for a folder
        raise SandboxError(f"A local box can't be started: {error}.") from error
    entering = asyncio.ensure_future(asyncio.to_thread(box.enter_group))
    try:
        await box.reply(START_S)
        await asyncio.shield(entering)
    except BaseException as error:
        await box.close(entering)
        if isinstance(error, (OSError, RuntimeError)):  # the latter where no thread can be started
            raise SandboxError(f"A local box can't be put into its control group: {error}.") from error
        raise
    return box


def _start(setup: Setup, room: Room) -> LocalBox:
    """Start the processes of a box; what was made for them is gone if that fails."""
    with contextlib.ExitStack() as stack:
        group = make_group(room.memory_mb + GROUP_MB, room.processes + GROUP_PROCESSES)
        if group is not None:
            stack.callback(group.remove)
        log = memory_file(b"")
        stack.callback(os.close, log)
        ours, theirs = socket.socketpair()
        stack.callback(ours.close)
        with theirs:
            ours.setblocking(False)
            started = setup.start(theirs.fileno(), log, room)
        stack.pop_all()
    return LocalBox(started, ours, group, log)
