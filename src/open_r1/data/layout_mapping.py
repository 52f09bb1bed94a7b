# SPDX-License-Identifier: Apache-2.0
"""Maps the rows of a data set as its layout says.

1. All columns of the data stay, but for those that the mapped ones replace: `messages`; `problem`, `prompt` (the same
   text, since that is the default of `dataset_prompt_column`) and `solution`.
2. A row that can't be mapped is dropped, and counted by reason.
"""

import hashlib
import logging
from collections import Counter
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from open_r1 import literals
from open_r1.data.layout_readers import Unwrapped
from open_r1.data.layout_table import MESSAGES, PROBLEM, TARGETS, Layout
from open_r1.data.layout_turns import AsTheyAre, Prompt, chat_of
from open_r1.data.program_tests import lacks_tests
from open_r1.data.thoughts import UnmappableError
from open_r1.tasks import countdown

if TYPE_CHECKING:
    from datasets import Dataset

logger = logging.getLogger(__name__)

_MAX_REASONS = 8
_MAX_COMPARED = 100
# Part of the cache key of mapped rows: `datasets` would hand out those of an older version of these files.
_CODE = hashlib.sha256(
    b"".join(
        file.read_bytes()
        for file in (
            *sorted(Path(__file__).parent.glob("layout_*.py")),
            *(Path(__file__).with_name(f"{name}.py") for name in ("program_tests", "thoughts")),
            Path(literals.__file__),
            Path(countdown.__file__),  # whose words are prompts
        )
    )
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
        self.seen: dict[bytes, int] = {}

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
            prompt = values[0]
            if target == PROBLEM and self.has_chats and isinstance(layout.problem, Prompt):
                prompt = chat_of(row, layout.problem.columns)
            if target == PROBLEM and layout.is_distinct:
                self._see(values[0], values[1:])
        except UnmappableError as error:
            return {}, str(error)
        if target == MESSAGES:
            return {MESSAGES: values[0]}, None
        return dict(zip(output_columns(layout, target), (values[0], prompt, *values[1:]), strict=True)), None

    def _see(self, problem: str, golds: list[Any]) -> None:
        digest = hashlib.blake2b(" ".join(problem.split()).encode(errors="replace"), digest_size=12).digest()
        gold = hash(tuple(golds))
        if digest in self.seen:
            other = "" if self.seen[digest] == gold else ", with another answer there"
            raise UnmappableError(f"a problem that stands in an earlier row{other}")
        self.seen[digest] = gold


def output_columns(layout: Layout, target: str) -> tuple[str, ...]:
    """Return the columns that mapping writes; none where the data's own are right already."""
    if target == MESSAGES:
        return () if isinstance(layout.messages, AsTheyAre) else (MESSAGES,)
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
) -> "Dataset":
    """Return the rows as a layout maps them; those that it can't map are dropped with a warning.

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
    from datasets import concatenate_datasets

    targets = [target for target in targets if layout.fits(target, rows.column_names)]
    if len(rows) == 0 or not targets:  # no targets: a split with other columns than the one that the layout fits
        return rows
    inputs = [name for name in rows.column_names if name in set().union(*map(layout.inputs, targets))]
    has_chats = _has_chats(rows, layout, targets)
    mapped = rows.select_columns(inputs).map(
        RowMapper(layout, targets, has_chats),
        batched=True,
        batch_size=200,
        remove_columns=inputs,
        features=_features(layout, targets, has_chats),
        desc=f"Layout {layout.name}",
    )
    reasons = {target: list(mapped[_reasons_column(target)]) for target in targets}
    if PROBLEM in targets:
        for column in layout.with_columns:
            for number, reason in _rows_without_tests(rows, column).items():
                reasons[PROBLEM][number] = reasons[PROBLEM][number] or reason
    needed = [required] if required in targets else targets
    kept = [number for number in range(len(rows)) if any(reasons[target][number] is None for target in needed)]
    _report(reasons, needed, len(rows), len(kept), where, layout)
    stays = set(keep) & set(rows.column_names)
    outputs = [name for target in targets for name in output_columns(layout, target) if name not in stays]
    written = set(outputs) - _answered(layout, stays)
    _warn_of_replaced(rows, mapped, kept[:_MAX_COMPARED], layout, written, where)
    rest = rows.remove_columns([name for name in rows.column_names if name in {*outputs, *layout.drop} - stays])
    parts = [part for part in (rest, mapped.select_columns(outputs)) if part.column_names]
    combined = concatenate_datasets(parts, axis=1)
    return combined if len(kept) == len(rows) else combined.select(kept)


def _features(layout: Layout, targets: Sequence[str], has_chats: bool) -> Any:
    from datasets import Features, List, Value

    text = Value("string")
    chat = List({"role": text, "content": text})
    types = {MESSAGES: chat} | ({"prompt": chat} if has_chats else {})
    names = [name for target in targets for name in (*output_columns(layout, target), _reasons_column(target))]
    return Features({name: types.get(name, text) for name in names})


def _has_chats(rows: "Dataset", layout: Layout, targets: Sequence[str]) -> bool:
    """Return whether the prompts are lists of messages, whose turns must all stay."""
    from datasets import LargeList, List

    if PROBLEM not in targets or not isinstance(layout.problem, Prompt):
        return False
    column = next(name for name in layout.problem.columns if name in rows.column_names)
    feature = rows.features[column]
    return isinstance(feature, List | LargeList) and isinstance(feature.feature, dict)


def _answered(layout: Layout, named: Collection[str]) -> set[str]:
    """Return the columns that nobody reads where the user named the one that they are made of."""
    found = set()
    for reader, columns in ((layout.problem, {PROBLEM, "prompt"}), (layout.solution, {"solution"})):
        if reader is not None and any(set(options) & set(named) for options in reader.needs):
            found |= columns
    return found


def _warn_of_replaced(
    rows: "Dataset", mapped: "Dataset", compared: list[int], layout: Layout, written: Collection[str], where: str
) -> None:
    """Warn of prompts and solutions of the data in whose place others come."""
    names = [name for name in rows.column_names if name in written and name != MESSAGES]
    if isinstance(layout.problem, Unwrapped):  # the same prompt, but for its wrapper
        names = [name for name in names if name not in layout.problem.columns]
    old, new = (part.select_columns(names).select(compared).to_list() if names else [] for part in (rows, mapped))
    replaced = [
        name for name in names if any(_differ(was[name], now[name]) for was, now in zip(old, new, strict=True))
    ]
    if replaced:
        logger.warning(
            "Layout %s replaces the columns %s of %s by what it maps them to (%s). `dataset_layout: none` leaves "
            "them; a column of your own under another name is never replaced where `dataset_prompt_column` or "
            "`dataset_solution_column` names it.",
            layout.name,
            replaced,
            where,
            layout.summary,
        )


def _differ(was: object, now: object) -> bool:
    return was is not None and now is not None and str(was).strip() != str(now).strip()


def _rows_without_tests(rows: "Dataset", column: str) -> dict[int, str]:
    """Return the numbers of the rows in which a column holds no tests, with the reasons."""
    found: dict[int, str] = {}
    start = 0
    for batch in rows.select_columns([column]).with_format("arrow").iter(batch_size=1000):
        values = batch.column(0)
        for offset, (lacks, is_null) in enumerate(zip(lacks_tests(values), values.is_null().to_pylist(), strict=True)):
            if lacks:
                found[start + offset] = f"{column!r} is null or empty" if is_null else f"{column!r} holds no tests"
        start += len(values)
    return found


def _report(
    reasons: dict[str, list[str | None]],
    needed: Sequence[str],
    num_rows: int,
    num_kept: int,
    where: str,
    layout: Layout,
) -> None:
    """Say how many rows were dropped and why; raise when none is left."""
    told = []
    for target in needed:
        counts = Counter(reason for reason in reasons[target] if reason is not None)
        listed = [
            f"{reason}: {count} (first: row {reasons[target].index(reason)})"
            for reason, count in counts.most_common(_MAX_REASONS)
        ]
        if len(counts) > len(listed):
            listed.append(f"{len(counts) - len(listed)} more reasons")
        if listed:
            told.append(f"No `{target}`: {'; '.join(listed)}")
    if num_kept == 0:
        raise NothingMappedError(
            f"The layout {layout.name!r} maps no row of {where} ({num_rows} rows). {'. '.join(told)}. Name another "
            "`dataset_layout`, or `none` to take the columns as they are."
        )
    if num_kept < num_rows:
        logger.warning(
            "Layout %s dropped %d of %d rows of %s. %s.",
            layout.name,
            num_rows - num_kept,
            num_rows,
            where,
            ". ".join(told),
        )
    elif told:
        logger.info("Layout %s, %s: %s.", layout.name, where, ". ".join(told))
