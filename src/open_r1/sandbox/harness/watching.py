# SPDX-License-Identifier: Apache-2.0
"""Watch over a program: ended at its limits, and then everything that it has left. A part of the driver."""

import _signal  # type: ignore[missing-import]
import os
import select
import stat
import time

from folders import empty
from processes import FILE_BYTES, MIB, MOST_WAITING, kill

TICK_S = 0.02  # between two looks at what a program takes, where no control group or namespace limits it
SLOW_TICK_S = 0.1  # between two looks at its CPU time alone
IDLE_S = 0.25  # who has wanted no core for so long waits for something else
# A child by `vfork` shows its parent's memory once more until it starts a program, a moment later; at most a few do.
LOOKS_AT_DOUBLES = 16
LOOKS_TO_BE_SURE = 3
SURE_S = 0.004  # between looks that must agree on too much memory: processes start and end while it is added up
STANDSTILL_S = 0.5  # a longer pause between two looks: the driver was stopped, and the programs with it
MOST_REAPED = 1000  # at a time: a program that leaves children without end can't keep the driver from looking
MOST_FILES = 20000  # on a disk that isn't the box's own
MORE_TASKS = 8  # than allowed before a program is ended: where the kernel keeps to the limit, it refuses them first
TICKS_A_SECOND = os.sysconf("SC_CLK_TCK")
PORTION_NS = 4_000_000  # in which the kernel counts what a thread has run
NUM_CORES = len(os.sched_getaffinity(0))
HELD, SHARE, TABLES = (b"VmRSS:", b"VmSwap:"), (b"Pss:", b"SwapPss:"), (b"VmPTE:",)  # of memory and swap
FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW
GONE = [b"0"] * 64  # what is told of a process that has gone


def watch(box, process):
    """Wait until a program has ended, by itself or at a limit, and nothing that it started is left."""
    looked, worked_s = time.monotonic(), time.process_time()
    tick_s = TICK_S if box.watches or box.disk_bytes is not None else SLOW_TICK_S
    while process.status is None:
        if wait(box, process, tick_s):
            reap(process)
        now = time.monotonic()
        past_s = now - looked
        if past_s >= tick_s:
            paused_s = past_s - tick_s - (time.process_time() - worked_s)
            if paused_s > STANDSTILL_S:  # isn't the program's time
                process.started += paused_s
                process.busy_at += paused_s
                past_s = tick_s
            looked, worked_s = now, time.process_time()
            reap(process)
            look(box, process, now, past_s)
    end_all(process)
    process.cpu_s = max(process.cpu_s, sum(process.seen.values()))
    box.cpu_left_s = max(0.0, box.cpu_left_s - process.cpu_s)
    process.drain()


def wait(box, process, tick_s):
    """Wait until there's something to read or look at; return whether the program may have ended."""
    poll = select.poll()
    for fd in (*process.pipes, process.pidfd):
        poll.register(fd, select.POLLIN)
    if box.lifeline is not None:
        poll.register(box.lifeline, 0)
    ready = poll.poll(1000 * tick_s)
    for fd, _ in ready:
        if fd == box.lifeline:
            end_all(process)
            empty(box.root)
            os._exit(0)
        if fd in process.pipes:
            process.read(fd)
    return not ready or any(fd == process.pidfd for fd, _ in ready)


def reap(process=None):
    """Take note of processes that have ended, for a program that they belong to; return whether none are left."""
    for _ in range(MOST_REAPED):
        try:
            pid, status, usage = os.wait4(-1, os.WNOHANG)
        except ChildProcessError:
            return True
        if pid == 0:
            return False
        if process is not None:
            process.count(usage)
            if pid == process.pid:
                process.finish(status)
    return False


def look(box, process, now, past_s):
    """End a program at its limits; the last look was `past_s` ago."""
    pids, limits = all_others(), process.limits
    tasks = ["/proc/%d/task/%s" % (pid, thread) for pid in pids for thread in threads(pid)]
    for pid in pids:
        ticks = state_of("/proc/%d" % pid)[11:13]
        process.seen[pid] = max(process.seen.get(pid, 0.0), sum(map(int, ticks)) / TICKS_A_SECOND)
    on_cores = [task for task in tasks if state_of(task)[0] == b"R"]
    if on_cores:
        process.busy_at = now
    # NOTE: of a child whose parent ignores how it ends, the kernel tells nobody what it has used. So what the looks
    # have met on a core counts too, where it's far more than what is known.
    process.sampled_s += past_s * min(sum(map(share_of_core, on_cores)), NUM_CORES)
    if sum(process.seen.values()) > limits["cpu_s"] or process.sampled_s > 2 * limits["cpu_s"] + 1:
        process.end("cpu")
    # What waits for a core is not over its time: others have the cores.
    clock_s, idle_s = now - process.started, now - process.busy_at
    if (
        clock_s >= MOST_WAITING * limits["wall_s"]
        or (clock_s >= limits["wall_s"] and idle_s >= IDLE_S)
        or idle_s >= limits.get("idle_s", clock_s + 1)
    ):
        process.end("wall")
    if box.watches and is_over_memory(process):
        process.end("memory")
    if box.disk_bytes is not None:
        if len(tasks) > limits["processes"] + MORE_TASKS:
            process.end("processes")
        if is_much_written(box, pids):
            process.end("disk")


