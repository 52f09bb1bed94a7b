# SPDX-License-Identifier: Apache-2.0
"""Limits of memory and of processes over everything in a box, by control groups of version 1 or 2.

Groups are made below this process's own, so that whatever limits us limits the boxes too; with version 2, where a
group with processes can't divide its memory, beside our own if ours can't be divided. Who may not make groups (an
ordinary user on most machines) gets None and needs a watchdog. Empty groups of a process that was killed stay until
the machine restarts, or until somebody removes them.
"""

import contextlib
import errno
import logging
import os
import secrets
import signal
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

logger = logging.getLogger(__name__)

_PREFIX = "open_r1_box_"
_CONTROLLERS = ("memory", "pids")
_NEAR_LIMIT = 1 << 20  # the kernel counts in portions of some pages


@dataclass(frozen=True)
class _Place:
    """Folders below which groups are made: one for each controller of version 1, twice the same of version 2."""

    memory: Path
    pids: Path
    version: int


class Group:
    """A control group of one box; make it with `make_group`."""

    def __init__(self, place: _Place, name: str) -> None:
        self._version = place.version
        self._memory, self._pids = place.memory / name, place.pids / name
        self._folders = tuple(dict.fromkeys((self._memory, self._pids)))
        self._ooms = 0

    def set_limits(self, memory_mb: int, processes: int) -> None:
        """Set what the whole group may use from now on.

        Args:
            memory_mb: Memory in MiB, files in memory included; swap is not added to it.
            processes: Processes and threads, those of the box itself included.

        Raises:
            OSError: Refused; also (EBUSY) when more memory is in use than that and can't be freed.
        """
        size = memory_mb << 20
        (self._pids / "pids.max").write_text(str(processes))
        if self._version == 2:
            (self._memory / "memory.max").write_text(str(size))
            _write_if_there(self._memory / "memory.swap.max", "0")
            return
        _write_if_there(self._memory / "memory.max_usage_in_bytes", "0")  # under the limit before
        memory, with_swap = self._memory / "memory.limit_in_bytes", self._memory / "memory.memsw.limit_in_bytes"
        if not with_swap.exists():
            memory.write_text(str(size))
            _write_if_there(self._memory / "memory.swappiness", "0")
            return
        # At no time may the limit with swap be the smaller one.
        for file in (with_swap, memory) if int(with_swap.read_text()) < size else (memory, with_swap):
            file.write_text(str(size))

    def add(self, pid: int) -> None:
        """Move a process and all that it has started into the group.

        Raises:
            OSError: Refused; ESRCH when the process has ended.
        """
        for folder in self._folders:
            (folder / "cgroup.procs").write_text(str(pid))
        for child in _children(pid):
            with contextlib.suppress(ProcessLookupError):
                self.add(child)

    def oom_kills(self) -> int:
        """Return how many processes were killed for want of memory: of this group, one above or the machine."""
        return _field(self._memory / ("memory.events" if self._version == 2 else "memory.oom_control"), "oom_kill")

    def has_met_limit(self) -> bool:
        """Return whether this group's own limit had no memory left since this was last asked."""
        if self._version == 2:
            known, self._ooms = self._ooms, _field(self._memory / "memory.events", "oom")
            return self._ooms > known
        highest = self._memory / "memory.max_usage_in_bytes"
        limit = int((self._memory / "memory.limit_in_bytes").read_text())
        is_met = int(highest.read_text()) > limit - _NEAR_LIMIT
        highest.write_text("0")  # what it was, not what it is, is forgotten
        return is_met

    def pids(self) -> list[int]:
        """Return the processes in the group."""
        return [int(line) for line in (self._pids / "cgroup.procs").read_text().split()]

    def kill(self) -> bool:
        """Kill every process in the group; return whether there was one."""
        return sum(_kill_all(folder) for folder in self._folders) > 0

    def remove(self) -> bool:
        """Remove the group, if nothing runs in it any more; return whether it is gone.

        The kernel needs a moment after `kill`: call it again then.
        """
        return sum(_remove(folder) for folder in self._folders) == len(self._folders)


def make_group(memory_mb: int, processes: int) -> Group | None:
    """Return a new group with these limits, or None where this process can't make one.

    Args:
        memory_mb: As of `Group.set_limits`.
        processes: As of `Group.set_limits`.

    Raises:
        OSError: It could be made a moment ago and can't be now.
    """
    place = _place_of_process()
    if place is None:
        return None
    group = _new_group(place)
    try:
        group.set_limits(memory_mb, processes)
    except OSError:
        group.remove()
        raise
    return group


def version() -> int | None:
    """Return 1 or 2, the version of the groups that this process can make, or None."""
    place = _place_of_process()
    return None if place is None else place.version


_PLACES: dict[int, _Place | None] = {}


