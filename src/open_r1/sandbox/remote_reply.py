# SPDX-License-Identifier: Apache-2.0
"""What a rented machine answers, read as if the submission had written it: it ran there and may have.

Ceilings come from the request. A reply beyond one can't be the driver's: who drives says so by `DriverEndedError`,
which is the submission's fault when it happens in two boxes (`rented`); a reply that is merely broken never is.
"""

import base64
import hashlib
import json
import math
import re
import zlib
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from open_r1.sandbox.base import Limits, RunRequest, SandboxError

if TYPE_CHECKING:  # it takes 100 ms to import, and the providers' SDKs bring it
    import httpx

NOT_FOUND, SIGNALS = 127, 128  # what a shell says of a program that isn't there; signals are counted from here
ESCAPED = 6  # characters that JSON takes at most for a byte of output
RUN_BYTES = 2048  # of a run's JSON besides its texts
HEAD_BYTES = 1 << 16  # of a reply besides its runs: the end of what the driver said, the languages
BINARY_BYTES = 64 << 20  # the driver leaves out compiled programs that are longer
ROUND_BYTES = 128 << 20  # what the reply to a round may have, where one run alone may not have more
NOISE_CHARS = 1 << 16  # printed around a piece of the reply
STRINGS = 64  # of a run in JSON, its keys among them
# An end that's missing is no reason to look for the string again from its next quotation mark on.
STRING = re.compile(rb'"(?:[^"\\]++|\\.)*+"?', re.DOTALL)


class TransientError(SandboxError):
    """A failure that another try, in another box, may not meet."""


class DriverEndedError(TransientError):
    """The driver was ended by a signal, or says more than it can, while its machine goes on.

    The submission may have done it.
    """


@dataclass(frozen=True)
class Reply:
    """What the driver left.

    Attributes:
        languages: Names of those that the machine has.
        result: Its result (`wire.result_to_json`), None where it left none.
        exit_code: Of the driver; "overdue" when it had to be ended.
        said: The end of what it printed, for the log.
        has_prefix: Whether it ran behind the box's `prefix`.
    """

    languages: tuple[str, ...]
    result: Mapping[str, Any] | None = None
    exit_code: int | str | None = None
    said: str = ""
    has_prefix: bool = False


@dataclass(frozen=True)
class Ceiling:
    """How long a reply may be.

    Attributes:
        json_bytes: Of its JSON.
        num_runs: Runs in it, the compiler's among them.
    """

    json_bytes: int
    num_runs: int

    @property
    def num_chars(self) -> int:
        """Return the characters of its base64: what can't be compressed grows by 5 bytes in 16 KiB."""
        return math.ceil(self.json_bytes * 1.001 + 1024) * 4 // 3 + 4


def ceiling_of(request: RunRequest | None) -> Ceiling:
    """Return how long the reply to a request may be; None asks what a machine has."""
    if request is None:
        return Ceiling(HEAD_BYTES, 0)
    binary = BINARY_BYTES * 4 // 3 + 4 if request.keeps_binary else 0
    run = _texts_bytes(request.limits)
    more = HEAD_BYTES + _texts_bytes(request.compile_limits) + binary
    return Ceiling(more + len(request.inputs) * run, 1 + len(request.inputs))


