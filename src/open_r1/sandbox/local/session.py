# SPDX-License-Identifier: Apache-2.0
"""One program in one local box: what is sent to the driver, what its answers mean."""

import asyncio
import errno
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from open_r1.sandbox.base import Interactor, Limits, Outcome, ProgramInput, ProgramRun, RunRequest
from open_r1.sandbox.harness.processes import MOST_WAITING
from open_r1.sandbox.languages import build_commands, find_language
from open_r1.sandbox.local.box import BoxLostError, LocalBox, Reply, open_box
from open_r1.sandbox.local.setup import Setup
from open_r1.sandbox.local.started import Room
from open_r1.sandbox.wire import limits_to_json

DISK_BYTES = 256 << 20  # what a program may write, in all its files
ANSWER_S = 20.0  # what the driver may take besides the programs, on a busy machine
MIB = 1 << 20


class Session:
    """A submission, or an interactor, in a box of its own. Make it with `open_session`, end it with `close`.

    Attributes:
        compiled: The compiler's run; None where nothing is compiled.
        binary: The compiled program, if it's kept.
    """

    def __init__(self, box: LocalBox, limits: Limits) -> None:
        self.box, self.limits = box, limits
        self.compiled: ProgramRun | None = None
        self.binary: bytes | None = None
        self._kills = 0

    @property
    def has_program(self) -> bool:
        """Whether there is a program to run."""
        return self.compiled is None or self.compiled.outcome is Outcome.OK

    async def send_input(self, given: ProgramInput, role: str | None = None, passed: Sequence[int] = ()) -> None:
        """Send what a run gets.

        Args:
            given: The input.
            role: "submission" or "interactor" in a communication task.
            passed: The ends of its pipes there: to read from, to write to.
        """
        stdin, files = _encoded(given.stdin), {name: _encoded(text) for name, text in given.files.items()}
        header = {
            "stdin": len(stdin),
            "files": _sizes(files),
            "args": given.args,
            "output_file": given.output_file,
            "role": role,
        }
        self.box.has_run = True
        await self.box.send(header, [stdin, *files.values()], passed)

    async def result(self) -> ProgramRun:
        """Return the next run.

        Raises:
            BoxLostError: The box is lost.
            SandboxError: Likewise, and no program had anything to do with it.
        """
        return await self._run(self.limits)

    async def run_batch(self, inputs: Sequence[ProgramInput], runs: list[ProgramRun]) -> None:
        """Run the program on some inputs, appending to `runs`; the next input is sent while the program runs."""

        async def feed() -> None:
            for given in inputs:
                await self.send_input(given)

        feeding = asyncio.ensure_future(feed())
        try:
            for _ in inputs:
                runs.append(await self.result())
        finally:
            feeding.cancel()
            await asyncio.gather(feeding, return_exceptions=True)

    async def prepare(self, job: Mapping[str, Any], files: Mapping[str, bytes], compile_limits: Limits) -> None:
        """Send the program and wait until it is compiled.

        Raises:
            BoxLostError, SandboxError: As of `result`.
        """
        await self.box.send({**job, "files": _sizes(files, job["executable"])}, list(files.values()))
        if job["compile"] is None:
            return
        self.box.has_run = True
        self.compiled = await self._run(compile_limits)

    def limit_group(self, memory_mb: int, processes: int) -> None:
        """Lower the limits of the box from the compiler's to the program's, where a control group has them."""
        try:
            self.box.limit(memory_mb, processes)
        except OSError as error:
            if error.errno != errno.EBUSY:  # the compiler's files are still in memory
                raise

    async def _run(self, limits: Limits) -> ProgramRun:
        """Return the run that the driver reports next; the binary comes with the compiler's."""
        try:
            reply = await self.box.reply(MOST_WAITING * limits.backstop_s + ANSWER_S)
            run = read_run(reply)
        except BoxLostError as error:
            error.was_memory = self._was_killed()
            raise
        self.binary = self.binary or reply.binary or None
        # Asked after each run, also after one that ended well: a kill is never charged to a later one.
        return replace(run, outcome=Outcome.MEMORY_LIMIT) if self._was_killed() else run

    def _was_killed(self) -> bool:
        """Return whether the kernel has killed a process for want of memory since this was last asked."""
        if self.box.group is None:
            return False
        known, self._kills = self._kills, self.box.group.oom_kills()
        return self._kills > known

    async def close(self) -> None:
        """End the box."""
        await self.box.close()


async def open_session(
    setup: Setup,
    part: RunRequest | Interactor,
    inputs: Sequence[ProgramInput],
    compile_limits: Limits,
    keeps_binary: bool = False,
) -> Session:
    """Start a box, send the program and compile it.

    Args:
        setup: How boxes are made.
        part: The program.
        inputs: What it will get: the box has room for it.
        compile_limits: Of the compiler.
        keeps_binary: Whether the compiled program comes out.

    Raises:
        BoxLostError, SandboxError: As of `Session.result`.
    """
    language = find_language(part.language)
    commands = build_commands(language, part.files, part.limits, setup.programs.get(language.name))
    files = {
        name: content if isinstance(content, bytes) else _encoded(content) for name, content in part.files.items()
    }
    extra = sum(map(len, files.values())) + max(map(_size, inputs), default=0)
    extra_mb = -(-(extra + 2 * part.limits.output_bytes) // MIB)  # the driver holds what a program prints
    memory_mb, processes = part.limits.memory_mb + extra_mb, part.limits.processes
    first = (memory_mb, processes)
    if commands.compile is not None:
        first = (max(memory_mb, compile_limits.memory_mb), max(processes, compile_limits.processes))
    box = await open_box(setup, Room(DISK_BYTES + extra, *first))
    session = Session(box, part.limits)
    try:
        job = {
            "root": box.root,
            "watches": box.group is None,
            "compile": commands.compile,
            "run": commands.run,
            "compile_limits": limits_to_json(compile_limits, commands),
            "limits": limits_to_json(part.limits, commands),
            "keeps_binary": keeps_binary,
            "executable": next(iter(files)) if language.name == "binary" else None,
        }
        await session.prepare(job, files, compile_limits)
        if first != (memory_mb, processes):
            session.limit_group(memory_mb, processes)
    except BaseException:
        await session.close()
        raise
    return session


def read_run(reply: Reply) -> ProgramRun:
    """Return what the driver says that a program did."""
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


def _encoded(text: str) -> bytes:
    """Return a text as bytes; what can't be in UTF-8 (half a surrogate pair) becomes a question mark."""
    return text.encode("utf-8", "replace")


def _sizes(files: Mapping[str, bytes], executable: str | None = None) -> list[tuple[str, int, bool]]:
    return [(name, len(content), name == executable) for name, content in files.items()]


def _size(given: ProgramInput) -> int:
    """Return an upper bound of the bytes of an input."""
    texts = (given.stdin, *given.files.values())
    return sum(len(text) if text.isascii() else 4 * len(text) for text in texts)
