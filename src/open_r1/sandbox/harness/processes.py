# SPDX-License-Identifier: Apache-2.0
"""Runs in a box: starts programs under their limits and says how they ended. A part of the driver."""

import _signal  # type: ignore[missing-import]
import os
import resource
import time

CHUNK = 1 << 16
MIB = 1 << 20
FILE_BYTES = 256 * MIB  # the longest file that a program may write
DESCRIPTORS = 512  # of a process
RESERVED_BYTES = 2304 * MIB  # what interpreters, libraries and the stacks of threads reserve and don't use
MOST_WAITING = 10  # how many times the time on the clock may grow for a program that waits for cores
ENVIRONMENT = {
    "PATH": "/usr/local/bin:/usr/bin:/bin",
    "LANG": "C.UTF-8",
    "PYTHONHASHSEED": "0",  # a verdict must not hang on the order of a set, which would be another one in each run
    "PYTHONDONTWRITEBYTECODE": "1",
    "MALLOC_ARENA_MAX": "2",  # else each thread reserves 64 MiB more
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
}
OUT_OF_MEMORY = (b"MemoryError", b"bad_alloc", b"heap out of memory", b"Cannot allocate memory")


class Process:
    """One running program, or compiler.

    Attributes:
        limits: `cpu_s`, `wall_s`, `memory_mb`, `output_bytes`, `processes`, `limits_addresses`, `stack_mb`.
        deadline: When it's ended whatever its CPU time, unless it waits for a core; at `last_deadline` in any case.
        idle_looks: How many looks on end have met it waiting for something else.
        ended: Why the driver ended it, or None.
        status: Its exit code, or a signal's number below zero; None while it runs.
    """

    def __init__(self, box, argv, limits, stdin, stdout=None, passed=()):
        """Start it.

        Args:
            box: Where it runs; its files are there.
            argv: The command; a name without a slash is looked for on the PATH.
            limits: See above.
            stdin: Descriptor of its input.
            stdout: Descriptor that gets its output; None to keep it.
            passed: Further descriptors that the program gets.
        """
        self.limits, self.ended, self.idle_looks = limits, None, 0
        self.status: int = None  # type: ignore[bad-assignment]
        self.cpu_s = self.wall_s = 0.0
        self.peak_bytes = 0
        self.output, self.errors = bytearray(), bytearray()
        reader, errors = os.pipe()
        self.pipes = {reader: self.errors}
        writers = [errors]
        if stdout is None:
            reader, stdout = os.pipe()
            self.pipes[reader] = self.output
            writers.append(stdout)
        for fd in self.pipes:
            os.set_blocking(fd, False)
        self.started = time.monotonic()
        self.deadline = self.started + limits["wall_s"]
        self.last_deadline = self.started + MOST_WAITING * limits["wall_s"]
        self.pid = start(box, argv, limits, (stdin, stdout, errors), passed)
        for fd in writers:
            os.close(fd)
        self.pidfd = os.pidfd_open(self.pid) if hasattr(os, "pidfd_open") else None

    def put_off(self, seconds):
        """Don't count a time in which the machine had stopped everything here."""
        self.started += seconds
        self.deadline += seconds
        self.last_deadline += seconds

    def read(self, fd):
        """Take what the program has written; return whether there may be more."""
        try:
            data = os.read(fd, CHUNK)
        except BlockingIOError:
            return False
        kept = self.pipes[fd]
        if not data:
            os.close(fd)
            del self.pipes[fd]
            return False
        room = self.limits["output_bytes"] - len(kept)
        kept += data[: max(room, 0)]
        if len(data) > room and kept is self.output:
            self.end("output")
        return True

    def drain(self):
        """Take what is left in the pipes, now that nobody writes to them."""
        for fd in list(self.pipes):
            while self.read(fd):
                pass
            if fd in self.pipes:
                os.close(fd)

    def end(self, reason):
        """Kill it and its group."""
        self.ended = self.ended or reason
        if self.status is None:
            kill(-self.pid, _signal.SIGKILL)
            kill(self.pid, _signal.SIGKILL)

    def count(self, usage):
        """Count what a process of its tree has used."""
        self.cpu_s += usage.ru_utime + usage.ru_stime
        self.peak_bytes = max(self.peak_bytes, usage.ru_maxrss * 1024)

    def finish(self, status):
        """Take note that it has ended."""
        self.wall_s = time.monotonic() - self.started
        self.status = -os.WTERMSIG(status) if os.WIFSIGNALED(status) else os.WEXITSTATUS(status)
        if self.pidfd is not None:
            os.close(self.pidfd)

    def outcome(self):
        """Return the name of how it ended: the first that holds."""
        if self.ended in ("output", "memory"):
            return self.ended + "_limit"
        if self.ended in ("wall", "cpu") or self.cpu_s > self.limits["cpu_s"] or self.status == -_signal.SIGXCPU:
            return "time_limit"
        if self.peak_bytes > self.limits["memory_mb"] * MIB:
            return "memory_limit"
        if self.status == 0:
            return "ok"
        tail = bytes(self.errors[-4096:])
        return "memory_limit" if any(word in tail for word in OUT_OF_MEMORY) else "runtime_error"

    def result(self):
        """Return what it did, but for its output and errors."""
        return {
            "outcome": self.outcome(),
            "exit_code": self.status if self.status >= 0 else None,
            "signal": -self.status if self.status < 0 else None,
            "cpu_s": round(self.cpu_s, 6),
            "wall_s": round(self.wall_s, 6),
            "peak_memory_mb": round(self.peak_bytes / MIB, 3),
            "was_ended": int(self.ended is not None),
        }


