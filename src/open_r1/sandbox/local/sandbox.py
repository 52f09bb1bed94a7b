# SPDX-License-Identifier: Apache-2.0
"""The provider `local`: a box on this machine for each request."""

import asyncio
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from open_r1.sandbox.base import (
    GoOn,
    Limits,
    Outcome,
    ProgramInput,
    ProgramRun,
    RunRequest,
    RunResult,
    Sandbox,
    UnsupportedLanguageError,
    all_ok,
)
from open_r1.sandbox.languages import Commands, build_commands, find_language
from open_r1.sandbox.local.box import BoxLostError, LocalBox, Reply, open_box
from open_r1.sandbox.local.setup import Setup
from open_r1.sandbox.wire import limits_to_json

logger = logging.getLogger(__name__)

DISK_BYTES = 256 << 20
ANSWER_S = 20.0  # what the driver may take besides the programs, on a busy machine
WINDOW = 2  # inputs on the way to the driver: the next one is there when a run ends


class LocalSandbox(Sandbox):
    """Boxes on this machine.

    Attributes:
        python: The interpreter in the boxes; None for the project's if the boxes' user can start it, else the
            system's.
        mechanism: "bwrap" or "landlock"; None for the environment's OPEN_R1_SANDBOX, else the first that passes a
            probe.
    """

    name = "local"

    def __init__(self, *, python: str | None = None, mechanism: str | None = None) -> None:
        self.python, self.mechanism = python, mechanism

    async def _setup(self) -> Setup:
        import os

        from open_r1.sandbox.local.bwrap import bwrap_path
        from open_r1.sandbox.local.interpreter import candidates, probe_interpreter
        from open_r1.sandbox.local.setup import find_programs

        key = (os.getpid(), self.python)
        if key not in _SETUPS:
            for path in candidates(self.python):
                try:
                    interpreter = probe_interpreter(path)
                except (OSError, ValueError):
                    continue
                break
            _SETUPS[key] = Setup(bwrap_path(), interpreter, find_programs(interpreter))
        return _SETUPS[key]

    async def languages(self) -> tuple[str, ...]:
        """Return the names of the languages it can run."""
        return tuple((await self._setup()).programs)

    def describe(self) -> str:
        """Return one line for the log."""
        return "local"

    async def run(self, request: RunRequest, go_on: GoOn = all_ok) -> RunResult:
        """Compile and run a submission in a new box; see `Sandbox.run`."""
        setup = await self._setup()
        language = find_language(request.language)
        if language.name != "binary" and language.name not in setup.programs:
            raise UnsupportedLanguageError(f"{request.language}: local has {', '.join(setup.programs)}.")
        commands = build_commands(language, request.files, request.limits, setup.programs.get(language.name))
        box = await open_box(
            setup,
            disk_bytes=DISK_BYTES,
            memory_mb=max(request.limits.memory_mb, request.compile_limits.memory_mb if commands.compile else 0),
            processes=max(request.limits.processes, request.compile_limits.processes),
        )
        try:
            contents = {
                n: c if isinstance(c, bytes) else c.encode("utf-8", "replace") for n, c in request.files.items()
            }
            await box.send(
                {
                    "root": setup.root,
                    "watches": box.group is None,
                    "compile": commands.compile,
                    "run": commands.run,
                    "compile_limits": limits_to_json(request.compile_limits, commands),
                    "limits": limits_to_json(request.limits, commands),
                    "keeps_binary": request.keeps_binary,
                    "files": [[n, len(c), language.name == "binary"] for n, c in contents.items()],
                },
                list(contents.values()),
            )
            compiled, binary = None, None
            if commands.compile:
                reply = await box.reply(request.compile_limits.backstop_s + ANSWER_S)
                compiled = to_run(reply)
                binary = reply.binary or None
                if compiled.outcome is not Outcome.OK:
                    box.is_idle = True
                    return RunResult(compiled, (None,) * len(request.inputs))
            runs = []
            size = request.stop_after or max(len(request.inputs), 1)
            for first in range(0, len(request.inputs), size):
                batch = request.inputs[first : first + size]
                sender = asyncio.ensure_future(self._feed(box, batch))
                try:
                    done = []
                    for _ in batch:
                        box.has_run = True
                        done.append(to_run(await box.reply(request.limits.backstop_s + ANSWER_S)))
                    await sender
                finally:
                    sender.cancel()
                box.is_idle = True
                runs += done
                if first + size < len(request.inputs) and not await go_on(first, done):
                    break
            return RunResult(compiled, (*runs, *(None,) * (len(request.inputs) - len(runs))), binary)
        finally:
            await box.close()

    async def _feed(self, box, batch):
        for given in batch:
            stdin = given.stdin.encode("utf-8", "replace")
            files = {n: c.encode("utf-8", "replace") for n, c in given.files.items()}
            await box.send(
                {
                    "stdin": len(stdin),
                    "files": [[n, len(c)] for n, c in files.items()],
                    "args": given.args,
                    "output_file": given.output_file,
                    "role": None,
                },
                [stdin, *files.values()],
            )


def to_run(reply: Reply) -> ProgramRun:
    record = reply.record
    return ProgramRun(
        outcome=Outcome(record["outcome"]),
        stdout=reply.stdout.decode("utf-8", "replace"),
        stderr=reply.stderr.decode("utf-8", "replace"),
        exit_code=record["exit_code"],
        signal=record["signal"],
        cpu_s=record["cpu_s"],
        wall_s=record["wall_s"],
        peak_memory_mb=record["peak_memory_mb"],
    )


_SETUPS: dict[Any, Setup] = {}
