# SPDX-License-Identifier: Apache-2.0
"""Our driver in a rented machine that offers a shell: a job goes in with it, its result comes out whole or not at all.

What the machine needs: a POSIX shell, Python 3.8 or newer as `python3`, the languages' compilers and interpreters. It
is the isolation: the driver and the programs of one submission, a manager (`Interactor`) too, share it, and a
submission that attacks them there can spoil or forge its own outputs and times. Expected outputs aren't there. One
that takes the whole machine down, by a fork bomb for instance, gets no verdict: a lost machine is never a score.
"""

import abc
import asyncio
import base64
import hashlib
import json
import re
import secrets
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import files
from typing import Any

from open_r1.sandbox.base import RunRequest, SandboxError
from open_r1.sandbox.languages import LANGUAGES, Language, find_language
from open_r1.sandbox.wire import job_to_json

CALL_S = 60.0  # a call that only moves a piece of text
START_S = 30.0  # what the driver and the first import of an interpreter may take besides the programs
PARALLEL_PARTS = 8
NOT_FOUND, SIGNALS = 127, 128  # what a shell says of a program that isn't there; signals are counted from here


class TransientError(SandboxError):
    """A failure that another try, in another box, may not meet."""


class DriverEndedError(TransientError):
    """A signal ended the driver though its machine goes on: the submission may have sent it."""


class RemoteBox(abc.ABC):
    """One rented machine.

    Attributes:
        id: Its name at the provider.
        chunk_chars: Characters of a script, and of what it prints, that one call may carry.
        prefix: Words in front of the driver's command, where they work there: those that cut the network.
    """

    id: str
    chunk_chars: int
    prefix: tuple[str, ...] = ()

    @abc.abstractmethod
    async def shell(self, script: str, timeout_s: float) -> str:
        """Run a shell script of ASCII characters and return what it prints.

        Raises:
            TransientError: The machine is gone, doesn't answer in time or answers nonsense.
            SandboxError: The provider refuses.
        """

    @abc.abstractmethod
    async def end(self) -> None:
        """Give the machine back; any exception means that it may live on."""


@dataclass(frozen=True)
class Reply:
    """What the driver left.

    Attributes:
        languages: Names of those that the machine has.
        result: Its result (`wire.result_to_json`), None where it left none.
        exit_code: Of the driver; "overdue" when it had to be ended.
        said: The end of what it printed, for the log.
        has_prefix: Whether it ran behind the box's `prefix`.
    """

    languages: tuple[str, ...]
    result: Mapping[str, Any] | None = None
    exit_code: int | str | None = None
    said: str = ""
    has_prefix: bool = False


def longest_s(request: RunRequest) -> float:
    """Return the seconds on the clock that the compilers and all runs of a request can take."""
    compilers = request.compile_limits.backstop_s * sum(1 for language in _languages(request) if language.compile)
    run = request.limits.backstop_s
    if request.interactor is not None:
        run = max(run, request.interactor.limits.backstop_s)
    return START_S + compilers + len(request.inputs) * (run + 1.0)


def _languages(request: RunRequest) -> list[Language]:
    parts = [request] if request.interactor is None else [request, request.interactor]
    return [find_language(part.language) for part in parts]


async def look_around(box: RemoteBox) -> tuple[str, ...]:
    """Return the languages that a machine has."""
    return (await _drive(box, {"job": None, "needs": [], "deadline_s": 0.0}, CALL_S)).languages


async def drive(box: RemoteBox, request: RunRequest) -> Reply:
    """Run a request's compiler and all its inputs in a machine.

    Raises:
        DriverEndedError: A signal has ended the driver; the machine is there still.
        TransientError: The machine is lost, or too slow, or the driver failed.
        SandboxError: It has no Python, or the provider refuses.
    """
    deadline_s = longest_s(request)
    needs = sorted({language.name for language in _languages(request) if language.program})
    job = {"job": job_to_json(request), "needs": needs, "deadline_s": deadline_s}
    reply = await _drive(box, job, deadline_s + CALL_S)
    if reply.result is None and set(needs) <= set(reply.languages):
        text = f"The driver in the box {box.id} left no result (exit code {reply.exit_code}): {reply.said[-500:]}"
        is_killed = isinstance(reply.exit_code, int) and reply.exit_code < 0
        raise DriverEndedError(text) if is_killed else TransientError(text)
    return reply


