# SPDX-License-Identifier: Apache-2.0
"""Programs that come with a task (checkers, managers): compiled once a process, then used for every submission.

Whether one of them has ever given a score in this process is remembered too: one that has is sound, so that where it
gives none the fault is the submission's.
"""

import asyncio
import hashlib
import os
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

from open_r1.sandbox import COMPILE_LIMITS, Limits, Outcome, RunRequest, Sandbox, SandboxError
from open_r1.sandbox.languages import find_language

MAX_BINARIES = 64
MAX_REMEMBERED = 1 << 16
BINARY_NAME = "program"


class UnusableCheckerError(ValueError):
    """A checker or manager can't judge: it doesn't compile, crashes, gives no score. The fault is the row's."""


@dataclass(frozen=True)
class TaskProgram:
    """A program of the task's author, ready to run.

    Attributes:
        language: As of a `RunRequest`.
        files: As of a `RunRequest`.
    """

    language: str
    files: Mapping[str, str | bytes]

    @cached_property
    def digest(self) -> str:
        """A hash of language and files."""
        return _digest(self.language, self.files)


_SCORED: OrderedDict[str, None] = OrderedDict()
_BINARIES: OrderedDict[str, TaskProgram | UnusableCheckerError] = OrderedDict()
_IN_THE_MAKING: dict[tuple[asyncio.AbstractEventLoop, str], asyncio.Task[TaskProgram | UnusableCheckerError]] = {}
os.register_at_fork(after_in_child=_IN_THE_MAKING.clear)  # no loop of the parent runs in the child


def note_score(program: TaskProgram) -> None:
    """Remember that a task's program has given a score."""
    _SCORED[program.digest] = None
    _SCORED.move_to_end(program.digest)
    while len(_SCORED) > MAX_REMEMBERED:
        _SCORED.popitem(last=False)


def has_scored(program: TaskProgram) -> bool:
    """Whether a task's program has ever given a score in this process."""
    return program.digest in _SCORED


async def compiled(
    sandbox: Sandbox, language: str, files: Mapping[str, str | bytes], compile_limits: Limits = COMPILE_LIMITS
) -> TaskProgram:
    """Return a task's program compiled, from this process's store when these sources have been compiled before.

    Languages without a compiler come back as they are; so do sources whose provider keeps no binaries: they are then
    compiled in each box.

    Raises:
        SandboxError: The sandbox failed, or the compiler ran into a limit, as it may on a busy machine; asking
            again tries again.
        UnusableCheckerError: The sources don't compile; the message ends with the compiler's.
        UnsupportedLanguageError: The sandbox hasn't this language.
    """
    if not find_language(language).compile:
        return TaskProgram(language, files)
    key = _key(sandbox, language, files)
    known = _BINARIES.get(key)
    if known is None:
        place = (asyncio.get_running_loop(), key)
        task = _IN_THE_MAKING.get(place)
        if task is None:
            task = asyncio.create_task(_compile(sandbox, language, files, compile_limits))
            _IN_THE_MAKING[place] = task
            task.add_done_callback(lambda _: _IN_THE_MAKING.pop(place, None))
        # Who is cancelled meanwhile takes nothing away from the others who wait for the same program.
        known = await asyncio.shield(task)
        key = _key(sandbox, language, files)  # a sandbox may know only now what it is
        _BINARIES[key] = known
    _BINARIES.move_to_end(key)
    while len(_BINARIES) > MAX_BINARIES:
        _BINARIES.popitem(last=False)
    if isinstance(known, UnusableCheckerError):
        raise UnusableCheckerError(str(known))
    return known


async def _compile(
    sandbox: Sandbox, language: str, files: Mapping[str, str | bytes], limits: Limits
) -> TaskProgram | UnusableCheckerError:
    request = RunRequest(language, files, inputs=(), compile_limits=limits, keeps_binary=True)
    result = await sandbox.run(request)
    if not result.has_compiled:
        assert result.compile is not None
        said = f"({result.compile.outcome}): {result.compile.stderr[-500:]}"
        message = f"{request.main_file} of the row doesn't compile {said}"
        # A compiler that refuses has an exit code; one whose box was lost has none.
        if result.compile.outcome is not Outcome.RUNTIME_ERROR or result.compile.exit_code is None:
            raise SandboxError(message)
        return UnusableCheckerError(message)
    if result.binary is None:
        return TaskProgram(language, files)
    return TaskProgram("binary", {BINARY_NAME: result.binary})


def _key(sandbox: Sandbox, language: str, files: Mapping[str, str | bytes]) -> str:
    """Return what tells a program apart; installations of one provider may differ in machines and compilers."""
    return _digest(f"{sandbox.name}\0{sandbox.describe()}\0{language}", files)


def _digest(kind: str, files: Mapping[str, str | bytes]) -> str:
    digest = hashlib.sha256(kind.encode("utf-8", "surrogatepass"))
    for name, content in files.items():
        data = content.encode("utf-8", "surrogatepass") if isinstance(content, str) else content
        digest.update(f"\0{name}\0{len(data)}\0".encode("utf-8", "surrogatepass"))
        digest.update(data)
    return digest.hexdigest()
