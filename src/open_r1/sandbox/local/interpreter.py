# SPDX-License-Identifier: Apache-2.0
"""The interpreter of a local box, tried out as the user that boxes run as, and the driver compiled for it."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

BOX_USER = 61500  # who programs are where the trainer is root; no such user needs to exist
SYSTEM_PYTHON = "/usr/bin/python3"
DRIVER_PARTS = ("folders", "processes", "watching", "driver")
PROBE_S = 30.0

# Compiles the driver's parts, which come on standard input, and says where the interpreter lies.
_LOOK = """
import importlib.util, json, marshal, sys
parts = json.load(sys.stdin)
code = [(name, compile(text, name + ".py", "exec")) for name, text in parts]
print(json.dumps({
    "version": sys.version.split()[0], "is_new_enough": sys.version_info >= (3, 8), "driver": marshal.dumps(code).hex(),
    "folders": [sys.prefix, sys.base_prefix], "has_numpy": importlib.util.find_spec("numpy") is not None,
}))
"""
# What the interpreter of a box starts with: the driver's parts become modules, the last one goes to work.
BOOTSTRAP = (
    "import marshal,sys\n"
    "for name,code in marshal.loads(open({code_fd},'rb').read()):\n"
    " module=sys.modules[name]=type(sys)(name);exec(code,module.__dict__)\n"
    "module.serve({socket_fd})"
)


@dataclass(frozen=True)
class Interpreter:
    """An interpreter that the boxes' user can start.

    Attributes:
        path: Its path.
        version: As in "3.11.2".
        folders: What it needs to see besides the system's folders.
        has_numpy: Whether programs can import numpy.
        driver: The driver, compiled by it.
    """

    path: str
    version: str
    folders: tuple[str, ...]
    has_numpy: bool
    driver: bytes


def drop_user() -> list[str]:
    """Return the words before a command that make root an ordinary user; none for ordinary users."""
    if os.geteuid() != 0:
        return []
    setpriv = shutil.which("setpriv") or "/usr/bin/setpriv"
    return [setpriv, f"--reuid={BOX_USER}", f"--regid={BOX_USER}", "--clear-groups", "--no-new-privs"]


def candidates(python: str | None) -> Iterator[str]:
    """Yield the interpreters to try: the given one alone, else the project's and the system's."""
    if python is not None:
        yield shutil.which(python) or python
        return
    yield sys.executable
    if not os.path.samefile(sys.executable, SYSTEM_PYTHON) if Path(SYSTEM_PYTHON).exists() else False:
        yield SYSTEM_PYTHON


def probe_interpreter(path: str) -> Interpreter:
    """Start an interpreter as the user of boxes and return what it says of itself.

    Raises:
        OSError, ValueError: It can't be used; the message says why.
    """
    parts = [(name, (files("open_r1.sandbox") / "harness" / f"{name}.py").read_text()) for name in DRIVER_PARTS]
    # Not by `setpriv`, which still has root's rights when it looks for what it starts.
    user = {"user": BOX_USER, "group": BOX_USER, "extra_groups": ()} if os.geteuid() == 0 else {}
    done = subprocess.run(
        [path, "-I", "-c", _LOOK], input=json.dumps(parts), capture_output=True, text=True, env={}, cwd="/",
        timeout=PROBE_S, check=False, **user,
    )  # fmt: skip
    if done.returncode != 0:
        raise ValueError(f"{path} ended with exit code {done.returncode}: {done.stderr.strip()[-300:]}")
    said = json.loads(done.stdout)
    if not said["is_new_enough"]:
        raise ValueError(f"{path} is Python {said['version']}; the box needs 3.8 or newer")
    folders = {os.path.dirname(os.path.dirname(os.path.realpath(path))), *said["folders"]}
    return Interpreter(path, said["version"], tuple(sorted(folders)), said["has_numpy"], bytes.fromhex(said["driver"]))
