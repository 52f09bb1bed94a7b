# SPDX-License-Identifier: Apache-2.0
"""Whether a folder is ours to write: nothing of somebody else is replaced, and that is said before any work."""

import re
from collections.abc import Sequence
from pathlib import Path

from open_r1.data.card import CARD_NAME, README_NAME, Parent, read_card
from open_r1.data.published import LOCK_NAME, STAGING_NAME

# What our scripts write into every folder, or as reports.
_OUR_NAMES = (
    README_NAME,
    CARD_NAME,
    STAGING_NAME,
    "contamination_report.json",
    "contamination_report.md",
)
_SHARD_NAME = re.compile(r".+-\d{5}-of-\d{5}\.parquet")


def is_claimed(path: Path) -> bool:
    """Whether a folder was written by us before: it has our lock, or a card of ours."""
    if (path / LOCK_NAME).exists():
        return True
    try:
        return read_card(path) is not None
    except ValueError:
        return False  # a card.json that cannot be read says nothing of whose it is


def refuse_file(path: Path) -> None:
    """Raise a ValueError where a folder can't be made, since it, or a folder above it, is a file."""
    for place in (path, *path.parents):
        if place.exists() and not place.is_dir():
            raise ValueError(f"{place} is a file; name another output folder.")


def refuse_place(path: Path, parents: Sequence[Parent]) -> None:
    """Raise a ValueError where a folder cannot take a data set.

    Args:
        path: The folder; it need not exist.
        parents: What is read: none of it may be this folder.
    """
    refuse_file(path)
    for parent in parents:
        source = Path(parent.name).expanduser()
        if source.exists() and path.exists() and source.samefile(path):
            raise ValueError(f"{path} is the data set that is read; name another output folder.")
    if (path / STAGING_NAME).is_symlink():
        raise ValueError(f"{path / STAGING_NAME} is a link and is not ours: remove it, or name another output folder.")
    refuse_data_of_others(path, "data")
    if not is_claimed(path):
        for name in _OUR_NAMES:
            if (path / name).exists():
                raise ValueError(
                    f"{path / name} exists and is not ours (the folder has neither a card of ours nor {LOCK_NAME}): "
                    "name another output folder."
                )


def refuse_data_of_others(path: Path, name: str) -> None:
    """Raise a ValueError where the folder of a configuration is there and holds anything but shards of ours."""
    data = path / name
    if not data.exists():
        return
    is_ours = is_claimed(path) and data.is_dir()
    if not (is_ours and all(_SHARD_NAME.fullmatch(entry.name) for entry in data.iterdir())):
        raise ValueError(f"{data} exists and is not ours: name another output folder.")


def remove_if_nothing_came(folder: Path) -> None:
    """Remove a folder that was made for a start that failed: it has locks and journals without a line at most."""
    if not folder.is_dir():
        return
    found = list(folder.iterdir())
    if all(
        entry.is_file() and entry.name.endswith((".lock", ".jsonl")) and not entry.stat().st_size for entry in found
    ):
        for entry in found:
            entry.unlink()
        folder.rmdir()
