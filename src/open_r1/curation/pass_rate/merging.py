# SPDX-License-Identifier: Apache-2.0
"""From the folders of all shards to one data set, the same as a run over all rows would have written.

<folder>/shards/000000-000200/    as `--start 0 --end 200` wrote it
<folder>/shards/000200-000400/
"""

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from open_r1.curation.pass_rate.publishing import Tally, write
from open_r1.data.card import DataCard, read_card
from open_r1.data.folder import DatasetFolder
from open_r1.data.licences import SEPARATOR, UNKNOWN_LICENCE
from open_r1.generation.journal import differing

SHARDS = "shards"
_NAME = re.compile(r"\d+-\d+")
_MOST_NAMED = 10


@dataclass(frozen=True)
class _Shard:
    path: Path
    card: DataCard
    start: int
    end: int


def shard_folder(path: Path, start: int, end: int) -> Path:
    """Return the folder of a shard."""
    return path / SHARDS / f"{start:06d}-{end:06d}"


def merge_shards(path: Path, *, overwrite: bool = False, licence: str | None = None) -> DataCard | None:
    """Make one data set of all shards of a folder.

    Args:
        path: The folder below which the shards are, and in which the data set shall be.
        overwrite: Replace a finished data set.
        licence: Licence of the rows; None: as the shards say.

    Returns:
        The card, or None when they were merged earlier.

    Raises:
        ValueError: Shards are missing, unfinished, overlap, or were made with other settings or of other rows.
    """
    shards, unfinished = _find_shards(path)
    if not shards and not unfinished and (whole := _whole_card(path)) is not None:
        # One range of rows held all of them, and was written as the whole.
        DatasetFolder(path, whole, licence=licence).is_done()
        return None
    _require_any(path, shards, unfinished)
    _require_same(shards)
    num_rows = shards[0].card.settings["num_rows"]
    _require_whole(shards, num_rows, unfinished)
    first = shards[0].card
    card = DataCard(
        name=first.name,
        settings={**first.settings, "rows": [0, num_rows]},
        parents=first.parents,
        teacher=_teacher_of(shards),
        sampling=first.sampling,
        licence=licence or SEPARATOR.join(sorted({shard.card.licence or UNKNOWN_LICENCE for shard in shards})),
        notes=[*first.notes, f"Merged of {len(shards)} shards. The first one's command: {first.command}"],
        parts={shard.path.name: _contents(shard.path) for shard in shards},
    )
    folder = DatasetFolder(path, card, overwrite=overwrite, licence=licence)
    if folder.is_done():
        _refuse_other_parts(path, card)
        return None
    tally = Tally()
    with folder:
        for shard in shards:
            for file in sorted((shard.path / "data").glob("train-*.parquet")):
                for batch in pq.ParquetFile(file, pre_buffer=False).iter_batches(64):
                    write(folder, pa.Table.from_batches([batch]), tally)
        if tally.statuses.total() != num_rows:
            raise ValueError(f"The shards hold {tally.statuses.total()} rows instead of {num_rows}: run them again.")
        card.steps += tally.steps(first.settings["bounds"])
    return card


def _teacher_of(shards: Sequence[_Shard]) -> dict[str, Any] | None:
    """Return the first shard's teacher, with the names under which it was served for any of them."""
    teachers = [shard.card.teacher or {} for shard in shards]
    served = sorted({name for teacher in teachers for name in teacher.get("served_as", [])})
    return {**teachers[0], "served_as": served} if served else shards[0].card.teacher


def _whole_card(path: Path) -> DataCard | None:
    card = read_card(path)
    if card is None or "rows" not in card.settings or card.settings["rows"] != [0, card.settings["num_rows"]]:
        return None
    return card


def _contents(shard: Path) -> str:
    """Return a hash of a shard's rows."""
    digest = hashlib.sha256()
    for file in sorted((shard / "data").glob("train-*.parquet")):
        with file.open("rb") as opened:
            digest.update(hashlib.file_digest(opened, "sha256").digest())
    return digest.hexdigest()[:16]


def _refuse_other_parts(path: Path, card: DataCard) -> None:
    """Refuse a data set that was merged of what shards held earlier."""
    found = read_card(path)
    if found is None or not found.parts:
        return  # written by one run over all rows
    changed = sorted(name for name in {*found.parts, *card.parts} if found.parts.get(name) != card.parts.get(name))
    if changed:
        raise ValueError(
            f"{path} was merged before these shards were made again: {', '.join(changed[:_MOST_NAMED])}. Merge them "
            "anew with --overwrite."
        )


def _find_shards(path: Path) -> tuple[list[_Shard], list[str]]:
    """Return the finished shards in the order of their rows, and the names of those that were begun."""
    shards, unfinished = [], []
    for folder in sorted((path / SHARDS).glob("*")):
        if not folder.is_dir() or not _NAME.fullmatch(folder.name):
            continue
        card = read_card(folder)
        if card is None:
            unfinished.append(folder.name)
            continue
        if "rows" not in card.settings or "num_rows" not in card.settings:
            raise ValueError(f"{folder} is no shard of pass rates: move it elsewhere.")
        start, end = card.settings["rows"]
        shards.append(_Shard(folder, card, start, end))
    return sorted(shards, key=lambda shard: (shard.start, shard.end)), unfinished


def _require_any(path: Path, shards: Sequence[_Shard], unfinished: Sequence[str]) -> None:
    if not shards:
        begun = f" ({', '.join(unfinished)} are unfinished)" if unfinished else ""
        raise ValueError(
            f"{path / SHARDS} holds no finished shard{begun}: run the shards first, by --start and --end."
        )


def _require_same(shards: Sequence[_Shard]) -> None:
    """Refuse shards of other settings or rows than the first one's."""
    first = shards[0]
    for shard in shards[1:]:
        found = differing({**first.card.settings, "rows": 0}, {**shard.card.settings, "rows": 0})
        if [parent.identity() for parent in shard.card.parents] != [
            parent.identity() for parent in first.card.parents
        ]:
            names = [
                [f"{parent.name} ({parent.fingerprint})" for parent in entry.card.parents] for entry in (first, shard)
            ]
            found.append(f"the source was {names[0]} and is now {names[1]}")
        if found:
            raise ValueError(
                f"The shards {first.path.name} and {shard.path.name} do not belong together: {'; '.join(found)}. Run "
                "one of them again with the settings of the other, or remove the folder that is not wanted."
            )


def _require_whole(shards: Sequence[_Shard], num_rows: int, unfinished: Sequence[str]) -> None:
    """Refuse shards that overlap or leave a gap."""
    missing = []
    reached = 0
    for number, shard in enumerate(shards):
        if shard.start < reached:
            raise ValueError(
                f"The shards {shards[number - 1].path.name} and {shard.path.name} overlap: remove one of them, and "
                "run the rows that are then missing."
            )
        if shard.start > reached:
            missing.append(f"{reached}-{shard.start}")
        reached = shard.end
    if reached < num_rows:
        missing.append(f"{reached}-{num_rows}")
    if missing:
        named = ", ".join(missing[:_MOST_NAMED]) + (" ..." if len(missing) > _MOST_NAMED else "")
        begun = f" Begun and not finished: {', '.join(unfinished[:_MOST_NAMED])}." if unfinished else ""
        raise ValueError(
            f"Rows {named} of {num_rows} are in no finished shard.{begun} Run them (--start, --end), then merge."
        )
