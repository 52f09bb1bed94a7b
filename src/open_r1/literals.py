# SPDX-License-Identifier: Apache-2.0
"""Values that data sets hold as text: JSON, or the text of a Python literal."""

import ast
import json
import warnings

MAX_TEXT = 1 << 28


def value_of_text(text: str) -> object:
    """Return the value that a text of JSON or of a Python literal stands for.

    Raises:
        ValueError: It's neither, or too long; the message says which of the two it "is".
    """
    if len(text) > MAX_TEXT:
        raise ValueError(f"longer than {MAX_TEXT} characters")
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        pass
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of "\\d" and the like in other people's texts
            return ast.literal_eval(text.strip())
    except (ValueError, SyntaxError, RecursionError, MemoryError, TypeError) as error:
        raise ValueError("neither JSON nor a Python literal") from error
