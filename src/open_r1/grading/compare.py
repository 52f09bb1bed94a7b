# SPDX-License-Identifier: Apache-2.0
"""Comparing what a program printed with what it should have printed.

Different from Open R1, whose reward compares only as many lines as the shorter side has:
1. an output that is a prefix of the expected one, or goes on behind it, is wrong;
2. only blanks at the ends of lines and empty lines at the end are free, those in front count; CRLF is a line break;
   `by_words`, as contests do without a checker, the words of each line count alone;
3. numbers are compared as text. Tasks with several right answers need a checker (`checkers`).
"""

import asyncio
from collections.abc import Callable, Iterator, Sequence
from itertools import zip_longest
from typing import TypeVar

from open_r1.grading.cases import StdioTest
from open_r1.grading.verdict import ACCEPTED, TestResult, TestVerdict, result_of_failure
from open_r1.sandbox import ProgramRun

SHOWN_CHARACTERS = 200
_FREE = " \t\r\n"
# Characters of output that are compared on the loop itself, in about a millisecond.
_FEW_CHARS = 1 << 16

T = TypeVar("T")


async def compare_runs(
    runs: Sequence[ProgramRun], tests: Sequence[T], compare: Callable[[ProgramRun, T], TestResult]
) -> list[TestResult]:
    """Return what a comparison says of each run and its test; of much output in a thread.

    All submissions of a process are judged on one event loop, which a hostile output must not hold up.
    """

    def compare_all() -> list[TestResult]:
        pairs = zip(runs, tests, strict=True)
        return [result_of_failure(run) or compare(run, test) for run, test in pairs]

    if sum(len(run.stdout) for run in runs) <= _FEW_CHARS:
        return compare_all()
    return await asyncio.to_thread(compare_all)


def compare_output(run: ProgramRun, test: StdioTest, *, by_words: bool = False) -> TestResult:
    """Return the result of a run that ended well by its output."""
    difference = find_difference(run.stdout, test.expected, by_words=by_words)
    return ACCEPTED if difference is None else TestResult(TestVerdict.WRONG_ANSWER, 0.0, difference)


def find_difference(output: str, expected: str, *, by_words: bool = False) -> str | None:
    r"""Return where an output first differs from the expected one, None where it doesn't.

    >>> find_difference("1 2 \r\n3\n\n", "1 2\n3") is None
    True
    >>> find_difference("1\n", "1\n2\n")
    "line 2: expected '2', but the output ends"
    >>> find_difference(" 1  2\n", "1 2", by_words=True) is None, find_difference("1\n2", "1 2", by_words=True) is None
    (True, False)
    """
    got, wanted = (text.rstrip() if by_words else text.rstrip(_FREE) for text in (output, expected))
    if got == wanted:
        return None
    is_same = _has_same_words if by_words else _is_same_line
    # What is the same to the letter is passed by as a whole: the output may be long, and is the program's.
    start = got.rfind("\n", 0, _first_difference(got, wanted)) + 1
    lines = zip_longest(_lines(got, start), _lines(wanted, start))
    for number, (line, wanted_line) in enumerate(lines, got.count("\n", 0, start) + 1):
        if line is None:
            return f"line {number}: expected {_shown(wanted_line or '')}, but the output ends"
        if wanted_line is None:
            return f"line {number}: {_shown(line)} behind the end of the expected output"
        if not is_same(line, wanted_line):
            column = _first_difference(line, wanted_line)
            return f"line {number}: expected {_shown(wanted_line, column)}, got {_shown(line, column)}"
    return None


def _lines(text: str, start: int) -> Iterator[str]:
    """Yield the lines of a text from the one that begins here; an empty text has none."""
    while text and start <= len(text):
        end = text.find("\n", start)
        end = len(text) if end < 0 else end
        yield text[start:end]
        start = end + 1


def _is_same_line(one: str, other: str) -> bool:
    return one.rstrip(_FREE) == other.rstrip(_FREE)


def _has_same_words(line: str, expected: str) -> bool:
    words = expected.split()
    return line.split(None, len(words)) == words  # of a line without end no more words than are expected


def _first_difference(one: str, other: str) -> int:
    """Return the index of the first characters that differ, halving what is left to compare."""
    low, high = 0, min(len(one), len(other))
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if one[low:middle] == other[low:middle] else (low, middle - 1)
    return low


def _shown(line: str, column: int = 0) -> str:
    """Return a line, or the part of a long one that begins a little before the column."""
    line = line.rstrip(_FREE)
    start = max(0, column - SHOWN_CHARACTERS // 2) if len(line) > SHOWN_CHARACTERS else 0
    part = line[start : start + SHOWN_CHARACTERS]
    before, behind = "..." * (start > 0), "..." * (start + len(part) < len(line))
    return f"{before}{part!r}{behind}"
