# SPDX-License-Identifier: Apache-2.0
"""Judging by the packages that Open R1's users have installed in their Piston, where its plain runtimes can't.

A package gets the right output beside the submission and compares at the endpoint, so it's the second choice: for
communication tasks, files in place of standard input and output, and endpoints without the plain language.
"""

from collections.abc import Callable, Coroutine, Sequence
from typing import TYPE_CHECKING, Any

from open_r1.grading.cases import StdioTest
from open_r1.grading.programs import FEEDBACK_CHARS, NO_BUDGET, Budget, Stops
from open_r1.grading.verdict import NOT_RUN, OVER_BUDGET, TestResult, TestVerdict, result_of_failure
from open_r1.sandbox import Sandbox, SandboxError
from open_r1.sandbox.piston_packages import PackageRun
from open_r1.sandbox.running import gather

if TYPE_CHECKING:
    from open_r1.sandbox.piston import PistonSandbox

_BATCH = 8  # tests side by side, where no batch size is asked for
JudgeOne = Callable[[StdioTest], Coroutine[Any, Any, PackageRun]]


async def find_package(sandbox: Sandbox, package: str, plain: Sequence[str]) -> "PistonSandbox | None":
    """Return the sandbox if it's Piston, has the package, and lacks one of the plain languages (or none would do).

    Raises:
        SandboxError: No endpoint answers.
    """
    if sandbox.name != "piston":
        return None
    from open_r1.sandbox.piston import PistonSandbox

    if not isinstance(sandbox, PistonSandbox):
        return None
    if plain and set(plain) <= set(await sandbox.languages()):
        return None
    return sandbox if package in await sandbox.packages() else None


async def judge_by_package(
    tests: Sequence[StdioTest], judge: JudgeOne, stop_after: int | None, stops: Stops, budget: Budget = NO_BUDGET
) -> list[TestResult]:
    """Return a result for each test; the tests of a batch are judged side by side, a batch with a failure is the last.

    Without `stop_after` no failure ends it, only the budget.

    Raises:
        SandboxError: The endpoints failed, or the package did; or the submission compiled in one test alone.
    """
    size = stop_after or _BATCH
    said: list[PackageRun] = []
    results: list[TestResult] = []
    for first in range(0, len(tests), size):
        said += await gather([judge(test) for test in tests[first : first + size]])
        results = [read_package_result(answer).of_run(answer.run) for answer in said]
        refusals = [result for result in results if result.verdict is TestVerdict.COMPILE_ERROR]
        if refusals and len(refusals) < len(results):
            raise SandboxError(f"A submission that Piston had compiled did not compile again: {refusals[0].feedback}")
        if refusals:
            return [refusals[0]] * len(tests)
        _, num_paid = budget.charge(results)
        if num_paid is not None:
            return results[:num_paid] + [OVER_BUDGET] * (len(tests) - num_paid)
        if stop_after is not None and any(stops(result) for result in results):
            break
    return results + [NOT_RUN] * (len(tests) - len(results))


def read_package_result(said: PackageRun) -> TestResult:
    """Return what a package said as the result of a test."""
    feedback = said.feedback[:FEEDBACK_CHARS]
    if not said.has_compiled:
        return TestResult(TestVerdict.COMPILE_ERROR, 0.0, feedback)
    if said.score == 1:
        return TestResult(TestVerdict.ACCEPTED, 1.0, feedback)
    if said.score > 0:
        return TestResult(TestVerdict.PARTIAL, said.score, feedback)
    failure = result_of_failure(said.run)
    return TestResult(TestVerdict.WRONG_ANSWER if failure is None else failure.verdict, 0.0, feedback)
