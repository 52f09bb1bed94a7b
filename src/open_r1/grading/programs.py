# SPDX-License-Identifier: Apache-2.0
r"""Judging programs: find them in completions, run them on the tests of their rows, many at a time.

    program = find_program("```py\nprint(3)\n```", "python")
    results = await judge_program(program, tests, sandbox, limits=Limits(cpu_s=5.0))  ->  [AC, WA, WA]

Different from Open R1:
1. a test that fails, of whatever kind, costs that test alone; each has a verdict;
2. expected outputs never enter the box of the program;
3. no program at all is a compile error, for which no box is started;
4. a submission has a budget beside the limits of each test: there a script ended with its first time-out;
5. the word behind the backticks may be any name or alias of the language, in upper or lower case (`py`, `C++17`);
6. only what follows the reasoning counts, as for answers: a program that was only thought about is none. The last
   closing tag ends it; one inside a block behind an earlier one is a program's text.

Providers that run in batches are stopped after the batch that decides; of those that run everything, later runs aren't
looked at. So the result is the same whatever the provider can do.
"""

import json
import re
import time
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from typing import Any

from open_r1.grading.cases import CallTest, ProgramTests, with_room
from open_r1.grading.checkers import TaskProgram, judge_outputs
from open_r1.grading.compare import compare_output, compare_runs
from open_r1.grading.functions import call_files, call_input, compare_call, draw_word
from open_r1.grading.verdict import NOT_RUN, OVER_BUDGET, Result, TestResult, TestVerdict
from open_r1.sandbox import (
    Limits,
    Outcome,
    ProgramInput,
    ProgramRun,
    RunRequest,
    Sandbox,
    SandboxError,
    UnsupportedLanguageError,
    run_jobs,
)
from open_r1.sandbox.languages import LANGUAGES, find_language
from open_r1.sandbox.providers import SandboxSettings

# Judges the runs of one batch, given the index of its first test: a result for each.
JudgeBatch = Callable[[int, Sequence[ProgramRun]], Awaitable[list[TestResult]]]
Stops = Callable[[TestResult], bool]
# A program and the problem that it's to solve: `ProgramTests`, or that of a contest.
Submission = tuple[str, Any]

FEEDBACK_CHARS = 1000
# Runs between two looks at the budget, where a look costs a round trip, or runs of a batch go side by side.
_RUNS_ELSEWHERE = 8
_NO_RUN = ProgramRun(Outcome.RUNTIME_ERROR, stderr="The box ended before this test had run.")

_THINK_OPEN, _THINK_CLOSE = "<think>", "</think>"
_FENCE = "```"
_MARK = re.compile(f"{_FENCE}|{_THINK_CLOSE}")
_OPENING = re.compile(r"```[ \t]*([^\s`]{1,40})(?:[ \t][^\n`]{0,200})?\n")


@lru_cache(maxsize=256)
def language_name(word: str) -> str:
    """Return our name of the language that a word means, by any name or alias; of one unknown to us the word.

    >>> language_name("{.py}"), language_name("GNU C++17 (64)"), language_name("Rust")
    ('python', 'cpp', 'rust')
    """
    word = word.strip("{}.").lower()
    try:
        return find_language(word).name
    except UnsupportedLanguageError:
        return word


def find_program(text: str, language: str) -> str | None:
    r"""Return the last closed block of this language behind the reasoning, or None where there's none or it's blank.

    A block ends at the next three backticks. Reasoning that never ends holds no program. A language that no sandbox
    knows has the one name.

    >>> find_program("```py\n1\n```\n```rust\n2\n```", "python"), find_program("```C++\n1\n```", "cpp")
    ('1\n', '1\n')
    >>> find_program("<think>\n```python\n1\n```", "python") is None
    True
    """
    wanted = language_name(language)
    answer = _behind_reasoning(text)
    end = len(answer)
    for opening in reversed(list(_OPENING.finditer(answer))):
        close = answer.find(_FENCE, opening.end(), end)
        if close >= 0 and language_name(opening[1]) == wanted:
            # Half a surrogate pair, which no file could hold, becomes a question mark.
            program = answer[opening.end() : close].encode(errors="replace").decode()
            return program if program.strip() else None
        end = opening.start() + len(_FENCE)
    return None


