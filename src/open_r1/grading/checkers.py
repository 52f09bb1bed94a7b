# SPDX-License-Identifier: Apache-2.0
"""Programs of a task's author: checkers, which score an output where several are right, and managers.

A checker is called as `checker input correct_output output`, with the names of three files, and writes its score in
[0, 1] as the first line of its output, a message to standard error. That is the protocol of the contest system CMS,
and of the Python checkers of open-r1/codeforces. It runs in a box of its own, never in the submission's. A manager
talks to the submission, reads the test's input as its standard input, and writes its score as checkers do.

Each is compiled once a process. Whether one has ever given a score in this process is remembered: one that has is
sound, so that where it gives none the fault is the submission's.

Different from Open R1, where a checker that breaks fails the submission:
1. one that gives no score for an output, but has given one before, or gives one for the right output, was given
   nonsense: a wrong answer, so that no submission is let off by breaking its checker;
2. one that has never given a score in this process makes the row unusable: no submission gets a score by it;
3. a checker that runs out of a limit, and does so for the right output of that test too, fails by itself: no score.
"""

import asyncio
import hashlib
import signal
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial

from open_r1.grading.cases import StdioTest
from open_r1.grading.compare import compare_output, compare_runs
from open_r1.grading.verdict import TestResult, TestVerdict, result_of_failure
from open_r1.sandbox import (
    Limits,
    Outcome,
    ProgramInput,
    ProgramRun,
    RunRequest,
    Sandbox,
    SandboxError,
)
from open_r1.sandbox.languages import find_language

MAX_BINARIES = 64
BINARY_NAME = "program"
CHECKER_LIMITS = Limits(cpu_s=10.0, memory_mb=1024, output_bytes=1 << 16)
INPUT, CORRECT, OUTPUT = "input.txt", "correct_output.txt", "output.txt"
_FEEDBACK_CHARS = 200
_MANAGER_CPU_S = 10.0  # at least; so much the contest system CMS trusts its own programs with
_OUT_OF_LIMITS = (Outcome.TIME_LIMIT, Outcome.MEMORY_LIMIT, Outcome.OUTPUT_LIMIT)


class UnusableCheckerError(ValueError):
    """A checker or manager can't judge: it doesn't compile, crashes, gives no score. The fault is the row's."""


@dataclass(frozen=True)
class TaskProgram:
    """A program of the task's author, ready to run.

    Attributes:
        language: As of a `RunRequest`.
        files: As of a `RunRequest`.
    """

    language: str
    files: Mapping[str, str | bytes]

    @cached_property
    def digest(self) -> str:
        """A hash of language and files."""
        return hashlib.sha256(repr((self.language, list(self.files.items()))).encode()).hexdigest()


# Hashes of programs that have given a score in this process.
_SCORED: set[str] = set()
# By loop, since a forked child has another one, and by sandbox, since installations may differ in compilers.
_BINARIES: dict[tuple[asyncio.AbstractEventLoop, Sandbox, str], asyncio.Task[TaskProgram]] = {}


def has_scored(program: TaskProgram) -> bool:
    """Whether a task's program has ever given a score in this process."""
    return program.digest in _SCORED


async def compiled(sandbox: Sandbox, language: str, files: Mapping[str, str | bytes]) -> TaskProgram:
    """Return a task's program compiled, from this process's store when these sources have been compiled before.

    Languages without a compiler come back as they are; so do sources whose provider keeps no binaries: they are then
    compiled in each box.

    Raises:
        SandboxError: The sandbox failed, or the compiler ran into a limit, as it may on a busy machine; asking
            again tries again.
        UnusableCheckerError: The sources don't compile; the message ends with the compiler's.
        UnsupportedLanguageError: The sandbox hasn't this language.
    """
    program = TaskProgram(language, files)
    if not find_language(language).compile:
        return program
    place = (asyncio.get_running_loop(), sandbox, program.digest)
    if place not in _BINARIES:
        while len(_BINARIES) >= MAX_BINARIES:
            _BINARIES.pop(next(iter(_BINARIES)))
        _BINARIES[place] = asyncio.create_task(_compile(sandbox, program))

        def forget(task: asyncio.Task[TaskProgram]) -> None:
            # The sandbox failed, not the compiler: who asks again tries again.
            if task.cancelled() or not isinstance(task.exception(), UnusableCheckerError | None):
                _BINARIES.pop(place, None)

        _BINARIES[place].add_done_callback(forget)
    # Who is cancelled meanwhile takes nothing away from the others who wait for the same program.
    return await asyncio.shield(_BINARIES[place])


