# SPDX-License-Identifier: Apache-2.0
"""Judging a program by the tests of its row: by standard input and output, or by calling its function.

Different from Open R1:
1. a test that fails, of whatever kind, costs that test alone; each has a verdict;
2. expected outputs never enter the box of the program;
3. no program at all is a compile error, for which no box is started.
"""

from collections.abc import Sequence
from dataclasses import replace

from open_r1.grading.binaries import TaskProgram
from open_r1.grading.cases import CallTest, ProgramTests, StdioTest
from open_r1.grading.contest_judges import judge_outputs
from open_r1.grading.functions import call_files, call_input, draw_words, judge_calls
from open_r1.grading.runs import JudgeBatch, batch_size_or_all, compare_apart, judge_runs
from open_r1.grading.stdio import find_difference
from open_r1.grading.verdict import TestResult, Verdict, result_of_failure
from open_r1.sandbox import Limits, ProgramInput, ProgramRun, RunRequest, Sandbox
from open_r1.sandbox.languages import find_language

_OUTPUT_STEP = 1 << 20


async def judge_program(
    code: str,
    tests: ProgramTests,
    sandbox: Sandbox,
    *,
    limits: Limits,
    batch_size: int | None = None,
    stops_early: bool = False,
    checker: TaskProgram | None = None,
) -> list[TestResult]:
    """Return a result for each test of a program; the same ones from every provider.

    Args:
        code: The program; blank means that there is none.
        tests: Its tests and language.
        sandbox: Where it runs.
        limits: Of each test; one with a longer expected output gets room for it.
        batch_size: Tests between two looks at whether to stop; None or less than 1: all tests.
        stops_early: Whether tests behind the first batch with a failure are left out (`Verdict.NOT_RUN`).
        checker: Scores outputs of tests by standard input, ready to run (`binaries.compiled`).

    Raises:
        SandboxError: The sandbox failed.
        UnsupportedLanguageError: It hasn't this language.
        ValueError: The row can't be used: functions in another language than Python, an unusable checker.
    """
    language = find_language(tests.language)
    if (reason := _reason_for_no_program(code)) is not None:
        return [TestResult(Verdict.COMPILE_ERROR, 0.0, reason)] * len(tests.tests)
    calls = [test for test in tests.tests if isinstance(test, CallTest)]
    others = [test for test in tests.tests if isinstance(test, StdioTest)]
    if calls:
        if language.name != "python" or checker is not None:
            raise ValueError(f"Functions are tested in Python and without a checker, not in {tests.language}.")
        words = draw_words(len(calls))
        files = call_files(code)
        inputs = [call_input(test, word) for test, word in zip(calls, words, strict=True)]
        judge_batch = _judge_calls(calls, words)
    else:
        files = {language.main_file: code}
        inputs = [ProgramInput(stdin=test.input) for test in others]
        judge_batch = _judge_outputs(others, checker, sandbox)
    stop_after = batch_size_or_all(batch_size or 0) if stops_early else None
    request = RunRequest(language.name, files, tuple(inputs), limits=_with_room(limits, tests), stop_after=stop_after)
    return await judge_runs(request, sandbox, judge_batch, _lacks_points if stops_early else None)


def _reason_for_no_program(code: str) -> str | None:
    if not code.strip():
        return "no program"
    try:
        code.encode("utf-8")
    except UnicodeEncodeError as error:
        return f"the program is no text: {error.reason}"
    return None


def _judge_calls(tests: Sequence[CallTest], words: Sequence[str]) -> JudgeBatch:
    async def judge(first: int, runs: Sequence[ProgramRun]) -> list[TestResult]:
        end = first + len(runs)
        return await compare_apart(runs, lambda runs: judge_calls(runs, tests[first:end], words[first:end]))

    return judge


def _judge_outputs(tests: Sequence[StdioTest], checker: TaskProgram | None, sandbox: Sandbox) -> JudgeBatch:
    async def judge(first: int, runs: Sequence[ProgramRun]) -> list[TestResult]:
        of_batch = tests[first : first + len(runs)]
        if checker is not None:
            return await judge_outputs(runs, of_batch, checker, sandbox)
        return await compare_apart(
            runs, lambda runs: [judge_output(run, test.expected) for run, test in zip(runs, of_batch, strict=True)]
        )

    return judge


def judge_output(run: ProgramRun, expected: str) -> TestResult:
    """Return the result of a run by its output."""
    if (failure := result_of_failure(run)) is not None:
        return failure
    difference = find_difference(run.stdout, expected)
    if difference is None:
        return TestResult(Verdict.ACCEPTED, 1.0)
    return TestResult(Verdict.WRONG_ANSWER, 0.0, difference)


def _lacks_points(result: TestResult) -> bool:
    return result.score < 1


def _with_room(limits: Limits, tests: ProgramTests) -> Limits:
    """Return limits that let the longest right output through, in whole MiB so that they say little of it."""
    longest = max(
        len(test.expected) if isinstance(test, StdioTest) else max(map(len, test.expected)) for test in tests.tests
    )
    # Up to four bytes a character, or four times the length where floats stand for integers.
    steps = -(-longest * 4 // _OUTPUT_STEP) + 1
    return replace(limits, output_bytes=max(limits.output_bytes, steps * _OUTPUT_STEP))
