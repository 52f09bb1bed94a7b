# SPDX-License-Identifier: Apache-2.0
"""Comparing what a program printed with what it should have printed.

Different from Open R1, whose reward compares only as many lines as the shorter side has:
1. an output that is a prefix of the expected one, or goes on behind it, is wrong;
2. only blanks at the ends of lines and empty lines at the end are free, those in front count; CRLF is a line break;
   `by_words`, as contests do without a checker, the words of each line count alone;
3. numbers are compared as text. Tasks with several right answers need a checker (`checkers`).
"""

import asyncio
from collections.abc import Callable, Sequence

from open_r1.grading.verdict import TestResult, TestVerdict, result_of_failure
from open_r1.sandbox import ProgramRun

SHOWN_CHARACTERS = 200
_FREE = " \t\r\n"
# Characters that are compared at a time.
_SMALLEST_BLOCK, _LARGEST_BLOCK = 1 << 8, 1 << 20
# Characters of output that are compared on the loop itself, in about a millisecond.
_FEW_CHARS = 1 << 16


async def compare_apart(
    runs: Sequence[ProgramRun], compare: Callable[[Sequence[ProgramRun]], list[TestResult]]
) -> list[TestResult]:
    """Return what a comparison makes of runs; of much output in a thread.

    All submissions of a process are judged on one event loop, which a hostile output must not hold up.
    """
    if sum(len(run.stdout) for run in runs) <= _FEW_CHARS:
        return compare(runs)
    return await asyncio.to_thread(compare, runs)


def judge_output(run: ProgramRun, expected: str, *, by_words: bool = False) -> TestResult:
    """Return the result of a run by its output."""
    if (failure := result_of_failure(run)) is not None:
        return failure
    difference = find_difference(run.stdout, expected, by_words=by_words)
    if difference is None:
        return TestResult(TestVerdict.ACCEPTED, 1.0)
    return TestResult(TestVerdict.WRONG_ANSWER, 0.0, difference)


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
    number, line, wanted_line = _first_different_lines(got, wanted, _has_same_words if by_words else _is_same_line)
    if line is None and wanted_line is None:
        return None
    if line is None:
        return f"line {number}: expected {_shown(wanted_line or '')}, but the output ends"
    if wanted_line is None:
        return f"line {number}: {_shown(line)} behind the end of the expected output"
    column = _first_difference(line, wanted_line)
    return f"line {number}: expected {_shown(wanted_line, column)}, got {_shown(line, column)}"


def _first_different_lines(
    one: str, other: str, is_same_line: Callable[[str, str], bool]
) -> tuple[int, str | None, str | None]:
    """Return the number of the first lines that differ, from 1, and both of them; None for one behind the end.

    Blocks that are the same to the letter are passed by at a time: the output may be long, and is the program's.
    """
    number, size = 1, _LARGEST_BLOCK
    start_of_one, start_of_other = (0 if one else 1), (0 if other else 1)
    while start_of_one <= len(one) and start_of_other <= len(other):
        block = one[start_of_one : start_of_one + size]
        passed = block.rfind("\n") + 1 if other.startswith(block, start_of_other) else 0
        if passed:
            number += block.count("\n", 0, passed)
            start_of_one, start_of_other = start_of_one + passed, start_of_other + passed
            size = min(2 * size, _LARGEST_BLOCK)
            continue
        line, end_of_one = _line_at(one, start_of_one)
        other_line, end_of_other = _line_at(other, start_of_other)
        if not is_same_line(line, other_line):
            return number, line, other_line
        number += 1
        start_of_one, start_of_other = end_of_one + 1, end_of_other + 1
        size = max(size // 2, _SMALLEST_BLOCK)
    line = _line_at(one, start_of_one)[0] if start_of_one <= len(one) else None
    return number, line, _line_at(other, start_of_other)[0] if start_of_other <= len(other) else None


def _is_same_line(one: str, other: str) -> bool:
    return one.rstrip(_FREE) == other.rstrip(_FREE)


def _has_same_words(line: str, expected: str) -> bool:
    words = expected.split()
    return line.split(None, len(words)) == words  # of a line without end no more words than are expected


def _line_at(text: str, start: int) -> tuple[str, int]:
    """Return the line that begins here, and the index of its line break."""
    end = text.find("\n", start)
    end = len(text) if end < 0 else end
    return text[start:end], end


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
