# SPDX-License-Identifier: Apache-2.0
"""Jobs for Piston over HTTP: a place in the pool, a deadline, other endpoints if one fails, at last `SandboxError`."""

import asyncio
import json
import math
import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import httpx

from open_r1.sandbox.base import SandboxError
from open_r1.sandbox.piston_pool import Endpoint, FindEndpoints, PistonPool, backoff_s
from open_r1.sandbox.piston_replies import Reply, read_stage

CONNECT_TIMEOUT_S, RUNTIMES_TIMEOUT_S = 5.0, 10.0
RUNTIMES_BYTES = 1 << 22
OVER_MAXIMUM = re.compile(r"(\w+) cannot exceed the configured limit of (\d+)")


@dataclass(frozen=True)
class Patience:
    """How long to go on when endpoints fail.

    Attributes:
        max_outage_s: Seconds without any endpoint that has the runtime after which a job is given up.
        max_attempts: How often a job is sent, to other endpoints where there are.
        first_delay_s: Wait before the third attempt, and before an endpoint that failed twice is asked again; it
            doubles from there on, to 10 s and 30 s.
        queue_s: Seconds that a job may wait at the endpoint, on top of the limits of compiler and program.
    """

    max_outage_s: float = 120.0
    max_attempts: int = 5
    first_delay_s: float = 0.5
    queue_s: float = 60.0

    def __post_init__(self) -> None:
        if min(self.max_outage_s, self.max_attempts, self.first_delay_s, self.queue_s) <= 0:
            raise ValueError(f"All of it must be positive, got {self}.")


@dataclass(frozen=True)
class Job:
    """One `POST /execute`.

    Attributes:
        runtimes: Names of runtimes that serve, the best first.
        files: As Piston takes them.
        stdin: Standard input; Piston ends it with a newline if it doesn't.
        args: Arguments of the program.
        limits: Fields such as `run_timeout` (ms) and `run_memory_limit` (bytes). An endpoint that knows no CPU time
            overlooks `run_cpu_time`.
        least: How far an endpoint's configured maximum may lower a limit, where it may at all.
        answer_bytes: How long an answer may get.
    """

    runtimes: Sequence[str]
    files: Sequence[Mapping[str, str]]
    stdin: str = ""
    args: Sequence[str] = ()
    limits: Mapping[str, int] = field(default_factory=dict)
    least: Mapping[str, int] = field(default_factory=dict)
    answer_bytes: int = 1 << 26


class EndpointError(Exception):
    """An endpoint didn't do its part: to be set aside, the job to be sent elsewhere."""


class PistonClient:
    """Sends jobs to a pool of endpoints; lives on one event loop.

    Args:
        urls: Base URLs.
        places_each: Jobs at a time at each.
        patience: How long to go on when endpoints fail.
        find_endpoints: As of `PistonPool`.
        share: As of `PistonPool`.
    """

    def __init__(
        self,
        urls: Sequence[str],
        places_each: int,
        patience: Patience,
        *,
        find_endpoints: FindEndpoints | None = None,
        share: float = 0.0,
    ) -> None:
        # Endpoints are hosts of the cluster: proxies of the environment would only be in the way.
        # Node closes a connection that nobody has used for 5 s: it's not to be used again just then.
        limits = httpx.Limits(max_connections=None, max_keepalive_connections=None, keepalive_expiry=2.0)
        self._http = httpx.AsyncClient(limits=limits, timeout=None, trust_env=False)
        self._patience = patience
        self.pool = PistonPool(
            urls,
            places_each,
            self._ask_runtimes,
            max_outage_s=patience.max_outage_s,
            first_delay_s=patience.first_delay_s,
            find_endpoints=find_endpoints,
            share=share,
        )

    async def execute(self, job: Job) -> Reply:
        """Return the answer to a job.

        A program that fails with the words of an overloaded endpoint is sent elsewhere too; if it does so every time,
        that's what it does.

        Raises:
            SandboxError: No endpoint has done it, or all refuse it.
        """
        max_attempts = self._patience.max_attempts
        failed: set[str] = set()
        trouble = ""
        for attempt in range(max_attempts):
            if attempt:
                await asyncio.sleep(backoff_s(attempt, self._patience.first_delay_s, 10.0))
            async with self.pool.place(job.runtimes, failed) as endpoint:
                failed.add(endpoint.url)
                try:
                    reply = await self._send(job, endpoint)
                except EndpointError as error:
                    trouble = f"{endpoint.url}: {error}"
                    self.pool.set_aside(endpoint, str(error))
                    continue
                endpoint.failures = 0
            is_overload = reply.run is not None and reply.run.is_overload
            if not is_overload or attempt == max_attempts - 1:
                return reply
            trouble = f"{endpoint.url}: overloaded"
        raise SandboxError(f"Piston failed {max_attempts} times at one job, at last {trouble}")

    async def execute_at(self, job: Job, endpoint: Endpoint) -> Reply:
        """Return the answer of this endpoint to a job, whether a place is free or not.

        Raises:
            SandboxError: It has not done it.
        """
        try:
            return await self._send(job, endpoint)
        except EndpointError as error:
            raise SandboxError(f"{endpoint.url}: {error}") from error

    async def _send(self, job: Job, endpoint: Endpoint) -> Reply:
        """Send a job to one endpoint, its limits lowered to what that is configured for, where they may be."""
        while True:
            limits = {name: min(value, endpoint.limits.get(name, value)) for name, value in job.limits.items()}
            for name, value in limits.items():
                if value < job.least.get(name, job.limits[name]):
                    raise SandboxError(_configured_too_low(name, value, job, endpoint))
            started = time.monotonic()
            status, body = await self._post(job, endpoint, limits)
            elapsed_s = time.monotonic() - started
            run_timeout_s = limits.get("run_timeout", math.inf) / 1000
            if body is None:
                return Reply(None, None, elapsed_s, endpoint.url, run_timeout_s)
            if status == 200:
                return _read_reply(body, elapsed_s, endpoint.url, run_timeout_s)
            maximum = _read_refusal(status, body, endpoint.url)
            if maximum[0] not in limits or endpoint.limits.get(maximum[0]) == maximum[1]:
                raise EndpointError(f"it refused {maximum[0]}, over its maximum of {maximum[1]}, without a reason")
            endpoint.limits[maximum[0]] = maximum[1]

    async def _post(self, job: Job, endpoint: Endpoint, limits: Mapping[str, int]) -> tuple[int, bytes | None]:
        """Return status and body of the answer; no body if it's longer than allowed."""
        value = {
            "language": endpoint.find_runtime(job.runtimes),
            "version": "*",
            "files": job.files,
            "stdin": job.stdin,
            "args": job.args,
            **limits,
        }
        limits_ms = limits.get("compile_timeout", 0) + limits.get("run_timeout", 0)
        timeout_s = limits_ms / 1000 + self._patience.queue_s
        headers = {"Content-Type": "application/json"}
        content = await asyncio.to_thread(json.dumps, value) if len(job.stdin) > 1 << 20 else json.dumps(value)
        try:
            async with asyncio.timeout(timeout_s):
                request = self._http.stream(
                    "POST",
                    f"{endpoint.url}/execute",
                    content=content,
                    headers=headers,
                    timeout=httpx.Timeout(None, connect=CONNECT_TIMEOUT_S),
                )
                async with request as response:
                    return response.status_code, await _read_body(response, job.answer_bytes)
        except TimeoutError:
            raise EndpointError(f"no answer within {timeout_s:g} s") from None
        except httpx.HTTPError as error:
            raise EndpointError(f"{type(error).__name__}: {error}") from error

    async def _ask_runtimes(self, url: str) -> frozenset[str]:
        try:
            async with (
                asyncio.timeout(RUNTIMES_TIMEOUT_S),
                self._http.stream("GET", f"{url}/runtimes", timeout=RUNTIMES_TIMEOUT_S) as response,
            ):
                response.raise_for_status()
                body = await _read_body(response, RUNTIMES_BYTES)
        except (httpx.HTTPError, TimeoutError) as error:
            raise ConnectionError(f"{type(error).__name__}: {error}") from error
        runtimes = None if body is None else _read_json(body)
        if not isinstance(runtimes, list) or not all(map(_is_runtime, runtimes)):
            raise ValueError(f"GET /runtimes answered {(body or b'too much')[:100]!r}")
        return frozenset(name for one in runtimes for name in (one["language"], *(one.get("aliases") or ())))

    async def aclose(self) -> None:
        """Close all connections."""
        await self.pool.aclose()
        await self._http.aclose()


