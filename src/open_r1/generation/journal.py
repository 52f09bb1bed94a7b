# SPDX-License-Identifier: Apache-2.0
"""Journal of generations: one JSON line each, appended whole as it comes; kill -9 at any moment loses none of them.

    {"journal": 1, "settings": {"model": "...", "temperature": 0.6, ...}}
    {"key": "5f1c...", "index": 0, "text": "...", "finish_reason": "stop", ...}

The first line holds the settings: the same command resumes, one of other settings is refused. Fields of a record
beyond `key` and `index` are the caller's. A machine that loses power may lose the last seconds: they are asked for
again.
"""

import fcntl
import json
import logging
import os
from collections.abc import Callable, Mapping
from contextlib import suppress
from itertools import count
from pathlib import Path
from typing import Any, Self

from open_r1.generation.messages import Reply
from open_r1.secret_names import without_named_secrets

logger = logging.getLogger(__name__)

_HEADER = b'{"journal": 1, "settings": {'


class JournalError(ValueError):
    """A journal that can't be used: of other settings, in use, damaged, or on a disk that takes no more."""


class Journal:
    """An append-only file of generations, which one process at a time can open.

    `journal[key, index]` is the last reply, or None; `(key, index) in journal` says that it needn't be asked for;
    `len(journal)` counts those. In memory it has a place in the file for each, about 400 bytes.

    Args:
        path: The file; made with its folder if there is none.
        settings: What the generations depend on, as JSON can hold it. None: the journal is read with whatever it has.
        is_final: Whether a record counts as finished; default: all do. Others are asked for again, and the later
            record of a generation is the one that counts.
        overwrite: Begin anew where the journal was written with other settings; that one is renamed to `<name>.1`.

    Attributes:
        settings: Those of the file.

    Raises:
        JournalError: Another process has it open, it was written with other settings, or it is no journal.
    """

    _fd = -1

    def __init__(
        self,
        path: Path | str,
        settings: Mapping[str, Any] | None,
        *,
        is_final: Callable[[Mapping[str, Any]], bool] = lambda record: True,
        overwrite: bool = False,
    ) -> None:
        self.path, self._is_final = Path(path), is_final
        self.path.parent.mkdir(parents=True, exist_ok=True)
        try:
            self._open()
            changed = differing(self.settings, settings) if settings is not None and self._places else []
            if changed and not overwrite:
                raise JournalError(
                    f"{self.path} was started with other settings: {'; '.join(changed)}. Give the former ones to "
                    "resume, choose another output, or pass --overwrite to start over."
                )
            if changed:
                aside = free_name(self.path)
                logger.warning(
                    "%s starts over: %s. The former one is kept as %s.", self.path, "; ".join(changed), aside.name
                )
                self.path.rename(aside)
                self.close()
                self._open()
            if settings is not None and not self._places:
                self.settings, self._size = dict(settings), 0
                os.ftruncate(self._fd, 0)  # the header of a start that failed
                header = _encode({"journal": 1, "settings": without_named_secrets(self.settings)})
                self._write(header)
                self._size = len(header)
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def __contains__(self, name: tuple[str, int]) -> bool:
        return name in self._places and name not in self._unfinished

    def __len__(self) -> int:
        return len(self._places) - len(self._unfinished)

    def __getitem__(self, name: tuple[str, int]) -> Reply | None:
        record = self.get(name)
        return None if record is None else Reply.of_record(record)

    def get(self, name: tuple[str, int]) -> dict[str, Any] | None:
        """Return the last record of a generation, or None."""
        if name not in self._places:
            return None
        place, size = self._places[name]
        return json.loads(os.pread(self._fd, size, place))

    def _open(self) -> None:
        """Lock the file, note settings and places, and cut what a killed process had written of its last line."""
        self._places: dict[tuple[str, int], tuple[int, int]] = {}
        self._unfinished: set[tuple[str, int]] = set()
        self._fd = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o644)
        try:
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise JournalError(
                f"{self.path} is in use by another process: two would ask for the same generations. Wait for it, end "
                "it, or choose another output."
            ) from None
        with self.path.open("rb") as lines:
            header = next(lines, b"")
            is_whole = header.endswith(b"\n")
            if not header.startswith(_HEADER) and (is_whole or not _HEADER.startswith(header)):
                raise JournalError(
                    f"{self.path} is not a journal of generations: move it away, or choose another output."
                )
            self.settings: dict[str, Any] = json.loads(header)["settings"] if is_whole else {}
            self._size = len(header) if is_whole else 0
            for number, line in enumerate(lines, start=2):
                if not line.endswith(b"\n"):
                    logger.warning("%s ends in half a line, left by a killed process: cut.", self.path)
                    break
                try:
                    record = json.loads(line)
                    self._note(record, len(line), self._is_final(record))
                except (ValueError, KeyError, TypeError):
                    raise JournalError(
                        f"{self.path}, line {number}: no record of a generation but {line[:80]!r}. Mend or delete the "
                        "line; what it held is asked for again."
                    ) from None
        os.ftruncate(self._fd, self._size)

    def _note(self, record: Mapping[str, Any], size: int, is_final: bool) -> None:
        name = (record["key"], record["index"])
        self._places[name] = (self._size, size)
        (self._unfinished.discard if is_final else self._unfinished.add)(name)
        self._size += size

    def append(self, record: Mapping[str, Any]) -> None:
        """Write a record, which counts as finished; it outlives this process from here on.

        Raises:
            JournalError: The disk is full or gone; the journal is left as it was before.
        """
        line = _encode(record)
        self._write(line)
        self._note(record, len(line), is_final=True)

    def _write(self, line: bytes) -> None:
        written = 0
        try:
            while written < len(line):
                written += os.write(self._fd, line[written:])
        except OSError as error:
            os.ftruncate(self._fd, self._size)
            raise JournalError(
                f"Cannot write to {self.path}: {error.strerror}. All generations before this one are kept; make room "
                "and repeat the command to resume."
            ) from error

    def close(self) -> None:
        """Have the disk keep what was written, and let other processes open the file."""
        if self._fd >= 0:
            os.fsync(self._fd)
            os.close(self._fd)
            self._fd = -1


def read_settings(path: Path) -> dict[str, Any]:
    """Return the settings of a journal that holds a record; {}: there is none, or it is damaged."""
    with suppress(OSError, ValueError, LookupError), path.open("rb") as lines:
        header, record = next(lines, b""), next(lines, b"")
        return json.loads(header)["settings"] if record.endswith(b"\n") else {}
    return {}


def differing(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """Return what differs between two settings, as JSON holds them, one text each.

    >>> differing({"model": "a", "seed": 0}, {"model": "b", "seed": 0})
    ["model was 'a' and is now 'b'"]
    """
    before, now = (without_named_secrets(json.loads(_encode(settings))) for settings in (before, now))
    return [
        f"{name} was {before.get(name)!r} and is now {now.get(name)!r}"
        for name in sorted({*before, *now})
        if before.get(name) != now.get(name)
    ]


def _encode(value: Mapping[str, Any]) -> bytes:
    # Half a surrogate pair, which some servers send, can't be written as UTF-8.
    return json.dumps(value, ensure_ascii=False).encode("utf-8", "replace") + b"\n"


def free_name(path: Path) -> Path:
    """Return the first free one of `<stem>.1<suffix>`, `<stem>.2<suffix>`, ..."""
    return next(name for i in count(1) if not (name := path.with_name(f"{path.stem}.{i}{path.suffix}")).exists())
