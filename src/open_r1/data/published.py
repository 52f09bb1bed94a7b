# SPDX-License-Identifier: Apache-2.0
"""Where things are in a data folder of ours: files by configuration and split, and what says that it's unfinished."""

import glob
import re
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from open_r1.data.card import CARD_NAME, DataCard

STAGING_NAME = ".partial"
LOCK_NAME = ".open_r1.lock"
DEFAULT_CONFIG = "default"
_PARTS = ("shards/*", "part-*")  # of pass rates, of decontamination
_PART = re.compile(r"(part-)?\d+(-\d+)?")
_JOURNALS = ("generations.jsonl", "scores.jsonl")
_JOURNAL_START = b'{"journal": '


def data_folder_name(config: str) -> str:
    """Return the name of the folder with the files of a configuration."""
    return "data" if config == DEFAULT_CONFIG else config


def splits_by_config(card: DataCard) -> dict[str, list[str]]:
    """Return the splits of each configuration that a card counts rows of; those without rows have no files."""
    found: dict[str, list[str]] = {}
    for key, num_rows in card.counts.items():
        config, _, split = key.rpartition("/")
        if num_rows:
            found.setdefault(config or DEFAULT_CONFIG, []).append(split)
    return found


def published_files(folder: Path, card: DataCard, config: str | None) -> dict[str, list[Path]]:
    """Return the files of each split of a configuration.

    Args:
        folder: A finished folder.
        card: Its card.
        config: A configuration; None: the default one, or the only one.

    Raises:
        ValueError: There is no such configuration, or files of it are missing.
    """
    configs = splits_by_config(card)
    if config is None:
        config = DEFAULT_CONFIG if DEFAULT_CONFIG in configs or len(configs) != 1 else next(iter(configs))
    if config not in configs:
        raise ValueError(f"{folder} has no configuration {config!r}; it has {sorted(configs)}.")
    found = {}
    for split in configs[config]:
        files = sorted((folder / data_folder_name(config)).glob(f"{glob.escape(split)}-?????-of-?????.parquet"))
        try:
            num_rows = sum(pq.read_metadata(file).num_rows for file in files)
        except (pa.ArrowInvalid, OSError) as error:
            raise ValueError(f"{folder} is not whole ({error}): make it again with --overwrite.") from None
        expected = card.counts[split if config == DEFAULT_CONFIG else f"{config}/{split}"]
        if num_rows != expected:
            raise ValueError(
                f"{folder} is not whole: its files of {split!r} have {num_rows} rows, not {expected}. Make it again "
                "with --overwrite."
            )
        found[split] = files
    return found


def refuse_unfinished(folder: Path) -> None:
    """Raise a ValueError for a folder of ours that is being made, whose making was cut short, or that is unmerged.

    The reader of `datasets` would take the rows of all shards that are there, those of each configuration once more.
    """
    if (folder / STAGING_NAME).is_dir():
        raise ValueError(f"{folder} is not finished: run the command that makes it again.")
    for pattern in _PARTS:
        found = next((part for part in sorted(folder.glob(pattern)) if _PART.fullmatch(part.name)), None)
        if found is not None and ((found / CARD_NAME).is_file() or (found / LOCK_NAME).exists()):
            raise ValueError(
                f"{folder} holds parts of a data set that are not merged ({found.relative_to(folder)}, ...): run the "
                "command that made them with --merge, or name one part."
            )
    for journal in _JOURNALS:
        if _is_journal(folder / journal):
            raise ValueError(
                f"{folder} is not finished: it has {journal}, but no card. Run the command that makes it again."
            )


def _is_journal(path: Path) -> bool:
    if not path.is_file():
        return False
    with path.open("rb") as file:
        return file.read(len(_JOURNAL_START)) == _JOURNAL_START
