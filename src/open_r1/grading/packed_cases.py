# SPDX-License-Identifier: Apache-2.0
"""Private tests of LiveCodeBench: JSON text, pickled, compressed by zlib and written in base64.

A pickle can run programs when it's read. This one may hold a text and nothing else: every name that it asks for is
refused, and so is a text that grows beyond all measure.
"""

import base64
import binascii
import io
import pickle
import zlib

MAX_UNPACKED = 1 << 29


def unpack_cases(text: str) -> str:
    """Return the JSON text in a packed column; text that begins like JSON is returned as it is.

    Raises:
        ValueError: It can't be unpacked, is too large, or holds something else than a text.
    """
    if text.lstrip()[:1] in ("[", "{"):
        return text
    try:
        packed = base64.b64decode("".join(text.split()), validate=True)
        unpacker = zlib.decompressobj()
        data = unpacker.decompress(packed, MAX_UNPACKED)
    except (binascii.Error, ValueError, zlib.error) as error:
        raise ValueError(f"Tests are neither JSON nor base64 of zlib data: {text[:40]!r} ({error}).") from error
    if unpacker.unconsumed_tail:
        raise ValueError(f"Packed tests are larger than {MAX_UNPACKED} bytes.")
    if not unpacker.eof:
        raise ValueError("Packed tests are cut off.")
    return _text_of(data)


def _text_of(data: bytes) -> str:
    if data.lstrip()[:1] in (b"[", b"{"):
        return data.decode("utf-8")
    try:
        value = _TextUnpickler(io.BytesIO(data)).load()
    except Exception as error:  # a broken pickle raises almost anything
        raise ValueError(f"Packed tests are no pickled text: {type(error).__name__}: {str(error)[:200]}") from error
    if isinstance(value, bytes):
        return value.decode("utf-8")
    if not isinstance(value, str):
        raise ValueError(f"Packed tests must be a text, found {type(value).__name__}.")
    return value


class _TextUnpickler(pickle.Unpickler):
    """An unpickler of plain values."""

    def find_class(self, module_name: str, global_name: str) -> object:
        raise pickle.UnpicklingError(f"it asks for {module_name}.{global_name}")
