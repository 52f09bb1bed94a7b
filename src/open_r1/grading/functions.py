# SPDX-License-Identifier: Apache-2.0
"""Tests that call a function: what goes into the box, and comparing the result that comes out.

The box gets the arguments and `harness/call_runner.py`, which calls the function and writes its result behind a word
drawn anew for each run: what a submission prints can't be taken for a result. Expected results stay outside.
Results are equal as in Python (True is 1, 1.0 is 1, a tuple is a list), except that a number may differ by 1e-9 of its
size, or by 1e-12, where the expected one is a float. An expected integer is exact: 10**18 is not 10**18 + 1.0.
"""

import json
import math
import secrets
from decimal import Decimal
from functools import cache
from pathlib import Path
from typing import Any

from open_r1.grading.cases import CallTest
from open_r1.grading.compare import SHOWN_CHARACTERS
from open_r1.grading.verdict import ACCEPTED, TestResult, TestVerdict
from open_r1.sandbox import ProgramInput, ProgramRun

RUNNER, SUBMISSION = "call_runner.py", "submission.py"
RELATIVE_TOLERANCE, ABSOLUTE_TOLERANCE = 1e-9, 1e-12
# Characters of an integer that a float equals, and more: 1e308 may be returned as its digits.
LONGEST_NUMBER = 400
_LONGEST_INTEGER = 4000  # digits; Python refuses to read more than 4,300, since that takes long


def call_files(code: str) -> dict[str, str]:
    """Return the files of a submission whose function is called, the runner first."""
    return {RUNNER: _runner(), SUBMISSION: code}


@cache
def _runner() -> str:
    return (Path(__file__).parent / "harness" / RUNNER).read_text(encoding="utf-8")


def draw_word() -> str:
    """Return a word for a run that no submission can know before it runs."""
    return secrets.token_hex(16)


def call_input(test: CallTest, word: str) -> ProgramInput:
    """Return what a run's program gets: the word, and what to call."""
    request = f'{{"function": {json.dumps(test.function)}, "arguments": {test.arguments}}}'
    return ProgramInput(stdin=f"{word}\n{request}\n")


def compare_call(run: ProgramRun, test: tuple[CallTest, str]) -> TestResult:
    """Return the result of a run that ended well by what its function returned, given the test and its word."""
    call, word = test
    _, *results = f"\n{run.stdout}".split(f"\n{word} ", 2)
    if len(results) != 1:
        said = "the program ended before its function had" if not results else "the function seems to have twice"
        return TestResult(TestVerdict.WRONG_ANSWER, 0.0, f"{said} returned")
    got = results[0].partition("\n")[0]
    if any(is_same_result(got, expected) for expected in call.expected):
        return ACCEPTED
    return TestResult(TestVerdict.WRONG_ANSWER, 0.0, f"expected {_shown(call.expected[0])}, got {_shown(got)}")


def is_same_result(got: str, expected: str) -> bool:
    """Whether two JSON texts hold the same result, of which the first may be anything.

    >>> is_same_result("[1, 2.0000000001]", "[1.0, 2.0]"), is_same_result('"True"', "true"), is_same_result("1.0", "1")
    (True, False, True)
    """
    if got == expected:
        return True
    if not _may_be_same(got, expected):
        return False
    try:
        return _is_same(_read(got), _read(expected))
    except (ValueError, RecursionError):
        return False


def _may_be_same(got: str, expected: str) -> bool:
    """Whether two JSON texts have one structure: without it they aren't read, since `[[]]` a million times takes long.

    Numbers may be written at different lengths, texts may not.
    """
    is_short = len(got) <= LONGEST_NUMBER * (len(expected) + 1)
    return is_short and all(got.count(mark) == expected.count(mark) for mark in "[{,")


def _read(text: str) -> Any:
    def integer(digits: str) -> int | Decimal:
        return int(digits) if len(digits) <= _LONGEST_INTEGER else Decimal(digits)

    return json.loads(text, parse_int=integer)


def _is_same(got: Any, expected: Any) -> bool:
    if isinstance(got, list) and isinstance(expected, list):
        return len(got) == len(expected) and all(_is_same(*pair) for pair in zip(got, expected, strict=True))
    if isinstance(got, dict) and isinstance(expected, dict):
        return got.keys() == expected.keys() and all(_is_same(got[key], expected[key]) for key in got)
    if not (isinstance(got, int | float) and isinstance(expected, int | float)):
        return type(got) is type(expected) and got == expected
    if got == expected or not isinstance(expected, float):
        return got == expected
    try:
        both_nan = math.isnan(got) and math.isnan(expected)
        return both_nan or math.isclose(got, expected, rel_tol=RELATIVE_TOLERANCE, abs_tol=ABSOLUTE_TOLERANCE)
    except OverflowError:  # an integer beyond all floats
        return False


def _shown(text: str) -> str:
    return text if len(text) <= SHOWN_CHARACTERS else f"{text[:SHOWN_CHARACTERS]}..."
