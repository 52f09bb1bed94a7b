# SPDX-License-Identifier: Apache-2.0
"""One type for each column of JSON lines that were read block by block."""

from collections.abc import Iterator

import pyarrow as pa
import pyarrow.compute

_EXACT = 2**53  # the largest integer below which doubles hold all of them
_ENTRIES = "[]"

# Where a value is: its column, then names of fields, or _ENTRIES for the entries of a list.
Place = tuple[str, ...]


def without_times(schema: pa.Schema) -> pa.Schema:
    """Return the schema with text where Arrow saw times: as written they are text."""
    return pa.schema([pa.field(entry.name, _untimed(entry.type)) for entry in schema])


def _untimed(kind: pa.DataType) -> pa.DataType:
    if pa.types.is_temporal(kind):
        return pa.string()
    if pa.types.is_list(kind):
        return pa.list_(_untimed(kind.value_type))
    if pa.types.is_struct(kind):
        return pa.struct([pa.field(entry.name, _untimed(entry.type)) for entry in kind])
    return kind


def wide_integers(table: pa.Table) -> frozenset[Place]:
    """Return the places at which integers are too large for a double to hold them exactly."""
    places = set()
    for name, column in zip(table.column_names, table.columns, strict=True):
        for chunk in column.chunks:
            places.update(_wide((name,), chunk))
    return frozenset(places)


def _wide(place: Place, values: pa.Array) -> Iterator[Place]:
    if pa.types.is_struct(values.type):
        for index, entry in enumerate(values.type):
            yield from _wide((*place, entry.name), values.field(index))
    elif pa.types.is_list(values.type):
        yield from _wide((*place, _ENTRIES), values.flatten())
    elif pa.types.is_integer(values.type):
        bounds = pa.compute.call_function("min_max", [values]).as_py()
        if bounds["min"] is not None and (bounds["min"] < -_EXACT or bounds["max"] > _EXACT):
            yield place


def unify(blocks: list[tuple[pa.Schema, frozenset[Place]]]) -> tuple[pa.Schema, set[str]]:
    """Return one schema for all blocks, and the columns that only text can hold.

    Args:
        blocks: The schema of each block, with the places of its large integers.
    """
    kinds: dict[str, pa.DataType] = {}
    mixed = set()
    for schema, _ in blocks:
        for entry in schema:
            old = kinds.setdefault(entry.name, entry.type)
            try:
                pair = [pa.schema([pa.field(entry.name, kind)]) for kind in (old, entry.type)]
                kinds[entry.name] = pa.unify_schemas(pair, promote_options="permissive").field(0).type
            except (pa.ArrowInvalid, pa.ArrowTypeError):
                kinds[entry.name] = pa.string()
                mixed.add(entry.name)
    for name, *path in {place for _, places in blocks for place in places}:
        if _is_fraction_at(kinds[name], path):
            kinds[name] = pa.string()
            mixed.add(name)
    return pa.schema([pa.field(name, kind) for name, kind in kinds.items()]), mixed


def _is_fraction_at(kind: pa.DataType, path: list[str]) -> bool:
    for step in path:
        if pa.types.is_string(kind):
            return False
        kind = kind.value_type if step == _ENTRIES and pa.types.is_list(kind) else kind.field(step).type
    return pa.types.is_floating(kind)