def _behind_reasoning(text: str) -> str:
    """Return what follows the closing tag that ends the reasoning; without one what precedes the opening tag."""
    first = text.find(_THINK_CLOSE)
    if first < 0:
        return text.partition(_THINK_OPEN)[0]
    start = first + len(_THINK_CLOSE)
    last_fence = text.rfind(_FENCE)
    is_inside = False
    for mark in _MARK.finditer(text, start):
        if mark[0] == _FENCE:
            is_inside = not is_inside
        elif not (is_inside and mark.start() < last_fence):
            start, is_inside = mark.end(), False
    return text[start:]


@dataclass(frozen=True)
class Budget:
    """What all tests of a submission may cost together.

    Attributes:
        max_timeouts: Tests that run out of time; the last of them is the last that is run. None: any number.
        total_cpu_s: CPU seconds of the compiler and all tests together (`RunRequest.total_cpu_s`); None: any.
    """

    max_timeouts: int | None = 2
    total_cpu_s: float | None = 600.0

    def num_paid(self, results: Iterable[TestResult]) -> int | None:
        """Return how many tests are paid, given their results; None: all, with some left."""
        late = [number for number, result in enumerate(results, 1) if result.verdict is TestVerdict.TIME_LIMIT]
        return None if self.max_timeouts is None or len(late) < self.max_timeouts else late[self.max_timeouts - 1]

    def runs_at_a_time(self, sandbox: Sandbox) -> int | None:
        """Return after how many runs to look at what is left; None: never."""
        return self.max_timeouts if sandbox.name == "local" or self.max_timeouts is None else _RUNS_ELSEWHERE


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
    language = LANGUAGES.get(tests.language) or find_language(tests.language)
    if not code.strip():
        return [TestResult(TestVerdict.COMPILE_ERROR, 0.0, "no program")] * len(tests.tests)
    # Half a surrogate pair, which no file could hold, becomes a question mark.
    code = code.encode(errors="replace").decode()
    calls = [(test, draw_word()) for test in tests.tests if isinstance(test, CallTest)]
    others = [test for test in tests.tests if not isinstance(test, CallTest)]
    if checker is None:
        tests.require_outputs()
    if calls and (language.name != "python" or checker is not None):
        raise ValueError(f"Functions are tested in Python and without a checker, not in {tests.language}.")

    async def judge_batch(first: int, runs: Sequence[ProgramRun]) -> list[TestResult]:
        end = first + len(runs)
        if calls:
            return await compare_runs(runs, calls[first:end], compare_call)
        if checker is not None:
            return await judge_outputs(runs, others[first:end], checker, sandbox)
        return await compare_runs(runs, others[first:end], compare_output)

    request = RunRequest(
        language.name,
        call_files(code) if calls else {language.main_file: code},
        tuple(call_input(*call) for call in calls) or tuple(ProgramInput(stdin=test.input) for test in others),
        limits=with_room(limits, tests.tests),
        stop_after=batch_size_or_all(batch_size or 0) if stops_early else None,
    )
    return await judge_runs(request, sandbox, judge_batch, lacks_points if stops_early else None, budget)


