# SPDX-License-Identifier: Apache-2.0
"""From a journal of generations to a data set: a row per problem, with all its columns and its generations in order.

{"uuid": "a1", "problem": "Compute 7+9-8", ...,
 "generations": ["<think>...", None], "finish_reasons": ["stop", "error"],
 "api_metadata": [{"completion_tokens": 312, "status": 200, ...}, {"status": 400, "error": "HTTP 400: ..."}]}
"""

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import date, time, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from open_r1.data.sources import RowSource, open_source
from open_r1.generation.journal import Journal
from open_r1.generation.messages import ERROR
from open_r1.generation.prompts import Prompts

_BATCH_ROWS = 64  # generations of 100 kB, 32 a row, are then 200 MB
_USAGE = ("prompt_tokens", "completion_tokens", "total_tokens", "reasoning_tokens")
_METADATA = pa.struct(
    [
        *((name, pa.int64()) for name in _USAGE),
        ("status", pa.int64()),
        ("attempts", pa.int64()),
        ("latency_s", pa.float64()),
        ("server", pa.string()),
        ("error", pa.string()),
    ]
)
_MESSAGES = pa.list_(pa.struct([("role", pa.string()), ("content", pa.string())]))
_COLUMNS = {
    "generations": pa.list_(pa.string()),
    "finish_reasons": pa.list_(pa.string()),
    "api_metadata": pa.list_(_METADATA),
}
_QUICKLY_READ_BYTES = 2**26
CONVERSATIONS = "conversations"  # with several turns: the messages of each generation


@dataclass
class Counts:
    """What a data set of generations holds, for its card."""

    rows: int = 0
    rows_without_prompt: int = 0
    requests: int = 0
    errors: int = 0
    truncated: int = 0
    attempts: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    last_error: str = field(default="", repr=False)

    def add(self, record: Mapping[str, Any]) -> None:
        """Count a generation."""
        self.requests += 1
        if record["text"] is None:
            self.errors += 1
            self.last_error = record["error"] or ""
        self.truncated += record["finish_reason"] == "length"
        self.attempts += record["attempts"]
        self.prompt_tokens += _tokens(record, "prompt_tokens") or 0
        self.completion_tokens += _tokens(record, "completion_tokens") or 0

    def as_detail(self) -> dict[str, int]:
        """Return the counts for a card."""
        detail = asdict(self)
        del detail["last_error"]
        return detail

    def refuse_without_answers(self) -> None:
        """Raise a ValueError if all generations failed: that is no data set, but a mistake somewhere."""
        if self.requests and self.errors == self.requests:
            raise ValueError(
                f"All {self.requests} generations failed, the last with: {self.last_error}. No data set is written; "
                "mend the cause and go on with --retry-errors."
            )


@dataclass
class Publication:
    """How rows and their generations come together.

    Attributes:
        source: The rows.
        prompts: Their names, and which could not be asked for.
        rows: Numbers of the rows that were chosen.
        num_generations: Generations a row.
        drop_columns: Columns of the source that are left out.
        has_turns: Whether to add the column of conversations.
        counts: Filled in by `batches`.
    """

    source: RowSource
    prompts: Prompts
    rows: np.ndarray
    num_generations: int
    drop_columns: Sequence[str]
    has_turns: bool
    counts: Counts

    def batches(self, journal: Journal) -> Iterator[pa.RecordBatch]:
        """Yield the chosen rows, in the order of the source, with their generations."""
        columns = [name for name in self.source.column_names if name not in self.drop_columns]
        chosen = np.sort(self.rows)
        begin = 0
        for batch in self.source.batches(columns, batch_rows=_BATCH_ROWS, end=int(chosen[-1]) + 1):
            first, last = np.searchsorted(chosen, [begin, begin + batch.num_rows])
            rows = chosen[first:last]
            if len(rows):
                taken = batch.take(pa.array(rows - begin))
                yield self._join(taken, [self._records(journal, int(row)) for row in rows])
            begin += batch.num_rows

    def _records(self, journal: Journal, row: int) -> list[dict[str, Any]]:
        key, messages, _ = self.prompts.get(row)
        self.counts.rows += 1
        if not messages:
            self.counts.rows_without_prompt += 1
            return [_not_asked(self.prompts.bad.rows[row])] * self.num_generations
        records = []
        for index in range(self.num_generations):
            record = journal.get((key, index)) or _not_asked("no reply was kept; ask again with --retry-errors")
            if self.has_turns and "conversation" not in record:  # of one turn alone
                answer = [] if record["text"] is None else [{"role": "assistant", "content": record["text"]}]
                record["conversation"] = [*messages, *answer]
            self.counts.add(record)
            records.append(record)
        return records

    def _join(self, batch: pa.RecordBatch, records: list[list[dict[str, Any]]]) -> pa.RecordBatch:
        values: dict[str, list[Any]] = {
            "generations": [[record["text"] for record in entry] for entry in records],
            "finish_reasons": [[record["finish_reason"] for record in entry] for entry in records],
            "api_metadata": [[_metadata(record) for record in entry] for entry in records],
        }
        types = dict(_COLUMNS)
        if self.has_turns:
            values[CONVERSATIONS] = [[record.get("conversation", []) for record in entry] for entry in records]
            types[CONVERSATIONS] = pa.list_(_MESSAGES)
        arrays = [pa.array(values[name], type=kind) for name, kind in types.items()]
        return pa.RecordBatch.from_arrays([*batch.columns, *arrays], names=[*batch.schema.names, *types])


