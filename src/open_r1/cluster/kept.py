# SPDX-License-Identifier: Apache-2.0
"""What the work of a job has kept on disk: an attempt that has added nothing to it has made no progress."""

import contextlib
import os
from collections.abc import Iterable
from pathlib import Path

# Of generation and evaluation: answers as they come, verdicts on programs, and what is there when all is done.
_GROWING = ("generations.jsonl", "programs.jsonl", "card.json", "results.json")

Kept = frozenset[tuple[str, int]]


def find_checkpoints(folder: Path | None) -> Kept:
    """Return names and times of the complete checkpoints: their manifests are written last."""
    found = set()
    for path in [] if folder is None else folder.glob("checkpoint-*/manifest.json"):
        with contextlib.suppress(FileNotFoundError):  # old ones are deleted meanwhile
            found.add((path.parent.name, path.stat().st_mtime_ns))
    return frozenset(found)


def find_answers(folders: Iterable[Path]) -> Kept:
    """Return names and sizes of the files that grow by each answer, without their first lines.

    The first line of a journal holds settings, and is there before any answer.
    """
    found = set()
    for path in (folder / name for folder in folders for name in _GROWING):
        with contextlib.suppress(OSError), path.open("rb") as file:  # what can't be read is there for nobody
            size = os.fstat(file.fileno()).st_size - len(file.readline())
            if size > 0:
                found.add((str(path), size))
    return frozenset(found)
