# SPDX-License-Identifier: Apache-2.0
"""Codeforces problems (open-r1/codeforces, `verifiable-prompts`), judged by official and generated tests.

    {"id": "852/A", "language": "cpp", "time_limit": 2.0, "memory_limit": 256.0, "input_mode": "stdio",
     "official_tests": [{"input": "1\\n", "output": "2\\n"}], "official_tests_complete": true}

Deviations from Open R1:
1. The right output never enters the submission's box; without checker it's compared outside, word by word in a line.
2. Official tests that the site has cut (a long input or output that ends in "...") are left out. A row
   whose `official_tests_complete` is true has none, and a short text is whole: the last line of a grid may be "...".
3. Without `CF_TESTS_FOLDER` the official tests are used alone, and only a row without any is refused.
4. A checker that breaks is dealt with as `checkers` says.
As there, a Python program that can't be parsed is one that fails its tests: only a compiler's refusal has its own
reward. Python gets the problem's time limit, no more.

Generated tests are in files `test_cases_<contest, 4 digits>.parquet` below `CF_TESTS_FOLDER`, with the columns
problem_id, input, output. All files together are about 115 GB; of one only the rows of the problem are read. Deviation
from Open R1: the problems asked for last stay in memory, not 32 whole contests.
"""

import asyncio
import math
import os
import re
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from open_r1.grading.cases import StdioTest, draw_tests, with_room
from open_r1.grading.checkers import TaskProgram, judge_outputs
from open_r1.grading.programs import NO_BUDGET, Budget, batch_size_or_all, judge_runs, lacks_points
from open_r1.grading.verdict import Result, TestResult, TestVerdict
from open_r1.sandbox import Limits, ProgramInput, ProgramRun, RunRequest, Sandbox
from open_r1.sandbox.languages import LANGUAGES, find_language

SCORING_MODES = ("pass_fail", "partial", "weighted_sum")
CUT, MIN_CUT_CHARS = "...", 200  # the site shows some 250 characters of a text
_PARTIAL_WEIGHT = 0.1
NO_COMPILE_REWARD, NO_SUBMISSION_REWARD = -0.1, -1.0
FOLDER_VARIABLE = "CF_TESTS_FOLDER"
_PROBLEMS_IN_MEMORY = 8  # a file can hold gigabytes, a problem tens of megabytes
_READING = threading.Lock()

Tests = tuple[StdioTest, ...]


@dataclass(frozen=True)
class CodeforcesProblem:
    """One row: a problem in one language.

    Attributes:
        problem_id: "contest/index".
        language: Of the submission, by our name.
        official_tests: Those of the site, without the ones that it has cut.
        checker: Source of a checker in Python; None to compare outputs.
        limits: Of a test.
        input_mode: "stdio", or "file" for `input.txt` and `output.txt`.
    """

    problem_id: str
    language: str
    official_tests: Tests
    checker: str | None
    limits: Limits
    input_mode: str = "stdio"

    @classmethod
    def from_row(cls, row: Mapping[str, Any]) -> "CodeforcesProblem":
        """Read a row with the columns of open-r1/codeforces, `verifiable-prompts`.

        Raises:
            ValueError: A column is missing or unusable; the message names the row.
        """
        try:
            is_complete = row.get("official_tests_complete") is True
            problem = cls(
                problem_id=str(row["id"]),
                language=find_language(str(row.get("language"))).name,
                official_tests=tuple(
                    test for test in _read_tests(row.get("official_tests")) if is_complete or not is_truncated(test)
                ),
                checker=row.get("generated_checker") or None,
                limits=Limits(cpu_s=float(row["time_limit"]), memory_mb=math.ceil(float(row["memory_limit"]))),
                input_mode=row.get("input_mode") or "stdio",
            )
            if problem.input_mode not in ("stdio", "file") or not isinstance(problem.checker, str | None):
                raise ValueError("input_mode is stdio or file, and generated_checker is source code")
        except (KeyError, TypeError, ValueError, OverflowError) as error:
            raise ValueError(f"Codeforces row {row.get('id')!r}: {type(error).__name__}: {error}") from error
        return problem

    def program_input(self, test: StdioTest) -> ProgramInput:
        """Return what a run gets for a test."""
        if self.input_mode == "file":
            return ProgramInput(files={"input.txt": test.input}, output_file="output.txt")
        return ProgramInput(stdin=test.input)


def _read_tests(value: Any) -> list[StdioTest]:
    """Return tests from a list of them, or from a mapping with a list of inputs and one of outputs; None is none."""
    if isinstance(value, Mapping):
        return [StdioTest(*pair) for pair in zip(value["input"], value["output"], strict=True)]
    return [StdioTest(test["input"], test["output"]) for test in value or ()]


def is_truncated(test: StdioTest) -> bool:
    """Whether the site has cut the test's input or output, by its length and the dots at its end.

    >>> is_truncated(StdioTest("3\\n", "1 2 " * 50 + "...")), is_truncated(StdioTest("2 3\\n.#.\\n...\\n", "1\\n"))
    (True, False)
    """
    texts = (test.input.rstrip(), test.expected.rstrip())
    return any(len(text) >= MIN_CUT_CHARS and text.endswith(CUT) for text in texts)


