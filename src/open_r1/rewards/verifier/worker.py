# SPDX-License-Identifier: Apache-2.0
"""One worker process: a forked child of `server` that judges pair after pair and may be killed at any moment.

What is covered: CPU time (a kernel timer whose signal kills, so that even an operation that holds the interpreter
ends), memory (RLIMIT_AS, Linux), crashes, endless printing, core dumps, the death of the server.
What is not covered: files, the network and other processes; this is no sandbox for programs.
"""

import contextlib
import ctypes
import os
import resource
import signal
import socket
import struct
import sys
import traceback
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

from open_r1.rewards.verifier.verdict import Verdict

Judge = Callable[[str, str | None, Callable[[], None]], Verdict]

VERDICTS = tuple(Verdict)
# What comes before a pair: CPU seconds, bytes of the gold, bytes of the answer.
ORDER = struct.Struct("!dII")
NO_ANSWER_LENGTH = 2**32 - 1
# What comes back: index in VERDICTS or GOLD_READ, whether the worker ends now, bytes of the note that follows.
REPLY = struct.Struct("!B?H")
GOLD_READ = 255
SETUP_FAILED = 70

_MAX_NOTE_CHARS = 200
# The caches of the algebra system grow, and a new worker costs a few milliseconds.
_MAX_PAIRS = 1_000
_PR_SET_PDEATHSIG = 1


@dataclass(eq=False)
class Worker:
    """A worker from the server's side, and the pair it is busy with."""

    pid: int
    connection: socket.socket
    unsent: memoryview = field(default_factory=lambda: memoryview(b""))
    received: bytearray = field(default_factory=bytearray)

    def fileno(self) -> int:
        """Return the descriptor to wait on."""
        return self.connection.fileno()

    def send(self, data: bytes = b"") -> None:
        """Send as much as the worker takes now; the rest stays in `unsent`."""
        if data:
            self.unsent = memoryview(data)
        try:
            while self.unsent:
                self.unsent = self.unsent[self.connection.send(self.unsent) :]
        except BlockingIOError:
            return
        except (BrokenPipeError, ConnectionResetError):
            # It is dead: the end of its replies tells so.
            self.unsent = memoryview(b"")

    def replies(self) -> list[tuple[int, bool, str]] | None:
        """Return the replies (code, is it the last, note) that have come; None when the worker is dead."""
        try:
            data = self.connection.recv(65_536)
        except BlockingIOError:
            return []
        except ConnectionResetError:
            return None
        self.received += data
        replies = []
        while len(self.received) >= REPLY.size:
            code, is_last, length = REPLY.unpack_from(self.received)
            end = REPLY.size + length
            if len(self.received) < end:
                break
            replies.append((code, is_last, self.received[REPLY.size : end].decode()))
            del self.received[:end]
        return replies if data or replies else None

    def end(self) -> int:
        """Kill the worker if it still lives and return its wait status."""
        # A process that is ending already keeps the status it ends with.
        os.kill(self.pid, signal.SIGKILL)
        _, status = os.waitpid(self.pid, 0)
        self.connection.close()
        return status


def start_worker(judge: Judge, *, memory_mb: int, inherited: Iterable[int]) -> Worker:
    """Fork a worker from this single-threaded process; the child closes the `inherited` descriptors."""
    ours, theirs = socket.socketpair()
    server_pid = os.getpid()
    pid = os.fork()
    if pid == 0:
        status = SETUP_FAILED
        try:
            _run_worker(theirs, judge, memory_mb, server_pid, [ours.fileno(), *inherited])
            status = 0
        except (BrokenPipeError, ConnectionResetError):
            status = 0  # the server is gone
        except BaseException:  # noqa: BLE001 - last words; the server tells the pool with which status it ended
            traceback.print_exc()
        finally:
            # A child must never return into the server's code.
            os._exit(status)
    theirs.close()
    ours.setblocking(False)
    return Worker(pid, ours)


