# SPDX-License-Identifier: Apache-2.0
"""How the router reads requests: sizes while they come in, types before a provider sees them, hang-ups at any time."""

import asyncio
import json
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any, TypeVar

from starlette.requests import ClientDisconnect, Request

from open_r1.sandbox.base import Limits, RunRequest
from open_r1.sandbox.router_gate import Refusal
from open_r1.sandbox.wire import request_from_json

T = TypeVar("T")

BODY_TIMEOUT_S = 60.0
_DRAIN_S = 2.0


@dataclass(frozen=True)
class RouterLimits:
    """What one request may ask for.

    Attributes:
        max_body_mb: Size of the request itself, in MiB.
        max_batch: Runs of a program, or scripts.
        max_run_s: Seconds on the clock of one run, script or compiler.
        max_memory_mb: Memory of one run, in MiB.
        script_memory_mb: Memory of a script of `/execute_batch`, whose request doesn't say.
        step_timeout_s: Seconds for a client that gets batches to say whether the run goes on.
    """

    max_body_mb: float = 64.0
    max_batch: int = 2048
    max_run_s: float = 600.0
    max_memory_mb: int = 8192
    script_memory_mb: int = 1024
    step_timeout_s: float = 600.0

    def check(self, num_runs: int, *asked: Limits) -> None:
        """Refuse more runs, or higher limits, than are allowed."""
        if num_runs > self.max_batch:
            raise Refusal(413, "too_large", f"{num_runs} runs in one request; allowed are {self.max_batch}.")
        for limits in asked:
            if limits.backstop_s > self.max_run_s:
                message = f"A run of up to {limits.backstop_s:g} s on the clock; allowed are {self.max_run_s:g}."
                raise Refusal(422, "request", message)
            if limits.memory_mb > self.max_memory_mb:
                message = f"{limits.memory_mb} MiB of memory; allowed are {self.max_memory_mb}."
                raise Refusal(422, "request", message)


async def read_json(request: Request, max_bytes: int) -> Any:
    """Return the value of a JSON body.

    Raises:
        Refusal: It's too large (413, before it is read to the end), too slow (408), or not JSON (400).
    """
    too_large = Refusal(413, "too_large", f"The request is larger than {max_bytes / 2**20:.2g} MiB.")
    announced = request.headers.get("content-length", "0")
    if announced.isdigit() and int(announced) > max_bytes:
        raise too_large
    chunks, size = [], 0
    try:
        async with asyncio.timeout(BODY_TIMEOUT_S):
            while not getattr(request.state, "is_read", False):
                message = await request.receive()
                if message["type"] == "http.disconnect":
                    raise ClientDisconnect
                request.state.is_read = not message.get("more_body", False)
                chunks.append(message.get("body", b""))
                size += len(chunks[-1])
                if size > max_bytes:
                    raise too_large
    except TimeoutError:
        raise Refusal(408, "request", f"The request did not arrive within {BODY_TIMEOUT_S:g} s.") from None
    body = b"".join(chunks)
    try:
        return await asyncio.to_thread(json.loads, body) if size > 1 << 20 else json.loads(body)
    except (ValueError, RecursionError):
        raise Refusal(400, "request", "The request is not JSON.") from None


async def drain(request: Request) -> None:
    """Throw away what's left of a body for a while, so that the client gets to read why it was refused."""
    if getattr(request.state, "is_read", False):
        return
    try:
        async with asyncio.timeout(_DRAIN_S):
            while (await request.receive()).get("more_body", False):
                pass
    except TimeoutError:
        pass  # its connection is closed on it


async def unless_gone(request: Request, work: Coroutine[Any, Any, T]) -> T:
    """Return what `work` returns; cancel it and wait for its end if the client hangs up before.

    Raises:
        ClientDisconnect: It did.
    """
    job, gone = asyncio.create_task(work), asyncio.create_task(_gone(request))
    try:
        await asyncio.wait([job, gone], return_when=asyncio.FIRST_COMPLETED)
        if job.done():
            return job.result()
        raise ClientDisconnect
    finally:
        job.cancel()
        gone.cancel()
        await asyncio.wait([job, gone])


async def _gone(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


def parsed(value: Any, parse: Callable[[Any], T]) -> T:
    """Return the request that a JSON value means.

    Raises:
        Refusal: It means none (400), in the words of `parse`.
    """
    try:
        return parse(value)
    except KeyError as error:
        raise Refusal(400, "request", f"The request lacks {error}.") from error
    except (ValueError, TypeError, AttributeError) as error:
        raise Refusal(400, "request", f"The request can't be read: {error}") from error


def checked_request(value: Any) -> RunRequest:
    """Return a request of the contract whose values have the types that it promises.

    Raises:
        ValueError, TypeError, KeyError, AttributeError: They haven't.
    """
    request = request_from_json(value)
    _check("language", request.language, str)
    sources = [request.files, *([request.interactor.files] if request.interactor else [])]
    for name, content in (item for files in sources for item in files.items()):
        _check(f"file {name!r}", content, str, bytes)
    for given in request.inputs:
        _check("stdin", given.stdin, str)
        for name, content in given.files.items():
            _check(f"file {name!r}", content, str)
        for argument in given.args:
            _check("argument", argument, str)
        _check("output_file", given.output_file, str, type(None))
    for limits in (
        request.compile_limits,
        request.limits,
        *([request.interactor.limits] if request.interactor else []),
    ):
        _check("cpu_s", limits.cpu_s, int, float)
        _check("wall_s", limits.wall_s, int, float, type(None))
        for name in ("memory_mb", "output_bytes", "processes"):
            _check(name, getattr(limits, name), int)
    _check("stop_after", request.stop_after, int, type(None))
    return request


def _check(name: str, value: Any, *types: type) -> None:
    if not isinstance(value, types) or isinstance(value, bool):
        raise TypeError(f"{name} can't be of type {type(value).__name__}")
