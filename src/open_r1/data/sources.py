# SPDX-License-Identifier: Apache-2.0
"""Rows by the name of their source: local file or folder, `tasks/<name>`, or a data set on the hub.

>>> source = open_source("tasks/countdown", split="train[:2]")
>>> source.num_rows, source.column_names
(2, ['problem', 'target', 'nums', 'solution', 'domain'])

`datasets` reads all of them, files compressed as .gz, .zst, .bz2 or .xz too, and keeps an Arrow copy in its cache. A
split may be a slice as `datasets` writes it: `train[:100]`, `train[-10%:]`, `train[:5]+test`.
"""

import glob
import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import xxhash

from open_r1.data.card import FLAG_PREFIX, Parent, declared_licence, read_card
from open_r1.data.folder import published_files, refuse_unfinished
from open_r1.tasks import load_task

if TYPE_CHECKING:  # half a second of import: not for `--help`
    from datasets import Dataset, DatasetDict

TASK_PREFIX = "tasks/"
_HUB_FILE_PREFIX = "hf://"
_FORMATS = {
    ".json": "json",
    ".jsonl": "json",
    ".csv": "csv",
    ".tsv": "csv",
    ".parquet": "parquet",
    ".arrow": "arrow",
}
_COMPRESSED = {".gz", ".zst", ".bz2", ".xz"}
_HASH_ROWS = 10_000


@dataclass(frozen=True)
class RowSource:
    """One split of a source, or a slice of it.

    Args:
        name: As the user named it.
        config: Its configuration.
        split: Its split, with the slice.
        revision: Branch, tag or commit on the hub.
        dataset: Its rows.
    """

    name: str
    config: str | None
    split: str
    revision: str | None
    dataset: "Dataset"

    @property
    def num_rows(self) -> int:
        """Rows in the slice."""
        return len(self.dataset)

    @property
    def column_names(self) -> list[str]:
        """Names of the columns."""
        return self.dataset.column_names

    @property
    def schema(self) -> pa.Schema:
        """Names and Arrow types of the columns."""
        return self.dataset.features.arrow_schema.remove_metadata()

    def require(self, columns: list[str], setting: str) -> None:
        """Raise a ValueError that lists the columns found when one of `columns` is missing; `setting` names them."""
        require_columns(self.dataset, columns, f"{self.name!r} (set {setting})")

    def batches(
        self, columns: list[str] | None = None, *, batch_rows: int = 8192, start: int = 0, end: int | None = None
    ) -> Iterator[pa.RecordBatch]:
        """Yield rows `start` to `end` in order, at most `batch_rows` at a time, of all columns or of some."""
        rows = (self.dataset if columns is None else self.dataset.select_columns(columns)).with_format("arrow")
        end = self.num_rows if end is None else min(end, self.num_rows)
        for first in range(start, end, batch_rows):
            table = rows[first : min(first + batch_rows, end)].replace_schema_metadata(None)
            yield from table.combine_chunks().to_batches()

    def rows(
        self, columns: list[str] | None = None, *, start: int = 0, end: int | None = None
    ) -> Iterator[dict[str, Any]]:
        """Yield the rows in order as dictionaries."""
        for batch in self.batches(columns, batch_rows=1024, start=start, end=end):
            yield from batch.to_pylist()

    def fingerprint(self) -> str:
        """Return a hash of the rows, the same wherever they lie."""
        digest = xxhash.xxh3_128(self.schema.serialize())
        for batch in self.batches(batch_rows=_HASH_ROWS):
            digest.update(batch.serialize())
        return digest.hexdigest()[:16]

    def parent(self) -> Parent:
        """Return what a card says of this source; reads all of it for the fingerprint."""
        card = read_card(Path(self.name).expanduser())
        licence = card.licence if card is not None else declared_licence(self.name, self.revision)
        summary = None if card is None else card.summary()
        return Parent(
            self.name, self.config, self.split, self.revision, self.fingerprint(), self.num_rows, licence, summary
        )


def open_source(
    name: str | Path, *, config: str | None = None, split: str = "train", revision: str | None = None, seed: int = 0
) -> RowSource:
    """Open one split of a source, or a slice of one.

    Args:
        name: As for `load_source`, and its configuration, revision and seed with it.
        config: Configuration of the data set.
        split: A split or a slice: `train[:100]`.
        revision: Branch, tag or commit on the hub.
        seed: Seed of a task.

    Raises:
        ValueError: The source or the split cannot be found or read, or has no rows.
    """
    rows = take_split(load_source(str(name), config, seed, revision), split, str(name))
    if len(rows) == 0:
        raise ValueError(f"The data set {str(name)!r} has no rows in {split!r}.")
    return RowSource(str(name), config, split, revision, rows)


def load_source(name: str, config: str | None = None, seed: int = 0, revision: str | None = None) -> "DatasetDict":
    """Load all splits of a source.

    Args:
        name: Local parquet, JSON, JSON lines, csv, tsv or arrow file; a local folder (a data folder with a card, one
            saved by `datasets`, or one of such files); `tasks/<name>`; a name on the hub, or a file there
            (`hf://datasets/<owner>/<name>/<file>`).
        config: Configuration of the data set.
        seed: Seed of a task.
        revision: Branch, tag or commit on the hub.

    Raises:
        ValueError: The source cannot be found or read.
    """
    try:
        return _load(name, config, seed, revision)
    except Exception as error:  # readers raise what they like, and name neither the file nor the setting
        cause = " ".join(str(error.__cause__ or error).splitlines()[:2])[:500] or repr(error)
        of_config = "" if config is None else f" (config {config!r})"
        raise ValueError(f"Cannot load the data set {name!r}{of_config}: {cause}") from error


