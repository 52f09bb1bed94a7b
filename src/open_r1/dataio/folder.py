# SPDX-License-Identifier: Apache-2.0
"""A folder with a data set of ours: parquet shards, report files, and the card, which is written last.

A folder counts as finished when `card.json` is there. Until then everything is below `.partial` in it; what a killed
run left there is removed by the next one. `datasets.load_dataset(folder)` and `get_dataset` read a finished folder.
"""

import logging
import shutil
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from filelock import FileLock, Timeout

from open_r1.dataio.card import CARD_NAME, README_NAME, DataCard, read_card
from open_r1.dataio.readme import render_readme
from open_r1.dataio.shards import ShardWriter

logger = logging.getLogger(__name__)

_STAGING = ".partial"
_LOCK = ".lock"
_CLAIM = "open_r1"  # inside the staging folder: the data beside it is ours


class DatasetFolder:
    """A folder that is being written; use it as a context manager, after `is_done` said no.

    Args:
        path: Where the data set shall be. The folder may exist and hold other files; `data` in it must be ours.
        card: What is known so far; steps and results may be filled in until the block ends.
        overwrite: Replace a finished data set that was made with other settings, or the same ones.

    Raises:
        ValueError: The folder holds something else, another process writes it, or no row was written.
    """

    def __init__(self, path: Path | str, card: DataCard, *, overwrite: bool = False) -> None:
        self.path = Path(path)
        self.card = card
        self.overwrite = overwrite
        self._writers: dict[tuple[str, str], ShardWriter] = {}
        self._reports: list[str] = []
        self._lock: FileLock | None = None

    @property
    def staging(self) -> Path:
        """Folder in which everything is until it is whole."""
        return self.path / _STAGING

    def is_done(self) -> bool:
        """Whether the folder was finished earlier with these settings and parents, and need not be made again.

        Raises:
            ValueError: It was finished with others, and `overwrite` is not set, or it holds files of somebody else.
        """
        if self.path.exists() and not self.path.is_dir():
            raise ValueError(f"{self.path} is a file; name another output folder.")
        if self.overwrite:
            self._refuse_foreign_data()
            return False
        found = read_card(self.path)
        if found is None:
            self._refuse_foreign_data()
            return False
        if found.fingerprint() == self.card.fingerprint():
            return True
        raise ValueError(
            f"{self.path} holds a finished data set that was made otherwise: {_differences(found, self.card)}. Name "
            "another output folder, or replace it with --overwrite."
        )

    def write(
        self,
        rows: pa.RecordBatch | pa.Table | Sequence[Mapping[str, Any]],
        split: str = "train",
        config: str = "default",
    ) -> None:
        """Add rows to a split.

        Raises:
            ValueError: A column has another type than in earlier rows.
        """
        key = (config, split)
        if key not in self._writers:
            name = "data" if config == "default" else config
            self._writers[key] = ShardWriter(self.staging / name, split)
        self._writers[key].write(rows)

    def write_text(self, name: str, text: str) -> None:
        """Write a report file beside the data."""
        (self.staging / name).write_text(text, encoding="utf-8")
        self._reports.append(name)

    def __enter__(self) -> "DatasetFolder":
        self.path.mkdir(parents=True, exist_ok=True)
        self._refuse_foreign_data()
        self._lock = FileLock(self.path / _LOCK)
        try:
            self._lock.acquire(blocking=False)
        except Timeout:
            raise ValueError(f"Another process is writing {self.path}: wait for it, or name another folder.") from None
        if self.staging.exists():
            logger.info("Removing what an unfinished run left in %s.", self.staging)
            shutil.rmtree(self.staging)
        self.staging.mkdir()
        (self.staging / _CLAIM).touch()
        return self

    def __exit__(self, kind: type[BaseException] | None, *exc_info: object) -> None:
        try:
            for writer in self._writers.values():
                writer.close()
            if kind is None:
                self._publish()
        finally:
            assert self._lock is not None
            self._lock.release()

    def _publish(self) -> None:
        self.card.counts = {
            split if config == "default" else f"{config}/{split}": writer.num_rows
            for (config, split), writer in self._writers.items()
        }
        if not sum(self.card.counts.values()):
            raise ValueError(f"No row was written to {self.path}: nothing is left, see the steps before.")
        files: dict[str, dict[str, list[str]]] = {}
        for (config, split), writer in self._writers.items():
            writer.finish()
            files.setdefault(config, {})[split] = [f"{writer.folder.name}/{split}-*.parquet"]
        (self.staging / README_NAME).write_text(render_readme(self.card, files), encoding="utf-8")
        (self.staging / CARD_NAME).write_text(self.card.to_json(), encoding="utf-8")
        (self.path / CARD_NAME).unlink(missing_ok=True)  # from here on the folder is unfinished, until the last line
        for folder in {writer.folder.name for writer in self._writers.values()}:
            if (self.path / folder).exists():
                shutil.rmtree(self.path / folder)
            (self.staging / folder).rename(self.path / folder)
        for name in [*self._reports, README_NAME, CARD_NAME]:
            (self.staging / name).replace(self.path / name)
        shutil.rmtree(self.staging)

    def _refuse_foreign_data(self) -> None:
        data = self.path / "data"
        is_ours = (self.staging / _CLAIM).exists() or read_card(self.path) is not None
        if data.exists() and not is_ours:
            raise ValueError(f"{data} exists and is not ours ({self.path} has no card): name another output folder.")


def load_columns(folder: Path, columns: Iterable[str], config: str = "default", split: str = "train") -> pa.Table:
    """Return some columns of a finished folder."""
    name = "data" if config == "default" else config
    files = sorted((folder / name).glob(f"{split}-*.parquet"))
    return pa.concat_tables(pq.read_table(file, columns=list(columns)) for file in files)


def _differences(found: DataCard, wanted: DataCard) -> str:
    """Say which settings or parents differ, the old value first."""
    pairs = []
    for name in sorted(set(found.settings) | set(wanted.settings)):
        old, new = found.settings.get(name), wanted.settings.get(name)
        if old != new:
            pairs.append(f"{name} {old!r} -> {new!r}")
    if [asdict(parent) for parent in found.parents] != [asdict(parent) for parent in wanted.parents]:
        old_parents, new_parents = (
            [f"{p.name} ({p.split}, {p.fingerprint})" for p in card.parents] for card in (found, wanted)
        )
        pairs.append(f"source {', '.join(old_parents)} -> {', '.join(new_parents)}")
    return "; ".join(pairs)