def most_runs(request: RunRequest) -> int:
    """Return how many runs fit into a round whose reply the trainer's memory is to hold; at least one."""
    return max(1, ROUND_BYTES // _texts_bytes(request.limits))


def _texts_bytes(limits: Limits) -> int:
    return RUN_BYTES + 2 * ESCAPED * limits.output_bytes


def read_piece(printed: str, nonce: str, room: int, box_id: str) -> tuple[str, int, str]:
    """Return a piece of the reply, the length of the whole and its digest.

    Raises:
        DriverEndedError: More was printed than fits, or a signal ended who watches the driver.
        TransientError: It's no piece of a reply.
        SandboxError: The machine has no Python.
    """
    if len(printed) > room + NOISE_CHARS:
        raise DriverEndedError(f"The box {box_id} printed {len(printed)} characters, and {room} were asked for")
    found = re.search(rf"{nonce} (\d{{1,15}}) ([0-9a-f]{{64}})\n([A-Za-z0-9+/=]*)\n{nonce}", printed)
    if found is not None:
        return found[3], int(found[1]), found[2]
    ended = re.search(rf"{nonce} ended (\d{{1,3}})\b", printed)
    status = 0 if ended is None else int(ended[1])
    if status == NOT_FOUND:
        raise SandboxError(f"The box {box_id} has no python3: use a template or snapshot that has it.")
    if status > SIGNALS:
        raise DriverEndedError(f"Who watches the driver in the box {box_id} was killed ({status})")
    raise TransientError(f"The box {box_id} gave no whole reply, but {printed[-500:]!r}.")


def unpack(text: str, digest: str, prefix: Sequence[str], ceiling: Ceiling, box_id: str) -> Reply:
    """Return the reply of these characters. It takes time and memory up to the ceiling: not for an event loop.

    Raises:
        DriverEndedError: It's longer, or has more parts, than the driver's can have.
        TransientError: It's no reply.
    """
    try:
        if hashlib.sha256(text.encode()).hexdigest() != digest:
            raise ValueError("the digest differs")
        opened = zlib.decompressobj()
        data = opened.decompress(base64.b64decode(text), ceiling.json_bytes)
        if opened.unconsumed_tail or (opened.eof is False and len(data) == ceiling.json_bytes):
            raise DriverEndedError(f"The reply of the box {box_id} has more than {ceiling.json_bytes} bytes")
        _check_parts(data, ceiling, box_id)
        return _as_reply(json.loads(data.decode("ascii")), prefix)
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError, zlib.error) as error:
        raise TransientError(f"The reply of the box {box_id} is spoiled: {error}.") from error


def _check_parts(data: bytes, ceiling: Ceiling, box_id: str) -> None:
    """Refuse JSON of very many small values, which take 30 times their bytes in memory."""
    parts = ceiling.num_runs + 4
    num_strings = end = between = 0
    for string in STRING.finditer(data):
        num_strings += 1
        between += string.start() - end
        end = string.end()
        if num_strings > STRINGS * parts:
            break
    if num_strings > STRINGS * parts or between + len(data) - end > RUN_BYTES * parts:
        raise DriverEndedError(f"The reply of the box {box_id} has more values than {ceiling.num_runs} runs have")


def _as_reply(value: Any, prefix: Sequence[str]) -> Reply:
    languages, result, said = value["languages"], value.get("result"), value.get("said", "")
    if not isinstance(languages, list) or not all(isinstance(name, str) for name in languages):
        raise ValueError("its languages are no names")
    if not (result is None or isinstance(result, dict)) or not isinstance(said, str):
        raise ValueError("its result is none")
    return Reply(tuple(languages), result, value.get("exit_code"), said, value.get("prefix") == list(prefix))


def bound_responses(max_bytes: int, box_id: str) -> Callable[["httpx.Response"], Awaitable[None]]:
    """Return a hook for an `httpx.AsyncClient` that ends responses of more bytes while they come.

    The client has to ask for plain responses (`Accept-Encoding: identity`): compressed ones are refused, since they
    may grow without end.
    """
    import httpx

    class Bounded(httpx.AsyncByteStream):
        def __init__(self, stream: httpx.AsyncByteStream) -> None:
            self.stream = stream

        async def __aiter__(self) -> AsyncIterator[bytes]:
            num_bytes = 0
            async for part in self.stream:
                num_bytes += len(part)
                if num_bytes > max_bytes:
                    raise DriverEndedError(f"The box {box_id} answered more than {max_bytes} bytes")
                yield part

        async def aclose(self) -> None:
            await self.stream.aclose()

    async def bound(response: httpx.Response) -> None:
        if response.headers.get("Content-Encoding", "identity") != "identity":
            raise TransientError(f"The box {box_id} answered in an encoding that nobody asked for.")
        assert isinstance(response.stream, httpx.AsyncByteStream)
        response.stream = Bounded(response.stream)

    return bound
