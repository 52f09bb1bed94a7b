# SPDX-License-Identifier: Apache-2.0
"""With OPEN_R1_SECOND_TRIES=1 a test that failed for its machine is run once more; if it passes then it is a RERUN.

Only a wait that came to its end and a port that somebody else has taken are the machine's. A test of kills, of
resuming or of attacks has one try whatever it says: there a failure now and then is the fault that it looks for. So
have unit tests and doctests, since nothing outside decides what they do. CI fails at more than two RERUNs.
"""

import re

import pytest

VARIABLE = "OPEN_R1_SECOND_TRIES"
EFFECT = "a test that was not in time, or got no port, is run once more"
# Searched in "ErrorType: message".
REASONS = [r"^NotInTime", r"not within \d+ s", r"^\w*Timeout(Error|Expired)?: ", r"[Aa]ddress already in use"]
# Searched in the test's path and name.
WITHOUT = re.compile(r"^src/|^tests/unit/|kill|resum|attack|hostile|reliab|restart|requeue")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the tests that may be run again, for pytest-rerunfailures."""
    for item in items:
        if not WITHOUT.search(item.nodeid):
            item.add_marker(pytest.mark.flaky(reruns=1, only_rerun=REASONS))
