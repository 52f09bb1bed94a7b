# SPDX-License-Identifier: Apache-2.0
"""Runs in a box: counts the memory that processes hold, where no control group does. A part of the driver."""

import os

PAGES = (b"VmRSS:", b"VmSwap:", b"VmPTE:")  # held, written to a disk, and the tables of all that
SIZES = b"Vm"  # begins the names of all sizes of a process's memory
GONE = [b"0"] * 64  # what is told of a process that has gone


def thread_folders(pids):
    """Return the folder below /proc of a thread of each process, the first one's unless that has ended alone."""
    found = []
    for pid in pids:
        folder = "/proc/%d" % pid
        try:
            threads = () if has_memory(folder) else os.listdir(folder + "/task")
        except OSError:
            continue  # it has just ended
        others = ["%s/task/%s" % (folder, thread) for thread in threads]
        found += [folder, *filter(has_memory, others)][-1:]
    return found


def borrowers(pids):
    """Return the processes that run in their parents' memory, as a child by `vfork` does until it starts a program.

    The kernel tells of no process whose memory it uses. But all sizes agree then, and for each such child one of the
    parent's threads waits in a state that nothing interrupts: so many are taken for such children, no more.
    """
    found, left = [], {}
    for pid in pids:
        parent = int(state_of("/proc/%d" % pid)[1])
        sizes = lines_of("/proc/%d/status" % pid, SIZES)
        if parent in pids and sizes and sizes == lines_of("/proc/%d/status" % parent, SIZES):
            if parent not in left:
                states = [state_of("/proc/%d/task/%s" % (parent, thread))[0] for thread in threads(parent)]
                left[parent] = states.count(b"D")
            if left[parent] > 0:
                left[parent] -= 1
                found.append(pid)
    return found


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


def has_memory(folder):
    """Return whether a thread tells of the memory of its process: one that has ended does not."""
    try:
        with open(folder + "/statm", "rb") as file:
            return not file.read().startswith(b"0 ")
    except OSError:
        return False


def resident_bytes(folder):
    """Return the memory that a process holds, with what it shares."""
    return sum_of(folder + "/status", PAGES) or 0


def own_bytes(folder):
    """Return the memory that a process holds, its part of what it shares; all of it if it hides the parts."""
    parts = sum_of(folder + "/smaps_rollup", (b"Pss:", b"SwapPss:"))
    if parts is None:
        return resident_bytes(folder)
    return parts + (sum_of(folder + "/status", PAGES[2:]) or 0)


def sum_of(path, names):
    """Return the bytes in some lines of a file of the kernel's; None if it can't be read, as of who has ended."""
    lines = lines_of(path, names)
    return None if lines is None else sum(int(line.split()[1]) * 1024 for line in lines)


def lines_of(path, names):
    """Return the lines that begin with some names; None if the file can't be read."""
    try:
        with open(path, "rb") as file:
            return [line for line in file if line.startswith(names)]
    except OSError:
        return None
