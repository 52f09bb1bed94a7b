# SPDX-License-Identifier: Apache-2.0
"""A folder with a data set of ours: parquet shards, report files, and the card, which is written last.

A folder counts as finished when `card.json` is there. Until then everything is below `.partial` in it; what a killed
run left there is removed by the next one. `datasets.load_dataset(folder)` and `get_dataset` read a finished folder.
"""

import logging
import re
import shutil
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from filelock import FileLock, Timeout

from open_r1.data.card import (
    CARD_NAME,
    README_NAME,
    DataCard,
    plain_json,
    read_card,
)
from open_r1.data.places import is_claimed, refuse_data_of_others, refuse_place, remove_if_nothing_came
from open_r1.data.published import (
    DEFAULT_CONFIG,
    LOCK_NAME,
    STAGING_NAME,
    data_folder_name,
    published_files,
    splits_by_config,
)
from open_r1.data.readme import render_readme
from open_r1.data.shards import ShardWriter

logger = logging.getLogger(__name__)

_REPLACED = "replaced"  # in the staging folder: data of before
_SPLIT = re.compile(r"\w+(\.\w+)*")  # as `datasets` demands
_FILE_NAME = re.compile(r"[\w\-][\w.\- ]*")
_TAKEN_NAMES = {CARD_NAME, README_NAME, "data", _REPLACED}


class DatasetFolder:
    """A folder that is being written; use it as a context manager, after `is_done` said no.

    Args:
        path: Where the data set shall be. The folder may exist and hold other files; `data` in it must be ours.
        card: What is known so far; steps and results may be filled in until the block ends.
        overwrite: Replace a finished data set that was made with other settings, or the same ones.
        licence: What the user asked for, if anything: it goes into the card of a finished folder too. That of `card`
            may be inherited, and replaces none.
        schema: Columns of the default configuration, where the first rows may lack some; else those of the first rows.

    Raises:
        ValueError: The folder holds something else where ours would be (data, README.md, card.json, reports), another
            process writes it, or no row was written.
    """

    def __init__(
        self,
        path: Path | str,
        card: DataCard,
        *,
        overwrite: bool = False,
        licence: str | None = None,
        schema: pa.Schema | None = None,
    ) -> None:
        self.path = Path(path).expanduser()
        self.card = card
        self.overwrite = overwrite
        self.licence = licence if licence and licence.strip() else None
        self._writers: dict[tuple[str, str], ShardWriter] = {}
        self._schemas = {} if schema is None else {DEFAULT_CONFIG: schema}
        self._reports: list[str] = []
        self._lock: FileLock | None = None
        self._foreign: set[str] = set()
        self._is_new = False

    @property
    def staging(self) -> Path:
        """Folder in which everything is until it is whole."""
        return self.path / STAGING_NAME

    def is_done(self) -> bool:
        """Whether the folder was finished earlier with these settings and parents, and need not be made again.

        Raises:
            ValueError: It was finished with others, and `overwrite` is not set, or it holds files of somebody else.
        """
        refuse_place(self.path, self.card.parents)
        found = None if self.overwrite else read_card(self.path)
        if found is None:
            return False
        if found.fingerprint() != self.card.fingerprint():
            raise ValueError(
                f"{self.path} holds a finished data set that was made otherwise: {_differences(found, self.card)}. "
                "Name another output folder, or replace it with --overwrite."
            )
        for config in splits_by_config(found):
            published_files(self.path, found, config)
        self._remove_leftovers()
        if self.licence is not None and found.licence != self.licence:
            self._take_licence(found, self.licence)
        return True

    def _take_licence(self, found: DataCard, licence: str) -> None:
        """Write the licence that was asked for into the card of a finished folder."""
        logger.warning("The licence of %s was %r and is now %r; its rows stay.", self.path, found.licence, licence)
        found.licence = licence
        files = {
            config: {split: [f"{data_folder_name(config)}/{split}-*.parquet"] for split in splits}
            for config, splits in splits_by_config(found).items()
        }
        lock = self._locked()
        try:
            for name, text in ((README_NAME, render_readme(found, files)), (CARD_NAME, found.to_json())):
                written = self.path / f".{name}.new"
                written.write_text(text, encoding="utf-8", errors="backslashreplace")
                written.replace(self.path / name)
        finally:
            lock.release()

    def _remove_leftovers(self) -> None:
        """Remove what a run left that was killed behind its last step; not what another process is writing."""
        lock = FileLock(self.path / LOCK_NAME)
        if self.staging.exists():
            try:
                with lock.acquire(blocking=False):
                    shutil.rmtree(self.staging)
            except Timeout:
                logger.info("Another process is writing %s anew.", self.path)

    def write(
        self,
        rows: pa.RecordBatch | pa.Table | Sequence[Mapping[str, Any]],
        split: str = "train",
        config: str = DEFAULT_CONFIG,
    ) -> None:
        """Add rows to a split.

        Raises:
            ValueError: A column has another type than in earlier rows, or a name that cannot be one of a split.
        """
        key = (config, split)
        if key not in self._writers:
            self._require_entered()
            folder = self.staging / self._checked_folder_name(config, split)
            self._writers[key] = ShardWriter(folder, split, self._schemas, config)
        self._writers[key].write(rows)

    def write_text(self, name: str, text: str) -> None:
        """Write a report file beside the data."""
        self._require_entered()
        if not _FILE_NAME.fullmatch(name) or name in _TAKEN_NAMES:
            raise ValueError(f"{name!r} cannot be the name of a report file.")
        if name in self._foreign:
            raise ValueError(f"{self.path / name} exists and is not ours: name another output folder.")
        (self.staging / name).write_text(text, encoding="utf-8", errors="backslashreplace")
        if name not in self._reports:
            self._reports.append(name)

    def __enter__(self) -> "DatasetFolder":
        refuse_place(self.path, self.card.parents)
        self._is_new = not self.path.exists()
        self.path.mkdir(parents=True, exist_ok=True)
        self._foreign = set() if is_claimed(self.path) else {entry.name for entry in self.path.iterdir()}
        self._lock = self._locked()
        try:
            if self.is_done():
                raise ValueError(f"{self.path} was finished by another process meanwhile.")
            if self.staging.exists():
                logger.info("Removing what an unfinished run left in %s.", self.staging)
                shutil.rmtree(self.staging)
            self.staging.mkdir()
        except BaseException:
            self._lock.release()
            raise
        return self

    def _locked(self) -> FileLock:
        """Return the lock of the folder, taken. It stays behind: beside unfinished data it says that they are ours."""
        lock = FileLock(self.path / LOCK_NAME)
        try:
            lock.acquire(blocking=False)
        except Timeout:
            raise ValueError(f"Another process is writing {self.path}: wait for it, or name another folder.") from None
        return lock

    def __exit__(self, kind: type[BaseException] | None, *exc_info: object) -> None:
        assert self._lock is not None
        try:
            if kind is None:
                self._publish()
        finally:
            for writer in self._writers.values():
                writer.abandon()
            if kind is not None:
                shutil.rmtree(self.staging, ignore_errors=True)  # the next run removes what could not be removed
            self._lock.release()
            if kind is not None and self._is_new:
                remove_if_nothing_came(self.path)

    def _publish(self) -> None:
        self.card.counts = {
            split if config == DEFAULT_CONFIG else f"{config}/{split}": writer.num_rows
            for (config, split), writer in self._writers.items()
        }
        self.card.reports = self._reports
        if not sum(self.card.counts.values()):
            raise ValueError(
                f"No row is left for {self.path}. {_describe_steps(self.card)} Reports, if any, are in {self.staging}."
            )
        files: dict[str, dict[str, list[str]]] = {}
        for (config, split), writer in self._writers.items():
            if not writer.num_rows:
                continue  # the reader of `datasets` stops at a split without rows; the card counts it
            writer.finish()
            files.setdefault(config, {})[split] = [f"{writer.folder.name}/{split}-*.parquet"]
        (self.staging / README_NAME).write_text(
            render_readme(self.card, files), encoding="utf-8", errors="backslashreplace"
        )
        (self.staging / CARD_NAME).write_text(self.card.to_json(), encoding="utf-8")
        self._replace()

    def _replace(self) -> None:
        """Put everything in its place; without a card from the first line to the last but one."""
        old = self._read_old_card()
        (self.path / CARD_NAME).unlink(missing_ok=True)
        replaced = self.staging / _REPLACED
        replaced.mkdir()
        folders = {writer.folder.name for writer in self._writers.values() if writer.num_rows}
        outdated = {data_folder_name(config) for config in splits_by_config(old)} if old is not None else set()
        for name in folders | outdated | set(old.reports if old is not None else ()):
            if (self.path / name).exists():
                (self.path / name).rename(replaced / name)
        for name in [*sorted(folders), *self._reports, README_NAME, CARD_NAME]:
            (self.staging / name).replace(self.path / name)
        shutil.rmtree(self.staging)

    def _read_old_card(self) -> DataCard | None:
        try:
            return read_card(self.path)
        except ValueError as error:
            if not self.overwrite:
                raise
            logger.warning("%s It is replaced; what else it may have named stays.", error)
            return None

    def _checked_folder_name(self, config: str, split: str) -> str:
        name = data_folder_name(config)
        if not _SPLIT.fullmatch(split):
            raise ValueError(f"{split!r} cannot be the name of a split: letters, digits, _ and . inside.")
        if config != DEFAULT_CONFIG and (not _FILE_NAME.fullmatch(name) or name in _TAKEN_NAMES):
            raise ValueError(f"{config!r} cannot be the name of a configuration: letters, digits, _ - and . inside.")
        refuse_data_of_others(self.path, name)
        return name

    def _require_entered(self) -> None:
        if self._lock is None or not self._lock.is_locked:
            raise RuntimeError("A DatasetFolder is written inside of its `with` block.")