def kill(pid, number):
    """Send a signal; return whether there was anybody to get it."""
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return False
    return True


def start(box, argv, limits, stdio, passed):
    """Start a program in a new session; return its number.

    Raises:
        OSError: It could not be started, and that isn't its own fault.
    """
    failure, failed = os.pipe()
    box.stand_out()
    pid = os.fork()
    if pid == 0:
        try:
            become(box, argv, limits, stdio, passed)
        except BaseException as error:  # noqa: BLE001 - whatever it is, this process must not go on as a second driver
            os.write(failed, ("%d %r" % (getattr(error, "errno", None) or 0, error)).encode())
        finally:
            os._exit(127)
    box.stand_back()
    os.close(failed)
    with open(failure, "rb") as file:
        report = file.read()
    if report:
        os.waitpid(pid, 0)
        number, _, text = report.decode().partition(" ")
        raise OSError(int(number), "a program could not be started: " + text)
    box.has_run = True
    return pid


def become(box, argv, limits, stdio, passed):
    """Turn the process that was forked into the program. All descriptors but the given ones close by themselves."""
    os.setsid()
    os.chdir(box.work)
    for number, fd in enumerate(stdio):
        os.dup2(fd, number)
    for fd in passed:
        os.set_inheritable(fd, True)
    for name, soft, hard in resource_limits(box, limits):
        most = resource.getrlimit(name)[1]
        if most != resource.RLIM_INFINITY:
            soft, hard = min(soft, most), min(hard, most)
        resource.setrlimit(name, (soft, hard))
    if box.confine is not None:
        box.confine()
    try:
        os.execvpe(argv[0], argv, environment(box))
    except OSError as error:
        if argv[0][0] != ".":
            raise
        os.write(2, ("%s: %s\n" % (argv[0], error.strerror)).encode())  # a program that was handed in, but is none


def resource_limits(box, limits):
    """Return the limits of each process: name, soft and hard value."""
    # A second more than allowed: the driver ends programs at their limit, the kernel counts in ticks and may be early.
    cpu_s = -int(-limits["cpu_s"] // 1) + 1
    memory = limits["memory_mb"] * MIB
    stack = min(memory, limits["stack_mb"] * MIB)
    found = [
        (resource.RLIMIT_CPU, cpu_s, cpu_s + 1),
        (resource.RLIMIT_STACK, stack, stack),
        (resource.RLIMIT_FSIZE, FILE_BYTES, FILE_BYTES),
        (resource.RLIMIT_CORE, 0, 0),
        (resource.RLIMIT_NOFILE, DESCRIPTORS, DESCRIPTORS),
        (resource.RLIMIT_NICE, 0, 0),  # to go before others
        (resource.RLIMIT_RTPRIO, 0, 0),
    ]
    if box.owns_namespace:  # elsewhere it counts what others run by the same user
        found.append((resource.RLIMIT_NPROC, limits["processes"] + 1, limits["processes"] + 1))
    if limits["limits_addresses"]:
        found.append((resource.RLIMIT_AS, memory + RESERVED_BYTES, memory + RESERVED_BYTES))
    return found


def environment(box):
    """Return the whole environment of a program."""
    return dict(ENVIRONMENT, HOME=box.work, TMPDIR=box.root + "/tmp")
