# SPDX-License-Identifier: Apache-2.0
"""A row for each reward that runs programs, and the completion that a program stands in."""

from scripts.stand_ins import CODE, CODEFORCES, IOI

ROW_OF = {"code": CODE, "binary_code": CODE, "ioi_code": IOI, "cf_code": CODEFORCES}


def fenced(program: str, language: str = "python") -> str:
    """Return a completion in the strict layout that holds a program."""
    return f"<think>\nso\n</think>\n<answer>\n```{language}\n{program}\n```\n</answer>"
