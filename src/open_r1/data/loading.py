# SPDX-License-Identifier: Apache-2.0
"""From a name to rows: hub, local file, local folder or task, all splits at once.

>>> from open_r1.data.loading import load_source, take_split
>>> take_split(load_source("tasks/countdown"), "train[:2]", "tasks/countdown").num_rows
2
"""

import glob
from pathlib import Path

import datasets
from datasets import Dataset, DatasetDict

from open_r1.data.card import read_card
from open_r1.data.json_lines import refuse_wrong_lines
from open_r1.data.published import published_files, refuse_unfinished
from open_r1.data.slices import parse_split
from open_r1.tasks import load_task

FILE_FORMATS = {
    ".json": "json",
    ".jsonl": "json",
    ".csv": "csv",
    ".tsv": "csv",
    ".parquet": "parquet",
    ".arrow": "arrow",
}
TASK_PREFIX = "tasks/"
_HUB_FILE_PREFIX = "hf://"


def load_source(name: str, config: str | None = None, seed: int = 0, revision: str | None = None) -> DatasetDict:
    """Load all splits of one source.

    Args:
        name: `tasks/<name>`, an existing local file or folder, a name on the hub, or a file on the hub
            (`hf://datasets/<owner>/<name>/<file>`).
        config: Configuration of the data set.
        seed: Seed of a task; other sources ignore it.
        revision: Branch, tag or commit on the hub; other sources ignore it.

    Raises:
        ValueError: The source cannot be found or read. The message says what was looked for.
    """
    path = Path(name).expanduser()
    try:
        if name.startswith(TASK_PREFIX):
            splits = load_task(name.removeprefix(TASK_PREFIX), config, seed)
            return DatasetDict({split: Dataset.from_list(rows) for split, rows in splits.items()})
        if path.is_file():
            return _load_file(path)
        if path.is_dir():
            return _load_folder(path, config)
    except Exception as error:
        # Readers of other people's files raise what they like (KeyError, StopIteration, RecursionError) and name
        # neither the file nor the setting; their reason is kept below ours.
        cause = str(error.__cause__ or error).strip() or repr(error)
        is_empty = isinstance(error, StopIteration) or "corresponds to no data" in cause
        reason = "it, or a file in it, has no rows" if is_empty else _first_lines(cause)
        raise ValueError(f"Cannot load the data set {described(name, config)}: {reason}") from error
    if not name.startswith(_HUB_FILE_PREFIX) and (
        name.startswith(("/", "./", "../", "~")) or path.suffix.lower() in FILE_FORMATS
    ):
        raise ValueError(f"Cannot load the data set {name!r}: there is no such file or folder (in {Path.cwd()}).")
    return _load_from_hub(name, config, revision)


def described(name: str, config: str | None) -> str:
    """Return a data set's name for a message, with its configuration where one was asked for.

    >>> described("a/b", None), described("a/b", "main")
    ("'a/b'", "'a/b' (config 'main')")
    """
    return repr(name) if config is None else f"{name!r} (config {config!r})"


def _first_lines(message: str) -> str:
    """Two lines: the second one lists the configurations when the first says that one is missing."""
    return " ".join(message.splitlines()[:2])[:500]


def _load_file(path: Path) -> DatasetDict:
    file_format = FILE_FORMATS.get(path.suffix.lower())
    if file_format is None:
        raise ValueError(f"unknown file type {path.suffix!r}; known are {sorted(FILE_FORMATS)}")
    if path.stat().st_size == 0:
        raise ValueError("the file is empty")
    if file_format == "json":
        refuse_wrong_lines(path, quickly=True)
    options = {"sep": "\t"} if path.suffix.lower() == ".tsv" else {}
    # Escaped: a name such as data[1].jsonl is no pattern.
    try:
        loaded = datasets.load_dataset(file_format, data_files=glob.escape(str(path)), **options)
    except Exception:
        if file_format == "json":
            refuse_wrong_lines(path, quickly=False)
        raise
    if file_format == "csv" and "__index_level_0__" in loaded["train"].column_names:
        raise ValueError("a row has more fields than the header: the columns would be shifted")
    return loaded


def _load_folder(path: Path, config: str | None) -> DatasetDict:
    if (path / "dataset_dict.json").is_file() or (path / "state.json").is_file():
        loaded = datasets.load_from_disk(str(path))
        return loaded if isinstance(loaded, DatasetDict) else DatasetDict({"train": loaded})
    card = read_card(path)
    if card is not None:
        # Escaped file by file: a folder such as data[1] is no pattern.
        files = published_files(path, card, config)
        patterns = {split: [glob.escape(str(file)) for file in found] for split, found in files.items()}
        return datasets.load_dataset("parquet", data_files=patterns)
    refuse_unfinished(path)
    return datasets.load_dataset(str(path), config)


def _load_from_hub(name: str, config: str | None, revision: str | None) -> DatasetDict:
    try:
        if name.startswith(_HUB_FILE_PREFIX):
            # Some sets are folders of files without configurations. hf://datasets/<owner>/<name>@<revision>/<file>
            parts = name.split("/")
            if revision is not None and "@" not in parts[4]:
                parts[4] += f"@{revision}"
            return datasets.load_dataset(FILE_FORMATS[Path(name).suffix.lower()], data_files="/".join(parts))
        return datasets.load_dataset(name, config, revision=revision)
    except (datasets.exceptions.DatasetsError, OSError, ValueError, LookupError) as error:
        reason = f"{type(error).__name__}: {_first_lines(str(error).strip() or repr(error))}"
        raise ValueError(
            f"Cannot load the data set {described(name, config)}: no local file or folder has this name, and from "
            f"the hub it could not be loaded ({reason}). Offline, name a local json/jsonl/csv/parquet file, a folder, "
            "or tasks/<name>."
        ) from error


def take_split(dataset: DatasetDict, split: str, name: str) -> Dataset:
    """Return a split or a slice of one (`train[:10]`, `train[10%:20%]`).

    Raises:
        ValueError: There is no such split, or the slice is malformed.
    """
    wanted = parse_split(split)
    if wanted.split not in dataset:
        raise ValueError(f"The data set {name!r} has no split {wanted.split!r}: it has {sorted(dataset)}.")
    rows = dataset[wanted.split]
    if wanted.start is None and wanted.stop is None:
        return rows
    start, stop = wanted.bounds(len(rows))
    return rows.select(range(start, stop) if start < stop else [])


def require_columns(dataset: Dataset, columns: list[str], where: str) -> None:
    """Raise a ValueError that lists the columns found when one of `columns` is missing."""
    missing = [column for column in columns if column not in dataset.column_names]
    if missing:
        raise ValueError(f"Missing columns {missing} in {where}. Columns found: {dataset.column_names}")
