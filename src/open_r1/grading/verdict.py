# SPDX-License-Identifier: Apache-2.0
"""What became of a submission on one test, by the names of the judges of contests."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from open_r1.sandbox import Outcome, ProgramRun


class Verdict(StrEnum):
    """The verdict of one test."""

    ACCEPTED = "AC"
    PARTIAL = "PA"
    WRONG_ANSWER = "WA"
    TIME_LIMIT = "TLE"
    MEMORY_LIMIT = "MLE"
    OUTPUT_LIMIT = "OLE"
    RUNTIME_ERROR = "RE"
    COMPILE_ERROR = "CE"
    NOT_RUN = "-"


_OF_OUTCOME = {
    Outcome.RUNTIME_ERROR: Verdict.RUNTIME_ERROR,
    Outcome.TIME_LIMIT: Verdict.TIME_LIMIT,
    Outcome.MEMORY_LIMIT: Verdict.MEMORY_LIMIT,
    Outcome.OUTPUT_LIMIT: Verdict.OUTPUT_LIMIT,
}


@dataclass(frozen=True)
class TestResult:
    """The result of one test.

    Attributes:
        verdict: Its verdict.
        score: In [0, 1]; 1 exactly when accepted.
        feedback: What a checker or compiler said, shortened.
    """

    __test__ = False  # no test class, whatever pytest thinks of its name

    verdict: Verdict
    score: float = 0.0
    feedback: str = ""


NOT_RUN = TestResult(Verdict.NOT_RUN)


def result_of_failure(run: ProgramRun) -> TestResult | None:
    """Return the result of a run that didn't end well, or None for one whose output is to be judged."""
    if run.outcome is Outcome.OK:
        return None
    return TestResult(_OF_OUTCOME[run.outcome], 0.0, run.stderr[-1000:])


def verdict_line(results: Sequence[TestResult]) -> str:
    """Return the verdicts of all tests as a line for the table of completions; runs of equal ones are counted.

    >>> verdict_line([TestResult(Verdict.ACCEPTED, 1.0)] * 3 + [TestResult(Verdict.WRONG_ANSWER), NOT_RUN])
    'AC x3, WA, -'
    """
    parts: list[tuple[Verdict, int]] = []
    for result in results:
        if parts and parts[-1][0] is result.verdict:
            parts[-1] = (result.verdict, parts[-1][1] + 1)
        else:
            parts.append((result.verdict, 1))
    return ", ".join(verdict.value if count == 1 else f"{verdict.value} x{count}" for verdict, count in parts)
