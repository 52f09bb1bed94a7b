# SPDX-License-Identifier: Apache-2.0
"""Rows of open-r1/ioi as objects: a subtask, its tests, and which of its grader files make which program.

Grader files are told apart by the last part of their names: `checker.cpp`, `manager.cpp`, `stub.cpp`, `grader.cpp`;
what doesn't end in `.cpp` is a header. Other `.cpp` files are left out, as in Open R1. A row with a manager is a
communication task: there the stub is compiled with the submission, or the grader where there's no stub.

Different from Open R1, where a test without an expected output is passed by printing nothing: only a checker or a
manager can judge it, and a row without either is refused.

The tests of a year are in the data set open-r1/ioi-test-cases or a local copy of it, up to 0.8 GB: they stay on disk
(memory-mapped), and only those that are asked for are read. Deviation from Open R1: `IOI_TESTS_FOLDER` names a local
copy, `<year>/*.parquet` or `<year>*.parquet`, so that no hub is needed.
"""

import math
import os
import re
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path, PurePosixPath
from typing import Any

from open_r1.grading.cases import StdioTest

MEBIBYTE = 1 << 20
CHECKER, MANAGER, STUB, GRADER = "checker.cpp", "manager.cpp", "stub.cpp", "grader.cpp"
MAX_TIME_LIMIT_S, MAX_MEMORY_MB = 3600.0, 1 << 20

TESTS_DATASET = "open-r1/ioi-test-cases"
FOLDER_VARIABLE = "IOI_TESTS_FOLDER"
COLUMNS = ("problem_id", "test_name", "test_input", "test_output")
_LOCK = threading.Lock()

Sources = dict[str, str | bytes]


