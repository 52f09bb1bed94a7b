# SPDX-License-Identifier: Apache-2.0
"""Programs: started under their limits, read, ended, and what is said of how they ended. A part of the driver."""

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
        limits: `cpu_s`, `wall_s`, `memory_mb`, `output_bytes`, `processes`, `limits_addresses`, `stack_mb`, and
            `idle_s` of a compiler.
        seen: CPU seconds by number of a process that is there, as far as seen.
        sampled_s: CPU seconds by the number of cores that looks have met it on.
        busy_at: When a look has last met it on a core, or waiting for one.
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
        self.limits = limits = dict(limits, cpu_s=min(limits["cpu_s"], box.cpu_left_s))
        self.ended, self.seen = None, {}
        self.status: int = None  # type: ignore[bad-assignment]
        self.cpu_s = self.wall_s = self.sampled_s = 0.0
        self.peak_bytes = 0
        self.output, self.errors = bytearray(), bytearray()
        self.pipes, stdio, writers = {}, [stdin, stdout, None], []
        for number, kept in ((1, self.output), (2, self.errors)):
            if stdio[number] is None:
                reader, stdio[number] = os.pipe()
                os.set_blocking(reader, False)
                self.pipes[reader] = kept
                writers.append(stdio[number])
        self.started = self.busy_at = time.monotonic()
        self.pid = start(box, argv, limits, stdio, passed)
        for fd in writers:
            os.close(fd)
        self.pidfd = os.pidfd_open(self.pid)

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
        os.close(self.pidfd)

    def outcome(self):
        """Return the name of how it ended: the first that holds."""
        if self.ended in ("output", "memory"):
            return self.ended + "_limit"
        if self.ended in ("wall", "cpu") or self.cpu_s > self.limits["cpu_s"]:
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
    """Send a signal, if anybody is there to get it."""
    try:
        os.kill(pid, number)
    except ProcessLookupError:  # `contextlib` would be one more import
        return


def start(box, argv, limits, stdio, passed):
    """Start a program in a new session; return its number.

    Raises:
        OSError: It could not be started, and that isn't its own fault.
    """
    failure, failed = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            become(box, argv, limits, stdio, passed)
        except BaseException as error:  # noqa: BLE001 - whatever it is, this process must not go on as a second driver
            os.write(failed, ("%d %r" % (getattr(error, "errno", None) or 0, error)).encode())
        finally:
            os._exit(127)
    os.close(failed)
    with open(failure, "rb") as file:
        report = file.read()
    if report:
        os.waitpid(pid, 0)
        number, _, text = report.decode().partition(" ")
        raise OSError(int(number), "a program could not be started: " + text)
    return pid


def become(box, argv, limits, stdio, passed):
    """Turn the process that was forked into the program. All descriptors but the given ones close by themselves."""
    os.setsid()
    os.chdir(box.work)
    for number, fd in enumerate(stdio):
        os.dup2(fd, number)
    for fd in passed:
        os.set_inheritable(fd, True)
    for name, value in resource_limits(box, limits).items():
        limit(name, value)
    if box.confine is not None:
        box.confine()
    try:
        os.execvpe(argv[0], argv, dict(ENVIRONMENT, HOME=box.work, TMPDIR=box.root + "/tmp"))
    except OSError as error:
        if argv[0][0] != ".":
            raise
        os.write(2, ("%s: %s\n" % (argv[0], error.strerror)).encode())  # a program that was handed in, but is none


def limit(name, value):
    """Set a limit of this process and those that it starts; lower already, it stays."""
    most = resource.getrlimit(name)[1]
    value = value if most == resource.RLIM_INFINITY else min(value, most)
    resource.setrlimit(name, (value, value))


def resource_limits(box, limits):
    """Return the limits of each process, by their numbers."""
    memory = limits["memory_mb"] * MIB
    found = {
        # A second more than allowed: the driver ends programs at their limit, the kernel may be early.
        resource.RLIMIT_CPU: -int(-limits["cpu_s"] // 1) + 1,
        resource.RLIMIT_STACK: min(memory, limits["stack_mb"] * MIB),
        resource.RLIMIT_FSIZE: FILE_BYTES,
        resource.RLIMIT_NOFILE: DESCRIPTORS,
        resource.RLIMIT_CORE: 0,
        resource.RLIMIT_NICE: 0,  # to go before others
        resource.RLIMIT_RTPRIO: 0,
    }
    if box.is_first:  # elsewhere it counts what others run by the same user
        found[resource.RLIMIT_NPROC] = limits["processes"] + 1
    if limits["limits_addresses"]:
        found[resource.RLIMIT_AS] = memory + RESERVED_BYTES
    return found
