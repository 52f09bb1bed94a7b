# SPDX-License-Identifier: Apache-2.0
"""The one contract of all sandboxes: a submission goes in with its test inputs, what its program did comes out.

A failing program is a result (`ProgramRun`), a failing sandbox is an error (`SandboxError`). Expected outputs never
enter a sandbox: whoever asks compares outside. A box serves one request and is never used for another.
"""

import abc
import math
import re
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum


class SandboxError(Exception):
    """The sandbox failed, not the program: nothing is known of the submission, and no score may come of it."""


class UnsupportedLanguageError(ValueError):
    """A provider has no such language; the message lists those it has."""


class UnsupportedRequestError(ValueError):
    """A provider can't do this by its nature (an interactor, an output file, ...); the message says what to use."""


class Outcome(StrEnum):
    """How a program ended."""

    OK = "ok"
    RUNTIME_ERROR = "runtime_error"
    TIME_LIMIT = "time_limit"
    MEMORY_LIMIT = "memory_limit"
    OUTPUT_LIMIT = "output_limit"


@dataclass(frozen=True)
class Limits:
    """What one run of a program, with all processes that it starts, may use.

    Attributes:
        cpu_s: CPU seconds; the verdict "time limit" comes from these.
        wall_s: Seconds on the clock, a backstop for programs that wait; None for `max(3 * cpu_s, cpu_s + 5)`.
        memory_mb: Memory of the whole tree of processes, in MiB.
        output_bytes: Bytes of standard output; of standard error as much is kept as fits.
        processes: Processes and threads at a time.
    """

    cpu_s: float = 10.0
    wall_s: float | None = None
    memory_mb: int = 512
    output_bytes: int = 1 << 20
    processes: int = 64

    def __post_init__(self) -> None:
        if not (self.cpu_s > 0 and self.memory_mb > 0 and self.output_bytes >= 0 and self.processes > 0):
            raise ValueError(f"Limits must be positive, got {self!s:.300}.")
        if not (self.backstop_s > 0 and math.isfinite(self.cpu_s) and math.isfinite(self.backstop_s)):
            raise ValueError(f"Limits of time must be positive and end, got {self!s:.300}.")

    @property
    def backstop_s(self) -> float:
        """Seconds on the clock after which a run is ended whatever its CPU time."""
        return max(3 * self.cpu_s, self.cpu_s + 5) if self.wall_s is None else self.wall_s


COMPILE_LIMITS = Limits(cpu_s=30.0, memory_mb=2048, output_bytes=1 << 16)


@dataclass(frozen=True)
class ProgramInput:
    """What one run of the program gets.

    Attributes:
        stdin: Standard input.
        files: Further files in its working folder, by name, for this run only.
        args: Arguments behind the program's name.
        output_file: A file whose text counts as its output instead of standard output (Codeforces `input_mode: file`).
    """

    stdin: str = ""
    files: Mapping[str, str] = field(default_factory=dict)
    args: tuple[str, ...] = ()
    output_file: str | None = None


@dataclass(frozen=True)
class Interactor:
    """A trusted program that talks to the submission over pipes (the manager of an IOI communication task).

    Each run starts both. The interactor gets the `ProgramInput`, and behind its arguments the paths of two pipes: to
    read from the submission, to write to it. The submission's standard input and output are the other ends.

    Attributes:
        language: As of a `RunRequest`; "binary" for one compiled before.
        files: As of a `RunRequest`.
        limits: Of the interactor alone.
    """

    language: str
    files: Mapping[str, str | bytes]
    limits: Limits = field(default_factory=Limits)


def _check_names(names: Collection[str], *, beside: Collection[str] = ()) -> None:
    """Raise ValueError for names that no working folder can hold, alone or together with those `beside`."""
    for name in names:
        if not _is_file_name(name):
            raise ValueError(f"File names are relative and stay in the working folder, got {name!r:.120}.")
    taken = {*names, *beside} if names else set()
    folders = {name[: found.start()] for name in taken for found in re.finditer("/", name)}
    if not folders.isdisjoint(taken):
        raise ValueError(f"In a working folder {min(folders & taken)!r:.120} can't be both a file and a folder.")


def _is_file_name(name: str) -> bool:
    try:
        parts = name.encode().split(b"/")
    except UnicodeEncodeError:  # half of a surrogate pair
        return False
    is_short = len(name) <= 1024 and all(len(part) <= 255 for part in parts)
    return is_short and "\0" not in name and {b"", b".", b".."}.isdisjoint(parts)


