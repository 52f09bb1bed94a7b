# SPDX-License-Identifier: Apache-2.0
"""A judge for the tests of the verifier's pool: gold and answer are commands that it obeys, the gold's first.

`burn 0.3` `sleep 60` `power` `eat 4000` `recurse` `raise` `exit 3` `leave 3` `kill SIGSEGV` `kill_server` `print`
`count path` `hang_once path`, several joined by ` && `; anything else is compared as text.
"""

import ctypes
import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path

from open_r1.rewards.verifier.verdict import Verdict


def obey(gold: str, answer: str | None, on_gold_read: Callable[[], None]) -> Verdict:
    """Does what the gold says, tells that the gold is read, does what the answer says, compares."""
    for command in gold.split(" && "):
        _run(command)
    on_gold_read()
    if answer is None:
        return Verdict.NO_ANSWER
    for command in answer.split(" && "):
        _run(command)
    return Verdict.RIGHT if gold == answer or answer.endswith("right") else Verdict.WRONG


def describe_process(gold: str, answer: str | None, on_gold_read: Callable[[], None]) -> Verdict:
    """Raises what the test wants to know, so that it is in the log."""
    num_threads = len(list(Path(f"/proc/{os.getppid()}/task").iterdir()))
    raise RuntimeError(f"threads={num_threads} torch={'torch' in sys.modules} sympy={'sympy' in sys.modules}")


def prepare() -> None:
    """Warms nothing up."""
    print("printed while starting")


def fail_to_start() -> None:
    """Fails before there is any worker."""
    raise RuntimeError("no algebra system on this machine")


def _run(command: str) -> None:
    name, _, argument = command.partition(" ")
    if name in COMMANDS:
        COMMANDS[name](argument)


def _burn(seconds: str) -> None:
    end = time.process_time() + float(seconds)
    while time.process_time() < end:
        pass


def _power(_: str) -> None:
    # One operation that holds the interpreter for longer than any test takes.
    _ = 9 ** (10**9)


def _eat(megabytes: str) -> None:
    eaten = []
    for _ in range(int(megabytes)):
        eaten.append(b"x" * 2**20)


def _recurse(_: str) -> None:
    _recurse(_)


def _raise(message: str) -> None:
    raise ValueError(message)


def _kill(name: str) -> None:
    os.kill(os.getpid(), getattr(signal, name))
    time.sleep(60)


def _kill_server(_: str) -> None:
    os.kill(os.getppid(), signal.SIGKILL)
    time.sleep(60)


def _print(_: str) -> None:
    for stream in (sys.stdout, sys.stderr):
        print("noise " * 1_000, file=stream, flush=True)
    os.write(1, b"\0" * 100_000)
    ctypes.CDLL(None).puts(b"noise of a C library")


def _count(path: str) -> None:
    """Adds a byte to a file, so that the test sees how often this ran."""
    with Path(path).open("ab") as file:
        file.write(b"x")


def _hang_once(path: str) -> None:
    """Hangs until it's killed, unless it has done so before: the file, with the worker's number, says so."""
    try:
        with Path(path).open("x", encoding="ascii") as file:
            file.write(str(os.getpid()))
    except FileExistsError:
        return
    time.sleep(600)


COMMANDS: dict[str, Callable[[str], None]] = {
    "burn": _burn,
    "sleep": lambda seconds: time.sleep(float(seconds)),
    "power": _power,
    "eat": _eat,
    "recurse": _recurse,
    "raise": _raise,
    "exit": lambda status: os._exit(int(status)),
    "leave": lambda status: sys.exit(int(status)),
    "kill": _kill,
    "kill_server": _kill_server,
    "print": _print,
    "count": _count,
    "hang_once": _hang_once,
}
