# SPDX-License-Identifier: Apache-2.0
"""Pools of problems: the text of a problem alone decides which split may have it."""

import hashlib
from collections.abc import Sequence


def choose_pool(text: str, pools: Sequence[str]) -> str:
    """Return the pool of a text by its SHA-256, each as likely as it occurs in `pools`."""
    digest = hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()
    return pools[int.from_bytes(digest[:4], "big") % len(pools)]
