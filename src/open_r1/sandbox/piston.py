# SPDX-License-Identifier: Apache-2.0
"""Programs at Piston endpoints, a pool of servers that somebody else runs: one `POST /execute` for each input.

What isolates programs is the endpoint's matter: since 2024-09 Piston uses isolate; the version before, which is Open
R1's image, keeps programs from the network and from each other's processes, not from readable files of the server.

1. The compiler runs again for each input; if it fails at the first, the rest is left out.
2. An endpoint before isolate measures nothing: its programs end at the limit by the clock, `Limits.backstop_s`, its
   memory limit is one of address space of each process, and CPU time and peak memory are NaN.
3. Standard input gets a newline at its end if it has none, an empty one too.
4. An endpoint's package chooses the compiler's flags; C++ sources get a first line that asks for -O2 and defines
   `ONLINE_JUDGE` and `EVAL`, as the flags of other providers do. Sources in folders aren't compiled.
5. A program whose standard error is longer than the endpoint allows is ended; elsewhere it's only cut.
6. `Limits.processes` is the endpoint's PISTON_MAX_PROCESS_COUNT; files that aren't sources come as data.
7. No compiled program comes back (`keeps_binary`). Refused: language "binary", an interactor (`judge_by_package` with
   package `cms_ioi` judges communication tasks), `output_file` (package `codeforces` knows `input_mode: file`).

Upstream: each of several processes uses only some endpoints, and a lost connection loses a place for ever.
"""

import asyncio
import math
import os
from collections.abc import Coroutine, Mapping, Sequence
from typing import Any, TypeVar

from open_r1.sandbox.base import (
    COMPILE_LIMITS,
    GoOn,
    Limits,
    Outcome,
    ProgramInput,
    ProgramRun,
    RunRequest,
    RunResult,
    Sandbox,
    SandboxError,
    UnsupportedLanguageError,
    all_ok,
)
from open_r1.sandbox.piston_client import Job, Patience, PistonClient
from open_r1.sandbox.piston_endpoints import SQUEUE_TIMEOUT_S, endpoints_from_environment, slurm_endpoints
from open_r1.sandbox.piston_jobs import (
    RUNTIMES,
    files_of,
    job_of,
    limit_fields,
    printing_job,
    runnable_language,
    send_file,
)
from open_r1.sandbox.piston_packages import IOI_PACKAGE, PACKAGES, SPARE_S, PackageRun, read_package_run
from open_r1.sandbox.piston_pool import Endpoint, FindEndpoints
from open_r1.sandbox.piston_replies import Reply, Stage, program_run

T = TypeVar("T")

# No endpoint is configured for less output than this.
LEAST_OUTPUT_LIMIT = 512
PIPE_BYTES = 1 << 16


