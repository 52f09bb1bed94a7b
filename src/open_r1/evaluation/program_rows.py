# SPDX-License-Identifier: Apache-2.0
"""Problems that are solved by programs: what the prompt says of input and output, and the tests of each row.

    {"problem": "Add two numbers.", "verification_info": {"language": "python", "test_cases": [...]}}
    {"question_content": "Add two numbers.", "starter_code": "class Solution: ...", "public_test_cases": "[...]",
     "private_test_cases": "eJx...", "metadata": "{\"func_name\": \"add\"}"}                         LiveCodeBench

Tests of one problem can be a hundred megabytes: they wait in a temporary file, and are read when they judge.
"""

import hashlib
import json
import os
import tempfile
from array import array
from collections.abc import Mapping
from typing import Any

from open_r1.data.benchmarks import TEST_COLUMNS
from open_r1.generation.prompts import PromptError
from open_r1.grading.cases import CallTest, ProgramTests, is_empty_column, read_row, value_of
from open_r1.sandbox.languages import find_language

STARTER_COLUMN = "starter_code"
# All that is read of a row beside its problem, where the columns are there.
COLUMNS = (*TEST_COLUMNS, "metadata", "language", STARTER_COLUMN)
_PACKED = ("public_test_cases", "private_test_cases")
# Up to so many bytes, the tests of a row are read before anything is asked, since that tells whether they can be.
_EARLY_BYTES = 1 << 20
TEMPLATE = (
    "You will be given a programming problem. Please reason step by step, and end with one block of code that holds "
    "the whole program:\n{prompt}"
)
_FENCE = "The block of code begins with ```{language} and ends with ```."
# What stands below the problem.
FORMS = {
    "starter": "The program, in {language}, completes this code:\n```{language}\n{starter}\n```\n" + _FENCE,
    "function": "The program, in {language}, defines the function `{function}`. " + _FENCE,
    "standard_input": "The program, in {language}, reads from standard input and writes to standard output. " + _FENCE,
}


class TestsFile:
    """The tests of the rows, in a temporary file: in any order, in little memory."""

    __test__ = False  # no test class, whatever pytest thinks of its name

    def __init__(self) -> None:
        self._file = tempfile.TemporaryFile()  # noqa: SIM115 - it lives as long as this object
        self._offsets = array("Q", [0])
        self._places: dict[int, int] = {}
        self.languages: dict[int, str] = {}

    def close(self) -> None:
        """Delete the temporary file."""
        self._file.close()

    def add(self, row: int, columns: Mapping[str, Any]) -> str:
        """Keep the tests of a row, and return a fingerprint of them.

        Raises:
            PromptError: They can't be read, as far as that is known so early, or the language is unknown.
        """
        found = {name: columns.get(name) for name in COLUMNS if name != STARTER_COLUMN}
        try:
            line = json.dumps(found, sort_keys=True).encode()
        except TypeError as error:
            raise PromptError(f"its tests are no values of JSON: {error}") from None
        if len(line) <= _EARLY_BYTES:
            _read(found)
        self.languages[row] = language_of(columns)
        self._file.write(line)
        self._file.flush()
        self._places[row] = len(self._offsets) - 1
        self._offsets.append(self._offsets[-1] + len(line))
        return hashlib.sha256(line).hexdigest()[:16]

    def get(self, row: int) -> ProgramTests:
        """Return the tests of a row.

        Raises:
            ValueError: They can't be read.
        """
        begin, end = self._offsets[self._places[row]], self._offsets[self._places[row] + 1]
        # Not by seeking: threads may read at the same time.
        return read_row(json.loads(os.pread(self._file.fileno(), end - begin, begin)))


def form_of(columns: Mapping[str, Any]) -> str:
    """Return what a prompt says below the problem: language, input and output, and the code to begin with.

    Raises:
        PromptError: There are no tests, or they can't be read.
    """
    language, function = language_of(columns), _function_of(columns)
    starter, begins_with = columns.get(STARTER_COLUMN), ""
    if isinstance(starter, str) and starter.strip():
        form, begins_with = FORMS["starter"], starter.strip()
    elif function is not None:
        form = FORMS["function"].replace("{function}", function)
    else:
        form = FORMS["standard_input"]
    return form.replace("{language}", language).replace("{starter}", begins_with)


def language_of(columns: Mapping[str, Any]) -> str:
    """Return our name of the language of a row's program.

    Raises:
        PromptError: The tests can't be read.
    """
    if not _is_packed(columns):
        return _read(columns).language
    try:
        return find_language(str(columns.get("language") or "python")).name
    except ValueError as error:
        raise PromptError(str(error)) from None


def _function_of(columns: Mapping[str, Any]) -> str | None:
    """Return the function that the tests call; None: they are of standard input."""
    if not _is_packed(columns):
        test = _read(columns).tests[0]
        return test.function if isinstance(test, CallTest) else None
    metadata = columns.get("metadata")
    try:
        found = value_of(metadata, "metadata") if isinstance(metadata, str) and metadata.strip() else metadata
    except ValueError as error:
        raise PromptError(str(error)) from None
    name = found.get("func_name") if isinstance(found, Mapping) else None
    return name if isinstance(name, str) and name.strip() else None


def _is_packed(columns: Mapping[str, Any]) -> bool:
    return any(not is_empty_column(columns.get(name)) for name in _PACKED)


def _read(columns: Mapping[str, Any]) -> ProgramTests:
    try:
        tests = read_row(columns)
        tests.require_outputs()
        return tests
    except ValueError as error:
        raise PromptError(f"its tests can't be used: {error}") from None