def _load(name: str, config: str | None, seed: int, revision: str | None) -> "DatasetDict":
    import datasets
    from datasets import packaged_modules

    reader = Path(__file__).with_name("text_files.py")
    key = hashlib.sha256(reader.read_bytes()).hexdigest()  # a part of that in the cache of `datasets`
    for kind in ("json", "csv"):
        packaged_modules._PACKAGED_DATASETS_MODULES[kind] = ("open_r1.data.text_files", key)
    path = Path(name).expanduser()
    if name.startswith(TASK_PREFIX):
        splits = load_task(name.removeprefix(TASK_PREFIX), config, seed)
        return datasets.DatasetDict({split: datasets.Dataset.from_list(rows) for split, rows in splits.items()})
    if name.startswith(_HUB_FILE_PREFIX):
        parts = name.split("/")  # hf://datasets/<owner>/<name>@<revision>/<file>
        if revision is not None and "@" not in parts[4]:
            parts[4] += f"@{revision}"
        return _load_file("/".join(parts), Path(name))
    if path.is_file():
        return _load_file(glob.escape(str(path)), path)  # escaped: data[1].jsonl is no pattern
    if (path / "dataset_dict.json").is_file() or (path / "state.json").is_file():
        loaded = datasets.load_from_disk(str(path))
        return loaded if isinstance(loaded, datasets.DatasetDict) else datasets.DatasetDict({"train": loaded})
    if path.is_dir():
        return _load_folder(path, config)
    if name.startswith(("/", "./", "../", "~")) or path.suffix.lower() in _FORMATS:
        raise ValueError(f"no such file or folder (in {Path.cwd()})")
    return datasets.load_dataset(name, config, revision=revision)


def _load_file(pattern: str, path: Path) -> "DatasetDict":
    import datasets

    suffixes = [suffix.lower() for suffix in path.suffixes if suffix.lower() not in _COMPRESSED]
    suffix = suffixes[-1] if suffixes else ""
    if suffix not in _FORMATS:
        raise ValueError(f"unknown file type {suffix!r}; known are {sorted(_FORMATS)}")
    options = {"sep": "\t"} if suffix == ".tsv" else {}
    return datasets.load_dataset(_FORMATS[suffix], data_files=pattern, **options)


def _load_folder(path: Path, config: str | None) -> "DatasetDict":
    import datasets

    card = read_card(path)
    if card is None:
        refuse_unfinished(path)
    else:
        published_files(path, card, config)
    # The cache of `datasets` knows a folder with configurations by its name and README, not by its files.
    files = [file for file in sorted(path.rglob("*")) if file.is_file() and not file.name.startswith(".")]
    state = hashlib.sha256(b"".join(b"%s %d\n" % (bytes(file), file.stat().st_mtime_ns) for file in files))
    cache = Path(datasets.config.HF_DATASETS_CACHE, state.hexdigest()[:16])
    return datasets.load_dataset(str(path), config, cache_dir=str(cache))


def take_split(dataset: "DatasetDict", split: str, name: str) -> "Dataset":
    """Return a split or a slice of one (`train[:10]`, `train[10%:20%]`).

    Raises:
        ValueError: There is no such split, or the slice is malformed.
    """
    from datasets import ReadInstruction, concatenate_datasets

    try:
        parts = ReadInstruction.from_spec(split).to_absolute({found: len(rows) for found, rows in dataset.items()})
    except (ValueError, AssertionError) as error:
        raise ValueError(
            f"The data set {name!r} has no split {split!r}: it has {sorted(dataset)}, slices are train[:100], "
            f"train[-100:] or train[10%:20%] ({error})."
        ) from error
    rows = [
        dataset[part.splitname].select(range(part.from_, part.to) if part.from_ < part.to else []) for part in parts
    ]
    return concatenate_datasets(rows) if len(rows) > 1 else rows[0]


def keep_rows(dataset: "Dataset", numbers: list[int]) -> "Dataset":
    """Return some rows; unlike those of `select`, which cuts ranges out, their `row_numbers` are known."""
    return dataset._select_with_indices_mapping(numbers)


def row_numbers(dataset: "Dataset") -> Sequence[int]:
    """Return which row, from 0, each row was before others were dropped by `keep_rows`."""
    return range(len(dataset)) if dataset._indices is None else dataset._indices.column(0).to_pylist()


def require_columns(dataset: "Dataset", columns: list[str], where: str) -> None:
    """Raise a ValueError that lists the columns found when one of `columns` is missing."""
    missing = [column for column in columns if column not in dataset.column_names]
    if missing:
        raise ValueError(f"Missing columns {missing} in {where}. Columns found: {dataset.column_names}")


def flag_columns(schema: pa.Schema) -> list[str]:
    """Return the columns by which rows are marked: `contaminated_<benchmark>`, boolean."""
    return [field.name for field in schema if field.name.startswith(FLAG_PREFIX) and pa.types.is_boolean(field.type)]
