# SPDX-License-Identifier: Apache-2.0
"""Interpreter of local boxes: tried out as the user that boxes run as, and the driver, compiled for it once.

Interpreter("/usr/bin/python3", "3.11.2", ("/usr",), code_fd=7)
"""

import errno
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

# Who programs are where the trainer is root: no such user needs to exist, nor does systemd give away these numbers.
BOX_USER = 60578
NUM_USERS = 600  # behind it, each for a box at a time: up to 61178; from 61184 on systemd gives numbers to services
SYSTEM_PYTHON = "/usr/bin/python3"
PROBE_S = 30.0

# Compiles the driver's parts, which come on standard input, and says where the interpreter lies.
_LOOK = """
import json, marshal, sys
code = [(name, compile(text, name + ".py", "exec", optimize=2)) for name, text in json.load(sys.stdin)]
folders = [sys.prefix, sys.base_prefix]
print(json.dumps([sys.version.split()[0], sys.version_info >= (3, 9), folders, marshal.dumps(code).hex()]))
"""
_PARTS = ("folders", "processes", "watching", "driver", "confine")  # in the order of their imports


@dataclass(frozen=True)
class Interpreter:
    """An interpreter that the boxes' user can start.

    Attributes:
        path: Its path.
        version: As in "3.11.2".
        folders: What it needs to see besides the system's folders.
        code_fd: Descriptor of a file in memory with the driver, compiled: it starts 8 ms sooner so.
        is_private: Whether only root may reach it (pyenv and uv put it into root's home), so that it must be shown at
            its place in folders of the box's own.
    """

    path: str
    version: str
    folders: tuple[str, ...]
    code_fd: int
    is_private: bool = False


def has_other_users() -> bool:
    """Return whether this process is root over the boxes' users, too: in a rootless container it's only called so."""
    return os.geteuid() == 0 and covers(Path("/proc/self/uid_map").read_text(), BOX_USER)


def covers(uid_map: str, user: int) -> bool:
    """Return whether there's a user of this number in a user namespace.

    Args:
        uid_map: The text of `/proc/self/uid_map` there.
        user: The number.
    """
    ranges = [line.split() for line in uid_map.splitlines()]
    return any(int(first) <= user < int(first) + int(count) for first, _, count in ranges)


def candidates(python: str | None) -> Iterator[str]:
    """Yield the interpreters to try: the given one alone, else the project's and the system's."""
    if python is not None:
        yield shutil.which(python) or python
        return
    yield sys.executable
    if Path(SYSTEM_PYTHON).exists():
        yield SYSTEM_PYTHON


def probe_interpreter(path: str, *, may_be_private: bool) -> Interpreter:
    """Start an interpreter as the user of boxes and return what it says of itself.

    Args:
        path: The interpreter.
        may_be_private: Whether boxes can show one that only root may reach.

    Raises:
        OSError, ValueError: It can't be used; the message says why.
    """
    if not has_other_users():
        return _probe(path, None)
    try:
        return _probe(path, BOX_USER)
    except PermissionError as error:
        if error.errno == errno.EPERM or not may_be_private:  # EPERM: root may not become another user here
            raise
        return _probe(path, None, is_private=True)


def _probe(path: str, user: int | None, *, is_private: bool = False) -> Interpreter:
    done = subprocess.run(
        [path, "-I", "-c", _LOOK],
        input=json.dumps([(name, harness(f"{name}.py")) for name in _PARTS]),
        capture_output=True,
        text=True,
        env={},
        cwd="/",
        timeout=PROBE_S,
        check=False,
        user=user,
        group=user,
        extra_groups=None if user is None else (),
    )
    if done.returncode != 0:
        raise ValueError(f"{path} ended with exit code {done.returncode}: {done.stderr.strip()[-300:]}")
    version, is_new_enough, prefixes, driver = json.loads(done.stdout)
    if not is_new_enough:
        raise ValueError(f"{path} is Python {version}; the box needs 3.9 or newer")
    folders = {folder_of(path), *prefixes}
    if exposed := [folder for folder in folders if holds_home(Path(folder).resolve())]:
        raise ValueError(f"{path} lies in {exposed[0]}, which has home folders in it: programs could read these")
    code_fd = os.memfd_create("open_r1_driver")
    os.write(code_fd, bytes.fromhex(driver))
    return Interpreter(path, version, tuple(sorted(folders)), code_fd, is_private)


def folder_of(program: str) -> str:
    """Return what a program needs to see: the folder with its `bin`; itself, where that is a home or holds one."""
    path = Path(program).resolve()
    return str(path if holds_home(path.parent.parent) else path.parent.parent)


def holds_home(folder: Path) -> bool:
    """Return whether a folder is a home folder or has some in it, with keys and all."""
    homes = (Path(os.environ.get("HOME", "/root")).resolve(), Path("/root"), Path("/home"))
    return folder.parent == Path("/home") or any(home.is_relative_to(folder) for home in homes)


def harness(name: str) -> str:
    """Return the text of a program that runs in boxes."""
    return (files("open_r1.sandbox") / "harness" / name).read_text(encoding="utf-8")
