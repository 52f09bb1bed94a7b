# SPDX-License-Identifier: Apache-2.0
"""The programs that score an IOI submission's tests: checker and manager, by the protocol of the contest system CMS.

A checker is called as `checker input correct_output output`; it and a manager write the score in [0, 1] as the first
line of their output and a message to standard error. Both run in boxes of their own.

Deviations from Open R1: a checker that breaks on an output, but not on the right one, means a wrong answer; one that
breaks on both makes the row unusable, where there every submission got 0.
"""

import math
from collections.abc import Sequence

from open_r1.grading.binaries import TaskProgram, UnusableCheckerError
from open_r1.grading.ioi_subtasks import IoiTest
from open_r1.grading.outputs import is_same_output
from open_r1.grading.runs import FEEDBACK_CHARS
from open_r1.grading.verdict import TestResult, Verdict, result_of_failure
from open_r1.sandbox import Limits, Outcome, ProgramInput, ProgramRun, RunRequest, Sandbox

# The contest system trusts these programs with 10 s; a manager waits for the submission besides.
CHECKER_LIMITS = Limits(cpu_s=10.0, memory_mb=1024, output_bytes=1 << 16)
INPUT, CORRECT, OUTPUT = "input.txt", "correct_output.txt", "output.txt"
# What checkers write instead of a message, for the contest system to translate.
_MESSAGES = {
    "translate:success": "Output is correct",
    "translate:partial": "Output is partially correct",
    "translate:wrong": "Output isn't correct",
}


def manager_limits(limits: Limits) -> Limits:
    """Return the limits of a manager, given those of the submission that it talks to."""
    return Limits(cpu_s=max(10.0, limits.cpu_s), wall_s=limits.backstop_s + 5, memory_mb=1024, output_bytes=1 << 16)


def compare_outputs(runs: Sequence[ProgramRun], tests: Sequence[IoiTest]) -> list[TestResult]:
    """Return the results of runs whose task has no checker."""
    return [_compare(run, test) for run, test in zip(runs, tests, strict=True)]


def _compare(run: ProgramRun, test: IoiTest) -> TestResult:
    if (failure := result_of_failure(run)) is not None:
        return failure
    if is_same_output(run.stdout, test.output):
        return TestResult(Verdict.ACCEPTED, 1.0, "Output is correct")
    return TestResult(Verdict.WRONG_ANSWER, 0.0, "Output isn't correct")


async def check_outputs(
    runs: Sequence[ProgramRun], tests: Sequence[IoiTest], checker: TaskProgram, sandbox: Sandbox
) -> list[TestResult]:
    """Return the results of runs by a checker, all of them checked in one box.

    Raises:
        SandboxError: The sandbox failed.
        UnusableCheckerError: The checker gives no score for an output, nor for the right one.
    """
    failures = [result_of_failure(run) for run in runs]
    checked = [(run.stdout, test) for run, test, failure in zip(runs, tests, failures, strict=True) if failure is None]
    scored = iter(await _check(checked, checker, sandbox))
    return [next(scored) if failure is None else failure for failure in failures]


async def _check(outputs: Sequence[tuple[str, IoiTest]], checker: TaskProgram, sandbox: Sandbox) -> list[TestResult]:
    results = [read_score(run) for run in await _run_checker(outputs, checker, sandbox)]
    broken = [index for index, result in enumerate(results) if result is None]
    if broken:
        right = [(test.output, test) for test in (outputs[index][1] for index in broken)]
        for run in await _run_checker(right, checker, sandbox):
            if read_score(run) is None:
                said = f"{run.outcome}, output {run.stdout[:100]!r}, errors {run.stderr[:200]!r}"
                raise UnusableCheckerError(f"The row's checker gives no score even for the right output: {said}.")
    no_score = TestResult(Verdict.WRONG_ANSWER, 0.0, "The checker gave no score for this output")
    return [result or no_score for result in results]


async def _run_checker(
    outputs: Sequence[tuple[str, IoiTest]], checker: TaskProgram, sandbox: Sandbox
) -> list[ProgramRun]:
    """Return the checker's run on each output."""
    if not outputs:
        return []
    inputs = tuple(
        ProgramInput(files={INPUT: test.input, CORRECT: test.output, OUTPUT: output}, args=(INPUT, CORRECT, OUTPUT))
        for output, test in outputs
    )
    result = await sandbox.run(RunRequest(checker.language, checker.files, inputs, limits=CHECKER_LIMITS))
    lost = ProgramRun(Outcome.RUNTIME_ERROR, stderr="not run")
    return [run or lost for run in result.tests]


def judge_interactions(runs: Sequence[ProgramRun]) -> list[TestResult]:
    """Return the results of runs with a manager.

    A submission that failed has failed whatever the manager says. A manager that breaks, or says nothing, was given
    nonsense: a wrong answer.
    """
    return [_judge_interaction(run) for run in runs]


def _judge_interaction(run: ProgramRun) -> TestResult:
    if (failure := result_of_failure(run)) is not None:
        return failure
    scored = None if run.interactor is None else read_score(run.interactor)
    return scored or TestResult(Verdict.WRONG_ANSWER, 0.0, "The manager gave no score")


def read_score(run: ProgramRun) -> TestResult | None:
    """Return what a checker or manager said: None where it failed, or wrote no score from 0 to 1."""
    if run.outcome is not Outcome.OK:
        return None
    first_line = run.stdout.strip().partition("\n")[0]
    try:
        score = float(first_line)
    except ValueError:
        return None
    if not (math.isfinite(score) and 0 <= score <= 1):
        return None
    message = run.stderr.strip()[:FEEDBACK_CHARS]
    return TestResult(_verdict(score), score, _MESSAGES.get(message, message))


def _verdict(score: float) -> Verdict:
    if score == 1:
        return Verdict.ACCEPTED
    return Verdict.PARTIAL if score > 0 else Verdict.WRONG_ANSWER
