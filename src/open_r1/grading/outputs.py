# SPDX-License-Identifier: Apache-2.0
"""Comparing a program's output with the expected one, as the judges of contests do where a task has no checker."""


def is_same_output(output: str, expected: str) -> bool:
    r"""Whether two outputs have the same words in the same lines.

    White space around and between words doesn't count, nor do blank lines at the end; line breaks do. A prefix of the
    expected output is wrong.

    >>> is_same_output("1  2 \r\n3\n\n", "1 2\n3"), is_same_output("1 2", "1 2\n3"), is_same_output("1\n2", "1 2")
    (True, False, False)
    """
    return _words_of_lines(output) == _words_of_lines(expected)


def _words_of_lines(text: str) -> list[list[str]]:
    lines = [line.split() for line in text.rstrip().split("\n")]
    return [] if lines == [[]] else lines
