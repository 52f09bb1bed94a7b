# SPDX-License-Identifier: Apache-2.0
"""Data folders: parquet files, reports and a card, finished when `card.json` is there.

    out/
        .open_r1.lock                       stays: one process writes, and the folder is no stranger's
        .partial/                           while it is written
        data/train-00000-of-00001.parquet   configuration `default`; <config>/<split>-*.parquet for others
        contamination_report.json           a report
        README.md
        card.json                           written last

A killed run leaves `.partial`, which the next one removes. `datasets.load_dataset("out")` reads a finished folder.
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

from open_r1.data.card import CARD_NAME, README_NAME, DataCard, read_card
from open_r1.manifest import write_whole

logger = logging.getLogger(__name__)

STAGING_NAME = ".partial"
LOCK_NAME = ".open_r1.lock"
DEFAULT_CONFIG = "default"
_NAME = re.compile(r"[\w\-][\w.\- ]*")
_SPLIT = re.compile(r"\w+(\.\w+)*")  # as `datasets` demands
# What a run writes, whatever its configurations.
_OWN = {"data", README_NAME, CARD_NAME, STAGING_NAME, "contamination_report.json"}
_BUFFER_ROWS = 10_000
_BUFFER_BYTES = 64 * 2**20

Rows = pa.RecordBatch | pa.Table | Sequence[Mapping[str, Any]]


class DatasetFolder:
    """A data folder that is being written; use it as a context manager, after `is_done` said no.

    Args:
        path: Where the data set shall be. The folder may hold other files, none in the way of the new ones.
        card: What is known so far; steps and results may be filled in until the block ends.
        overwrite: Replace a finished data set.
        licence: Licence that the user asked for; that of `card` may be inherited.
        schema: Columns of the default configuration; else those of its first 10,000 rows.

    Raises:
        ValueError: The folder holds files of somebody else where these would go, another process writes it, or no row
            was written.
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
        self.licence = licence
        self.staging = self.path / STAGING_NAME
        self._writers: dict[tuple[str, str], _SplitWriter] = {}
        self._schemas = {} if schema is None else {DEFAULT_CONFIG: _writable(schema)}
        self._lock = FileLock(self.path / LOCK_NAME)
        self._strangers: set[str] = set()
        self._replaced: DataCard | None = None

    def is_done(self) -> bool:
        """Whether the folder was finished earlier with these settings and parents.

        Raises:
            ValueError: It was finished with others, and `overwrite` is not set, or it holds files of somebody else.
        """
        self._refuse_place()
        found = None if self.overwrite else read_card(self.path)
        if found is None:
            return False
        if found.fingerprint() != self.card.fingerprint():
            raise ValueError(
                f"{self.path} holds a finished data set with other settings: {found.differences(self.card)}. "
                "Name another output folder, or replace it with --overwrite."
            )
        for config in patterns_by_config(found):
            published_files(self.path, found, config)
        if self.licence and self.licence != found.licence:
            logger.warning("The licence of %s was %r and is now %r.", self.path, found.licence, self.licence)
            found.licence = self.licence
            _write_card(self.path, found)
        return True

    def _refuse_place(self) -> None:
        for place in (self.path, *self.path.parents):
            if place.exists() and not place.is_dir():
                raise ValueError(f"{place} is a file; name another output folder.")
        sources = [Path(parent.name).expanduser() for parent in self.card.parents]
        if self.path.exists() and any(source.exists() and source.samefile(self.path) for source in sources):
            raise ValueError(f"{self.path} is the data set that is read; name another output folder.")
        is_claimed = (self.path / LOCK_NAME).exists() or read_card(self.path) is not None
        self._strangers = {
            entry.name
            for entry in self.path.glob("*")
            if not is_claimed or (entry.name != STAGING_NAME and any(f.suffix != ".parquet" for f in entry.glob("*")))
        }
        if taken := sorted(self._strangers & _OWN):
            raise ValueError(
                f"{self.path} contains {taken}, which no command of this project wrote; name another output folder."
            )

    def write(self, rows: Rows, split: str = "train", config: str = DEFAULT_CONFIG) -> None:
        """Add rows to a split.

        Raises:
            ValueError: A column has another type than in earlier rows, or a name that cannot be one of a split.
        """
        if (config, split) not in self._writers:
            name = data_folder_name(config)
            if not _SPLIT.fullmatch(split) or (config != DEFAULT_CONFIG and not self._is_free(name)):
                raise ValueError(f"{self.path} can't take a config {config!r} with a split {split!r}.")
            self._writers[config, split] = _SplitWriter(self.staging / name, split, self._schemas, config)
        self._writers[config, split].write(rows)

    def write_text(self, name: str, text: str) -> None:
        """Write a report file beside the data."""
        if not self._is_free(name):
            raise ValueError(f"{self.path} can't take a report {name!r}.")
        (self.staging / name).write_text(text, encoding="utf-8", errors="backslashreplace")
        if name not in self.card.reports:
            self.card.reports.append(name)

    def _is_free(self, name: str) -> bool:
        return bool(_NAME.fullmatch(name)) and name not in {CARD_NAME, README_NAME, "data", *self._strangers}

    def __enter__(self) -> "DatasetFolder":
        self._refuse_place()
        self.path.mkdir(parents=True, exist_ok=True)
        try:
            self._lock.acquire(blocking=False)
        except Timeout:
            raise ValueError(f"Another process is writing {self.path}: wait for it, or name another folder.") from None
        try:
            self._replaced = self._read_replaced()
            if self.staging.exists():
                logger.info("Removing the leftovers of an unfinished run in %s.", self.staging)
                shutil.rmtree(self.staging)
            self.staging.mkdir()
        except BaseException:
            self._lock.release()
            raise
        return self

    def _read_replaced(self) -> DataCard | None:
        try:
            found = read_card(self.path)
        except ValueError as error:
            if not self.overwrite:
                raise
            logger.warning("%s It is replaced; other files that it named are kept.", error)
            return None
        if found is not None and not self.overwrite:
            raise ValueError(f"{self.path} was finished by another process meanwhile.")
        return found

    def __exit__(self, kind: type[BaseException] | None, *exc_info: object) -> None:
        try:
            if kind is None:
                self._publish()
        finally:
            for writer in self._writers.values():
                writer.close()
            if kind is not None:
                shutil.rmtree(self.staging, ignore_errors=True)
            self._lock.release()

    def _publish(self) -> None:
        self.card.counts = {
            split if config == DEFAULT_CONFIG else f"{config}/{split}": writer.num_rows
            for (config, split), writer in self._writers.items()
        }
        if not any(self.card.counts.values()):
            steps = [f"{step.name}: {step.rows_before} -> {step.rows_after}" for step in self.card.steps]
            raise ValueError(f"No row is left for {self.path} ({'; '.join(steps)}).")
        for writer in self._writers.values():
            writer.finish()
        _write_card(self.staging, self.card)
        # From here to the last rename but one the folder has no card: it is unfinished.
        (self.path / CARD_NAME).unlink(missing_ok=True)
        (self.staging / "replaced").mkdir()
        folders = [data_folder_name(config) for config in patterns_by_config(self.card)]
        old = self._replaced
        outdated = [] if old is None else [*map(data_folder_name, patterns_by_config(old)), *old.reports]
        for name in {*folders, *outdated}:
            if (self.path / name).exists():
                (self.path / name).rename(self.staging / "replaced" / name)
        for name in [*folders, *self.card.reports, README_NAME, CARD_NAME]:
            (self.staging / name).replace(self.path / name)
        shutil.rmtree(self.staging)


