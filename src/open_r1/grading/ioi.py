# SPDX-License-Identifier: Apache-2.0
"""IOI subtasks (open-r1/ioi), batch and communication tasks: rows, their tests, and judging submissions.

    {"id": "fish", "year": 2023, "subtask": "01-small", "test_names": ["1-01"], "time_limit": 1.0,
     "memory_limit": 536870912, "grader_files": [["graders/grader.cpp", "..."], ["graders/fish.h", "..."]]}

Grader files are told apart by the last part of their names: `checker.cpp`, `manager.cpp`, `stub.cpp`, `grader.cpp`;
what doesn't end in `.cpp` is a header. Other `.cpp` files are left out, as in Open R1. A row with a manager is a
communication task: there the stub is compiled with the submission, or the grader where there's no stub.

The tests of a year are in the data set open-r1/ioi-test-cases or a local copy of it, up to 0.8 GB: they stay on disk
(memory-mapped), and only those that are asked for are read.

Deviations from Open R1:
1. The right output never enters the submission's box. Where a task has no checker it's compared outside, word by word
   in each line.
2. A batch size below 1 runs all tests, until two have run out of time, where there it ran none and scored 0.
3. A test that fails behind an earlier failure in its batch is still shown; tests in later batches are skipped.
4. Time limits are CPU seconds, without the 3 s that are added there.
5. The score isn't rounded: the column `score_precision` is of points, and rounding to its decimals, 0 in some tasks,
   made a full score of 0.6 and nothing of 0.4.
6. A test without an expected output, which printing nothing passes there, is for checkers and managers alone.
7. `IOI_TESTS_FOLDER` names a local copy of the tests, `<year>/*.parquet` or `<year>*.parquet`: no hub is needed.
"""

import asyncio
import math
import os
import re
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path, PurePosixPath
from typing import Any, ClassVar

from open_r1.grading.cases import StdioTest, with_room
from open_r1.grading.checkers import (
    compiled,
    judge_interaction,
    judge_outputs,
    manager_limits,
)
from open_r1.grading.programs import Budget, batch_size_or_all, judge_runs
from open_r1.grading.verdict import NOT_RUN, Result, TestResult
from open_r1.sandbox import Interactor, Limits, ProgramInput, ProgramRun, RunRequest, Sandbox

LANGUAGE = "cpp"
MEBIBYTE = 1 << 20
CHECKER, MANAGER, STUB, GRADER = "checker.cpp", "manager.cpp", "stub.cpp", "grader.cpp"
TESTS_DATASET = "open-r1/ioi-test-cases"
FOLDER_VARIABLE = "IOI_TESTS_FOLDER"
COLUMNS = ("problem_id", "test_name", "test_input", "test_output")
# One time-out makes the score 0 already; how slow right programs may be is the task's affair.
_BUDGET = Budget()
_LOCK = threading.Lock()

Sources = dict[str, str | bytes]


