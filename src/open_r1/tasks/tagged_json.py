# SPDX-License-Identifier: Apache-2.0
"""JSON that keeps what it has no form for: tuples, fractions, keys that are no text; numpy's numbers become plain."""

import json
from fractions import Fraction
from typing import Any

import numpy as np


def dump_json(value: Any) -> str:
    """Return JSON that `load_json` turns back into the same value: tuples, fractions, keys that are no text.

    >>> load_json(dump_json({"edges": [(0, 1)], "colors": {0: 1}}))
    {'edges': [(0, 1)], 'colors': {0: 1}}
    """
    return json.dumps(_tag(value))


def load_json(text: str) -> Any:
    """Return the value that `dump_json` wrote."""
    return json.loads(text, object_hook=_untag)


def _tag(value: Any) -> Any:
    if isinstance(value, tuple):
        return {"__tuple__": [_tag(entry) for entry in value]}
    if isinstance(value, list):
        return [_tag(entry) for entry in value]
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, Fraction):
        return {"__fraction__": str(value)}
    if isinstance(value, dict):
        if all(isinstance(key, str) for key in value):
            return {key: _tag(entry) for key, entry in value.items()}
        return {"__items__": [[_tag(key), _tag(entry)] for key, entry in value.items()]}
    return value


def _untag(loaded: dict[str, Any]) -> Any:
    if loaded.keys() == {"__tuple__"}:
        return tuple(loaded["__tuple__"])
    if loaded.keys() == {"__fraction__"}:
        return Fraction(loaded["__fraction__"])
    if loaded.keys() == {"__items__"}:
        return dict(loaded["__items__"])
    return loaded
