# SPDX-License-Identifier: Apache-2.0
"""Runs a program and ends it, and all that it has started, when whoever asked for it says so or is gone.

    python -I minder.py GRACE_S PROGRAM [ARGUMENT...]

Standard input is the leash: when its other end closes, which the kernel does for a process that was killed too, the
program gets SIGTERM, `GRACE_S` seconds, then SIGKILL. Standard library alone, so that it starts in 30 ms.
"""

import contextlib
import ctypes
import os
import select
import signal
import subprocess
import sys
import time
from pathlib import Path

_PR_SET_PDEATHSIG, _PR_SET_CHILD_SUBREAPER = 1, 36
_TICK_S = 0.05


def main(grace_s: float, command: list[str]) -> int:
    """Run the program to its end or ours; return its exit status as a shell would say it."""
    told: list[int] = []  # signals; no exception, which could come anywhere, also while all is being ended
    woken, waker = os.pipe()
    os.set_blocking(waker, False)
    signal.set_wakeup_fd(waker, warn_on_full_buffer=False)
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, lambda number, frame: told.append(number))
    signal.signal(signal.SIGCHLD, lambda number, frame: None)  # so that it wakes us
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1)  # orphans of the program become ours, so we can end them
    try:
        program = subprocess.Popen(command, stdin=subprocess.DEVNULL, start_new_session=True, preexec_fn=_die_with_us)
    except OSError as error:
        sys.stderr.write(f"cannot start {command[0]}: {error}\n")
        return 127
    while program.poll() is None and not told and not _is_leash_gone(woken):
        pass
    if program.poll() is None:
        program.terminate()  # it alone: what it has started is for it to end in order
        with contextlib.suppress(subprocess.TimeoutExpired):
            program.wait(grace_s)
    _end_all(program)
    status = program.returncode
    return status if status >= 0 else 128 - status


def _die_with_us() -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)  # should the minder itself be killed


def _is_leash_gone(woken: int) -> bool:
    """Wait for a signal or a change of the leash, and say whether it is gone."""
    ready, _, _ = select.select([0, woken], [], [])
    if woken in ready:
        os.read(woken, 4096)
    return 0 in ready and not os.read(0, 4096)


def _kill_group(pid: int) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):  # it is empty by now
        os.killpg(pid, signal.SIGKILL)


def _end_all(program: subprocess.Popen) -> None:
    """Kill the group, then what has left it, until nothing is there."""
    _kill_group(program.pid)
    program.wait()
    for _ in range(200):
        _reap()
        left = _children()
        if not left:
            return
        for pid in left:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(_TICK_S)


def _reap() -> None:
    with contextlib.suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass


def _children() -> list[int]:
    """Children of this process; none where the kernel does not say."""
    try:
        files = list(Path("/proc/self/task").glob("*/children"))
        return [int(pid) for file in files for pid in file.read_text(encoding="ascii").split()]
    except OSError:
        return []


if __name__ == "__main__":
    sys.exit(main(float(sys.argv[1]), sys.argv[2:]))