@dataclass(frozen=True)
class Subtask:
    """One row: a subtask of a problem.

    Attributes:
        problem_id: Short name of the problem, also that of its header.
        subtask: Name of the subtask.
        test_names: Its tests, in their order.
        time_limit_s: CPU seconds of a test.
        memory_limit_mb: Memory of a test, in MiB.
        grader_files: Sources by name, with the folders that the data set gives them.
        year: Year of the contest, where the tests come from the data set of that year; None where the row has them.
        tests: Tests by name, where the row has them.
    """

    problem_id: str
    subtask: str
    test_names: tuple[str, ...]
    time_limit_s: float
    memory_limit_mb: int
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
        where = f"IOI row {row.get('id')!r}, subtask {row.get('subtask')!r}"
        try:
            names = tuple(str(name) for name in row["test_names"] or ())
            subtask = cls(
                problem_id=str(row["id"]),
                subtask=str(row["subtask"]),
                test_names=names,
                time_limit_s=float(row["time_limit"]),
                memory_limit_mb=math.ceil(int(row["memory_limit"]) / MEBIBYTE),
                grader_files=_read_grader_files(row.get("grader_files")),
                year=None if row.get("year") is None else int(row["year"]),
            )
            if cases := row.get("test_cases"):
                subtask = replace(subtask, tests=_read_tests(cases, names, subtask.has_judge))
        except (KeyError, TypeError, ValueError, OverflowError) as error:
            raise ValueError(f"{where}: {type(error).__name__}: {error}") from error
        subtask._require_usable(where, int(row["memory_limit"]))
        return subtask

    def _require_usable(self, where: str, memory_limit: int) -> None:
        if not re.fullmatch(r"[A-Za-z0-9_-]+", self.problem_id):
            raise ValueError(f"{where}: the id must be letters, digits, '_' and '-'.")
        if not self.test_names:
            raise ValueError(f"{where}: no tests (`test_names` is empty).")
        if self.tests is None and self.year is None:
            raise ValueError(f"{where}: it needs `test_cases`, or a `year` to find its tests by.")
        if missing := [name for name in self.test_names if self.tests is not None and name not in self.tests]:
            raise ValueError(f"{where}: `test_cases` lacks {', '.join(missing[:5])}.")
        if not 0 < self.time_limit_s <= MAX_TIME_LIMIT_S:
            raise ValueError(
                f"{where}: time_limit must be positive seconds, at most {MAX_TIME_LIMIT_S:g}, got {self.time_limit_s}."
            )
        if memory_limit < MEBIBYTE or self.memory_limit_mb > MAX_MEMORY_MB:
            raise ValueError(f"{where}: memory_limit must be bytes, 1 MiB to 1 TiB, got {memory_limit}.")
        if self.tests is not None:
            self.require_outputs(self.tests)

    def require_outputs(self, tests: Mapping[str, StdioTest]) -> None:
        """Refuse tests that a program passes by printing nothing: all of them expect no output.

        Raises:
            ValueError: They do, and the row has neither checker nor manager.
        """
        if not self.has_judge and not any(tests[name].expected.strip() for name in self.test_names):
            raise ValueError(
                f"IOI problem {self.problem_id!r}, subtask {self.subtask!r}: every expected output is blank, and "
                "there is neither checker nor manager."
            )

    @property
    def has_judge(self) -> bool:
        """Whether a program of the task scores outputs, so that tests need no expected one."""
        return self._source(CHECKER) is not None or self.is_communication

    @property
    def has_header(self) -> bool:
        """Whether the task has the header `<id>.h` that its submissions include."""
        return f"{self.problem_id}.h" in self.submission_sources("")

    @property
    def is_communication(self) -> bool:
        """Whether a manager talks to the submission."""
        return self._source(MANAGER) is not None

    def submission_sources(self, code: str) -> Sources:
        """Return what is compiled for a submission: it, the grader or stub, and the headers.

        Headers that lie in a folder of the checker or manager alone stay out.
        """
        order = (STUB, GRADER) if self.is_communication else (GRADER, STUB)
        main = self._source(order[0]) or self._source(order[1])
        files: Sources = {f"{self.problem_id.lower()}.cpp": code}
        if main is not None:
            files[PurePosixPath(main).name] = self.grader_files[main]
        judges = {PurePosixPath(name).parent for name in (self._source(CHECKER), self._source(MANAGER)) if name}
        hidden = judges - ({PurePosixPath(main).parent} if main else {PurePosixPath()})
        return files | self._headers(main, hidden)

    def judge_sources(self, base_name: str) -> Sources | None:
        """Return what is compiled for the task's `CHECKER` or `MANAGER`, or None without one."""
        name = self._source(base_name)
        return None if name is None else {base_name: self.grader_files[name]} | self._headers(name, set())

    def _source(self, base_name: str) -> str | None:
        """Return the full name of a source, such as `graders/grader.cpp`."""
        return next((name for name in self.grader_files if PurePosixPath(name).name.lower() == base_name), None)

    def _headers(self, main: str | None, hidden: set[PurePosixPath]) -> Sources:
        """Return all headers by their base names; of two with one name that beside the main source counts."""
        home = PurePosixPath(main).parent if main else PurePosixPath()
        names = [PurePosixPath(name) for name in self.grader_files if not name.lower().endswith(".cpp")]
        names = [name for name in names if name.parent not in hidden]
        return {
            name.name: self.grader_files[str(name)] for name in sorted(names, key=lambda name: name.parent == home)
        }


def _read_grader_files(value: Any) -> dict[str, str]:
    """Return grader files by name; blank ones are left out."""
    files: dict[str, str] = {}
    for entry in value or ():
        if isinstance(entry, str | Mapping):
            raise TypeError(f"a grader file is a name and a content, got {type(entry).__name__}")
        name, content = entry
        if name and content:
            if not (isinstance(name, str) and isinstance(content, str)):
                raise TypeError(f"a grader file is two texts, got {type(name).__name__} and {type(content).__name__}")
            files[str(PurePosixPath(name))] = content
    return files


