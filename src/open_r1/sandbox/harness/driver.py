# SPDX-License-Identifier: Apache-2.0
"""Driver of a box: compiles one submission, then runs it on each input. Python 3.9 or newer, standard library only.

In a local box it takes its work from a socket, in a rented machine from a file: `driver.py JOB RESULT`. A
message is a line, a literal of Python, and the bytes that it counts; first comes the program, then its inputs one by
one, each answered by what the program did:

    {"stdin": 4, "files": [], "args": [], "output_file": None, "role": None}⏎1 2⏎
    {"outcome": "ok", "exit_code": 0, ..., "stdout": 2, "stderr": 0, "binary": 0}⏎3⏎

Programs can't reach the driver: nobody may trace or read it (it isn't dumpable), no descriptor of it stays open in
them, and what they leave is ended before the next run. It imports little, since it starts once for each submission.
"""

# The half of `ctypes` that is written in C: the other takes longer to import than all else here.
import _signal  # type: ignore[missing-import]
import _socket
import os
import stat
import sys
from _ctypes import call_function, dlopen, dlsym

if __name__ == "__main__":
    sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

from folders import Box, copy, new_file, read, write
from processes import Process
from watching import watch

BINARY = "a.out"  # what compilers call it
IDLE_S = 10.0  # a compiler that wants no core for so long waits for what never comes, as `#include "/proc/self/fd/1"`

CHUNK = 1 << 18
LONGEST_BINARY = 16 << 20  # a longer one isn't kept: it's compiled again where it's needed
ENOUGH_BYTES = 32 << 20  # of answers: inputs behind are left to another round, since a trainer takes 64 MB
CLOSE_ON_EXEC = 0x40000000  # MSG_CMSG_CLOEXEC
DUMPABLE, SUBREAPER = 4, 36  # of `prctl`


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

    def send(self, data):
        """Send bytes."""
        self.socket.sendall(data)

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
        self.send(repr({**record, **sizes}).encode() + b"\n")
        for part in parts.values():
            self.send(part)

    def answer_run(self, process, binary=b""):
        """Answer what a program did."""
        self.answer(process.result(), stdout=process.output, stderr=process.errors, binary=binary)


class Files(Socket):
    """The way in a rented machine: the job from a file, which programs could read later; the answers to another."""

    def __init__(self, job, result):
        self.waiting, self.passed, self.said, self.size, self.result = b"", [], [], 0, result
        self.job = os.open(job, os.O_RDONLY)
        os.unlink(job)

    def header(self):
        """Return the next message's line."""
        return super().header() if self.size <= ENOUGH_BYTES else self.leave()

    def more(self):
        """Return what has come."""
        return os.read(self.job, CHUNK) or self.leave()

    def leave(self):
        """Leave the answers, whole or not at all, and end."""
        with open(self.result + ".new", "wb") as file:
            file.writelines(self.said)
        os.rename(self.result + ".new", self.result)
        os._exit(0)

    def send(self, data):
        """Keep an answer; in a file, programs could change it."""
        self.said.append(bytes(data))
        self.size += len(data)


def serve(fd, **options):
    """Do what comes on the socket of this number until it closes; options are those of the `Box`."""
    harden()
    work(Socket(fd), lifeline=fd, **options)


def work(way, **options):
    """Do what comes on a way; options are those of the `Box`."""
    way.answer({"ready": 1})
    try:
        job = way.header()
        box = Box(os.path.abspath(job["root"]), watches=job["watches"], cpu_left_s=job["cpu_left_s"], **options)
        program = Program(job["run"], job["limits"], way.hold_all(box, job["files"]))
        if job["compile"] is not None:
            compiled = program.compile(box, job["compile"], job["compile_limits"])
            binary = read(program.files[BINARY][0], LONGEST_BINARY) if BINARY in program.files else b""
            way.answer_run(compiled, binary if job["keeps_binary"] and len(binary) < LONGEST_BINARY else b"")
        while True:
            run_next(way, box, program)
    except (OSError, ValueError) as error:
        way.answer({"error": "%s: %s" % (type(error).__name__, error)})


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
    result = call_function(dlsym(dlopen(None, 0), name), args)  # type: ignore[arg-type]
    if result < 0:
        raise OSError("%s%r was refused" % (name, args[:2]))
    return result


def main(job, result):
    """Do a job from a file; processes that outlive their parents become ours."""
    call("prctl", SUBREAPER, 1, 0, 0, 0)
    harden()
    os.mkdir("box", 0o700)
    work(Files(job, result))


if __name__ == "__main__":
    main(*sys.argv[1:])
