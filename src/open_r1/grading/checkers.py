# SPDX-License-Identifier: Apache-2.0
"""Checkers: programs of a task's author that score an output where several are right.

A checker is called as `checker input correct_output output`, with the names of three files, and writes its score in
[0, 1] as the first line of its output, a message to standard error. That is the protocol of the contest system CMS,
and of the Python checkers of open-r1/codeforces. It runs in a box of its own, never in the submission's.

Different from Open R1, where a checker that breaks fails the submission:
1. one that gives no score for an output, but has given one before, or gives one for the right output, was given
   nonsense: a wrong answer, so that no submission is let off by breaking its checker;
2. one that has never given a score in this process makes the row unusable: no submission gets a score by it.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from open_r1.grading.binaries import TaskProgram, UnusableCheckerError, has_scored, note_score
from open_r1.grading.verdict import TestResult, Verdict
from open_r1.sandbox import Limits, Outcome, ProgramInput, ProgramRun, RunRequest, Sandbox, SandboxError

CHECKER_LIMITS = Limits(cpu_s=10.0, memory_mb=1024, output_bytes=1 << 16)
INPUT, CORRECT, OUTPUT = "input.txt", "correct_output.txt", "output.txt"
_FEEDBACK_CHARS = 200


@dataclass(frozen=True)
class Check:
    """An output to be scored, with its test."""

    input: str
    expected: str
    output: str


def python_checker(source: str) -> TaskProgram:
    """Return the checker of a row that holds its source, such as `generated_checker` of open-r1/codeforces."""
    return TaskProgram("python", {"checker.py": source})


async def check_outputs(
    checks: Sequence[Check], checker: TaskProgram, sandbox: Sandbox, limits: Limits = CHECKER_LIMITS
) -> list[TestResult]:
    """Return what a checker says of outputs, all of them checked in one box.

    Args:
        checks: The outputs of one submission.
        checker: Ready to run; sources in a language with a compiler go through `binaries.compiled` first.
        sandbox: Where it runs.
        limits: Of each run.

    Raises:
        SandboxError: The sandbox failed.
        UnusableCheckerError: The checker has never given a score, and gives none for the right outputs either.
    """
    results = [read_score(run) for run in await _run(checks, checker, sandbox, limits)]
    if any(results):
        note_score(checker)
    unscored = [check for check, result in zip(checks, results, strict=True) if result is None]
    if unscored and not has_scored(checker):
        controls = [Check(check.input, check.expected, check.expected) for check in dict.fromkeys(unscored)]
        runs = await _run(controls, checker, sandbox, limits)
        if not any(read_score(run) for run in runs):
            said = f"{runs[0].outcome}, output {runs[0].stdout[:100]!r}, errors {runs[0].stderr[-300:]!r}"
            raise UnusableCheckerError(f"The row's checker gives no score even for the right output: {said}.")
        note_score(checker)
    no_score = TestResult(Verdict.WRONG_ANSWER, 0.0, "the checker gave no score for this output")
    return [result or no_score for result in results]


def read_score(run: ProgramRun) -> TestResult | None:
    """Return what a checker said, None where it failed or wrote no number from 0 to 1 as its first line."""
    if run.outcome is not Outcome.OK:
        return None
    try:
        score = float(run.stdout.strip().partition("\n")[0])
    except ValueError:
        return None
    if not (math.isfinite(score) and 0 <= score <= 1):
        return None
    verdict = Verdict.ACCEPTED if score == 1 else Verdict.PARTIAL if score > 0 else Verdict.WRONG_ANSWER
    return TestResult(verdict, score, run.stderr.strip()[:_FEEDBACK_CHARS])


async def _run(checks: Sequence[Check], checker: TaskProgram, sandbox: Sandbox, limits: Limits) -> list[ProgramRun]:
    if not checks:
        return []
    inputs = tuple(
        ProgramInput(
            files={INPUT: check.input, CORRECT: check.expected, OUTPUT: check.output}, args=(INPUT, CORRECT, OUTPUT)
        )
        for check in checks
    )
    result = await sandbox.run(RunRequest(checker.language, checker.files, inputs, limits=limits))
    if not result.has_compiled:
        said = "" if result.compile is None else result.compile.stderr[-500:]
        raise UnusableCheckerError(f"The row's checker doesn't compile: {said}")
    runs = [run for run in result.tests if run is not None]
    if len(runs) < len(checks):
        raise SandboxError(f"Of {len(checks)} runs of a checker the sandbox made {len(runs)}.")
    return runs
