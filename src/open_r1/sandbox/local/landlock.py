# SPDX-License-Identifier: Apache-2.0
"""Boxes on machines without user namespaces: Landlock, the filter of system calls, limits of resources, a watch.

What is covered: no file outside of the box can be written, changed or, but for those named, opened; no sockets at all;
no signals to and no look into processes outside; memory, number of processes and what is written are limited by looks
of the driver, fifty a second; what a program leaves is ended, also when the driver or we are killed.

What is not: whether a path exists, its size, times and where it leads if it's a link can be asked (`stat`,
`readlink`); what can be read can be locked (`flock`); the machine's name and load and the numbers of its processes can
be seen; between two looks a box can write more than it may and have more processes, an ordinary user's some thousands.
There's no `/dev/shm`, so the locks of Python's `multiprocessing` fail. Programs can't start files that they have
written themselves, nor change the mode, owner or times of any. A file that is deleted and closed while it's mapped
counts as the longest there can be, which ends the program: the kernel doesn't show its size.

`OPEN_R1_SANDBOX=none` starts the same boxes without Landlock and the filter, for containers that are the box
themselves: limits, watch and clean-up stay, and nothing is closed to programs that the container shows.
"""

import ctypes
import errno
import os
import tempfile
from collections.abc import Iterable
from pathlib import Path

from open_r1.sandbox.local.seccomp import filter_program

PREFIX = "open_r1_box_"
MIN_VERSION = 3  # Linux 6.2; before, a program could cut any file of its user's to nothing
MIN_FILES = 1000  # that the file system of boxes must have room for
_SIGNALS_SINCE = 6  # Linux 6.12
_SYSTEM_FOLDERS = (
    *("/usr", "/bin", "/lib", "/lib32", "/lib64", "/sbin"),
    *("/etc/ld.so.cache", "/etc/localtime", "/etc/ssl/openssl.cnf"),
)
_CREATE_RULESET = 444
_ASK_VERSION = 1


def settings(folders: Iterable[str], *, confines: bool = True) -> dict[str, object]:
    """Return what `confine.serve` needs to know, but for the box's folder and user.

    Args:
        folders: What programs may read and execute, besides those of the system.
        confines: Whether programs are confined: False for "none".

    Raises:
        NotImplementedError: The system calls of this machine aren't known.
        ValueError: This kernel's Landlock is off or too old.
    """
    found = version() if confines else 0
    if confines and found < MIN_VERSION:
        raise ValueError(f"Landlock is off or older than version {MIN_VERSION} in this kernel")
    keeps_signals = found >= _SIGNALS_SINCE
    filters = {"filter": "", "program_filter": ""}
    if found:
        of_programs = filter_program(without_mounts=True, confines_signals=not keeps_signals)
        filters = {"filter": filter_program().hex(), "program_filter": of_programs.hex()}
    return {"version": found, "readable": [*_SYSTEM_FOLDERS, *folders], **filters}


def new_folder(disk_bytes: int) -> str:
    """Make the folder of a box.

    Raises:
        OSError: See `check_folder`.
    """
    parent = Path(tempfile.gettempdir()).resolve()
    check_folder(str(parent), disk_bytes)
    return tempfile.mkdtemp(prefix=f"{PREFIX}{os.getpid()}_", dir=parent)


def version() -> int:
    """Return the version of Landlock in this kernel, 0 or less if there's none or it is switched off."""
    library = ctypes.CDLL(None)
    return library.syscall(ctypes.c_long(_CREATE_RULESET), None, ctypes.c_size_t(0), ctypes.c_uint32(_ASK_VERSION))


def check_folder(folder: str, disk_bytes: int) -> None:
    """Refuse a folder in which right programs would fail.

    Raises:
        OSError: Programs can't be started from it, or there's no room for what a program may write.
    """
    found = os.statvfs(folder)
    if found.f_flag & os.ST_NOEXEC:
        raise OSError(errno.EACCES, "programs can't be started there (noexec): set TMPDIR to another folder", folder)
    if found.f_bavail * found.f_frsize < disk_bytes or (found.f_files and found.f_favail < MIN_FILES):
        raise OSError(errno.ENOSPC, f"less than {disk_bytes >> 20} MiB are left: set TMPDIR to another folder", folder)
