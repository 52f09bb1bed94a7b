# SPDX-License-Identifier: Apache-2.0
"""What the watch on processes counts where no control group does, of real processes."""

import ctypes
import mmap
import os
import platform
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import ModuleType

import pytest

from open_r1.sandbox import harness

MIB = 1 << 20


@pytest.fixture
def watching(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The driver's part, which finds the others as in a box."""
    monkeypatch.syspath_prepend(harness.__path__[0])
    import watching  # type: ignore[missing-import]

    return watching


@contextmanager
def child(prepare: Callable[[], object], *, in_thread: bool = False) -> Iterator[int]:
    """Start a process that prepares something and waits, its first thread or only another; give its number then."""
    ready, is_ready = os.pipe()
    held, holder = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(holder)

        def wait() -> None:
            kept = prepare()
            os.write(is_ready, b"x")
            os.read(held, 1)
            os._exit(kept is None)

        if in_thread:
            threading.Thread(target=wait).start()
            ctypes.CDLL(None).syscall({"x86_64": 60, "aarch64": 93}[platform.machine()], 0)
        wait()
    os.read(ready, 1)
    yield pid
    for fd in (ready, is_ready, held, holder):
        os.close(fd)
    os.waitpid(pid, 0)


def read_everywhere() -> mmap.mmap:
    """Read one page in each two MiB of 16 GiB: it's always the same page, and each time another table."""
    area = mmap.mmap(-1, 16 << 30, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | 0x4000, mmap.PROT_READ)  # MAP_NORESERVE
    for start in range(0, 16 << 30, 2 * MIB):
        area[start]
    return area


def test_tables_of_pages_are_memory(watching: ModuleType) -> None:
    with child(lambda: None) as small, child(read_everywhere) as large:
        assert watching.own_bytes(large) - watching.own_bytes(small) > 24 * MIB


def test_process_whose_first_thread_has_ended_is_seen_by_another(watching: ModuleType) -> None:
    with child(lambda: b"x" * (64 * MIB), in_thread=True) as pid:
        while b"VmRSS" in b"".join(watching.lines_of(f"/proc/{pid}/status")):
            pass  # its first thread is about to end
        assert watching.own_bytes(pid) > 64 * MIB
    assert watching.own_bytes(pid) == 0
