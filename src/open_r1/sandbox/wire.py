# SPDX-License-Identifier: Apache-2.0
"""Requests and results as JSON: what a router and its clients read and write.

    {"language": "python", "files": {"main.py": "print(1)", "data.bin": {"base64": "AP8="}}, "inputs": [...], ...}

Dataclasses of `base` are objects with their fields. Bytes are `{"base64": ...}`, numbers that aren't known (NaN) null.
"""

import base64
import functools
import json
import math
import types
import typing
from collections.abc import Mapping
from dataclasses import is_dataclass
from enum import Enum
from typing import Any, TypeVar

T = TypeVar("T")
_hints = functools.cache(typing.get_type_hints)


def to_json(value: Any) -> Any:
    """Return a request, a result or a part of one as a value for `json.dumps`.

    >>> from open_r1.sandbox.base import Limits
    >>> to_json(Limits(wall_s=2.0))["wall_s"], to_json(b"a")
    (2.0, {'base64': 'YQ=='})
    """
    if is_dataclass(value):
        value = vars(value)
    if isinstance(value, Mapping):
        return {name: to_json(item) for name, item in value.items()}
    if isinstance(value, tuple):
        return [to_json(item) for item in value]
    if isinstance(value, bytes):
        return {"base64": base64.b64encode(value).decode()}
    return None if isinstance(value, float) and math.isnan(value) else value


def loads(kind: type[T], text: str | bytes | bytearray) -> T:
    """Return what `json.dumps(to_json(...))` wrote, looking at every type.

    Args:
        kind: RunRequest or RunResult.
        text: The JSON.

    Raises:
        ValueError: It isn't one.
    """
    try:
        return read(kind, json.loads(text))
    except (TypeError, KeyError, OverflowError, RecursionError) as error:
        raise ValueError(f"No {kind.__name__}: {type(error).__name__}: {error!s:.500}") from error


def read(kind: Any, value: Any) -> Any:
    """Return the value of a type that `to_json` wrote.

    Raises:
        TypeError, ValueError, KeyError: It's of another type.
    """
    origin, parts = typing.get_origin(kind), typing.get_args(kind)
    if origin in (typing.Union, types.UnionType):
        if value is None and types.NoneType in parts:
            return None
        kind = bytes if bytes in parts and isinstance(value, Mapping) else parts[0]
        return read(kind, value)
    expected: Any = {tuple: list, float: int | float}.get(origin or kind, origin or kind)
    if is_dataclass(kind) or kind is bytes:
        expected = Mapping
    elif isinstance(kind, type) and issubclass(kind, Enum):
        expected = str
    elif kind is float and value is None:
        return math.nan
    if not isinstance(value, expected) or (isinstance(value, bool) and kind is not bool):
        raise TypeError(f"{value!r:.100} in place of {kind}")
    if is_dataclass(kind):
        return kind(**{name: read(_hints(kind)[name], item) for name, item in value.items()})
    if origin is tuple:
        return tuple(read(parts[0], item) for item in value)
    if origin is not None:  # a mapping
        return {name: read(parts[1], item) for name, item in value.items()}
    if kind is bytes:
        return base64.b64decode(value["base64"], validate=True)
    return kind(value)
