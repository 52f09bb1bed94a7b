# SPDX-License-Identifier: Apache-2.0
"""Reader of `datasets` for .json, .jsonl, .csv and .tsv files, registered by `sources`: exact values.

    {"problem": "1 + 1?", "answer": 2}          problem,answer,pass_rate
    {"problem": "2 + 2?", "answer": "four"}     1 + 6?,007,0.5
    gives answer: "2", "four"                   gives answer: "007", pass_rate: 0.5

1. The JSON reader of `datasets` 5.2 turns text that looks like a date into a timestamp, and takes digits from integers
   beyond 2^53 that stand beside fractions. Here a column that no single type can hold becomes text: values that are
   no strings as JSON.
2. Its csv reader makes 7 of 007 and null of NA. Here a column holds numbers or truth values only where all its cells
   in a file are written as Python writes these, else text; empty cells are null. A csv file is read whole into memory.
3. Columns and types come from all files, not from the first 10 MB.
4. A line that is no JSON object, or has more cells than the header, is refused with its number.
"""

import json
import logging
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
from datasets import ArrowBasedBuilder, BuilderConfig, DatasetInfo, Features, SplitGenerator
from datasets.builder import Key

logger = logging.getLogger(__name__)

_BLOCK_BYTES = 8 * 2**20
_BOM = b"\xef\xbb\xbf"
_Row = dict[str, Any]


@dataclass
class TextConfig(BuilderConfig):
    """Options that a data set's README may set: columns, and the sign between the cells of a csv file."""

    features: Features | None = None
    sep: str = ","


class TextFiles(ArrowBasedBuilder):
    """Builder for files with one object a line, one list of objects, or a header and cells."""

    BUILDER_CONFIG_CLASS = TextConfig

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
            schema = self._schema([file for found in files.values() for file in found])
            self.info.features = Features.from_arrow_schema(schema)
        return [SplitGenerator(name=split, gen_kwargs={"files": found}) for split, found in files.items()]

    def _generate_tables(self, files: list[tuple[str, str]]) -> Iterator[tuple[Key, pa.Table]]:
        schema = self.info.features.arrow_schema
        for number, file in enumerate(files):
            for place, rows in enumerate(self._blocks(*file)):
                columns = [_column([row.get(field.name) for row in rows], field.type) for field in schema]
                yield Key(number, place), pa.Table.from_arrays(columns, schema=schema)

    def _schema(self, files: list[tuple[str, str]]) -> pa.Schema:
        """Return the columns of all rows; text where values have no type in common."""
        kinds: dict[str, pa.DataType] = {}
        mixed = set()
        for file in files:
            for rows in self._blocks(*file):
                for name in dict.fromkeys(name for row in rows for name in row):
                    values = [row.get(name) for row in rows]
                    found = _column(values).type
                    kinds[name] = _common(kinds.get(name, found), found)
                    if kinds[name] == pa.string() and not all(isinstance(value, str | None) for value in values):
                        mixed.add(name)
        if mixed:
            logger.warning(
                "%s: columns %s mix types; values other than text become JSON text.", files[0][0], sorted(mixed)
            )
        return pa.schema(list(kinds.items()))

    def _blocks(self, name: str, path: str) -> Iterator[list[_Row]]:
        """Yield the rows of a file; of JSON lines some megabytes at a time."""
        if not {".csv", ".tsv"}.isdisjoint(map(str.lower, Path(name).suffixes)):
            yield _csv_rows(name, path, self.config.sep)
            return
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


def _csv_rows(name: str, path: str, sep: str) -> list[_Row]:
    frame = pd.read_csv(path, sep=sep, dtype=str, keep_default_na=False, na_values=[""], encoding="utf-8-sig")
    if not isinstance(frame.index, pd.RangeIndex):  # pandas takes the first cells for names of the rows
        raise ValueError(f"{name}, line 2: more cells than the header")
    columns = [_read_cells(column) for column in pa.Table.from_pandas(frame).to_pydict().values()]
    return [dict(zip(frame.columns, cells, strict=True)) for cells in zip(*columns, strict=True)]


def _read_cells(cells: list[str | None]) -> list[Any]:
    """Return cells as whole numbers, fractions or truth values, where Python writes all of them like that."""
    found = [cell for cell in cells if cell is not None]
    for read in (int, float):
        try:
            if all(str(read(cell)) == cell and abs(read(cell)) < 2**63 for cell in found):
                return [None if cell is None else read(cell) for cell in cells]
        except ValueError:
            continue
    is_truth = {"True", "False"}.issuperset(found)
    return [None if cell is None else cell == "True" for cell in cells] if is_truth else cells


def _row(name: str, number: int, found: Any) -> _Row:
    try:
        row = json.loads(found.removeprefix(_BOM)) if isinstance(found, bytes) else found
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{name}, line {number}: invalid JSON ({error})") from None
    if not isinstance(row, dict):
        raise ValueError(f"{name}, line {number}: a JSON {type(row).__name__}, no object")
    return row
