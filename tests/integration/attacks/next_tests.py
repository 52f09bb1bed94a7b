# SPDX-License-Identifier: Apache-2.0
"""Looks for the inputs of later runs, and for anything that is called a test or an expected output."""

import os
import sys

from attacking import TOLD, broken, report

SECRET = ("NEXT-" + "INPUT").encode()
SKIPPED = ("/usr", "/lib", "/lib64", "/bin", "/sbin", "/proc", "/sys", sys.prefix, sys.base_prefix)


def look_at(path):
    try:
        if os.path.isfile(path) and os.path.getsize(path) < 1 << 22:
            with open(path, "rb") as file:
                if SECRET in file.read():
                    broken(f"{path} holds the next input")
    except OSError:
        pass


if "secret" not in TOLD:
    for root in ("/", os.path.dirname(os.getcwd()), os.environ.get("TMPDIR", "/tmp"), "/dev/shm", "/tmp"):
        for folder, folders, names in os.walk(root):
            folders[:] = [name for name in folders if not os.path.join(folder, name).startswith(SKIPPED)]
            for name in names:
                look_at(os.path.join(folder, name))
                if "expected" in name.lower() and TOLD["in_box"]:
                    broken(f"there's a file {folder}/{name}")
    for number in range(64):
        for pid in ("self", 1, os.getppid()):
            look_at(f"/proc/{pid}/fd/{number}")
report()
