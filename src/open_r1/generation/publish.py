# SPDX-License-Identifier: Apache-2.0
"""Data set of a journal: a row per problem, with all its columns and its generations in order.

{"uuid": "a1", "problem": "Compute 7+9-8", ...,
 "generations": ["<think>...", None], "finish_reasons": ["stop", "error"],
 "api_metadata": [{"completion_tokens": 312, "status": 200, ...}, {"status": 400, "error": "HTTP 400: ..."}]}
"""

import json
import math
import os
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from open_r1.data.folder import DatasetFolder
from open_r1.data.sources import RowSource
from open_r1.generation.journal import Journal
from open_r1.generation.messages import Reply
from open_r1.generation.prompts import Prompts

_BATCH_ROWS = 64  # generations of 100 kB, 32 a row, are then 200 MB
_USAGE = ("prompt_tokens", "completion_tokens", "total_tokens", "reasoning_tokens")
_COUNTS = ("rows", "rows_without_prompt", "requests", "errors", "truncated", "attempts", *_USAGE[:2])
_OF_REPLY = {
    "status": pa.int64(),
    "attempts": pa.int64(),
    "latency_s": pa.float64(),
    "server": pa.string(),
    "error": pa.string(),
}
_METADATA = pa.struct([*((name, pa.int64()) for name in _USAGE), *_OF_REPLY.items()])
_MESSAGES = pa.list_(pa.struct([("role", pa.string()), ("content", pa.string())]))
_COLUMNS = {
    "generations": pa.list_(pa.string()),
    "finish_reasons": pa.list_(pa.string()),
    "api_metadata": pa.list_(_METADATA),
}
CONVERSATIONS = "conversations"  # with several turns: the messages of each generation


def added_columns(*, has_turns: bool) -> dict[str, pa.DataType]:
    """Return the columns that are added to those of the source."""
    return {**_COLUMNS, CONVERSATIONS: pa.list_(_MESSAGES)} if has_turns else _COLUMNS


def is_finished(folder: DatasetFolder) -> bool:
    """Whether a folder was finished with these settings, with `overwrite` too: a repeated command asks for nothing.

    Raises:
        ValueError: It was finished with others, and `overwrite` is not set, or it holds files of somebody else.
    """
    try:
        if DatasetFolder(folder.path, folder.card, licence=folder.licence).is_done():
            return True
    except ValueError:
        if not folder.overwrite:
            raise
    return folder.is_done()


def publish(
    folder: DatasetFolder,
    source: RowSource,
    prompts: Prompts,
    rows: np.ndarray,
    num_generations: int,
    journal: Journal,
    *,
    drop_columns: Sequence[str],
    has_turns: bool,
) -> dict[str, int]:
    """Write the chosen rows, in the order of the source, with their generations; return the counts for the card.

    Raises:
        ValueError: All generations failed: that is no data set, but a mistake somewhere.
    """
    counts, types = Counter(dict.fromkeys(_COUNTS, 0)), added_columns(has_turns=has_turns)
    last_error = ""
    columns = [name for name in source.column_names if name not in drop_columns]
    chosen, begin = np.sort(rows), 0
    for batch in source.batches(columns, batch_rows=_BATCH_ROWS, end=int(chosen[-1]) + 1):
        first, last = np.searchsorted(chosen, [begin, begin + batch.num_rows])
        own = chosen[first:last]
        begin += batch.num_rows
        if not len(own):
            continue
        values: dict[str, list[Any]] = {name: [] for name in types}
        for row in own:
            messages = prompts.get(int(row))[1]
            replies = [_reply(journal, prompts, int(row), index) for index in range(num_generations)]
            counts += Counter(rows=1, rows_without_prompt=int(not messages))
            for reply in replies if messages else ():
                counts += _counts_of(reply)
                last_error = reply.error or last_error
            values["generations"].append([reply.text for reply in replies])
            values["finish_reasons"].append([reply.finish_reason for reply in replies])
            values["api_metadata"].append(
                [{**reply.usage, **{name: getattr(reply, name) for name in _OF_REPLY}} for reply in replies]
            )
            if has_turns:
                values[CONVERSATIONS].append([_conversation(reply, messages) for reply in replies])
        arrays = [pa.array(values[name], type=kind) for name, kind in types.items()]
        taken = batch.take(pa.array(own - (begin - batch.num_rows)))
        folder.write(pa.RecordBatch.from_arrays([*taken.columns, *arrays], names=[*taken.schema.names, *types]))
    detail = {name: counts[name] for name in _COUNTS}
    if detail["requests"] and detail["errors"] == detail["requests"]:
        raise ValueError(
            f"All {detail['requests']} generations failed, the last with: {last_error}. No data set is written; mend "
            "the cause and repeat the command with --retry-errors."
        )
    return detail


def _reply(journal: Journal, prompts: Prompts, row: int, index: int) -> Reply:
    if row in prompts.bad:
        return Reply.failed(prompts.bad[row], attempts=0)
    found = journal[prompts.keys[row], index]
    return found or Reply.failed("no reply was kept; ask again with --retry-errors", attempts=0)


def _counts_of(reply: Reply) -> Counter[str]:
    tokens = {name: reply.usage.get(name, 0) for name in _USAGE[:2]}
    cut = int(reply.finish_reason == "length")
    return Counter(requests=1, errors=int(reply.text is None), truncated=cut, attempts=reply.attempts, **tokens)


def _conversation(reply: Reply, messages: Sequence[Any]) -> Sequence[Any]:
    if reply.conversation or not messages:
        return reply.conversation
    return [*messages, *([] if reply.text is None else [{"role": "assistant", "content": reply.text}])]


def export_json_lines(source: RowSource, path: Path) -> None:
    """Write rows as JSON lines, as Open R1's script does; dates and decimals become text, NaN null.

    Raises:
        ValueError: A column holds bytes.
        OSError: The disk is full; nothing is left of the file.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f".{path.name}.unfinished")
    try:
        with unfinished.open("w", encoding="utf-8", errors="replace") as lines:
            for row in source.rows():
                lines.write(json_line(row))
            lines.flush()
            os.fsync(lines.fileno())
        unfinished.replace(path)
    finally:
        unfinished.unlink(missing_ok=True)


def json_line(row: Mapping[str, Any]) -> str:
    """Return a row as JSON; errors as of `export_json_lines`."""
    return json.dumps(_without_nan(row), ensure_ascii=False, default=_to_json) + "\n"


def _to_json(value: Any) -> str:
    if isinstance(value, bytes):
        raise ValueError("JSON lines can't hold bytes: leave such columns out by --drop-columns.")
    return value.isoformat() if hasattr(value, "isoformat") else str(value)


def _without_nan(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {name: _without_nan(entry) for name, entry in value.items()}
    return [_without_nan(entry) for entry in value] if isinstance(value, list) else value