def _read_tests(cases: Any, names: Sequence[str], has_judge: bool) -> dict[str, StdioTest]:
    """Return tests by name from a mapping, or from a list in the order of the names."""
    if not isinstance(cases, Mapping):
        cases = dict(zip(names, cases, strict=True))
    # A mapping that went through a table has a column for each test of any row, None where the row has none.
    pairs = {str(name): pair for name, pair in cases.items() if pair is not None}
    return {name: _read_pair(name, pairs[name], has_judge) for name in names if name in pairs}


def _read_pair(name: str, pair: Any, has_judge: bool) -> StdioTest:
    if isinstance(pair, Mapping):
        pair = (pair["input"], pair["output"])
    given, expected = pair
    return read_test(name, given, expected, has_judge=has_judge)


def read_test(name: str, given: Any, expected: Any, *, has_judge: bool) -> StdioTest:
    """Return a test; without expected output, it's one for the checker or manager of its task.

    Raises:
        ValueError: The input or the expected output is no text, or there's none and nothing else to judge by.
    """
    if expected is None and not has_judge:
        raise ValueError(f"test {name} has no expected output, and the task has neither checker nor manager")
    return StdioTest(given, "" if expected is None else expected)


class YearTests:
    """The tests of one year: an index in memory, the texts on disk."""

    def __init__(self, table: Any) -> None:
        """Build the index of a table with the columns `COLUMNS`."""
        self._table = table
        keys = zip(table["problem_id"], table["test_name"], strict=True)
        self._rows = {(str(problem), str(name)): row for row, (problem, name) in enumerate(keys)}

    def find(self, problem_id: str, names: Sequence[str], *, has_judge: bool = False) -> dict[str, StdioTest]:
        """Return the tests of a problem by name.

        Args:
            problem_id: The problem.
            names: The tests.
            has_judge: Whether a checker or manager judges, so that they need no expected output.

        Raises:
            ValueError: One isn't there, or is no usable test (`read_test`).
        """
        missing = [name for name in names if (problem_id, name) not in self._rows]
        if missing:
            raise ValueError(f"Problem {problem_id!r} has no tests {', '.join(missing[:5])} in {TESTS_DATASET}.")
        rows = [self._table[self._rows[problem_id, name]] for name in names]
        return {
            name: read_test(name, row["test_input"], row["test_output"], has_judge=has_judge)
            for name, row in zip(names, rows, strict=True)
        }


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
    tests = load_year(subtask.year).find(subtask.problem_id, subtask.test_names, has_judge=subtask.has_judge)
    subtask.require_outputs(tests)
    return tests


def load_year(year: int) -> YearTests:
    """Return the tests of a year, loaded once a process; the first call may download up to 0.8 GB.

    Raises:
        OSError: They are neither in `IOI_TESTS_FOLDER` nor on the hub, or the hub can't be reached.
    """
    with _LOCK:  # two threads would download the same year twice
        return _load_year(year, os.environ.get(FOLDER_VARIABLE) or None)


@lru_cache(maxsize=8)
def _load_year(year: int, folder: str | None) -> YearTests:
    from datasets import load_dataset

    if folder is not None:
        files = sorted(str(path) for path in Path(folder).expanduser().glob(f"{year}*/*.parquet"))
        files = files or sorted(str(path) for path in Path(folder).expanduser().glob(f"{year}*.parquet"))
        if not files:
            raise OSError(f"{FOLDER_VARIABLE}={folder} has no tests of {year}: no {year}/*.parquet in it.")
        return YearTests(load_dataset("parquet", data_files=files, split="train", columns=list(COLUMNS)))
    try:
        table = load_dataset(TESTS_DATASET, str(year), split="train")
    except (OSError, ValueError) as error:  # offline, not found, no such configuration
        raise OSError(
            f"The tests of IOI {year} can't be loaded from {TESTS_DATASET}: {error} Download that data set where the "
            f"hub can be reached and set {FOLDER_VARIABLE} to the folder, or give the rows a column `test_cases`."
        ) from error
    return YearTests(table.select_columns(list(COLUMNS)))
