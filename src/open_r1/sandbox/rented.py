# SPDX-License-Identifier: Apache-2.0
"""What the providers of rented machines share: one new machine a request, always given back, with our driver in it.

A provider starts machines and has its SDK's own calls to write a file, run a script, read a file and end the machine.
A machine needs a POSIX shell, Python 3.8 or newer as `python3`, and the languages' programs.

1. The machine is the isolation. The driver and the programs of one submission share it: a submission that attacks the
   driver can spoil or forge its own outputs and times, and no more. Expected outputs aren't there. A result counts
   only where the driver ended well, which writes it when all programs have ended.
2. A lost machine is never a score: its round (`running.run_in_rounds`) is repeated once in a new one, then the request
   fails. A driver that is killed twice, in two machines, was attacked by the submission: the first run of that round
   is a runtime error, those behind it are left out.
3. Which languages there are is asked first, of a machine in which nobody's programs run.
4. A machine that may live on, since its start gave no answer or it doesn't end, is a warning with its name; it ends by
   itself, and nobody looks for it.
5. An interactor is refused: in one machine, and as one user, a submission can write its manager's verdict.
"""

import abc
import asyncio
import contextlib
import importlib.util
import io
import json
import logging
import math
import os
import random
import secrets
import zipfile
from collections.abc import AsyncIterator, Sequence
from importlib.resources import files

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
from open_r1.sandbox.languages import LANGUAGES, find_language
from open_r1.sandbox.running import run_in_rounds
from open_r1.sandbox.wire import job_to_json, result_from_json
from open_r1.secret_names import hide_secrets, note_secrets

logger = logging.getLogger(__name__)

START_S = 30.0  # what the driver and the first import of an interpreter may take besides the programs
MOVE_S = 120.0  # for the job to go in and the result to come out
BYTES_PER_S = 1e6  # at which a long job goes in, at the least
END_S = 8.0  # to give a machine back; an interrupted caller waits 10 s for it
MARGIN_S = 60  # of a machine's life over what its programs may take: starting, moving texts
FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.5, 8.0  # between two tries to start a machine
MAX_RESULT_BYTES = 64 << 20  # the driver leaves runs to the next round long before
SIGNALS = 128  # and the signal's number is a shell's exit status
OPEN_NETWORK = "the network is open"  # what harness/batch.py says
ENDED_ITS_MACHINE = ProgramRun(Outcome.RUNTIME_ERROR, stderr="ended its box")


class TransientError(SandboxError):
    """A failure that another try, in another machine, may not meet."""


