# SPDX-License-Identifier: Apache-2.0
"""Runs a program in a local box and prints what isolates it and what it says, as JSON."""

import json

from open_r1.sandbox.base import ProgramInput, RunRequest, SandboxError
from open_r1.sandbox.local import LocalSandbox
from open_r1.sandbox.running import run_coroutine

PROGRAM = "import os\nprint(input(), os.getuid(), os.getgid())\n"


async def report() -> dict[str, object]:
    """Return how it went."""
    sandbox = LocalSandbox()
    try:
        result = await sandbox.run(RunRequest("python", {"main.py": PROGRAM}, (ProgramInput("hello\n"),)))
    except SandboxError as error:
        return {"error": str(error)}
    run = result.tests[0]
    return {"isolated_by": sandbox.describe(), "outcome": run and run.outcome, "stdout": run and run.stdout}


if __name__ == "__main__":
    print(json.dumps(run_coroutine(report)))
