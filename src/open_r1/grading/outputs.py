# SPDX-License-Identifier: Apache-2.0
"""Comparing a program's output with the expected one, as the judges of contests do where a task has no checker."""

from open_r1.grading.stdio import first_different_lines


def is_same_output(output: str, expected: str) -> bool:
    r"""Whether two outputs have the same words in the same lines.

    White space around and between words doesn't count, nor do blank lines at the end; line breaks do. A prefix of the
    expected output is wrong.

    >>> is_same_output("1  2 \r\n3\n\n", "1 2\n3"), is_same_output("1 2", "1 2\n3"), is_same_output("1\n2", "1 2")
    (True, False, False)
    """
    one, other = output.rstrip(), expected.rstrip()
    return one == other or first_different_lines(one, other, _has_same_words)[1:] == (None, None)


def _has_same_words(line: str, expected: str) -> bool:
    words = expected.split()
    return line.split(None, len(words)) == words  # of a line without end no more words than are expected
