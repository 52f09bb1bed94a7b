# SPDX-License-Identifier: Apache-2.0
"""Piston's endpoints: where they are, which of them answer, and jobs sent to them over HTTP.

One that fails is set aside and asked until it answers again; jobs go to the others meanwhile. Two servers of the same
version number are in use. The one before isolate ("v3.1.1", Open R1's image) says only exit code and signal; the one
since (2024-09) measures CPU time, wall time and memory and names a status.
"""

import asyncio
import contextlib
import json
import logging
import math
import os
import random
import re
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

import httpx

from open_r1.sandbox.base import SandboxError, UnsupportedLanguageError, UnsupportedRequestError
from open_r1.sandbox.piston_packages import PACKAGES

logger = logging.getLogger(__name__)

# Names of runtimes by our names, the best first: `javascript` may be Deno.
RUNTIMES = {
    "python": ("python", "python3", "py"),
    "cpp": ("c++", "cpp", "g++"),
    "javascript": ("node-javascript", "node-js", "javascript", "js"),
    "bash": ("bash", "sh"),
}
STDIN_BYTES = 219_264  # what 3.1.1 hands over of a longer standard input
WHOLE_STDIN = "x-open-r1-stdin"  # header of endpoints whose Piston waits until all of it is written
OUTPUT_LIMIT = "x-open-r1-output"  # and of these it names their PISTON_OUTPUT_MAX_SIZE
LEAST_OUTPUT_LIMIT = 512  # no endpoint is configured for less output than this
PIPE_BYTES = 1 << 16  # a text may be longer than the limit by what Piston reads at a time
CONNECT_TIMEOUT_S, RUNTIMES_TIMEOUT_S, SQUEUE_TIMEOUT_S = 5.0, 10.0, 60
NUM_ATTEMPTS = 5  # of a job, at other endpoints where there are any
QUEUE_S = 60.0  # that a job may wait at the endpoint, on top of the limits of compiler and program
START_PATIENCE_S = 15.0  # for endpoints that are just starting; later, when one has answered, the patience
FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.5, 10.0  # before an endpoint that failed is asked again
OVERLOAD = "Resource temporarily unavailable"
NAN = float("nan")


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
        answer_bytes: How long an answer may get.
    """

    runtimes: Sequence[str]
    files: Sequence[Mapping[str, str]]
    stdin: str = ""
    args: Sequence[str] = ()
    limits: Mapping[str, int] = field(default_factory=dict)
    answer_bytes: int = 1 << 26


@dataclass(frozen=True)
class Stage:
    """One stage of a job: the compiler or the program.

    Attributes:
        stdout: Its output, cut where the endpoint ended it.
        stderr: Its errors.
        code: Exit code, None where a signal ended it.
        signal: Name of that signal.
        status: "TO", "OL", "EL", "RE", "SG" or "XX"; None before isolate and for a good end.
        cpu_s: CPU seconds; NaN before isolate, like the next two.
        wall_s: Seconds on the clock.
        memory_mb: Peak memory in MiB.
    """

    stdout: str
    stderr: str
    code: int | None
    signal: str | None
    status: str | None = None
    cpu_s: float = NAN
    wall_s: float = NAN
    memory_mb: float = NAN

    @property
    def failed(self) -> bool:
        """Whether it ended in any way but with exit code 0."""
        return self.code != 0 or self.signal is not None

    @property
    def is_overload(self) -> bool:
        """Whether it failed as programs do on an endpoint that has run out of processes."""
        return self.failed and OVERLOAD in self.stderr

    @property
    def is_measured(self) -> bool:
        """Whether the endpoint measures, so that a kill has a stated reason."""
        return self.status is not None or not math.isnan(self.cpu_s)

    @property
    def longest(self) -> int:
        """Return the bytes of its longer text."""
        return max(len(self.stdout.encode()), len(self.stderr.encode()))


@dataclass(frozen=True)
class Reply:
    """An answer to `POST /execute`.

    Attributes:
        run: The program's stage; a copy of the compiler's where that failed. None where the answer was longer than
            allowed, so that the program must have been over its output limit.
        compile: The compiler's stage; None for languages without one.
        endpoint: Who answered.
        elapsed_s: Seconds that it took, waiting at the endpoint included.
    """

    run: Stage | None
    compile: Stage | None
    endpoint: "Endpoint"
    elapsed_s: float


def read_stage(value: Any) -> Stage:
    """Return a stage of an answer.

    Raises:
        ValueError: It isn't one.
    """
    if not isinstance(value, Mapping):
        raise ValueError(f"a stage that is {type(value).__name__}")
    code, name = value.get("code"), value.get("signal")
    if not (code is None or isinstance(code, int)) or not (name is None or isinstance(name, str)):
        raise ValueError(f"code {code!r} and signal {name!r}")
    if code is None and name is None and not value.get("status"):
        raise ValueError("a stage with neither code nor signal")
    return Stage(
        stdout=str(value.get("stdout") or ""),
        stderr=str(value.get("stderr") or ""),
        code=code,
        signal=name,
        status=value.get("status") or None,
        cpu_s=_number(value.get("cpu_time")) / 1000,
        wall_s=_number(value.get("wall_time")) / 1000,
        memory_mb=_number(value.get("memory")) / (1 << 20),
    )


def _number(value: Any) -> float:
    return float(value) if isinstance(value, int | float) else NAN


@dataclass(eq=False)
class Endpoint:
    """One Piston server.

    Attributes:
        url: Base URL.
        down_since: Time of the loop since which it hasn't answered.
        runtimes: Names and aliases that it last answered with; None until it has.
        takes_long_stdin: Whether its Piston hands over all of a long standard input.
        lets_through: Bytes of a text that it's known not to cut: it says so, or has let a longer one through.
        is_healthy: Whether it gets jobs.
        num_jobs: Jobs that run there.
        num_failures: Failures since a job last went well.
        trouble: What went wrong last.
        asking: The task that asks it until it answers.
    """

    url: str
    down_since: float
    runtimes: frozenset[str] | None = None
    takes_long_stdin: bool = False
    lets_through: int = LEAST_OUTPUT_LIMIT
    is_healthy: bool = False
    num_jobs: int = 0
    num_failures: int = 0
    trouble: str = "has not answered yet"
    asking: asyncio.Task[None] | None = None

    def find_runtime(self, names: Sequence[str]) -> str | None:
        """Return the first name that it has a runtime of, or None."""
        return next((name for name in names if name in (self.runtimes or ())), None)


class EndpointError(Exception):
    """An endpoint didn't do its part: to be set aside, the job to be sent elsewhere."""


