# SPDX-License-Identifier: Apache-2.0
"""Programs at a SandboxFusion server, whose URL SANDBOX_FUSION_URL names: one `POST /run_code` for each input.

Written by the public contract of bytedance/SandboxFusion, and tried at a stand-in; at a real server not yet run.
What isolates programs is the server's matter.

1. The compiler runs again for each input; if it fails at the first, the rest is left out. One that runs out of time
   is a `SandboxError`.
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
import os
from collections.abc import Mapping
from dataclasses import replace
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
    UnsupportedRequestError,
    all_ok,
)
from open_r1.sandbox.languages import find_language
from open_r1.sandbox.piston import CPP_SUFFIXES, JobRun, base64_text, read_stage, run_in_jobs, source_text
from open_r1.sandbox.service import Reply, Service

URL_VARIABLE = "SANDBOX_FUSION_URL"
NAMES = {"python": "python", "cpp": "cpp", "javascript": "nodejs", "bash": "bash"}
QUEUE_S = 60.0
PLACES = 16  # programs at a time, from this process
MAX_REPLY_BYTES = 64 << 20  # of one run: the server keeps all that a program prints


class FusionSandbox(Sandbox):
    """A SandboxFusion server.

    Args:
        url: Its base URL; None: that of $SANDBOX_FUSION_URL.
        patience_s: Seconds for which a program waits while the server doesn't answer.

    Raises:
        ValueError: There's no URL.
    """

    name = "fusion"

    def __init__(self, url: str | None = None, *, patience_s: float = 120.0) -> None:
        self.url = (url or os.environ.get(URL_VARIABLE) or "").strip().rstrip("/")
        if not self.url.startswith(("http://", "https://")):
            raise ValueError(
                f"The provider 'fusion' needs the URL of its server in {URL_VARIABLE}, such as http://node1:8080."
            )
        self._service, self._places = Service(f"SandboxFusion at {self.url}", patience_s), asyncio.Semaphore(PLACES)

    def describe(self) -> str:
        """Return one line for the log."""
        return f"fusion: SandboxFusion at {self.url}, which isolates programs"

    async def languages(self) -> tuple[str, ...]:
        """Return the languages, if the server runs a program."""
        await self._post({"code": "print(1)", "language": "python"}, 10.0)
        return tuple(NAMES)

    async def run(self, request: RunRequest, go_on: GoOn = all_ok) -> RunResult:
        """Run a request, the inputs of a batch side by side."""
        language = find_language(request.language).name
        has_more = any(given.output_file is not None or given.args for given in request.inputs)
        if language not in NAMES or request.interactor is not None or has_more:
            raise UnsupportedRequestError(
                "SandboxFusion runs no binary and no interactor, takes no arguments, and returns no file: use local."
            )
        (name, main), *others = request.files.items()
        code = source_text(language, name, main)
        if language == "cpp":
            code += "".join(f'\n#include "{other}"\n' for other, _ in others if other.endswith(CPP_SUFFIXES))

        async def run_job(given: ProgramInput) -> JobRun:
            body = {
                "code": code,
                "language": NAMES[language],
                "stdin": given.stdin,
                "files": {other: base64_text(content) for other, content in (*others, *given.files.items())},
                "compile_timeout": request.compile_limits.backstop_s,
                "run_timeout": request.limits.backstop_s,
                "memory_limit_MB": request.limits.memory_mb,
            }
            value = await self._post(body, request.compile_limits.backstop_s + request.limits.backstop_s)
            if value is None:
                return None, ProgramRun(Outcome.OUTPUT_LIMIT)
            compiled = _program_run(value.get("compile_result"), request.compile_limits)
            return compiled, _program_run(value.get("run_result"), request.limits)

        return await run_in_jobs(request, run_job, go_on)

    async def _post(self, body: dict[str, Any], limits_s: float) -> Any:
        """Return the answer to a program; None where it printed more than a reply may hold.

        Raises:
            SandboxError: See `Service.ask`.
        """

        def read(reply: Reply) -> Any:
            if reply.body is None:
                return None
            value = json.loads(reply.body)
            if reply.status != 200 or value["status"] == "SandboxError":
                raise ValueError(f"{reply.status}: {value.get('message')!s:.300}")
            return value

        data, url = json.dumps(body).encode(), f"{self.url}/run_code"
        async with self._places:
            return await self._service.ask("POST", url, data, limits_s + QUEUE_S, read, max_bytes=MAX_REPLY_BYTES)

    async def aclose(self) -> None:
        """Close the connections of the running loop."""
        await self._service.aclose()


def _program_run(value: Mapping[str, Any] | None, limits: Limits) -> ProgramRun | None:
    """Return what the compiler or the program did; None where it wasn't run."""
    if value is None:
        return None
    code, wall_s = value.get("return_code"), value.get("execution_time")
    stage = {**value, "code": code, "status": "TO" if value.get("status") == "TimeLimitExceeded" else None}
    if code is not None and code < 0:  # of a signal
        stage["code"] = 128 - code
    return replace(read_stage(stage, limits, 0.0), wall_s=float("nan") if wall_s is None else float(wall_s))