@dataclass(frozen=True)
class RunRequest:
    """One submission with all its runs: it is compiled once, then run on each input, in a box of its own.

    Attributes:
        language: A name or alias in `languages`; "binary" when the first file is an executable.
        files: Sources by name; the first is the main program, of C++ all `.cpp` are compiled together.
        inputs: One run each.
        compile_limits: Of the compiler.
        limits: Of each run.
        stop_after: Size of a batch of runs: after a batch the rest is left out if `go_on` says so. None: all runs are
            one batch.
        interactor: For communication tasks.
        keeps_binary: Whether the compiled program comes back as `RunResult.binary`.
        total_cpu_s: CPU seconds of the compiler and all runs together; the run that uses them up, and those behind it,
            are out of time. Kept where the driver of `harness` measures: local, e2b, morph, and a router in front of
            these. None: what each may use alone.
    """

    language: str
    files: Mapping[str, str | bytes]
    inputs: tuple[ProgramInput, ...]
    compile_limits: Limits = COMPILE_LIMITS
    limits: Limits = field(default_factory=Limits)
    stop_after: int | None = None
    interactor: Interactor | None = None
    keeps_binary: bool = False
    total_cpu_s: float | None = None

    def __post_init__(self) -> None:
        if not self.files:
            raise ValueError("A RunRequest needs at least one file, the main program first.")
        if self.stop_after is not None and self.stop_after < 1:
            raise ValueError(f"stop_after must be at least 1 or None, got {self.stop_after}.")
        if self.total_cpu_s is not None and not 0 < self.total_cpu_s < math.inf:
            raise ValueError(f"total_cpu_s must be positive or None, got {self.total_cpu_s}.")
        if self.interactor is not None:
            if not self.interactor.files:
                raise ValueError("An Interactor needs at least one file, the main program first.")
            _check_names(self.interactor.files)
        _check_names(self.files)
        for given in self.inputs:
            _check_names(
                [*given.files, *(() if given.output_file is None else (given.output_file,))], beside=self.files
            )
            if any("\0" in argument for argument in given.args):
                raise ValueError("Arguments of a program hold no NUL.")

    @property
    def main_file(self) -> str:
        """Name of the main program."""
        return next(iter(self.files))

    def cpu_left_s(self, compiled: "ProgramRun | None", runs: Sequence["ProgramRun"]) -> float:
        """Return the CPU seconds that a compiler's run and these runs have left of `total_cpu_s`."""
        if self.total_cpu_s is None:
            return math.inf
        known = [run.cpu_s for run in (compiled, *runs) if run is not None and not math.isnan(run.cpu_s)]
        return self.total_cpu_s - sum(known)


@dataclass(frozen=True)
class ProgramRun:
    """What a program, or the compiler, did.

    Attributes:
        outcome: How it ended.
        stdout: Its output, cut at the limit; bytes that aren't UTF-8 are replaced.
        stderr: Its errors, cut.
        exit_code: None when a signal ended it.
        signal: Number of the signal that ended it, or None.
        cpu_s: CPU seconds of it and its children, measured in the box; NaN where the provider can't tell.
        wall_s: Seconds on the clock.
        peak_memory_mb: Peak memory in MiB; NaN where the provider can't tell.
        interactor: What the interactor did in the same run.
    """

    outcome: Outcome
    stdout: str = ""
    stderr: str = ""
    exit_code: int | None = None
    signal: int | None = None
    cpu_s: float = float("nan")
    wall_s: float = float("nan")
    peak_memory_mb: float = float("nan")
    interactor: "ProgramRun | None" = None

    def is_late(self, limits: Limits) -> bool:
        """Whether it ran out of time, but as far as is known not of CPU time: the machine may be busy."""
        return self.outcome is Outcome.TIME_LIMIT and not self.cpu_s > limits.cpu_s


@dataclass(frozen=True)
class RunResult:
    """What became of a request.

    Attributes:
        compile: The compiler's run; None where nothing was to be compiled.
        tests: A run for each input, None for those left out (the compiler failed, or the runs stopped early).
        binary: The compiled program, where the request keeps it and it was compiled.
    """

    compile: ProgramRun | None
    tests: tuple[ProgramRun | None, ...]
    binary: bytes | None = None

    @property
    def has_compiled(self) -> bool:
        """Whether there was a program to run."""
        return self.compile is None or self.compile.outcome is Outcome.OK


# Called after each batch with the index of its first run and its runs; False leaves the rest out. It may use the
# sandbox itself (a checker has a box of its own), so who waits here holds none of the places that a provider limits.
GoOn = Callable[[int, Sequence[ProgramRun]], Awaitable[bool]]


async def all_ok(first: int, runs: Sequence[ProgramRun]) -> bool:
    """Go on while every program ended well: the `GoOn` of those who don't compare outputs."""
    return all(run.outcome is Outcome.OK for run in runs)


class Sandbox(abc.ABC):
    """A provider of boxes. Its methods run on the one event loop of `running`, whichever thread asks."""

    name: str

    @abc.abstractmethod
    async def languages(self) -> tuple[str, ...]:
        """Return the names of the languages it can run; give up by itself, since a run waits for it before it starts.

        Raises:
            SandboxError: It can't be reached, or this machine can't isolate programs.
        """

    @abc.abstractmethod
    async def run(self, request: RunRequest, go_on: GoOn = all_ok) -> RunResult:
        """Compile and run a submission in a new box, which is gone afterwards.

        Args:
            request: The submission and its inputs.
            go_on: Asked after each batch of `request.stop_after` runs, where the provider runs in batches; others run
                everything.

        Raises:
            SandboxError: The sandbox failed.
            UnsupportedLanguageError: It hasn't this language.
            UnsupportedRequestError: It can't do this by its nature; its module says what.
        """

    @abc.abstractmethod
    def describe(self) -> str:
        """Return one line for the log: the provider, where it runs, what isolates the programs."""

    async def aclose(self) -> None:  # noqa: B027 - most providers hold nothing between requests
        """Give back connections and processes that outlive a request."""
