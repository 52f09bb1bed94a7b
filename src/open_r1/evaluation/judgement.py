# SPDX-License-Identifier: Apache-2.0
"""What a judge says of an answer."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from open_r1.rewards.verifier import Verdict

LOST = "lost"  # the sandbox failed: no verdict, and no score
# Verdicts of programs alone, beside those of the verifier.
TIMEOUT, CRASH = "timeout", "crash"


class JudgingError(RuntimeError):
    """What judges answers is gone: there is nothing to say of them until it is back."""


@dataclass(frozen=True)
class Judgement:
    """What a judge says of one answer.

    Attributes:
        verdict: A `Verdict`; of a program "timeout" or "crash" as well, or "lost".
        score: 1.0 right, 0.0 not, NaN where nobody can say.
        extracted: The final answer found in the text; None: there is none, or it is a program.
        note: More of the verdict, as `AC x3, WA` of a program; "": there is no more.
    """

    verdict: str
    score: float
    extracted: str | None = None
    note: str = ""


class Judge(Protocol):
    """Says of answers whether they are right."""

    def check(self) -> dict[str, Any]:
        """Refuse a machine that can't judge; return what of it decides verdicts, for the settings of the results.

        Raises:
            ValueError: See the message.
        """
        ...

    def judge(self, rows: Sequence[int], texts: Sequence[str]) -> list[Judgement]:
        """Return a judgement of each text, an answer to the problem of a row."""
        ...

    def notes(self) -> list[str]:
        """Return what must be known to read the verdicts so far; empty: nothing out of the ordinary."""
        ...


def judgement_of(verdict: Verdict | str, extracted: str | None = None, note: str = "") -> Judgement:
    """Return a judgement with the score of its verdict."""
    name = verdict.value if isinstance(verdict, Verdict) else verdict
    return Judgement(name, score_of(name), extracted, note)


def score_of(verdict: str | None) -> float:
    """Return 1.0 for right, 0.0 for not, NaN where nobody can say."""
    if verdict is None or verdict == LOST:
        return math.nan
    if verdict in (TIMEOUT, CRASH):
        return 0.0
    reward = Verdict(verdict).reward
    return math.nan if reward is None else reward
