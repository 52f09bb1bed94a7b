# SPDX-License-Identifier: Apache-2.0
"""Boxes on machines without user namespaces: Landlock, the filter of system calls, limits of resources, a keeper.

What is covered: no file outside of the box can be written, changed or, but for those named, opened; no sockets at all;
no signals to and no look into processes outside; memory, number of processes and size of files are limited by the
driver's watch; what a program leaves is ended, also when the driver or we are killed.

What is not: whether a path exists, its size and times can be asked (`stat`); the names of the machine, its load and the
numbers of its processes can be seen; without control groups a tree of processes can take more memory or disk than it
may for some hundredths of a second; there's no `/dev/shm`, so the locks of Python's `multiprocessing` fail. Where a box
runs as its caller's own user, programs can't change the mode, owner or times of files, their own neither.
"""

import ctypes
import errno
import os
from collections.abc import Sequence

from open_r1.sandbox.local.seccomp import filter_program

MIN_VERSION = 3  # Linux 6.2; before, a program could cut any file of its user's to nothing
_SIGNALS_SINCE = 6  # Linux 6.12
_NUM_TASKS_OF_OTHERS = 512  # how much the number of its user's other processes may change while a box runs
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
    """Return why this machine can't confine programs in this way, and what to do, or None if nothing speaks against."""
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


def settings(root: str, *, user: int | None, readable: Sequence[str], processes: int) -> dict[str, object]:
    """Return what `confine.serve` needs to know, as values that Python and JSON can write.

    The process that calls it confines itself for good and serves one box. The box ends, with all that runs in it, when
    the other end of the driver's socket is closed, when the driver is killed, or at SIGTERM.

    Args:
        root: Folder of the box, without links in its path, which `user` may write; programs write below it only.
        user: Number of the user and the group to become, who owns nothing but boxes; needs root. None to stay who we
            are.
        readable: Folders of interpreters, which programs may read and execute from, besides those of the system.
        processes: Processes and threads at a time of `user`, in all boxes; where the user isn't given, about 500 more
            than run now.
    """
    found = version()
    shares_user, confines_signals = user is None, found < _SIGNALS_SINCE
    needs_more = shares_user or confines_signals
    more = filter_program(shares_user=shares_user, confines_signals=confines_signals) if needs_more else b""
    return {
        "root": root,
        "user": user,
        "version": found,
        "readable": [*_SYSTEM_FOLDERS, *readable],
        "tasks": processes + (_NUM_TASKS_OF_OTHERS if shares_user else 3),  # the keeper, the driver, a forked one
        "filter": filter_program().hex(),
        "program_filter": more.hex(),
    }


def _ask_version() -> tuple[int, int]:
    """Return Landlock's version or a negative number, and the error."""
    library = ctypes.CDLL(None, use_errno=True)
    found = library.syscall(ctypes.c_long(_CREATE_RULESET), None, ctypes.c_size_t(0), ctypes.c_uint32(_ASK_VERSION))
    return found, ctypes.get_errno()
