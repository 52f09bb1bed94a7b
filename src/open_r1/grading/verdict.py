# SPDX-License-Identifier: Apache-2.0
"""Verdicts on the tests of a submission, by the names of the judges of contests, and its `Result`.

verdict_line(result.tests)  ->  "AC x3, WA, -"
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from itertools import groupby

from open_r1.sandbox import Outcome, ProgramRun, SandboxError

_KEPT_CHARS = 1000


class TestVerdict(StrEnum):
    """The verdict of one test; a failure of the program has the name of its `Outcome`."""

    __test__ = False  # no test class, whatever pytest thinks of its name

    ACCEPTED = "AC"
    PARTIAL = "PA"
    WRONG_ANSWER = "WA"
    TIME_LIMIT = "TLE"
    MEMORY_LIMIT = "MLE"
    OUTPUT_LIMIT = "OLE"
    RUNTIME_ERROR = "RE"
    COMPILE_ERROR = "CE"
    OVER_BUDGET = "OVER"  # not run: the submission had used up its budget in the tests before
    NOT_RUN = "-"  # not run: a test before had decided


@dataclass(frozen=True)
class TestResult:
    """The result of one test.

    Attributes:
        verdict: Its verdict.
        score: In [0, 1]; 1 exactly when accepted.
        feedback: What a checker or compiler said, or where an output differs, shortened.
        stderr: The end of what the program wrote to standard error.
        cpu_s: CPU seconds of the run; NaN where there was none or nobody knows.
        wall_s: Its seconds on the clock; likewise.
    """

    __test__ = False  # no test class, whatever pytest thinks of its name

    verdict: TestVerdict
    score: float = 0.0
    feedback: str = ""
    stderr: str = field(default="", compare=False)
    cpu_s: float = field(default=float("nan"), compare=False)
    wall_s: float = field(default=float("nan"), compare=False)

    def of_run(self, run: ProgramRun) -> "TestResult":
        """Return the result with what its run says of errors and time."""
        return replace(self, stderr=run.stderr[-_KEPT_CHARS:], cpu_s=run.cpu_s, wall_s=run.wall_s)


ACCEPTED = TestResult(TestVerdict.ACCEPTED, 1.0)
NOT_RUN, OVER_BUDGET = TestResult(TestVerdict.NOT_RUN), TestResult(TestVerdict.OVER_BUDGET)


@dataclass(frozen=True)
class Result:
    """The result of a submission.

    Attributes:
        reward: What it earns; None where it couldn't be judged.
        tests: Of its tests, in their order.
        error: Why it couldn't be judged: the sandbox (`SandboxError`), or the row (another ValueError).
        seconds: Time on the clock, waiting for its turn not counted.
    """

    reward: float | None
    tests: tuple[TestResult, ...] = ()
    error: Exception | None = None
    seconds: float = 0.0

    @property
    def is_lost(self) -> bool:
        """Whether the sandbox failed, so that nothing is known of the submission."""
        return isinstance(self.error, SandboxError)

    @property
    def verdict(self) -> TestVerdict:
        """The verdict of the first test that wasn't passed; `ACCEPTED` where all were."""
        failed = (test.verdict for test in self.tests if test.verdict is not TestVerdict.ACCEPTED)
        return next(failed, TestVerdict.ACCEPTED)


def result_of_failure(run: ProgramRun) -> TestResult | None:
    """Return the result of a run that didn't end well, or None for one whose output is to be judged."""
    if run.outcome is Outcome.OK:
        return None
    return TestResult(TestVerdict[run.outcome.name], 0.0, run.stderr[-_KEPT_CHARS:])


def verdict_line(results: Sequence[TestResult]) -> str:
    """Return the verdicts of all tests as a line for the table of completions; runs of equal ones are counted.

    >>> verdict_line([ACCEPTED] * 3 + [TestResult(TestVerdict.WRONG_ANSWER), NOT_RUN])
    'AC x3, WA, -'
    """
    counts = [(str(verdict), len(list(group))) for verdict, group in groupby(result.verdict for result in results)]
    return ", ".join(verdict if count == 1 else f"{verdict} x{count}" for verdict, count in counts)
