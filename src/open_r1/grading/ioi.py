# SPDX-License-Identifier: Apache-2.0
"""Judging a submission to an IOI problem, one subtask at a time: batch and communication tasks.

Deviations from Open R1:
1. The right output never enters the submission's box. Where a task has no checker it's compared outside, word by word
   in each line.
2. A batch size below 1 runs all tests at once, where there it ran none and scored 0.
3. A test that fails behind an earlier failure in its batch is still shown; tests in later batches are skipped.
4. Time limits are CPU seconds, without the 3 s that are added there.
5. A result without tests has a status (SKIPPED), where there it raised.
6. The score isn't rounded. `score_precision` is a precision of points, and rounding to 0 decimals, as some tasks do
   with their points, made a full score of 0.6 and nothing of 0.4. The points (`weighted_score`) are rounded.
On Piston, `package_judges` says when the package `cms_ioi` judges instead.
"""

import asyncio
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import PurePosixPath
from typing import Any

from open_r1.grading.cases import StdioTest
from open_r1.grading.checkers import (
    TaskProgram,
    compiled,
    judge_interaction,
    judge_outputs,
    manager_limits,
    run_limits,
)
from open_r1.grading.ioi_rows import MEBIBYTE, Sources, Subtask, find_tests
from open_r1.grading.package_judges import JudgeOne, find_package, judge_by_package
from open_r1.grading.programs import batch_size_or_all, judge_runs
from open_r1.grading.verdict import NOT_RUN, TestResult, TestVerdict
from open_r1.sandbox import Interactor, Limits, ProgramInput, ProgramRun, RunRequest, Sandbox
from open_r1.sandbox.piston_packages import IOI_PACKAGE, PackageRun, cms_ioi_files

LANGUAGE = "cpp"
GRADER_CONFIG = "grader_config.json"
# The worst verdict of a subtask is the first of these that one of its tests has.
WORST_FIRST = (
    TestVerdict.COMPILE_ERROR,
    TestVerdict.RUNTIME_ERROR,
    TestVerdict.WRONG_ANSWER,
    TestVerdict.OUTPUT_LIMIT,
    TestVerdict.MEMORY_LIMIT,
    TestVerdict.TIME_LIMIT,
    TestVerdict.PARTIAL,
    TestVerdict.ACCEPTED,
    TestVerdict.NOT_RUN,
)
SKIPPED = "SKIPPED"


@dataclass(frozen=True)
class SubtaskResult:
    """The result of one subtask.

    Attributes:
        problem: The problem's id.
        subtask: Name of the subtask.
        points: What the subtask is worth.
        score_precision: Decimals of the points.
        test_names: Names of its tests.
        test_results: Results in the order of the names.
    """

    problem: str
    subtask: str
    points: float = 0.0
    score_precision: int = 2
    test_names: tuple[str, ...] = ()
    test_results: tuple[TestResult, ...] = ()

    @property
    def status(self) -> str:
        """The worst verdict of all tests; "SKIPPED" where none was run."""
        verdicts = {result.verdict for result in self.test_results}
        return status_of(next((verdict for verdict in WORST_FIRST if verdict in verdicts), TestVerdict.NOT_RUN))

    @property
    def score(self) -> float:
        """The lowest score of all tests in [0, 1]; 0 without tests."""
        return min((result.score for result in self.test_results), default=0.0)

    @property
    def weighted_score(self) -> float:
        """The share of the subtask's points, rounded to `score_precision` decimals."""
        return round(self.score * self.points, self.score_precision)

    def to_dict(self) -> dict[str, Any]:
        """Return the result as plain values, by the names that Open R1 gives them."""
        tests = zip(self.test_names, self.test_results, strict=True)
        return {
            "problem": self.problem,
            "subtask": self.subtask,
            "score": self.score,
            "weighted_score": self.weighted_score,
            "points": self.points,
            "score_precision": self.score_precision,
            "status": self.status,
            "test_results": [
                {
                    "test_name": name,
                    "score": result.score,
                    "status": status_of(result.verdict),
                    "feedback": result.feedback,
                }
                for name, result in tests
            ],
        }


def status_of(verdict: TestVerdict) -> str:
    """Return the name of a verdict in the results of contests."""
    return SKIPPED if verdict is TestVerdict.NOT_RUN else verdict.value


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
            if result.verdict is TestVerdict.COMPILE_ERROR:
                self.compile_error = result
            elif result.verdict is not TestVerdict.NOT_RUN:
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
        code: The submission in C++, with its includes (`patches.add_includes`); blank code scores 0, nothing is run.
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
    package = await _find_judge(subtask, code, sandbox, limits)
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