class PistonSandbox(Sandbox):
    """A pool of Piston endpoints.

    Args:
        urls: Base URLs, ending in /api/v2; none where they are to be found at first use.
        places_each: Jobs at a time at each endpoint, from this process.
        patience: How long to go on when endpoints fail.
        rank: Number of this process among `world_size`: where on the list it starts. All use all endpoints.
        world_size: Number of processes that use the endpoints.
        find_endpoints: Finds the base URLs of the endpoints there are; asked when there's none, and when one fails.
    """

    name = "piston"

    def __init__(
        self,
        urls: Sequence[str],
        *,
        places_each: int = 1,
        patience: Patience = Patience(),  # noqa: B008 - frozen
        rank: int = 0,
        world_size: int = 1,
        find_endpoints: FindEndpoints | None = None,
    ) -> None:
        if not urls and find_endpoints is None:
            raise ValueError("PistonSandbox needs at least one endpoint.")
        if places_each < 1:
            raise ValueError(f"places_each must be at least 1, got {places_each}.")
        self.urls, self._places_each, self._patience = tuple(urls), places_each, patience
        self._find_endpoints = find_endpoints
        self._share = rank % max(world_size, 1) / max(world_size, 1)
        self._client: PistonClient | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    @classmethod
    def from_environment(cls, *, max_outage_s: float = Patience.max_outage_s) -> "PistonSandbox":
        """Build it from the environment.

        PISTON_ENDPOINTS is a list or `slurm` (`piston_endpoints`; asked at first use, which fails as long as Slurm has
        no answer or no Piston of ours, and again when an endpoint fails),
        PISTON_MAX_REQUESTS_PER_ENDPOINT the jobs at a time at each, from each process (1), PISTON_MAX_OUTAGE_S how
        many seconds a request waits while no endpoint answers (`max_outage_s`).
        RANK and WORLD_SIZE are the launcher's.

        Raises:
            ValueError: A variable is missing or unusable.
        """
        is_slurm = os.environ.get("PISTON_ENDPOINTS", "").strip().lower() == "slurm"
        return cls(
            () if is_slurm else endpoints_from_environment(),
            places_each=int(_number_from("PISTON_MAX_REQUESTS_PER_ENDPOINT", 1)),
            patience=Patience(max_outage_s=_number_from("PISTON_MAX_OUTAGE_S", max_outage_s)),
            rank=int(os.environ.get("RANK", "0")),
            world_size=int(os.environ.get("WORLD_SIZE", "1")),
            find_endpoints=slurm_endpoints if is_slurm else None,
        )

    @property
    def ask_patience_s(self) -> float:
        """Return the seconds that `languages` may take: to find endpoints, and for one of them to answer."""
        return self._patience.max_outage_s + SQUEUE_TIMEOUT_S

    async def languages(self) -> tuple[str, ...]:
        """Return our names of the languages that healthy endpoints have runtimes for."""
        known = await self.client().pool.runtimes()
        return tuple(name for name, runtimes in RUNTIMES.items() if known.intersection(runtimes))

    async def packages(self) -> tuple[str, ...]:
        """Return which of `PACKAGES` healthy endpoints have, for `judge_by_package`.

        Raises:
            SandboxError: No endpoint answers.
        """
        known = await self.client().pool.runtimes()
        return tuple(name for name in PACKAGES if name in known)

    async def run(self, request: RunRequest, go_on: GoOn = all_ok) -> RunResult:
        """Run a request, the inputs of a batch side by side where endpoints are free."""
        language = runnable_language(request)
        client = self.client()
        await self._check_runtime(client, RUNTIMES[language.name], request.language)
        files = files_of(language, request.files)
        tests: list[ProgramRun | None] = [None] * len(request.inputs)

        async def run_one(given: ProgramInput) -> Reply:
            return await client.execute(job_of(language, files, given, request))

        compiled: ProgramRun | None = None
        first_replies: list[Reply] = []
        if language.compile:
            # Alone, so that a program that doesn't compile costs one job.
            first_replies = [await run_one(request.inputs[0] if request.inputs else ProgramInput())]
            compiled = _compile_run(first_replies[0], request.compile_limits)
            if compiled.outcome is not Outcome.OK:
                return RunResult(compiled, tuple(tests))
        size = request.stop_after or max(1, len(tests))
        for first in range(0, len(tests), size):
            known = first_replies if first == 0 else []
            batch = request.inputs[first + len(known) : first + size]
            replies = known + await _gather([run_one(given) for given in batch])
            runs = await _gather([self._read_run(reply, request) for reply in replies])
            tests[first : first + size] = runs
            if not await go_on(first, runs):
                break
        return RunResult(compiled, tuple(tests))

    async def judge_by_package(
        self,
        package: str,
        files: Mapping[str, str | bytes],
        limits: Limits,
        *,
        compile_limits: Limits = COMPILE_LIMITS,
    ) -> PackageRun:
        """Judge a submission on one test by a package at the endpoints (see `piston_packages`).

        Args:
            package: One of `piston_packages.PACKAGES`.
            files: Built by `piston_packages.cms_ioi_files` or `codeforces_files`; the expected output is among them.
            limits: The problem's: CPU seconds and memory.
            compile_limits: Of the compiler.

        Raises:
            SandboxError: The endpoints failed, or the package did.
            UnsupportedLanguageError: No endpoint has this package.
        """
        if package not in PACKAGES:
            raise ValueError(f"Unknown package {package!r}; there are {', '.join(PACKAGES)}.")
        client = self.client()
        await self._check_runtime(client, (package,), package)
        # Of the package with all that it starts, a checker among them.
        all_s = limits.cpu_s + SPARE_S[package]
        spare = Limits(cpu_s=all_s, wall_s=all_s, memory_mb=limits.memory_mb)
        settings, least = limit_fields(spare, compile_limits, 0)
        del settings["run_cpu_time"]
        if package != IOI_PACKAGE:
            del settings["run_memory_limit"]
        sent = [send_file(name, content, is_source=isinstance(content, str)) for name, content in files.items()]
        job = Job((package,), sent, limits=settings, least=least)
        return read_package_run(package, await client.execute(job), spare, compile_limits)

    def describe(self) -> str:
        """Return the endpoints and who isolates programs there."""
        urls = self.urls if self._client is None else [endpoint.url for endpoint in self._client.pool.endpoints]
        some = ", ".join(urls[:3]) + (", ..." if len(urls) > 3 else "")
        return (
            f"piston: {len(urls)} endpoints ({some or 'found by Slurm'}), {self._places_each} jobs at a time at each; "
            "programs are isolated by the endpoints"
        )

    def client(self) -> PistonClient:
        """Return the client of the running loop; a forked child, which has a loop of its own, gets another."""
        loop = asyncio.get_running_loop()
        if self._client is None or self._loop is not loop:
            self._loop = loop
            self._client = PistonClient(
                self.urls,
                self._places_each,
                self._patience,
                find_endpoints=self._find_endpoints,
                share=self._share,
            )
        return self._client

    async def aclose(self) -> None:
        """Close the connections of the running loop."""
        if self._client is not None and self._loop is asyncio.get_running_loop():
            client, self._client = self._client, None
            await client.aclose()

    async def _check_runtime(self, client: PistonClient, names: Sequence[str], wanted: str) -> None:
        if client.pool.has_seen(names):
            return
        known = await client.pool.runtimes()
        if not known.intersection(names) and not client.pool.has_seen(names):
            ours = [name for name, runtimes in RUNTIMES.items() if known.intersection(runtimes)]
            packages = [name for name in PACKAGES if name in known]
            raise UnsupportedLanguageError(
                f"The Piston endpoints have no {wanted!r}; they have {', '.join(ours + packages) or 'nothing known'}. "
                "POST /packages at each installs more."
            )

    async def _read_run(self, reply: Reply, request: RunRequest) -> ProgramRun:
        """Return what a program did.

        Raises:
            SandboxError: It didn't compile although it did before, or the endpoint ended it for a limit of its own.
        """
        limits = request.limits
        if reply.run is None:
            return ProgramRun(Outcome.OUTPUT_LIMIT)
        if not reply.has_compiled:
            raise SandboxError(f"{reply.endpoint}: a program that had compiled did not: {reply.run.stderr[-500:]}")
        run = program_run(reply.run, limits, is_overtime=reply.elapsed_s >= reply.run_timeout_s)
        endpoint = self.client().pool.find(reply.endpoint)
        length = max(len(reply.run.stdout), len(reply.run.stderr))
        if not reply.run.failed:
            endpoint.longest_output = max(endpoint.longest_output, length)
        elif _is_cut_short(reply.run, run, limits) and not await self._lets_print(endpoint, request, length):
            raise SandboxError(
                f"{endpoint.url} ended a program after {length} bytes of output, and {limits.output_bytes} are "
                f"allowed: start the endpoint with PISTON_OUTPUT_MAX_SIZE of more than that."
            )
        return run

    async def _lets_print(self, endpoint: Endpoint, request: RunRequest, length: int) -> bool:
        """Return whether an endpoint lets programs print more than `length`, so that it wasn't that which ended one.

        A program can end itself just as an endpoint ends it. So another is asked, that prints more than that: by a
        pipe's length, since an endpoint drops the piece that goes over its limit.

        Raises:
            SandboxError: The endpoint doesn't answer.
        """
        wanted = min(length + PIPE_BYTES, request.limits.output_bytes)
        if length <= LEAST_OUTPUT_LIMIT or wanted <= endpoint.longest_output:
            return True
        probe = await self.client().execute_at(printing_job(request, wanted), endpoint)
        printed = 0 if probe.run is None or probe.run.failed else len(probe.run.stdout)
        endpoint.longest_output = max(endpoint.longest_output, printed)
        return printed >= wanted


def _number_from(variable: str, default: float) -> float:
    text = os.environ.get(variable, "").strip() or str(default)
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not 0 < number < math.inf:
        raise ValueError(f"{variable} must be a positive number, got {text!r}.")
    return number


def _compile_run(reply: Reply, limits: Limits) -> ProgramRun:
    if reply.compile is None:
        return ProgramRun(Outcome.OK)
    return program_run(reply.compile, limits, is_overtime=reply.elapsed_s >= limits.backstop_s)


def _is_cut_short(stage: Stage, run: ProgramRun, limits: Limits) -> bool:
    """Whether an endpoint seems to have ended a program for its output although that was within the limits."""
    if max(len(stage.stdout.encode()), len(stage.stderr.encode())) > limits.output_bytes:
        return False
    is_unexplained = stage.signal == "SIGKILL" and not stage.is_measured and run.outcome is Outcome.RUNTIME_ERROR
    return stage.status in ("OL", "EL") or is_unexplained


async def _gather(coroutines: Sequence[Coroutine[Any, Any, T]]) -> list[T]:
    """Await all; when one fails, end the others before its error goes on."""
    tasks = [asyncio.ensure_future(one) for one in coroutines]
    try:
        return list(await asyncio.gather(*tasks))
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
