# SPDX-License-Identifier: Apache-2.0
"""The import paths of Open R1, for its users' own code; what they name lives in the other rooms.

Names are loaded on first use, so that light modules stay light to import.
"""

from importlib import import_module
from typing import Any

_HOMES = {
    "get_dataset": "data",
    "get_model": "model_utils",
    "get_tokenizer": "model_utils",
    "is_e2b_available": "import_utils",
    "is_morph_available": "import_utils",
}

__all__ = ["get_dataset", "get_model", "get_tokenizer", "is_e2b_available", "is_morph_available"]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
