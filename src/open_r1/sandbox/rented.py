# SPDX-License-Identifier: Apache-2.0
"""Machines of a cloud as boxes: one new machine a request, always given back, with the driver of `harness` in it.

    class MyCloudSandbox(RentedSandbox):    # start() starts a machine with the SDK, status_of() reads its exceptions
    class MyCloudMachine(RentedMachine):    # write(), shell(), read(), end()

A machine needs a POSIX shell, Python 3.8 or newer as `python3`, and the languages' programs.

1. The machine is the isolation. The driver and the programs of one submission share it: a submission that attacks the
   driver can spoil or forge its own outputs and times, and no more. Expected outputs aren't there. A result counts
   only where the driver ended well, which writes it when all programs have ended.
2. A lost machine is never a score: its request is repeated once in a new one, then it fails. A driver that is killed
   twice, in two machines, was attacked by the submission: its first run is a runtime error, the others are left out.
3. A cloud that starts no machines is waited for once by all (`service`), for `start_timeout_s`.
4. A machine that doesn't end is a warning with its name. One whose start gave no answer isn't looked for: all end by
   themselves after the time that their request can take.
5. An interactor is refused: in one machine, and as one user, a submission can write its manager's verdict.
"""

import abc
import ast
import asyncio
import base64
import contextlib
import importlib.util
import io
import logging
import math
import os
import secrets
import zipfile
from collections.abc import AsyncIterator
from dataclasses import replace
from functools import partial
from importlib.resources import files

from open_r1.sandbox import wire
from open_r1.sandbox.base import (
    GoOn,
    Outcome,
    ProgramRun,
    RunRequest,
    RunResult,
    Sandbox,
    SandboxError,
    UnsupportedLanguageError,
    UnsupportedRequestError,
    all_ok,
)
from open_r1.sandbox.languages import LANGUAGES, find_language, input_message, program_message
from open_r1.sandbox.running import longest_s, run_in_rounds
from open_r1.sandbox.service import Outage
from open_r1.secret_names import hide_secrets, note_secrets

logger = logging.getLogger(__name__)

MOVE_S = 180.0  # for the job to go in and the result to come out
END_S = 8.0  # to give a machine back; an interrupted caller waits 10 s for it
MARGIN_S = 90  # of a machine's life over what its programs may take: starting, moving texts
MAX_RESULT_BYTES = 64 << 20  # the driver leaves runs to the next round long before
_DRIVE = """
command -v {program} >/dev/null || exit 0
echo here
cd {folder} && python3 -m zipfile -e bundle.zip . && rm bundle.zip || exit 1
cut="{cut}"
$cut true 2>/dev/null || cut=
$cut python3 -I -S driver.py job result >said 2>&1
status=$?
[ ! -e result ] || {{ base64 result >result.new && mv result.new result; }}
tail -c 2000 said
exit $status
"""
ENDED_ITS_MACHINE = ProgramRun(Outcome.RUNTIME_ERROR, stderr="ended its box")


class LostMachineError(SandboxError):
    """A failure that another machine may not meet.

    Attributes:
        was_killed: Whether a signal ended the driver while its machine went on: the submission may have done it.
    """

    was_killed = False


class RentedMachine(abc.ABC):
    """One machine. Its methods let the SDK's exceptions out; paths are relative to the folder where scripts start.

    Attributes:
        id: Its name at the provider.
        network_cut: Command that starts others without a network, where the provider doesn't cut it; may not work.
    """

    id: str
    network_cut = ""

    @abc.abstractmethod
    async def write(self, path: str, data: bytes) -> None:
        """Write a file in a new folder."""

    @abc.abstractmethod
    async def shell(self, script: str, timeout_s: float) -> tuple[int, str]:
        """Run a script; return its exit status (below zero where a signal ended it) and its standard output."""

    @abc.abstractmethod
    async def read(self, path: str, max_bytes: int) -> bytes:
        """Return a file; of a longer one a bit more than `max_bytes`."""

    @abc.abstractmethod
    async def end(self) -> None:
        """Give the machine back; any exception means that it may live on."""


