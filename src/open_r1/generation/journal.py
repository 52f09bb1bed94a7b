# SPDX-License-Identifier: Apache-2.0
"""Generations on disk as they come, one JSON line each, appended whole: kill -9 at any moment loses none of them.

The first line holds the settings of the run, and the same command goes on where the last one stopped:

    {"journal": 1, "settings": {"model": "...", "temperature": 0.6, ...}}
    {"key": "5f1c...", "index": 0, "text": "...", "finish_reason": "stop", ...}

What a record holds beyond `key` and `index` is the caller's. A machine that loses power may lose the last seconds of
generations: they are asked for again.
"""

import fcntl
import hashlib
import logging
import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from open_r1.generation.journal_header import HEADER, VERSION, decode, differing, encode
from open_r1.secret_names import without_named_secrets

logger = logging.getLogger(__name__)

_READ_BYTES = 1 << 20
# How our own records begin: reading these alone is ten times as fast as reading texts of 50 kB.
_NAME = re.compile(rb'\{"key": "([\w.:-]+)", "index": (\d+), "')


class JournalError(ValueError):
    """A journal that can't be used: of other settings, in use, damaged, or on a disk that takes no more."""


class Finished:
    """A set of (key, index) in 8 bytes each: fingerprints of 64 bits, so that millions fit in memory.

    Two of 10 million differ in all but fingerprint with a chance of 1 in 400,000.
    """

    def __init__(self, prints: Iterable[int] = ()) -> None:
        self._sorted = np.unique(np.fromiter(prints, dtype=np.uint64))
        self._new: set[int] = set()

    def __contains__(self, name: tuple[str, int]) -> bool:
        return self._has(fingerprint(*name))

    def _has(self, value: int) -> bool:
        if value in self._new:
            return True
        place = int(self._sorted.searchsorted(np.uint64(value)))
        return place < len(self._sorted) and int(self._sorted[place]) == value

    def __len__(self) -> int:
        return len(self._sorted) + len(self._new)

    def add(self, key: str, index: int) -> None:
        """Add one; sorted in when a hundred thousand are new."""
        value = fingerprint(key, index)
        if not self._has(value):
            self._new.add(value)
        if len(self._new) >= 100_000:
            new = np.fromiter(self._new, dtype=np.uint64, count=len(self._new))
            self._sorted = np.union1d(self._sorted, new)
            self._new = set()


def fingerprint(key: str, index: int) -> int:
    """Return 64 bits that stand for one generation of a row."""
    digest = hashlib.blake2b(f"{index} {key}".encode("utf-8", "surrogatepass"), digest_size=8).digest()
    return int.from_bytes(digest, "little")


