# SPDX-License-Identifier: Apache-2.0
"""Libraries of the extra `data`, asked for before the long work that needs them at its end."""

from importlib.util import find_spec


def require_package(module: str, purpose: str) -> None:
    """Raise a ModuleNotFoundError that names the extra to install, where a library is missing."""
    if find_spec(module) is None:
        raise ModuleNotFoundError(
            f"{purpose} need the package {module}, which is not installed: make install EXTRAS=data."
        )
