# SPDX-License-Identifier: Apache-2.0
"""A server process of the verifier as its parent sees it: starts it, talks to it against the clock, ends it."""

import contextlib
import json
import os
import select
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

import open_r1
from open_r1.rewards.verifier.server import RECORD, Settings

# poll() counts milliseconds in 32 bits.
_MAX_WAIT_S = 3_600.0
# Not `-m`: the package imports the module, which `-m` would then run a second time under another name.
_PROGRAM = "from open_r1.rewards.verifier.server import main; main()"


class DeadlinePassedError(Exception):
    """The time is over, for whatever reason."""


class ServerLostError(Exception):
    """A server ended, or never came up, while it was needed."""


class ServerProcess:
    """A server process, seen from its parent; used by one thread at a time."""

    def __init__(self, settings: Settings) -> None:
        self._errors = tempfile.TemporaryFile(buffering=0)  # noqa: SIM115 - closed with the server
        try:
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-c", _PROGRAM, json.dumps(asdict(settings))],
                bufsize=0,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self._errors,
                env=_environment(),
                # Ctrl-C at a terminal is for the parent; and the group can be killed as a whole.
                start_new_session=True,
            )
        except OSError:
            self._errors.close()
            raise
        assert self._process.stdin is not None and self._process.stdout is not None
        self._requests, self._replies = self._process.stdin, self._process.stdout
        os.set_blocking(self._requests.fileno(), False)
        os.set_blocking(self._replies.fileno(), False)
        self._received = bytearray()

    def is_idle(self) -> bool:
        """Whether it still lives: an idle server writes nothing, so what can be read is the end."""
        poll = select.poll()
        poll.register(self._replies, select.POLLIN)
        return not poll.poll(0)

    def records(self, request: bytes, deadline: float) -> Iterator[tuple[int, int, str]]:
        """Send a request and yield records (number, code, note) as they come, until the caller has enough.

        Raises:
            DeadlinePassedError: The server hasn't said by then what the caller waits for.
            ServerLostError: The server has ended.
        """
        unsent = memoryview(request)
        poll = select.poll()
        poll.register(self._replies, select.POLLIN)
        if unsent:
            poll.register(self._requests, select.POLLOUT)
        while True:
            # One record at a time: the caller may stop after any.
            while (record := self._next_record()) is not None:
                yield record
            wait_s = deadline - time.monotonic()
            if wait_s <= 0:
                raise DeadlinePassedError("a server did not answer by the deadline")
            ready = [descriptor for descriptor, _ in poll.poll(1000 * min(wait_s, _MAX_WAIT_S))]
            if self._replies.fileno() in ready:
                data = os.read(self._replies.fileno(), 65_536)
                if not data:
                    raise ServerLostError(self._last_words())
                self._received += data
            if unsent and self._requests.fileno() in ready:
                # Where the server is gone, the end of its replies tells so.
                with contextlib.suppress(BlockingIOError, BrokenPipeError):
                    unsent = unsent[os.write(self._requests.fileno(), unsent[: 2**16]) :]
                if not unsent:
                    poll.unregister(self._requests)

    def _next_record(self) -> tuple[int, int, str] | None:
        if len(self._received) < RECORD.size:
            return None
        number, code, length = RECORD.unpack_from(self._received)
        end = RECORD.size + length
        if len(self._received) < end:
            return None
        note = self._received[RECORD.size : end].decode("utf-8", "replace")
        del self._received[:end]
        return number, code, note

    def _last_words(self) -> str:
        """Return how the server ended and the end of what it wrote to stderr."""
        self.kill()
        size = os.fstat(self._errors.fileno()).st_size
        text = os.pread(self._errors.fileno(), 2_000, max(size - 2_000, 0)).decode("utf-8", "replace").strip()
        return f"server ended with {self._process.returncode}{': ' if text else ''}{text}"

    def kill(self) -> None:
        """Kill the server and its workers."""
        # PermissionError: macOS, when only zombies are left of the group.
        with contextlib.suppress(ProcessLookupError, PermissionError):
            if self._process.returncode is None:
                os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()

    def close(self) -> None:
        """Lets an idle server end its workers and itself, kills it if it doesn't, and closes the pipes."""
        self._requests.close()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(timeout=1.0)
        self.kill()
        self._replies.close()
        self._errors.close()

    def forget(self) -> None:
        """Close this process's copies of the pipes: the server belongs to the process that we were forked from."""
        # Else its destructor would warn of a running child; here it isn't one.
        self._process.returncode = 0
        for stream in (self._requests, self._replies, self._errors):
            stream.close()


def _environment() -> dict[str, str]:
    """Return the environment of a server: imports what this process imports, and starts no threads."""
    root = str(Path(open_r1.__file__).resolve().parents[1])
    paths = [path for path in sys.path if path]
    return {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(paths if root in paths else [*paths, root]),
        "PYTHONWARNINGS": "ignore",
        **dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1"),
    }
