# SPDX-License-Identifier: Apache-2.0
"""Runs in a box: waits for programs, ends them at their limits, ends all that they leave. A part of the driver."""

import _signal  # type: ignore[missing-import]
import os
import select
import time

from holding import borrowers, own_bytes, resident_bytes, state_of, thread_folders, threads
from processes import kill

MIB = 1 << 20
TICK_S = 0.02  # between two looks at the memory of all processes, where no control group limits it
SLOW_TICK_S = 0.1  # between two looks at their CPU time, and at how long they have waited for cores
LOOKS_TO_BE_SURE = 3
SURE_S = 0.004  # between looks that must agree on too much memory: processes start and end while it is added up
MOST_REAPED = 1000  # at a time: a program that leaves children without end can't keep the driver from looking
TICKS_A_SECOND = os.sysconf("SC_CLK_TCK")


def watch(box, processes):
    """Wait until all have ended, by themselves or at a limit, and nothing that they started is left."""
    seen = {}
    looked = time.monotonic()
    waiting = Waiting(looked)
    while any(process.status is None for process in processes):
        ended = wait(box, processes)
        if ended:
            reap(processes)
        now = time.monotonic()
        if now - looked >= tick_s(box) or any(now >= process.deadline for process in processes):
            looked = now
            reap(processes)
            if now - waiting.looked >= SLOW_TICK_S or any(now >= process.deadline for process in processes):
                waiting.look(box, processes, now)
            look(box, processes, seen)
    end_all(box, processes)
    partners = {process.pid for process in processes[1:]}  # an interactor's time is its own
    own_s = sum(seconds for pid, seconds in seen.items() if pid not in partners)
    processes[0].cpu_s = max(processes[0].cpu_s, own_s)
    for process in processes:
        process.drain()


class Waiting:
    """How long the processes in the box were ready to run while others had the cores: that isn't their time.

    Attributes:
        looked: When this was last looked at.
    """

    def __init__(self, now):
        self.looked, self.seen = now, {}
        self.left_s = 0.0  # of the time until then, what was not put off yet

    def look(self, box, processes, now):
        """Put off the deadlines by what was waited since the last look, in all at most by the time since the start."""
        elapsed, seen, more = now - self.looked, {}, []
        for pid in all_others(box):
            for thread in threads(pid):
                known, ran_before = self.seen.get(thread, (0.0, None))
                ran, waited = schedule_of(pid, thread)
                is_idle = ran is not None and ran == ran_before and waited <= known
                if is_idle and state_of("/proc/%d/task/%s" % (pid, thread))[0] == b"R":
                    waited = known + elapsed  # it waits still: the kernel counts that when the thread gets its core
                seen[thread] = max(waited, known), ran
                more.append(max(waited - known, 0.0))
        self.left_s += elapsed
        # Many threads wait at the same time; one may have waited since before the last look.
        later = min(sum(more), max([elapsed, *more]), self.left_s)
        self.left_s -= later
        for process in processes:
            process.deadline = min(process.deadline + later, process.last_deadline)
        self.looked, self.seen = now, seen


def tick_s(box):
    """Return the seconds between two looks."""
    return TICK_S if box.watches else SLOW_TICK_S


def wait(box, processes):
    """Wait until there's something to read, a process has ended or it's time to look; return whether one has ended."""
    living = [process for process in processes if process.status is None]
    poll = select.poll()
    owners = {fd: process for process in processes for fd in process.pipes}
    for fd in [*owners, *(process.pidfd for process in living if process.pidfd is not None)]:
        poll.register(fd, select.POLLIN)
    left_s = min(process.deadline for process in living) - time.monotonic()
    longest_s = tick_s(box) if living[0].pidfd is not None else 0.002  # Python 3.8 can't wait for a process
    if box.lifeline is not None:
        poll.register(box.lifeline, 0)
    ready = poll.poll(1000 * max(min(left_s, longest_s), 0.0) + 1)
    for fd, _ in ready:
        if fd == box.lifeline:
            end_all(box, processes)
            os._exit(0)
        if fd in owners:
            owners[fd].read(fd)
    return not ready or any(fd not in owners for fd, _ in ready)


