# SPDX-License-Identifier: Apache-2.0
"""Waiting for what gives no event to wait for, such as the end of another's process."""

import time
from collections.abc import Callable


def wait_until(condition: Callable[[], object], timeout_s: float = 600.0) -> None:
    """Wait until a condition holds; the bound is for what never happens: vLLM alone may take minutes to start."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, "it did not come true"
        time.sleep(0.02)
