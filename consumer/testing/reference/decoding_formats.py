"""The formats and compressions of records, as plainly as the standard library allows.

What comes out is made of dict, list, str, int, float, bool, None, and the classes below, which no JSON has.
"""

from __future__ import annotations

import csv
import io
import struct
import sys
import zlib
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

_GZIP = 16 + zlib.MAX_WBITS
_SIGNED = {0xD0: 1, 0xD1: 2, 0xD2: 4, 0xD3: 8}
_UNSIGNED = {0xCC: 1, 0xCD: 2, 0xCE: 4, 0xCF: 8}


class DamagedError(Exception):
    """The bytes are not what they should be. `levels` tells how deep a document was before that was seen."""

    def __init__(self, levels: int = 0) -> None:
        super().__init__()
        self.levels = levels


@dataclass(frozen=True)
class Column:
    """A column of csv: text that means what its field says."""

    text: str


@dataclass(frozen=True)
class BadText:
    """A string of msgpack that is no UTF-8."""


@dataclass(frozen=True)
class Extension:
    """A value of an extension type of msgpack."""

    code: int
    payload: bytes


def expand(compression: str, data: bytes, max_bytes: int) -> bytes:
    """Return the inflated bytes, or those before one too many; DamagedError."""
    if compression == "gzip" or (compression == "auto" and data[:2] == b"\x1f\x8b"):
        return _inflate(data, max_bytes, lambda: zlib.decompressobj(_GZIP), zlib.error)
    if compression == "zstd" or (compression == "auto" and data[:4] == b"\x28\xb5\x2f\xfd"):
        return _inflate(data, max_bytes, zstd.ZstdDecompressor, zstd.ZstdError)
    return data


def _inflate(data: bytes, max_bytes: int, start: Callable[[], Any], error: type[Exception]) -> bytes:
    text = b""
    while len(text) <= max_bytes:
        member = start()
        try:
            text += member.decompress(data, max_bytes + 1 - len(text))
        except error:
            raise DamagedError from None
        data = member.unused_data
        if not member.eof and len(text) <= max_bytes:
            raise DamagedError
        if not data:
            break
    return text


def read_csv(text: str) -> list[list[str]]:
    """Return the columns of each line; DamagedError."""
    limit = csv.field_size_limit(len(text) + 1)
    try:
        return list(csv.reader(io.StringIO(text, newline=""), strict=True))
    except csv.Error:
        raise DamagedError from None
    finally:
        csv.field_size_limit(limit)


def read_msgpack(data: bytes) -> tuple[Any, int]:
    """Return the value and the deepest level in it; DamagedError with the deepest level seen."""
    return _Msgpack(data).read()


@dataclass
class _Container:
    """An array or a map that has been begun; a map's values are its keys and values in turn."""

    is_map: bool
    size: int
    values: list[Any] = field(default_factory=list)

    def finished(self) -> Any:
        if not self.is_map:
            return self.values
        pairs = zip(self.values[::2], self.values[1::2], strict=True)
        return {key: value for key, value in pairs if isinstance(key, str)}


class _Msgpack:
    """Reads values one after another; a stack of containers says where each belongs."""

    def __init__(self, data: bytes) -> None:
        self._stream = io.BytesIO(data)
        self._deepest = 0

    def read(self) -> tuple[Any, int]:
        value = self._one()
        if self._stream.read(1):
            raise DamagedError(self._deepest)
        return value, self._deepest

    def _one(self) -> Any:
        stack = [_Container(is_map=False, size=1)]
        while True:
            container = stack[-1]
            if len(container.values) < container.size:
                value = self._next()
                if isinstance(value, _Container):
                    self._deepest = max(self._deepest, len(stack))
                    stack.append(value)
                else:
                    container.values.append(value)
            elif len(stack) > 1:
                stack.pop()
                stack[-1].values.append(container.finished())
            else:
                return container.values[0]

    def _next(self) -> Any:
        code = self._take(1)[0]
        if code < 0x80 or code >= 0xE0:  # noqa: PLR2004 - this and the following are the format's codes
            return struct.unpack("b", bytes([code]))[0]
        if code < 0xA0:  # noqa: PLR2004 - fixmap, fixarray
            return self._open(is_map=code < 0x90, size=code % 16)  # noqa: PLR2004 - fixarray
        if code < 0xC0:  # noqa: PLR2004 - fixstr
            return self._string(code - 0xA0)
        return self._long(code)

    def _long(self, code: int) -> Any:  # noqa: PLR0911 - one line for each kind
        if code in (0xC0, 0xC2, 0xC3):
            return {0xC0: None, 0xC2: False, 0xC3: True}[code]
        if code in _SIGNED or code in _UNSIGNED:
            return int.from_bytes(self._take({**_SIGNED, **_UNSIGNED}[code]), "big", signed=code in _SIGNED)
        if code in (0xCA, 0xCB):
            return struct.unpack(">f", self._take(4))[0] if code == 0xCA else struct.unpack(">d", self._take(8))[0]  # noqa: PLR2004 - float32
        if 0xC4 <= code <= 0xC6:  # noqa: PLR2004 - bin
            return self._take(self._size(1 << code - 0xC4))
        if 0xC7 <= code <= 0xC9:  # noqa: PLR2004 - ext
            return self._extension(self._size(1 << code - 0xC7))
        if 0xD4 <= code <= 0xD8:  # noqa: PLR2004 - fixext
            return self._extension(1 << code - 0xD4)
        if 0xD9 <= code <= 0xDB:  # noqa: PLR2004 - str
            return self._string(self._size(1 << code - 0xD9))
        if code >= 0xDC:  # noqa: PLR2004 - array, map
            return self._open(is_map=code >= 0xDE, size=self._size(2 if code in (0xDC, 0xDE) else 4))  # noqa: PLR2004 - map
        raise DamagedError(self._deepest)

    def _take(self, size: int) -> bytes:
        taken = self._stream.read(size)
        if len(taken) < size:
            raise DamagedError(self._deepest)
        return taken

    def _size(self, size_bytes: int) -> int:
        return int.from_bytes(self._take(size_bytes), "big")

    def _string(self, size: int) -> str | BadText:
        try:
            return self._take(size).decode()
        except UnicodeDecodeError:
            return BadText()

    def _extension(self, size: int) -> Extension:
        code = int.from_bytes(self._take(1), "big", signed=True)
        return Extension(code, self._take(size))

    @staticmethod
    def _open(*, is_map: bool, size: int) -> _Container:
        return _Container(is_map, size * 2 if is_map else size)