async def _read_body(response: httpx.Response, max_bytes: int) -> bytes | None:
    parts, size = [], 0
    async for part in response.aiter_bytes():
        size += len(part)
        if size > max_bytes:
            return None
        parts.append(part)
    return b"".join(parts)


def _is_runtime(value: Any) -> bool:
    if not isinstance(value, dict) or not isinstance(value.get("aliases") or [], list):
        return False
    return all(isinstance(name, str) for name in (value.get("language"), *(value.get("aliases") or ())))


def _read_json(body: bytes) -> Any:
    try:
        return json.loads(body)
    except (ValueError, RecursionError):
        return None


def _read_reply(body: bytes, elapsed_s: float, url: str, run_timeout_s: float) -> Reply:
    value = _read_json(body)
    if not isinstance(value, dict) or "run" not in value:
        raise EndpointError(f"an answer that isn't Piston's: {body[:200]!r}")
    try:
        run = read_stage(value["run"])
        compiled = read_stage(value["compile"]) if value.get("compile") is not None else None
    except ValueError as error:
        raise EndpointError(f"an answer that isn't Piston's: {error}") from error
    if "XX" in (run.status, compiled and compiled.status):
        raise EndpointError(f"its isolation failed: {value['run'].get('message') or run.stderr[:200]}")
    return Reply(run, compiled, elapsed_s, url, run_timeout_s)


def _read_refusal(status: int, body: bytes, url: str) -> tuple[str, int]:
    """Return field and maximum of an answer that says a limit is over what the endpoint is configured for.

    Raises:
        EndpointError: It's another answer that another endpoint may not give.
        SandboxError: It's about the job.
    """
    value = _read_json(body)
    message = value.get("message") if isinstance(value, dict) else None
    maximum = OVER_MAXIMUM.search(message or "")
    if status == 400 and maximum:
        return maximum[1], int(maximum[2])
    stack = value.get("stack") if isinstance(value, dict) else None
    if status == 413 or "too large" in str(stack or ""):
        raise SandboxError(
            f"{url} refused a job as too large: raise the limit of its body parser (100 kB where nobody has; "
            "Open R1's image is started with 512mb)."
        )
    if status == 400 and (message or stack) and "runtime is unknown" not in (message or ""):
        raise SandboxError(f"{url} refused a job: {str(message or stack)[:500]}")
    raise EndpointError(f"HTTP {status}: {body[:200].decode(errors='replace') or 'no text'}")


def _configured_too_low(name: str, value: int, job: Job, endpoint: Endpoint) -> str:
    unit = "bytes" if name.endswith("memory_limit") else "ms"
    return (
        f"{endpoint.url} is configured for {name} of at most {value} {unit}, and this program is allowed "
        f"{job.least.get(name, job.limits[name])}: start the endpoint with PISTON_{name.upper()} of at least that."
    )
