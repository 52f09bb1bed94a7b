# SPDX-License-Identifier: Apache-2.0
"""Fills the disk: one big file, many, in closed and deep folders, deleted and mapped ones, a hole."""

import contextlib
import mmap
import os
import time

from attacking import TOLD, broken, report

CHUNK = b"x" * (1 << 20)


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
    return write_many(40, 60)


def write_deep():
    for _ in range(30):
        os.mkdir("d" * 200)
        os.chdir("d" * 200)
    return write_many(40, 60)


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


role = TOLD["role"]
if role == "big" and (written := write("big", 1200)) >= 1200 << 20:
    broken(f"{written >> 20} MiB in one file")
if role == "many" and (written := write_many(40, 60)) >= 1200 << 20:
    broken(f"{written >> 20} MiB in many files")
if role == "deleted" and (written := write_many(40, 60, deletes=True)) >= 1200 << 20:
    broken(f"{written >> 20} MiB in deleted files")
if role == "closed" and (written := write_closed()) >= 1200 << 20:
    broken(f"{written >> 20} MiB in a closed folder")
if role == "deep" and (written := write_deep()) >= 1200 << 20:
    broken(f"{written >> 20} MiB in a deep folder")
if role == "mapped" and (written := write_mapped()) >= 1200 << 20:
    broken(f"{written >> 20} MiB in mapped files")
if role == "empty" and (count := make_empty()) >= 300_000:
    broken(f"{count} files")
if role == "hole":
    with contextlib.suppress(OSError):
        os.truncate(os.open("hole", os.O_RDWR | os.O_CREAT), 1 << 40)
        broken("a file of 1 TiB with a hole")
report()
