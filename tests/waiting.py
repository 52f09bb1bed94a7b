# SPDX-License-Identifier: Apache-2.0
"""Waiting for what gives no event to wait for, such as the end of another's process."""

import time
from collections.abc import Callable


class NotInTime(AssertionError):
    """What a test waited for did not come: on a busy machine perhaps later (tests/second_tries.py)."""


def wait_until(condition: Callable[[], object], timeout_s: float = 600.0) -> None:
    """Wait until a condition holds; the bound is for what never happens: vLLM alone may take minutes to start."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() > deadline:
            raise NotInTime(f"it did not come true in {timeout_s:g} s")
        time.sleep(0.02)
