# SPDX-License-Identifier: Apache-2.0
r"""A reward of this recipe's own: the last number of a completion is the solution.

`accuracy` wants a box, an answer block or a sentence around the answer, which so small a model seldom writes.

NOTE: a minus sign belongs to the number behind it. So "0-3" counts for -3, and "7-3 = " doesn't for 3.
"""

import re

NUMBER = re.compile(r"-?\d+(?:\.\d+)?")


def last_number(completions: list[list[dict[str, str]]], *, solution: list[str], **columns: object) -> list[float]:
    r"""Return 1 for completions whose last number is the solution, digit by digit, and else 0.

    >>> texts = ["3 + 4 = 7", "The answer is 7.", r"\boxed{7}", "3 + 4", "7, which is 70 / 10"]
    >>> last_number([[{"content": text}] for text in texts], solution=["7"] * 5)
    [1.0, 1.0, 1.0, 0.0, 0.0]
    """
    found = [NUMBER.findall(completion[-1]["content"]) for completion in completions]
    return [float(bool(numbers) and numbers[-1] == gold) for numbers, gold in zip(found, solution, strict=True)]
