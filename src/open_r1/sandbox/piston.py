# SPDX-License-Identifier: Apache-2.0
"""Programs at Piston endpoints, servers that somebody else runs: one `POST /execute` for each input.

What isolates programs is the endpoint's matter: since 2024-09 Piston uses isolate; the version before, which is Open
R1's image, keeps programs from the network and from each other's processes, not from readable files of the server.

1. The compiler runs again for each input; if it fails at the first, the rest is left out. One that runs out of clock
   and, as far as is known, not of CPU time, is run once more and then a `SandboxError`.
2. An endpoint before isolate measures nothing: its programs end at the limit by the clock, `Limits.backstop_s` (but at
   most `LONGEST_RUN_S`, for which endpoints are configured), its memory limit is one of address space of each
   process, and CPU time and peak memory are NaN.
3. Standard input gets a newline at its end if it has none, an empty one too. Piston cuts a longer one than
   `STDIN_BYTES` in silence: it's refused, but by endpoints that slurm/piston/start_piston.sh has started.
4. An endpoint's package chooses the compiler's flags; C++ sources get a first line that asks for -O2 and defines
   `ONLINE_JUDGE` and `EVAL`, as the flags of other providers do. Sources in folders aren't compiled.
5. A program whose output or standard error is longer than PISTON_OUTPUT_MAX_SIZE is ended there. Within our limits
   that's a `SandboxError`. An endpoint before isolate doesn't say so: a kill without another reason is taken for it,
   behind more text than the endpoint is known to let through (one of start_piston.sh says how much that is).
6. `Limits.processes` is the endpoint's PISTON_MAX_PROCESS_COUNT; files that aren't sources come as data.
7. No compiled program comes back (`keeps_binary`). Refused: language "binary", an interactor (`judge_by_package` with
   package `cms_ioi` judges communication tasks), `output_file` (package `codeforces` knows `input_mode: file`).
"""

import base64
import math
import os
import signal
from collections.abc import Callable, Coroutine, Mapping, Sequence
from typing import Any

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
    UnsupportedRequestError,
    all_ok,
)
from open_r1.sandbox.languages import Language, find_language
from open_r1.sandbox.piston_endpoints import (
    RUNTIMES,
    EndpointPool,
    Job,
    Reply,
    Stage,
    endpoints_from_environment,
    slurm_endpoints,
)
from open_r1.sandbox.piston_packages import IOI_PACKAGE, PACKAGES, SPARE_S, PackageRun, read_package_run
from open_r1.sandbox.running import OfLoop, gather

CPP_SUFFIXES = (".cpp", ".cc", ".cxx")
CPP_PRELUDE = '#pragma GCC optimize("O2")\n#define ONLINE_JUDGE 1\n#define EVAL 1\n#line 1 "{name}"\n'
NODE_RESERVE_MB = 1024  # address space that node reserves and doesn't use
LONGEST_RUN_S = 60.0
JobRun = tuple[ProgramRun | None, ProgramRun | None]  # compiler, program; None where it wasn't run


