# SPDX-License-Identifier: Apache-2.0
"""Piston's endpoints: where they are, which of them answer, and jobs sent to them over HTTP.

One that fails gets no jobs for a minute; they go to the others meanwhile. Two servers of the same version number are
in use. The one before isolate ("v3.1.1", Open R1's image) says only exit code and signal; the one since (2024-09)
measures CPU time, wall time and memory and names a status.
"""

import asyncio
import json
import logging
import math
import os
import re
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

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
OUT_S = 60.0  # that an endpoint which failed gets no jobs, where another one has the runtime
FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.5, 10.0  # before endpoints are asked again where all have failed
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
        is_in: Whether it gets jobs.
        out_until: Time until which it isn't asked again, where another one has the runtime.
        num_jobs: Jobs that run there.
        trouble: What went wrong last.
        asking: The task that asks for its runtimes.
    """

    url: str
    down_since: float
    runtimes: frozenset[str] | None = None
    takes_long_stdin: bool = False
    lets_through: int = LEAST_OUTPUT_LIMIT
    is_in: bool = False
    out_until: float = 0.0
    num_jobs: int = 0
    trouble: str = "has not answered yet"
    asking: asyncio.Task[None] | None = None

    def find_runtime(self, names: Sequence[str]) -> str | None:
        """Return the first name that it has a runtime of, or None."""
        return next((name for name in names if name in (self.runtimes or ())), None)


class EndpointError(Exception):
    """An endpoint didn't do its part: the job is to be sent elsewhere."""


class EndpointLostError(EndpointError):
    """It stopped answering while it had the job, which may be why."""


