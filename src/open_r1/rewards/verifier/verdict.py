# SPDX-License-Identifier: Apache-2.0
"""The outcomes of judging one row."""

from enum import StrEnum


class Verdict(StrEnum):
    """The outcome for one row; the package's docstring says when each is given."""

    RIGHT = "right"
    WRONG = "wrong"
    NO_ANSWER = "no_answer"
    UNPARSABLE_GOLD = "unparsable_gold"
    TIMEOUT = "timeout"
    CRASH = "crash"

    @property
    def reward(self) -> float | None:
        """1.0 for right, None where the gold is at fault, else 0.0."""
        if self is Verdict.UNPARSABLE_GOLD:
            return None
        return 1.0 if self is Verdict.RIGHT else 0.0
