# SPDX-License-Identifier: Apache-2.0
"""Judging a submission to an IOI problem, one subtask at a time: batch and communication tasks.

Deviations from Open R1:
1. The right output never enters the submission's box. Where a task has no checker it's compared outside, word by word
   in each line.
2. A batch size below 1 runs all tests at once, where there it ran none and scored 0.
3. A test that fails behind an earlier failure in its batch is still shown; tests in later batches are skipped.
4. Time limits are CPU seconds, without the 3 s that are added there.
On Piston, `package_judges` says when the package `cms_ioi` judges instead.
"""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from open_r1.grading.binaries import TaskProgram, compiled
from open_r1.grading.cases import StdioTest
from open_r1.grading.contest_judges import judge_interaction, judge_outputs, manager_limits, run_limits
from open_r1.grading.ioi_results import SubtaskResult
from open_r1.grading.ioi_subtasks import Sources, Subtask
from open_r1.grading.ioi_tests import find_tests
from open_r1.grading.package_judges import ioi_package, judge_by_package
from open_r1.grading.runs import batch_size_or_all, judge_runs
from open_r1.grading.verdict import NOT_RUN, TestResult, Verdict
from open_r1.sandbox import Interactor, ProgramInput, ProgramRun, RunRequest, Sandbox

LANGUAGE = "cpp"


@dataclass
class TestCache:
    """Results of one submission, shared between the subtasks of its problem, which have tests in common.

    Attributes:
        problem_id: The problem.
        code: The submission.
        results: By the name of the test.
        compile_error: The compiler's verdict, once it has refused the submission.
    """

    __test__ = False  # no test class, whatever pytest thinks of its name

    problem_id: str
    code: str
    results: dict[str, TestResult] = field(default_factory=dict)
    compile_error: TestResult | None = None

    def add(self, results: Mapping[str, TestResult]) -> None:
        """Keep the results of tests that were judged."""
        for name, result in results.items():
            if result.verdict is Verdict.COMPILE_ERROR:
                self.compile_error = result
            elif result.verdict is not Verdict.NOT_RUN:
                self.results[name] = result

    def known(self, names: Sequence[str]) -> dict[str, TestResult]:
        """Return what is known of tests."""
        if self.compile_error is not None:
            return dict.fromkeys(names, self.compile_error)
        return {name: self.results[name] for name in names if name in self.results}


async def judge_subtask(
    subtask: Subtask, code: str, sandbox: Sandbox, *, batch_size: int = 1, cache: TestCache | None = None
) -> SubtaskResult:
    """Judge a submission in one subtask.

    Args:
        subtask: The row.
        code: The submission in C++, with its includes (`includes.add_includes`); blank code scores 0, nothing is run.
        sandbox: Where it runs.
        batch_size: Tests in a batch; a batch with a score of 0 is the last. Below 1: all tests at once.
        cache: Results of the same submission in other subtasks of the problem; used and filled.

    Raises:
        SandboxError: The sandbox failed.
        ValueError: The row is unusable: tests that aren't there, a checker or manager that can't judge; or the cache
            is another submission's.
        OSError: The tests of the year can't be loaded.
    """
    cache = cache if cache is not None else TestCache(subtask.problem_id, code)
    if (cache.problem_id, cache.code) != (subtask.problem_id, code):
        raise ValueError(f"The cache holds results of another submission than this one to {subtask.problem_id!r}.")
    tests = subtask.tests if subtask.tests is not None else await asyncio.to_thread(find_tests, subtask)
    results = cache.known(subtask.test_names)
    missing = [name for name in subtask.test_names if name not in results]
    if code.strip() and missing and not any(_is_failure(result) for result in results.values()):
        chosen = [tests[name] for name in missing]
        judged = await _judge_tests(subtask, chosen, code, sandbox, batch_size)
        cache.add(dict(zip(missing, judged, strict=True)))
        results |= dict(zip(missing, judged, strict=True))
    return SubtaskResult(
        problem=subtask.problem_id,
        subtask=subtask.subtask,
        points=subtask.points,
        score_precision=subtask.score_precision,
        test_names=subtask.test_names,
        test_results=tuple(results.get(name, NOT_RUN) for name in subtask.test_names),
    )


async def judge_subtasks(
    subtasks: Sequence[Subtask], code: str, sandbox: Sandbox, *, skip_mode: bool = True
) -> list[SubtaskResult]:
    """Judge a submission in several subtasks of one problem; a test that they share is run once.

    Args:
        subtasks: The rows.
        code: As in `judge_subtask`.
        sandbox: Where it runs.
        skip_mode: Whether a subtask ends at its first test with a score of 0; else every test is run, after compiling
            once for all subtasks.

    Raises:
        SandboxError, ValueError, OSError: As in `judge_subtask`; or the subtasks are of several problems.
    """
    problems = {subtask.problem_id for subtask in subtasks}
    if len(problems) > 1:
        raise ValueError(f"Subtasks of one problem are judged together, got {', '.join(sorted(problems))}.")
    if not subtasks:
        return []
    cache = TestCache(subtasks[0].problem_id, code)
    if not skip_mode:
        everything = await asyncio.to_thread(_merge, subtasks)
        await judge_subtask(everything, code, sandbox, batch_size=0, cache=cache)
    return [await judge_subtask(subtask, code, sandbox, batch_size=1, cache=cache) for subtask in subtasks]


def _merge(subtasks: Sequence[Subtask]) -> Subtask:
    """Return a subtask with the tests of all."""
    tests = {name: test for subtask in subtasks for name, test in find_tests(subtask).items()}
    names = dict.fromkeys(name for subtask in subtasks for name in subtask.test_names)
    return replace(subtasks[0], test_names=tuple(names), tests=tests)


def _is_failure(result: TestResult) -> bool:
    return result.score == 0


async def _judge_tests(
    subtask: Subtask, tests: Sequence[StdioTest], code: str, sandbox: Sandbox, batch_size: int
) -> list[TestResult]:
    """Return the results of tests, all in one box; the programs of the task have theirs."""
    limits = run_limits(subtask.time_limit_s, subtask.memory_limit_mb, tests)
    package = await ioi_package(subtask, code, sandbox, limits)
    if package is not None:
        return await judge_by_package(tests, package, batch_size_or_all(batch_size), _is_failure)
    manager = await _compile_or_none(sandbox, subtask.manager_sources())
    checker = None if manager is not None else await _compile_or_none(sandbox, subtask.checker_sources())
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

    return await judge_runs(request, sandbox, judge_batch, stops=_is_failure)


async def _compile_or_none(sandbox: Sandbox, sources: Sources | None) -> TaskProgram | None:
    return None if sources is None else await compiled(sandbox, LANGUAGE, sources)
