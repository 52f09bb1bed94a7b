# SPDX-License-Identifier: Apache-2.0
"""Comparing what a program printed with what it should have printed.

Different from Open R1, whose reward compares only as many lines as the shorter side has:
1. an output that is a prefix of the expected one, or goes on behind it, is wrong;
2. only blanks at the ends of lines and empty lines at the end are free, those in front count; CRLF is a line break;
3. numbers are compared as text. Tasks with several right answers need a checker (`checkers`).
"""

SHOWN_CHARACTERS = 200
_FREE = " \t\r\n"


def find_difference(output: str, expected: str) -> str | None:
    r"""Return where an output first differs from the expected one, None where it doesn't.

    >>> find_difference("1 2 \r\n3\n\n", "1 2\n3") is None
    True
    >>> find_difference("1\n", "1\n2\n")
    "line 2: expected '2', but the output ends"
    """
    got, wanted = output.rstrip(_FREE), expected.rstrip(_FREE)
    if got == wanted:
        return None
    got_lines, wanted_lines = _lines(got), _lines(wanted)
    if got_lines == wanted_lines:
        return None
    shared = min(len(got_lines), len(wanted_lines))
    line = next((index for index in range(shared) if got_lines[index] != wanted_lines[index]), shared)
    if line == len(got_lines):
        return f"line {line + 1}: expected {_shown(wanted_lines[line])}, but the output ends"
    if line == len(wanted_lines):
        return f"line {line + 1}: {_shown(got_lines[line])} behind the end of the expected output"
    column = _first_difference(got_lines[line], wanted_lines[line])
    return f"line {line + 1}: expected {_shown(wanted_lines[line], column)}, got {_shown(got_lines[line], column)}"


def _lines(text: str) -> list[str]:
    return [line.rstrip(_FREE) for line in text.split("\n")] if text else []


def _first_difference(one: str, other: str) -> int:
    pairs = enumerate(zip(one, other, strict=False))
    return next((index for index, (a, b) in pairs if a != b), min(len(one), len(other)))


def _shown(line: str, column: int = 0) -> str:
    """Return a line, or the part of a long one that begins a little before the column."""
    start = max(0, column - SHOWN_CHARACTERS // 2) if len(line) > SHOWN_CHARACTERS else 0
    part = line[start : start + SHOWN_CHARACTERS]
    before, behind = "..." * (start > 0), "..." * (start + len(part) < len(line))
    return f"{before}{part!r}{behind}"