def _not_asked(reason: str) -> dict[str, Any]:
    return {
        "text": None,
        "finish_reason": ERROR,
        "usage": {},
        "status": None,
        "attempts": 0,
        "latency_s": 0.0,
        "server": None,
        "error": reason,
    }


def _tokens(record: Mapping[str, Any], name: str) -> int | None:
    """A count of the record; None for what is none, as journals of earlier versions may hold."""
    return record["usage"].get(name)


def _metadata(record: Mapping[str, Any]) -> dict[str, Any]:
    usage = {name: _tokens(record, name) for name in _USAGE}
    return {**usage, **{name: record[name] for name in ("status", "attempts", "latency_s", "server", "error")}}


def check_columns(names: Sequence[str], *, has_turns: bool) -> None:
    """Raise a ValueError if a column of the source has the name of one that is added."""
    taken = sorted({*_COLUMNS, *([CONVERSATIONS] if has_turns else [])} & set(names))
    if taken:
        raise ValueError(
            f"The rows have columns {taken}, which hold the results here: leave them out by --drop-columns."
        )


def check_local(
    name: str,
    config: str | None,
    split: str,
    needed: Sequence[str | None],
    dropped: Sequence[str],
    *,
    has_turns: bool = False,
) -> None:
    """Check the columns of a local source as a run would, long before it; what is elsewhere or large is left to it.

    Args:
        name: The source. A name on the hub is not looked at, nor files of more than 64 MiB, which take seconds.
        config: Its configuration.
        split: Its split, or a slice of it.
        needed: Columns that must be there; None for those that nobody named.
        dropped: Columns that are left out of the result.
        has_turns: Whether the result has a column for conversations.

    Raises:
        ValueError: A column lacks, or has the name of one that is added.
    """
    path = Path(name).expanduser()
    if not path.exists() or (path.is_file() and path.stat().st_size > _QUICKLY_READ_BYTES):
        return
    source = open_source(name, config=config, split=split)
    source.require([column for column in needed if column is not None], "--prompt-column")
    source.require(list(dropped), "--drop-columns")
    check_columns([column for column in source.column_names if column not in dropped], has_turns=has_turns)


def check_json(schema: pa.Schema, columns: Sequence[str]) -> None:
    """Raise a ValueError if a column can't be written as JSON lines."""
    binary = [name for name in columns if _has_binary(schema.field(name).type)]
    if binary:
        raise ValueError(
            f"Columns {binary} hold bytes, which JSON lines can't: leave them out by --drop-columns, or leave "
            "--output-file out (parquet in --output-dir holds them)."
        )


def _has_binary(kind: pa.DataType) -> bool:
    if pa.types.is_binary(kind) or pa.types.is_large_binary(kind) or pa.types.is_fixed_size_binary(kind):
        return True
    return any(_has_binary(kind.field(place).type) for place in range(kind.num_fields))


def export_json_lines(source: RowSource, path: Path) -> None:
    """Write rows as JSON lines, as Open R1's script does; dates and decimals become text, NaN null.

    Raises:
        OSError: The disk is full; nothing is left of the file.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f".{path.name}.unfinished")
    try:
        with unfinished.open("w", encoding="utf-8", errors="replace") as lines:
            for row in source.rows():
                try:
                    text = json.dumps(row, ensure_ascii=False, default=_to_json, allow_nan=False)
                except ValueError:
                    text = json.dumps(_without_nan(row), ensure_ascii=False, default=_to_json)
                lines.write(text + "\n")
            lines.flush()
            os.fsync(lines.fileno())
        unfinished.replace(path)
    finally:
        unfinished.unlink(missing_ok=True)


def _to_json(value: Any) -> Any:
    if isinstance(value, date | time):
        return value.isoformat()
    if isinstance(value, Decimal):
        return str(value)
    if isinstance(value, timedelta):
        return value.total_seconds()
    raise TypeError(f"{type(value).__name__} can't be written as JSON")


def _without_nan(value: Any) -> Any:
    if isinstance(value, float):
        return value if np.isfinite(value) else None
    if isinstance(value, Mapping):
        return {name: _without_nan(entry) for name, entry in value.items()}
    return [_without_nan(entry) for entry in value] if isinstance(value, list) else value