class _SplitWriter:
    """Rows of a split in a parquet file with the columns of the configuration's first rows."""

    def __init__(self, folder: Path, split: str, schemas: dict[str, pa.Schema], config: str) -> None:
        self.split, self.num_rows = split, 0
        self._schemas, self._config = schemas, config
        self._file = folder / f"{split}-00000-of-00001.parquet"
        self._writer: pq.ParquetWriter | None = None
        self._buffer: list[pa.Table] = []
        folder.mkdir(parents=True, exist_ok=True)

    def write(self, rows: Rows) -> None:
        if isinstance(rows, pa.RecordBatch):
            rows = pa.Table.from_batches([rows])
        elif not isinstance(rows, pa.Table):  # `from_pylist` alone takes the columns of the first row
            names = dict.fromkeys(name for row in rows for name in row)
            rows = pa.table({name: [row.get(name) for row in rows] for name in names})
        if rows.num_rows:
            kind = _writable(rows.schema)
            # NOTE: only where it must be: of slices of structs `cast` makes invalid arrays (Arrow 26).
            self._buffer.append(rows if kind == rows.schema else rows.cast(kind))
            self.num_rows += rows.num_rows
        if sum(map(len, self._buffer)) >= _BUFFER_ROWS or sum(part.nbytes for part in self._buffer) >= _BUFFER_BYTES:
            self._flush()

    def _flush(self) -> None:
        schema = self._schemas.setdefault(self._config, unify(part.schema for part in self._buffer))
        parts, self._buffer = self._buffer, []
        try:
            table = pa.concat_tables([schema.empty_table(), *parts], promote_options="permissive")
        except (pa.ArrowInvalid, pa.ArrowTypeError) as error:
            raise ValueError(f"Rows of {self.split!r} do not fit the rows before: {error}") from error
        if not table.schema.equals(schema):
            raise ValueError(f"Rows of {self.split!r} do not fit the rows before: {table.schema}, not {schema}")
        self._writer = self._writer or pq.ParquetWriter(self._file, schema)
        self._writer.write_table(table)

    def finish(self) -> None:
        """Write what is buffered."""
        if self._buffer:
            self._flush()
        self.close()

    def close(self) -> None:
        writer, self._writer = self._writer, None
        if writer is not None:
            writer.close()


