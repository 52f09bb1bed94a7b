# SPDX-License-Identifier: Apache-2.0
"""Parts of a data set, made by tasks of their own, and merged when all are finished.

data/rates/part-0000000000-0000000500/    --shard 0/2 or --start 0 --end 500, of 1,000 rows
data/rates/part-0000000500-0000001000/    --shard 1/2
"""

import re
from collections.abc import Collection
from pathlib import Path

from open_r1.data.card import DataCard, read_card


def rows_of_part(shard: str | None, start: int | None, end: int | None, num_rows: int) -> tuple[int, int]:
    """Return the first row of a part, and the row behind its last one.

    Args:
        shard: `i/n`, i from 0; None: from `start` to `end`.
        start: First row; None: 0.
        end: Row behind the last one; None or beyond the end: all.
        num_rows: Rows of the whole.

    Raises:
        ValueError: The part has no rows.

    >>> rows_of_part("1/3", None, None, 10)
    (3, 6)
    """
    first, behind = start or 0, num_rows if end is None else min(end, num_rows)
    if shard is not None:
        match = re.fullmatch(r"(\d+)/(\d+)", shard)
        if match is None or not int(match[1]) < int(match[2]):
            raise ValueError(f"--shard {shard!r}: write 0/8 for the first part of eight, 7/8 for the last")
        number, count = int(match[1]), int(match[2])
        first, behind = num_rows * number // count, num_rows * (number + 1) // count
    if not 0 <= first < behind:
        raise ValueError(f"--shard {shard}, --start {start}, --end {end} choose no rows of {num_rows}")
    return first, behind


def part_folder(output: Path, start: int, end: int) -> Path:
    """Return the folder of a part; the names sort as the numbers do."""
    return output / f"part-{start:010d}-{end:010d}"


def finished_parts(output: Path, card: DataCard, num_rows: int, *, ignored: Collection[str] = ()) -> list[Path]:
    """Return the folders of all parts, in the order of their rows.

    Args:
        output: Folder below which they are.
        card: Of the whole: its settings, but for those `ignored`, and its parents are those of each part.
        num_rows: Rows of the whole.
        ignored: Settings in which the parts may differ from it.

    Raises:
        ValueError: Rows are in no finished part or in two, or a part was made of other rows or with other settings.
    """
    parts, behind = [], 0
    for part in sorted(output.glob("part-*-*")):
        found = read_card(part)
        start, end = map(int, part.name.split("-")[1:])
        if found is None:
            raise ValueError(f"{part} is unfinished: run that part again, or remove its folder")
        names = set(found.settings) | set(card.settings)
        other = [name for name in names - set(ignored) if found.settings.get(name) != card.settings.get(name)]
        if [parent.identity() for parent in found.parents] != [parent.identity() for parent in card.parents]:
            other.append("rows")
        if other:
            raise ValueError(
                f"{part} differs from the merge in {sorted(other)}: use the same flags and data, or remove it"
            )
        if start != behind:
            count = "no part" if start > behind else "two parts"
            raise ValueError(f"{output} has {count} with row {min(start, behind)} of {num_rows}")
        parts.append(part)
        behind = end
    if behind != num_rows:
        raise ValueError(f"{output} has no part with row {behind} of {num_rows}: run the missing parts")
    return parts
