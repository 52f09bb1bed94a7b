# SPDX-License-Identifier: Apache-2.0
"""How boxes are made in this process: the mechanism, the interpreter, the languages that are there."""

import os
import shutil
import subprocess
from dataclasses import dataclass

from open_r1.sandbox.languages import LANGUAGES
from open_r1.sandbox.local.bwrap import ROOT, bwrap_command
from open_r1.sandbox.local.interpreter import BOOTSTRAP, Interpreter, drop_user
from open_r1.sandbox.local.seccomp import filter_program


@dataclass(frozen=True)
class Setup:
    """How boxes are made.

    Attributes:
        bwrap: Path of bubblewrap.
        interpreter: Runs the driver, and the programs in Python.
        programs: Path of the interpreter or compiler by language.
        has_groups: Whether control groups limit the memory of boxes.
    """

    bwrap: str
    interpreter: Interpreter
    programs: dict[str, str]

    @property
    def root(self) -> str:
        """The folder in the box where programs write."""
        return ROOT

    def start(self, socket_fd: int, disk_bytes: int, log: int) -> subprocess.Popen[bytes]:
        """Start the processes of a box.

        Args:
            socket_fd: Becomes the driver's way to us.
            disk_bytes: What may be written in the box.
            log: Gets what bubblewrap and the driver complain of.

        Raises:
            OSError: They can't be started.
        """
        code_fd = memory_file(self.interpreter.driver)
        seccomp_fd = memory_file(filter_program())
        bootstrap = BOOTSTRAP.format(code_fd=code_fd, socket_fd=socket_fd)
        command = [
            *drop_user(),
            *bwrap_command(self.bwrap, self.folders(), disk_bytes, seccomp_fd),
            *(self.interpreter.path, "-I", "-S", "-E", "-X", "frozen_modules=on", "-c", bootstrap),
        ]
        try:
            return subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=log, env={}, cwd="/",
                pass_fds=(code_fd, seccomp_fd, socket_fd),
            )  # fmt: skip
        finally:
            os.close(code_fd)
            os.close(seccomp_fd)

    def folders(self) -> list[str]:
        """Return the folders that the box shows besides the system's."""
        own = [os.path.dirname(os.path.dirname(os.path.realpath(path))) for path in self.programs.values()]
        return [*self.interpreter.folders, *own]


def find_programs(interpreter: Interpreter) -> dict[str, str]:
    """Return the paths of interpreters and compilers by language, as far as this machine has them."""
    path = os.environ.get("PATH", "") + ":/usr/local/bin:/usr/bin:/bin"
    found = {language.name: shutil.which(language.program, path=path) for language in LANGUAGES.values()}
    return {name: path for name, path in found.items() if path is not None} | {"python": interpreter.path}


def memory_file(content: bytes) -> int:
    """Return a descriptor of a file in memory, at its beginning; programs get it only where it's passed."""
    fd = os.memfd_create("open_r1_box", os.MFD_CLOEXEC)
    os.write(fd, content)
    os.lseek(fd, 0, os.SEEK_SET)
    return fd
