# SPDX-License-Identifier: Apache-2.0
"""Judging a program by the tests of its row: by standard input and output, or by calling its function.

Different from Open R1:
1. a test that fails, of whatever kind, costs that test alone; each has a verdict;
2. expected outputs never enter the box of the program;
3. no program at all is a compile error, for which no box is started;
4. a submission has a budget beside the limits of each test: there a script ended with its first time-out.

Providers that run in batches are stopped after the batch that decides; of those that run everything, later runs aren't
looked at. So the result is the same whatever the provider can do.
"""

import math
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

from open_r1.grading.cases import CallTest, ProgramTests, StdioTest
from open_r1.grading.checkers import TaskProgram, judge_outputs
from open_r1.grading.compare import compare_apart
from open_r1.grading.functions import call_files, call_input, draw_words, judge_calls
from open_r1.grading.verdict import NOT_RUN, OVER_BUDGET, TestResult, TestVerdict
from open_r1.sandbox import Limits, Outcome, ProgramInput, ProgramRun, RunRequest, RunResult, Sandbox, SandboxError
from open_r1.sandbox.languages import find_language

# Judges the runs of one batch, given the index of its first test: a result for each.
JudgeBatch = Callable[[int, Sequence[ProgramRun]], Awaitable[list[TestResult]]]
Stops = Callable[[TestResult], bool]

FEEDBACK_CHARS = 1000
_OUTPUT_STEP = 1 << 20
# Runs between two looks at the budget, where a look costs a round trip, or runs of a batch go side by side.
_RUNS_ELSEWHERE = 8
_NO_RUN = ProgramRun(Outcome.RUNTIME_ERROR, stderr="The box ended before this test had run.")


class Spent(NamedTuple):
    """What the tests of a submission have cost so far."""

    num_timeouts: int = 0
    num_failed: int = 0
    failed_s: float = 0.0
    fastest_s: float = math.inf


NOTHING = Spent()


@dataclass(frozen=True)
class Budget:
    """What the tests of a submission that it fails may cost; the test that uses it up is the last.

    A test that passes is never charged: a right program isn't cut, however slow it is within its limits.

    Attributes:
        max_timeouts: Tests that run out of time; None: any number.
        extra_s: Seconds on the clock of tests that fail, beyond what they would take if each were as fast as the
            fastest test; None: any.
    """

    max_timeouts: int | None = 2
    extra_s: float | None = 30.0

    def charge(self, results: Iterable[TestResult], spent: Spent = NOTHING) -> tuple[Spent, int | None]:
        """Return what tests have cost, these too, and how many of these are paid; None: all, with some left."""
        num_timeouts, num_failed, failed_s, fastest_s = spent
        num_paid = None
        for number, result in enumerate(results, start=1):
            num_timeouts += result.verdict is TestVerdict.TIME_LIMIT
            taken_s = result.cpu_s if math.isnan(result.wall_s) else result.wall_s
            if not math.isnan(taken_s):  # or the provider can't tell
                fastest_s = min(fastest_s, taken_s)
                num_failed += result.score < 1
                failed_s += taken_s * (result.score < 1)
            extra_s = failed_s - num_failed * fastest_s if num_failed else 0.0
            if num_timeouts >= (self.max_timeouts or math.inf) or extra_s >= (self.extra_s or math.inf):
                num_paid = number
                break
        return Spent(num_timeouts, num_failed, failed_s, fastest_s), num_paid

    def runs_at_a_time(self, sandbox: Sandbox) -> int | None:
        """Return after how many runs to look at what is left; None: never."""
        if self.max_timeouts is None and self.extra_s is None:
            return None
        return max(1, self.max_timeouts or 1) if sandbox.name == "local" else _RUNS_ELSEWHERE


NO_BUDGET = Budget(None, None)


async def judge_program(
    code: str,
    tests: ProgramTests,
    sandbox: Sandbox,
    *,
    limits: Limits,
    batch_size: int | None = None,
    stops_early: bool = False,
    checker: TaskProgram | None = None,
    budget: Budget = NO_BUDGET,
) -> list[TestResult]:
    """Return a result for each test of a program; the same ones from every provider.

    Args:
        code: The program; blank means that there is none.
        tests: Its tests and language.
        sandbox: Where it runs.
        limits: Of each test; one with a longer expected output gets room for it.
        batch_size: Tests between two looks at whether to stop; None or less than 1: all tests.
        stops_early: Whether tests behind the first batch with a failure are left out (`TestVerdict.NOT_RUN`).
        checker: Scores outputs of tests by standard input, ready to run (`checkers.compiled`).
        budget: Of all tests; those that it doesn't pay are `TestVerdict.OVER_BUDGET`.

    Raises:
        SandboxError: The sandbox failed.
        UnsupportedLanguageError: It hasn't this language.
        ValueError: The row can't be used: functions in another language than Python, an unusable checker, nothing
            expected.
    """
    language = find_language(tests.language)
    if (reason := _reason_for_no_program(code)) is not None:
        return [TestResult(TestVerdict.COMPILE_ERROR, 0.0, reason)] * len(tests.tests)
    calls = [test for test in tests.tests if isinstance(test, CallTest)]
    others = [test for test in tests.tests if isinstance(test, StdioTest)]
    if checker is None:
        tests.require_outputs()
    if calls:
        if language.name != "python" or checker is not None:
            raise ValueError(f"Functions are tested in Python and without a checker, not in {tests.language}.")
        words = draw_words(len(calls))
        files = call_files(code)
        inputs = [call_input(test, word) for test, word in zip(calls, words, strict=True)]
    else:
        files = {language.main_file: code}
        inputs = [ProgramInput(stdin=test.input) for test in others]

    async def judge_batch(first: int, runs: Sequence[ProgramRun]) -> list[TestResult]:
        end = first + len(runs)
        if calls:
            return await compare_apart(runs, lambda runs: judge_calls(runs, calls[first:end], words[first:end]))
        return await judge_outputs(runs, others[first:end], checker, sandbox, by_words=False)

    stop_after = batch_size_or_all(batch_size or 0) if stops_early else None
    request = RunRequest(language.name, files, tuple(inputs), limits=_with_room(limits, tests), stop_after=stop_after)
    return await judge_runs(request, sandbox, judge_batch, lacks_points if stops_early else None, budget)


