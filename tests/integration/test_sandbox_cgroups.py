# SPDX-License-Identifier: Apache-2.0
"""Real control groups, where this machine lets us make them."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from open_r1.sandbox.local import cgroups
from tests.waiting import wait_until

# Says "ready", waits for a line, then does what it is told.
WAITING = "import os, sys, time\nprint('ready', flush=True)\nsys.stdin.readline()\n"
SIX_TIMES_60_MB = """
for _ in range(6):
    if os.fork() == 0:
        kept = b"x" * (60 << 20)
        time.sleep(60)
print({9: "killed"}.get(os.wait()[1]), flush=True)
time.sleep(60)
"""
FORKS = """
children = 0
try:
    while children < 100:
        if os.fork() == 0:
            time.sleep(60)
        children += 1
except BlockingIOError:
    pass
print(children, flush=True)
time.sleep(60)
"""


@pytest.fixture
def group() -> Iterator[cgroups.Group]:
    if cgroups.find_place() is None:
        pytest.skip("this process may not make control groups")
    made = cgroups.Group(cgroups.find_place())
    made.set_limits(256, 16)
    yield made
    wait_until(made.remove)


@pytest.fixture
def start() -> Iterator[Callable[[str], subprocess.Popen[str]]]:
    """Start programs that do nothing before their first line of input; end them afterwards."""
    processes: list[subprocess.Popen[str]] = []

    def start_waiting(program: str) -> subprocess.Popen[str]:
        command = [sys.executable, "-I", "-S", "-c", WAITING + program]
        processes.append(subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True))
        assert read_line(processes[-1]) == "ready"
        return processes[-1]

    yield start_waiting
    for process in processes:  # its children may hold the pipes open for longer
        process.kill()
        process.wait()
        for pipe in (process.stdin, process.stdout):
            assert pipe is not None
            pipe.close()


def read_line(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


def tell(process: subprocess.Popen[str]) -> str:
    """Let a program go on and return what it says next."""
    assert process.stdin is not None
    process.stdin.write("go\n")
    process.stdin.flush()
    return read_line(process)


def test_memory_of_a_tree_is_limited_as_a_whole(
    group: cgroups.Group, start: Callable[[str], subprocess.Popen[str]]
) -> None:
    process = start(SIX_TIMES_60_MB)
    group.add(process.pid)
    assert group.new_kills() == (False, False)

    assert tell(process) == "killed"

    assert group.new_kills() == (True, False)
    assert group.new_kills() == (False, False)


def test_number_of_processes_is_limited(group: cgroups.Group, start: Callable[[str], subprocess.Popen[str]]) -> None:
    process = start(FORKS)
    group.add(process.pid)

    assert tell(process) == "15"


def test_limits_can_be_lowered(group: cgroups.Group, start: Callable[[str], subprocess.Popen[str]]) -> None:
    group.set_limits(64, 4)
    process = start(FORKS)
    group.add(process.pid)

    assert tell(process) == "3"


def test_children_are_moved_with_their_parent(
    group: cgroups.Group, start: Callable[[str], subprocess.Popen[str]]
) -> None:
    process = start("if os.fork(): print(os.fork() and 'parent', flush=True)\ntime.sleep(60)")
    assert tell(process) in {"parent", "0"}
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
    wait_until(lambda: len(children.read_text().split()) == 2)

    group.add(process.pid)

    assert len(group.pids()) == 3


def test_killed_group_is_empty_and_can_be_removed(
    group: cgroups.Group, start: Callable[[str], subprocess.Popen[str]]
) -> None:
    process = start("time.sleep(60)")
    group.add(process.pid)
    assert not group.remove()

    wait_until(group.remove)

    assert process.wait() == -signal.SIGKILL


def test_forked_child_makes_groups_of_its_own(group: cgroups.Group) -> None:
    pid = os.fork()
    if pid == 0:
        made = cgroups.Group(cgroups.find_place())
        os._exit(0 if str(os.getpid()) in made._folders[0].name and made.remove() else 1)
    assert os.waitpid(pid, 0)[1] == 0


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
def test_ordinary_user_without_a_delegated_group_gets_none() -> None:
    pid = os.fork()
    if pid == 0:
        os.setgroups([])
        os.setgid(60700)
        os.setuid(60700)
        os._exit(0 if cgroups.find_place() is None else 1)
    assert os.waitpid(pid, 0)[1] == 0
