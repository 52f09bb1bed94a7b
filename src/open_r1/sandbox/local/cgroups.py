# SPDX-License-Identifier: Apache-2.0
"""Limits of memory and of processes over everything in a box, by control groups of version 1 or 2.

Groups are made below this process's own, so that whatever limits us limits the boxes too; with version 2, where a
group with processes can't divide its memory, beside our own if ours can't be divided. Who may not make groups (an
ordinary user on most machines) gets None and needs a watchdog. A group's name says which process owns it; groups
whose owner was killed are swept when the next process makes its first.
"""

import contextlib
import errno
import itertools
import logging
import os
import re
import signal
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

logger = logging.getLogger(__name__)

_PREFIX = "open_r1_box_"
_CONTROLLERS = ("memory", "pids")


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
        """Return how many processes were killed since the group had no memory left."""
        name = "memory.events" if self._version == 2 else "memory.oom_control"
        return _field(self._memory / name, "oom_kill")

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
_COUNTER = itertools.count()


def _place_of_process() -> _Place | None:
    """Return where this process can make groups; tried out once in each process."""
    if os.getpid() not in _PLACES:
        _PLACES.clear()  # of the process that this one was forked from
        _PLACES[os.getpid()] = next((place for place in _candidates() if _works(place)), None)
    return _PLACES[os.getpid()]


def _works(place: _Place) -> bool:
    """Make a group, put a process into it and remove it again; sweep what others left first."""
    _sweep(place)
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
    name = f"{_PREFIX}{owner_name()}_{next(_COUNTER)}"
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


def _sweep(place: _Place) -> None:
    """End and remove groups whose owner is dead, also those in groups beside ours."""
    for parent in {place.memory, place.pids}:
        for folder in (group for beside in (parent, *_below(parent.parent)) for group in _below(beside)):
            if folder.name.startswith(_PREFIX) and is_orphan(folder.name.removeprefix(_PREFIX)):
                with contextlib.suppress(OSError):  # another process sweeps too
                    _kill_all(folder)
                    _remove(folder)


def _below(folder: Path) -> list[Path]:
    """Return the groups in a group; none where another process has just removed it (`Path.glob` would raise)."""
    try:
        return [Path(entry.path) for entry in os.scandir(folder) if entry.is_dir(follow_symlinks=False)]
    except OSError:
        return []


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


def owner_name() -> str:
    """Return a name for this process that no other one has, also after a restart: namespace, number, start."""
    return f"{_namespace()}_{os.getpid()}_{_start_of(os.getpid())}"


def is_orphan(name: str) -> bool:
    """Return whether a name begins with that of a dead owner; of another container's processes we know nothing."""
    found = re.match(r"(\d+)_(\d+)_(\d+)(_|$)", name)
    return found is not None and found[1] == _namespace() and _start_of(int(found[2])) != found[3]


def _namespace() -> str:
    return str(Path("/proc/self/ns/pid").stat().st_ino)


def _start_of(pid: int) -> str | None:
    """Return when a process started, in the kernel's ticks, or None if there's none of that number."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]
    except (FileNotFoundError, ProcessLookupError):
        return None
