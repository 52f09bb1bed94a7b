# SPDX-License-Identifier: Apache-2.0
"""Running programs that nobody has read: one contract (`base`), several providers. Imports no torch.

`base` request, result, errors · `running` from synchronous code to sandboxes · `languages` · `wire` JSON.
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