class EndpointLostError(EndpointError):
    """It stopped answering while it had the job, which may be why."""


class EndpointPool:
    """The endpoints, on one event loop: one that fails is set aside, and asked until it answers again.

    Args:
        urls: Base URLs.
        places_each: As of `PistonSandbox`, as the other two.
        patience_s: Seconds.
        find_endpoints: None to have those of the URLs alone.
    """

    def __init__(
        self,
        urls: Sequence[str],
        places_each: int,
        patience_s: float,
        find_endpoints: Callable[[], Sequence[str]] | None,
    ) -> None:
        self.loop = asyncio.get_running_loop()
        self.endpoints: list[Endpoint] = []
        self._seen: frozenset[str] = frozenset()  # runtimes, at any endpoint so far
        self._changed = asyncio.Event()  # an endpoint was asked, or has a place again; then it's another event
        self._places_each, self._patience_s = places_each, patience_s
        self._find_endpoints, self._find_at = find_endpoints, -math.inf
        self._finding = asyncio.Lock()
        # Endpoints are hosts of the cluster: proxies of the environment would only be in the way.
        # Node closes a connection that nobody has used for 5 s: it's not to be used again just then.
        limits = httpx.Limits(max_connections=None, max_keepalive_connections=None, keepalive_expiry=2.0)
        self._http = httpx.AsyncClient(limits=limits, timeout=None, trust_env=False)
        self._add(urls)

    async def runtimes(self) -> frozenset[str]:
        """Return the names of the runtimes at all endpoints that answer, once each has been asked.

        Raises:
            SandboxError: None answers.
        """
        while not (healthy := self._healthy()):
            never = all(one.runtimes is None for one in self.endpoints)
            await self._wait((), min(START_PATIENCE_S, self._patience_s) if never else None)
        return frozenset[str]().union(*(one.runtimes or () for one in healthy))

    async def execute(self, job: Job) -> Reply:
        """Return the answer to a job.

        A program that fails with the words of an overloaded endpoint is sent elsewhere too; if it does so every time,
        that's what it does.

        Raises:
            SandboxError: No endpoint has done it, or all refuse it.
            UnsupportedLanguageError: No endpoint has its runtime.
            UnsupportedRequestError: Its standard input is too long for them.
        """
        failed: set[str] = set()
        trouble = ""
        for attempt in range(NUM_ATTEMPTS):
            if attempt > 1:
                await asyncio.sleep(_pause_s(attempt - 1))
            endpoint = await self._take_place(job, failed)
            try:
                reply = await self._send(job, endpoint)
            except EndpointError as error:
                trouble = f"{endpoint.url}: {error}"
                failed.add(endpoint.url)
                if isinstance(error, EndpointLostError) and not await self._still_answers(endpoint):
                    self._set_aside(endpoint, str(error))
                    raise SandboxError(
                        f"{trouble}; it no longer answers, perhaps for what this program did, which is not tried at "
                        "another (is its PISTON_OUTPUT_MAX_SIZE about 40000000? see slurm/piston/README.md)"
                    ) from error
                self._set_aside(endpoint, str(error))
                continue
            finally:
                endpoint.num_jobs -= 1
                self._tell_change()
            endpoint.num_failures = 0
            if reply.run is None or not reply.run.is_overload or attempt == NUM_ATTEMPTS - 1:
                return reply
            failed.add(endpoint.url)
            trouble = f"{endpoint.url}: overloaded"
        raise SandboxError(f"Piston failed {NUM_ATTEMPTS} times at one job, at last {trouble}")

    def _healthy(self) -> list[Endpoint]:
        """Return the endpoints that answer; none before each has been asked once."""
        is_known = all(one.is_healthy or one.num_failures for one in self.endpoints)
        return [one for one in self.endpoints if is_known and one.is_healthy]

    async def _take_place(self, job: Job, failed: set[str]) -> Endpoint:
        """Take a place at a healthy endpoint that has the runtime, at none that `failed` where there's another."""
        is_long = len(job.stdin) > STDIN_BYTES // 4 and len(job.stdin.encode(errors="replace")) > STDIN_BYTES
        while True:
            healthy = self._healthy()
            fitting = [one for one in healthy if one.find_runtime(job.runtimes)]
            if fitting and is_long:
                fitting = [one for one in fitting if one.takes_long_stdin]
                if not fitting:
                    raise UnsupportedRequestError(
                        f"Piston cuts a standard input over {STDIN_BYTES} bytes in silence, and this one has "
                        f"{len(job.stdin)}: start the endpoints by slurm/piston/start_piston.sh, or use `local`."
                    )
            others = [one for one in fitting if one.url not in failed] or fitting
            endpoint = min(others, key=lambda one: one.num_jobs, default=None)
            if endpoint is not None and endpoint.num_jobs < self._places_each:
                endpoint.num_jobs += 1
                return endpoint
            if healthy and self._seen.isdisjoint(job.runtimes):
                raise UnsupportedLanguageError(self._lacks(job.runtimes[0], await self.runtimes()))
            await self._wait(job.runtimes)

    async def _wait(self, names: Sequence[str], patience_s: float | None = None) -> None:
        """Wait until an endpoint has been asked, or has a place again.

        The clock is the outage's, not the caller's: when it's over, all who wait for these names give up, and those
        who come later do when the endpoints have been asked once more.

        Raises:
            SandboxError: It's over.
        """
        change = self._changed
        patience_s = self._patience_s if patience_s is None else patience_s
        await self._find_more()
        fitting = [one for one in self.endpoints if one.find_runtime(names)] or self.endpoints
        if any(one.is_healthy and one.find_runtime(names) for one in fitting):
            left_s = None
        else:
            left_s = max(one.down_since for one in fitting) + patience_s - self.loop.time()
            if left_s <= 0:
                await asyncio.gather(*(self._ask(one) for one in fitting if not one.is_healthy))
                if not any(one.is_healthy and (not names or one.find_runtime(names)) for one in fitting):
                    wanted = f"No Piston endpoint with {names[0]!r}" if names else "No Piston endpoint"
                    states = [f"{one.url}: {'healthy' if one.is_healthy else one.trouble}" for one in self.endpoints]
                    raise SandboxError(
                        f"{wanted} has answered for {patience_s:g} s; is PISTON_ENDPOINTS right? "
                        f"({'; '.join(states)[:2000]})"
                    )
                return
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(left_s):
                await change.wait()

    def _tell_change(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()

    async def _find_more(self) -> None:
        """Look for endpoints that were started meanwhile, where none answers; those that are gone are forgotten."""
        async with self._finding:
            is_due = self.loop.time() >= self._find_at or not self.endpoints
            if self._find_endpoints is None or not is_due or any(one.is_healthy for one in self.endpoints):
                return
            found = await asyncio.to_thread(self._find_endpoints)
            self._find_at = self.loop.time() + LONGEST_PAUSE_S
            for one in self.endpoints:
                if one.url not in found and one.asking is not None:
                    one.asking.cancel()
            self.endpoints = [one for one in self.endpoints if one.url in found]
            known = {one.url for one in self.endpoints}
            self._add([url for url in found if url not in known])

    def _add(self, urls: Sequence[str]) -> None:
        for url in urls:
            endpoint = Endpoint(url, self.loop.time())
            endpoint.asking = self.loop.create_task(self._ask_until_it_answers(endpoint))
            self.endpoints.append(endpoint)

    async def _ask_until_it_answers(self, endpoint: Endpoint) -> None:
        while not endpoint.is_healthy:
            if endpoint.num_failures > 1:
                await asyncio.sleep(_pause_s(endpoint.num_failures - 1))
            await self._ask(endpoint)

    async def _ask(self, endpoint: Endpoint) -> None:
        try:
            runtimes, headers = await self._ask_runtimes(endpoint.url)
            # A server that was started again without its packages has none of them yet: no program is to blame.
            lost = (endpoint.runtimes or (frozenset() if runtimes else self._seen)) - runtimes
            if lost:
                raise ValueError(f"it has lost {min(lost)}: POST /packages installs it")
            endpoint.runtimes, endpoint.takes_long_stdin = runtimes, WHOLE_STDIN in headers
            endpoint.lets_through = int(headers.get(OUTPUT_LIMIT, LEAST_OUTPUT_LIMIT))
            self._seen |= runtimes
        except (OSError, ValueError) as error:
            self._count_failure(endpoint, str(error))
        else:
            if endpoint.num_failures:
                logger.warning("Piston at %s is back.", endpoint.url)
            endpoint.is_healthy = True
        self._tell_change()

    def _set_aside(self, endpoint: Endpoint, trouble: str) -> None:
        """Give no jobs to an endpoint until it answers; failures of jobs that ran side by side count once."""
        if endpoint.is_healthy:
            endpoint.is_healthy, endpoint.down_since = False, self.loop.time()
            self._count_failure(endpoint, trouble)
            endpoint.asking = self.loop.create_task(self._ask_until_it_answers(endpoint))

    def _count_failure(self, endpoint: Endpoint, trouble: str) -> None:
        endpoint.num_failures, endpoint.trouble = endpoint.num_failures + 1, trouble
        level = logging.WARNING if endpoint.num_failures == 1 else logging.INFO
        logger.log(level, "Piston at %s is set aside: %s", endpoint.url, trouble)

    async def _still_answers(self, endpoint: Endpoint) -> bool:
        try:
            await self._ask_runtimes(endpoint.url)
        except (OSError, ValueError):
            return False
        return True

    async def _ask_runtimes(self, url: str) -> tuple[frozenset[str], httpx.Headers]:
        """Return names and aliases of an endpoint's runtimes, and the headers that say how it was started."""
        try:
            reply = await self._http.get(f"{url}/runtimes", timeout=RUNTIMES_TIMEOUT_S)
            runtimes = reply.raise_for_status().json()
        except httpx.HTTPError as error:
            raise ConnectionError(f"{type(error).__name__}: {error}") from error
        try:
            names = frozenset(name for one in runtimes for name in (one["language"], *(one.get("aliases") or ())))
        except (TypeError, KeyError, AttributeError):
            raise ValueError(f"GET /runtimes answered {reply.text[:100]!r}") from None
        return names, reply.headers

    async def _send(self, job: Job, endpoint: Endpoint) -> Reply:
        """Send a job to one endpoint.

        Raises:
            EndpointError: Another one may do it.
            SandboxError: None will.
        """
        value = {"language": endpoint.find_runtime(job.runtimes), "version": "*", "files": job.files}
        value |= {"stdin": job.stdin, "args": job.args, **job.limits}
        limits_ms = job.limits.get("compile_timeout", 0) + job.limits.get("run_timeout", 0)
        timeout_s = limits_ms / 1000 + QUEUE_S
        content = await asyncio.to_thread(json.dumps, value) if len(job.stdin) > 1 << 20 else json.dumps(value)
        started = time.monotonic()
        try:
            async with (
                asyncio.timeout(timeout_s),
                self._http.stream(
                    "POST",
                    f"{endpoint.url}/execute",
                    content=content,
                    headers={"Content-Type": "application/json"},
                    timeout=httpx.Timeout(None, connect=CONNECT_TIMEOUT_S),
                ) as response,
            ):
                status, body = response.status_code, await read_body(response, job.answer_bytes)
        except TimeoutError:
            raise EndpointLostError(f"no answer within {timeout_s:g} s") from None
        except (httpx.ConnectError, httpx.ConnectTimeout) as error:
            raise EndpointError(f"{type(error).__name__}: {error}") from error
        except httpx.HTTPError as error:
            raise EndpointLostError(f"{type(error).__name__}: {error}") from error
        elapsed_s = time.monotonic() - started
        if body is None:
            return Reply(None, None, endpoint, elapsed_s)
        if status != 200:
            raise _refusal(status, body, endpoint.url)
        run, compiled = _read_stages(body)
        if run.signal is None:
            passed = max(len(run.stdout), len(run.stderr)) - PIPE_BYTES
            endpoint.lets_through = max(endpoint.lets_through, passed)
        return Reply(run, compiled, endpoint, elapsed_s)

    def _lacks(self, wanted: str, known: frozenset[str]) -> str:
        ours = [name for name, runtimes in RUNTIMES.items() if known.intersection(runtimes)]
        packages = [name for name in PACKAGES if name in known]
        return (
            f"The Piston endpoints have no {wanted!r}; they have {', '.join(ours + packages) or 'nothing known'}. "
            "POST /packages at each installs more."
        )

    async def aclose(self) -> None:
        """End the tasks that ask endpoints, and close all connections."""
        tasks = [one.asking for one in self.endpoints if one.asking is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._http.aclose()


def _pause_s(number: int) -> float:
    return min(FIRST_PAUSE_S * 2 ** min(number - 1, 20), LONGEST_PAUSE_S) * random.uniform(0.75, 1.25)


async def read_body(response: httpx.Response, max_bytes: int) -> bytes | None:
    parts, size = [], 0
    async for part in response.aiter_bytes():
        size += len(part)
        if size > max_bytes:
            return None
        parts.append(part)
    return b"".join(parts)


def _read_json(body: bytes) -> dict[str, Any]:
    try:
        value = json.loads(body)
    except (ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}


def _read_stages(body: bytes) -> tuple[Stage, Stage | None]:
    value = _read_json(body)
    try:
        run = read_stage(value.get("run"))
        compiled = read_stage(value["compile"]) if value.get("compile") is not None else None
    except ValueError as error:
        raise EndpointError(f"an answer that isn't Piston's ({error}): {body[:200]!r}") from error
    if "XX" in (run.status, compiled and compiled.status):
        raise EndpointError(f"its isolation failed: {value['run'].get('message') or run.stderr[:200]}")
    return run, compiled


def _refusal(status: int, body: bytes, url: str) -> Exception:
    """Return what a job that was refused is: a fault of the endpoint, or of the job and of all endpoints."""
    value = _read_json(body)
    message, stack = str(value.get("message") or ""), str(value.get("stack") or "")
    if status == 413 or "too large" in stack:
        return SandboxError(
            f"{url} refused a job as too large: raise the limit of its body parser (100 kB where nobody has; "
            "start_piston.sh makes it 512mb)."
        )
    if status == 400 and (message or stack) and "runtime is unknown" not in message:
        over = re.match(r"(\w+) cannot exceed", message)
        fix = f": start the endpoint with a higher PISTON_{over[1].upper()}" if over else ""
        return SandboxError(f"{url} refused a job: {(message or stack)[:500]}{fix}")
    return EndpointError(f"HTTP {status}: {body[:200].decode(errors='replace') or 'no text'}")


def number_from(variable: str, default: float) -> float:
    text = os.environ.get(variable, "").strip() or str(default)
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not 0 < number < math.inf:
        raise ValueError(f"{variable} must be a positive number, got {text!r}.")
    return number


def endpoints_from_environment() -> tuple[str, ...]:
    """Return the base URLs of `PISTON_ENDPOINTS`, a comma-separated list.

    Raises:
        ValueError: The variable isn't set, or has something else in it.
    """
    text = os.environ.get("PISTON_ENDPOINTS", "").strip()
    if not text:
        raise ValueError(
            "Set PISTON_ENDPOINTS to the base URLs of your Piston servers, separated by commas "
            "(http://node1:2000/api/v2), or to `slurm` for running jobs named piston-worker-<port>."
        )
    urls = [part.strip().rstrip("/") for part in text.split(",") if part.strip()]
    for url in urls:
        parts = urlsplit(url)
        is_web = parts.scheme in ("http", "https") and parts.hostname
        if not is_web or not parts.path.endswith("/api/v2") or re.search(r"\s", url):
            raise ValueError(
                f"PISTON_ENDPOINTS has {url!r}; a base URL is like http://node1:2000/api/v2, "
                "and several are separated by commas."
            )
    return tuple(dict.fromkeys(urls))


def slurm_endpoints() -> tuple[str, ...]:
    """Return a base URL for each of the user's running jobs named `piston-worker-<port>`, sorted.

    Raises:
        SandboxError: squeue is missing or fails, or there's no such job.
    """
    user = str(os.getuid())
    command = ["squeue", "--noheader", "--states=RUNNING", f"--user={user}", "--format=%U|%T|%N|%j"]
    # The user's SQUEUE_PARTITION and the like would hide workers.
    variables = {name: value for name, value in os.environ.items() if not name.startswith("SQUEUE_")}
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=SQUEUE_TIMEOUT_S, check=False, env=variables
        )
    except FileNotFoundError:
        raise SandboxError(
            "PISTON_ENDPOINTS=slurm needs `squeue` on the PATH of this machine; "
            "without Slurm set PISTON_ENDPOINTS to a list of base URLs."
        ) from None
    except (OSError, subprocess.TimeoutExpired) as error:
        raise SandboxError(f"squeue could not be asked for Piston workers: {error}") from error
    if done.returncode != 0:
        raise SandboxError(f"squeue failed with code {done.returncode}: {done.stderr.strip()[-500:] or 'no message'}")
    # A worker is on one node; a list such as node[1-2] belongs to something else of the same name.
    worker = re.compile(rf"{user}\|RUNNING\|([\w.-]+)\|piston-worker-(\d{{1,5}})")
    found = [worker.fullmatch(line.strip()) for line in done.stdout.splitlines()]
    urls = {f"http://{one[1]}:{one[2]}/api/v2" for one in found if one}
    if not urls:
        raise SandboxError(
            "Slurm runs no job of yours named piston-worker-<port>: start Piston in jobs of this name "
            "(sbatch --job-name=piston-worker-2000 ...) and wait until squeue shows them as RUNNING."
        )
    return tuple(sorted(urls))