def lacks_points(result: TestResult) -> bool:
    """Whether a test isn't passed, or only in part."""
    return result.score < 1


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
    request = replace(request, total_cpu_s=budget.total_cpu_s)
    if request.stop_after is None:
        request, stops = replace(request, stop_after=budget.runs_at_a_time(sandbox)), None
    num_tests = len(request.inputs)
    size = request.stop_after or max(num_tests, 1)
    judged: dict[int, tuple[list[ProgramRun], list[TestResult]]] = {}
    failures: list[Exception] = []

    async def judge(first: int, runs: Sequence[ProgramRun]) -> list[TestResult]:
        """Return the results of a batch and of all before it."""
        # A provider may have repeated the request in a new box: only what it returned in the end counts.
        if first not in judged or judged[first][0] != list(runs):
            batch = [result.of_run(run) for run, result in zip(runs, await judge_batch(first, runs), strict=True)]
            judged[first] = list(runs), batch
        return [result for start in range(0, first + 1, size) for result in judged[start][1]]

    async def go_on(first: int, runs: Sequence[ProgramRun]) -> bool:
        try:
            return _end(await judge(first, runs), size, num_tests, stops, budget) is None
        except (SandboxError, ValueError) as error:
            failures.append(error)  # of the judge: the provider mustn't take it for a failure of this box
            return False

    result = await sandbox.run(request, go_on)
    if failures:
        raise failures[0]
    if not result.has_compiled:
        said = "" if result.compile is None else result.compile.stderr or result.compile.stdout
        return [TestResult(TestVerdict.COMPILE_ERROR, 0.0, said[-FEEDBACK_CHARS:])] * num_tests
    results: list[TestResult] = []
    for first in range(0, num_tests, size):
        results = await judge(first, _complete(result.tests, first, size))
        if (found := _end(results, size, num_tests, stops, budget)) is not None:
            return found
    return results


def _end(
    results: list[TestResult], size: int, num_tests: int, stops: Stops | None, budget: Budget
) -> list[TestResult] | None:
    """Return the results of all tests where the last batch so far ends them; None where more are to be run."""
    batch = results[(len(results) - 1) // size * size :]
    if not any(map(lacks_points, batch)):
        return None
    num_paid = budget.num_paid(results)
    is_early_stop = stops is not None and any(map(stops, batch))
    if num_paid is None and not is_early_stop:
        return None
    kept = results[:num_paid]
    return kept + [NOT_RUN if is_early_stop else OVER_BUDGET] * (num_tests - len(kept))


def _complete(runs: Sequence[ProgramRun | None], first: int, size: int) -> list[ProgramRun]:
    """Return the runs of a batch; those missing are crashes where the program had ended its box before.

    Raises:
        SandboxError: They're missing though no run before them failed.
    """
    batch = runs[first : first + size]
    if None in batch:
        before = runs[: first + batch.index(None)]
        if all(run is None or run.outcome is Outcome.OK for run in before):
            raise SandboxError(f"The sandbox skipped run {len(before) + 1} of {len(runs)} without a reason.")
    return [run or _NO_RUN for run in batch]


def judge_all(
    submissions: Sequence[Submission],
    judge: Callable[[str, Any, Sandbox], Awaitable[Result]],
    settings: SandboxSettings,
) -> list[Result]:
    """Judge submissions, `settings.num_places` at a time; those of one program to one problem object once.

    A program that fails is a result. A sandbox that fails, and a row that no judge can use, are in its `error`.

    Raises:
        ValueError: The sandbox can't be built, or hasn't a language (`UnsupportedLanguageError`).
    """
    if not submissions:
        return []
    sandbox = settings.build()

    async def judge_one(program: str, problem: Any) -> Result:
        start = time.monotonic()
        try:
            result = await judge(program, problem, sandbox)
        except UnsupportedLanguageError:
            raise
        except (SandboxError, ValueError, OSError) as error:
            # Replies that can't be read, and tests on a disk or a hub, are no fault of the row, which was read before.
            is_of_row = isinstance(error, ValueError) and not isinstance(error, json.JSONDecodeError | UnicodeError)
            is_known = is_of_row or isinstance(error, SandboxError)
            said = f"The judge failed: {type(error).__name__}: {error}"
            result = Result(None, error=error if is_known else SandboxError(said))
        return replace(result, seconds=time.monotonic() - start)

    keys = [(program, id(problem)) for program, problem in submissions]
    distinct = dict(zip(keys, submissions, strict=True))
    jobs = [partial(judge_one, *submission) for submission in distinct.values()]
    results = dict(zip(distinct, run_jobs(jobs, settings.num_places), strict=True))
    return [results[key] for key in keys]  # pyrefly: ignore[bad-return]
