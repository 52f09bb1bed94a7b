# SPDX-License-Identifier: Apache-2.0
"""Runs in a box: a submission or an interactor, its files, its compiler. A part of the driver."""

import os
import stat

from folders import Held
from processes import Process
from watching import watch

BINARY = "a.out"  # what compilers call it


class Program:
    """A submission, or an interactor.

    Attributes:
        command: Of a run.
        limits: Of a run.
        files: By name.
    """

    def __init__(self, command, limits, files):
        self.command, self.limits, self.files = command, limits, files

    def compile(self, box, command, limits):
        """Run the compiler and keep the binary as one of the files; return the compiler's run."""
        process = self.start(box, Held(box.root), command=command, limits=limits)
        watch(box, process)
        if process.outcome() == "ok":
            left = open_left(box, BINARY)
            if left is None:
                process.status = 1  # a compiler that makes nothing has failed
            else:
                self.files[BINARY] = Held(box.root, executable=True)
                self.files[BINARY].copy_from(left)
                os.close(left)
        box.clear()
        return process

    def start(self, box, stdin, files=(), args=(), command=None, limits=None, **options):
        """Start it, or its compiler, in the box's clean folders; files of the run stand before its own."""
        for name, held in {**self.files, **dict(files)}.items():
            held.copy_to(box.work + "/" + name)
        stdin = stdin if isinstance(stdin, int) else stdin.rewound()
        command = [*(command or self.command), *args]
        return Process(box, command, limits or self.limits, stdin, **options)


def open_left(box, name):
    """Open a regular file that a program has left in its folder; None if there's none of that name, or only a link."""
    path = box.work + "/" + name
    if os.path.realpath(path) != os.path.realpath(box.work) + "/" + os.path.normpath(name):
        return None  # what the driver may read, a program may not
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError:
        return None
    if stat.S_ISREG(os.fstat(fd).st_mode):
        return fd
    os.close(fd)
    return None


def take_output(box, process, name):
    """Let a file count as the output of a program."""
    process.output = b""
    fd = open_left(box, name)
    if fd is None:
        return
    with open(fd, "rb") as file:
        process.output = file.read(process.limits["output_bytes"] + 1)
    if len(process.output) > process.limits["output_bytes"]:
        process.output = process.output[:-1]
        process.ended = process.ended or "output"