@dataclass(frozen=True)
class Subtask:
    """One row: a subtask of a problem.

    Attributes:
        problem_id: Short name of the problem, also that of its header.
        test_names: Its tests, in their order.
        limits: Of a test.
        grader_files: Sources by name, with the folders that the data set gives them.
        year: Year of the contest, where the tests come from the data set of that year; None where the row has them.
        tests: Tests by name, where the row has them.
    """

    language: ClassVar[str] = LANGUAGE

    problem_id: str
    test_names: tuple[str, ...]
    limits: Limits
    grader_files: Mapping[str, str] = field(hash=False)
    year: int | None = None
    tests: Mapping[str, StdioTest] | None = field(default=None, hash=False)

    @classmethod
    def from_row(cls, row: Mapping[str, Any]) -> "Subtask":
        """Read a row with the columns of open-r1/ioi (`memory_limit` in bytes, `time_limit` in seconds).

        A column `test_cases` may hold the tests: a mapping from names to (input, output), or a list of such pairs in
        the order of `test_names`.

        Raises:
            ValueError: A column is missing or unusable; the message names the row.
        """
        try:
            names, cases = tuple(map(str, row["test_names"] or ())), row.get("test_cases")
            if not names or not (cases or row.get("year")):
                raise ValueError("it needs `test_names`, and `test_cases` or a `year` to find their tests by")
            if not re.fullmatch(r"[A-Za-z0-9_-]+", str(row["id"])):
                raise ValueError("the id must be letters, digits, '_' and '-'")
            if (memory := int(row["memory_limit"])) < MEBIBYTE:
                raise ValueError(f"memory_limit must be bytes, at least 1 MiB, got {memory}")
            files = {str(PurePosixPath(name)): text for name, text in row.get("grader_files") or () if text}
            subtask = cls(
                problem_id=str(row["id"]),
                test_names=names,
                limits=Limits(cpu_s=float(row["time_limit"]), memory_mb=math.ceil(memory / MEBIBYTE)),
                grader_files=files,
                year=None if row.get("year") is None else int(row["year"]),
                tests=_read_tests(cases, names, files) if cases else None,
            )
            if subtask.tests is not None:
                subtask.require_outputs(subtask.tests)
        except (KeyError, TypeError, ValueError, OverflowError) as error:
            where = f"IOI row {row.get('id')!r}, subtask {row.get('subtask')!r}"
            raise ValueError(f"{where}: {type(error).__name__}: {error}") from error
        return subtask

    def require_outputs(self, tests: Mapping[str, StdioTest]) -> None:
        """Refuse tests that a program passes by printing nothing: all of them expect no output.

        Raises:
            ValueError: They do, and the row has neither checker nor manager.
        """
        if not _has_judge(self.grader_files) and not any(tests[name].expected.strip() for name in self.test_names):
            raise ValueError(
                f"Every expected output of IOI problem {self.problem_id!r} is blank, and there is no checker."
            )

    @property
    def has_header(self) -> bool:
        """Whether the task has the header `<id>.h` that its submissions include."""
        return f"{self.problem_id}.h" in self.submission_sources("")

    @property
    def is_communication(self) -> bool:
        """Whether a manager talks to the submission."""
        return _source(self.grader_files, MANAGER) is not None

    def submission_sources(self, code: str) -> Sources:
        """Return what is compiled for a submission: it, the grader or stub, and the headers."""
        order = (STUB, GRADER) if self.is_communication else (GRADER, STUB)
        main = next((name for base in order if (name := _source(self.grader_files, base)) is not None), None)
        files: Sources = {f"{self.problem_id.lower()}.cpp": code}
        if main is not None:
            files[PurePosixPath(main).name] = self.grader_files[main]
        return files | self._headers(main)

    def judge_sources(self, base_name: str) -> Sources | None:
        """Return what is compiled for the task's `CHECKER` or `MANAGER`, or None without one."""
        name = _source(self.grader_files, base_name)
        return None if name is None else {base_name: self.grader_files[name]} | self._headers(name)

    def _headers(self, main: str | None) -> Sources:
        """Return all headers by their base names; of two with one name that beside the main source counts."""
        home = PurePosixPath(main or "").parent
        names = [PurePosixPath(name) for name in self.grader_files if not name.lower().endswith(".cpp")]
        names = sorted(names, key=lambda name: name.parent == home)
        return {name.name: self.grader_files[str(name)] for name in names}


def _source(grader_files: Mapping[str, str], base_name: str) -> str | None:
    """Return the full name of a source, such as `graders/grader.cpp`."""
    return next((name for name in grader_files if PurePosixPath(name).name.lower() == base_name), None)


def _has_judge(grader_files: Mapping[str, str]) -> bool:
    """Whether a program of the task scores outputs, so that tests need no expected one."""
    return any(_source(grader_files, name) is not None for name in (CHECKER, MANAGER))


def _read_tests(cases: Any, names: Sequence[str], grader_files: Mapping[str, str]) -> dict[str, StdioTest]:
    """Return tests by name from a mapping, or from a list in the order of the names."""
    if not isinstance(cases, Mapping):
        cases = dict(zip(names, cases, strict=True))
    tests = {}
    for name in names:
        case = cases[name]
        given, expected = (case["input"], case["output"]) if isinstance(case, Mapping) else case
        tests[name] = StdioTest(given, "" if expected is None and _has_judge(grader_files) else expected)
    return tests


