# SPDX-License-Identifier: Apache-2.0
"""Names that say which process owns something outside of it, so that what a killed one has left can be swept."""

import os
import re
from pathlib import Path


def owner_name() -> str:
    """Return a name for this process that no other one has, also after a restart: namespace, number, start."""
    return f"{_namespace()}_{os.getpid()}_{_start_of(os.getpid())}"


def is_orphan(name: str) -> bool:
    """Return whether a name begins with that of a dead owner; of another container's processes we know nothing."""
    found = re.match(r"(\d+)_(\d+)_(\d+)(_|$)", name)
    return found is not None and found[1] == _namespace() and _start_of(int(found[2])) != found[3]


def _namespace() -> str:
    return str(Path("/proc/self/ns/pid").stat().st_ino)


def _start_of(pid: int) -> str | None:
    """Return when a process started, in the kernel's ticks, or None if there's none of that number."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]
    except (FileNotFoundError, ProcessLookupError):
        return None
