# SPDX-License-Identifier: Apache-2.0
"""What became of a submission in a subtask of an IOI problem.

Deviations from Open R1:
1. A result without tests has a status (SKIPPED), where there it raised.
2. The score isn't rounded. `score_precision` is a precision of points, and rounding to 0 decimals, as some tasks do
   with their points, made a full score of 0.6 and nothing of 0.4. The points (`weighted_score`) are rounded.
"""

from dataclasses import dataclass
from typing import Any

from open_r1.grading.verdict import TestResult, Verdict

# The worst verdict of a subtask is the first of these that one of its tests has.
WORST_FIRST = (
    Verdict.COMPILE_ERROR,
    Verdict.RUNTIME_ERROR,
    Verdict.WRONG_ANSWER,
    Verdict.OUTPUT_LIMIT,
    Verdict.MEMORY_LIMIT,
    Verdict.TIME_LIMIT,
    Verdict.PARTIAL,
    Verdict.ACCEPTED,
    Verdict.NOT_RUN,
)
SKIPPED = "SKIPPED"


@dataclass(frozen=True)
class SubtaskResult:
    """The result of one subtask.

    Attributes:
        problem: The problem's id.
        subtask: Name of the subtask.
        points: What the subtask is worth.
        score_precision: Decimals of the points.
        test_names: Names of its tests.
        test_results: Results in the order of the names.
    """

    problem: str
    subtask: str
    points: float = 0.0
    score_precision: int = 2
    test_names: tuple[str, ...] = ()
    test_results: tuple[TestResult, ...] = ()

    @property
    def status(self) -> str:
        """The worst verdict of all tests; "SKIPPED" where none was run."""
        verdicts = {result.verdict for result in self.test_results}
        return status_of(next((verdict for verdict in WORST_FIRST if verdict in verdicts), Verdict.NOT_RUN))

    @property
    def score(self) -> float:
        """The lowest score of all tests in [0, 1]; 0 without tests."""
        return min((result.score for result in self.test_results), default=0.0)

    @property
    def weighted_score(self) -> float:
        """The share of the subtask's points, rounded to `score_precision` decimals."""
        return round(self.score * self.points, self.score_precision)

    def to_dict(self) -> dict[str, Any]:
        """Return the result as plain values, by the names that Open R1 gives them."""
        tests = zip(self.test_names, self.test_results, strict=True)
        return {
            "problem": self.problem,
            "subtask": self.subtask,
            "score": self.score,
            "weighted_score": self.weighted_score,
            "points": self.points,
            "score_precision": self.score_precision,
            "status": self.status,
            "test_results": [
                {
                    "test_name": name,
                    "score": result.score,
                    "status": status_of(result.verdict),
                    "feedback": result.feedback,
                }
                for name, result in tests
            ],
        }


def status_of(verdict: Verdict) -> str:
    """Return the name of a verdict in the results of contests."""
    return SKIPPED if verdict is Verdict.NOT_RUN else verdict.value