class DriverEndedError(TransientError):
    """The driver was ended by a signal while its machine goes on: the submission may have done it."""


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

    Attributes:
        package: What its SDK is imported as; the extra `code` has it.
        key_variable: The environment variable with the key.
        max_life_s: The longest life of a machine that the account may ask for.
    """

    package: str
    key_variable: str
    max_life_s: int = 3600

    def __init__(self, start_timeout_s: float = 120.0) -> None:
        """Build the provider; nothing is started yet.

        Args:
            start_timeout_s: How long a start is tried.

        Raises:
            ImportError: The SDK isn't installed.
            ValueError: The key isn't set.
        """
        if importlib.util.find_spec(self.package) is None:
            raise ImportError(f"The sandbox {self.name} needs {self.package}: make install EXTRAS=code")
        self.key()
        self.start_timeout_s = start_timeout_s
        self._languages: tuple[str, ...] | None = None
        self._looking = asyncio.Lock()
        self._look_failure: SandboxError | None = None
        self._has_told = False
        self._endings: set[asyncio.Task[None]] = set()

    @abc.abstractmethod
    async def start(self, name: str, life_s: int) -> RentedMachine:
        """Start one machine that ends by itself after `life_s`.

        Args:
            name: Unique to the machine that is wanted; a repeated start with it, after a failure, leaves one machine.
            life_s: Seconds.
        """

    @abc.abstractmethod
    def status_of(self, error: Exception) -> int | None:
        """Return the HTTP status that an exception of the SDK stands for; None where there is none."""

    async def prepare(self) -> None:
        """Do what may take longer than a start, once for all machines.

        Raises:
            SandboxError: It failed.
        """

    def key(self) -> str:
        """Return the provider's key, from the environment.

        Raises:
            ValueError: It isn't set.
        """
        key = os.environ.get(self.key_variable)
        if not key:
            raise ValueError(f"The sandbox {self.name} needs its key: set {self.key_variable} in the environment.")
        return key

    def failure(self, error: Exception, doing: str, *, may_pass: bool = False) -> SandboxError:
        """Return what an exception of the SDK means for us; refusals don't pass, outside of machines."""
        if isinstance(error, SandboxError):
            return error
        text = self._without_key(f"{self.name} failed while {doing}: {type(error).__name__}: {str(error)[:500]}")
        status = self.status_of(error) or 500
        if may_pass or not 400 <= status < 500 or status in (408, 409, 425, 429):
            return TransientError(text)
        return SandboxError(f"{text}; check {self.key_variable}, the template or snapshot, the account's limits")

    def _without_key(self, text: str) -> str:
        note_secrets(os.environ.get(self.key_variable))
        return hide_secrets(text)

    async def languages(self) -> tuple[str, ...]:
        """Return the languages of the machines; the first time one is started to look, for all callers at once."""
        failure_before = self._look_failure
        async with self._looking:
            if self._languages is None:
                if self._look_failure is not failure_before:  # that of the look this caller has waited for
                    raise SandboxError(str(self._look_failure)) from self._look_failure
                try:
                    self._languages = await self._look()
                except SandboxError as error:
                    self._look_failure = error
                    raise
        return self._languages

    async def _look(self) -> tuple[str, ...]:
        programs = {language.name: language.program for language in LANGUAGES.values() if language.program}
        looks = [f"command -v {program} >/dev/null && echo {name}" for name, program in programs.items()]
        async with self._machine(MARGIN_S) as machine, self._working(machine, MOVE_S):
            _, said = await machine.shell("\n".join([*looks, "true"]), MOVE_S)
        found = set(said.split())
        if "python" not in found:
            raise SandboxError(f"A box of {self.name} has no python3: use another template or snapshot.")
        return (*sorted(found & set(programs)), "binary")

    async def run(self, request: RunRequest, go_on: GoOn = all_ok) -> RunResult:
        """Compile and run a submission in a new machine (see the module's docstring)."""
        await self._check(request)
        text = sum(len(given.stdin) + sum(map(len, given.files.values())) for given in request.inputs)
        life_s = min(self.max_life_s, math.ceil(MARGIN_S + longest_s(request) + text / BYTES_PER_S))
        machine: RentedMachine | None = None
        async with contextlib.AsyncExitStack() as held:

            async def run_round(part: RunRequest) -> RunResult:
                nonlocal machine
                losses: list[TransientError] = []
                while True:
                    try:
                        machine = machine or await held.enter_async_context(self._machine(life_s))
                        return await self._drive(machine, part)
                    except TransientError as error:
                        losses.append(error)
                        machine = None
                        await held.aclose()
                    if len(losses) == 1:
                        logger.warning("%s: %s; repeating it in a new box", self.name, losses[0])
                    elif part.inputs and all(isinstance(loss, DriverEndedError) for loss in losses):
                        logger.warning("%s: %s; twice, so the submission did it", self.name, losses[1])
                        return RunResult(None, (ENDED_ITS_MACHINE, *[None] * (len(part.inputs) - 1)))
                    else:
                        raise SandboxError(f"{losses[1]} (twice, in two boxes)") from losses[1]

            async def go_on_there(first: int, runs: Sequence[ProgramRun]) -> bool:
                return machine is not None and await go_on(first, runs)  # else the submission has ended two

            return await run_in_rounds(request, run_round, go_on_there)

    async def aclose(self) -> None:
        """Wait for machines that are being given back."""
        if self._endings:
            await asyncio.wait(self._endings)

    async def _check(self, request: RunRequest) -> None:
        """Refuse interactors, and languages that the machines lack."""
        if request.interactor is not None:
            raise UnsupportedRequestError(
                f"{self.name} runs no interactor: it would share the machine with the submission, which could write "
                "the verdict in its place. Use the provider 'local', or Piston's package cms_ioi."
            )
        name = find_language(request.language).name
        if name not in (names := await self.languages()):
            raise UnsupportedLanguageError(f"{self.describe()} has no {name}, but {', '.join(names)}.")

    async def _drive(self, machine: RentedMachine, request: RunRequest) -> RunResult:
        """Run a request's compiler and all its inputs in a machine.

        Raises:
            DriverEndedError: A signal has ended the driver; the machine is there still.
            TransientError: The machine is lost, or too slow, or the driver failed.
            SandboxError: The result is too long.
        """
        bundle = await asyncio.to_thread(_pack, request)
        limit_s = longest_s(request) + MOVE_S + len(bundle) / BYTES_PER_S
        folder, data = f"open_r1_{secrets.token_hex(16)}", b""
        unpack = f"cd {folder} && python3 -m zipfile -e bundle.zip . && rm bundle.zip"
        script = f"{unpack} && python3 batch.py {machine.network_cut}"
        async with self._working(machine, limit_s):
            await machine.write(f"{folder}/bundle.zip", bundle)
            status, said = await machine.shell(script, limit_s)
            if status == 0:
                data = await machine.read(f"{folder}/result.json", MAX_RESULT_BYTES)
        if said.startswith(OPEN_NETWORK) and not self._has_told:
            self._has_told = True
            text = "%s: programs there have the network: `%s` doesn't work in the machine, use another snapshot"
            logger.warning(text, self.name, machine.network_cut)
        if status < 0 or status > SIGNALS:
            raise DriverEndedError(f"The driver in the box {machine.id} was killed ({status}): {said[-500:]}")
        if status != 0:
            raise TransientError(f"The driver in the box {machine.id} failed ({status}): {said[-500:]}")
        if len(data) > MAX_RESULT_BYTES:
            raise SandboxError(f"The result in the box {machine.id} has more than {MAX_RESULT_BYTES >> 20} MB")
        return await asyncio.to_thread(_read_result, data, request, machine)

    @contextlib.asynccontextmanager
    async def _working(self, machine: RentedMachine, limit_s: float) -> AsyncIterator[None]:
        """Bound a piece of work in a machine; whatever the SDK raises may pass in another one."""
        try:
            async with asyncio.timeout(limit_s):
                yield
        except Exception as error:
            raise self.failure(error, f"working in the box {machine.id}", may_pass=True) from error

    @contextlib.asynccontextmanager
    async def _machine(self, life_s: int) -> AsyncIterator[RentedMachine]:
        """Start a machine, and end it whatever happens."""
        await self.prepare()
        machine = await self._start_in_time(life_s)
        try:
            yield machine
        finally:
            ending = asyncio.ensure_future(self._end(machine, life_s))
            self._endings.add(ending)
            ending.add_done_callback(self._endings.discard)
            await asyncio.wait([ending])  # it goes on when this is cancelled

    async def _start_in_time(self, life_s: int) -> RentedMachine:
        """Start a machine, again and again for `start_timeout_s`, with growing pauses, while the failure may pass."""
        name, pause_s = secrets.token_hex(16), FIRST_PAUSE_S
        failure: SandboxError = TransientError(f"{self.name} gave no answer, or no machine that is ready")
        try:
            async with asyncio.timeout(self.start_timeout_s):
                while True:
                    try:
                        return await self.start(name, life_s)
                    except Exception as error:
                        failure = self.failure(error, "starting a machine")
                        if not isinstance(failure, TransientError):
                            raise failure from error
                        if self.status_of(error) is None:  # no answer, so it may be there
                            self._tell_leak(f"labelled {name}", life_s, error)
                    await asyncio.sleep(pause_s * random.uniform(0.5, 1.0))
                    pause_s = min(2 * pause_s, LONGEST_PAUSE_S)
        except (TimeoutError, asyncio.CancelledError) as error:
            self._tell_leak(f"labelled {name}", life_s, error)
            if isinstance(error, TimeoutError):
                raise SandboxError(f"{failure} (for {self.start_timeout_s:g} s)") from failure
            raise

    async def _end(self, machine: RentedMachine, life_s: int) -> None:
        """Give a machine back; the result of its runs stands whatever comes of that."""
        try:
            async with asyncio.timeout(END_S):
                await machine.end()
        except Exception as error:  # noqa: BLE001 - whatever the SDK raises
            self._tell_leak(machine.id, life_s, error)

    def _tell_leak(self, what: str, life_s: int, error: BaseException) -> None:
        text = "%s: a box %s may live and cost money for up to %d s, end it by hand: %s %s"
        logger.warning(text, self.name, what, life_s, type(error).__name__, self._without_key(str(error)))


def longest_s(request: RunRequest) -> float:
    """Return the seconds on the clock that the compiler and all runs of a request can take."""
    compiler = request.compile_limits.backstop_s if find_language(request.language).compile else 0.0
    return START_S + compiler + len(request.inputs) * (request.limits.backstop_s + 1.0)


def _pack(request: RunRequest) -> bytes:
    """Return the driver with its job, as an archive."""
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        for entry in (files("open_r1.sandbox") / "harness").iterdir():
            if entry.name.endswith(".py"):
                archive.writestr(entry.name, entry.read_bytes())
        archive.writestr("job.json", json.dumps(job_to_json(request)))
    return packed.getvalue()


def _read_result(data: bytes, request: RunRequest, machine: RentedMachine) -> RunResult:
    """Return the driver's result, which must fit the request."""
    try:
        result = result_from_json(json.loads(data))
        if not min(1, len(request.inputs)) <= len(result.tests) <= len(request.inputs):
            raise ValueError(f"{len(result.tests)} runs for {len(request.inputs)} inputs")
    except (ValueError, TypeError, KeyError, AttributeError, OverflowError, RecursionError) as error:
        raise TransientError(f"The driver in the box {machine.id} left nonsense: {error!r}") from error
    return result
