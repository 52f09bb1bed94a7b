# SPDX-License-Identifier: Apache-2.0
"""Arrow types as every reader knows them."""

import pyarrow as pa


def plain_schema(schema: pa.Schema) -> pa.Schema:
    """Return a schema of the same columns without dictionaries, views and metadata."""
    return pa.schema([pa.field(entry.name, plain_type(entry.type)) for entry in schema])


def plain_type(kind: pa.DataType) -> pa.DataType:
    """Return the type with what a dictionary holds, `string` for views; in lists and structs too."""
    if pa.types.is_dictionary(kind):
        return plain_type(kind.value_type)
    if pa.types.is_string_view(kind):
        return pa.string()
    if pa.types.is_binary_view(kind):
        return pa.binary()
    if pa.types.is_struct(kind):
        return pa.struct([pa.field(entry.name, plain_type(entry.type)) for entry in kind])
    if pa.types.is_large_list(kind):
        return pa.large_list(plain_type(kind.value_type))
    if pa.types.is_list(kind):
        return pa.list_(plain_type(kind.value_type))
    return kind


def without_empty_structs(kind: pa.DataType) -> pa.DataType:
    """Return the type with null for a struct without fields, which parquet cannot hold."""
    if pa.types.is_struct(kind):
        fields = [pa.field(entry.name, without_empty_structs(entry.type)) for entry in kind]
        return pa.struct(fields) if fields else pa.null()
    if pa.types.is_large_list(kind):
        return pa.large_list(without_empty_structs(kind.value_type))
    return pa.list_(without_empty_structs(kind.value_type)) if pa.types.is_list(kind) else kind
