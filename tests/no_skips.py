# SPDX-License-Identifier: Apache-2.0
"""With OPEN_R1_NO_SKIPS=1 a skipped test fails: what CI says that it runs, it runs.

Expected failures (xfail) stay what they are, and so do tests that a marker leaves out.
"""

from collections.abc import Generator

import pytest

VARIABLE = "OPEN_R1_NO_SKIPS"
EFFECT = "a skipped test fails"
# Reasons that may skip a test all the same, each with why.
ALLOWED = {
    "the extra zh is installed": "shows what happens without the extra, which the environment of all tests has",
}

Report = pytest.TestReport | pytest.CollectReport


def fail_if_skipped(report: Report) -> None:
    """Make a skipped report a failed one that says where and why the test would have been skipped."""
    if not report.skipped or hasattr(report, "wasxfail") or not isinstance(report.longrepr, tuple):
        return
    path, line, message = report.longrepr
    reason = message.removeprefix("Skipped: ")
    if reason not in ALLOWED:
        report.outcome = "failed"
        report.longrepr = (
            f"{path}:{line}: would be skipped: {reason}\n"
            f"{VARIABLE}=1 allows none: bring what the test needs, or add the reason to ALLOWED in tests/no_skips.py"
        )


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Fail what a mark, a fixture or the test itself skips."""
    report = yield
    fail_if_skipped(report)
    return report


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report() -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    """Fail a file that skips itself while it is imported."""
    report = yield
    fail_if_skipped(report)
    return report
