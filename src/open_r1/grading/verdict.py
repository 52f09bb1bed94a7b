# SPDX-License-Identifier: Apache-2.0
"""What became of a submission on one test, by the names of the judges of contests."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum

from open_r1.sandbox import Outcome, ProgramRun

_KEPT_CHARS = 1000
_MISSING = re.compile(r"ModuleNotFoundError: No module named '(\w+)")


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


NOT_RUN, OVER_BUDGET = TestResult(TestVerdict.NOT_RUN), TestResult(TestVerdict.OVER_BUDGET)


def result_of_failure(run: ProgramRun) -> TestResult | None:
    """Return the result of a run that didn't end well, or None for one whose output is to be judged."""
    if run.outcome is Outcome.OK:
        return None
    return TestResult(TestVerdict[run.outcome.name], 0.0, run.stderr[-_KEPT_CHARS:])


def missing_module(results: Sequence[TestResult]) -> str | None:
    """Return the first module for whose lack a run of a Python program ended, or None.

    >>> missing_module([TestResult(TestVerdict.RUNTIME_ERROR, stderr="ModuleNotFoundError: No module named 'a.b'")])
    'a'
    """
    for result in results:
        last_line = result.stderr.rstrip().rpartition("\n")[2]
        if result.verdict is TestVerdict.RUNTIME_ERROR and (found := _MISSING.match(last_line)) is not None:
            return found[1]
    return None


def verdict_line(results: Sequence[TestResult]) -> str:
    """Return the verdicts of all tests as a line for the table of completions; runs of equal ones are counted.

    >>> verdict_line([TestResult(TestVerdict.ACCEPTED, 1.0)] * 3 + [TestResult(TestVerdict.WRONG_ANSWER), NOT_RUN])
    'AC x3, WA, -'
    """
    parts: list[tuple[TestVerdict, int]] = []
    for result in results:
        if parts and parts[-1][0] is result.verdict:
            parts[-1] = (result.verdict, parts[-1][1] + 1)
        else:
            parts.append((result.verdict, 1))
    return ", ".join(verdict.value if count == 1 else f"{verdict.value} x{count}" for verdict, count in parts)