class PistonSandbox(Sandbox):
    """A pool of Piston endpoints.

    Args:
        urls: Base URLs, ending in /api/v2; none where `find_endpoints` finds them at first use.
        places_each: Jobs at a time at each endpoint, from this process.
        patience_s: Seconds of an outage after which jobs are given up, all that wait at once.
        start: Where on the list this process starts, so that several don't all start at one.
        find_endpoints: Returns the base URLs of running endpoints or raises SandboxError; asked while none answers.
    """

    name = "piston"

    def __init__(
        self,
        urls: Sequence[str],
        *,
        places_each: int = 1,
        patience_s: float = 120.0,
        start: int = 0,
        find_endpoints: Callable[[], Sequence[str]] | None = None,
    ) -> None:
        if not urls and find_endpoints is None:
            raise ValueError("PistonSandbox needs at least one endpoint.")
        self.urls, self.places_each, self.patience_s = tuple(urls), places_each, patience_s
        start %= max(1, len(urls))
        rotated = (*urls[start:], *urls[:start])
        self._pool = OfLoop(lambda: EndpointPool(rotated, places_each, patience_s, find_endpoints))

    @classmethod
    def from_environment(cls, *, patience_s: float = 120.0) -> "PistonSandbox":
        """Build it from the environment.

        PISTON_ENDPOINTS is a list or `slurm`, PISTON_MAX_REQUESTS_PER_ENDPOINT the jobs at a time at each, from each
        process (1), PISTON_MAX_OUTAGE_S comes over `patience_s`. RANK is the launcher's.

        Raises:
            ValueError: A variable is missing or unusable.
        """
        is_slurm = os.environ.get("PISTON_ENDPOINTS", "").strip().lower() == "slurm"
        return cls(
            () if is_slurm else endpoints_from_environment(),
            places_each=max(1, int(os.environ.get("PISTON_MAX_REQUESTS_PER_ENDPOINT") or 1)),
            patience_s=float(os.environ.get("PISTON_MAX_OUTAGE_S") or patience_s),
            start=int(os.environ.get("RANK", "0")),
            find_endpoints=slurm_endpoints if is_slurm else None,
        )

    async def languages(self) -> tuple[str, ...]:
        """Return our names of the languages that endpoints have runtimes for."""
        known = await self._pool.get().runtimes()
        return tuple(name for name, runtimes in RUNTIMES.items() if known.intersection(runtimes))

    async def packages(self) -> tuple[str, ...]:
        """Return which of `PACKAGES` endpoints have, for `judge_by_package`.

        Raises:
            SandboxError: No endpoint answers.
        """
        known = await self._pool.get().runtimes()
        return tuple(name for name in PACKAGES if name in known)

    async def run(self, request: RunRequest, go_on: GoOn = all_ok) -> RunResult:
        """Run a request, the inputs of a batch side by side where endpoints are free."""
        language = runnable_language(request)
        pool, files = self._pool.get(), files_of(language, request.files)

        async def run_job(given: ProgramInput) -> JobRun:
            reply = await pool.execute(job_of(language, files, given, request))
            compiled = None
            if reply.compile is not None:
                compiled = program_run(reply.compile, request.compile_limits, reply.elapsed_s)
                if compiled.outcome is not Outcome.OK:
                    return compiled, None
            return compiled, _read_run(reply, request.limits)

        return await run_in_jobs(request, run_job, go_on)

    async def judge_by_package(self, package: str, files: Mapping[str, str | bytes], limits: Limits) -> PackageRun:
        """Judge a submission on one test by a package at the endpoints (see `piston_packages`).

        Args:
            package: One of `piston_packages.PACKAGES`.
            files: Built by `piston_packages.cms_ioi_files` or `codeforces_files`; the expected output is among them.
            limits: The problem's: CPU seconds and memory.

        Raises:
            SandboxError: The endpoints failed, or the package did.
            UnsupportedLanguageError: No endpoint has this package.
        """
        if package not in PACKAGES:
            raise ValueError(f"Unknown package {package!r}; there are {', '.join(PACKAGES)}.")
        # Of the package with all that it starts, a checker among them.
        all_s = limits.cpu_s + SPARE_S[package]
        spare = Limits(cpu_s=all_s, wall_s=all_s, memory_mb=limits.memory_mb)
        fields = {"run_timeout": math.ceil(all_s * 1000), **stage_fields("compile", COMPILE_LIMITS)}
        if package == IOI_PACKAGE:
            fields["run_memory_limit"] = limits.memory_mb << 20
        sent = [
            send_source(name, content) if isinstance(content, str) else send_data(name, content)
            for name, content in files.items()
        ]
        job = Job((package,), sent, limits=fields)
        for _ in range(2):
            reply = await self._pool.get().execute(job)
            compiled = None
            if reply.compile is not None:
                compiled = program_run(reply.compile, COMPILE_LIMITS, reply.elapsed_s)
            if compiled is None or not compiled.is_late(COMPILE_LIMITS):
                break
        else:
            raise SandboxError(
                f"{reply.endpoint.url}: the compiler ran out of time twice; is the endpoint overloaded?"
            )
        if reply.run is None:
            raise SandboxError(
                f"{reply.endpoint.url}: package {package} answered with more text than its protocol has."
            )
        if reply.run.is_overload:
            raise SandboxError(f"{reply.endpoint.url} has too few processes for package {package}.")
        run = program_run(reply.run, spare, reply.elapsed_s)
        return read_package_run(package, run, compiled, reply.endpoint.url)

    def describe(self) -> str:
        """Return the endpoints and who isolates programs there."""
        pool = self._pool.built
        urls = self.urls if pool is None else [endpoint.url for endpoint in pool.endpoints]
        some = ", ".join(urls[:3]) + (", ..." if len(urls) > 3 else "")
        return (
            f"piston: {len(urls)} endpoints ({some or 'found by Slurm'}), {self.places_each} jobs at a time at each; "
            "programs are isolated by the endpoints"
        )

    async def aclose(self) -> None:
        """Close the connections of the running loop."""
        if (pool := self._pool.pop()) is not None:
            await pool.aclose()