def find_tests(subtask: Subtask) -> Mapping[str, StdioTest]:
    """Return the tests of a subtask by name: its own, else those of its year. Blocks while a year is loaded.

    Raises:
        ValueError: The year has no such tests, or unusable ones: all without an expected output, and nothing else to
            judge by.
        OSError: The year can't be loaded; the message says what to do.
    """
    if subtask.tests is not None:
        return subtask.tests
    assert subtask.year is not None  # a row without its tests needs one
    table, places = load_year(subtask.year)
    try:
        rows = [table[places[subtask.problem_id, name]] for name in subtask.test_names]
    except KeyError as error:
        raise ValueError(f"{TESTS_DATASET} of {subtask.year} has no test {error}.") from None
    pairs = [(row["test_input"], row["test_output"]) for row in rows]
    tests = _read_tests(pairs, subtask.test_names, subtask.grader_files)
    subtask.require_outputs(tests)
    return tests


def load_year(year: int) -> tuple[Any, dict[tuple[str, str], int]]:
    """Return the tests of a year as a table, and the row of each (problem, test); loaded once a process.

    The first call may download up to 0.8 GB.

    Raises:
        OSError: They are neither in `IOI_TESTS_FOLDER` nor on the hub, or the hub can't be reached.
    """
    with _LOCK:  # two threads would download the same year twice
        return _load_year(year, os.environ.get(FOLDER_VARIABLE) or None)


@lru_cache(maxsize=8)
def _load_year(year: int, folder: str | None) -> tuple[Any, dict[tuple[str, str], int]]:
    from datasets import load_dataset

    try:
        if folder is None:
            table = load_dataset(TESTS_DATASET, str(year), split="train")
        else:
            root = Path(folder).expanduser()
            files = sorted(map(str, [*root.glob(f"{year}*/*.parquet"), *root.glob(f"{year}*.parquet")]))
            table = load_dataset("parquet", data_files=files, split="train")
    except (OSError, ValueError) as error:  # offline, not found, no such configuration
        raise OSError(
            f"The tests of IOI {year} can't be loaded from {folder or TESTS_DATASET}: {error} Download the data set "
            f"{TESTS_DATASET} where the hub can be reached and set {FOLDER_VARIABLE} to the folder, or give the rows "
            "a column `test_cases`."
        ) from error
    keys = zip(table["problem_id"], table["test_name"], strict=True)
    return table.select_columns(list(COLUMNS)), {key: place for place, key in enumerate(keys)}


async def judge_subtask(code: str, subtask: Subtask, sandbox: Sandbox, *, batch_size: int = 1) -> Result:
    """Judge a submission in one subtask; its reward, in [0, 1], is the lowest score of its tests.

    Args:
        code: The submission in C++, with its includes (`patches.add_includes`); blank code scores 0, nothing is run.
        subtask: The row.
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
        results = await _judge_tests(subtask, chosen, code, sandbox, batch_size_or_all(batch_size))
    return Result(min(result.score for result in results), tuple(results))


def _is_failure(result: TestResult) -> bool:
    return result.score == 0


async def _judge_tests(
    subtask: Subtask, tests: Sequence[StdioTest], code: str, sandbox: Sandbox, stop_after: int | None
) -> list[TestResult]:
    """Return the results of tests, all in one box; the programs of the task have theirs."""
    limits = with_room(subtask.limits, tests)
    sources = subtask.judge_sources(MANAGER) or subtask.judge_sources(CHECKER)
    judge = None if sources is None else await compiled(sandbox, LANGUAGE, sources)
    manager, checker = (judge, None) if subtask.is_communication else (None, judge)
    interactor = None if manager is None else Interactor(manager.language, manager.files, manager_limits(limits))
    request = RunRequest(
        LANGUAGE,
        subtask.submission_sources(code),
        inputs=tuple(ProgramInput(stdin=test.input) for test in tests),
        limits=limits,
        stop_after=stop_after,
        interactor=interactor,
    )

    async def judge_batch(first: int, runs: Sequence[ProgramRun]) -> list[TestResult]:
        if manager is not None:
            return [judge_interaction(run, manager) for run in runs]
        return await judge_outputs(runs, tests[first : first + len(runs)], checker, sandbox)

    return await judge_runs(request, sandbox, judge_batch, _is_failure, _BUDGET)
