# SPDX-License-Identifier: Apache-2.0
"""Runs in a box: waits for a program, ends it at its limits, ends all that it leaves. A part of the driver."""

import _signal  # type: ignore[missing-import]
import os
import select
import stat
import time

from folders import empty
from processes import FILE_BYTES, MIB, kill

TICK_S = 0.02  # between two looks at what a program takes, where no control group or namespace limits it
SLOW_TICK_S = 0.1  # between two looks at its CPU time alone
LOOKS_TO_BE_SURE = 3
# A child by `vfork` shows its parent's memory once more until it starts a program, a moment later; at most a few do.
LOOKS_AT_DOUBLES = 16
SURE_S = 0.004  # between looks that must agree on too much memory: processes start and end while it is added up
STANDSTILL_S = 0.5  # a longer pause between two looks: the driver was stopped, and the programs with it
MOST_REAPED = 1000  # at a time: a program that leaves children without end can't keep the driver from looking
FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW
MOST_FILES = 20000  # on a disk that isn't the box's own
MORE_TASKS = 8  # than allowed before a program is ended: where the kernel keeps to the limit, it refuses them first
TICKS_A_SECOND = os.sysconf("SC_CLK_TCK")
PAGES = (b"VmRSS:", b"VmSwap:", b"VmPTE:")  # held, written to a disk, and the tables of all that
GONE = [b"0"] * 64  # what is told of a process that has gone


def watch(box, process):
    """Wait until a program has ended, by itself or at a limit, and nothing that it started is left."""
    seen, looked, worked_s = {}, time.monotonic(), time.process_time()
    tick_s = TICK_S if box.watches or box.shares_files else SLOW_TICK_S
    while process.status is None:
        if wait(box, process, tick_s):
            reap(process)
        now = time.monotonic()
        if now - looked >= tick_s:
            paused_s = now - looked - tick_s - (time.process_time() - worked_s)
            if paused_s > STANDSTILL_S:
                process.put_off(paused_s)
            looked, worked_s = now, time.process_time()
            reap(process)
            look(box, process, seen, now)
    end_all(box.is_alone, process)
    process.cpu_s = max(process.cpu_s, sum(seen.values()))
    process.drain()


def wait(box, process, tick_s):
    """Wait until there's something to read or look at; return whether the program may have ended."""
    poll = select.poll()
    for fd in process.pipes:
        poll.register(fd, select.POLLIN)
    if process.pidfd is not None:
        poll.register(process.pidfd, select.POLLIN)
    if box.lifeline is not None:
        poll.register(box.lifeline, 0)
    ready = poll.poll(1000 * (tick_s if process.pidfd is not None else 0.002))  # Python 3.8 can't wait for a process
    for fd, _ in ready:
        if fd == box.lifeline:
            end_all(box.is_alone, process)
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


def look(box, process, seen, now):
    """End a program at its limits.

    Args:
        box: Where it runs.
        process: The program.
        seen: CPU seconds by number of a process, as far as seen. Of a child whose parent ignores how it ends, the
            kernel tells nobody.
        now: The time.
    """
    pids = all_others()
    for pid in pids:
        ticks = state_of("/proc/%d" % pid)[11:13]
        seen[pid] = max(seen.get(pid, 0.0), sum(map(int, ticks)) / TICKS_A_SECOND)
    # What waits for a core is not over its time: others have the cores. It may have been met between two steps.
    process.idle_looks = 0 if any(map(wants_core, pids)) else process.idle_looks + 1
    if now >= process.last_deadline or (now >= process.deadline and process.idle_looks >= LOOKS_TO_BE_SURE):
        process.end("wall")
    if sum(seen.values()) > process.limits["cpu_s"]:
        process.end("cpu")
    if box.watches and overrun(box, process, pids) > 1 and stays_over(box, process):
        process.end("memory")
    if box.shares_files:
        if sum(len(threads(pid)) for pid in pids) > process.limits["processes"] + MORE_TASKS:
            process.end("processes")
        if is_much_written(box, pids):
            process.end("disk")


def wants_core(pid):
    """Return whether a thread of a process runs or could."""
    return any(state_of("/proc/%d/task/%s" % (pid, thread))[0] == b"R" for thread in threads(pid))


def overrun(box, process, pids):
    """Return how many times the limit processes hold, with what is written in the box; 0 if it's surely within."""
    limit = process.limits["memory_mb"] * MIB
    written = box.used_bytes()
    if sum(held_bytes(pid, "status", PAGES) for pid in pids) + written <= limit:
        return 0
    return (sum(map(own_bytes, pids)) + written) / limit


def stays_over(box, process):
    """Look again some milliseconds apart; return whether the memory was too much each time."""
    for number in range(LOOKS_AT_DOUBLES):
        time.sleep(SURE_S)
        times = overrun(box, process, all_others())
        if times <= 1:
            return False
        if times > 2 and number >= LOOKS_TO_BE_SURE:  # no moment's double
            return True
    return True


def own_bytes(pid):
    """Return the memory that a process holds, its part of what it shares; all of it if it hides the parts."""
    parts = held_bytes(pid, "smaps_rollup", (b"Pss:", b"SwapPss:"))
    return parts + held_bytes(pid, "status", PAGES[2:]) if parts else held_bytes(pid, "status", PAGES)


def held_bytes(pid, name, fields):
    """Return what fields of a file of a process's add up to; of another thread's where the first has ended alone."""
    lines = lines_of("/proc/%d/%s" % (pid, name), fields)
    if not lines:
        found = (lines_of("/proc/%d/task/%s/%s" % (pid, thread, name), fields) for thread in threads(pid))
        lines = next(filter(None, found), ())
    return sum(int(line.split()[1]) * 1024 for line in lines)


def is_much_written(box, pids):
    """Return whether too much lies in a box, or too many files; also what processes hold that has no name any more.

    A folder that is closed to its owner counts as too much. So does what is deleted, closed and still mapped: the
    kernel doesn't show its size.
    """
    fd = os.open(box.root, FOLDER)
    try:
        size = sum(nameless_bytes(box.root, pids))
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
    for folder in ("/proc/%d/" % pid for pid in pids):
        try:
            numbers = os.listdir(folder + "fd")
            with open(folder + "maps", "rb") as file:
                mapped = [line.split(None, 5) for line in file if line.endswith(b" (deleted)\n")]
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
        for words in mapped:
            if words[5].startswith(root.encode() + b"/") and int(words[4]) not in known:
                known.add(int(words[4]))
                yield FILE_BYTES


def end_all(is_alone, process=None):
    """End every process below this one, however it is hidden, and wait until they are gone.

    Args:
        is_alone: As of `Box`.
        process: Whose program has started them; the time that they took counts for it.
    """
    while not reap(process):
        if is_alone:
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
            try:
                with open("/proc/%d/task/%s/children" % (pid, thread), "rb") as file:
                    found += [int(child) for child in file.read().split()]
            except OSError:
                continue  # it has just ended
    return found[1:]


def threads(pid):
    """Return the numbers of a process's threads, as texts; none if it has gone."""
    try:
        return os.listdir("/proc/%d/task" % pid)
    except OSError:
        return []


def state_of(folder):
    """Return what is told of a process or thread from its state on, as words of bytes; zeros if it has gone."""
    try:
        with open(folder + "/stat", "rb") as file:
            return file.read().rpartition(b")")[2].split() or GONE
    except OSError:
        return GONE


def lines_of(path, names):
    """Return the lines of a file that begin with some names; none if it can't be read, as of who has ended."""
    try:
        with open(path, "rb") as file:
            return [line for line in file if line.startswith(names)]
    except OSError:
        return []
