# SPDX-License-Identifier: Apache-2.0
"""The text of rows, whatever the type of their column: strings, lists of them, conversations, parts of a content.

What holds no text is counted, and the row stays: null, empty, bytes that are no UTF-8.
"""

import json
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

Positions = NDArray[np.int64]
_TEXT_FIELDS = ("content", "value", "text")


@dataclass
class Oddities:
    """Rows that can't be matched, or not whole: how many of each kind, and the first row of the kind."""

    count: Counter[str] = field(default_factory=Counter)
    first_row: dict[str, int] = field(default_factory=dict)

    def add(self, kind: str, rows: Positions | list[int]) -> None:
        """Count rows of a kind, in ascending order."""
        if len(rows):
            self.count[kind] += len(rows)
            self.first_row[kind] = min(int(rows[0]), self.first_row.get(kind, int(rows[0])))

    def merge(self, other: "Oddities", first_row: int) -> None:
        """Add those of a batch that starts at this row."""
        for kind, count in other.count.items():
            self.count[kind] += count
            row = first_row + other.first_row[kind]
            self.first_row[kind] = min(row, self.first_row.get(kind, row))


def is_textual(kind: pa.DataType) -> bool:
    """Return whether a column of this type can hold text: strings, lists of them, conversations."""
    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    if _is_list(kind):
        value = kind.value_type
        return _is_string(value) or (pa.types.is_struct(value) and _text_field(value) is not None)
    return _is_string(kind) or pa.types.is_null(kind)


def to_texts(column: pa.Array, oddities: Oddities) -> pa.LargeStringArray:
    """Return the column as strings without nulls; all turns of a conversation are joined by line breaks.

    Raises:
        ValueError: The column holds no text.
    """
    kind = column.type
    if not is_textual(kind):
        raise ValueError(f"a column of type {kind} holds no text: name one of strings, lists of strings or messages")
    if column.null_count:
        oddities.add("null", np.flatnonzero(column.is_null().to_numpy(zero_copy_only=False)))
    if pa.types.is_null(kind):
        return pa.array([""] * len(column), pa.large_string())
    if pa.types.is_dictionary(kind):
        column = column.dictionary_decode()
    if _is_list(kind):
        column = _joined(column)
    if column.type != pa.large_string():
        column = column.cast(pa.large_string())
    lengths = pc.fill_null(pc.call_function("binary_length", [column]), 1).to_numpy()
    oddities.add("empty", np.flatnonzero(lengths == 0))
    return pc.fill_null(column, "") if column.null_count else column


def to_strings(texts: pa.LargeStringArray) -> list[str]:
    """Return texts without nulls as Python's strings; U+FFFD stands for bytes that are no UTF-8."""
    try:
        return texts.to_pylist()
    except UnicodeDecodeError:
        return [raw.decode("utf-8", "replace") for raw in texts.view(pa.large_binary()).to_pylist()]


def not_utf8(texts: pa.LargeStringArray) -> list[int]:
    """Return the rows of texts without nulls whose bytes are no UTF-8."""
    pairs = zip(texts.view(pa.large_binary()).to_pylist(), to_strings(texts), strict=True)
    return [row for row, (raw, text) in enumerate(pairs) if "\ufffd" in text and text.encode() != raw]


def _is_string(kind: pa.DataType) -> bool:
    return pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind)


def _is_list(kind: pa.DataType) -> bool:
    return pa.types.is_list(kind) or pa.types.is_large_list(kind)


def _text_field(struct: pa.StructType) -> str | None:
    """Return the field of a turn, or of a part of its content, that holds its text."""
    names = [struct.field(index).name for index in range(struct.num_fields)]
    return next((name for name in _TEXT_FIELDS if name in names), None)


def _joined(column: pa.ListArray) -> pa.Array:
    """Return the strings of each list joined by line breaks."""
    offsets = column.offsets.to_numpy()
    first, last = (int(offsets[0]), int(offsets[-1])) if len(offsets) else (0, 0)
    values = _texts_of_turns(column.values.slice(first, last - first))
    values = pc.fill_null(values.cast(pa.string()), "")  # `binary_join` knows lists of these alone
    own = pa.array((offsets - first).astype(np.int32))  # a copy: Arrow wants no sliced offsets and a mask
    lists = pa.ListArray.from_arrays(own, values, mask=column.is_null() if column.null_count else None)
    return pc.call_function("binary_join", [lists, pa.scalar("\n")])


def _texts_of_turns(values: pa.Array) -> pa.Array:
    """Return the text of each turn, whose content may be a string or a list of parts, in Arrow or as JSON."""
    if not pa.types.is_struct(values.type):
        return values
    name = _text_field(values.type)
    values = pc.call_function("struct_field", [values], pc.StructFieldOptions([name]))
    kind = values.type
    if _is_string(kind):
        return _with_parts_read(pc.fill_null(values.cast(pa.large_string()), ""))
    if _is_list(kind) and is_textual(kind):
        return _joined(values)
    return pa.array([None if part is None else _part_text(part) for part in values.to_pylist()], pa.large_string())


def _with_parts_read(contents: pa.LargeStringArray) -> pa.LargeStringArray:
    """Return contents with the text of those that are parts as JSON: some strings, some parts, see `sources.py`."""
    begins = pc.call_function("starts_with", [contents], pc.MatchSubstringOptions("[{"))
    places = np.flatnonzero(begins.to_numpy(zero_copy_only=False))
    if not len(places):
        return contents
    texts = to_strings(contents)
    for place in places.tolist():
        try:
            parts = json.loads(texts[place])
        except ValueError:
            continue  # text that begins like parts
        if isinstance(parts, list) and all(isinstance(part, dict) and "type" in part for part in parts):
            texts[place] = _part_text(parts)
    return pa.array(texts, pa.large_string())


def _part_text(part: Any) -> str:
    """Return the text of a content: of each part its text, else JSON."""
    if isinstance(part, str):
        return part
    if isinstance(part, list):
        return "\n".join(_part_text(entry) for entry in part)
    if isinstance(part, dict):
        name = next((name for name in _TEXT_FIELDS if isinstance(part.get(name), str)), None)
        if name is not None:
            return part[name]
    return "" if part is None else json.dumps(part, ensure_ascii=False)
