# SPDX-License-Identifier: Apache-2.0
"""Judging a submission to an IOI problem, one subtask at a time: batch and communication tasks.

Deviations from Open R1:
1. The right output never enters the submission's box. Where a task has no checker it's compared outside, word by word
   in each line.
2. A batch size below 1 runs all tests, until two have run out of time, where there it ran none and scored 0.
3. A test that fails behind an earlier failure in its batch is still shown; tests in later batches are skipped.
4. Time limits are CPU seconds, without the 3 s that are added there.
5. The score isn't rounded: the column `score_precision` is of points, and rounding to its decimals, 0 in some tasks,
   made a full score of 0.6 and nothing of 0.4.
On Piston, `package_judges` says when the package `cms_ioi` judges instead.
"""

import asyncio
import json
from collections.abc import Sequence
from pathlib import PurePosixPath

from open_r1.grading.batch import Score
from open_r1.grading.cases import StdioTest
from open_r1.grading.checkers import (
    TaskProgram,
    compiled,
    judge_interaction,
    judge_outputs,
    manager_limits,
    run_limits,
)
from open_r1.grading.ioi_rows import CHECKER, MANAGER, MEBIBYTE, Sources, Subtask, find_tests
from open_r1.grading.package_judges import JudgeOne, find_package, judge_by_package
from open_r1.grading.programs import Budget, batch_size_or_all, judge_runs
from open_r1.grading.verdict import NOT_RUN, TestResult
from open_r1.sandbox import Interactor, Limits, ProgramInput, ProgramRun, RunRequest, Sandbox
from open_r1.sandbox.piston_packages import IOI_PACKAGE, PackageRun, cms_ioi_files

LANGUAGE = "cpp"
GRADER_CONFIG = "grader_config.json"
# One time-out makes the score 0 already; how slow right programs may be is the task's affair.
_BUDGET = Budget(max_timeouts=2, extra_s=None)


async def judge_subtask(subtask: Subtask, code: str, sandbox: Sandbox, *, batch_size: int = 1) -> Score:
    """Judge a submission in one subtask; its score, in [0, 1], is the lowest of its tests.

    Args:
        subtask: The row.
        code: The submission in C++, with its includes (`patches.add_includes`); blank code scores 0, nothing is run.
        sandbox: Where it runs.
        batch_size: Tests in a batch; a batch with a score of 0 is the last. Below 1: all tests, until two have run out
            of time.

    Raises:
        SandboxError: The sandbox failed.
        ValueError: The row is unusable: tests that aren't there, a checker or manager that can't judge.
        OSError: The tests of the year can't be loaded.
    """
    tests = await asyncio.to_thread(find_tests, subtask)
    results = [NOT_RUN] * len(subtask.test_names)
    if code.strip():
        chosen = [tests[name] for name in subtask.test_names]
        results = await _judge_tests(subtask, chosen, code, sandbox, batch_size)
    return Score(min(result.score for result in results), tuple(results))


def _is_failure(result: TestResult) -> bool:
    return result.score == 0


async def _judge_tests(
    subtask: Subtask, tests: Sequence[StdioTest], code: str, sandbox: Sandbox, batch_size: int
) -> list[TestResult]:
    """Return the results of tests, all in one box; the programs of the task have theirs."""
    limits = run_limits(subtask.time_limit_s, subtask.memory_limit_mb, tests)
    package = await _find_judge(subtask, code, sandbox, limits)
    if package is not None:
        return await judge_by_package(tests, package, batch_size_or_all(batch_size), _is_failure, _BUDGET)
    manager = await _compile_or_none(sandbox, subtask.judge_sources(MANAGER))
    checker = None if manager is not None else await _compile_or_none(sandbox, subtask.judge_sources(CHECKER))
    interactor = None if manager is None else Interactor(manager.language, manager.files, manager_limits(limits))
    request = RunRequest(
        LANGUAGE,
        subtask.submission_sources(code),
        inputs=tuple(ProgramInput(stdin=test.input) for test in tests),
        limits=limits,
        stop_after=batch_size_or_all(batch_size),
        interactor=interactor,
    )

    async def judge_batch(first: int, runs: Sequence[ProgramRun]) -> list[TestResult]:
        if manager is not None:
            return [judge_interaction(run, manager) for run in runs]
        return await judge_outputs(runs, tests[first : first + len(runs)], checker, sandbox)

    return await judge_runs(request, sandbox, judge_batch, _is_failure, _BUDGET)


async def _find_judge(subtask: Subtask, code: str, sandbox: Sandbox, limits: Limits) -> JudgeOne | None:
    """Return what judges a test by package `cms_ioi`, or None where the plain runtime does it, or must."""
    piston = await find_package(sandbox, IOI_PACKAGE, () if subtask.is_communication else (LANGUAGE,))
    if piston is None:
        return None
    grader_files = {**_grader_config(subtask), **subtask.grader_files}

    async def judge(test: StdioTest) -> PackageRun:
        files = cms_ioi_files(subtask.problem_id, code, test.input, test.expected, grader_files)
        return await piston.judge_by_package(IOI_PACKAGE, files, limits)

    return judge


def _grader_config(subtask: Subtask) -> dict[str, str]:
    """Return the file by which the package knows the limits, for rows without one."""
    if any(PurePosixPath(name).name == GRADER_CONFIG for name in subtask.grader_files):
        return {}
    config = {
        "code": subtask.problem_id,
        "task_type": "Communication" if subtask.is_communication else "Batch",
        "time_limit": subtask.time_limit_s,
        "memory_limit": subtask.memory_limit_mb * MEBIBYTE,
    }
    return {f"graders/{GRADER_CONFIG}": json.dumps(config)}


async def _compile_or_none(sandbox: Sandbox, sources: Sources | None) -> TaskProgram | None:
    return None if sources is None else await compiled(sandbox, LANGUAGE, sources)