def share_of_core(task):
    """Return how much of a core a running thread has, by how long it has run and waited for one."""
    words = words_of(task + "/schedstat")
    if not words:
        return 0  # it has ended, or this kernel doesn't tell
    ran = int(words[0]) + PORTION_NS
    return ran / (ran + int(words[1]))


def is_over_memory(process):
    """Look at the memory of all processes several times; return whether it was too much each time."""
    limit = process.limits["memory_mb"] * MIB
    for number in range(LOOKS_AT_DOUBLES):
        pids = all_others()
        held = sum(bytes_of(pid, "status", HELD + TABLES) for pid in pids)
        if held > limit:
            held = sum(own_bytes(pid) for pid in pids)
        if held <= limit:
            return False
        if held > 2 * limit and number >= LOOKS_TO_BE_SURE:  # no moment's double
            break
        time.sleep(SURE_S)
    return True


def bytes_of(pid, name, fields):
    """Return what fields of a file of a process's add up to, as its last thread sees it: the first may have ended."""
    lines = ()
    for thread in threads(pid)[-1:]:
        lines = lines_of("/proc/%d/task/%s/%s" % (pid, thread, name))
    return sum(int(line.split()[1]) * 1024 for line in lines if line.startswith(fields))


def own_bytes(pid):
    """Return the memory of a process, of what it shares its part; all of it if it hides the parts."""
    return (bytes_of(pid, "smaps_rollup", SHARE) or bytes_of(pid, "status", HELD)) + bytes_of(pid, "status", TABLES)


def is_much_written(box, pids):
    """Return whether too much lies in a box, or too many files; also what processes hold that has no name any more.

    A folder that is closed to its owner counts as too much. So does what is deleted, closed and still mapped: the
    kernel doesn't show its size.
    """
    size = sum(nameless_bytes(box.root, pids))
    fd = os.open(box.root, FOLDER)
    try:
        for count, more in enumerate(written(fd)):
            size += more
            if size > box.disk_bytes or count > MOST_FILES:
                return True
    except (OSError, RecursionError):
        return True
    finally:
        os.close(fd)
    return size > box.disk_bytes


def written(fd):
    """Yield the bytes of everything in an open folder; links aren't followed."""
    for name in os.listdir(fd):
        try:
            found = os.stat(name, dir_fd=fd, follow_symlinks=False)
            inner = os.open(name, FOLDER, dir_fd=fd) if stat.S_ISDIR(found.st_mode) else None
        except (FileNotFoundError, NotADirectoryError):
            continue  # it has just been removed
        yield found.st_blocks * 512
        if inner is not None:
            try:
                yield from written(inner)
            finally:
                os.close(inner)


def nameless_bytes(root, pids):
    """Yield the bytes of deleted files below a folder that processes hold open, and too many for those only mapped."""
    known = set()
    for pid in pids:
        folder = "/proc/%d/" % pid
        try:
            numbers = os.listdir(folder + "fd")
        except OSError:
            continue  # it has just ended, or not become the program yet
        for number in numbers:
            try:
                found = os.stat(folder + "fd/" + number)
            except OSError:
                continue
            if found.st_nlink == 0 and stat.S_ISREG(found.st_mode) and found.st_ino not in known:
                known.add(found.st_ino)
                yield found.st_blocks * 512
        for line in lines_of(folder + "maps"):
            words = line.split(None, 5)
            is_ours = line.endswith(b" (deleted)\n") and words[5].startswith(root.encode() + b"/")
            if is_ours and int(words[4]) not in known:
                known.add(int(words[4]))
                yield FILE_BYTES


def end_all(process=None):
    """End every process below this one, however it is hidden, and wait until they are gone.

    Args:
        process: Whose program has started them; the time that they took counts for it.
    """
    while not reap(process):
        if os.getpid() == 1:
            kill(-1, _signal.SIGKILL)
        else:
            others = all_others()
            for number in (_signal.SIGSTOP, _signal.SIGKILL):  # stopped, it starts no other meanwhile
                for pid in others:
                    kill(pid, number)
        time.sleep(0.0005)


def all_others():
    """Return the numbers of the processes below this one; who has just started or lost its parent may be missing."""
    if os.getpid() == 1:
        return [int(name) for name in os.listdir("/proc") if name.isdigit() and name != "1"]
    found = [os.getpid()]
    for pid in found:
        for thread in threads(pid):
            found += map(int, words_of("/proc/%d/task/%s/children" % (pid, thread)))
    return found[1:]


def threads(pid):
    """Return the numbers of a process's threads, as texts; none if it has gone."""
    try:
        return os.listdir("/proc/%d/task" % pid)
    except OSError:
        return []


def state_of(folder):
    """Return what is told of a process or thread from its state on, as words of bytes; zeros if it has gone."""
    return b" ".join(lines_of(folder + "/stat")).rpartition(b")")[2].split() or GONE


def words_of(path):
    """Return the words of a file."""
    return b" ".join(lines_of(path)).split()


def lines_of(path):
    """Return the lines of a file; none if it can't be read, as of who has ended."""
    try:
        with open(path, "rb") as file:
            return file.readlines()
    except OSError:
        return []