def _run_worker(
    connection: socket.socket, judge: Judge, memory_mb: int, server_pid: int, inherited: list[int]
) -> None:
    """Judge until the server is gone or the worker is worn."""
    for descriptor in inherited:
        os.close(descriptor)
    _die_with(server_pid)
    _limit_itself(memory_mb)
    with connection, connection.makefile("rb") as orders:
        _judge_pairs(connection, orders, judge, memory_mb)


def _die_with(server_pid: int) -> None:
    """Ask the kernel to kill this process with the server; elsewhere than on Linux, the end of the orders does it."""
    if sys.platform == "linux":
        # The server has one thread, so that it is the end of the process that counts.
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != server_pid:
        os._exit(0)


def _limit_itself(memory_mb: int) -> None:
    # 1 and not 0: a core dump piped to a program ignores 0.
    _lower_limit(resource.RLIMIT_CORE, 1)
    if sys.platform == "linux":
        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0])
        _lower_limit(resource.RLIMIT_AS, pages * resource.getpagesize() + memory_mb * 2**20)
        # When the machine itself runs out of memory a worker should go, not the training.
        with contextlib.suppress(OSError):  # a container may forbid it
            Path("/proc/self/oom_score_adj").write_text("1000", encoding="ascii")
    signal.signal(signal.SIGPROF, signal.SIG_DFL)
    # Whatever a library prints belongs neither to the protocol nor to the log of the server.
    nowhere = os.open(os.devnull, os.O_RDWR)
    for descriptor in (0, 1, 2):
        os.dup2(nowhere, descriptor)
    os.close(nowhere)


def _lower_limit(which: int, limit: int) -> None:
    _, hard = resource.getrlimit(which)
    soft = limit if hard == resource.RLIM_INFINITY else min(limit, hard)
    resource.setrlimit(which, (soft, hard))


def _judge_pairs(connection: socket.socket, orders: BinaryIO, judge: Judge, memory_mb: int) -> None:
    peak_at_start = _peak_memory_mb()
    for number in range(1, _MAX_PAIRS + 1):
        header = orders.read(ORDER.size)
        if len(header) < ORDER.size:
            return
        cpu_s, gold_length, answer_length = ORDER.unpack(header)
        # Counts CPU time, user and system, of this process; its signal kills, whatever the interpreter is doing.
        signal.setitimer(signal.ITIMER_PROF, cpu_s)
        code, note = _judge_one(connection, orders, judge, gold_length, answer_length)
        signal.setitimer(signal.ITIMER_PROF, 0)
        is_last = bool(note) or number == _MAX_PAIRS or _peak_memory_mb() - peak_at_start > memory_mb // 4
        connection.sendall(REPLY.pack(code, is_last, len(note)) + note)
        if is_last:
            return


def _judge_one(
    connection: socket.socket, orders: BinaryIO, judge: Judge, gold_length: int, answer_length: int
) -> tuple[int, bytes]:
    """Return the verdict's number, and a note where the judge failed."""
    has_answer = answer_length != NO_ANSWER_LENGTH

    def on_gold_read() -> None:
        connection.sendall(REPLY.pack(GOLD_READ, False, 0))

    try:
        gold = orders.read(gold_length).decode("utf-8", "surrogatepass")
        answer = orders.read(answer_length).decode("utf-8", "surrogatepass") if has_answer else None
        return VERDICTS.index(judge(gold, answer, on_gold_read)), b""
    except BaseException as error:  # noqa: BLE001 - any text meets an algebra system here; counted, noted and logged
        return VERDICTS.index(Verdict.CRASH), _describe(error)


def _describe(error: BaseException) -> bytes:
    try:
        text = f"{type(error).__name__}: {error}"
    except Exception:  # noqa: BLE001 - the message itself may be too large to build; the type says enough
        text = type(error).__name__
    return text[:_MAX_NOTE_CHARS].encode("utf-8", "replace")


def _peak_memory_mb() -> int:
    per_mb = 2**20 if sys.platform == "darwin" else 2**10
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // per_mb
