# SPDX-License-Identifier: Apache-2.0
"""Keeps rows that took long to make on disk, for the next run and for the other ranks of this one.

A file per key under `$OPEN_R1_CACHE/tasks` (default `~/.cache/open_r1/tasks`): gzip, a line of JSON with the key and
the SHA-256 of the rest, and the splits as JSON. What cannot be read back, or has another key, is made anew. A folder
that may not be written to costs the time again, no more. Files may be deleted at any time.
"""

import contextlib
import gzip
import hashlib
import json
import logging
import os
import tempfile
import zlib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from filelock import FileLock, Timeout

logger = logging.getLogger(__name__)

FOLDER_VARIABLE = "OPEN_R1_CACHE"
DEFAULT_FOLDER = "~/.cache/open_r1"

Splits = dict[str, list[dict[str, object]]]


def load_or_make(name: str, key: Mapping[str, object], make: Callable[[], Splits]) -> Splits:
    """Return the splits kept under a key, or make and keep them; of several processes one makes, the others wait.

    Args:
        name: What the splits are, for messages.
        key: All that the rows depend on; has a JSON form.
        make: Makes the splits; called at most once.
    """
    header = json.dumps(key, sort_keys=True)
    try:
        folder = Path(os.environ.get(FOLDER_VARIABLE) or DEFAULT_FOLDER).expanduser() / "tasks"
    except RuntimeError as error:  # a user without a home
        logger.info("The rows of %s are not kept for the next time: %s Set %s.", name, error, FOLDER_VARIABLE)
        return make()
    path = folder / f"{hashlib.sha256(header.encode()).hexdigest()[:32]}.json.gz"
    splits = _read(path, header)
    if splits is not None:
        logger.info("Read the rows of %s from %s.", name, path)
        return splits
    with _locked(path, name):
        splits = _read(path, header)  # another process may have made them in the meantime
        if splits is None:
            splits = make()
            _write(path, header, splits)
    return splits


@contextlib.contextmanager
def _locked(path: Path, name: str) -> Iterator[None]:
    """Hold the lock of a file, where its folder can have one; the system lets go of it when the holder dies."""
    lock = FileLock(path.with_suffix(".lock"))
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            lock.acquire(timeout=0)
        except Timeout:
            logger.info("Another process is making the rows of %s; waiting for it.", name)
            lock.acquire()
    except (OSError, NotImplementedError) as error:
        logger.info("The rows of %s are made without a lock, since %s allows none: %s", name, path.parent, error)
    try:
        yield
    finally:
        lock.release()


def _read(path: Path, header: str) -> Splits | None:
    """Return the splits of a file that is whole and has this key, else None."""
    try:
        text = gzip.decompress(path.read_bytes()).decode()
        first, _, body = text.partition("\n")
        if first != _first_line(header, body):
            raise ValueError("it has another key or was changed")
        return json.loads(body)
    except FileNotFoundError:
        return None
    except (OSError, EOFError, zlib.error, ValueError) as error:
        logger.info("%s is not used, since it cannot be read: %s", path, error)
        return None


def _first_line(header: str, body: str) -> str:
    return json.dumps({"key": header, "sha256": hashlib.sha256(body.encode()).hexdigest()})


def _write(path: Path, header: str, splits: Splits) -> None:
    """Write a file as a whole or not at all."""
    body = json.dumps(splits)
    try:
        with tempfile.NamedTemporaryFile(dir=path.parent, suffix=".tmp", delete=False) as file:
            try:
                file.write(gzip.compress(f"{_first_line(header, body)}\n{body}".encode(), compresslevel=3))
                file.close()
                Path(file.name).replace(path)
            finally:
                Path(file.name).unlink(missing_ok=True)
    except OSError as error:
        logger.info("The rows are not kept for the next time: %s", error)
