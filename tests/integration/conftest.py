# SPDX-License-Identifier: Apache-2.0
"""The files that take longest come first, so that no worker of pytest-xdist is left with one of them at the end."""

LONGEST = ("test_demo.py", "test_reliability.py", "test_sandbox_attacks.py")


def pytest_collection_modifyitems(items):
    items.sort(key=lambda item: item.path.name not in LONGEST)
