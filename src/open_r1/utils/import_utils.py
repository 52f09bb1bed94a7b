# SPDX-License-Identifier: Apache-2.0
"""Checks under Open R1's import path whether the SDKs of rented sandboxes are installed (extra `code`)."""

from importlib.util import find_spec


def is_e2b_available() -> bool:
    """Say whether e2b's SDK is installed."""
    return find_spec("e2b_code_interpreter") is not None


def is_morph_available() -> bool:
    """Say whether morph's SDK is installed."""
    return find_spec("morphcloud") is not None
