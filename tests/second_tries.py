# SPDX-License-Identifier: Apache-2.0
"""With OPEN_R1_SECOND_TRIES=1 a test that fails is run once more; one that passes then is listed as RERUN.

For tests of real processes, servers and clusters only: a shared machine may take its cores away for as long as it
likes, and one run of thousands of them would be lost for it. Each RERUN is a fault to find all the same. Unit tests
and doctests get no second try: nothing outside decides what they do.
"""

import pytest

VARIABLE = "OPEN_R1_SECOND_TRIES"
EFFECT = "a failed test of real processes is run once more"
WITHOUT = ("src", "tests/unit")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Mark the tests that may be run again, for pytest-rerunfailures."""
    folders = [config.rootpath / name for name in WITHOUT]
    for item in items:
        if not any(item.path.is_relative_to(folder) for folder in folders):
            item.add_marker(pytest.mark.flaky(reruns=1))
