# SPDX-License-Identifier: Apache-2.0
"""Mapping of a split by its layout.

    {"problem": "1+1?", "answer": "2", "source": "x"}
        -> {"problem": "1+1?", "prompt": "1+1?", "solution": "2", "answer": "2", "source": "x"}

1. All columns of the data stay, but for those that the mapped ones replace: `messages`; `problem`, `prompt` (the same
   text, since that is the default of `dataset_prompt_column`) and `solution`.
2. A row that can't be mapped is dropped, and counted by reason.
"""

import hashlib
from collections import Counter
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from open_r1 import literals
from open_r1.data import layout_readers, layouts
from open_r1.data.layout_readers import UnmappableError, as_they_are, chat_of, has_tests, prompt
from open_r1.data.layouts import MESSAGES, PROBLEM, TARGETS, Layout
from open_r1.tasks import countdown

if TYPE_CHECKING:
    from datasets import Dataset

_MAX_REASONS = 8
# Part of the cache key of mapped rows: `datasets` would hand out those of an older version of these files.
_CODE = hashlib.sha256(
    b"".join(
        Path(module.__file__).read_bytes()
        for module in (layouts, layout_readers, literals, countdown)  # whose words are prompts
    )
    + Path(__file__).read_bytes()
).hexdigest()


class NothingMappedError(ValueError):
    """No row of a split can be mapped."""


class RowMapper:
    """Maps a batch of rows; picklable, so that `datasets` can tell whether it has mapped them before."""

    def __init__(self, layout: Layout, targets: Sequence[str], has_chats: bool = False) -> None:
        """Map rows to these targets of a layout; where prompts are chats, `prompt` has all their turns."""
        self.layout = layout
        self.targets = tuple(targets)
        self.code = _CODE
        self.has_chats = has_chats
        self.seen: set[str] = set()

    def __call__(self, batch: dict[str, list[Any]]) -> dict[str, list[Any]]:
        """Return the new columns, null where a row can't be mapped, and the reasons why."""
        rows = [dict(zip(batch, values, strict=True)) for values in zip(*batch.values(), strict=True)]
        columns: dict[str, list[Any]] = {}
        for target in self.targets:
            mapped = [self.map_row(row, target) for row in rows]
            for name in output_columns(self.layout, target):
                columns[name] = [values.get(name) for values, _ in mapped]
            columns[_reasons_column(target)] = [reason for _, reason in mapped]
        return columns

    def map_row(self, row: dict[str, Any], target: str) -> tuple[dict[str, Any], str | None]:
        """Return the new columns of a row, or none and the reason."""
        layout = self.layout
        try:
            for condition in layout.conditions(target):
                condition.check(row)
            values = [reader.read(row) for reader in layout.readers(target)]
            if target == MESSAGES:
                return {MESSAGES: values[0]}, None
            for column in layout.with_columns:
                if not has_tests(row[column]):
                    raise UnmappableError(f"{column!r} holds no tests")
            if layout.is_distinct:
                problem = " ".join(values[0].split())
                if problem in self.seen:
                    raise UnmappableError("a problem that stands in an earlier row")
                self.seen.add(problem)
            asked = values[0]
            if self.has_chats and layout.problem is not None:
                asked = chat_of(row, next(name for name in layout.problem.needs[0] if name in row))
        except UnmappableError as error:
            return {}, str(error)
        return dict(zip(output_columns(layout, target), (values[0], asked, *values[1:]), strict=True)), None


def output_columns(layout: Layout, target: str) -> tuple[str, ...]:
    """Return the columns that mapping writes; none where the data's own are right already."""
    if target == MESSAGES:
        return () if layout.messages is None or layout.messages.function is as_they_are else (MESSAGES,)
    return (PROBLEM, "prompt", *(("solution",) if layout.solution is not None else ()))


def _reasons_column(target: str) -> str:
    return f"no_{target}_because"


def apply_layout(
    rows: "Dataset",
    layout: Layout,
    *,
    targets: Sequence[str] = TARGETS,
    required: str | None = None,
    keep: Collection[str] = (),
    where: str,
) -> "tuple[Dataset, Counter[str]]":
    """Return the rows as a layout maps them, and why others were dropped: counts by reason.

    Args:
        rows: Rows of one split.
        layout: Their layout.
        targets: What to map them to; what the layout or the columns don't give is left out.
        required: Target that a row must have to be kept; None keeps a row that has one of them.
        keep: Columns of the data that stay as they are, although the layout writes such columns.
        where: Name of the rows in messages.

    Raises:
        NothingMappedError: No row is left.
    """
    from datasets import Features, List, Value, concatenate_datasets

    targets = [target for target in targets if layout.fits(target, rows.column_names)]
    if len(rows) == 0 or not targets:  # no targets: a split with other columns than the one that the layout fits
        return rows, Counter()
    inputs = [name for name in rows.column_names if name in set().union(*map(layout.inputs, targets))]
    has_chats = PROBLEM in targets and _has_chats(rows, layout)
    written = [name for target in targets for name in output_columns(layout, target)]
    text = Value("string")
    chat = List({"role": text, "content": text})
    types = {MESSAGES: chat} | ({"prompt": chat} if has_chats else {})
    names = [*written, *map(_reasons_column, targets)]
    mapped = rows.select_columns(inputs).map(
        RowMapper(layout, targets, has_chats),
        batched=True,
        batch_size=200,
        remove_columns=inputs,
        features=Features({name: types.get(name, text) for name in names}),
        desc=f"Layout {layout.name}",
    )
    needed = [required] if required in targets else targets
    reasons = list(zip(*(mapped[_reasons_column(target)] for target in needed), strict=True))
    kept = [number for number, found in enumerate(reasons) if None in found]
    dropped = Counter("; ".join(map(str, found)) for found in reasons if None not in found)
    if not kept:
        listed = "; ".join(f"{reason}: {count}" for reason, count in dropped.most_common(_MAX_REASONS))
        raise NothingMappedError(
            f"The layout {layout.name!r} maps no row of {where} ({len(rows)} rows): {listed}. Name another "
            "`dataset_layout`, or `none` to take the columns as they are."
        )
    stays = set(keep) & set(rows.column_names)
    outputs = [name for name in written if name not in stays]
    rest = rows.remove_columns([name for name in rows.column_names if name in {*outputs, *layout.drop} - stays])
    parts = [part for part in (rest, mapped.select_columns(outputs)) if part.column_names]
    combined = concatenate_datasets(parts, axis=1)
    return combined if len(kept) == len(rows) else combined.select(kept), dropped


def _has_chats(rows: "Dataset", layout: Layout) -> bool:
    """Return whether the prompts are lists of messages, whose turns must all stay."""
    from datasets import LargeList, List

    if layout.problem is None or layout.problem.function is not prompt:
        return False
    column = next(name for name in layout.problem.needs[0] if name in rows.column_names)
    feature = rows.features[column]
    return isinstance(feature, List | LargeList) and isinstance(feature.feature, dict)
