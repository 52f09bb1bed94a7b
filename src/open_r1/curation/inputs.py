# SPDX-License-Identifier: Apache-2.0
"""The inputs of a curation, read row by row as often as needed: no text is held between passes."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from operator import itemgetter
from typing import Any

import pyarrow as pa
from tqdm.auto import tqdm

from open_r1.curation.completions import Columns, Problem, find_columns, read_problem
from open_r1.curation.quality import close_prefilled_think
from open_r1.curation.settings import USUAL_KEPT, CurateSettings
from open_r1.data.card import flag_columns
from open_r1.data.folder import unify
from open_r1.data.sources import RowSource, open_source

_BATCH_ROWS = 64  # 32 generations of 100 kB a row are then 200 MB


@dataclass(frozen=True)
class Input:
    """One data set of the input.

    Attributes:
        source: Its rows.
        columns: Which column holds what.
        first: Number of its first row, over all inputs.
        kept: Columns that the output takes over.
        flags: Columns that mark a row as contaminated, by which it is dropped.
    """

    source: RowSource
    columns: Columns
    first: int
    kept: tuple[str, ...]
    flags: tuple[str, ...] = ()

    def flag_of(self, row: Mapping[str, Any]) -> str | None:
        """Return the first column that marks a row as contaminated."""
        return next((name for name in self.flags if row[name]), None)


@dataclass(frozen=True)
class Inputs:
    """All data sets of the input, as one."""

    parts: Sequence[Input]
    kept: pa.Schema  # columns of all, which the output takes over

    @property
    def num_rows(self) -> int:
        """Rows of all of them."""
        return sum(part.source.num_rows for part in self.parts)

    def rows(self, description: str, extra: Iterable[str] = ()) -> Iterator[tuple[int, Input, dict[str, Any]]]:
        """Yield the number of each row, the input it is of, and its columns that matter, with a bar."""
        with tqdm(total=self.num_rows, desc=description, unit="row", disable=None, dynamic_ncols=True) as bar:
            for part in self.parts:
                number = part.first
                there = [name for name in extra if name in part.source.column_names]
                names = list(dict.fromkeys([*part.columns.names(), *part.flags, *there]))
                for batch in part.source.batches(names, batch_rows=_BATCH_ROWS):
                    for row in batch.to_pylist():
                        yield number, part, row
                        number += 1
                    bar.update(batch.num_rows)

    def problems(self, numbers: Iterable[int], description: str) -> Iterator[tuple[Problem, Input, dict[str, Any]]]:
        """Yield the problems of some rows, which were read before, in order."""
        wanted = set(numbers)
        extra = dict.fromkeys(name for part in self.parts for name in part.kept)
        for number, part, row in self.rows(description, extra):
            if number in wanted:
                problem = read_problem(row, number, part.columns)
                assert isinstance(problem, Problem), f"row {number} changed while it was read"
                yield problem, part, row

    def texts(self, keys: Sequence[tuple[int, int]], description: str) -> Iterator[str]:
        """Yield the completions of some rows, as they are written; `keys` by row."""
        indices = {row: [index for _, index in group] for row, group in groupby(keys, key=itemgetter(0))}
        for problem, _, _ in self.problems(indices, description):
            for index in indices[problem.row]:
                yield close_prefilled_think(str(problem.completions[index].text))


def open_inputs(settings: CurateSettings) -> Inputs:
    """Open the inputs and find their columns.

    Raises:
        ValueError: One cannot be read, or lacks a column.
    """
    parts, first = [], 0
    for name in settings.input:
        source = open_source(
            name, config=settings.dataset_config, split=settings.dataset_split, revision=settings.dataset_revision
        )
        columns = find_columns(source, settings.wanted())
        if settings.keep_columns is not None:
            source.require(settings.keep_columns, "--keep_columns")
        source.require(settings.rate_columns(), "--easy_pass_rate and --hard_pass_rate")
        if not columns.has_gold and settings.correct_by == "verifier":
            raise ValueError(
                f"{name} has no column with gold answers to judge by: name it with --gold_column, or set --correct_by "
                f"column or none. Columns found: {source.column_names}"
            )
        kept = list(settings.keep_columns if settings.keep_columns is not None else USUAL_KEPT)
        flags = tuple(flag_columns(source.schema))
        if settings.keep_contaminated:  # marked as they were: training warns of them
            kept, flags = [*kept, *(name for name in flags if name not in kept)], ()
        parts.append(Input(source, columns, first, tuple(name for name in kept if name in source.column_names), flags))
        first += source.num_rows
    try:
        schemas = [pa.schema([part.source.schema.field(name) for name in part.kept]) for part in parts]
        return Inputs(parts, unify(schemas))
    except ValueError as error:
        names = ", ".join(part.source.name for part in parts)
        raise ValueError(f"Columns of {names} can't be joined: {error} Leave them out of --keep_columns.") from error
