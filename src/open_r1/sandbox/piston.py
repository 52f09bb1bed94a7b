# SPDX-License-Identifier: Apache-2.0
"""Programs at Piston endpoints, servers that somebody else runs: one `POST /execute` for each input.

    PISTON_ENDPOINTS=http://node1:2000/api/v2,http://node2:2000/api/v2   # or: slurm

What isolates programs is the endpoint's matter: since 2024-09 Piston uses isolate; the version before, which is Open
R1's image, keeps programs from the network and from each other's processes, not from readable files of the server.

1. Endpoints have the same runtimes. One that fails gets no jobs for a minute; they go to the others meanwhile. Where
   all are out, jobs are sent again until the patience is over (`service`). A job that has failed at three endpoints
   is given up: it may be why.
2. The compiler runs again for each input; if it fails at the first, the rest is left out. One that runs out of clock
   and, as far as is known, not of CPU time, is a `SandboxError`.
3. An endpoint before isolate measures nothing: its programs end at the limit by the clock, `Limits.backstop_s` (but at
   most `LONGEST_RUN_S`, for which endpoints are configured), its memory limit is one of address space of each
   process, and CPU time and peak memory are NaN.
4. Standard input gets a newline at its end if it has none, an empty one too. Piston cuts a longer one than
   `STDIN_BYTES` in silence: it's refused, but by endpoints that slurm/piston/start_piston.sh has started.
5. An endpoint's package chooses the compiler's flags; C++ sources get a first line that asks for -O2 and defines
   `ONLINE_JUDGE` and `EVAL`, as the flags of other providers do. Sources in folders aren't compiled.
6. A program whose output or standard error is longer than PISTON_OUTPUT_MAX_SIZE is ended there. Within our limits
   that's a `SandboxError`. An endpoint before isolate doesn't say so: a kill without another reason, behind more text
   than Piston's default lets through, is taken for it.
7. `Limits.processes` is the endpoint's PISTON_MAX_PROCESS_COUNT; files that aren't sources come as data.
8. No compiled program comes back (`keeps_binary`). Refused: language "binary", an interactor, `output_file`. The
   packages `cms_ioi` and `codeforces` of Open R1's users, which get the expected output too, aren't used.
"""

import asyncio
import base64
import json
import math
import os
import random
import re
import signal
import subprocess
import time
from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from open_r1.sandbox.base import (
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
    UnsupportedRequestError,
    all_ok,
)
from open_r1.sandbox.languages import find_language
from open_r1.sandbox.running import gather, run_in_rounds
from open_r1.sandbox.service import FIRST_PAUSE_S, Service

# Names of runtimes by our names: `javascript` may be Deno.
RUNTIMES = {"python": "python", "cpp": "c++", "javascript": "node-js", "bash": "bash"}
STDIN_BYTES = 219_264  # what 3.1.1 hands over of a longer standard input
WHOLE_STDIN = "x-open-r1-stdin"  # header of endpoints whose Piston waits until all of it is written
LEAST_OUTPUT_LIMIT = 1024  # Piston's default of PISTON_OUTPUT_MAX_SIZE
NUM_ATTEMPTS = 3  # of a job, at other endpoints where there are any
QUEUE_S = 60.0  # that a job may wait at the endpoint, on top of the limits of compiler and program
OUT_S = 60.0  # that an endpoint which failed gets no jobs
LONGEST_RUN_S = 60.0
OVERLOAD = "Resource temporarily unavailable"
CPP_SUFFIXES = (".cpp", ".cc", ".cxx")
CPP_PRELUDE = '#pragma GCC optimize("O2")\n#define ONLINE_JUDGE 1\n#define EVAL 1\n#line 1 "{name}"\n'
NODE_RESERVE_MB = 1024  # address space that node reserves and doesn't use
SIGNALS = {number.name: number.value for number in signal.Signals}
# Both servers start programs from a shell script, which says 128 + n for a signal that ended its child.
CRASHES = (4, 5, 6, 7, 8, 9, 11, 24, 25, 31)
OUT_OF_MEMORY = ("MemoryError", "std::bad_alloc", "heap out of memory", "Cannot allocate memory", "CodeRange")
# A group killed at its memory limit shows a peak just below it; the server counts a KiB as 1000 bytes.
NEAR_LIMIT = 0.95
_FAILURES = (OSError, ValueError, KeyError, TypeError, AttributeError)  # of an endpoint, or of what isn't Piston
JobRun = tuple[ProgramRun | None, ProgramRun | None]  # compiler, program; None where it wasn't run