def reap(processes, flags=os.WNOHANG):
    """Take note of processes that have ended; those whose own parents didn't count for the first program.

    Return whether none are left.
    """
    mine = {process.pid: process for process in processes}
    for _ in range(MOST_REAPED):
        try:
            pid, status, usage = os.wait4(-1, flags)
        except ChildProcessError:
            return True
        if pid == 0:
            return False
        if pid in mine:
            mine[pid].finish(status, usage)
        else:
            processes[0].count(usage)
    return False


def look(box, processes, seen):
    """End programs at their limits; what a whole tree uses counts for the first program.

    Args:
        box: Where they run.
        processes: All, those that have ended too.
        seen: CPU seconds by number of a process, as far as seen. Of a child whose parent ignores how it ends, the
            kernel tells nobody.
    """
    now = time.monotonic()
    for process in processes:
        if process.status is None and now >= process.deadline:
            process.end("wall")
    others = all_others(box)
    for pid in others:
        seen[pid] = max(seen.get(pid, 0.0), (field(pid, 11) + field(pid, 12)) / TICKS_A_SECOND)
    first = processes[0]
    if sum(seen.values()) > sum(process.limits["cpu_s"] for process in processes):
        first.end("cpu")
    if box.watches and is_over(box, processes, others) and stays_over(box, processes):
        first.end("memory")


def is_over(box, processes, others):
    """Return whether processes hold more memory than they may, with what is written in the box."""
    limit = sum(process.limits["memory_mb"] for process in processes) * MIB
    folders = thread_folders(others)
    limit -= box.used_bytes()
    if sum(map(resident_bytes, folders)) <= limit:
        return False
    borrowed = borrowers(others)
    return sum(map(own_bytes, thread_folders(pid for pid in others if pid not in borrowed))) > limit


def stays_over(box, processes):
    """Look again some milliseconds apart; return whether the memory was too much each time."""
    for _ in range(LOOKS_TO_BE_SURE):
        time.sleep(SURE_S)
        if not is_over(box, processes, all_others(box)):
            return False
    return True


def end_all(box, processes):
    """End every process that a program has started, however it is hidden, and wait until they are gone."""
    while box.owns_namespace and kill(-1, _signal.SIGKILL):  # everything but the driver, which is number 1 here
        reap(processes, 0)
    while not box.owns_namespace and not reap(processes):
        others = all_others(box)
        for number in (_signal.SIGSTOP, _signal.SIGKILL):  # stopped, it starts no other while we go through the list
            for pid in others:
                kill(pid, number)
        time.sleep(0.001)


def all_others(box):
    """Return the numbers of the processes below the driver; who has just started or lost its parent may be missing."""
    if box.owns_namespace:
        return [int(name) for name in os.listdir("/proc") if name.isdigit() and name != "1"]
    if not os.path.exists("/proc/thread-self/children"):  # a kernel without these lists
        return scan_others()
    found = [os.getpid()]
    for pid in found:
        for thread in threads(pid):
            try:
                with open("/proc/%d/task/%s/children" % (pid, thread), "rb") as file:
                    found += [int(child) for child in file.read().split()]
            except OSError:
                continue  # it has just ended
    return found[1:]


def scan_others():
    """Return the numbers of the processes below the driver from a look at all of the machine's, which takes long."""
    children = {}
    for name in os.listdir("/proc"):
        if name.isdigit():
            children.setdefault(field(int(name), 1), []).append(int(name))
    found = [os.getpid()]
    for pid in found:
        found += children.get(pid, ())
    return found[1:]


def schedule_of(pid, thread):
    """Return how long a thread has run, and waited for a core; None and zero where the kernel tells of neither."""
    try:
        with open("/proc/%d/task/%s/schedstat" % (pid, thread), "rb") as file:
            ran, waited = file.read().split()[:2]
            return int(ran), int(waited) / 1e9
    except (OSError, ValueError):
        return None, 0.0


def field(pid, index):
    """Return a number from the status of a process, its state being number 0; 0 if it has gone."""
    return int(state_of("/proc/%d" % pid)[index])