def load_columns(folder: Path, columns: Iterable[str], config: str | None = None, split: str = "train") -> pa.Table:
    """Return some columns of a finished folder."""
    card = read_card(folder)
    if card is None:
        raise ValueError(f"{folder} is no finished data folder: it has no {CARD_NAME}.")
    files = published_files(folder, card, config)
    if split not in files:
        raise ValueError(f"{folder} has no split {split!r}; it has {sorted(files)}.")
    return pa.concat_tables(pq.read_table(file, columns=list(columns)) for file in files[split])


def _describe_steps(card: DataCard) -> str:
    steps = [f"{step.name}: {step.rows_before} -> {step.rows_after}." for step in card.steps]
    return " ".join(steps) or "No row was written."


def _differences(found: DataCard, wanted: DataCard) -> str:
    """Say which settings or parents differ, the old value first."""
    pairs = []
    before, now = plain_json(found.settings), plain_json(wanted.settings)
    for name in sorted(set(before) | set(now)):
        if before.get(name) != now.get(name):
            pairs.append(f"{name} {before.get(name)!r} -> {now.get(name)!r}")
    if [parent.identity() for parent in found.parents] != [parent.identity() for parent in wanted.parents]:
        old_parents, new_parents = (
            [f"{p.name} ({p.split}, {p.fingerprint})" for p in card.parents] for card in (found, wanted)
        )
        pairs.append(f"source {', '.join(old_parents)} -> {', '.join(new_parents)}")
    return "; ".join(pairs) or "by a value that looks like a secret and is not shown"
