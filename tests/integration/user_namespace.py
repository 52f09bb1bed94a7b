# SPDX-License-Identifier: Apache-2.0
"""Runs a Python program in a user namespace of one user, as containers without root are: `KIND PROGRAM`.

"rootless": the one user is called root there. "forbidden": it's called what it was, and may make no more namespaces.
"""

import ctypes
import os
import runpy
import sys
from pathlib import Path

CLONE_NEWUSER = 0x10000000


def enter(kind: str) -> None:
    """Enter a new namespace as its only user.

    Raises:
        OSError: The kernel refuses it.
    """
    user, group = os.geteuid(), os.getegid()
    if ctypes.CDLL(None, use_errno=True).unshare(CLONE_NEWUSER) != 0:
        raise OSError(ctypes.get_errno(), "user namespaces are forbidden here already")
    inner = (0, 0) if kind == "rootless" else (user, group)
    Path("/proc/self/uid_map").write_text(f"{inner[0]} {user} 1")
    Path("/proc/self/setgroups").write_text("deny")
    Path("/proc/self/gid_map").write_text(f"{inner[1]} {group} 1")
    if kind == "forbidden":
        Path("/proc/sys/user/max_user_namespaces").write_text("0")


if __name__ == "__main__":
    if sys.argv[1] in ("rootless", "forbidden"):
        enter(sys.argv[1])
        os.execv(sys.executable, [sys.executable, __file__, "entered", *sys.argv[2:]])  # leaves its rights behind
    runpy.run_path(sys.argv[2], run_name="__main__")
