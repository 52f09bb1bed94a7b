# SPDX-License-Identifier: Apache-2.0
"""Values that data sets hold as text, and telling people briefly what was found instead."""

import ast
import json
import warnings
from collections.abc import Mapping
from typing import Any

MAX_TEXT = 1 << 28


def value_of(text: str, what: str) -> object:
    """Return the value of a JSON text, or of the text of a Python literal.

    Raises:
        ValueError: It's neither, or too long; the message begins with `what`.
    """
    if len(text) > MAX_TEXT:
        raise ValueError(f"The text of {what} is too long: {len(text)} characters.")
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        pass
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of "\\d" and the like in other people's texts
            return ast.literal_eval(text.strip())
    except (ValueError, SyntaxError, RecursionError, MemoryError, TypeError) as error:
        raise ValueError(f"{what} is neither JSON nor a Python literal: {short(text)}.") from error


def keys_of(value: Mapping[str, Any]) -> str:
    """Return the keys of a mapping for a message, the first twenty of them."""
    return ", ".join(sorted(str(key) for key in value)[:20]) or "nothing"


def short(value: object) -> str:
    """Return the beginning of a value for a message."""
    text = value if isinstance(value, str) else f"{type(value).__name__} {str(value)[:200]}"
    return repr(text[:80] + "..." if len(text) > 80 else text)
