# SPDX-License-Identifier: Apache-2.0
"""Which sandbox judges programs: what of it decides verdicts, as a program in one of its boxes tells.

The same program is right where there is numpy and crashes where there is none; what newer versions of a language have
fails in older ones. So verdicts, and figures, are of one sandbox.
"""

import json
from collections.abc import Iterable
from functools import lru_cache
from pathlib import Path
from typing import Any

from open_r1.grading.batch import Limits, SandboxError, SandboxSettings
from open_r1.sandbox import Outcome, ProgramInput, RunRequest, run_coroutine

_PROGRAM = Path(__file__).parent / "harness" / "python_facts.py"
_LIMITS = Limits(cpu_s=10.0, memory_mb=2048)


def sandbox_of(settings: SandboxSettings, languages: Iterable[str]) -> dict[str, Any]:
    """Return what tells one sandbox from another: `provider`, and of Python its version and whether it has numpy.

    Each process asks once for equal settings: a box is started, where programs in Python are to be judged.

    Raises:
        ValueError: It can't be built (`SandboxSettings.build`).
        SandboxError: It can't be reached, or can't run a program that says its version.
    """
    return dict(_ask(settings, "python" in set(languages)))


@lru_cache(maxsize=16)
def _ask(settings: SandboxSettings, has_python: bool) -> dict[str, Any]:
    sandbox = settings.build()
    if not has_python:
        return {"provider": sandbox.name}
    program = _PROGRAM.read_text(encoding="utf-8")
    request = RunRequest("python", {_PROGRAM.name: program}, (ProgramInput(),), limits=_LIMITS)
    (run,) = run_coroutine(lambda: sandbox.run(request)).tests
    if run is None or run.outcome is not Outcome.OK:
        said = "it was not run" if run is None else f"{run.outcome.value} {run.stderr.strip()[-300:]}"
        raise SandboxError(f"{sandbox.describe()}: a program that tells the version of Python failed: {said}")
    try:
        found = json.loads(run.stdout)
        return {"provider": sandbox.name, "python": str(found["python"]), "has_numpy": bool(found["has_numpy"])}
    except (ValueError, TypeError, KeyError) as error:
        raise SandboxError(
            f"{sandbox.describe()}: what a program printed came back as {run.stdout[:200]!r}"
        ) from error
