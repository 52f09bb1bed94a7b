# SPDX-License-Identifier: Apache-2.0
"""Data set of a journal: a row per problem, with all its columns and its generations in order.

{"uuid": "a1", "problem": "Compute 7+9-8", ...,
 "generations": ["<think>...", None], "finish_reasons": ["stop", "error"],
 "api_metadata": [{"completion_tokens": 312, "status": 200, ...}, {"status": 400, "error": "HTTP 400: ..."}]}
"""

import json
import math
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from open_r1.data.folder import DatasetFolder
from open_r1.data.sources import RowSource
from open_r1.generation.driver import Outcome
from open_r1.generation.journal import Journal
from open_r1.generation.messages import Message, Reply
from open_r1.generation.prompts import Prompts

_BATCH_ROWS = 64  # generations of 100 kB, 32 a row, are then 200 MB
_USAGE = ("prompt_tokens", "completion_tokens", "total_tokens", "reasoning_tokens")
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
    counts, types = Outcome(), added_columns(has_turns=has_turns)
    columns = [name for name in source.column_names if name not in drop_columns]
    read, chosen = source.dataset.select_columns(columns).with_format("arrow"), np.sort(rows).tolist()
    for start in range(0, len(chosen), _BATCH_ROWS):
        own = chosen[start : start + _BATCH_ROWS]
        replies_RG = [[_reply(journal, prompts, row, index) for index in range(num_generations)] for row in own]
        for row, replies in zip(own, replies_RG, strict=True):
            for reply in () if row in prompts.bad else replies:
                counts.add(reply, 0)  # of no turns, so that all attempts count
        values: dict[str, list[Any]] = {
            "generations": [[reply.text for reply in replies] for replies in replies_RG],
            "finish_reasons": [[reply.finish_reason for reply in replies] for replies in replies_RG],
            "api_metadata": [
                [{**reply.usage, **{name: getattr(reply, name) for name in _OF_REPLY}} for reply in replies]
                for replies in replies_RG
            ],
            CONVERSATIONS: [
                [_conversation(reply, prompts, row) if has_turns else [] for reply in replies]
                for row, replies in zip(own, replies_RG, strict=True)
            ],
        }
        table = read[own].replace_schema_metadata(None)
        for name, kind in types.items():
            table = table.append_column(name, pa.array(values[name], type=kind))
        folder.write(table)
    if counts.done and counts.failed == counts.done:
        raise ValueError(
            f"All {counts.done} generations failed, the last with: {counts.last_error}. No data set is written; mend "
            "the cause and repeat the command with --retry-errors."
        )
    return {
        "rows": len(chosen),
        "rows_without_prompt": sum(row in prompts.bad for row in chosen),
        "requests": counts.done,
        "errors": counts.failed,
        "truncated": counts.truncated,
        "attempts": counts.retries,
        "prompt_tokens": counts.prompt_tokens,
        "completion_tokens": counts.completion_tokens,
    }


def _reply(journal: Journal, prompts: Prompts, row: int, index: int) -> Reply:
    if row in prompts.bad:
        return Reply.failed(prompts.bad[row], attempts=0)
    found = journal[prompts.keys[row], index]
    return found or Reply.failed("no reply was kept; ask again with --retry-errors", attempts=0)


def _conversation(reply: Reply, prompts: Prompts, row: int) -> Sequence[Message]:
    if reply.conversation or row in prompts.bad:
        return reply.conversation
    answer = [] if reply.text is None else [{"role": "assistant", "content": reply.text}]
    return [*prompts.get(row)[1], *answer]


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