async def _compile(sandbox: Sandbox, program: TaskProgram) -> TaskProgram:
    request = RunRequest(program.language, program.files, inputs=(), keeps_binary=True)
    result = await sandbox.run(request)
    if not result.has_compiled:
        assert result.compile is not None
        said = f"({result.compile.outcome}): {result.compile.stderr[-500:]}"
        # A compiler that refuses has an exit code; one whose box was lost has none.
        is_refused = result.compile.outcome is Outcome.RUNTIME_ERROR and result.compile.exit_code is not None
        error = UnusableCheckerError if is_refused else SandboxError
        raise error(f"{request.main_file} of the row doesn't compile {said}")
    return program if result.binary is None else TaskProgram("binary", {BINARY_NAME: result.binary})


@dataclass(frozen=True)
class Check:
    """An output to be scored, with its test."""

    input: str
    expected: str
    output: str


async def check_outputs(checks: Sequence[Check], checker: TaskProgram, sandbox: Sandbox) -> list[TestResult]:
    """Return what a checker says of outputs, all of them checked in one box.

    Args:
        checks: The outputs of one submission.
        checker: Ready to run; sources in a language with a compiler go through `compiled` first.
        sandbox: Where it runs.

    Raises:
        SandboxError: The sandbox failed, or was too busy for the checker.
        UnusableCheckerError: The checker has never given a score, or runs out of its limits, for the right outputs
            either.
    """
    runs = await _run(checks, checker, sandbox)
    results = [read_score(run, checker) for run in runs]
    doubtful = {
        check: run
        for check, run, result in zip(checks, runs, results, strict=True)
        if result is None and (run.outcome in _OUT_OF_LIMITS or not has_scored(checker))
    }
    if doubtful:
        again = await _ask_again(doubtful, checker, sandbox)
        results = [result or again.get(check) for check, result in zip(checks, results, strict=True)]
    no_score = TestResult(TestVerdict.WRONG_ANSWER, 0.0, "the checker gave no score for this output")
    return [result or no_score for result in results]


async def _ask_again(
    doubtful: Mapping[Check, ProgramRun], checker: TaskProgram, sandbox: Sandbox
) -> dict[Check, TestResult | None]:
    """Try a checker on the right outputs, and on outputs for which it was late; return what it says of these.

    Raises:
        SandboxError: See `check_outputs`.
        UnusableCheckerError: Likewise.
    """
    controls = [Check(check.input, check.expected, check.expected) for check in doubtful]
    late = [check for check, run in doubtful.items() if run.is_late(CHECKER_LIMITS)]
    # What is trusted comes first in the box.
    runs = await _run([*controls, *late], checker, sandbox)
    scores = [read_score(run, checker) for run in runs]
    results = dict(zip(late, scores[len(controls) :], strict=True))
    for (check, run), control in zip(doubtful.items(), runs, strict=False):
        is_out_of_limits = run.outcome in _OUT_OF_LIMITS and control.outcome in _OUT_OF_LIMITS
        if results.get(check) or (has_scored(checker) and not is_out_of_limits):
            continue
        said = f"{control.outcome}, output {control.stdout[:100]!r}, errors {control.stderr[-300:]!r}"
        if control.is_late(CHECKER_LIMITS):
            raise SandboxError(f"The sandbox is too busy for a row's checker: {said}.")
        raise UnusableCheckerError(f"The row's checker gives no score even for the right output: {said}.")
    return results


