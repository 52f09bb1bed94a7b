# SPDX-License-Identifier: Apache-2.0
"""Supervisor of one program: ends it, and all that it has started, when whoever asked for it is gone.

    python -I supervisor.py GRACE_S PROGRAM [ARGUMENT...]

When the other end of standard input closes, which the kernel does for a process that was killed too, or at SIGTERM,
the program gets SIGTERM, `GRACE_S` seconds, then SIGKILL. Standard library alone, so that it starts in 30 ms.
"""

import contextlib
import ctypes
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

_PR_SET_PDEATHSIG, _PR_SET_CHILD_SUBREAPER = 1, 36
_TICK_S = 0.05


def main(grace_s: float, command: list[str]) -> int:
    """Run the program to its end or ours; return its exit status as a shell would say it."""
    ends: list[int] = []  # noted, no exceptions: those could come while all is being ended
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, lambda number, frame: ends.append(number))
    threading.Thread(target=lambda: ends.extend(sys.stdin.buffer.read() or [0]), daemon=True).start()
    _prctl(_PR_SET_CHILD_SUBREAPER, 1)  # orphans of the program become ours, so we can end them
    try:
        program = subprocess.Popen(command, stdin=subprocess.DEVNULL, start_new_session=True, preexec_fn=_die_with_us)
    except OSError as error:
        sys.stderr.write(f"cannot start {command[0]}: {error}\n")
        return 127
    while program.poll() is None and not ends:
        time.sleep(_TICK_S)
    if program.poll() is None:
        program.terminate()  # it alone: what it has started is for it to end in order
        with contextlib.suppress(subprocess.TimeoutExpired):
            program.wait(grace_s)
    with contextlib.suppress(ProcessLookupError, PermissionError):  # it is empty by now
        os.killpg(program.pid, signal.SIGKILL)
    status = program.wait()
    for _ in range(200):
        with contextlib.suppress(ChildProcessError):
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        left = [pid for file in Path("/proc/self/task").glob("*/children") for pid in file.read_text().split()]
        if not left:
            break
        for pid in left:
            with contextlib.suppress(ProcessLookupError):
                os.kill(int(pid), signal.SIGKILL)
        time.sleep(_TICK_S)
    return status if status >= 0 else 128 - status


def _prctl(option: int, value: int) -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(option, value)


def _die_with_us() -> None:
    _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)  # should the supervisor itself be killed


if __name__ == "__main__":
    # Not by sys.exit, which would wait for the thread's lock on standard input.
    os._exit(main(float(sys.argv[1]), sys.argv[2:]))