class RentedSandbox(Sandbox):
    """A sandbox whose boxes are machines of a paid provider.

    Args:
        start_timeout_s: Seconds for which a start is tried.

    Attributes:
        package: What its SDK is imported as; the extra `code` has it.
        key_variable: The environment variable with the key.
        max_life_s: The longest life of a machine that the account may ask for.

    Raises:
        ImportError: The SDK isn't installed.
        ValueError: The key isn't set.
    """

    package: str
    key_variable: str
    max_life_s: int = 3600

    def __init__(self, start_timeout_s: float = 120.0) -> None:
        if importlib.util.find_spec(self.package) is None:
            raise ImportError(f"The sandbox {self.name} needs {self.package}: make install EXTRAS=code")
        self.key = os.environ.get(self.key_variable) or ""
        if not self.key:
            raise ValueError(f"The sandbox {self.name} needs its key: set {self.key_variable} in the environment.")
        note_secrets(self.key)
        self.start_timeout_s = start_timeout_s
        self._outage = Outage(self.name, start_timeout_s)

    @abc.abstractmethod
    async def start(self, name: str, life_s: int) -> RentedMachine:
        """Start one machine that ends by itself after `life_s`, within `start_timeout_s`.

        Args:
            name: Unique to the machine that is wanted; a repeated start with it, after a failure, leaves one machine.
            life_s: Seconds.
        """

    @abc.abstractmethod
    def status_of(self, error: Exception) -> int | None:
        """Return the HTTP status that an exception of the SDK stands for; None where there is none."""

    async def languages(self) -> tuple[str, ...]:
        """Return the languages that machines may have, once one has started; those that lack one refuse it."""
        async with self._machine(MARGIN_S):
            return tuple(LANGUAGES)

    async def run(self, request: RunRequest, go_on: GoOn = all_ok) -> RunResult:
        """Compile and run a submission in a new machine (see the module's docstring)."""
        if request.interactor is not None:
            raise UnsupportedRequestError(
                f"{self.name} runs no interactor: it would share the machine with the submission, which could write "
                "the verdict in its place. Use the provider 'local'."
            )
        life_s = min(self.max_life_s, math.ceil(MARGIN_S + longest_s(request)))
        losses: list[LostMachineError] = []
        while len(losses) < 2:
            try:
                async with self._machine(life_s) as machine:
                    return await run_in_rounds(request, partial(self._drive, machine), go_on)
            except LostMachineError as error:
                logger.warning("%s: %s", self.name, error)
                losses.append(error)
        if not (request.inputs and all(loss.was_killed for loss in losses)):
            raise SandboxError(f"{losses[1]} (twice, in two boxes)") from losses[1]
        return RunResult(None, (ENDED_ITS_MACHINE, *[None] * (len(request.inputs) - 1)))

    async def _drive(self, machine: RentedMachine, request: RunRequest) -> RunResult:
        """Run a request's compiler and all its inputs in a machine.

        Raises:
            LostMachineError: The machine is lost, or too slow, or the driver failed.
            UnsupportedLanguageError: The machine lacks the language's program.
        """
        bundle = await asyncio.to_thread(_pack, request)
        limit_s = longest_s(request) + MOVE_S
        folder, data = f"open_r1_{secrets.token_hex(16)}", b""
        program = find_language(request.language).program or "true"
        script = _DRIVE.format(program=program, folder=folder, cut=machine.network_cut)
        try:
            async with asyncio.timeout(limit_s):
                await machine.write(f"{folder}/bundle.zip", bundle)
                status, said = await machine.shell(script, limit_s)
                if status == 0 and said:
                    data = await machine.read(f"{folder}/result", MAX_RESULT_BYTES)
        except Exception as error:  # whatever the SDK raises may pass in another one
            raise LostMachineError(f"working in the box {machine.id}: {_said(error)}") from error
        if status == 0 and not said:  # the submission can't take back what was said before the driver started
            raise UnsupportedLanguageError(f"{self.describe()} has no {program}.")
        if status != 0:
            loss = LostMachineError(f"The driver in the box {machine.id} ended with {status}: {said[-500:]}")
            loss.was_killed = status < 0 or status > 128  # a shell says 128 + n for a signal
            raise loss
        try:
            return await asyncio.to_thread(_read_result, base64.b64decode(data), request)
        except Exception as error:  # of whatever a submission may have put in the result's place
            raise LostMachineError(f"The driver in the box {machine.id} left nonsense: {error!r:.500}") from error

    @contextlib.asynccontextmanager
    async def _machine(self, life_s: int) -> AsyncIterator[RentedMachine]:
        """Start a machine, trying again while the failure may pass, and end it whatever happens."""
        tries, name, machine = self._outage.tries(), secrets.token_hex(16), None
        while machine is None:
            try:
                machine = await self.start(name, life_s)
            except Exception as error:
                status = self.status_of(error)
                if status is not None and 400 <= status < 500 and status not in (408, 409, 425, 429):
                    advice = f"check {self.key_variable}, the template or snapshot, the account's limits"
                    raise SandboxError(f"{self.name} starts no machine: {_said(error)}; {advice}") from error
                await tries.failed(_said(error))
        tries.succeeded()
        try:
            yield machine
        finally:
            try:
                await asyncio.shield(asyncio.wait_for(machine.end(), END_S))
            except Exception as error:  # noqa: BLE001 - whatever the SDK raises: the result of the runs stands
                text = "%s: the box %s may live and cost money for up to %d s, end it by hand: %s"
                logger.warning(text, self.name, machine.id, life_s, _said(error))


