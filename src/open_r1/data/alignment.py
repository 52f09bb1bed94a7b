# SPDX-License-Identifier: Apache-2.0
"""Gives columns that several data sets share one type, where nothing is lost by it.

1. Long and short strings and lists are one. Structs (of messages, say) get the fields of all, null where a data set
   has none.
2. Prompts that are text become messages of one user turn where other data sets have messages.
3. Gold answers that are whole numbers become text where other data sets have text.
4. `verification_info` that is a struct becomes JSON text where other data sets have text; the graders read both.
"""

import json
from collections.abc import Collection
from functools import partial, reduce
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from datasets import Dataset

_TESTS = "verification_info"


def differing_columns(parts: "list[Dataset]") -> "dict[str, dict[int, Any]]":
    """Return the columns with several types: the type in each data set that has the column, by its number."""
    from datasets import Value

    columns = dict.fromkeys(column for part in parts for column in part.column_names)
    found = {}
    for column in columns:
        kinds = {place: part.features[column] for place, part in enumerate(parts) if column in part.column_names}
        kinds = {place: kind for place, kind in kinds.items() if kind != Value("null")}
        if any(kind != next(iter(kinds.values())) for kind in kinds.values()):
            found[column] = kinds
    return found


def align_columns(parts: "list[Dataset]", prompts: Collection[str], golds: Collection[str]) -> "list[Dataset]":
    """Return data sets whose common columns have one type each, where there is one for them.

    Args:
        parts: The data sets.
        prompts: Columns that hold prompts.
        golds: Columns that hold gold answers.
    """
    from datasets import Value

    parts = list(parts)
    for column, kinds in differing_columns(parts).items():
        is_text = {place: _is_text(kind) for place, kind in kinds.items()}
        if any(is_text.values()) and not all(is_text.values()):
            if column in prompts and all(is_text[place] or _is_chat(kind) for place, kind in kinds.items()):
                _rewrite(parts, column, [place for place in kinds if is_text[place]], _as_chat)
            elif column in golds:
                for place in (place for place, kind in kinds.items() if _is_whole(kind)):
                    parts[place] = parts[place].cast_column(column, Value("string"))
            elif column == _TESTS:
                _rewrite(parts, column, [place for place in kinds if not is_text[place]], _as_json)
        kinds = {place: parts[place].features[column] for place in kinds}
        common = reduce(_common, kinds.values())
        for place, kind in kinds.items():
            if common is not None and kind != common:
                parts[place] = parts[place].cast_column(column, common)
    return parts


def _common(one: Any, other: Any) -> Any:
    """Return the type that holds the values of both, or None where there is none."""
    from datasets import LargeList, List, Value

    if one is None or other is None or one == other:
        return one if one == other else None
    if Value("null") in (one, other):
        return other if one == Value("null") else one
    if _is_text(one) and _is_text(other):
        return Value("string")
    if isinstance(one, List | LargeList) and isinstance(other, List | LargeList):
        inner = _common(one.feature, other.feature)
        return None if inner is None else List(inner)
    if isinstance(one, dict) and isinstance(other, dict):
        fields = {
            name: _common(one.get(name, other.get(name)), other.get(name, one.get(name))) for name in {**one, **other}
        }
        return None if None in fields.values() else fields
    return None


def _is_text(kind: Any) -> bool:
    from datasets import Value

    return kind in (Value("string"), Value("large_string"))


def _is_whole(kind: Any) -> bool:
    from datasets import Value

    return isinstance(kind, Value) and kind.dtype.startswith(("int", "uint"))


def _is_chat(kind: Any) -> bool:
    from datasets import LargeList, List

    is_list = isinstance(kind, List | LargeList) and isinstance(kind.feature, dict)
    return is_list and {"role", "content"} <= set(kind.feature)


def _rewrite(parts: "list[Dataset]", column: str, places: list[int], change: Any) -> None:
    from datasets import Features, List, Value

    text = Value("string")
    kind = List({"role": text, "content": text}) if change is _as_chat else text
    for place in places:
        rows = parts[place]
        parts[place] = rows.map(
            partial(_change, column=column, change=change),
            batched=True,
            features=Features({**rows.features, column: kind}),
            desc=f"Column {column}",
        )


def _change(batch: dict[str, list[Any]], column: str, change: Any) -> dict[str, list[Any]]:
    return {column: [None if value is None else change(value) for value in batch[column]]}


def _as_chat(text: str) -> list[dict[str, str]]:
    return [{"role": "user", "content": text}]


def _as_json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)