def problem_tests(problem: CodeforcesProblem) -> Tests:
    """Return all tests of a problem, official ones first; may read a file.

    Raises:
        ValueError: There are none and `CF_TESTS_FOLDER` isn't set; all expect no output and there's no checker; or see
            `generated_tests`.
    """
    tests = problem.official_tests + generated_tests(problem.problem_id)
    if not tests and tests_folder() is None:
        raise ValueError(
            f"Codeforces problem {problem.problem_id!r} has no complete official tests; set {FOLDER_VARIABLE} "
            "to the folder of generated tests."
        )
    if tests and problem.checker is None and not any(test.expected.strip() for test in tests):
        raise ValueError(
            f"Codeforces problem {problem.problem_id!r}: every expected output is blank, and there is no checker."
        )
    return tests


async def judge_submission(
    code: str | None,
    problem: CodeforcesProblem,
    sandbox: Sandbox,
    *,
    scoring_mode: str = "weighted_sum",
    batch_size: int = 1,
    max_tests: int | None = None,
    budget: Budget = NO_BUDGET,
) -> Result:
    """Judge a submission; its reward is None where the problem has no test to judge by.

    Args:
        code: The submission; None or blank is none.
        problem: The row.
        sandbox: Where it runs.
        scoring_mode: "pass_fail" 1 for all tests passed, else 0; "partial" the share of tests passed; "weighted_sum"
            the first plus 0.1 times the second, so 0 to 1.1.
        batch_size: Tests in a batch; "pass_fail" ends after a batch with a failure, the others need all tests. Below
            1: all at once.
        max_tests: Of more tests so many are drawn (`cases.draw_tests`).
        budget: Of all tests.

    Raises:
        SandboxError: The sandbox failed.
        ValueError: The row is unusable: see `problem_tests` and `check_outputs`.
    """
    tests = draw_tests(await asyncio.to_thread(problem_tests, problem), max_tests)
    if not tests:
        return Result(None)
    if code is None or not code.strip():
        return Result(NO_SUBMISSION_REWARD)
    stop_after = batch_size_or_all(batch_size) if scoring_mode == "pass_fail" else None
    checker = None if problem.checker is None else TaskProgram("python", {"checker.py": problem.checker})

    async def judge_batch(first: int, runs: Sequence[ProgramRun]) -> list[TestResult]:
        return await judge_outputs(runs, tests[first : first + len(runs)], checker, sandbox)

    request = RunRequest(
        problem.language,
        {LANGUAGES[problem.language].main_file: code},
        tuple(map(problem.program_input, tests)),
        limits=with_room(problem.limits, tests),
        stop_after=stop_after,
    )
    results = await judge_runs(request, sandbox, judge_batch, lacks_points, budget)
    has_compiled = all(result.verdict is not TestVerdict.COMPILE_ERROR for result in results)
    reward = score_results(results, scoring_mode) if has_compiled else NO_COMPILE_REWARD
    return Result(reward, tuple(results))


def score_results(results: Sequence[TestResult], scoring_mode: str) -> float:
    """Return the reward of a submission that compiled; a test has passed when accepted, a part of a score is none.

    >>> half = [TestResult(TestVerdict.ACCEPTED, 1.0), TestResult(TestVerdict.WRONG_ANSWER)]
    >>> [score_results(half, mode) for mode in SCORING_MODES]
    [0.0, 0.5, 0.05]
    """
    num_passed = sum(result.verdict is TestVerdict.ACCEPTED for result in results)
    share, all_passed = num_passed / len(results), float(num_passed == len(results))
    if scoring_mode == "pass_fail":
        return all_passed
    return share if scoring_mode == "partial" else all_passed + _PARTIAL_WEIGHT * share


def tests_folder() -> Path | None:
    """Return the folder that `CF_TESTS_FOLDER` names, or None where it isn't set.

    Raises:
        ValueError: It's no folder.
    """
    value = os.environ.get(FOLDER_VARIABLE)
    if not value:
        return None
    folder = Path(value).expanduser()
    if not folder.is_dir():
        raise ValueError(
            f"{FOLDER_VARIABLE}={value} is not a folder; it must hold the files test_cases_<contest>.parquet."
        )
    return folder


def generated_tests(problem_id: str) -> Tests:
    """Return the generated tests of a problem "contest/index"; none without folder or file. Reads a file, so blocks.

    Raises:
        ValueError: `CF_TESTS_FOLDER` is no folder, the id isn't of that form, or the file can't be read as tests.
    """
    folder = tests_folder()
    if folder is None:
        return ()
    contest = problem_id.partition("/")[0]
    if not re.fullmatch(r"[0-9]{1,9}", contest):
        raise ValueError(f"The id of a Codeforces problem is `contest/index`, got {problem_id!r}.")
    path = folder / f"test_cases_{int(contest):04d}.parquet"
    with _READING:  # all submissions to a problem ask at the same time
        return read_tests(path, problem_id) if path.is_file() else ()


@lru_cache(maxsize=_PROBLEMS_IN_MEMORY)
def read_tests(path: Path, problem_id: str) -> Tests:
    """Return the tests of one problem in a file.

    Raises:
        ValueError: The file has other columns, or is no parquet file; or a test of the problem isn't two texts.
    """
    import pyarrow
    import pyarrow.parquet

    try:
        table = pyarrow.parquet.read_table(
            path, columns=["input", "output"], filters=[("problem_id", "==", problem_id)]
        )
        return tuple(map(StdioTest, table["input"].to_pylist(), table["output"].to_pylist()))
    except (pyarrow.ArrowException, KeyError, ValueError) as error:
        raise ValueError(f"{path} can't be read as tests with problem_id, input and output: {error}") from error