def clock_s(limits: Limits) -> float:
    """Return the limit by the clock: within what endpoints are configured for, if that can be."""
    return min(limits.backstop_s, max(LONGEST_RUN_S, limits.cpu_s))


def read_stage(stage: Mapping[str, Any], limits: Limits, elapsed_s: float) -> ProgramRun:
    """Return what a compiler or program did.

    Args:
        stage: Of the answer, {"stdout": "", "stderr": "", "code": 0, "signal": None}. An endpoint since isolate has
            cpu_time and wall_time (ms), memory (bytes), and a status: TO, OL, EL, RE, SG or XX.
        limits: What it was allowed.
        elapsed_s: Seconds on the clock that the whole job took, waiting at the endpoint included.

    Raises:
        ValueError, TypeError, AttributeError: It isn't a stage, or the endpoint's isolation failed.
        SandboxError: The endpoint has ended it for a limit of its own.
    """
    code, status, name = stage.get("code"), stage.get("status"), stage.get("signal")
    if status == "XX" or (code is None and not name and not status):
        raise ValueError(f"no end of a program: {stage!r:.200}")
    # Comparisons with NaN, of what isn't measured, are false.
    cpu_s, wall_s, memory_mb = (
        float("nan") if stage.get(key) is None else stage[key] / unit
        for key, unit in (("cpu_time", 1000), ("wall_time", 1000), ("memory", 1 << 20))
    )
    texts = [str(stage.get(key) or "").encode(errors="replace") for key in ("stdout", "stderr")]
    is_killed = name == "SIGKILL"
    is_unexplained = is_killed and status is None and math.isnan(cpu_s)
    longest = max(map(len, texts))
    if (longest if is_killed else len(texts[0])) > limits.output_bytes:
        outcome = Outcome.OUTPUT_LIMIT
    elif status == "TO" or cpu_s > limits.cpu_s or (is_unexplained and elapsed_s >= clock_s(limits)):
        outcome = Outcome.TIME_LIMIT
    elif status in ("OL", "EL") or (is_unexplained and longest > LEAST_OUTPUT_LIMIT):
        raise SandboxError(
            f"An endpoint ended a program after {longest} bytes of output, and {limits.output_bytes} are allowed: "
            "start it with PISTON_OUTPUT_MAX_SIZE of more than that (slurm/piston/README.md)."
        )
    elif memory_mb > limits.memory_mb * (NEAR_LIMIT if is_killed else 1):
        outcome = Outcome.MEMORY_LIMIT
    elif code == 0 and not name:
        outcome = Outcome.OK
    else:
        is_memory = any(words in texts[1].decode() for words in OUT_OF_MEMORY)
        outcome = Outcome.MEMORY_LIMIT if is_memory else Outcome.RUNTIME_ERROR
    number = SIGNALS.get(name or "", signal.SIGKILL) if code is None else code - 128
    is_signal = code is None or number in CRASHES
    return ProgramRun(
        outcome,
        *(text[: limits.output_bytes].decode(errors="replace") for text in texts),
        exit_code=None if is_signal else code,
        signal=int(number) if is_signal else None,
        cpu_s=cpu_s,
        wall_s=wall_s,
        peak_memory_mb=memory_mb,
    )


@dataclass(eq=False)
class Endpoint:
    """One Piston server.

    Attributes:
        url: Base URL.
        places: Those of this process.
        out_until: Time of `time.monotonic` until which it gets no jobs, where others get some.
        num_jobs: Jobs that run or wait there.
    """

    url: str
    places: asyncio.Semaphore
    out_until: float = 0.0
    num_jobs: int = 0

    @property
    def is_out(self) -> bool:
        """Whether it gets no jobs."""
        return self.out_until > time.monotonic()


