# SPDX-License-Identifier: Apache-2.0
"""Running programs that nobody has read: one contract (`base`), several providers. Imports no torch.

`base` request, result, errors · `providers` by name · `running` from synchronous code · `service` HTTP, with one clock
for an outage · `wire` JSON · `languages`, and what the driver in a box is told

Providers: `local/` boxes here, with `harness/` in them · `piston` · `fusion` · `rented` with `e2b`
and `morph` · `router` and its server `router_server`
"""

from open_r1.sandbox.base import (
    COMPILE_LIMITS,
    Interactor,
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
)
from open_r1.sandbox.running import run_all, run_coroutine, run_jobs

__all__ = [
    "COMPILE_LIMITS",
    "Interactor",
    "Limits",
    "Outcome",
    "ProgramInput",
    "ProgramRun",
    "RunRequest",
    "RunResult",
    "Sandbox",
    "SandboxError",
    "UnsupportedLanguageError",
    "UnsupportedRequestError",
    "run_all",
    "run_coroutine",
    "run_jobs",
]