def _place_of_process() -> _Place | None:
    """Return where this process can make groups; tried out once in each process."""
    if os.getpid() not in _PLACES:
        _PLACES.clear()  # of the process that this one was forked from
        _PLACES[os.getpid()] = next((place for place in _candidates() if _works(place)), None)
    return _PLACES[os.getpid()]


def _works(place: _Place) -> bool:
    """Make a group, put a process into it and remove it again."""
    group = None
    try:
        group = _new_group(place)
        group.set_limits(64, 16)
        with subprocess.Popen(["/bin/sh", "-c", "read line"], stdin=subprocess.PIPE) as process:
            group.add(process.pid)
            return process.pid in group.pids()
    except OSError as error:
        logger.info("No groups of version %d below %s: %s.", place.version, place.memory, error)
        return False
    finally:
        if group is not None:
            _wait_until_gone(group)


def _wait_until_gone(group: Group) -> None:
    """Remove a group whose last process has just ended."""
    deadline = time.monotonic() + 2
    while not group.remove() and time.monotonic() < deadline:
        time.sleep(0.001)


def _new_group(place: _Place) -> Group:
    name = f"{_PREFIX}{os.getpid()}_{secrets.token_hex(8)}"
    group = Group(place, name)
    for folder in (place.memory, place.pids) if place.version == 1 else (place.memory,):
        (folder / name).mkdir()
    return group


def _candidates() -> Iterator[_Place]:
    """Yield the places to try."""
    folders = own_folders(Path("/proc/self/cgroup").read_text(), Path("/proc/self/mountinfo").read_text())
    if all(name in folders for name in _CONTROLLERS):
        yield _Place(folders["memory"], folders["pids"], 1)
    for folder in (folders[""], folders[""].parent) if "" in folders else ():
        if _divides(folder):
            yield _Place(folder, folder, 2)


def own_folders(groups: str, mounts: str) -> dict[str, Path]:
    """Return the folder of this process's group by controller, and by "" for version 2.

    Args:
        groups: The text of `/proc/self/cgroup`.
        mounts: The text of `/proc/self/mountinfo`.
    """
    own: dict[str, str] = {}
    for line in groups.splitlines():
        _, controllers, path = line.split(":", 2)
        own.update(dict.fromkeys(controllers.split(","), path))
    folders: dict[str, Path] = {}
    for line in mounts.splitlines():
        before, _, behind = line.partition(" - ")
        root, mount = before.split()[3:5]
        kind, _, options = behind.split(" ")[:3]
        names = {"cgroup": {*_CONTROLLERS} & {*options.split(",")}, "cgroup2": {""}}.get(kind, set())
        for name in names & own.keys():
            folders.setdefault(name, _mounted(mount, root, own[name]))
    return folders


def _mounted(mount: str, root: str, path: str) -> Path:
    """Return the folder of a group; what is mounted begins at the group `root`, in containers not at the first one."""
    if ".." in Path(path).parts or not Path(path).is_relative_to(root):
        return Path(mount)
    return Path(mount, Path(path).relative_to(root))


def _divides(folder: Path) -> bool:
    """Return whether groups below this one of version 2 have our controllers, switching them on where it may."""
    try:
        available = set((folder / "cgroup.controllers").read_text().split())
        switch = folder / "cgroup.subtree_control"
        if set(_CONTROLLERS) <= available and not set(_CONTROLLERS) <= set(switch.read_text().split()):
            switch.write_text(" ".join(f"+{name}" for name in _CONTROLLERS))
        return set(_CONTROLLERS) <= set(switch.read_text().split())
    except OSError:  # not ours to change, or (EBUSY) processes are in it
        return False


def _children(pid: int) -> list[int]:
    found = []
    for thread in Path(f"/proc/{pid}/task").glob("*/children"):
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            found += [int(child) for child in thread.read_text().split()]
    return found


def _kill_all(folder: Path) -> bool:
    """Kill the processes of a group; return whether there were any."""
    try:
        pids = (folder / "cgroup.procs").read_text().split()
    except FileNotFoundError:  # removed by another process
        pids = []
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(int(pid), signal.SIGKILL)
    return bool(pids)


def _remove(folder: Path) -> bool:
    try:
        folder.rmdir()
    except FileNotFoundError:
        return True
    except OSError as error:
        if error.errno == errno.EBUSY:
            return False
        raise
    return True


def _field(file: Path, name: str) -> int:
    return next((int(line.split()[1]) for line in file.read_text().splitlines() if line.split()[0] == name), 0)


def _write_if_there(file: Path, text: str) -> None:
    if file.exists():
        file.write_text(text)


def machine_oom_kills() -> int:
    """Return how many processes of this machine were killed for want of memory; 0 where it doesn't say."""
    return _field(Path("/proc/vmstat"), "oom_kill")
