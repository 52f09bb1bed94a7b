# SPDX-License-Identifier: Apache-2.0
"""Generated tests of open-r1/codeforces: `test_cases_<contest, 4 digits>.parquet` below `CF_TESTS_FOLDER`.

Columns problem_id, input, output. All files together are about 115 GB; of one only the rows of the problem are read.
Deviation from Open R1: the store of tests read before is limited by their size, not by 32 contests of any size.
"""

import os
import re
import threading
from collections import OrderedDict
from pathlib import Path

from open_r1.grading.cases import StdioTest

FOLDER_VARIABLE = "CF_TESTS_FOLDER"
MAX_STORED_CHARS = 1 << 28

Tests = tuple[StdioTest, ...]


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
    return _STORE.get(path, problem_id) if path.is_file() else ()


class _Store:
    """Tests read before, those used last within a limit of size; each is read by one thread at a time."""

    def __init__(self, max_chars: int) -> None:
        self._max_chars = max_chars
        self._lock = threading.Lock()
        self._reading: dict[tuple[Path, str], threading.Lock] = {}
        self._tests: OrderedDict[tuple[Path, str], Tests] = OrderedDict()

    def get(self, path: Path, problem_id: str) -> Tests:
        key = (path, problem_id)
        with self._lock:
            lock = self._reading.setdefault(key, threading.Lock())
        with lock:
            with self._lock:
                known = self._tests.get(key)
            tests = read_tests(path, problem_id) if known is None else known
            with self._lock:
                self._tests[key] = tests
                self._tests.move_to_end(key)
                self._reading.pop(key, None)
                self._shrink()
            return tests

    def _shrink(self) -> None:
        """Drop what was used longest ago, but never the tests used last."""
        total = sum(_num_chars(tests) for tests in self._tests.values())
        while total > self._max_chars and len(self._tests) > 1:
            total -= _num_chars(self._tests.popitem(last=False)[1])


def _num_chars(tests: Tests) -> int:
    return sum(len(test.input) + len(test.expected) for test in tests)


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
    tests = []
    for given, expected in zip(table["input"].to_pylist(), table["output"].to_pylist(), strict=True):
        if not (isinstance(given, str) and isinstance(expected, str)):
            kinds = f"{type(given).__name__} and {type(expected).__name__}"
            raise ValueError(f"{path}: a test of {problem_id!r} isn't two texts, but {kinds}.")
        tests.append(StdioTest(given, expected))
    return tuple(tests)


_STORE = _Store(MAX_STORED_CHARS)


def _renew_store() -> None:
    """Start anew in a forked child: another thread of the parent may hold the lock."""
    global _STORE
    _STORE = _Store(MAX_STORED_CHARS)


os.register_at_fork(after_in_child=_renew_store)