def _said(error: BaseException) -> str:
    """Return an exception of the SDK as text without the key."""
    return hide_secrets(f"{type(error).__name__}: {error!s:.500}")


def _pack(request: RunRequest) -> bytes:
    """Return the driver with its job, as an archive."""
    messages = [program_message(request, request, cpu_left_s=request.cpu_left_s(None, ()))]
    messages[0][0].update(root="box", watches=True)
    messages += map(input_message, request.inputs)
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        for entry in (files("open_r1.sandbox") / "harness").iterdir():
            if entry.name.endswith(".py"):
                archive.writestr(entry.name, entry.read_bytes())
        job = (part for header, parts in messages for part in (repr(header).encode(), b"\n", *parts))
        archive.writestr("job", b"".join(job))
    return packed.getvalue()


def _read_result(data: bytes, request: RunRequest) -> RunResult:
    """Return the result that the driver's answers make; it may have fewer runs than the request has inputs.

    Raises:
        Exception: They are none.
    """
    answers, binary, file = [], b"", io.BytesIO(data)
    while line := file.readline():
        record = ast.literal_eval(line.decode())
        texts = [file.read(record.pop(name, 0)) for name in ("stdout", "stderr", "binary")]
        if "ready" in record:
            continue
        del record["was_ended"]  # KeyError: what else the driver says is that it failed
        binary = binary or texts[2]
        stdout, stderr = (text.decode("utf-8", "replace") for text in texts[:2])
        answers.append(wire.read(ProgramRun, {**record, "stdout": stdout, "stderr": stderr}))
    compiled = answers.pop(0) if find_language(request.language).compile else None
    result = RunResult(compiled, tuple(answers), binary or None)
    if not result.has_compiled:
        return replace(result, tests=(None,) * len(request.inputs))
    if not min(1, len(request.inputs)) <= len(answers) <= len(request.inputs):
        raise ValueError(f"{len(answers)} runs for {len(request.inputs)} inputs")
    return result
