# SPDX-License-Identifier: Apache-2.0
"""Judging a submission to a problem of open-r1/codeforces by its official and its generated tests.

Deviations from Open R1:
1. The right output never enters the submission's box; without checker it's compared outside, word by word in a line.
2. Official tests that the site has cut (a long input or output that ends in "...") are left out. A row
   whose `official_tests_complete` is true has none, and a short text is whole: the last line of a grid may be "...".
3. Without `CF_TESTS_FOLDER` the official tests are used alone, and only a row without any is refused.
4. A checker that breaks is dealt with as `checkers` says.
As there, a Python program that can't be parsed is one that fails its tests: only a compiler's refusal has its own
reward. Python gets the problem's time limit, no more. On Piston, `package_judges` says when a package judges instead.

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

from open_r1.grading.batch import Score
from open_r1.grading.cases import StdioTest, draw_tests
from open_r1.grading.checkers import judge_outputs, python_checker, run_limits
from open_r1.grading.ioi_rows import MAX_MEMORY_MB, MAX_TIME_LIMIT_S
from open_r1.grading.package_judges import JudgeOne, find_package, judge_by_package
from open_r1.grading.programs import NO_BUDGET, Budget, batch_size_or_all, judge_runs, lacks_points
from open_r1.grading.verdict import TestResult, TestVerdict
from open_r1.sandbox import Limits, ProgramInput, ProgramRun, RunRequest, Sandbox
from open_r1.sandbox.languages import find_language
from open_r1.sandbox.piston_packages import CODEFORCES_PACKAGES, PackageRun, codeforces_files

SCORING_MODES = ("pass_fail", "partial", "weighted_sum")
INPUT_MODES = ("stdio", "file")
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
        language: Of the submission, as the data set calls it.
        official_tests: Those of the site, without the ones that it has cut.
        checker: Source of a checker in Python; None to compare outputs.
        time_limit_s: CPU seconds of a test.
        memory_limit_mb: Memory of a test, in MiB.
        input_mode: "stdio", or "file" for `input.txt` and `output.txt`.
    """

    problem_id: str
    language: str
    official_tests: Tests
    checker: str | None
    time_limit_s: float
    memory_limit_mb: int
    input_mode: str = "stdio"

    @classmethod
    def from_row(cls, row: Mapping[str, Any]) -> "CodeforcesProblem":
        """Read a row with the columns of open-r1/codeforces, `verifiable-prompts`.

        Raises:
            ValueError: A column is missing or unusable; the message names the row.
            UnsupportedLanguageError: The language is unknown.
        """
        where = f"Codeforces row {row.get('id')!r}"
        if not row.get("language"):
            raise ValueError(f"{where}: no `language`; the configuration `verifiable-prompts` has one for each row.")
        language = find_language(str(row["language"])).name
        try:
            official = _read_tests(row.get("official_tests"))
            is_complete = row.get("official_tests_complete") is True
            whole = tuple(test for test in official if is_complete or not is_truncated(test))
            checker, input_mode = row.get("generated_checker") or None, row.get("input_mode") or "stdio"
            if not (checker is None or isinstance(checker, str)):
                raise TypeError(f"generated_checker is source code, got {type(checker).__name__}")
            problem = cls(
                problem_id=str(row["id"]),
                language=language,
                official_tests=whole,
                checker=checker,
                time_limit_s=float(row["time_limit"]),
                memory_limit_mb=math.ceil(float(row["memory_limit"])),
                input_mode=input_mode,
            )
        except (KeyError, TypeError, ValueError, OverflowError) as error:
            raise ValueError(f"{where}: {type(error).__name__}: {error}") from error
        if problem.input_mode not in INPUT_MODES:
            raise ValueError(f"{where}: input_mode is one of {', '.join(INPUT_MODES)}, got {problem.input_mode!r}.")
        if not (0 < problem.time_limit_s <= MAX_TIME_LIMIT_S and 0 < problem.memory_limit_mb <= MAX_MEMORY_MB):
            raise ValueError(
                f"{where}: time_limit and memory_limit must be positive, at most {MAX_TIME_LIMIT_S:g} s and "
                f"{MAX_MEMORY_MB} MiB."
            )
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
            f"Codeforces problem {problem.problem_id!r} has no official tests that are whole; set {FOLDER_VARIABLE} "
            "to the folder of generated tests."
        )
    if tests and problem.checker is None and not any(test.expected.strip() for test in tests):
        raise ValueError(
            f"Codeforces problem {problem.problem_id!r}: every expected output is blank, and there is no checker."
        )
    return tests


