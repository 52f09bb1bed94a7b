# SPDX-License-Identifier: Apache-2.0
"""Programs at a SandboxFusion server, whose URL SANDBOX_FUSION_URL names: one `POST /run_code` for each input.

Written by the public contract of bytedance/SandboxFusion, and tried at a stand-in; at a real server not yet run.
What isolates programs is the server's matter.

1. The compiler runs again for each input; if it fails at the first, the rest is left out. One that runs out of time
   is run once more, and then a `SandboxError`.
2. The server measures the clock alone: a program ends at `Limits.backstop_s`, and CPU time and peak memory are NaN. It
   tells no signals: a negative exit code is read as one, 128 + n as one of those that crash programs.
3. Output over the limit is cut here, since the server has no such limit.
4. No compiled program comes back (`keeps_binary`). Refused: language "binary", an interactor, arguments,
   `output_file`.
5. It compiles the main file alone, with its own flags: other C++ sources are included at its end, and its first line
   asks for -O2 and defines `ONLINE_JUDGE` and `EVAL`.
"""

import asyncio
import json
import logging
import os
from collections.abc import Mapping
from typing import Any

import httpx

from open_r1.sandbox.base import (
    GoOn,
    Limits,
    ProgramInput,
    ProgramRun,
    RunRequest,
    RunResult,
    Sandbox,
    SandboxError,
    UnsupportedRequestError,
    all_ok,
)
from open_r1.sandbox.languages import find_language
from open_r1.sandbox.piston import CPP_SUFFIXES, SIGNALS, JobRun, base64_text, program_run, run_in_jobs, source_text
from open_r1.sandbox.piston_endpoints import NAN, Stage, read_body
from open_r1.sandbox.running import OfLoop

logger = logging.getLogger(__name__)

URL_VARIABLE = "SANDBOX_FUSION_URL"
NAMES = {"python": "python", "cpp": "cpp", "javascript": "nodejs", "bash": "bash"}
QUEUE_S, CONNECT_TIMEOUT_S = 60.0, 10.0
NUM_FAILURES, FIRST_PAUSE_S, LONGEST_PAUSE_S = 3, 0.2, 10.0
MAX_REPLY_BYTES = 64 << 20  # of one run: the server keeps all that a program prints
_STATUS = {"TimeLimitExceeded": "TO", "OutputLimitExceeded": "OL"}  # what Piston calls them
ENDLESS = {"compile_result": {"return_code": 0}, "run_result": {"status": "OutputLimitExceeded"}}