class PistonSandbox(Sandbox):
    """Piston endpoints.

    Args:
        urls: Base URLs, ending in /api/v2. None: those in PISTON_ENDPOINTS; where that is `slurm`, those of running
            jobs (`slurm_endpoints`), looked for while no endpoint answers.
        places_each: Jobs at a time at each endpoint, from this process. None: PISTON_MAX_REQUESTS_PER_ENDPOINT, or 1.
        patience_s: Seconds of an outage after which jobs are given up, all that wait at once.

    Raises:
        ValueError: PISTON_ENDPOINTS is missing or unusable.
    """

    name = "piston"

    def __init__(self, urls: Sequence[str] = (), *, places_each: int | None = None, patience_s: float = 120.0) -> None:
        text = ",".join(urls) or os.environ.get("PISTON_ENDPOINTS", "").strip()
        self._is_slurm = text.lower() == "slurm"
        urls = [part.strip().rstrip("/") for part in text.split(",") if part.strip() and not self._is_slurm]
        if not self._is_slurm and not (urls and all(re.fullmatch(r"https?://\S+/api/v2", url) for url in urls)):
            raise ValueError(
                "PISTON_ENDPOINTS holds the base URLs of your Piston servers (http://node1:2000/api/v2), separated by "
                f"commas, or `slurm` for running jobs named piston-worker-<port>; got {text!r}."
            )
        self.places_each = places_each or int(os.environ.get("PISTON_MAX_REQUESTS_PER_ENDPOINT") or 1)
        self.endpoints = [Endpoint(url, asyncio.Semaphore(self.places_each)) for url in urls]
        self._service = Service("Piston (PISTON_ENDPOINTS)", patience_s)

    def describe(self) -> str:
        """Return the endpoints and who isolates programs there."""
        some = ", ".join(one.url for one in self.endpoints[:3]) or "found by Slurm"
        return f"piston: {len(self.endpoints)} endpoints ({some}), {self.places_each} jobs each; they isolate programs"

    async def languages(self) -> tuple[str, ...]:
        """Return our names of the languages that endpoints have runtimes for."""
        tries = self._service.tries()
        while True:
            troubles = [await self._find()]
            found = await asyncio.gather(*map(self._runtimes, self.endpoints), return_exceptions=True)
            known = {name for one in found if isinstance(one, set) for name in one}
            if known:
                return tuple(name for name, runtime in RUNTIMES.items() if runtime in known)
            troubles += [f"{one.url}: {trouble!r:.300}" for one, trouble in zip(self.endpoints, found, strict=True)]
            await tries.failed(" ".join(troubles))

    async def _runtimes(self, endpoint: Endpoint) -> set[str]:
        """Return names and aliases of an endpoint's runtimes."""
        reply = await self._service.send("GET", f"{endpoint.url}/runtimes", None, 10.0)
        known = json.loads(reply.body or b"")
        if not known:
            raise ValueError("no runtimes: POST /packages installs them")
        return {name for one in known for name in (one["language"], *(one.get("aliases") or ()))}

    async def run(self, request: RunRequest, go_on: GoOn = all_ok) -> RunResult:
        """Run a request, the inputs of a batch side by side where endpoints are free."""
        language = find_language(request.language)
        has_file = any(given.output_file is not None for given in request.inputs)
        if language.name not in RUNTIMES or request.interactor is not None or has_file:
            raise UnsupportedRequestError(
                "Piston runs no binary and no interactor, and returns no file: use `local` (`ioi_provider`)."
            )
        job: dict[str, Any] = {"language": RUNTIMES[language.name], "version": "*"}
        job |= stage_fields("run", request.limits, NODE_RESERVE_MB if language.name == "javascript" else 0)
        if language.compile:
            job |= stage_fields("compile", request.compile_limits)
        sent = []
        for name, content in request.files.items():
            # Only sources go to the compiler, which would take any text for one.
            is_source = not sent or (language.name == "cpp" and name.endswith(CPP_SUFFIXES))
            sent.append(file_of(name, source_text(language.name, name, content) if is_source else content, is_source))

        async def run_job(given: ProgramInput) -> JobRun:
            files = [*sent, *(file_of(name, content) for name, content in given.files.items())]
            fields = {"files": files, "stdin": given.stdin, "args": given.args, **job}
            return await self._execute(fields, request.limits, request.compile_limits)

        return await run_in_jobs(request, run_job, go_on)

    async def _find(self) -> str:
        """Take the workers that Slurm runs now; return what is wrong."""
        if not self._is_slurm:
            return ""
        try:
            urls = await asyncio.to_thread(slurm_endpoints)
        except SandboxError as error:
            return str(error)
        known = {one.url: one for one in self.endpoints}
        self.endpoints = [known.get(url) or Endpoint(url, asyncio.Semaphore(self.places_each)) for url in urls]
        return ""

    async def _execute(self, job: Mapping[str, Any], limits: Limits, compile_limits: Limits) -> JobRun:
        """Return what the compiler and the program of a job did.

        A program that fails with the words of an overloaded endpoint is sent elsewhere too; if it does so every time,
        that's what it does.

        Args:
            job: The fields of `POST /execute`.
            limits: Of the program.
            compile_limits: Of the compiler.

        Raises:
            SandboxError: No endpoint has done it, or all refuse it.
            UnsupportedLanguageError: No endpoint has the runtime.
            UnsupportedRequestError: The standard input is too long for an endpoint.
        """
        tries, failed = self._service.tries(), list[Endpoint]()
        while True:
            if all(one.is_out for one in self.endpoints):
                trouble = await self._find()
                if not self.endpoints:
                    await tries.failed(trouble)
                    continue
            # Ranks start at different endpoints.
            endpoint = min(
                self.endpoints, key=lambda one: (one.is_out, failed.count(one), one.num_jobs, random.random())
            )
            endpoint.num_jobs += 1
            try:
                async with endpoint.places:
                    if endpoint.is_out and not all(one.is_out for one in self.endpoints):
                        continue  # it has failed meanwhile
                    compiled, run = await self._send(endpoint.url, job, limits, compile_limits)
                tries.succeeded()
                trouble = OVERLOAD
                failed.append(endpoint)
                is_overload = run is not None and run.outcome is not Outcome.OK and OVERLOAD in run.stderr
                if not is_overload or len(failed) == NUM_ATTEMPTS:
                    return compiled, run
            except (UnsupportedLanguageError, UnsupportedRequestError):  # ValueErrors, too
                raise
            except _FAILURES as error:
                endpoint.out_until, trouble = time.monotonic() + OUT_S, f"{endpoint.url}: {error!r:.300}"
                if isinstance(error, ConnectionRefusedError):  # the job isn't why
                    if all(one.is_out for one in self.endpoints):
                        await tries.failed(trouble)
                    continue
                failed.append(endpoint)
            finally:
                endpoint.num_jobs -= 1
            if len(failed) == NUM_ATTEMPTS:
                raise SandboxError(f"Piston failed {NUM_ATTEMPTS} times at one job, at last {trouble}")
            await asyncio.sleep(FIRST_PAUSE_S * 2 ** len(failed))

    async def _send(self, url: str, job: Mapping[str, Any], limits: Limits, compile_limits: Limits) -> JobRun:
        """Send a job to one endpoint.

        Raises:
            OSError, ValueError, TypeError, KeyError, AttributeError: Another one may do it.
            SandboxError, UnsupportedLanguageError, UnsupportedRequestError: None will.
        """
        body = await asyncio.to_thread(json.dumps, job)
        timeout_s = (job.get("compile_timeout", 0) + job["run_timeout"]) / 1000 + QUEUE_S
        # Texts come twice, alone and as `output`; a byte of them takes at most six in JSON.
        max_bytes = (1 << 16) + 24 * (limits.output_bytes + compile_limits.output_bytes)
        started = time.monotonic()
        reply = await self._service.send("POST", f"{url}/execute", body.encode(), timeout_s, max_bytes=max_bytes)
        elapsed_s = time.monotonic() - started
        if reply.body is None:
            return None, ProgramRun(Outcome.OUTPUT_LIMIT)
        text = reply.body[:500].decode(errors="replace")
        if reply.status == 400 and "runtime is unknown" in text:
            raise UnsupportedLanguageError(f"{url} has no {job['language']!r}: POST /packages installs it.")
        if reply.status in (400, 413):
            raise SandboxError(f"{url} refuses a job ({text}): see slurm/piston/README.md for its settings")
        if reply.status != 200:
            raise ValueError(f"HTTP {reply.status}: {text or 'no text'}")
        if len(job["stdin"].encode(errors="replace")) > STDIN_BYTES and WHOLE_STDIN not in reply.headers:
            raise UnsupportedRequestError(
                f"Piston silently truncates a standard input over {STDIN_BYTES} bytes: start the endpoints by "
                "slurm/piston/start_piston.sh, or use `local`."
            )
        value = json.loads(reply.body)
        compiled = None
        if value.get("compile") is not None:
            compiled = read_stage(value["compile"], compile_limits, elapsed_s)
            if compiled.outcome is not Outcome.OK:
                return compiled, None
        return compiled, read_stage(value["run"], limits, elapsed_s)

    async def aclose(self) -> None:
        """Close the connections of the running loop."""
        await self._service.aclose()


