# SPDX-License-Identifier: Apache-2.0
"""What Piston answers to `POST /execute`, read as what a program did.

Two servers of the same version number are in use. The one before isolate ("v3.1.1", Open R1's image) says only the
exit code and the signal; the one since (2024-09) measures CPU time, wall time and memory and names a status.
"""

import math
import signal
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from open_r1.sandbox.base import Limits, Outcome, ProgramRun

NAN = float("nan")
OVERLOAD = "Resource temporarily unavailable"
# Both servers start programs from a shell script, which says 128 + n for a signal that ended its child.
CRASHES = {128 + number: number for number in (4, 5, 6, 7, 8, 9, 11, 24, 25, 31)}
SIGNALS = {number.name: number.value for number in signal.Signals}
OUT_OF_MEMORY = ("MemoryError", "std::bad_alloc", "heap out of memory", "Cannot allocate memory", "CodeRange")
# A group killed at its memory limit shows a peak just below it; the server counts a KiB as 1000 bytes.
NEAR_LIMIT = 0.95


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


@dataclass(frozen=True)
class Reply:
    """An answer to `POST /execute`.

    Attributes:
        run: The program's stage; a copy of the compiler's where that failed. None where the answer was longer than
            allowed, so that the program must have been over its output limit.
        compile: The compiler's stage; None for languages without one.
        elapsed_s: Seconds from the request to the answer, waiting at the endpoint included.
        endpoint: Base URL of who answered.
        run_timeout_s: The limit by the clock that the endpoint was given.
    """

    run: Stage | None
    compile: Stage | None
    elapsed_s: float
    endpoint: str
    run_timeout_s: float

    @property
    def has_compiled(self) -> bool:
        """Whether there was a program to run."""
        return self.compile is None or not self.compile.failed


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


def outcome_of(stage: Stage, limits: Limits, is_overtime: bool) -> Outcome:
    """Return how a program ended.

    Args:
        stage: Its stage.
        limits: What it was allowed.
        is_overtime: Whether the clock allows that it was ended at its time limit.
    """
    is_killed = stage.signal == "SIGKILL"
    if max(len(stage.stdout.encode()), len(stage.stderr.encode()) if is_killed else 0) > limits.output_bytes:
        return Outcome.OUTPUT_LIMIT
    if stage.status == "TO" or stage.cpu_s > limits.cpu_s:
        return Outcome.TIME_LIMIT
    if stage.status in ("OL", "EL"):
        return Outcome.OUTPUT_LIMIT
    if is_killed and is_overtime and not stage.is_measured:
        return Outcome.TIME_LIMIT
    if stage.memory_mb > limits.memory_mb:
        return Outcome.MEMORY_LIMIT
    if not stage.failed:
        return Outcome.OK
    near = is_killed and stage.memory_mb > NEAR_LIMIT * limits.memory_mb
    if near or any(words in stage.stderr for words in OUT_OF_MEMORY):
        return Outcome.MEMORY_LIMIT
    return Outcome.RUNTIME_ERROR


def program_run(stage: Stage, limits: Limits, is_overtime: bool) -> ProgramRun:
    """Return what a program did; see `outcome_of` for the arguments."""
    number = (
        CRASHES.get(stage.code) if stage.code is not None else SIGNALS.get(stage.signal or "", signal.SIGKILL.value)
    )
    return ProgramRun(
        outcome=outcome_of(stage, limits, is_overtime),
        stdout=_cut(stage.stdout, limits.output_bytes),
        stderr=_cut(stage.stderr, limits.output_bytes),
        exit_code=None if number is not None else stage.code,
        signal=number,
        cpu_s=stage.cpu_s,
        wall_s=stage.wall_s,
        peak_memory_mb=stage.memory_mb,
    )


def _cut(text: str, num_bytes: int) -> str:
    data = text.encode()
    return text if len(data) <= num_bytes else data[:num_bytes].decode(errors="replace")
