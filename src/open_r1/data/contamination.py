# SPDX-License-Identifier: Apache-2.0
"""How a data set says that rows of it share text with benchmarks: by boolean columns, and in its card."""

from collections.abc import Mapping
from typing import Any

import pyarrow as pa

FLAG_PREFIX = "contaminated_"
# What became of flagged rows: an entry of a card's `contamination`.
FATE = "flagged_rows_are"
REMOVED = "removed"
MARKED = f"kept, and marked in columns {FLAG_PREFIX}<benchmark>"


def flag_columns(schema: pa.Schema) -> list[str]:
    """Return the columns by which rows are marked: `contaminated_<benchmark>`, boolean."""
    return [field.name for field in schema if field.name.startswith(FLAG_PREFIX) and pa.types.is_boolean(field.type)]


def count_flagged(card: Mapping[str, Any]) -> int:
    """Return how many flagged rows a data set was left with, by its card, else by those of what it was made from.

    Args:
        card: A card as a dictionary (`DataCard.summary`).
    """
    found = card.get("contamination")
    if found:
        count = found.get("flagged_rows") if found.get(FATE) == MARKED else 0
        return count if isinstance(count, int) else 0
    return sum(count_flagged(parent.get("card") or {}) for parent in card.get("parents", []))
