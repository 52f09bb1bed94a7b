# SPDX-License-Identifier: Apache-2.0
"""How boxes are made in this process: the mechanism, the interpreter, the languages that are there."""

import functools
import os
import shutil
from dataclasses import dataclass

from open_r1.sandbox.languages import LANGUAGES
from open_r1.sandbox.local import cgroups
from open_r1.sandbox.local.bwrap import Bubblewrap
from open_r1.sandbox.local.confinement import Confinement
from open_r1.sandbox.local.interpreter import Interpreter, folder_of
from open_r1.sandbox.local.started import Room, Started


@dataclass(frozen=True)
class Setup:
    """How boxes are made.

    Attributes:
        mechanism: What isolates them.
        interpreter: Runs the driver, and the programs in Python.
        programs: Path of the interpreter or compiler by language.
        has_numpy: Whether programs in Python can import numpy.
    """

    mechanism: Bubblewrap | Confinement
    interpreter: Interpreter
    programs: dict[str, str]
    has_numpy: bool = False

    def start(self, socket_fd: int, log: int, room: Room) -> Started:
        """Start the processes of a box.

        Args:
            socket_fd: Becomes the driver's way to us.
            log: Gets what the mechanism and the driver complain of.
            room: What may be used in the box.

        Raises:
            OSError: They can't be started.
        """
        return self.mechanism.start(self.interpreter, self.folders, socket_fd, log, room)

    @functools.cached_property
    def folders(self) -> list[str]:
        """Return the folders that a box shows besides the system's: those of interpreters and compilers."""
        own = [folder_of(path) for path in self.programs.values()]
        return [*self.interpreter.folders, *own]

    def describe(self) -> str:
        """Return what isolates the programs and what runs them, in a line."""
        version = cgroups.version()
        memory = "a watch on the processes" if version is None else f"control groups of version {version}"
        python = f"Python {self.interpreter.version} ({self.interpreter.path})"
        numpy = "with numpy" if self.has_numpy else "without numpy (`sandbox_python` names another)"
        return f"local: {self.mechanism.describe()}, memory limited by {memory}, {python} {numpy}"


def find_programs(interpreter: Interpreter) -> dict[str, str]:
    """Return the paths of interpreters and compilers by language, as far as this machine has them."""
    path = os.environ.get("PATH", "") + ":/usr/local/bin:/usr/bin:/bin"
    found = {language.name: shutil.which(language.program, path=path) for language in LANGUAGES.values()}
    return {"python": interpreter.path} | {
        name: path for name, path in found.items() if path is not None and name != "python"
    }
