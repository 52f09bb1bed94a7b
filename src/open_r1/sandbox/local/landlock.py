# SPDX-License-Identifier: Apache-2.0
"""Boxes on machines without user namespaces: Landlock, the filter of system calls, limits of resources, a keeper.

What is covered: no file outside of the box can be written, changed or, but for those named, opened; no sockets at all;
no signals to and no look into processes outside; memory, number of processes and size of files are limited by the
driver's watch; what a program leaves is ended, also when the driver or we are killed.

What is not: whether a path exists, its size, times and where it leads if it's a link can be asked (`stat`,
`readlink`); what can be read can be locked (`flock`); the machine's name and load and the numbers of its processes can
be seen; for a twentieth of a second a box can write more than it may, and for less than that have more processes.
There's no `/dev/shm`, so the locks of Python's `multiprocessing` fail. Programs can't start files that they have
written themselves, nor change the mode, owner or times of any. A file that is deleted and closed while it's mapped
counts as the longest there can be, which ends the box: the kernel doesn't show its size.
"""

import ctypes
import errno
import os
from collections.abc import Sequence

from open_r1.sandbox.local.seccomp import filter_program

MIN_VERSION = 3  # Linux 6.2; before, a program could cut any file of its user's to nothing
_SIGNALS_SINCE = 6  # Linux 6.12
_NUM_TASKS_OF_OTHERS = 1024  # by so much the number of its user's other processes may rise while a box runs
_SYSTEM_FOLDERS = (
    "/usr",
    "/bin",
    "/lib",
    "/lib32",
    "/lib64",
    "/sbin",
    "/etc/ld.so.cache",
    "/etc/localtime",
    "/etc/ssl/openssl.cnf",
)
_CREATE_RULESET = 444
_ASK_VERSION = 1


def version() -> int:
    """Return the version of Landlock in this kernel, 0 if there's none or it is switched off."""
    return max(_ask_version()[0], 0)


def why_not() -> str | None:
    """Return why this machine can't confine programs in this way, and what to do; None if nothing speaks against."""
    found, error = _ask_version()
    if found < 0:
        switched_off = error == errno.EOPNOTSUPP
        what = "is switched off: add `landlock` to the kernel's `lsm=`" if switched_off else "isn't in this kernel"
        return f"Landlock {what} ({os.strerror(error)}); Linux 6.2 or newer has what is needed."
    if found < MIN_VERSION:
        return f"Landlock is of version {found} here, and {MIN_VERSION} is needed: Linux 6.2 or newer."
    try:
        filter_program()
    except NotImplementedError as reason:
        return str(reason)
    return None


def settings(
    root: str, *, user: int | None, readable: Sequence[str], processes: int, disk_bytes: int
) -> dict[str, object]:
    """Return what `confine.serve` needs to know, as values that Python and JSON can write.

    The process that calls it confines itself for good and serves one box. The box ends, with all that runs in it, when
    the other end of the driver's socket is closed, when the driver is killed, or at SIGTERM.

    Args:
        root: Folder of the box, without links in its path, which `user` may write; programs write below it only.
        user: Number of the user and the group to become, who owns nothing but boxes; needs root. None to stay who we
            are.
        readable: Folders of interpreters, which programs may read and execute from, besides those of the system.
        processes: Processes and threads at a time in the box, looked at forty times a second. The kernel itself allows
            the user a thousand more than it has when the box starts: enough for all boxes while one runs wild.
        disk_bytes: What may be written in the box, looked at twenty times a second.
    """
    found = version()
    return {
        "root": root,
        "user": user,
        "version": found,
        "readable": [*_SYSTEM_FOLDERS, *readable],
        "more_tasks": processes + _NUM_TASKS_OF_OTHERS,
        "processes": processes,
        "disk_bytes": disk_bytes,
        "filter": filter_program().hex(),
        "program_filter": filter_program(
            without_mounts=True,
            confines_signals=found < _SIGNALS_SINCE,
        ).hex(),
    }


def _ask_version() -> tuple[int, int]:
    """Return Landlock's version or a negative number, and the error."""
    library = ctypes.CDLL(None, use_errno=True)
    found = library.syscall(ctypes.c_long(_CREATE_RULESET), None, ctypes.c_size_t(0), ctypes.c_uint32(_ASK_VERSION))
    return found, ctypes.get_errno()
