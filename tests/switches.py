# SPDX-License-Identifier: Apache-2.0
"""Environment variables that change how all tests run; CI sets them."""

import os

import pytest


def is_on(variable: str, effect: str) -> bool:
    """Return whether a variable is 1; refuse a value that nobody has defined."""
    value = os.environ.get(variable, "0")
    if value not in ("0", "1"):
        raise pytest.UsageError(f"{variable} is {value!r}: set it to 1 ({effect}) or 0")
    return value == "1"
