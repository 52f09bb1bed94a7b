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
import re
from collections.abc import Callable, Iterator, Mapping
from itertools import count
from pathlib import Path
from typing import Any, Self

from open_r1.generation.messages import Reply
from open_r1.secret_names import without_named_secrets

logger = logging.getLogger(__name__)

_HEADER = b'{"journal": 1, "settings": {'
_READ_BYTES = 1 << 20
# How our own records begin: reading these alone is ten times as fast as reading texts of 50 kB.
_NAME = re.compile(rb'(\{"key": "[\w.:-]+", "index": \d+), "')


class JournalError(ValueError):
    """A journal that can't be used: of other settings, in use, damaged, or on a disk that takes no more."""


class Journal:
    """An append-only file of generations, which one process at a time can open.

    `journal[key, index]` is the last reply, or None; `(key, index) in journal` says that it needn't be asked for;
    `len(journal)` counts those. In memory it has a place in the file for each, about 150 bytes.

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

    def __init__(
        self,
        path: Path | str,
        settings: Mapping[str, Any] | None,
        *,
        is_final: Callable[[Mapping[str, Any]], bool] | None = None,
        overwrite: bool = False,
    ) -> None:
        self.path = Path(path)
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._fd = -1
        try:
            self.settings = self._open(settings, overwrite)
            self._reader = self.path.open("rb")
            # By the hash of key and index, of which 10 million differ in all but that with a chance of 1 in 400,000.
            self._places: dict[int, int] = {}
            self._unfinished: set[int] = set()
            for place, record in self._scan(is_whole=is_final is not None):
                self._note(record, place, is_final is None or is_final(record))
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        if any(error) and self._size == self._header_size:
            os.ftruncate(self._fd, 0)  # a start that failed: its settings bind nobody
        self.sync()
        self.close()

    def __contains__(self, name: tuple[str, int]) -> bool:
        return hash(name) in self._places and hash(name) not in self._unfinished

    def __len__(self) -> int:
        return len(self._places) - len(self._unfinished)

    def __getitem__(self, name: tuple[str, int]) -> Reply | None:
        record = self.get(name)
        return None if record is None else Reply.of_record(record)

    def get(self, name: tuple[str, int]) -> dict[str, Any] | None:
        """Return the last record of a generation, or None."""
        place = self._places.get(hash(name))
        if place is None:
            return None
        self._reader.seek(place)
        record = json.loads(self._reader.readline())
        return record if (record["key"], record["index"]) == name else None

    def _note(self, record: Mapping[str, Any], place: int, is_final: bool) -> None:
        name = hash((record["key"], record["index"]))
        self._places[name] = place
        (self._unfinished.discard if is_final else self._unfinished.add)(name)

    def _open(self, settings: Mapping[str, Any] | None, overwrite: bool) -> dict[str, Any]:
        """Lock the file and return the settings of its first line, written if there is none; cut a torn last line."""
        self._fd = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o644)
        try:
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise JournalError(
                f"{self.path} is in use by another process: two would ask for the same generations. Wait for it, end "
                "it, or choose another output."
            ) from None
        found = self._read_header()
        self._cut_torn_tail()
        differences = [] if settings is None or found is None else differing(found, settings)
        if differences and self._size > self._header_size:
            if not overwrite:
                raise JournalError(
                    f"{self.path} was begun with other settings: {'; '.join(differences)}. Give the former ones to "
                    "resume, choose another output, or pass --overwrite to begin anew."
                )
            aside = free_name(self.path)
            logger.warning("%s is begun anew: %s. It is kept as %s.", self.path, "; ".join(differences), aside.name)
            self.path.rename(aside)
            os.close(self._fd)
            return self._open(settings, False)
        if found is not None and not differences:
            return found
        if settings is None:
            raise JournalError(f"{self.path} is empty: no generations to read.")
        os.ftruncate(self._fd, 0)  # of a start that failed
        self._size = 0
        self._write(_encode({"journal": 1, "settings": without_named_secrets(dict(settings))}))
        self._header_size = self._size
        return dict(settings)

    def _read_header(self) -> dict[str, Any] | None:
        """Return the settings of the first line, None if it isn't whole; refuse other files before anything is cut."""
        with self.path.open("rb") as lines:
            line = next(lines, b"")
        self._size, self._header_size = os.fstat(self._fd).st_size, len(line)
        if line.startswith(_HEADER) and line.endswith(b"\n"):
            return json.loads(line)["settings"]
        if line.endswith(b"\n") or not (line.startswith(_HEADER) or _HEADER.startswith(line)):
            raise JournalError(
                f"{self.path} is no journal of generations: its first line doesn't say so. Move it away, or choose "
                "another output."
            )
        return None  # killed while the first line was being written

    def _cut_torn_tail(self) -> None:
        """Cut what a killed process had written of its last line."""
        end = self._size
        while end > 0:
            start = max(0, end - _READ_BYTES)
            newline = os.pread(self._fd, end - start, start).rfind(b"\n")
            if newline >= 0:
                end = start + newline + 1
                break
            end = start
        if end < self._size:
            logger.warning("%s ends in half a line, of a process that was killed: cut.", self.path)
            os.ftruncate(self._fd, end)
            self._size = end

    def append(self, *records: Mapping[str, Any]) -> None:
        """Write records, all or none; they outlive this process from here on.

        Raises:
            JournalError: The disk is full or gone; the journal is left as it was before.
        """
        lines = [_encode(record) for record in records]
        place = self._size
        self._write(b"".join(lines))
        for record, line in zip(records, lines, strict=True):
            self._note(record, place, is_final=True)
            place += len(line)

    def _write(self, content: bytes) -> None:
        written = 0
        try:
            while written < len(content):
                written += os.write(self._fd, content[written:] if written else content)
        except OSError as error:
            os.ftruncate(self._fd, self._size)
            raise JournalError(
                f"Cannot write to {self.path}: {error.strerror}. All generations before this one are kept; make room "
                "and repeat the command to resume."
            ) from error
        self._size += written

    def sync(self) -> None:
        """Have the disk keep what was written so far, through a loss of power too; may take a moment.

        Raises:
            JournalError: The disk reports that it can't.
        """
        try:
            os.fsync(self._fd)
        except OSError as error:
            raise JournalError(f"The disk of {self.path} fails: {error.strerror}.") from error

    def close(self) -> None:
        """Close the file and let other processes open it."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1
        if hasattr(self, "_reader"):
            self._reader.close()

    def records(self) -> Iterator[dict[str, Any]]:
        """Yield the records written so far, in the order of writing; a generation asked for again comes again."""
        return (record for _, record in self._scan(is_whole=True))

    def _scan(self, *, is_whole: bool) -> Iterator[tuple[int, dict[str, Any]]]:
        """Yield place and content of each record; without `is_whole` perhaps its key and index alone."""
        with self.path.open("rb", buffering=_READ_BYTES) as lines:
            place = len(next(lines, b""))
            for number, line in enumerate(lines, start=2):
                match = None if is_whole or not line.endswith(b"}\n") else _NAME.match(line)
                record: dict[str, Any] = {}
                try:
                    record = json.loads(line if match is None else match[1] + b"}")
                    is_right = isinstance(record["key"], str) and type(record["index"]) is int
                except (ValueError, KeyError, TypeError):
                    is_right = False
                if not is_right:
                    raise JournalError(
                        f"{self.path}, line {number}: no record of a generation but {line[:80]!r}. Mend or delete the "
                        "line; what it held is asked for again."
                    )
                yield place, record
                place += len(line)


def read_settings(path: Path) -> dict[str, Any] | None:
    """Return the settings of a journal that holds a record; None: there is none, or it is damaged."""
    try:
        with path.open("rb") as lines:
            header, record = next(lines, b""), next(lines, b"")
        return json.loads(header)["settings"] if header.startswith(_HEADER) and record.endswith(b"\n") else None
    except (OSError, ValueError):
        return None


def differing(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """Return what differs between two settings, as JSON holds them, one text each.

    >>> differing({"model": "a", "seed": 0}, {"model": "b", "seed": 0})
    ["model was 'a' and is now 'b'"]
    """
    before, now = (without_named_secrets(json.loads(_encode(settings))) for settings in (before, now))
    return [
        f"{name} was {_short(before.get(name))} and is now {_short(now.get(name))}"
        for name in sorted({*before, *now})
        if before.get(name) != now.get(name)
    ]


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 200 else f"{text[:100]} ... {text[-80:]}"


def _encode(value: Mapping[str, Any]) -> bytes:
    # Half a surrogate pair, which some servers send, can't be written as UTF-8.
    return json.dumps(value, ensure_ascii=False).encode("utf-8", "replace") + b"\n"


def free_name(path: Path) -> Path:
    """Return the first free one of `<stem>.1<suffix>`, `<stem>.2<suffix>`, ..."""
    return next(name for i in count(1) if not (name := path.with_name(f"{path.stem}.{i}{path.suffix}")).exists())
