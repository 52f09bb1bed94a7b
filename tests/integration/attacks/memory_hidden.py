# SPDX-License-Identifier: Apache-2.0
"""Takes memory that belongs to no process: files in memory, segments, shared pages that children have filled."""

import contextlib
import mmap
import os

from attacking import TOLD, broken, report, syscall

SIZE, PORTION = 96 << 20, 16 << 20
MOST = 512 << 20


def fill(fd):
    chunk = b"x" * (4 << 20)
    written = 0
    while written < SIZE:
        written += os.write(fd, chunk)
    return written


def take_files():
    """Return how much is in files and segments."""
    total = 0
    for number in range(12):
        with contextlib.suppress(OSError):
            total += fill(syscall("memfd_create", b"bomb", 0))
        for folder in ("/dev/shm", "/tmp", "."):
            with contextlib.suppress(OSError):
                fd = os.open(f"{folder}/bomb{number}", os.O_RDWR | os.O_CREAT)
                os.unlink(f"{folder}/bomb{number}")
                total += fill(fd)
        with contextlib.suppress(OSError):
            syscall("shmget", 0, SIZE, 0o1600)
            broken("a segment of shared memory")
    return total


def share(flags, fd):
    """Map shared pages, and let children fill them portion by portion; return how much."""
    shared = mmap.mmap(fd, SIZE, flags)
    filled = 0
    for start in range(0, SIZE, PORTION):
        pid = os.fork()
        if pid == 0:
            shared[start : start + PORTION] = b"x" * PORTION
            os._exit(0)
        if os.waitpid(pid, 0)[1] == 0:
            filled += PORTION
    return shared, filled


def take_shared():
    """Return how much several processes have that is in the tables of none."""
    reader, writer = os.pipe()
    for _ in range(3):
        if os.fork() == 0:
            kept = []
            for _ in range(5):
                for flags, path in ((mmap.MAP_SHARED | mmap.MAP_ANONYMOUS, None), (mmap.MAP_SHARED, "/dev/zero")):
                    with contextlib.suppress(OSError, ValueError):
                        kept.append(share(flags, -1 if path is None else os.open(path, os.O_RDWR)))
                        os.write(writer, b"x" * (kept[-1][1] // PORTION))
            os._exit(0)
    os.close(writer)
    total = 0
    while total <= MOST and (portions := os.read(reader, 100)):
        total += len(portions) * PORTION
    return total


total = {"files": take_files, "shared": take_shared}[TOLD["role"]]()
if total > MOST:
    broken(f"{total >> 20} MiB of hidden memory")
report()
