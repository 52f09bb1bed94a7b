# SPDX-License-Identifier: Apache-2.0
"""Tells whether a cell holds tests of a program, in any form that the graders read; they do the reading."""

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING

from open_r1.literals import value_of_text

if TYPE_CHECKING:
    import pyarrow as pa

_LISTS = ("test_cases", "inputs")
# Reading a Python literal takes 0.1 ms per kB, and tests of one problem can be megabytes: a list that begins will do.
_LONG = 512
_LIST_BEGINS = re.compile(r"""["'](?:test_cases|inputs)["']\s{0,9}:\s{0,9}\[\s{0,9}[^\]\s]""")


def has_tests(value: object) -> bool:
    """Return whether a value is, or holds, a list with tests: under `test_cases` or `inputs` in a struct or its text.

    Tests whose fields are all null are none. Of a text above 512 characters the beginning of the list will do.
    """
    if isinstance(value, str):
        if len(value) > _LONG and _LIST_BEGINS.search(value):
            return True
        try:
            value = value_of_text(value)
        except ValueError:
            return False
        if isinstance(value, str):
            return False
    if isinstance(value, Mapping):
        return any(has_tests(value.get(name)) for name in _LISTS)
    return isinstance(value, list) and any(map(_is_test, value))


def _is_test(entry: object) -> bool:
    if isinstance(entry, Mapping):
        return any(field is not None for field in entry.values())
    return entry is not None


def lacks_tests(values: "pa.ChunkedArray") -> list[bool]:
    """Return for each row of a column whether it holds no tests; only texts are made Python values."""
    import pyarrow as pa

    kind = values.type
    if pa.types.is_string(kind) or pa.types.is_large_string(kind):
        return [not has_tests(text) for text in values.to_pylist()]
    if pa.types.is_struct(kind):
        fields = [field.name for field in kind]
        lists = [lacks_tests(found) for name, found in zip(fields, values.flatten(), strict=True) if name in _LISTS]
        return [all(flags) for flags in zip(*lists, strict=True)] if lists else [True] * len(values)
    if pa.types.is_list(kind) or pa.types.is_large_list(kind):
        return [not length for chunk in values.chunks for length in chunk.value_lengths().to_pylist()]
    return values.is_null().to_pylist()