async def judge_submission(
    problem: CodeforcesProblem,
    code: str | None,
    sandbox: Sandbox,
    *,
    scoring_mode: str = "weighted_sum",
    batch_size: int = 1,
    max_tests: int | None = None,
    budget: Budget = NO_BUDGET,
) -> Score:
    """Judge a submission; its reward is None where the problem has no test to judge by.

    Args:
        problem: The row.
        code: The submission; None or blank is none.
        sandbox: Where it runs.
        scoring_mode: "pass_fail" 1 for all tests passed, else 0; "partial" the share of tests passed; "weighted_sum"
            the first plus 0.1 times the second, so 0 to 1.1.
        batch_size: Tests in a batch; "pass_fail" ends after a batch with a failure, the others need all tests. Below
            1: all at once.
        max_tests: Of more tests so many are drawn (`cases.draw_tests`).
        budget: Of all tests.

    Raises:
        SandboxError: The sandbox failed.
        ValueError: The scoring mode is unknown, or the row is unusable: see `problem_tests` and `check_outputs`.
    """
    if scoring_mode not in SCORING_MODES:
        raise ValueError(f"Unknown scoring mode {scoring_mode!r}; there are {', '.join(SCORING_MODES)}.")
    tests = draw_tests(await asyncio.to_thread(problem_tests, problem), max_tests)
    if not tests:
        return Score(None, ())
    if code is None or not code.strip():
        return Score(NO_SUBMISSION_REWARD, ())
    stops_early = scoring_mode == "pass_fail"
    results = await _judge_tests(problem, tests, code, sandbox, batch_size if stops_early else 0, budget)
    has_compiled = all(result.verdict is not TestVerdict.COMPILE_ERROR for result in results)
    reward = score_results(results, scoring_mode) if has_compiled else NO_COMPILE_REWARD
    return Score(reward, tuple(results))


def score_results(results: Sequence[TestResult], scoring_mode: str) -> float:
    """Return the reward of a submission that compiled; a test has passed when accepted, a part of a score is none.

    >>> half = [TestResult(TestVerdict.ACCEPTED, 1.0), TestResult(TestVerdict.WRONG_ANSWER)]
    >>> [score_results(half, mode) for mode in SCORING_MODES]
    [0.0, 0.5, 0.05]
    """
    num_passed = sum(result.verdict is TestVerdict.ACCEPTED for result in results)
    share = num_passed / len(results)
    all_passed = float(num_passed == len(results))
    if scoring_mode == "pass_fail":
        return all_passed
    return share if scoring_mode == "partial" else all_passed + _PARTIAL_WEIGHT * share


async def _judge_tests(
    problem: CodeforcesProblem,
    tests: Sequence[StdioTest],
    code: str,
    sandbox: Sandbox,
    batch_size: int,
    budget: Budget,
) -> list[TestResult]:
    limits = run_limits(problem.time_limit_s, problem.memory_limit_mb, tests)
    stop_after = batch_size_or_all(batch_size)
    package = await _find_judge(problem, code, sandbox, limits)
    if package is not None:
        return await judge_by_package(tests, package, stop_after, lacks_points, budget)
    language = find_language(problem.language)
    request = RunRequest(
        language.name,
        {language.main_file: code},
        inputs=tuple(problem.program_input(test) for test in tests),
        limits=limits,
        stop_after=stop_after,
    )
    checker = None if problem.checker is None else python_checker(problem.checker)

    async def judge_batch(first: int, runs: Sequence[ProgramRun]) -> list[TestResult]:
        return await judge_outputs(runs, tests[first : first + len(runs)], checker, sandbox)

    return await judge_runs(request, sandbox, judge_batch, lacks_points, budget)


async def _find_judge(problem: CodeforcesProblem, code: str, sandbox: Sandbox, limits: Limits) -> JudgeOne | None:
    """Return what judges a test by a Codeforces package, or None where plain runtimes do it, or must."""
    package = CODEFORCES_PACKAGES.get(problem.language)
    plain = () if problem.input_mode == "file" else (problem.language, *(["python"] if problem.checker else []))
    piston = None if package is None else await find_package(sandbox, package, plain)
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
        raise ValueError(f"{FOLDER_VARIABLE}={value} is no folder; it holds the files test_cases_<contest>.parquet.")
    return folder


def require_tests_folder() -> Path:
    """Return the folder of generated tests; for checks before a run.

    Raises:
        ValueError: `CF_TESTS_FOLDER` isn't set or names no folder; the message says how to get the tests.
    """
    folder = tests_folder()
    if folder is None:
        raise ValueError(
            f"Set {FOLDER_VARIABLE} to the folder of the generated tests (folder `generated_tests` of the data set "
            "open-r1/codeforces, about 115 GB), or keep only rows whose `official_tests_complete` is true."
        )
    return folder


def generated_tests(problem_id: str) -> Tests:
    """Return the generated tests of a problem "contest/index"; none without folder or file. Reads a file, so blocks.

    Raises:
        ValueError: `CF_TESTS_FOLDER` is no folder, the id isn't of that form, or the file has other columns.
    """
    folder = tests_folder()
    if folder is None:
        return ()
    contest = problem_id.partition("/")[0]
    if not re.fullmatch(r"[0-9]{1,9}", contest):
        raise ValueError(f"The id of a Codeforces problem is `contest/index`, got {problem_id!r}.")
    path = folder / f"test_cases_{int(contest):04d}.parquet"
    if not path.is_file():
        return ()
    with _READING:  # all submissions to a problem ask at the same time
        return read_tests(path, problem_id)


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
    except (pyarrow.ArrowException, KeyError) as error:
        raise ValueError(f"{path} can't be read as tests with problem_id, input and output: {error}") from error
    try:
        return tuple(map(StdioTest, table["input"].to_pylist(), table["output"].to_pylist()))
    except ValueError as error:
        raise ValueError(f"{path}, {problem_id!r}: {error}") from error
