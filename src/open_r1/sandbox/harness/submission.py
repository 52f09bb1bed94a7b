# SPDX-License-Identifier: Apache-2.0
"""A submission or an interactor: its files, its compiler, its runs. A part of the driver."""

import os
import stat

from folders import copy, new_file, read
from processes import Process
from watching import watch

BINARY = "a.out"  # what compilers call it
IDLE_S = 10.0  # a compiler that wants no core for so long waits for what never comes, as `#include "/proc/self/fd/1"`


class Program:
    """A submission, or an interactor.

    Attributes:
        command: Of a run.
        limits: Of a run.
        files: Descriptor and mode, by name.
    """

    def __init__(self, command, limits, files):
        self.command, self.limits, self.files = command, limits, files

    def compile(self, box, command, limits):
        """Run the compiler and keep the binary as one of the files; return the compiler's run."""
        process = self.start(box, new_file(box.root), command=command, limits=dict(limits, idle_s=IDLE_S))
        watch(box, process)
        if process.outcome() == "ok":
            binary = open_left(box, BINARY)
            if binary is None:
                process.status = 1  # a compiler that makes nothing has failed
            else:
                self.files[BINARY] = binary, 0o555
        box.clear()
        return process

    def start(self, box, stdin, files=(), args=(), command=None, limits=None, **options):
        """Start it, or its compiler, in the box's clean folders; files of the run stand before its own."""
        for name, (fd, mode) in {**self.files, **dict(files)}.items():
            copy(fd, box.work + "/" + name, mode)
        return Process(box, [*(command or self.command), *args], limits or self.limits, stdin, **options)


def open_left(box, name):
    """Open a regular file that a program has left in its folder; None if there's none, or a link is on the way."""
    parts = ["work", *name.split("/")]  # the program owns this folder, too
    fd = os.open(box.root, os.O_RDONLY)
    for number, part in enumerate(parts, 1):
        kind = os.O_NONBLOCK if number == len(parts) else os.O_DIRECTORY
        try:
            inner = os.open(part, os.O_RDONLY | os.O_NOFOLLOW | kind, dir_fd=fd)
        except OSError:
            return None
        finally:
            os.close(fd)
        fd = inner
    if stat.S_ISREG(os.fstat(fd).st_mode):
        return fd
    os.close(fd)
    return None


def take_output(box, process, name):
    """Let a file count as the output of a program."""
    process.output, most = b"", process.limits["output_bytes"]
    fd = open_left(box, name)
    if fd is not None:
        process.output = read(fd, most + 1)
        os.close(fd)
    if len(process.output) > most:
        process.output = process.output[:most]
        process.ended = process.ended or "output"
