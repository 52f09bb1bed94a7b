# SPDX-License-Identifier: Apache-2.0
"""Gains rights: namespaces, mounts, setuid programs, keyrings, rarely used calls of the kernel, the terminal."""

import array
import fcntl
import os
import shutil
import subprocess

from attacking import TOLD, attempt, broken, report, syscall

NAMESPACES = {
    "user": 0x10000000,
    "mount": 0x20000,
    "pid": 0x20000000,
    "net": 0x40000000,
    "uts": 0x4000000,
    "ipc": 0x8000000,
    "cgroup": 0x2000000,
}


def run(*command):
    subprocess.run(command, check=True, capture_output=True, stdin=subprocess.DEVNULL, timeout=5)


def clone(flags):
    pid = syscall("clone", flags | 17, 0, 0, 0, 0)
    if pid == 0:
        os._exit(0)
    return pid


def push_input(fd):
    fcntl.ioctl(fd, 0x5412, b"x")


for name, flag in NAMESPACES.items():
    attempt(f"unshare {name}", syscall, "unshare", flag)
    attempt(f"unshare {name} and user", syscall, "unshare", flag | NAMESPACES["user"])
    attempt(f"clone into {name}", clone, flag | NAMESPACES["user"])
for pid in ("self", 1, os.getppid()) if TOLD["in_box"] else ():
    attempt(f"enter namespace of {pid}", lambda pid: syscall("setns", os.open(f"/proc/{pid}/ns/mnt", 0), 0), pid)
attempt("mount", syscall, "mount", b"none", b"/tmp", b"tmpfs", 0, None)
attempt("mount anew", syscall, "mount", None, b"/", None, 32, None)
attempt("unmount", syscall, "umount2", b"/proc", 2)
attempt("chroot", syscall, "chroot", b".")
attempt("pivot root", syscall, "pivot_root", b".", b".")
attempt("fsopen", syscall, "fsopen", b"tmpfs", 0)
attempt("open tree", syscall, "open_tree", -100, b"/", 1)
for command in (
    "unshare -Ur true",
    "bwrap --ro-bind / / true",
    "su -c true",
    "sudo -n true",
    "mount -t tmpfs x /tmp",
    "newgrp",
    "ping -c1 127.0.0.1",
    "chsh -s /bin/sh",
    "passwd -d root",
):
    words = command.split()
    attempt(command, run, *words) if shutil.which(words[0]) and TOLD["in_box"] else None
attempt("add a key", syscall, "add_key", b"user", b"planted", b"x", 1, -3)
attempt("keyring", syscall, "keyctl", 0, -3, 1)
attempt("request a key", syscall, "request_key", b"user", b"planted", None, -3)
attempt("bpf", syscall, "bpf", 0, bytes(48), 48)
attempt("perf events", syscall, "perf_event_open", bytes(112), 0, -1, -1, 0)
attempt("io_uring", syscall, "io_uring_setup", 4, bytearray(120) and bytes(120))
attempt("userfaultfd", syscall, "userfaultfd", 1)
attempt("semaphores", syscall, "semget", 0, 1, 0o1600)
attempt("message queue", syscall, "msgget", 0, 0o1600)
attempt("swap", syscall, "swapon", b"swap", 0)
attempt("module", syscall, "init_module", b"x", 1, b"")
attempt("kernel log", syscall, "syslog", 3, bytes(100), 100)
if TOLD["in_box"]:
    attempt("host name", syscall, "sethostname", b"box", 3)
    attempt("time", syscall, "settimeofday", array.array("l", [0, 0]).tobytes(), None)
    attempt("restart", syscall, "reboot", 0xFEE1DEAD, 0x28121969, 0, None)  # only switches Ctrl-Alt-Del off
    attempt("become root", os.setuid, 0)
    attempt("other groups", os.setgroups, [0])
for number in range(3):
    attempt(f"type into the terminal at {number}", push_input, number)
attempt("the terminal", os.open, "/dev/tty", os.O_RDWR)
try:
    status = open("/proc/self/status").read()
except OSError:
    status = ""
for line in status.splitlines() if TOLD["in_box"] else ():
    if line.startswith(("CapPrm", "CapEff", "CapBnd", "CapAmb")) and int(line.split()[1], 16):
        broken(line) if not line.startswith("CapBnd") else None
    if line.split() in (["NoNewPrivs:", "0"], ["Seccomp:", "0"]):
        broken(line)
if TOLD["in_box"] and (os.getuid() == 0 or 0 in os.getgroups()):
    broken(f"user {os.getuid()}, groups {os.getgroups()}")
report()
