# SPDX-License-Identifier: Apache-2.0
"""The interpreter of a local box, tried out as the user that boxes run as; the driver compiled for it, and started."""

import errno
import functools
import itertools
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from importlib.resources import files
from pathlib import Path

# Who programs are where the trainer is root: no such user needs to exist, nor does systemd give away these numbers.
BOX_USER = 60578
NUM_USERS = 600  # behind it, each for a box at a time: up to 61178; from 61184 on systemd gives numbers to services
SYSTEM_PYTHON = "/usr/bin/python3"
DRIVER_PARTS = ("folders", "processes", "watching", "submission", "driver")
PROBE_S = 30.0
_COUNTER = itertools.count()

# Compiles the driver's parts, which come on standard input, and says where the interpreter lies.
_LOOK = """
import json, marshal, sys
code = [(name, compile(text, name + ".py", "exec", optimize=2)) for name, text in json.load(sys.stdin)]
folders = [sys.prefix, sys.base_prefix]
print(json.dumps([sys.version.split()[0], sys.version_info >= (3, 8), folders, marshal.dumps(code).hex()]))
"""
# What the interpreter of a box starts with: the driver's parts become modules, of which one goes to work.
_BOOTSTRAP = """
import marshal, sys
for name, code in marshal.loads(open({code_fd}, "rb").read()):
    module = sys.modules[name] = type(sys)(name)
    exec(code, module.__dict__)
module.{call}
"""


@dataclass(frozen=True)
class Interpreter:
    """An interpreter that the boxes' user can start.

    Attributes:
        path: Its path.
        version: As in "3.11.2".
        folders: What it needs to see besides the system's folders.
        driver: The driver, compiled by it.
        is_private: Whether only root may reach it (pyenv and uv put it into root's home), so that it must be shown at
            its place in folders of the box's own.
    """

    path: str
    version: str
    folders: tuple[str, ...]
    driver: bytes
    is_private: bool = False

    def start(self, call: str, passed: Sequence[int], log: int, before: Sequence[str] = ()) -> subprocess.Popen[bytes]:
        """Start the driver, with as little of the interpreter as it needs, an empty environment and few descriptors.

        It gets a session of its own, so that an interrupt from the terminal ends boxes only through us.

        Args:
            call: Of a function in the driver's last part, with arguments.
            passed: Descriptors that it gets.
            log: Descriptor that is its standard error.
            before: Words of the command before the interpreter.

        Raises:
            OSError: It can't be started.
        """
        code_fd = memory_file(self.driver)
        try:
            code = _BOOTSTRAP.format(code_fd=code_fd, call=call)
            return subprocess.Popen(
                [*before, self.path, "-I", "-S", "-E", "-X", "frozen_modules=on", "-c", code],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=log,
                env={},
                cwd="/",
                pass_fds=(code_fd, *passed),
                start_new_session=True,
            )
        finally:
            os.close(code_fd)


@dataclass(frozen=True)
class Room:
    """What may be used in a box, by all that runs in it.

    Attributes:
        disk_bytes: Written to files.
        memory_mb: Memory in MiB.
        processes: Processes and threads.
    """

    disk_bytes: int
    memory_mb: int
    processes: int


@dataclass(frozen=True)
class Started:
    """The first process of a box.

    Attributes:
        process: It; the box is gone when it has ended.
        root: The folder where programs write, as the driver sees it.
        folder: The same as a folder of this machine's, to be removed at the end, or None.
    """

    process: subprocess.Popen[bytes]
    root: str
    folder: str | None = None


def drop_user(program: str) -> tuple[str, ...]:
    """Return the words before a command that make root an ordinary user; none for ordinary users.

    Args:
        program: What is to be started; it must understand `--version`.
    """
    return _dropping(program) if has_other_users() else ()


def new_user() -> int:
    """Return the number of a user for one box: the kernel counts processes by users, not by boxes."""
    return BOX_USER + 1 + (131 * os.getpid() + next(_COUNTER)) % NUM_USERS


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


@functools.cache
def _dropping(program: str) -> tuple[str, ...]:
    """Return `chroot` to where we are, if that works: it starts in a third of the time that `setpriv` takes.

    `setpriv` still has root's rights when it looks for the program, so it also finds one in root's own folders.
    """
    user = f"+{BOX_USER}"
    words = (_system_program("chroot"), f"--userspec={user}:{user}", "--groups=", "/")
    try:
        works = (
            subprocess.run([*words, program, "--version"], capture_output=True, env={}, check=False).returncode == 0
        )
    except OSError:
        works = False
    if works:
        return words
    return (_system_program("setpriv"), f"--reuid={BOX_USER}", f"--regid={BOX_USER}", "--clear-groups")


def _system_program(name: str) -> str:
    return shutil.which(name, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/bin") or name


def candidates(python: str | None) -> Iterator[str]:
    """Yield the interpreters to try: the given one alone, else the project's and the system's."""
    if python is not None:
        yield shutil.which(python) or python
        return
    yield sys.executable
    if Path(SYSTEM_PYTHON).exists():
        yield SYSTEM_PYTHON


def probe_interpreter(path: str, parts: Sequence[str], *, private_parts: Sequence[str] = ()) -> Interpreter:
    """Start an interpreter as the user of boxes and return what it says of itself.

    Args:
        path: The interpreter.
        parts: Names of the driver's files, in the order of their imports.
        private_parts: Likewise, where only root may reach the interpreter; none where boxes can't show it then.

    Raises:
        OSError, ValueError: It can't be used; the message says why.
    """
    try:
        return _probe(path, parts, BOX_USER if has_other_users() else None)
    except PermissionError:
        if not (private_parts and has_other_users()):
            raise
        return replace(_probe(path, private_parts, None), is_private=True)


def _probe(path: str, parts: Sequence[str], user: int | None) -> Interpreter:
    texts = [(name, harness(f"{name}.py")) for name in parts]
    # Not by `setpriv`, which still has root's rights when it looks for what it starts.
    try:
        done = subprocess.run(
            [path, "-I", "-c", _LOOK],
            input=json.dumps(texts),
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
    except PermissionError as error:
        if user is None or error.errno != errno.EPERM:
            raise
        raise ValueError(
            f"root may not become user {user} here: start this as an ordinary user, or give the container the "
            "capabilities SETUID and SETGID"
        ) from error
    if done.returncode != 0:
        raise ValueError(f"{path} ended with exit code {done.returncode}: {done.stderr.strip()[-300:]}")
    version, is_new_enough, prefixes, driver = json.loads(done.stdout)
    if not is_new_enough:
        raise ValueError(f"{path} is Python {version}; the box needs 3.8 or newer")
    folders = {folder_of(path), *prefixes}
    if exposed := [folder for folder in folders if holds_home(Path(folder).resolve())]:
        raise ValueError(f"{path} lies in {exposed[0]}, which has home folders in it: programs could read these")
    return Interpreter(path, version, tuple(sorted(folders)), bytes.fromhex(driver))


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


def memory_file(content: bytes) -> int:
    """Return a descriptor of a file in memory, at its beginning; programs get it only where it's passed.

    Raises:
        OSError: There are no descriptors or no memory left.
    """
    fd = os.memfd_create("open_r1_box", os.MFD_CLOEXEC)
    try:
        os.write(fd, content)
        os.lseek(fd, 0, os.SEEK_SET)
    except OSError:
        os.close(fd)
        raise
    return fd
