# SPDX-License-Identifier: Apache-2.0
"""Fills the disk: one big file, many, in closed and deep folders, deleted and mapped ones, at once, a hole."""

import contextlib
import ctypes
import mmap
import os
import platform
import time

from attacking import LIBC, TOLD, broken, report

CHUNK = b"x" * (1 << 20)
FALLOCATE = {"x86_64": 285, "aarch64": 47}[platform.machine()]
MOST = 640 << 20  # two and a half times of what is allowed


def write(path, num_mb, *, deletes=False):
    fd = os.open(path, os.O_WRONLY | os.O_CREAT)
    if deletes:
        os.unlink(path)
    written = 0
    with contextlib.suppress(OSError):
        for _ in range(num_mb):
            written += os.write(fd, CHUNK)
    if not deletes:
        os.close(fd)
    return written


def write_many(num_files, num_mb, *, deletes=False):
    total = 0
    for number in range(num_files):
        with contextlib.suppress(OSError):
            total += write(f"file{number}", num_mb, deletes=deletes)
    return total


def make_empty():
    count = 0
    with contextlib.suppress(OSError):
        for number in range(300_000):
            open(f"empty{number}", "w").close()
            count += 1
    return count


def write_closed():
    os.mkdir("closed", 0o300)
    os.chdir("closed")
    return write_many(20, 60)


def write_deep():
    for name in 25 * ["\U0001f600" * 63] + 30 * ["d" * 200]:  # few characters may be many bytes
        os.mkdir(name)
        os.chdir(name)
    return write_many(20, 60)


def write_mapped():
    """Write to files that have neither a name nor a descriptor."""
    total = 0
    for _ in range(8):
        if os.fork():
            total += os.wait()[1] == 0 and 160 << 20
            continue
        kept = []
        for _ in range(10):
            fd = os.open("mapped", os.O_RDWR | os.O_CREAT)
            os.unlink("mapped")
            os.truncate(fd, 16 << 20)
            kept.append(mmap.mmap(fd, 16 << 20))
            os.close(fd)
            kept[-1][:] = CHUNK * 16
        if os.fork() == 0:
            time.sleep(5)  # keeps them
        os._exit(0)
    time.sleep(0.5)
    return total


def reserve(fd, num_mb):
    """Take room for a file at once; return how much it has."""
    with contextlib.suppress(OSError):
        LIBC.syscall(FALLOCATE, fd, 0, ctypes.c_long(0), ctypes.c_long(num_mb << 20))
        os.posix_fallocate(fd, 0, num_mb << 20)
    return os.fstat(fd).st_blocks * 512


def reserve_many():
    return sum(reserve(os.open(f"file{number}", os.O_RDWR | os.O_CREAT), 250) for number in range(16))


def reserve_mapped():
    """Map a page of each of many large files that have neither a name nor a descriptor."""
    total = 0
    for _ in range(12):
        fd = os.open("mapped", os.O_RDWR | os.O_CREAT)
        total += reserve(fd, 250)
        LIBC.mmap(None, ctypes.c_size_t(4096), mmap.PROT_READ, mmap.MAP_SHARED, fd, ctypes.c_long(0))
        os.unlink("mapped")
        os.close(fd)
    time.sleep(1)
    return total


role = TOLD["role"]
if role == "big" and (written := write("big", 1200)) >= MOST:
    broken(f"{written >> 20} MiB in one file")
if role == "many" and (written := write_many(20, 60)) >= MOST:
    broken(f"{written >> 20} MiB in many files")
if role == "deleted" and (written := write_many(40, 60, deletes=True)) >= MOST:
    broken(f"{written >> 20} MiB in deleted files")
if role == "closed" and (written := write_closed()) >= MOST:
    broken(f"{written >> 20} MiB in a closed folder")
if role == "deep" and (written := write_deep()) >= MOST:
    broken(f"{written >> 20} MiB in a deep folder")
if role == "mapped" and (written := write_mapped()) >= MOST:
    broken(f"{written >> 20} MiB in mapped files")
if role == "reserved" and (reserved := reserve_many()) >= MOST:
    broken(f"{reserved >> 20} MiB reserved")
if role == "reserved_mapped" and (reserved := reserve_mapped()) >= MOST:
    broken(f"{reserved >> 20} MiB reserved in mapped files")
if role == "empty" and (count := make_empty()) >= 300_000:
    broken(f"{count} files")
if role == "hole":
    with contextlib.suppress(OSError):
        os.truncate(os.open("hole", os.O_RDWR | os.O_CREAT), 1 << 40)
        broken("a file of 1 TiB with a hole")
report()