async def run_in_jobs(
    request: RunRequest, run_job: Callable[[ProgramInput], Coroutine[Any, Any, JobRun]], go_on: GoOn
) -> RunResult:
    """Return the result of a request at a service that compiles for each input; those of a batch go side by side.

    The first goes alone where the language is compiled, so that a program that doesn't compile costs one job.

    Raises:
        SandboxError: The compiler has been late twice, or a program that had compiled did not.
    """
    num_tests = len(request.inputs)
    tests: list[ProgramRun | None] = [None] * num_tests
    jobs: list[JobRun] = []
    compiled: ProgramRun | None = None
    if find_language(request.language).compile:
        for _ in range(2):
            jobs = [await run_job((*request.inputs, ProgramInput())[0])]
            compiled = jobs[0][0] or ProgramRun(Outcome.OK)
            if not compiled.is_late(request.compile_limits):
                break
        else:
            raise SandboxError("The compiler ran out of time twice; is the service overloaded?")
        if compiled.outcome is not Outcome.OK:
            return RunResult(compiled, tuple(tests))
    size = request.stop_after or max(1, num_tests)
    for first in range(0, num_tests, size):
        jobs += await gather([run_job(one) for one in request.inputs[first + len(jobs) : first + size]])
        runs = [run for _, run in jobs if run is not None]
        if len(runs) < len(jobs):
            raise SandboxError("A program that had compiled was not run.")
        tests[first : first + size] = runs
        jobs = []
        if first + size < num_tests and not await go_on(first, runs):
            break
    return RunResult(compiled, tuple(tests))


def runnable_language(request: RunRequest) -> Language:
    """Return the language of a request.

    Raises:
        UnsupportedLanguageError: There's none of this name.
        UnsupportedRequestError: Piston can't do this.
    """
    if request.interactor is not None:
        raise UnsupportedRequestError(
            "Piston runs one program at a time and no interactor: judge communication tasks by package cms_ioi "
            "(`judge_by_package`), or by ioi_provider local."
        )
    language = find_language(request.language)
    if language.name not in RUNTIMES:
        names = ", ".join(RUNTIMES)
        raise UnsupportedRequestError(f"Piston runs sources ({names}) and not {request.language!r}: send the sources.")
    if any(given.output_file is not None for given in request.inputs):
        raise UnsupportedRequestError(
            "Piston gives back standard output and no file: judge problems of input_mode `file` by package codeforces "
            "(`judge_by_package`), or by cf_provider local."
        )
    return language


def files_of(language: Language, files: Mapping[str, str | bytes]) -> list[dict[str, str]]:
    """Return files as Piston takes them; only sources go to the compiler, which would take any text for one."""
    sent = []
    for index, (name, content) in enumerate(files.items()):
        if index == 0 or (language.name == "cpp" and name.endswith(CPP_SUFFIXES)):
            sent.append(send_source(name, source_text(language.name, name, content)))
        else:
            sent.append(send_data(name, content))
    return sent


def source_text(language: str, name: str, content: str | bytes) -> str:
    """Return a source as a text; of C++ with a first line in place of the flags that other providers have."""
    text = content.decode(errors="replace") if isinstance(content, bytes) else content
    return CPP_PRELUDE.format(name=name) + text.removeprefix("\ufeff") if language == "cpp" else text


def send_source(name: str, text: str) -> dict[str, str]:
    """Return a source as Piston takes it."""
    return {"name": name, "content": text, "encoding": "utf8"}


def send_data(name: str, content: str | bytes) -> dict[str, str]:
    """Return a file that is no source as Piston takes it."""
    return {"name": name, "content": base64_text(content), "encoding": "base64"}


def base64_text(content: str | bytes) -> str:
    """Return the content of a file in base64."""
    data = content.encode(errors="replace") if isinstance(content, str) else content
    return base64.b64encode(data).decode()


def job_of(language: Language, files: list[dict[str, str]], given: ProgramInput, request: RunRequest) -> Job:
    """Return the job of one input; `files` are those of the request."""
    reserve_mb = NODE_RESERVE_MB if language.name == "javascript" else 0
    fields = stage_fields("run", request.limits, reserve_mb)
    if language.compile:
        fields |= stage_fields("compile", request.compile_limits)
    return Job(
        runtimes=RUNTIMES[language.name],
        files=[*files, *(send_data(name, content) for name, content in given.files.items())],
        stdin=given.stdin,
        args=given.args,
        limits=fields,
        # Texts come twice, alone and as `output`; a byte of them takes at most six in JSON.
        answer_bytes=(1 << 16) + 24 * (request.limits.output_bytes + request.compile_limits.output_bytes),
    )


