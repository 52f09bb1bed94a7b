# SPDX-License-Identifier: Apache-2.0
"""Driver of a box: compiles one submission, then runs it on each input. Python 3.9 or newer, standard library only.

In a local box it takes its work from a socket, in a rented machine from a file: `driver.py JOB RESULT`. A message on
the socket is a line, a literal of Python, and the bytes that it counts; first comes the program, then its inputs one
by one, each answered by what the program did:

    {"stdin": 4, "files": [], "args": [], "output_file": None, "role": None}⏎1 2⏎
    {"outcome": "ok", "exit_code": 0, ..., "stdout": 2, "stderr": 0, "binary": 0}⏎3⏎

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

from folders import Box, new_file, read, write
from submission import BINARY, Program, take_output
from watching import watch

CHUNK = 1 << 18
CLOSE_ON_EXEC = 0x40000000  # MSG_CMSG_CLOEXEC
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
        data, extra, _, _ = self.socket.recvmsg(CHUNK, 64, CLOSE_ON_EXEC)
        for _, _, numbers in extra:
            for place in range(0, len(numbers), 4):
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

    def hold(self, box, size):
        """Return the next bytes as a file; in the driver's memory, they would count as a program's."""
        fd = new_file(box.root)
        while size:
            data = self.waiting or self.more()
            data, self.waiting = data[:size], data[size:]
            write(fd, data)
            size -= len(data)
        os.lseek(fd, 0, os.SEEK_SET)
        return fd

    def hold_all(self, box, files):
        """Return files by name, as `Program` has them."""
        return {name: (self.hold(box, size), mode) for name, size, mode in files}

    def answer(self, record, **parts):
        """Send a message."""
        sizes = {name: len(part) for name, part in parts.items()}
        self.socket.sendall(repr({**record, **sizes}).encode() + b"\n")
        for part in parts.values():
            self.socket.sendall(part)

    def answer_run(self, process, binary=b""):
        """Answer what a program did."""
        self.answer(process.result(), stdout=process.output, stderr=process.errors, binary=binary)


def serve(fd, **options):
    """Do what comes on the socket of this number until it closes.

    Args:
        fd: The socket.
        options: Of the `Box`.
    """
    harden()
    way, box = Socket(fd), None
    way.answer({"ready": 1})
    try:
        job = way.header()
        box = Box(job["root"], watches=job["watches"], lifeline=fd, **options)
        program = Program(job["run"], job["limits"], way.hold_all(box, job["files"]))
        if job["compile"] is not None:
            compiled = program.compile(box, job["compile"], job["compile_limits"])
            is_kept = job["keeps_binary"] and BINARY in program.files
            way.answer_run(compiled, read(program.files[BINARY][0]) if is_kept else b"")
        while True:
            run_next(way, box, program)
    except (OSError, ValueError) as error:
        has_run = int(box is not None and box.has_run and getattr(error, "errno", None) not in OF_THE_MACHINE)
        way.answer({"error": "%s: %s" % (type(error).__name__, error), "has_run": has_run})


def run_next(way, box, program):
    """Run the program on the next input."""
    given = way.header()
    stdin = way.hold(box, given["stdin"])
    files = way.hold_all(box, given["files"])
    (ends, way.passed), args, options = (way.passed[:2], way.passed[2:]), given["args"], {}
    if given["role"] == "interactor":
        options["passed"] = ends
        args = args + ["/dev/fd/%d" % fd for fd in ends]
    elif given["role"] == "submission":
        os.dup2(ends[0], stdin, inheritable=False)
        options["stdout"] = ends[1]
    process = program.start(box, stdin, files, args, **options)
    for fd in [stdin, *ends, *(fd for fd, _ in files.values())]:
        os.close(fd)
    watch(box, process)
    if given["output_file"] is not None:
        take_output(box, process, given["output_file"])
    way.answer_run(process)
    box.clear()


def harden():
    """Close the driver to programs: not to be traced or read, signals as they come, the first descriptors of none."""
    call("prctl", DUMPABLE, 0, 0, 0, 0)
    for number in (_signal.SIGINT, _signal.SIGPIPE, _signal.SIGXFSZ):
        _signal.signal(number, _signal.SIG_DFL)  # the interpreter has set these, and programs would inherit them


def call(name, *args):
    """Call a function of the C library on numbers of 32 bits and on bytes.

    Raises:
        OSError: It returned a negative number.
    """
    try:  # the half of `ctypes` that is written in C: the other takes longer to import than all else here
        from _ctypes import call_function, dlopen, dlsym

        result = call_function(dlsym(dlopen(None, 0), name), args)  # type: ignore[arg-type]
    except ImportError:
        import ctypes

        result = ctypes.CDLL(None)[name](*args)
    if result < 0:
        raise OSError("%s%r was refused" % (name, args[:2]))
    return result


def main(job, result):
    """Do a job from a file; programs that outlive their parents become the driver's children."""
    from batch import work

    call("prctl", SUBREAPER, 1, 0, 0, 0)
    harden()
    work(job, result)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2])
