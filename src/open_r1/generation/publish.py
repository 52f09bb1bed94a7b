# SPDX-License-Identifier: Apache-2.0
"""Data set of a journal: a row per problem, with all its columns and its generations in order.

{"uuid": "a1", "problem": "Compute 7+9-8", ...,
 "generations": ["<think>...", None], "finish_reasons": ["stop", "error"],
 "api_metadata": [{"completion_tokens": 312, "status": 200, ...}, {"status": 400, "error": "HTTP 400: ..."}]}
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa

from open_r1.data.folder import DatasetFolder
from open_r1.data.sources import RowSource
from open_r1.generation.driver import Outcome
from open_r1.generation.journal import Journal
from open_r1.generation.messages import Reply
from open_r1.generation.prompts import Prompts

_BATCH_ROWS = 64  # generations of 100 kB, 32 a row, are then 200 MB
_METADATA = {
    **dict.fromkeys(("prompt_tokens", "completion_tokens", "total_tokens", "reasoning_tokens"), pa.int64()),
    **dict.fromkeys(("status", "attempts"), pa.int64()),
    "latency_s": pa.float64(),
    **dict.fromkeys(("server", "error"), pa.string()),
}
COLUMNS = {
    "generations": pa.list_(pa.string()),
    "finish_reasons": pa.list_(pa.string()),
    "api_metadata": pa.list_(pa.struct([*_METADATA.items()])),
}


def publish(
    folder: DatasetFolder,
    source: RowSource,
    prompts: Prompts,
    rows: np.ndarray,
    num_generations: int,
    journal: Journal,
    drop_columns: Sequence[str],
) -> dict[str, int]:
    """Write the chosen rows, in the order of the source, with their generations; return the counts for the card.

    Raises:
        ValueError: All generations failed: that is no data set, but a mistake somewhere.
    """
    counts, chosen = Outcome(), np.sort(rows).tolist()
    columns = [name for name in source.column_names if name not in drop_columns]
    read = source.dataset.select_columns(columns).with_format("arrow")

    def reply_of(row: int, index: int) -> Reply:
        if row in prompts.bad:
            return Reply.failed(prompts.bad[row], attempts=0)
        reply = journal[prompts.keys[row], index] or Reply.failed("not kept; ask again with --retry-errors")
        counts.add(reply)
        return reply

    for start in range(0, len(chosen), _BATCH_ROWS):
        own = chosen[start : start + _BATCH_ROWS]
        replies_RG = [[reply_of(row, index) for index in range(num_generations)] for row in own]
        values = {
            "generations": [[reply.text for reply in replies] for replies in replies_RG],
            "finish_reasons": [[reply.finish_reason for reply in replies] for replies in replies_RG],
            "api_metadata": [
                [{name: reply.usage.get(name, getattr(reply, name, None)) for name in _METADATA} for reply in replies]
                for replies in replies_RG
            ],
        }
        table = read[own].replace_schema_metadata(None)
        for name, kind in COLUMNS.items():
            table = table.append_column(name, pa.array(values[name], type=kind))
        folder.write(table)
    if counts.failed == counts.done:
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
        "retries": counts.retries,
        "prompt_tokens": counts.prompt_tokens,
        "completion_tokens": counts.completion_tokens,
    }


def export_json_lines(source: RowSource, path: Path) -> None:
    """Write rows as JSON lines, as Open R1's script does, whole or not at all.

    Raises:
        OSError: The disk is full.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f".{path.name}.unfinished")
    source.dataset.to_json(unfinished, force_ascii=False, date_format="iso")
    unfinished.replace(path)