class Journal:
    """An append-only file of generations, which one process at a time can open.

    Args:
        path: The file; made with its folder if there is none.
        settings: What the generations depend on, as JSON can hold it. None: the journal is read with whatever it has.
        is_final: Whether a record counts as finished; default: all do. Others are asked for again, and the later
            record of a generation is the one that counts.
        overwrite: Begin anew where the journal was written with other settings.

    Attributes:
        finished: What needn't be asked for again: `(key, index) in journal.finished`.

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
        self._fd = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o644)
        try:
            self._lock()
            self._size = os.fstat(self._fd).st_size
            self.settings = self._open(settings, overwrite)
            self.finished = Finished(self._read_finished(is_final))
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> "Journal":
        return self

    def __exit__(self, *error: object) -> None:
        if any(error) and self._size == self._header_size:
            os.ftruncate(self._fd, 0)  # a start that failed: its settings bind nobody
        self.sync()
        self.close()

    def _lock(self) -> None:
        try:
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise JournalError(
                f"{self.path} is in use by another process: two would ask for the same generations. Wait for it, end "
                "it, or choose another output."
            ) from None

    def _open(self, settings: Mapping[str, Any] | None, overwrite: bool) -> dict[str, Any]:
        """Return the settings of the first line, written if there is none; cut off what was being written."""
        header = self._read_header()
        self._cut_torn_tail()
        if not self._size:
            if settings is None:
                raise JournalError(f"{self.path} is empty: no generations to read.")
            self._write(encode({"journal": VERSION, "settings": without_named_secrets(dict(settings))}))
            self._header_size = self._size
            return dict(settings)
        if settings is not None:
            differences = differing(header, settings)
            if differences and self._size == self._header_size:
                overwrite = True  # of a start that failed: nothing is lost
            elif differences and overwrite:
                logger.warning("%s was begun with other settings (%s): begun anew.", self.path, "; ".join(differences))
            if differences and overwrite:
                os.ftruncate(self._fd, 0)
                self._size = 0
                return self._open(settings, False)
            if differences:
                raise JournalError(
                    f"{self.path} was begun with other settings: {'; '.join(differences)}. Give the former ones to go "
                    "on, choose another output, or pass --overwrite to begin anew."
                )
        return header

    def _read_header(self) -> dict[str, Any]:
        """Return the settings of the first line, {} if it isn't whole; refuse other files before anything is cut."""
        with self.path.open("rb") as lines:
            line = next(lines, b"")
        self._header_size = len(line)
        if line.endswith(b"\n"):
            header = decode(line) or {}
            if header.get("journal") == VERSION and isinstance(header.get("settings"), dict):
                return header["settings"]
        elif line.startswith(HEADER) or HEADER.startswith(line):
            return {}  # killed while the first line was being written
        raise JournalError(
            f"{self.path} is no journal of generations: its first line doesn't say so. It is left as it is; move it "
            "away, or choose another output."
        )

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
            logger.warning(
                "%s ends in half a line (%d bytes), of a process that was killed: cut.", self.path, self._size - end
            )
            os.ftruncate(self._fd, end)
            self._size = end

    def _read_finished(self, is_final: Callable[[Mapping[str, Any]], bool] | None) -> Iterator[int]:
        if is_final is None:
            for _, key, index in self.names():
                yield fingerprint(key, index)
            return
        for record in self.records():
            if is_final(record):
                yield fingerprint(record["key"], record["index"])

    def append(self, *records: Mapping[str, Any]) -> None:
        """Write records, all or nothing of each; they outlive this process from here on.

        Raises:
            JournalError: The disk is full or gone; the journal is left as it was before.
        """
        self._write(b"".join(encode(record) for record in records))
        for record in records:
            self.finished.add(record["key"], record["index"])

    def _write(self, content: bytes) -> None:
        written = 0
        try:
            while written < len(content):
                written += os.write(self._fd, content[written:] if written else content)
        except OSError as error:
            os.ftruncate(self._fd, self._size)
            raise JournalError(
                f"Cannot write to {self.path}: {error.strerror}. All generations before this one are kept; make room "
                "and repeat the command, which goes on from there."
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

    def records(self) -> Iterator[dict[str, Any]]:
        """Yield the records written so far, in the order of writing; a generation asked for again comes again.

        Raises:
            JournalError: A line is no record.
        """
        for _, record in self.offsets():
            yield record

    def offsets(self) -> Iterator[tuple[int, dict[str, Any]]]:
        """Yield where each record begins in the file, and the record; errors as of `records`."""
        for offset, number, line in self._lines():
            yield offset, self._record(number, line)

    def names(self) -> Iterator[tuple[int, str, int]]:
        """Yield where each record begins in the file, its key and its index.

        Raises:
            JournalError: A line is no record.
        """
        for offset, number, line in self._lines():
            match = _NAME.match(line)
            if match is not None and line.endswith(b"}\n"):
                yield offset, match[1].decode(), int(match[2])
            else:
                record = self._record(number, line)
                yield offset, record["key"], record["index"]

    def _lines(self) -> Iterator[tuple[int, int, bytes]]:
        """Where each line but the first begins, its number from 1, and the line."""
        with self.path.open("rb", buffering=_READ_BYTES) as lines:
            offset = len(next(lines, b""))
            for number, line in enumerate(lines, start=2):
                yield offset, number, line
                offset += len(line)

    def _record(self, number: int, line: bytes) -> dict[str, Any]:
        record = decode(line)
        if record is None or not isinstance(record.get("key"), str) or type(record.get("index")) is not int:
            raise JournalError(
                f"{self.path}, line {number}: no record of a generation but {line[:80]!r}. Mend or delete the line; "
                "what it held is asked for again."
            )
        return record
