# SPDX-License-Identifier: Apache-2.0
"""The tests of IOI problems by year, from the data set open-r1/ioi-test-cases or a local copy of it.

A year is up to 0.8 GB: it stays on disk (memory-mapped), and only the tests that are asked for are read. Deviation
from Open R1: `IOI_TESTS_FOLDER` names a local copy, `<year>/*.parquet` or `<year>*.parquet`, so that no hub is needed.
"""

import os
import threading
from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

from open_r1.grading.cases import StdioTest
from open_r1.grading.ioi_subtasks import Subtask, read_test

TESTS_DATASET = "open-r1/ioi-test-cases"
FOLDER_VARIABLE = "IOI_TESTS_FOLDER"
COLUMNS = ("problem_id", "test_name", "test_input", "test_output")

_LOCK = threading.Lock()


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
    if subtask.year is None:
        raise ValueError(f"Subtask {subtask.subtask!r} of {subtask.problem_id!r} has neither tests nor a year.")
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
