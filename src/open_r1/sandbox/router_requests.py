# SPDX-License-Identifier: Apache-2.0
"""How the router reads requests: sizes while they come in, types before a provider sees them, hang-ups at any time."""

import asyncio
import contextlib
import json
import math
import re
from collections.abc import Callable, Coroutine, Iterator
from dataclasses import dataclass
from typing import Any, TypeVar

from starlette.requests import ClientDisconnect, Request

from open_r1.sandbox.base import RunRequest
from open_r1.sandbox.router_gate import Refusal
from open_r1.sandbox.wire import request_from_json

T = TypeVar("T")

BODY_TIMEOUT_S = 60.0
MAX_VALUES = 200_000  # 2048 inputs have some 30,000
_DRAIN_S = 2.0
_TEXT = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"?', re.DOTALL)


@dataclass(frozen=True)
class RouterLimits:
    """What requests may ask for.

    Attributes:
        max_body_mb: Size of one request itself, in MiB.
        max_bodies_mb: Size of all requests that are held at a time, running or waiting.
        max_batch: Runs of a program, or scripts.
        max_run_s: Seconds on the clock of one run, script or compiler.
        max_total_s: Seconds on the clock of all runs of a program together.
        max_memory_mb: Memory of one run, in MiB.
        max_output_mb: Output of one run, in MiB.
        max_processes: Processes of one run.
        script_memory_mb: Memory of a script of `/execute_batch`, whose request doesn't say.
        step_timeout_s: Seconds after which a client that is to say whether a run goes on, and is silent, is gone.

    Raises:
        ValueError: One isn't positive, or no request fits.
    """

    max_body_mb: float = 64.0
    max_bodies_mb: float = 1024.0
    max_batch: int = 2048
    max_run_s: float = 600.0
    max_total_s: float = 6 * 3600.0
    max_memory_mb: int = 8192
    max_output_mb: float = 256.0
    max_processes: int = 1024
    script_memory_mb: int = 1024
    step_timeout_s: float = 60.0

    def __post_init__(self) -> None:
        wrong = [name for name, value in vars(self).items() if not 0 < value < math.inf]
        if wrong or self.max_bodies_mb < self.max_body_mb:
            raise ValueError(
                f"{', '.join(wrong) or 'max_bodies_mb'}: limits are positive, max_bodies_mb >= max_body_mb."
            )

    def check(self, asked: RunRequest) -> None:
        """Refuse more runs, or higher limits, than are allowed."""
        self.check_num_runs(len(asked.inputs))
        theirs = [asked.interactor.limits] if asked.interactor else []
        all_limits = (asked.compile_limits, asked.limits, *theirs)
        total_s = asked.compile_limits.backstop_s + len(asked.inputs) * sum(lim.backstop_s for lim in all_limits[1:])
        self._check_up_to(total_s, self.max_total_s, "s on the clock for all runs together")
        for limits in all_limits:
            self._check_up_to(max(limits.backstop_s, limits.cpu_s), self.max_run_s, "s for one run")
            self._check_up_to(limits.memory_mb, self.max_memory_mb, "MiB of memory")
            self._check_up_to(limits.output_bytes / 2**20, self.max_output_mb, "MiB of output")
            self._check_up_to(limits.processes, self.max_processes, "processes")

    def check_num_runs(self, num_runs: int) -> None:
        """Refuse more runs than are allowed."""
        if num_runs > self.max_batch:
            raise Refusal(413, "too_large", f"{num_runs} runs in one request; allowed are {self.max_batch}.")

    @staticmethod
    def _check_up_to(value: float, most: float, what: str) -> None:
        if value > most:
            raise Refusal(422, "request", f"{value:g} {what}; allowed are {most:g}.")


class BodyRoom:
    """The memory for all bodies together."""

    def __init__(self, max_bytes: int) -> None:
        self.max_bytes, self.used = max_bytes, 0

    @contextlib.contextmanager
    def held(self) -> Iterator[Callable[[int], None]]:
        """Yield a function that takes more bytes, or refuses them (429); at the end all are given back."""
        taken = 0

        def take(num_bytes: int) -> None:
            nonlocal taken
            if self.used + num_bytes > self.max_bytes:
                raise Refusal(429, "busy", "Too many large requests at a time. Try again.", retry_after_s=1)
            self.used += num_bytes
            taken += num_bytes

        try:
            yield take
        finally:
            self.used -= taken


async def read_json(request: Request, max_bytes: int, take: Callable[[int], None]) -> Any:
    """Return the value of a JSON body.

    Args:
        request: The request.
        max_bytes: Size of its body.
        take: Called with the size of each piece; may refuse it.

    Raises:
        Refusal: It's too large (413, before it is read to the end), too slow (408), or not JSON (400).
    """
    body = await _read_body(request, max_bytes, take)
    try:
        if len(body) <= 1 << 20:
            return json.loads(body)
        await asyncio.to_thread(check_num_values, body)
        return await asyncio.to_thread(json.loads, body)
    except (ValueError, RecursionError):
        raise Refusal(400, "request", "The request is not JSON.") from None


async def _read_body(request: Request, max_bytes: int, take: Callable[[int], None]) -> bytes:
    too_large = Refusal(413, "too_large", f"The request is larger than {max_bytes / 2**20:.2g} MiB.")
    announced = request.headers.get("content-length", "0")
    if announced.isdigit() and int(announced[:20]) > max_bytes:
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
                take(len(chunks[-1]))
    except TimeoutError:
        raise Refusal(408, "request", f"The request did not arrive within {BODY_TIMEOUT_S:g} s.") from None
    return b"".join(chunks)


def check_num_values(body: bytes) -> None:
    """Refuse JSON of more than `MAX_VALUES` values before it is parsed: that holds up all others, the GIL with it.

    Raises:
        Refusal: There are too many (413).
    """
    num_values, end = 1, 0
    while end < len(body):
        text = _TEXT.search(body, end)
        start = text.start() if text else len(body)
        num_values += body.count(b",", end, start) + 1
        if num_values > MAX_VALUES:
            raise Refusal(413, "too_large", f"The request holds more than {MAX_VALUES} values.")
        end = text.end() if text else len(body)


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
    except (ValueError, TypeError, AttributeError, OverflowError) as error:
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
            value = getattr(limits, name)
            _check(name, value, int)
            if value > 2**53:
                raise ValueError(f"{name} is out of range")
    _check("stop_after", request.stop_after, int, type(None))
    return request


def _check(name: str, value: Any, *types: type) -> None:
    if not isinstance(value, types) or isinstance(value, bool):
        raise TypeError(f"{name} can't be of type {type(value).__name__}")
