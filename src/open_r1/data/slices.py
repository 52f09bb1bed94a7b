# SPDX-License-Identifier: Apache-2.0
"""Splits and slices of them, as the users of `datasets` write them: `train[:100]`, `train[-10%:]`."""

import re
from dataclasses import dataclass

_SLICE = re.compile(r"(?P<split>[^\[\]]*)(\[(?P<start>-?\d+%?)?:(?P<stop>-?\d+%?)?\])?")


@dataclass(frozen=True)
class SplitSlice:
    """A split, or some of its rows.

    Args:
        split: Name of the split.
        start: First row as written: a number or a per cent; negative ones count from the end. None: from the first.
        stop: Row behind the last one, as `start`. None: to the end.
    """

    split: str
    start: str | None
    stop: str | None

    def bounds(self, num_rows: int) -> tuple[int, int]:
        """Return the first row and the one behind the last in a split of so many rows."""
        begin, end, _ = slice(_position(self.start, num_rows), _position(self.stop, num_rows)).indices(num_rows)
        return begin, max(begin, end)


def parse_split(text: str) -> SplitSlice:
    """Return what a text such as `train[10%:20%]` names.

    Raises:
        ValueError: It is no split and no slice of one.
    """
    match = _SLICE.fullmatch(text)
    if match is None or text.startswith("["):
        raise ValueError(f"{text!r} is no slice of a split: write train[:100], train[-100:] or train[10%:20%].")
    return SplitSlice(match["split"], match["start"], match["stop"])


def _position(text: str | None, num_rows: int) -> int | None:
    if text is None:
        return None
    return round(num_rows * int(text[:-1]) / 100) if text.endswith("%") else int(text)
