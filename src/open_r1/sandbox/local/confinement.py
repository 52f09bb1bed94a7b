# SPDX-License-Identifier: Apache-2.0
"""Boxes of processes that confine themselves, for machines without user namespaces; what that covers: `landlock`."""

import contextlib
import itertools
import os
import stat
import tempfile
from collections.abc import Iterable
from pathlib import Path

from open_r1.sandbox.harness.folders import empty
from open_r1.sandbox.local import landlock
from open_r1.sandbox.local.interpreter import BOX_USER, DRIVER_PARTS, Interpreter, has_other_users
from open_r1.sandbox.local.owners import is_orphan, owner_name
from open_r1.sandbox.local.started import Room, Started, memory_file, start

PREFIX = "open_r1_box_"
_NUM_USERS = 600  # after `BOX_USER`: up to 61178; from 61184 on systemd gives numbers to services
_COUNTER = itertools.count()


class Confinement:
    """Boxes by Landlock, the filter of system calls and limits of resources."""

    name = "landlock"
    driver_parts = (*DRIVER_PARTS, "keeper", "confine")

    def describe(self) -> str:
        """Return what isolates programs."""
        return f"Landlock of version {landlock.version()} and a filter of system calls"

    def start(self, interpreter: Interpreter, folders: Iterable[str], socket_fd: int, log: int, room: Room) -> Started:
        """Start a box; see `Setup.start`. Where we are root, each box has a user of its own."""
        is_root = has_other_users()
        user = BOX_USER + 1 + (131 * os.getpid() + next(_COUNTER)) % _NUM_USERS if is_root else None
        folder = _new_folder()
        code_fd = -1
        try:
            code_fd = memory_file(interpreter.driver)
            if user is not None:
                os.chown(folder, user, user)
            readable = [folder for folder in folders if Path(folder).exists()]
            settings = landlock.settings(
                folder, user=user, readable=readable, processes=room.processes, disk_bytes=room.disk_bytes
            )
            command = interpreter.command(code_fd, f"serve({socket_fd}, {settings!r})")
            return Started(start(command, (code_fd, socket_fd), log), folder, folder)
        except BaseException:
            Path(folder).rmdir()
            raise
        finally:
            if code_fd >= 0:
                os.close(code_fd)


def _new_folder() -> str:
    """Make the folder of a box; before a process's first one, remove what killed processes have left."""
    parent = Path(tempfile.gettempdir()).resolve()
    if os.getpid() not in _SWEPT:
        _SWEPT.add(os.getpid())
        for left in parent.glob(f"{PREFIX}*"):
            if is_orphan(left.name.removeprefix(PREFIX)) and _is_ours(left):
                with contextlib.suppress(FileNotFoundError, PermissionError):  # somebody else's, or gone already
                    empty(str(left))
                    left.rmdir()
    return tempfile.mkdtemp(prefix=f"{PREFIX}{owner_name()}_", dir=parent)


def _is_ours(folder: Path) -> bool:
    """Return whether a folder is that of a box which nobody can change any more; anybody can make one of that name."""
    found = folder.lstat()
    if not stat.S_ISDIR(found.st_mode) or os.geteuid() != 0:
        return stat.S_ISDIR(found.st_mode) and found.st_uid == os.geteuid()
    is_users = BOX_USER < found.st_uid <= BOX_USER + _NUM_USERS
    return found.st_uid == 0 or (is_users and not _has_processes(found.st_uid))


def _has_processes(user: int) -> bool:
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):  # it has just ended
            if folder.stat().st_uid == user:
                return True
    return False


_SWEPT: set[int] = set()
