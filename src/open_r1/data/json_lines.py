# SPDX-License-Identifier: Apache-2.0
"""JSON reader of `datasets` for .json and .jsonl files, registered by `sources`: exact values.

    {"problem": "1 + 1?", "answer": 2}
    {"problem": "2 + 2?", "answer": "four"}     gives answer: "2", "four"

1. The reader of `datasets` 5.2 turns text that looks like a date into a timestamp, and takes digits from integers
   beyond 2^53 that stand beside fractions. Here a column that no single type can hold becomes text: values that are
   no strings as JSON.
2. Columns and types come from all files, not from the first 10 MB.
3. A line that is no JSON object is refused with its number.
"""

import json
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
from datasets import ArrowBasedBuilder, DatasetInfo, Features, SplitGenerator
from datasets.builder import Key
from datasets.packaged_modules.json.json import JsonConfig

logger = logging.getLogger(__name__)

_BLOCK_BYTES = 8 * 2**20
_BOM = b"\xef\xbb\xbf"
_Row = dict[str, Any]


class JsonLines(ArrowBasedBuilder):
    """Builder for files with one object a line, or one list of objects."""

    BUILDER_CONFIG_CLASS = JsonConfig

    def _info(self) -> DatasetInfo:
        return DatasetInfo(features=self.config.features)

    def _split_generators(self, dl_manager: Any) -> list[SplitGenerator]:
        named = self.config.data_files
        files = {
            split: [
                (str(name), path)
                for name, extracted in zip(named[split], found, strict=True)
                for path in dl_manager.iter_files(extracted)
            ]
            for split, found in dl_manager.download_and_extract(named).items()
        }
        if self.info.features is None:
            self.info.features = Features.from_arrow_schema(
                _schema([file for found in files.values() for file in found])
            )
        return [SplitGenerator(name=split, gen_kwargs={"files": found}) for split, found in files.items()]

    def _generate_tables(self, files: list[tuple[str, str]]) -> Iterator[tuple[Key, pa.Table]]:
        schema = self.info.features.arrow_schema
        for number, file in enumerate(files):
            for place, rows in enumerate(_blocks(*file)):
                columns = [_column([row.get(field.name) for row in rows], field.type) for field in schema]
                yield Key(number, place), pa.Table.from_arrays(columns, schema=schema)


def _schema(files: list[tuple[str, str]]) -> pa.Schema:
    """Return the columns of all rows; text where values have no type in common."""
    kinds: dict[str, pa.DataType] = {}
    mixed = set()
    for file in files:
        for rows in _blocks(*file):
            for name in dict.fromkeys(name for row in rows for name in row):
                values = [row.get(name) for row in rows]
                found = _column(values).type
                kinds[name] = _common(kinds.get(name, found), found)
                if kinds[name] == pa.string() and not all(isinstance(value, str | None) for value in values):
                    mixed.add(name)
    if mixed:
        logger.warning(
            "%s: columns %s mix types; values that are no text become JSON text.", files[0][0], sorted(mixed)
        )
    return pa.schema(list(kinds.items()))


def _common(one: pa.DataType, other: pa.DataType) -> pa.DataType:
    pair = [pa.schema([("c", kind)]) for kind in (one, other)]
    try:
        return pa.unify_schemas(pair, promote_options="permissive").field(0).type
    except (pa.ArrowInvalid, pa.ArrowTypeError):
        return pa.string()


def _column(values: list[Any], kind: pa.DataType | None = None) -> pa.Array:
    if kind != pa.string():
        try:
            return pa.array(values, type=kind)
        except (pa.ArrowInvalid, pa.ArrowTypeError, OverflowError):
            if kind is not None:
                raise
    return pa.array(
        [value if isinstance(value, str | None) else json.dumps(value, ensure_ascii=False) for value in values],
        type=pa.string(),
    )


def _blocks(name: str, path: str) -> Iterator[list[_Row]]:
    """Yield the rows of a file, some megabytes at a time."""
    with Path(path).open("rb") as file:
        is_list = file.read(4096).removeprefix(_BOM).lstrip().startswith(b"[")
        file.seek(0)
        if is_list:
            yield [_row(name, number, entry) for number, entry in enumerate(json.loads(file.read()), 1)]
            return
        number = 0
        while lines := file.readlines(_BLOCK_BYTES):
            numbered = enumerate(lines, number + 1)
            number += len(lines)
            yield [_row(name, place, line) for place, line in numbered if line.removeprefix(_BOM).strip()]


def _row(name: str, number: int, found: Any) -> _Row:
    try:
        row = json.loads(found.removeprefix(_BOM)) if isinstance(found, bytes) else found
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{name}, line {number}: no JSON ({error})") from None
    if not isinstance(row, dict):
        raise ValueError(f"{name}, line {number}: a JSON {type(row).__name__}, no object")
    return row
