# SPDX-License-Identifier: Apache-2.0
"""Lines that are no JSON objects: where they are, what they hold and why they cannot be read."""

import json
import re
from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, overload

_NAMES = {list: "array", str: "string", bool: "boolean", type(None): "null"}
_SURROGATE = re.compile(rb"\\u[dD][89a-fA-F]")


@dataclass(frozen=True)
class MalformedLine:
    """A line that is no JSON object.

    Args:
        number: Its number in the file, from 1.
        text: What it holds; bytes that are no UTF-8 are written as backslash, x and two digits.
        reason: What is wrong with it.
    """

    number: int
    text: str
    reason: str


class MalformedLines(Sequence[MalformedLine]):
    """The malformed lines of a file; only their places are kept, the file is read again for their text."""

    def __init__(self, path: Path | None = None) -> None:
        self._path = path
        self._places = array("Q")

    def append(self, number: int, offset: int, num_bytes: int) -> None:
        """Add a line by its number, where it begins, and its length."""
        self._places.extend((number, offset, num_bytes))

    def __len__(self) -> int:
        return len(self._places) // 3

    @overload
    def __getitem__(self, index: int) -> MalformedLine: ...

    @overload
    def __getitem__(self, index: slice) -> list[MalformedLine]: ...

    def __getitem__(self, index: int | slice) -> MalformedLine | list[MalformedLine]:
        if isinstance(index, slice):
            return [self[number] for number in range(*index.indices(len(self)))]
        if not -len(self) <= index < len(self):
            raise IndexError(index)
        assert self._path is not None
        number, offset, num_bytes = self._places[3 * (index % len(self)) : 3 * (index % len(self)) + 3]
        with self._path.open("rb") as file:
            file.seek(offset)
            return _describe(number, file.read(num_bytes))

    def __iter__(self) -> Iterator[MalformedLine]:
        if self._path is None:
            return
        with self._path.open("rb") as file:
            for start in range(0, len(self._places), 3):
                number, offset, num_bytes = self._places[start : start + 3]
                file.seek(offset)
                yield _describe(number, file.read(num_bytes))


def parse_object(line: bytes) -> dict[str, Any] | None:
    """Return the object on a line, or None where there is none that can be written as UTF-8."""
    try:
        return _parse(line)
    except (ValueError, RecursionError):
        return None


def _parse(line: bytes) -> dict[str, Any]:
    found = json.loads(line.decode("utf-8"))
    if not isinstance(found, dict):
        raise ValueError(f"a JSON {_NAMES.get(type(found), 'number')}, no object")
    if _SURROGATE.search(line):
        json.dumps(found, ensure_ascii=False).encode("utf-8")  # half of a pair raises
    return found


def _describe(number: int, line: bytes) -> MalformedLine:
    try:
        _parse(line)
    except RecursionError:
        reason = "nested too deep"
    except UnicodeError as error:
        reason = f"no UTF-8 ({error.reason})" if isinstance(error, UnicodeDecodeError) else "half a surrogate pair"
    except ValueError as error:
        reason = str(error)
    else:
        reason = "the file changed since it was read"
    return MalformedLine(number, line.decode("utf-8", "backslashreplace").rstrip("\r\n"), reason)
