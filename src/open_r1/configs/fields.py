# SPDX-License-Identifier: Apache-2.0
"""Fields of the dataclasses that a command line is parsed into."""

from dataclasses import field
from typing import Any


def setting(default: Any, text: str, **others: Any) -> Any:
    """Return the field of a setting, of which every object gets a list of its own.

    Args:
        default: Its default.
        text: What `--help` says.
        **others: What else `HfArgumentParser` knows of a field (`aliases`).
    """
    metadata = {"help": text, **others}
    if isinstance(default, list):
        return field(default_factory=default.copy, metadata=metadata)
    return field(default=default, metadata=metadata)
