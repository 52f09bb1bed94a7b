# SPDX-License-Identifier: Apache-2.0
"""Preferences of the demo's chats, in place of two reward models: a model this small has nobody who prefers anything.

The chats ask `Answer 37`; their writers answer `see 37`, `37` or `so 37`.
"""

from collections.abc import Sequence
from typing import Any

Completion = list[dict[str, Any]]


def helpful(completions: Sequence[Completion], **columns: object) -> list[float]:
    """Return 1 for a number with a word before it, 0.5 for a bare number, 0 for anything else."""
    values = []
    for completion in completions:
        *words, last = completion[-1]["content"].split() or [""]
        values.append(0.0 if not last.isdigit() else 1.0 if words else 0.5)
    return values


def harmless(completions: Sequence[Completion], **columns: object) -> list[float]:
    """Return 0 for a completion with the word `so` anywhere, which stands for an offence, else 1."""
    return [0.0 if "so" in completion[-1]["content"].split() else 1.0 for completion in completions]