class EndpointPool:
    """The endpoints, on one event loop: one that fails gets no jobs for a minute.

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
        self.endpoints = [Endpoint(url, self.loop.time()) for url in urls]
        self._changed = asyncio.Event()  # a place is free again; then it's another event
        self._places_each, self._patience_s = places_each, patience_s
        self._find_endpoints, self._find_at = find_endpoints, -math.inf
        self._finding = asyncio.Lock()
        # Endpoints are hosts of the cluster: proxies of the environment would only be in the way.
        # Node closes a connection that nobody has used for 5 s: it's not to be used again just then.
        limits = httpx.Limits(max_connections=None, max_keepalive_connections=None, keepalive_expiry=2.0)
        self._http = httpx.AsyncClient(limits=limits, timeout=None, trust_env=False)

    async def runtimes(self) -> frozenset[str]:
        """Return the names of the runtimes at all endpoints that answer, once each has been asked.

        Raises:
            SandboxError: None answers.
        """
        never = all(one.runtimes is None for one in self.endpoints)
        await self._ready((), min(START_PATIENCE_S, self._patience_s) if never else self._patience_s)
        await asyncio.wait([one.asking for one in self.endpoints if one.asking is not None])
        return frozenset[str]().union(*(one.runtimes or () for one in self.endpoints if one.is_in))

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
                await asyncio.sleep(FIRST_PAUSE_S * 2 ** (attempt - 2))
            endpoint = await self._take_place(job, failed)
            try:
                reply = await self._send(job, endpoint)
                trouble = f"{endpoint.url}: overloaded"
                if reply.run is None or not reply.run.is_overload or attempt == NUM_ATTEMPTS - 1:
                    return reply
            except EndpointError as error:
                trouble = f"{endpoint.url}: {error}"
                self._put_out(endpoint, str(error))
                if isinstance(error, EndpointLostError):
                    await self._ask(endpoint)
                    if not endpoint.is_in:
                        raise SandboxError(
                            f"{trouble}; it no longer answers, perhaps for what this program did, which is not tried "
                            "at another (is its PISTON_OUTPUT_MAX_SIZE about 40000000? see slurm/piston/README.md)"
                        ) from error
            finally:
                endpoint.num_jobs -= 1
                self._changed.set()
                self._changed = asyncio.Event()
            failed.add(endpoint.url)
        raise SandboxError(f"Piston failed {NUM_ATTEMPTS} times at one job, at last {trouble}")

    async def _take_place(self, job: Job, failed: set[str]) -> Endpoint:
        """Take a place at an endpoint that has the runtime, at none that `failed` where there's another."""
        is_long = len(job.stdin) > STDIN_BYTES // 4 and len(job.stdin.encode(errors="replace")) > STDIN_BYTES
        while True:
            change, ready = self._changed, await self._ready(job.runtimes, self._patience_s)
            fitting = [one for one in ready if one.takes_long_stdin or not is_long]
            if not fitting:
                raise UnsupportedRequestError(
                    f"Piston cuts a standard input over {STDIN_BYTES} bytes in silence, and this one has "
                    f"{len(job.stdin)}: start the endpoints by slurm/piston/start_piston.sh, or use `local`."
                )
            others = [one for one in fitting if one.url not in failed] or fitting
            endpoint = min(others, key=lambda one: one.num_jobs)
            if endpoint.num_jobs < self._places_each:
                endpoint.num_jobs += 1
                return endpoint
            await change.wait()

    async def _ready(self, names: Sequence[str], patience_s: float) -> list[Endpoint]:
        """Return the endpoints that get jobs and have a runtime of these names (none named: any); wait for one.

        The clock is the outage's, not the caller's: when it's over, all who wait give up, and those who come later do
        when the endpoints have been asked once more.

        Raises:
            SandboxError: It's over.
            UnsupportedLanguageError: None has it.
        """
        pause_s = FIRST_PAUSE_S
        while True:
            await self._find_more()
            ready = [one for one in self.endpoints if one.is_in and (not names or one.find_runtime(names))]
            out = [one for one in self.endpoints if not one.is_in]
            for one in out:
                is_asked = one.asking is not None and not one.asking.done()
                if not is_asked and (not ready or self.loop.time() >= one.out_until):
                    one.asking = self.loop.create_task(self._ask(one))
            if ready:
                return ready
            if out:
                await asyncio.wait([one.asking for one in out if one.asking is not None])
            if any(one.is_in for one in out):
                continue
            fitting = [one for one in out if one.find_runtime(names)]
            if len(out) < len(self.endpoints) and not fitting:
                known = await self.runtimes()
                names_here = [name for name, runtimes in RUNTIMES.items() if known.intersection(runtimes)]
                names_here += [name for name in PACKAGES if name in known]
                raise UnsupportedLanguageError(
                    f"The Piston endpoints have no {names[0]!r}, but {', '.join(names_here)}: POST /packages."
                )
            if self.loop.time() + pause_s > max(one.down_since for one in fitting or out) + patience_s:
                wanted = f"No Piston endpoint with {names[0]!r}" if names else "No Piston endpoint"
                raise SandboxError(
                    f"{wanted} has answered for {patience_s:g} s; is PISTON_ENDPOINTS right? "
                    f"({'; '.join(f'{one.url}: {one.trouble}' for one in out)[:2000]})"
                )
            await asyncio.sleep(pause_s)
            pause_s = min(2 * pause_s, LONGEST_PAUSE_S)

    async def _find_more(self) -> None:
        """Look for endpoints that were started meanwhile, where none answers; those that are gone are forgotten."""
        async with self._finding:
            is_due = self.loop.time() >= self._find_at or not self.endpoints
            if self._find_endpoints is None or not is_due or any(one.is_in for one in self.endpoints):
                return
            found = await asyncio.to_thread(self._find_endpoints)
            self._find_at = self.loop.time() + LONGEST_PAUSE_S
            known = {one.url: one for one in self.endpoints}
            self.endpoints = [known.get(url) or Endpoint(url, self.loop.time()) for url in found]

    async def _ask(self, endpoint: Endpoint) -> None:
        """Ask an endpoint for its runtimes; it gets jobs if it answers."""
        try:
            reply = (await self._http.get(f"{endpoint.url}/runtimes", timeout=RUNTIMES_TIMEOUT_S)).raise_for_status()
            names = [name for one in reply.json() for name in (one["language"], *(one.get("aliases") or ()))]
            # A server that was started again without its packages has none of them yet: no program is to blame.
            if lost := (endpoint.runtimes or frozenset("?" if not names else ())).difference(names):
                raise ValueError(f"it has no runtime {min(lost)!r}: POST /packages installs it")
            endpoint.runtimes, endpoint.takes_long_stdin = frozenset(names), WHOLE_STDIN in reply.headers
            endpoint.lets_through = int(reply.headers.get(OUTPUT_LIMIT, LEAST_OUTPUT_LIMIT))
            endpoint.is_in = True
        except (httpx.HTTPError, ValueError, TypeError, KeyError, AttributeError) as error:
            self._put_out(endpoint, f"GET /runtimes: {error!r:.200}")

    def _put_out(self, endpoint: Endpoint, trouble: str) -> None:
        """Give no jobs to an endpoint for a minute."""
        now = self.loop.time()
        if endpoint.is_in or not endpoint.out_until:
            logger.warning("Piston at %s gets no jobs for a minute: %s", endpoint.url, trouble)
        if endpoint.is_in:
            endpoint.is_in, endpoint.down_since = False, now
        endpoint.out_until, endpoint.trouble = now + OUT_S, trouble

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

    async def aclose(self) -> None:
        """Close all connections."""
        asking = [one.asking for one in self.endpoints if one.asking is not None]
        for task in asking:
            task.cancel()
        await asyncio.gather(*asking, return_exceptions=True)
        await self._http.aclose()