async def run_in_jobs(
    request: RunRequest, run_job: Callable[[ProgramInput], Coroutine[Any, Any, JobRun]], go_on: GoOn
) -> RunResult:
    """Return the result of a request at a service that compiles for each input; those of a batch go side by side.

    The first goes alone where the language is compiled, so that a program that doesn't compile costs one job.

    Raises:
        SandboxError: The compiler has been late, or a program that had compiled did not.
    """
    compiled: ProgramRun | None = None

    async def run_round(part: RunRequest) -> RunResult:
        nonlocal compiled
        waiting, jobs = list(part.inputs), list[JobRun]()
        if compiled is None and find_language(request.language).compile:
            jobs = [await run_job(waiting.pop(0) if waiting else ProgramInput())]
            compiled = jobs[0][0] or ProgramRun(Outcome.OK)
            if compiled.is_late(request.compile_limits):
                raise SandboxError("The compiler ran out of time; is the service overloaded?")
            if compiled.outcome is not Outcome.OK or not part.inputs:
                return RunResult(compiled, (None,) * len(part.inputs))
        jobs += await gather([run_job(one) for one in waiting])
        runs = tuple(run for _, run in jobs if run is not None)
        if len(runs) < len(part.inputs):
            raise SandboxError("A program that had compiled was not run.")
        return RunResult(compiled, runs)

    return await run_in_rounds(request, run_round, go_on, growth=1)


