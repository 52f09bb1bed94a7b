# SPDX-License-Identifier: Apache-2.0
"""Looks for secrets in the environment and the memory of every process that can be named."""

import os

from attacking import TOLD, attempt, broken, report, syscall

NAME = ("SECRET_" + "CANARY").encode()  # in two pieces: our own source isn't a find


def look(pid):
    folder = f"/proc/{pid}/"
    for name in ("environ", "auxv", "cmdline"):
        try:
            with open(folder + name, "rb") as file:
                if NAME in file.read():
                    broken(f"{folder}{name} holds the secret")
        except OSError:
            pass
    for name in ("mem", "pagemap", "syscall", "io", "stack"):
        attempt(f"open {folder}{name}", os.open, folder + name, os.O_RDONLY)
    for name in ("cwd", "root", "exe"):
        attempt(f"follow {folder}{name}", os.readlink, folder + name)
    attempt(f"list {folder}fd", os.listdir, folder + "fd")
    attempt(f"list {folder}root", os.listdir, folder + "root/")
    if TOLD["in_box"]:
        attempt(f"ptrace {pid}", syscall, "ptrace", 16, pid, 0, 0)


pids = set(TOLD["pids"])
if TOLD["in_box"]:
    pids |= {1, os.getppid(), *range(max(os.getpid() - 40, 1), os.getpid())}
    try:
        pids |= {int(name) for name in os.listdir("/proc") if name.isdigit()}
    except OSError:
        pass
for pid in sorted(pids - {os.getpid()}):
    look(pid)
try:
    with open("/proc/self/environ", "rb") as file:
        if NAME in file.read():
            broken("our own environment holds the secret")
except OSError:
    pass
report()