def clock_s(limits: Limits) -> float:
    """Return the limit by the clock: within what endpoints are configured for, if that can be."""
    return min(limits.backstop_s, max(LONGEST_RUN_S, limits.cpu_s))


def stage_fields(stage: str, limits: Limits, reserve_mb: int = 0) -> dict[str, int]:
    """Return the limits of a job's "compile" or "run", by the names of their fields."""
    return {
        f"{stage}_timeout": math.ceil(clock_s(limits) * 1000),
        f"{stage}_cpu_time": math.ceil(limits.cpu_s * 1000),
        f"{stage}_memory_limit": (limits.memory_mb + reserve_mb) << 20,
    }


# Both servers start programs from a shell script, which says 128 + n for a signal that ended its child.
CRASHES = {128 + number: number for number in (4, 5, 6, 7, 8, 9, 11, 24, 25, 31)}
SIGNALS = {number.name: number.value for number in signal.Signals}
OUT_OF_MEMORY = ("MemoryError", "std::bad_alloc", "heap out of memory", "Cannot allocate memory", "CodeRange")
# A group killed at its memory limit shows a peak just below it; the server counts a KiB as 1000 bytes.
NEAR_LIMIT = 0.95


def outcome_of(stage: Stage, limits: Limits, elapsed_s: float) -> Outcome:
    """Return how a program ended.

    Args:
        stage: Its stage.
        limits: What it was allowed.
        elapsed_s: Seconds on the clock that the whole job took, waiting at the endpoint included.
    """
    is_killed = stage.signal == "SIGKILL"
    if max(len(stage.stdout.encode()), len(stage.stderr.encode()) if is_killed else 0) > limits.output_bytes:
        return Outcome.OUTPUT_LIMIT
    if stage.status == "TO" or stage.cpu_s > limits.cpu_s:
        return Outcome.TIME_LIMIT
    if stage.status in ("OL", "EL"):
        return Outcome.OUTPUT_LIMIT
    if is_killed and elapsed_s >= clock_s(limits) and not stage.is_measured:
        return Outcome.TIME_LIMIT
    if stage.memory_mb > limits.memory_mb:
        return Outcome.MEMORY_LIMIT
    if not stage.failed:
        return Outcome.OK
    near = is_killed and stage.memory_mb > NEAR_LIMIT * limits.memory_mb
    if near or any(words in stage.stderr for words in OUT_OF_MEMORY):
        return Outcome.MEMORY_LIMIT
    return Outcome.RUNTIME_ERROR


def program_run(stage: Stage, limits: Limits, elapsed_s: float) -> ProgramRun:
    """Return what a program did; see `outcome_of` for the arguments."""
    number = (
        CRASHES.get(stage.code) if stage.code is not None else SIGNALS.get(stage.signal or "", signal.SIGKILL.value)
    )
    return ProgramRun(
        outcome=outcome_of(stage, limits, elapsed_s),
        stdout=cut(stage.stdout, limits.output_bytes),
        stderr=cut(stage.stderr, limits.output_bytes),
        exit_code=None if number is not None else stage.code,
        signal=number,
        cpu_s=stage.cpu_s,
        wall_s=stage.wall_s,
        peak_memory_mb=stage.memory_mb,
    )


def cut(text: str, num_bytes: int) -> str:
    """Return the beginning of a text that has so many bytes."""
    data = text.encode()
    return text if len(data) <= num_bytes else data[:num_bytes].decode(errors="replace")


def _read_run(reply: Reply, limits: Limits) -> ProgramRun:
    """Return what a program did.

    Raises:
        SandboxError: The endpoint ended it for a limit of its own.
    """
    stage = reply.run
    if stage is None:
        return ProgramRun(Outcome.OUTPUT_LIMIT)
    run = program_run(stage, limits, reply.elapsed_s)
    is_unexplained = stage.signal == "SIGKILL" and not stage.is_measured and run.outcome is Outcome.RUNTIME_ERROR
    is_cut = stage.status in ("OL", "EL") or (is_unexplained and stage.longest > reply.endpoint.lets_through)
    if is_cut and stage.longest <= limits.output_bytes:
        raise SandboxError(
            f"{reply.endpoint.url} ended a program after {stage.longest} bytes of output, and {limits.output_bytes} "
            "are allowed: start the endpoint with PISTON_OUTPUT_MAX_SIZE of more than that (slurm/piston/README.md)."
        )
    return run
