# SPDX-License-Identifier: Apache-2.0
"""Control groups of version 1 or 2: limits of memory and of processes over everything in a box.

    /sys/fs/cgroup/memory/jobs/7/open_r1_box_4711_9f3c...    of process 4711, in its own group /jobs/7

Groups are made below this process's own, so that whatever limits us limits the boxes too; with version 2, where a
group with processes can't divide its memory, beside our own if ours can't be divided. Who may not make groups (an
ordinary user on most machines) gets None and needs a watchdog. Empty groups of a process that was killed stay until
the machine restarts, or until somebody removes them.
"""

import contextlib
import errno
import functools
import logging
import os
import secrets
import signal
import subprocess
import time
from pathlib import Path

logger = logging.getLogger(__name__)

MOUNT = Path("/sys/fs/cgroup")
_HIGHEST, _LIMIT = "memory.max_usage_in_bytes", "memory.limit_in_bytes"  # of version 1
_NEAR_LIMIT = 1 << 20  # the kernel counts in portions of some pages


# Folders below which groups are made: of memory and of pids with version 1, the one of both with version 2.
Place = tuple[Path, ...]


class Group:
    """A control group of one box; where this process can't make any, a count of the machine's kills for memory.

    Attributes:
        limits_memory: Whether it is one.
    """

    def __init__(self, place: Place | None) -> None:
        name = f"open_r1_box_{os.getpid()}_{secrets.token_hex(8)}"
        self.limits_memory = place is not None
        self._folders = [folder / name for folder in place or ()]  # the first one counts memory
        try:
            for folder in self._folders:
                folder.mkdir()
            self._num_kills, self._num_met = self._count_kills(), 0
        except OSError:  # no descriptors are left: nobody else knows of the group
            for folder in self._folders:
                with contextlib.suppress(FileNotFoundError):
                    folder.rmdir()
            raise

    def set_limits(self, memory_mb: int, processes: int) -> None:
        """Set what the whole group may use from now on, no more than before.

        Args:
            memory_mb: Memory in MiB, files in memory included; swap is not added to it. If more is in use that can't
                be freed, the limit stays.
            processes: Processes and threads, those of the box itself included.
        """
        size = memory_mb << 20
        values = {"pids.max": processes, "memory.max": size, "memory.swap.max": 0, _HIGHEST: 0, _LIMIT: size}
        values |= {"memory.memsw.limit_in_bytes": size, "memory.swappiness": 0}
        for file in (folder / name for name in values for folder in self._folders):
            try:
                if file.exists():
                    file.write_text(str(values[file.name]))
            except OSError as error:
                if error.errno != errno.EBUSY:
                    raise

    def add(self, pid: int) -> None:
        """Move a process, if it's there, and all that it has started into the group."""
        with contextlib.suppress(ProcessLookupError, FileNotFoundError):
            for folder in self._folders:
                (folder / "cgroup.procs").write_text(str(pid))
            for thread in Path(f"/proc/{pid}/task").iterdir() if self._folders else ():
                for child in (thread / "children").read_text().split():
                    self.add(int(child))

    def new_kills(self) -> tuple[bool, bool]:
        """Return whether the kernel has killed since this was last asked: for the group's limit, for want elsewhere.

        Without a group, the machine's kills are those elsewhere.
        """
        known, self._num_kills = self._num_kills, self._count_kills()
        is_own = self._num_kills > known and self.limits_memory and self._has_met_limit()
        return is_own, self._num_kills > known and not is_own

    def _count_kills(self) -> int:
        names = ("memory.events", "memory.oom_control")
        files = [self._folders[0] / name for name in names] if self._folders else [Path("/proc/vmstat")]
        return sum(_field(file, "oom_kill") for file in files)

    def _has_met_limit(self) -> bool:
        """Return whether this group's own limit had no memory left since this was last asked."""
        highest = self._folders[0] / _HIGHEST
        if not highest.exists():
            known, self._num_met = self._num_met, _field(self._folders[0] / "memory.events", "oom")
            return self._num_met > known
        is_met = int(highest.read_text()) > int((self._folders[0] / _LIMIT).read_text()) - _NEAR_LIMIT
        highest.write_text("0")  # what it was, not what it is, is forgotten
        return is_met

    def pids(self) -> list[int]:
        """Return the processes in the group."""
        return [int(line) for line in (self._folders[-1] / "cgroup.procs").read_text().split()]

    def remove(self) -> bool:
        """Kill what is in the group and remove it; return whether it's gone.

        The kernel needs a moment after a kill: call it again then.
        """
        for folder in list(self._folders):
            try:
                folder.rmdir()
                self._folders.remove(folder)
            except OSError as error:
                if error.errno != errno.EBUSY:
                    raise
                for pid in (folder / "cgroup.procs").read_text().split():
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(int(pid), signal.SIGKILL)
        return not self._folders


def find_place() -> Place | None:
    """Return where this process can make groups; tried out once in each process."""
    return _find_place(os.getpid())


@functools.cache
def _find_place(pid: int) -> Place | None:
    memory, pids, whole = map(_own_folder, ("memory", "pids", ""))
    places: list[Place] = [(memory, pids)] if memory is not None and pids is not None else []
    if whole is not None:
        places += [(folder,) for folder in (whole, whole.parent) if _divides(folder)]
    return next(filter(_works, places), None)


def _works(place: Place) -> bool:
    """Make a group, put a process into it and remove it again."""
    group = None
    try:
        group = Group(place)
        group.set_limits(64, 16)
        with subprocess.Popen(["/bin/sh", "-c", "read line"], stdin=subprocess.PIPE) as process:
            group.add(process.pid)
            return process.pid in group.pids()
    except OSError as error:
        logger.info("No control groups below %s: %s.", place[0], error)
        return False
    finally:
        deadline = time.monotonic() + 2
        while group is not None and not group.remove() and time.monotonic() < deadline:
            time.sleep(0.001)


def _own_folder(controller: str) -> Path | None:
    """Return the folder of this process's group, of version 2 if no controller is named; None where it isn't seen."""
    for line in Path("/proc/self/cgroup").read_text().splitlines():
        _, controllers, path = line.split(":", 2)
        if controller in controllers.split(","):
            # In a container what is mounted begins at its group, whatever the path says.
            for folder in (MOUNT / controller / path.strip("/"), MOUNT / controller):
                with contextlib.suppress(OSError):
                    if str(os.getpid()) in (folder / "cgroup.procs").read_text().split():
                        return folder
    return None


def _divides(folder: Path) -> bool:
    """Return whether groups below this one of version 2 have our controllers, switching them on where it may."""
    switch = folder / "cgroup.subtree_control"
    try:
        if not {"memory", "pids"} <= set(switch.read_text().split()):
            switch.write_text("+memory +pids")
        return True
    except OSError:  # not ours to change, without these controllers, or (EBUSY) processes are in it
        return False


def _field(file: Path, name: str) -> int:
    """Return a number of a file with names and numbers; 0 where it's missing."""
    lines = file.read_text().splitlines() if file.exists() else ()
    return next((int(line.split()[1]) for line in lines if line.split()[0] == name), 0)
