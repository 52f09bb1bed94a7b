# SPDX-License-Identifier: Apache-2.0
"""Takes memory that belongs to no process: files in memory, segments, shared pages that children have filled.

Also what waits in sockets and pipes.
"""

import contextlib
import ctypes
import mmap
import os
import socket
import time

from attacking import LIBC, TOLD, broken, report, syscall

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


def fill_pair(grows):
    """Let data wait in a pair of sockets; return it and how much that is."""
    pair = socket.socketpair()
    total = 0
    for end in pair:
        if grows:
            end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 20)
        end.setblocking(False)
        with contextlib.suppress(BlockingIOError):
            while True:
                total += end.send(b"x" * (64 << 10))
    return pair, total


def fill_pairs(writer):
    kept = []
    for grows in (True, False):
        with contextlib.suppress(OSError):
            while True:
                kept.append(fill_pair(grows))
    os.write(writer, b"%d\n" % sum(total for _, total in kept))
    time.sleep(5)  # keeps them


def gift(pipe):
    """Let a pipe keep one large page for each of its places, of which the process has none afterwards."""
    size = 2 << 20
    total = 0
    for _ in range(16):
        area = LIBC.mmap(None, 2 * size, 3, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS, -1, 0)
        start = -(-area // size) * size
        LIBC.madvise(start, size, 14)
        ctypes.memset(start, 1, size)
        vector = (ctypes.c_size_t * 2)(start, 4096)
        if LIBC.vmsplice(pipe, vector, 1, 2) == 4096:  # without waiting
            total += size
        LIBC.munmap(area, 2 * size)
    return total


def fill_pipes(writer):
    kept, total = [], 0
    LIBC.mmap.restype = ctypes.c_size_t
    LIBC.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, *4 * [ctypes.c_int]]
    LIBC.madvise.argtypes = LIBC.munmap.argtypes = [ctypes.c_size_t, ctypes.c_size_t]
    with contextlib.suppress(OSError):
        while total < 256 << 20:
            kept.append(os.pipe())
            total += gift(kept[-1][1])
    os.write(writer, b"%d\n" % total)
    time.sleep(5)  # keeps them


def take_in_children(take):
    """Return how much five children have taken by their own account, all at a time."""
    reader, writer = os.pipe()
    for _ in range(5):
        if os.fork() == 0:
            with contextlib.suppress(Exception):
                take(writer)
            os._exit(0)
    os.close(writer)
    with open(reader) as file:
        lines = [file.readline() for _ in range(5)]
    time.sleep(0.3)
    return sum(int(line or 0) for line in lines)


ROLES = {
    "files": take_files,
    "shared": take_shared,
    "sockets": lambda: take_in_children(fill_pairs),
    "pipes": lambda: take_in_children(fill_pipes),
}
total = ROLES[TOLD["role"]]()
if total > MOST:
    broken(f"{total >> 20} MiB of hidden memory")
report()
