# SPDX-License-Identifier: Apache-2.0
"""The first line of a journal, which holds the settings of its generations, and what stands behind it."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from open_r1.secret_names import without_named_secrets

VERSION = 1
HEADER = b'{"journal": 1, "settings": {'

_ENCODER = json.JSONEncoder(ensure_ascii=False)


def encode(value: Mapping[str, Any]) -> bytes:
    """Return the line of a record or of the settings."""
    # Half a surrogate pair, which some servers send, can't be written as UTF-8.
    return _ENCODER.encode(value).encode("utf-8", "replace") + b"\n"


def decode(line: bytes) -> dict[str, Any] | None:
    """Return what a line holds; None: no JSON object."""
    try:
        value = json.loads(line)
    except ValueError:
        return None
    return value if isinstance(value, dict) else None


def read_settings(path: Path) -> dict[str, Any] | None:
    """Return the settings that a journal was begun with; None: there is none, or it is damaged or another's."""
    try:
        with path.open("rb") as lines:
            header = decode(next(lines, b""))
    except OSError:
        return None
    settings = header.get("settings") if header is not None and header.get("journal") == VERSION else None
    return settings if isinstance(settings, dict) else None


def has_generations(path: Path) -> bool:
    """Whether a journal has a whole record behind its settings; False too: there is none, or it is another's file."""
    if read_settings(path) is None:
        return False
    with path.open("rb") as lines:
        return next(lines, b"").endswith(b"\n") and next(lines, b"").endswith(b"\n")


def may_be_replaced(path: Path) -> bool:
    """Whether nothing is lost with a file: there is none, or a journal that holds no generation yet."""
    if not path.exists() or not path.stat().st_size:
        return True
    if read_settings(path) is not None:
        return not has_generations(path)
    with path.open("rb") as lines:
        line = next(lines, b"")  # perhaps killed while it was being written
    return not line.endswith(b"\n") and (line.startswith(HEADER) or HEADER.startswith(line))


def differing(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """Return what differs between two settings, as JSON holds them, one text each.

    >>> differing({"model": "a", "seed": 0}, {"model": "b", "seed": 0})
    ["model was 'a' and is now 'b'"]
    """
    before, now = (without_named_secrets(json.loads(encode(settings))) for settings in (before, now))
    return [
        f"{name} was {_short(before.get(name))} and is now {_short(now.get(name))}"
        for name in sorted({*before, *now})
        if before.get(name) != now.get(name)
    ]


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 200 else f"{text[:100]} ... {text[-80:]}"