def _write_card(folder: Path, card: DataCard) -> None:
    readme = card.readme(patterns_by_config(card))
    (folder / README_NAME).write_text(readme, encoding="utf-8", errors="backslashreplace")
    write_whole(folder / CARD_NAME, card.to_json())


def unify(schemas: Iterable[pa.Schema]) -> pa.Schema:
    """Return one schema for all rows, of types that parquet can hold.

    Raises:
        ValueError: A column has types that don't go together.
    """
    try:
        return pa.unify_schemas([_writable(schema) for schema in schemas], promote_options="permissive")
    except (pa.ArrowInvalid, pa.ArrowTypeError) as error:
        raise ValueError(f"Rows do not fit together: {error}.") from error


def _writable(schema: pa.Schema) -> pa.Schema:
    return pa.schema([(field.name, _writable_type(field.type)) for field in schema])


def _writable_type(kind: pa.DataType) -> pa.DataType:
    """Return a type with a field in each struct: parquet has no empty ones."""
    if pa.types.is_struct(kind):
        return pa.struct([(field.name, _writable_type(field.type)) for field in kind] or [("_", pa.null())])
    return pa.list_(_writable_type(kind.value_type)) if pa.types.is_list(kind) else kind


def data_folder_name(config: str) -> str:
    """Return the name of the folder with the files of a configuration."""
    return "data" if config == DEFAULT_CONFIG else config


def patterns_by_config(card: DataCard) -> dict[str, dict[str, str]]:
    """Return the pattern of the files of each split of each configuration; splits without rows have none."""
    found: dict[str, dict[str, str]] = {}
    for key, num_rows in card.counts.items():
        config, _, split = key.rpartition("/")
        if num_rows:
            folder = data_folder_name(config or DEFAULT_CONFIG)
            found.setdefault(config or DEFAULT_CONFIG, {})[split] = f"{folder}/{split}-*.parquet"
    return found


def published_files(folder: Path, card: DataCard, config: str | None) -> dict[str, list[Path]]:
    """Return the files of each split of a configuration; None: the default one, or the only one.

    Raises:
        ValueError: There is no such configuration, or its files are damaged or missing.
    """
    configs = patterns_by_config(card)
    if config is None:
        config = DEFAULT_CONFIG if DEFAULT_CONFIG in configs or len(configs) != 1 else next(iter(configs))
    if config not in configs:
        raise ValueError(f"{folder} has no configuration {config!r}; it has {sorted(configs)}.")
    found = {}
    for split, pattern in configs[config].items():
        found[split] = sorted(folder.glob(pattern.replace("*", "?????-of-?????")))
        expected = card.counts[split if config == DEFAULT_CONFIG else f"{config}/{split}"]
        try:
            num_rows = sum(pq.read_metadata(file).num_rows for file in found[split])
        except (pa.ArrowInvalid, OSError) as error:
            raise ValueError(f"{folder} is damaged ({error}): make it again with --overwrite.") from None
        if num_rows != expected:
            raise ValueError(
                f"{folder} is damaged: {split!r} has {num_rows} rows, not {expected}. Make it again with --overwrite."
            )
    return found


def load_columns(folder: Path, columns: Iterable[str], config: str | None = None, split: str = "train") -> pa.Table:
    """Return some columns of a finished folder."""
    card = read_card(folder)
    files = {} if card is None else published_files(folder, card, config)
    if split not in files:
        raise ValueError(f"{folder} is no finished data folder with a split {split!r}; it has {sorted(files)}.")
    return pa.concat_tables(pq.read_table(file, columns=list(columns)) for file in files[split])


def refuse_unfinished(folder: Path) -> None:
    """Raise a ValueError for a folder without a card that a run has not finished, or that holds unmerged parts.

    `datasets` would read the parquet files, or the lines of a journal, that are there.
    """
    found = [path for name in (LOCK_NAME, STAGING_NAME, f"*/{CARD_NAME}") for path in folder.glob(name)]
    found += [path for path in folder.glob("*.jsonl") if _is_journal(path)]
    if found:
        raise ValueError(
            f"{folder} is not finished, or not merged (it has {found[0].relative_to(folder)}): run the command that "
            "makes it again, or name one part."
        )


def _is_journal(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(12) == b'{"journal": '