async def read_body(response: httpx.Response, max_bytes: int) -> bytes | None:
    parts, size = [], 0
    async for part in response.aiter_bytes():
        size += len(part)
        if size > max_bytes:
            return None
        parts.append(part)
    return b"".join(parts)


def _read_stages(body: bytes) -> tuple[Stage, Stage | None]:
    try:
        value = json.loads(body)
        run = read_stage(value["run"])
        compiled = read_stage(value["compile"]) if value.get("compile") is not None else None
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise EndpointError(f"an answer that isn't Piston's ({error!r}): {body[:200]!r}") from error
    if "XX" in (run.status, compiled and compiled.status):
        raise EndpointError(f"its isolation failed: {value['run'].get('message') or run.stderr[:200]}")
    return run, compiled


def _refusal(status: int, body: bytes, url: str) -> Exception:
    """Return what a job that was refused is: a fault of the endpoint, or of the job and of all endpoints."""
    text = body[:500].decode(errors="replace")
    if status == 413 or "too large" in text:
        return SandboxError(
            f"{url} refused a job as too large: raise the limit of its body parser (100 kB where nobody has; "
            "start_piston.sh makes it 512mb)."
        )
    if status == 400 and text and "runtime is unknown" not in text:
        over = re.search(r"(\w+) cannot exceed", text)
        fix = f": start the endpoint with a higher PISTON_{over[1].upper()}" if over else ""
        return SandboxError(f"{url} refused a job: {text}{fix}")
    return EndpointError(f"HTTP {status}: {text[:200] or 'no text'}")


def endpoints_from_environment() -> tuple[str, ...]:
    """Return the base URLs of `PISTON_ENDPOINTS`, a comma-separated list.

    Raises:
        ValueError: The variable isn't set, or has something else in it.
    """
    text = os.environ.get("PISTON_ENDPOINTS", "")
    urls = tuple(dict.fromkeys(part.strip().rstrip("/") for part in text.split(",") if part.strip()))
    if not urls or not all(re.fullmatch(r"https?://[^/\s]\S*/api/v2", url) for url in urls):
        raise ValueError(
            f"PISTON_ENDPOINTS holds the base URLs of your Piston servers (http://node1:2000/api/v2), separated by "
            f"commas, or `slurm` for running jobs named piston-worker-<port>; got {text!r}."
        )
    return urls


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
            command, capture_output=True, text=True, timeout=SQUEUE_TIMEOUT_S, check=True, env=variables
        )
    except (OSError, subprocess.SubprocessError) as error:
        said = getattr(error, "stderr", None) or ""
        raise SandboxError(f"PISTON_ENDPOINTS=slurm, and squeue failed: {error} {said[-500:]}") from error
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