class FusionSandbox(Sandbox):
    """A SandboxFusion server.

    Args:
        url: Its base URL; None: that of $SANDBOX_FUSION_URL.
        patience_s: Seconds for which a program waits while the server doesn't answer.
        places: Programs at a time, from this process.

    Raises:
        ValueError: There's no URL.
    """

    name = "fusion"

    def __init__(self, url: str | None = None, *, patience_s: float = 120.0, places: int = 16) -> None:
        self.url = (url or os.environ.get(URL_VARIABLE) or "").strip().rstrip("/")
        if not self.url.startswith(("http://", "https://")):
            raise ValueError(f"The provider 'fusion' needs its server in {URL_VARIABLE}, such as http://node1:8080.")
        self.patience_s = patience_s
        self._client = OfLoop(lambda: (httpx.AsyncClient(trust_env=False), asyncio.Semaphore(places)))

    def describe(self) -> str:
        """Return one line for the log."""
        return f"fusion: SandboxFusion at {self.url}, which isolates programs"

    async def languages(self) -> tuple[str, ...]:
        """Return the languages, if the server runs a program."""
        await self._post({"code": "print(1)", "language": "python"}, 10.0, min(self.patience_s, 15.0))
        return tuple(NAMES)

    async def run(self, request: RunRequest, go_on: GoOn = all_ok) -> RunResult:
        """Run a request, the inputs of a batch side by side."""
        language = find_language(request.language).name
        _check(request, language)

        async def run_job(given: ProgramInput) -> JobRun:
            value = await self._run_one(request, language, given)
            compiled = _program_run(value.get("compile_result"), request.compile_limits)
            return compiled, _program_run(value.get("run_result"), request.limits)

        return await run_in_jobs(request, run_job, go_on)

    async def _run_one(self, request: RunRequest, language: str, given: ProgramInput) -> dict[str, Any]:
        (name, main), *others = request.files.items()
        code = source_text(language, name, main)
        if language == "cpp":
            code += "".join(f'\n#include "{other}"\n' for other, _ in others if other.endswith(CPP_SUFFIXES))
        files = {other: base64_text(content) for other, content in (*others, *given.files.items())}
        body = {
            "code": code.encode(errors="replace").decode(),
            "language": NAMES[language],
            "stdin": given.stdin.encode(errors="replace").decode(),
            "files": files,
            "compile_timeout": request.compile_limits.backstop_s,
            "run_timeout": request.limits.backstop_s,
            "memory_limit_MB": request.limits.memory_mb,
        }
        return await self._post(body, request.compile_limits.backstop_s + request.limits.backstop_s, self.patience_s)

    async def _post(self, body: dict[str, Any], limits_s: float, patience_s: float) -> dict[str, Any]:
        """Return the answer to a program; `ENDLESS` where it printed more than a reply may hold.

        Raises:
            SandboxError: There's none, or the server failed at it `NUM_FAILURES` times.
        """
        client, places = self._client.get()
        loop = asyncio.get_running_loop()
        timeout = httpx.Timeout(limits_s + QUEUE_S, connect=CONNECT_TIMEOUT_S)
        async with places:
            give_up_at, pause_s, num_failures = loop.time() + patience_s, FIRST_PAUSE_S, 0
            while True:
                try:
                    async with client.stream("POST", f"{self.url}/run_code", json=body, timeout=timeout) as reply:
                        reply.raise_for_status()
                        content = await read_body(reply, MAX_REPLY_BYTES)
                    if content is None:
                        return ENDLESS
                    value = json.loads(content)
                    if value["status"] != "SandboxError":
                        return value
                    trouble = f"it failed: {value.get('message')!s:.300}"
                    num_failures += 1
                except (httpx.ConnectError, httpx.ConnectTimeout) as error:
                    trouble = repr(error)
                except httpx.ReadTimeout as error:  # it may be what the program does to the server
                    raise SandboxError(
                        f"SandboxFusion at {self.url} gave no result in {limits_s + QUEUE_S:g} s"
                    ) from error
                except (httpx.HTTPError, ValueError, KeyError, TypeError) as error:
                    trouble = repr(error)
                    num_failures += 1
                if num_failures >= NUM_FAILURES or loop.time() + pause_s > give_up_at:
                    raise SandboxError(f"SandboxFusion at {self.url} gave no result: {trouble}")
                logger.info("SandboxFusion at %s is asked again: %s", self.url, trouble)
                await asyncio.sleep(pause_s)
                pause_s = min(2 * pause_s, LONGEST_PAUSE_S)

    async def aclose(self) -> None:
        """Close the connections of the running loop."""
        if (built := self._client.pop()) is not None:
            await built[0].aclose()


def _check(request: RunRequest, language: str) -> None:
    """Refuse what the server has no field for.

    Raises:
        UnsupportedRequestError: It's asked for.
    """
    if language not in NAMES:
        raise UnsupportedRequestError(f"SandboxFusion runs sources and not {request.language!r}: use local or router.")
    if request.interactor is not None:
        raise UnsupportedRequestError("SandboxFusion runs no interactor: judge communication tasks by local.")
    if any(given.output_file is not None or given.args for given in request.inputs):
        raise UnsupportedRequestError("SandboxFusion takes no arguments and returns no output file: use local.")


def _program_run(value: Mapping[str, Any] | None, limits: Limits) -> ProgramRun | None:
    """Return what the compiler or the program did; None where it wasn't run."""
    if value is None:
        return None
    code, status = value.get("return_code"), _STATUS.get(value.get("status") or "")
    name = None
    if code is not None and code < 0:
        name, code = next((name for name, number in SIGNALS.items() if number == -code), "SIGKILL"), None
    wall_s = NAN if value.get("execution_time") is None else float(value["execution_time"])
    stdout, stderr = (str(value.get(name) or "") for name in ("stdout", "stderr"))
    return program_run(Stage(stdout, stderr, code, name, status, wall_s=wall_s), limits, 0.0)
