# SPDX-License-Identifier: Apache-2.0
"""What attacks share. Each says "CONTAINED", or "BROKEN" and everything that it managed to do."""

import contextlib
import ctypes
import json
import os
import platform
import sys

TOLD = json.load(sys.stdin)  # where the canaries are, which sockets listen, the marker of this attack
LIBC = ctypes.CDLL(None, use_errno=True)
_COLUMN = {"x86_64": 0, "aarch64": 1}[platform.machine()]
CALLS = {
    "ptrace": (101, 117),
    "process_vm_readv": (310, 270),
    "pidfd_open": (434, 434),
    "pidfd_getfd": (438, 438),
    "unshare": (272, 97),
    "setns": (308, 268),
    "clone": (56, 220),
    "mount": (165, 40),
    "umount2": (166, 39),
    "pivot_root": (155, 41),
    "chroot": (161, 51),
    "fsopen": (430, 430),
    "open_tree": (428, 428),
    "keyctl": (250, 219),
    "add_key": (248, 217),
    "request_key": (249, 218),
    "bpf": (321, 280),
    "perf_event_open": (298, 241),
    "io_uring_setup": (425, 425),
    "userfaultfd": (323, 282),
    "memfd_create": (319, 279),
    "shmget": (29, 194),
    "shmat": (30, 196),
    "semget": (64, 190),
    "msgget": (68, 186),
    "mq_open": (240, 180),
    "open_by_handle_at": (304, 265),
    "name_to_handle_at": (303, 264),
    "swapon": (167, 224),
    "reboot": (169, 142),
    "init_module": (175, 105),
    "kexec_load": (246, 104),
    "acct": (163, 89),
    "quotactl": (179, 60),
    "sethostname": (170, 161),
    "settimeofday": (164, 170),
    "syslog": (103, 116),
    "setpriority": (141, 140),
}
_DONE = []


def syscall(name, *args):
    """Make a system call.

    Raises:
        OSError: It failed.
    """
    words = [ctypes.c_long(word) if isinstance(word, int) else word for word in args]
    result = LIBC.syscall(ctypes.c_long(CALLS[name][_COLUMN]), *words)
    if result < 0:
        raise OSError(ctypes.get_errno(), name)
    return result


def attempt(what, function, *args):
    """Try what must not work, and note it if nothing is raised."""
    try:
        result = function(*args)
    except Exception:
        return None
    broken(f"{what} -> {str(result)[:100]}")
    return result


def broken(what):
    """Note something that worked and must not."""
    _DONE.append(what)


def report():
    """Say how it went."""
    print("BROKEN: " + "; ".join(_DONE) if _DONE else "CONTAINED", flush=True)


def read(path):
    """Return the beginning of a file."""
    with open(path, "rb") as file:
        return file.read(200)


def start_sleeper():
    """Turn this process into one that sleeps for hours, under a name by which it can be found."""
    os.execv("/bin/sleep", ["sleep", TOLD["marker"]])


def in_child(function):
    """Run a function in a forked child and return its number."""
    pid = os.fork()
    if pid == 0:
        with contextlib.suppress(BaseException):
            function()
        os._exit(0)
    return pid
