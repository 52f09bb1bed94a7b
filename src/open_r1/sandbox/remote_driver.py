# SPDX-License-Identifier: Apache-2.0
"""Our driver in a rented machine that offers a shell: a job goes in with it, its result comes out whole or not at all.

What the machine needs: a POSIX shell, Python 3.8 or newer as `python3`, the languages' compilers and interpreters. It
is the isolation: the driver and the programs of one submission share it, and a submission that attacks the driver
there can spoil or forge its own outputs and times, and no more: what comes back has ceilings and a deadline
(`remote_reply`). Expected outputs aren't there. One that takes the whole machine down, by a fork bomb for instance,
gets no verdict: a lost machine is never a score.
"""

import abc
import asyncio
import base64
import json
import secrets
import zlib
from collections.abc import Mapping
from importlib.resources import files
from typing import Any

from open_r1.sandbox.base import RunRequest
from open_r1.sandbox.languages import LANGUAGES, find_language
from open_r1.sandbox.remote_reply import (
    Ceiling,
    DriverEndedError,
    Reply,
    TransientError,
    ceiling_of,
    read_piece,
    unpack,
)
from open_r1.sandbox.wire import job_to_json

CALL_S = 60.0  # a call that only moves a piece of text
START_S = 30.0  # what the driver and the first import of an interpreter may take besides the programs
PARALLEL_PARTS = 8
BYTES_PER_S = 1e6  # at which texts go in and come out, at the least


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


def longest_s(request: RunRequest) -> float:
    """Return the seconds on the clock that the compiler and all runs of a request can take."""
    compiler = request.compile_limits.backstop_s if find_language(request.language).compile else 0.0
    return START_S + compiler + len(request.inputs) * (request.limits.backstop_s + 1.0)


async def look_around(box: RemoteBox) -> tuple[str, ...]:
    """Return the languages that a machine has."""
    return (await _drive(box, {"job": None, "needs": [], "deadline_s": 0.0}, 0.0, ceiling_of(None))).languages


async def drive(box: RemoteBox, request: RunRequest) -> Reply:
    """Run a request's compiler and all its inputs in a machine.

    Raises:
        DriverEndedError: A signal has ended the driver, or it says more than it can; the machine is there still.
        TransientError: The machine is lost, or too slow, or the driver failed.
        SandboxError: It has no Python, or the provider refuses.
    """
    deadline_s = longest_s(request)
    language = find_language(request.language)
    needs = [language.name] if language.program else []
    job = {"job": job_to_json(request), "needs": needs, "deadline_s": deadline_s}
    reply = await _drive(box, job, deadline_s, ceiling_of(request))
    if reply.result is None and set(needs) <= set(reply.languages):
        text = f"The driver in the box {box.id} left no result (exit code {reply.exit_code}): {reply.said[-500:]}"
        is_killed = isinstance(reply.exit_code, int) and reply.exit_code < 0
        raise DriverEndedError(text) if is_killed else TransientError(text)
    return reply


async def _drive(box: RemoteBox, job: Mapping[str, Any], job_s: float, ceiling: Ceiling) -> Reply:
    """Send the bundle, run it, fetch the reply in pieces; all of it has one deadline.

    Args:
        box: The machine.
        job: What is done there.
        job_s: Seconds that it takes, without moving texts.
        ceiling: How long the reply may be.
    """
    programs = {language.name: language.program for language in LANGUAGES.values() if language.program}
    bundle = {"driver": _driver_texts(), "programs": programs, "prefix": box.prefix, **job}
    text = await asyncio.to_thread(_pack, bundle)
    # Unpacking, the job and the first piece may each take as long as a call; texts move at their least speed.
    all_s = job_s + 3 * CALL_S + (len(text) + ceiling.num_chars) / BYTES_PER_S
    try:
        async with asyncio.timeout(all_s):
            packed, digest = await _exchange(box, text, job_s + CALL_S, ceiling)
    except TimeoutError as error:
        raise TransientError(f"The box {box.id} was not done with its job after {all_s:.0f} s.") from error
    return await asyncio.to_thread(unpack, packed, digest, box.prefix, ceiling, box.id)


async def _exchange(box: RemoteBox, text: str, run_s: float, ceiling: Ceiling) -> tuple[str, str]:
    """Send a packed bundle and return the packed reply with its digest."""
    nonce = secrets.token_hex(16)
    folder = f'"${{TMPDIR:-/tmp}}/open_r1_{nonce}"'
    room = box.chunk_chars
    parts = [text[start : start + room] for start in range(0, len(text), room)]
    unpacks = (
        f"mkdir -p {folder}/parts && cat > {folder}/remote.py <<'{nonce}'\n{harness_text('remote.py')}\n{nonce}\n"
    )
    run = f"python3 {folder}/remote.py {folder} {nonce} {room} %d </dev/null 2>&1; echo {nonce} ended $?\n"
    if len(parts) == 1 and len(unpacks) + len(text) < room:
        script = f"{unpacks}{_put(folder, 0, text)}{run % 0}"
    else:
        await box.shell(unpacks, CALL_S)
        await _send(box, folder, parts)
        script = run % 0
    piece, length, digest = read_piece(await box.shell(script, run_s), nonce, room, box.id)
    if length > ceiling.num_chars:
        raise DriverEndedError(f"The box {box.id} has a reply of {length} characters, over {ceiling.num_chars}")
    pieces = [piece]
    for start in range(room, length, room):
        piece, *same = read_piece(await box.shell(run % start, CALL_S), nonce, room, box.id)
        if same != [length, digest]:
            raise TransientError(f"The reply of the box {box.id} changed while it was read.")
        pieces.append(piece)
    if [len(piece) for piece in pieces] != [min(room, length - start) for start in range(0, max(length, 1), room)]:
        raise TransientError(f"The box {box.id} gave pieces of other lengths than it was asked for.")
    return "".join(pieces), digest


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


def harness_text(name: str) -> str:
    """Return a program that runs in the box."""
    return (files("open_r1.sandbox") / "harness" / name).read_text(encoding="utf-8")


def _driver_texts() -> dict[str, str]:
    """Return the driver, which is the first, and what it may import."""
    folder = files("open_r1.sandbox") / "harness"
    names = sorted(entry.name for entry in folder.iterdir() if entry.name.endswith(".py"))
    return {name: harness_text(name) for name in ("driver.py", *names)}