def source_text(language: str, name: str, content: str | bytes) -> str:
    """Return a source as a text; of C++ with a first line in place of the flags that other providers have."""
    text = content.decode(errors="replace") if isinstance(content, bytes) else content
    return CPP_PRELUDE.format(name=name) + text.removeprefix("\ufeff") if language == "cpp" else text


def base64_text(content: str | bytes) -> str:
    """Return the content of a file in base64."""
    data = content.encode(errors="replace") if isinstance(content, str) else content
    return base64.b64encode(data).decode()


def file_of(name: str, content: str | bytes, is_source: bool = False) -> dict[str, str]:
    """Return a file as Piston takes it; what isn't a source stays away from the compiler."""
    if is_source and isinstance(content, str):
        return {"name": name, "content": content, "encoding": "utf8"}
    return {"name": name, "content": base64_text(content), "encoding": "base64"}


def stage_fields(stage: str, limits: Limits, reserve_mb: int = 0) -> dict[str, int]:
    """Return the limits of a job's "compile" or "run", by the names of their fields."""
    return {
        f"{stage}_timeout": math.ceil(clock_s(limits) * 1000),
        f"{stage}_cpu_time": math.ceil(limits.cpu_s * 1000),
        f"{stage}_memory_limit": (limits.memory_mb + reserve_mb) << 20,
    }


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
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, timeout=60, check=True, env=variables)
    except (OSError, subprocess.SubprocessError) as error:
        raise SandboxError(f"PISTON_ENDPOINTS=slurm, and squeue failed: {error}") from error
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