def read_score(run: ProgramRun, program: TaskProgram) -> TestResult | None:
    """Return what a task's program said, None where it failed or wrote no number from 0 to 1 as its first line."""
    try:
        score = float(run.stdout.strip().partition("\n")[0])
    except ValueError:
        return None
    if run.outcome is not Outcome.OK or not 0 <= score <= 1:
        return None
    _SCORED.add(program.digest)
    verdict = TestVerdict.ACCEPTED if score == 1 else TestVerdict.PARTIAL if score > 0 else TestVerdict.WRONG_ANSWER
    return TestResult(verdict, score, run.stderr.strip()[:_FEEDBACK_CHARS])


async def _run(checks: Sequence[Check], checker: TaskProgram, sandbox: Sandbox) -> list[ProgramRun]:
    if not checks:
        return []
    inputs = tuple(
        ProgramInput(
            files={INPUT: check.input, CORRECT: check.expected, OUTPUT: check.output}, args=(INPUT, CORRECT, OUTPUT)
        )
        for check in checks
    )
    result = await sandbox.run(RunRequest(checker.language, checker.files, inputs, limits=CHECKER_LIMITS))
    if not result.has_compiled:
        said = "" if result.compile is None else result.compile.stderr[-500:]
        raise UnusableCheckerError(f"The row's checker doesn't compile: {said}")
    runs = [run for run in result.tests if run is not None]
    if len(runs) < len(checks):
        raise SandboxError(f"Of {len(checks)} runs of a checker the sandbox made {len(runs)}.")
    return runs


def manager_limits(limits: Limits) -> Limits:
    """Return the limits of a manager, given those of the submission that it talks to."""
    cpu_s = max(_MANAGER_CPU_S, limits.cpu_s)
    return Limits(cpu_s=cpu_s, wall_s=limits.backstop_s + 5, memory_mb=1024, output_bytes=1 << 16)


async def judge_outputs(
    runs: Sequence[ProgramRun], tests: Sequence[StdioTest], checker: TaskProgram | None, sandbox: Sandbox
) -> list[TestResult]:
    """Return the results of runs of a contest by its checker, or word by word in each line without one.

    Raises:
        SandboxError: The sandbox failed.
        UnusableCheckerError: See `check_outputs`.
    """
    if checker is None:
        return await compare_runs(runs, tests, partial(compare_output, by_words=True))
    failures = [result_of_failure(run) for run in runs]
    checks = [
        Check(test.input, test.expected, run.stdout)
        for run, test, failure in zip(runs, tests, failures, strict=True)
        if failure is None
    ]
    scored = iter(await check_outputs(checks, checker, sandbox))
    return [failure or next(scored) for failure in failures]


def judge_interaction(run: ProgramRun, manager: TaskProgram) -> TestResult:
    """Return the result of a run with a manager.

    A submission that failed has failed whatever the manager says. A manager that breaks, or says nothing, was given
    nonsense: a wrong answer.

    Raises:
        UnusableCheckerError: The manager has never given a score in this process, gives none here, and the submission
            didn't end it: it ended well itself, or later than the manager.
    """
    said = run.interactor
    scored = None if said is None else read_score(said, manager)
    if said is not None and scored is None and not has_scored(manager) and _has_broken_by_itself(said, run):
        raise UnusableCheckerError(
            f"The row's manager gives no score: {said.outcome}, exit code {said.exit_code}, signal {said.signal}, "
            f"output {said.stdout[:100]!r}, errors {said.stderr[-300:]!r}."
        )
    no_score = TestResult(TestVerdict.WRONG_ANSWER, 0.0, "The manager gave no score")
    return result_of_failure(run) or scored or no_score


def _has_broken_by_itself(said: ProgramRun, run: ProgramRun) -> bool:
    # A manager that SIGPIPE ends has written to a submission that was gone.
    return said.signal != signal.SIGPIPE and (run.outcome is Outcome.OK or said.wall_s < run.wall_s)