async def _drive(box: RemoteBox, job: Mapping[str, Any], timeout_s: float) -> Reply:
    """Send the bundle, run it, fetch the reply in pieces."""
    nonce = secrets.token_hex(16)
    folder = f'"${{TMPDIR:-/tmp}}/open_r1_{nonce}"'
    programs = {language.name: language.program for language in LANGUAGES.values() if language.program}
    bundle = {"driver": _driver_texts(), "programs": programs, "prefix": box.prefix, **job}
    text = await asyncio.to_thread(_pack, bundle)
    room = box.chunk_chars
    parts = [text[start : start + room] for start in range(0, len(text), room)]
    unpack = f"mkdir -p {folder}/parts && cat > {folder}/remote.py <<'{nonce}'\n{harness_text('remote.py')}\n{nonce}\n"
    run = f"python3 {folder}/remote.py {folder} {nonce} {room} %d </dev/null 2>&1; echo {nonce} ended $?\n"
    if len(parts) == 1 and len(unpack) + len(text) < room:
        script = f"{unpack}{_put(folder, 0, text)}{run % 0}"
    else:
        await box.shell(unpack, CALL_S)
        await _send(box, folder, parts)
        script = run % 0
    printed = await box.shell(script, timeout_s)
    reply, length, digest = _piece(printed, nonce, box)
    while len(reply) < length:
        printed = await box.shell(run % len(reply), CALL_S)
        piece, *same = _piece(printed, nonce, box)
        if same != [length, digest] or not piece:
            raise TransientError(f"The reply of the box {box.id} changed while it was read.")
        reply += piece
    return _unpack(reply, digest, box)


async def _send(box: RemoteBox, folder: str, parts: list[str]) -> None:
    """Write the parts of the bundle to files, several at a time; a repeated write does no harm."""
    places = asyncio.Semaphore(PARALLEL_PARTS)

    async def send(index: int, part: str) -> None:
        async with places:
            await box.shell(_put(folder, index, part), CALL_S)

    tasks = [asyncio.ensure_future(send(index, part)) for index, part in enumerate(parts)]
    try:
        await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def _put(folder: str, index: int, part: str) -> str:
    return f"printf %s '{part}' > {folder}/parts/{index:06d}\n"


def _pack(value: Mapping[str, Any]) -> str:
    return base64.b64encode(zlib.compress(json.dumps(value).encode(), 1)).decode()


def _piece(printed: str, nonce: str, box: RemoteBox) -> tuple[str, int, str]:
    """Return a piece of the reply, the length of the whole and its digest."""
    found = re.search(rf"{nonce} (\d+) ([0-9a-f]{{64}})\n([A-Za-z0-9+/=]*)\n{nonce}", printed)
    if found is not None:
        return found[3], int(found[1]), found[2]
    ended = re.search(rf"{nonce} ended (\d+)", printed)
    status = 0 if ended is None else int(ended[1])
    if status == NOT_FOUND:
        raise SandboxError(f"The box {box.id} has no python3: use a template or snapshot that has it.")
    if status > SIGNALS:
        raise DriverEndedError(f"Who watches the driver in the box {box.id} was killed ({status})")
    raise TransientError(f"The box {box.id} gave no whole reply, but {printed[-500:]!r}.")


def _unpack(text: str, digest: str, box: RemoteBox) -> Reply:
    try:
        if hashlib.sha256(text.encode()).hexdigest() != digest:
            raise ValueError("the digest differs")
        value = json.loads(zlib.decompress(base64.b64decode(text)))
        languages = tuple(value["languages"])
        prefix = value.get("prefix") == list(box.prefix)
        return Reply(languages, value.get("result"), value.get("exit_code"), value.get("said", ""), prefix)
    except (ValueError, TypeError, KeyError, AttributeError, zlib.error) as error:
        raise TransientError(f"The reply of the box {box.id} is spoiled: {error}.") from error


def harness_text(name: str) -> str:
    """Return a program that runs in the box."""
    return (files("open_r1.sandbox") / "harness" / name).read_text(encoding="utf-8")


def _driver_texts() -> dict[str, str]:
    """Return the driver, which is the first, and what it may import."""
    folder = files("open_r1.sandbox") / "harness"
    names = sorted(entry.name for entry in folder.iterdir() if entry.name.endswith(".py"))
    return {name: harness_text(name) for name in ("driver.py", *names)}
