# SPDX-License-Identifier: Apache-2.0
"""Runs in a box without namespaces, above the driver: ends programs that take too much, and all that is left.

A control group or a namespace would do this better: the keeper looks at what there is again and again.
"""

import _signal  # type: ignore[missing-import]
import os
import select
import stat
import time

from holding import thread_folders
from processes import FILE_BYTES

TICK_MS = 25  # between two looks at how many processes and threads programs have
TICKS_OF_FILES = 2  # between two looks at how much they have written
MORE_TASKS = 8  # than allowed before a program is ended: where the kernel keeps to the limit, it refuses them first
MOST_FILES = 20000
LONGEST_PATH, MOST_BASES = 2000, 64  # bytes below an open folder; open folders, for what lies deeper than that
SIGNALS_SCOPED = 6  # the version since which there are scopes
O_PATH = os.O_PATH | os.O_CLOEXEC


class Keeper:
    """The process above the driver.

    Attributes:
        driver: Number of the driver.
        settings: See `landlock.settings`.
    """

    def __init__(self, child, settings):
        self.driver, self.settings = child, settings
        self.most_tasks = settings["processes"] + MORE_TASKS

    def keep(self, control, alive):
        """Wait for the driver's end or the provider's; end whatever is left; return the driver's exit code.

        Args:
            control: The driver's socket; it hangs up when the provider has closed its end or has died.
            alive: A pipe that the driver holds open.
        """
        _signal.signal(_signal.SIGTERM, self.end_at_once)
        poll = select.poll()
        poll.register(control, 0)
        poll.register(alive, 0)
        ticks = 0
        while not poll.poll(TICK_MS):
            ticks += 1
            pids = descendants(self.driver, self.most_tasks)
            if self.are_many(pids) or (ticks % TICKS_OF_FILES == 0 and pids and self.is_much(pids)):
                self.end_programs()
        self.end_programs()
        patience = time.monotonic() + 0.2  # the driver ends by itself when nobody is there any more
        status = None
        while status is None and time.monotonic() < patience:
            pid, found = os.waitpid(self.driver, os.WNOHANG)
            if pid:
                status = found
            else:
                time.sleep(0.002)
        end_below(os.getpid())
        return 1 if status is None or os.WIFSIGNALED(status) else os.WEXITSTATUS(status)

    def end_at_once(self, *_):
        """End everything, at a signal."""
        end_below(os.getpid())
        os._exit(1)

    def are_many(self, pids):
        """Return whether these processes have more threads than all may."""
        count = 0
        for pid in pids if len(pids) <= self.most_tasks else ():
            try:
                count += len(os.listdir("/proc/%d/task" % pid))
            except OSError:
                continue  # it has just ended
        return max(count, len(pids)) > self.most_tasks

    def end_programs(self):
        """End everything below the driver; stopped for that, where the kernel lets nobody else be met by it."""
        if self.settings["version"] < SIGNALS_SCOPED:
            end_below(self.driver)
            return
        # At once for all in this box: who forks at the moment is stopped, too, before the new process runs.
        is_sent(-1, _signal.SIGSTOP)
        for pid in descendants(self.driver):
            is_sent(pid, _signal.SIGKILL)
        is_sent(self.driver, _signal.SIGCONT)

    def is_much(self, pids):
        """Return whether too much is written, or too many files."""
        size, count = sum(open_sizes(pids, self.settings["root"]).values()), 0
        bases = [os.open(self.settings["root"], O_PATH)]
        waiting = [(bases[0], ".")]
        try:
            while waiting and len(bases) < MOST_BASES:
                base, path = waiting.pop()
                if len(os.fsencode(path)) > LONGEST_PATH:
                    try:
                        base, path = opened(base, path), "."
                    except OSError:
                        continue  # it has just been removed, or closed
                    bases.append(base)
                for name, found in look_into(base, path):
                    count += 1
                    size += found.st_blocks * 512
                    if size > self.settings["disk_bytes"] or count > MOST_FILES:
                        return True
                    if stat.S_ISDIR(found.st_mode):
                        waiting.append((base, path + "/" + name))
        finally:
            for base in bases:
                os.close(base)
        return bool(waiting) or size > self.settings["disk_bytes"]


def opened(base, path, flags=O_PATH):
    """Open a folder below an open one; not what a link leads to."""
    return os.open(path, flags | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=base)


def look_into(base, path):
    """Yield name and status of what is in a folder; what was made to be closed is opened for the next time."""
    try:
        folder = opened(base, path, os.O_RDONLY | os.O_CLOEXEC)
    except PermissionError:
        open_up(base, path)
        return
    except (FileNotFoundError, NotADirectoryError):
        return  # it has just been removed
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                try:
                    yield entry.name, entry.stat(follow_symlinks=False)
                except FileNotFoundError:
                    continue
    except PermissionError:
        open_up(base, path)
    finally:
        os.close(folder)


def open_sizes(pids, root):
    """Return the bytes of deleted files below a folder that processes hold open or map, by device and inode.

    The kernel shows only root how long a file is that is merely mapped: it counts as the longest there can be.
    """
    sizes, mapped = {}, {}
    for folder in thread_folders(pids):
        try:
            mapped.update(mapped_files(folder + "/maps", root))
            numbers = os.listdir(folder + "/fd")
        except OSError:
            continue  # it has just ended, or not become the program yet
        for number in numbers:
            try:
                found = os.stat(folder + "/fd/" + number)
            except OSError:
                continue
            if found.st_nlink == 0 and stat.S_ISREG(found.st_mode):
                sizes[found.st_dev, found.st_ino] = found.st_blocks * 512
    return {**mapped, **sizes}


def mapped_files(path, root):
    """Return the most that deleted files below a folder may have, which a process maps, by device and inode."""
    found = {}
    below = b" " + root.encode() + b"/"
    with open(path, "rb") as file:
        for line in file:
            if below in line and line.endswith(b" (deleted)\n"):
                device, inode = line.split(None, 5)[3:5]
                found[os.makedev(*(int(part, 16) for part in device.split(b":"))), int(inode)] = FILE_BYTES
    return found


def open_up(base, path):
    """Let the owner list a folder that was made to be closed; not by its name, which may be a link by now."""
    try:
        fd = opened(base, path)
    except OSError:
        return  # it has just been removed
    os.chmod("/proc/self/fd/%d" % fd, 0o700)
    os.close(fd)


def end_below(top):
    """End every process below one. All are stopped first, so that none starts others meanwhile."""
    stopped = set()
    while True:
        found = descendants(top)
        new = [pid for pid in found if pid not in stopped]
        for pid in new or found:
            is_sent(pid, _signal.SIGSTOP if new else _signal.SIGKILL)
        stopped.update(new)
        if not new and (top != os.getpid() or has_none_left()):
            return


def is_sent(pid, number):
    """Send a signal; return whether there was somebody to get it."""
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return False
    return True


def has_none_left():
    """Take note of children that have ended; return whether there are no others. Orphans become children."""
    time.sleep(0.001)
    try:
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
    except ChildProcessError:
        return True
    return False


def descendants(top, most=1 << 22):
    """Return the numbers of the processes below one, or more than `most`; who starts or ends now may be missing."""
    found = []
    waiting = [top]
    while waiting and len(found) <= most:
        folder = "/proc/%d/task/" % waiting.pop()
        try:
            for thread in os.listdir(folder):
                with open(folder + thread + "/children", "rb") as file:
                    below = [int(child) for child in file.read().split()]
                waiting += below
                found += below
        except OSError:
            continue  # it has just ended
    return found
