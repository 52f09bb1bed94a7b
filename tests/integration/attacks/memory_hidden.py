# SPDX-License-Identifier: Apache-2.0
"""Takes memory that belongs to no process, or to several: files in memory, shared mappings, segments, pipes."""

import contextlib
import mmap
import os

from attacking import broken, report, syscall

SIZE = 96 << 20
total = 0


def fill(fd):
    chunk = b"x" * (4 << 20)
    written = 0
    while written < SIZE:
        written += os.write(fd, chunk)
    return written


for number in range(10):
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
kept = []
for _ in range(10):
    with contextlib.suppress(OSError, ValueError):
        shared = mmap.mmap(-1, SIZE)
        if os.fork() == 0:  # the pages are in no table of ours
            for place in range(0, SIZE, 4096):
                shared[place] = 1
            os._exit(0)
        if os.wait()[1] == 0:
            kept.append(shared)
            total += SIZE
if total > 1 << 30:
    broken(f"{total >> 20} MiB of hidden memory")
report()
