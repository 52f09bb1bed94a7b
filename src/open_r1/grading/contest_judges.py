# SPDX-License-Identifier: Apache-2.0
"""Scoring the runs of a contest's tests: by comparison, by a checker, or by the word of a manager.

A manager writes its score as checkers do (see `checkers`). It has a box of its own, and reads the test's input as its
standard input.
"""

import signal
from collections.abc import Sequence

from open_r1.grading.binaries import TaskProgram, UnusableCheckerError, has_scored, note_score
from open_r1.grading.cases import StdioTest
from open_r1.grading.checkers import Check, check_outputs, read_score
from open_r1.grading.outputs import is_same_output
from open_r1.grading.runs import compare_apart
from open_r1.grading.verdict import TestResult, Verdict, result_of_failure
from open_r1.sandbox import Limits, Outcome, ProgramRun, Sandbox

_MANAGER_CPU_S = 10.0  # at least; so much the contest system CMS trusts its own programs with
_MIN_OUTPUT_BYTES = 1 << 20


def run_limits(cpu_s: float, memory_mb: int, tests: Sequence[StdioTest]) -> Limits:
    """Return the limits of a submission's runs, with room for twice the longest right output."""
    longest = max((len(test.expected.encode()) for test in tests), default=0)
    return Limits(cpu_s=cpu_s, memory_mb=memory_mb, output_bytes=max(_MIN_OUTPUT_BYTES, 2 * longest))


def manager_limits(limits: Limits) -> Limits:
    """Return the limits of a manager, given those of the submission that it talks to."""
    cpu_s = max(_MANAGER_CPU_S, limits.cpu_s)
    return Limits(cpu_s=cpu_s, wall_s=limits.backstop_s + 5, memory_mb=1024, output_bytes=1 << 16)


async def judge_outputs(
    runs: Sequence[ProgramRun], tests: Sequence[StdioTest], checker: TaskProgram | None, sandbox: Sandbox
) -> list[TestResult]:
    """Return the results of runs by a checker, or by comparison without one.

    Raises:
        SandboxError: The sandbox failed.
        UnusableCheckerError: See `check_outputs`.
    """
    if checker is None:
        return await compare_apart(
            runs, lambda runs: [_compare(run, test) for run, test in zip(runs, tests, strict=True)]
        )
    failures = [result_of_failure(run) for run in runs]
    checks = [
        Check(test.input, test.expected, run.stdout)
        for run, test, failure in zip(runs, tests, failures, strict=True)
        if failure is None
    ]
    scored = iter(await check_outputs(checks, checker, sandbox))
    return [next(scored) if failure is None else failure for failure in failures]


def _compare(run: ProgramRun, test: StdioTest) -> TestResult:
    if (failure := result_of_failure(run)) is not None:
        return failure
    if is_same_output(run.stdout, test.expected):
        return TestResult(Verdict.ACCEPTED, 1.0)
    return TestResult(Verdict.WRONG_ANSWER, 0.0, "Output isn't correct")


def judge_interaction(run: ProgramRun, manager: TaskProgram | None = None) -> TestResult:
    """Return the result of a run with a manager.

    A submission that failed has failed whatever the manager says. A manager that breaks, or says nothing, was given
    nonsense: a wrong answer.

    Args:
        run: The submission's, with that of the manager.
        manager: The manager; None to take it for sound.

    Raises:
        UnusableCheckerError: The manager has never given a score in this process, gives none here, and the submission
            didn't end it: it ended well itself, or later than the manager.
    """
    scored = None if run.interactor is None else read_score(run.interactor)
    if manager is not None and scored is not None:
        note_score(manager)
    if manager is not None and run.interactor is not None and not has_scored(manager):
        _require_submissions_fault(run, run.interactor)
    if (failure := result_of_failure(run)) is not None:
        return failure
    return scored or TestResult(Verdict.WRONG_ANSWER, 0.0, "The manager gave no score")


def _require_submissions_fault(run: ProgramRun, said: ProgramRun) -> None:
    # A manager that SIGPIPE ends has written to a submission that was gone.
    is_managers = said.signal != signal.SIGPIPE and (run.outcome is Outcome.OK or said.wall_s < run.wall_s)
    if is_managers:
        raise UnusableCheckerError(
            f"The row's manager gives no score: {said.outcome}, exit code {said.exit_code}, signal {said.signal}, "
            f"output {said.stdout[:100]!r}, errors {said.stderr[-300:]!r}."
        )
