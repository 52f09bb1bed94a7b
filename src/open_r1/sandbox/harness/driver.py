# SPDX-License-Identifier: Apache-2.0
"""Runs in a box: compiles one submission, then runs it on each input. Python 3.8 or newer, standard library only.

In a local box it takes its work from a socket, in a rented machine from a file: `driver.py JOB RESULT`, the job as
`wire.job_to_json` wrote it, the result for `wire.result_from_json`. Messages on the socket are a line, a literal of
Python, and the bytes that it counts: first the program, then its inputs one by one; each is answered by what the
program did.

Programs can't reach the driver: nobody may trace or read it (it isn't dumpable), no descriptor of it stays open in
them, and what they leave is ended before the next run. It imports little, since it starts once for each submission.
"""

import _signal  # type: ignore[missing-import]
import _socket
import errno
import os
import sys

if __name__ == "__main__":
    sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

from folders import Box, Held
from submission import BINARY, Program, take_output
from watching import watch

CHUNK = 1 << 18
DUMPABLE, SUBREAPER = 4, 36  # of `prctl`
# What the driver alone meets where a machine is short: no process, memory, descriptor or room is left. It starts
# programs when nothing runs in the box any more, so they have no part in that.
OF_THE_MACHINE = (errno.EAGAIN, errno.ENOMEM, errno.EMFILE, errno.ENFILE, errno.ENOSPC, errno.EDQUOT, errno.EIO)


class Socket:
    """The way to the provider."""

    def __init__(self, fd):
        os.set_inheritable(fd, False)
        self.socket = _socket.socket(fileno=fd)
        self.waiting = b""
        self.passed = []

    def more(self):
        """Return what has come; end the box if nobody is there any more."""
        data, extra, _, _ = self.socket.recvmsg(CHUNK, 64, 0x40000000)  # descriptors come closed to programs
        for _, _, numbers in extra:
            for place in range(0, len(numbers), 4):  # `array` would import more than all the driver does
                self.passed.append(int.from_bytes(numbers[place : place + 4], sys.byteorder))
        if not data:
            os._exit(0)
        return data

    def header(self):
        """Return the next message's line."""
        while b"\n" not in self.waiting:
            self.waiting += self.more()
        line, _, self.waiting = self.waiting.partition(b"\n")
        return eval(line)  # our own literals: to import `json` takes longer than all else here

    def hold(self, box, size, executable=False):
        """Return the next bytes as a file; they never lie in the driver's memory, which would count as a program's."""
        held = Held(box.root, executable)
        while size:
            data, self.waiting = (self.waiting or self.more()), b""
            held.write(data[:size])
            data, size = data[size:], size - min(size, len(data))
            self.waiting = data
        return held

    def answer(self, record, *parts):
        """Send a message."""
        self.socket.sendall(repr(record).encode() + b"\n")
        for part in parts:
            self.socket.sendall(part)


def serve(fd, rank=None, **options):
    """Do what comes on the socket of this number until it closes.

    Args:
        fd: The socket.
        rank: Descriptor of `open_rank`; None to open it.
        options: Of the `Box`.
    """
    rank = open_rank() if rank is None else rank
    harden()
    way, box = Socket(fd), None
    way.answer({"ready": 1})
    try:
        job = way.header()
        box = Box(job["root"], watches=job["watches"], lifeline=fd, rank=rank, **options)
        files = {name: way.hold(box, size, executable) for name, size, executable in job["files"]}
        program = Program(job["run"], job["limits"], files)
        if job["compile"] is not None:
            compiled = program.compile(box, job["compile"], job["compile_limits"])
            send(way, compiled, program.files[BINARY].read() if job["keeps_binary"] and BINARY in files else b"")
        while True:
            run_next(way, box, program)
    except (OSError, ValueError) as error:
        has_run = int(box is not None and box.has_run and getattr(error, "errno", None) not in OF_THE_MACHINE)
        way.answer({"error": "%s: %s" % (type(error).__name__, error), "has_run": has_run})


def run_next(way, box, program):
    """Run the program on the next input."""
    given = way.header()
    stdin = way.hold(box, given["stdin"])
    files = {name: way.hold(box, size, executable) for name, size, executable in given["files"]}
    args, passed = given["args"], []
    options = {}
    if given["role"] == "interactor":
        passed = way.passed[:2]
        args = args + ["/dev/fd/%d" % fd for fd in passed]
        options["passed"] = passed
    elif given["role"] == "submission":
        stdin, options["stdout"] = passed = way.passed[:2]
    way.passed = way.passed[2:]
    process = program.start(box, stdin, files, args, **options)
    for held in [*passed, *files.values(), *([] if isinstance(stdin, int) else [stdin])]:
        os.close(held if isinstance(held, int) else held.fd)
    watch(box, process)
    if given["output_file"] is not None:
        take_output(box, process, given["output_file"])
    send(way, process)
    box.clear()


def send(way, process, binary=b""):
    """Answer what a program did."""
    sizes = {"stdout": len(process.output), "stderr": len(process.errors), "binary": len(binary)}
    way.answer({**process.result(), **sizes}, process.output, process.errors, binary)


def open_rank():
    """Return a descriptor of the driver's rank among those to be ended for want of memory, or None."""
    try:
        return os.open("/proc/self/oom_score_adj", os.O_RDWR)
    except OSError:  # not ours to change: then the kernel goes by size alone, and the driver is small
        return None


def harden():
    """Close the driver to programs: not to be traced or read, signals as they come, the first descriptors of none."""
    prctl(DUMPABLE, 0)
    for number in (_signal.SIGINT, _signal.SIGPIPE, _signal.SIGXFSZ):
        _signal.signal(number, _signal.SIG_DFL)  # the interpreter has set these, and programs would inherit them


def prctl(option, value):
    """Call `prctl` of the C library."""
    try:  # the half of `ctypes` that is written in C
        from _ctypes import call_function, dlopen, dlsym

        failed = call_function(dlsym(dlopen(None, 0), "prctl"), (option, value, 0, 0, 0))  # type: ignore[bad-argument-type]
    except ImportError:
        import ctypes

        failed = ctypes.CDLL(None).prctl(option, value, 0, 0, 0)
    if failed:
        raise OSError("prctl(%d, %d) was refused" % (option, value))


def main(job, result):
    """Do a job from a file; programs that outlive their parents become the driver's children."""
    from batch import work

    prctl(SUBREAPER, 1)
    harden()
    work(job, result)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2])
