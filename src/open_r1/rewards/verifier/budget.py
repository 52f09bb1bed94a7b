# SPDX-License-Identifier: Apache-2.0
"""The work that a pair may cost in process: counted in steps of about a microsecond, so that it's the same anywhere.

A loop of Python can't be interrupted from outside; what walks trees or computes with long numbers counts its steps.
"""

import math
import threading
from collections.abc import Iterator
from contextlib import contextmanager


class OverBudgetError(Exception):
    """The pair costs more than a batch can spare."""


class _Account(threading.local):
    steps_left = math.inf


_ACCOUNT = _Account()


@contextmanager
def limited_to(num_steps: float) -> Iterator[None]:
    """Give the calls inside a budget; within one, the smaller counts."""
    before = _ACCOUNT.steps_left
    _ACCOUNT.steps_left = given = min(num_steps, before)
    try:
        yield
    finally:
        _ACCOUNT.steps_left = before - (given - _ACCOUNT.steps_left)


def spend(num_steps: float) -> None:
    """Count steps.

    Raises:
        OverBudgetError: They, or earlier ones, are beyond the budget.
    """
    _ACCOUNT.steps_left -= num_steps
    if _ACCOUNT.steps_left < 0:
        raise OverBudgetError("too much work")


def spend_on_number(num_bits: float) -> None:
    """Count an operation on a fraction of so many bits: its greatest common divisor takes quadratic time."""
    spend(1 + (num_bits / 1_000) ** 2)
