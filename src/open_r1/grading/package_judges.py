# SPDX-License-Identifier: Apache-2.0
"""Judging by the packages that Open R1's users have installed in their Piston, where its plain runtimes can't.

A package gets the right output beside the submission and compares at the endpoint, so it's the second choice: for
communication tasks, files in place of standard input and output, and endpoints without the plain language.
"""

import asyncio
import json
from collections.abc import Callable, Coroutine, Sequence
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any

from open_r1.grading.cases import StdioTest
from open_r1.grading.ioi_subtasks import MEBIBYTE, Subtask
from open_r1.grading.runs import FEEDBACK_CHARS, Stops
from open_r1.grading.verdict import NOT_RUN, TestResult, Verdict, result_of_failure
from open_r1.sandbox import Limits, Sandbox, SandboxError
from open_r1.sandbox.piston_packages import (
    CODEFORCES_PACKAGES,
    IOI_PACKAGE,
    PackageRun,
    cms_ioi_files,
    codeforces_files,
)

if TYPE_CHECKING:
    from open_r1.grading.codeforces import CodeforcesProblem
    from open_r1.sandbox.piston import PistonSandbox

GRADER_CONFIG = "grader_config.json"
JudgeOne = Callable[[StdioTest], Coroutine[Any, Any, PackageRun]]


async def ioi_package(subtask: Subtask, code: str, sandbox: Sandbox, limits: Limits) -> JudgeOne | None:
    """Return what judges a test by package `cms_ioi`, or None where the plain runtime does it, or must.

    Raises:
        SandboxError: No endpoint answers.
    """
    piston = await _find_package(sandbox, IOI_PACKAGE, () if subtask.is_communication else ("cpp",))
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


async def codeforces_package(
    problem: "CodeforcesProblem", code: str, sandbox: Sandbox, limits: Limits
) -> JudgeOne | None:
    """Return what judges a test by a Codeforces package, or None where plain runtimes do it, or must.

    Raises:
        SandboxError: No endpoint answers.
    """
    package = CODEFORCES_PACKAGES.get(problem.language)
    plain = () if problem.input_mode == "file" else (problem.language, *(["python"] if problem.checker else []))
    piston = None if package is None else await _find_package(sandbox, package, plain)
    if piston is None or package is None:
        return None

    async def judge(test: StdioTest) -> PackageRun:
        files = codeforces_files(
            problem.language,
            code,
            test.input,
            test.expected,
            limits=limits,
            input_mode=problem.input_mode,
            checker=problem.checker,
        )
        return await piston.judge_by_package(package, files, limits)

    return judge


async def _find_package(sandbox: Sandbox, package: str, plain: Sequence[str]) -> "PistonSandbox | None":
    """Return the sandbox if it's Piston, has the package, and lacks one of the plain languages (or none would do)."""
    if sandbox.name != "piston":
        return None
    from open_r1.sandbox.piston import PistonSandbox

    if not isinstance(sandbox, PistonSandbox):
        return None
    if plain and set(plain) <= set(await sandbox.languages()):
        return None
    return sandbox if package in await sandbox.packages() else None


async def judge_by_package(
    tests: Sequence[StdioTest], judge: JudgeOne, stop_after: int | None, stops: Stops
) -> list[TestResult]:
    """Return a result for each test; the tests of a batch are judged side by side, a batch with a failure is the last.

    Raises:
        SandboxError: The endpoints failed, or the package did; or the submission compiled in one test alone.
    """
    size = stop_after or max(len(tests), 1)
    results: list[TestResult] = []
    for first in range(0, len(tests), size):
        try:
            async with asyncio.TaskGroup() as group:
                tasks = [group.create_task(judge(test)) for test in tests[first : first + size]]
        except ExceptionGroup as errors:
            raise errors.exceptions[0] from errors
        results += [read_package_result(task.result()) for task in tasks]
        refusals = [result for result in results if result.verdict is Verdict.COMPILE_ERROR]
        if refusals and len(refusals) < len(results):
            raise SandboxError(f"A submission that Piston had compiled did not compile again: {refusals[0].feedback}")
        if refusals:
            return [refusals[0]] * len(tests)
        if any(stops(result) for result in results):
            break
    return results + [NOT_RUN] * (len(tests) - len(results))


def read_package_result(said: PackageRun) -> TestResult:
    """Return what a package said as the result of a test."""
    feedback = said.feedback[:FEEDBACK_CHARS]
    if not said.has_compiled:
        return TestResult(Verdict.COMPILE_ERROR, 0.0, feedback)
    if said.score == 1:
        return TestResult(Verdict.ACCEPTED, 1.0, feedback)
    if said.score > 0:
        return TestResult(Verdict.PARTIAL, said.score, feedback)
    failure = result_of_failure(said.run)
    return TestResult(Verdict.WRONG_ANSWER if failure is None else failure.verdict, 0.0, feedback)