def _reason_for_no_program(code: str) -> str | None:
    if not code.strip():
        return "no program"
    try:
        code.encode("utf-8")
    except UnicodeEncodeError as error:
        return f"the program is no text: {error.reason}"
    return None


def lacks_points(result: TestResult) -> bool:
    """Whether a test isn't passed, or only in part."""
    return result.score < 1


def _with_room(limits: Limits, tests: ProgramTests) -> Limits:
    """Return limits that let the longest right output through, in whole MiB so that they say little of it."""
    longest = max(
        len(test.expected) if isinstance(test, StdioTest) else max(map(len, test.expected)) for test in tests.tests
    )
    # Up to four bytes a character, or four times the length where floats stand for integers.
    steps = -(-longest * 4 // _OUTPUT_STEP) + 1
    return replace(limits, output_bytes=max(limits.output_bytes, steps * _OUTPUT_STEP))


def batch_size_or_all(batch_size: int) -> int | None:
    """Return `RunRequest.stop_after` of a batch size; one below 1 means all tests at once."""
    return batch_size if batch_size >= 1 else None


async def judge_runs(
    request: RunRequest,
    sandbox: Sandbox,
    judge_batch: JudgeBatch,
    stops: Stops | None = None,
    budget: Budget = NO_BUDGET,
) -> list[TestResult]:
    """Run a submission and return a result for each of its inputs.

    Args:
        request: The submission; `stop_after` is the size of a batch. Without one, runs go in batches of the budget's.
        sandbox: Where it runs.
        judge_batch: Judges the runs of a batch.
        stops: Whether a result makes further batches needless; None: all batches are judged.
        budget: Of all runs.

    Raises:
        SandboxError: The sandbox failed, or left out runs for no reason of the program's.
        ValueError: What `judge_batch` raises.
    """
    if request.stop_after is None:
        request, stops = replace(request, stop_after=budget.runs_at_a_time(sandbox)), None
    num_tests = len(request.inputs)
    size = request.stop_after or max(num_tests, 1)
    judged: dict[int, tuple[list[ProgramRun], list[TestResult]]] = {}
    spent: dict[int, Spent] = {}
    failures: list[Exception] = []

    async def judge(first: int, runs: Sequence[ProgramRun]) -> list[TestResult]:
        return [result.of_run(run) for run, result in zip(runs, await judge_batch(first, runs), strict=True)]

    async def go_on(first: int, runs: Sequence[ProgramRun]) -> bool:
        try:
            judged[first] = (list(runs), await judge(first, runs))
        except (SandboxError, ValueError) as error:
            failures.append(error)  # of the judge: the provider mustn't take it for a failure of this box
            return False
        batch = judged[first][1]
        spent[first], num_paid = budget.charge(batch, spent.get(first - size, NOTHING))
        return num_paid is None and not _is_over(batch, stops)

    result = await sandbox.run(request, go_on)
    if failures:
        raise failures[0]
    if not result.has_compiled:
        return [_compile_error(result)] * num_tests
    results: list[TestResult] = []
    total = NOTHING
    for first in range(0, num_tests, size):
        runs = _complete(result.tests, first, size)
        seen, batch = judged.get(first, ([], []))
        # A provider may have repeated the request in a new box: only what it returned in the end counts.
        if seen != runs:
            batch = await judge(first, runs)
        total, num_paid = budget.charge(batch, total)
        results += batch[:num_paid]
        is_early_stop = _is_over(batch, stops)
        if is_early_stop or num_paid is not None:
            return results + [NOT_RUN if is_early_stop else OVER_BUDGET] * (num_tests - len(results))
    return results


def _complete(runs: Sequence[ProgramRun | None], first: int, size: int) -> list[ProgramRun]:
    """Return the runs of a batch; those missing are crashes where the program had ended its box before.

    Raises:
        SandboxError: They're missing though no run before them failed.
    """
    batch = runs[first : first + size]
    if None in batch:
        before = runs[: first + batch.index(None)]
        if all(run is None or run.outcome is Outcome.OK for run in before):
            raise SandboxError(
                f"The sandbox left out run {len(before) + 1} of {len(runs)} for no reason that it gave."
            )
    return [run or _NO_RUN for run in batch]


def _is_over(results: Sequence[TestResult], stops: Stops | None) -> bool:
    return stops is not None and any(stops(result) for result in results)


def _compile_error(result: RunResult) -> TestResult:
    said = "" if result.compile is None else result.compile.stderr or result.compile.stdout
    return TestResult(TestVerdict.COMPILE_ERROR, 0.0, said[-FEEDBACK_CHARS:])
