"""Compressed records: gzip and zstd, never inflated beyond the cap.

Members (gzip) and frames (zstd) that follow one another are one text, as those formats say; zstd's skippable frames
are skipped. Whatever else follows, a text that breaks off, a dictionary that would be needed, and a zstd window of
more than 128 MiB are bad_compression.
"""

from __future__ import annotations

import sys
import zlib
from collections.abc import Callable
from typing import Protocol

from consumer.core.faults import BAD_COMPRESSION, TOO_LARGE, Fault
from consumer.pipeline.model import Events

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

_GZIP_MAGIC = b"\x1f\x8b"
_ZSTD_MAGIC = b"\x28\xb5\x2f\xfd"
"""How compressed records begin, and no UTF-8 text and no msgpack map does."""

_GZIP_WINDOW_BITS = 31
"""zlib's largest window, in gzip's framing."""
_STEP_BYTES = 4096
"""What is fed at once: what a member leaves of it is copied, and a record may have very many members."""


class _Decompressor(Protocol):
    """What zlib and zstd have in common."""

    @property
    def eof(self) -> bool: ...
    @property
    def unused_data(self) -> bytes: ...
    def decompress(self, data: bytes, max_length: int, /) -> bytes: ...


def inflater(events: Events) -> Callable[[bytes], bytes] | None:
    """Return what makes the plain bytes of a record's, or raises its Fault; None if nothing is to be done."""
    max_bytes = events.max_bytes
    if events.compression == "none":
        return None
    if events.compression == "gzip":
        return lambda data: _gzip(data, max_bytes)
    if events.compression == "zstd":
        return lambda data: _zstd(data, max_bytes)
    return lambda data: _by_magic(data, max_bytes)


def _by_magic(data: bytes, max_bytes: int) -> bytes:
    if data.startswith(_GZIP_MAGIC):
        return _gzip(data, max_bytes)
    if data.startswith(_ZSTD_MAGIC):
        return _zstd(data, max_bytes)
    return data


def _gzip(data: bytes, max_bytes: int) -> bytes:
    try:
        return _inflate(data, max_bytes, lambda: zlib.decompressobj(_GZIP_WINDOW_BITS))
    except zlib.error:
        raise Fault(BAD_COMPRESSION, "not gzip, or damaged") from None


def _zstd(data: bytes, max_bytes: int) -> bytes:
    try:
        return _inflate(data, max_bytes, zstd.ZstdDecompressor)
    except zstd.ZstdError:
        raise Fault(BAD_COMPRESSION, "not zstd, damaged, or it needs a dictionary or too large a window") from None


def _inflate(data: bytes, max_bytes: int, start: Callable[[], _Decompressor]) -> bytes:
    """Return all members' bytes.

    A decompressor that gives fewer bytes than it may has taken all that it was fed, or has met its member's end.
    """
    parts: list[bytes] = []
    room = max_bytes + 1
    fed = 0
    decompressor = start()
    while fed < len(data):
        if decompressor.eof:
            decompressor = start()
        step = data[fed : fed + _STEP_BYTES]
        part = decompressor.decompress(step, room)
        fed += len(step) - len(decompressor.unused_data)
        parts.append(part)
        room -= len(part)
        if room == 0:
            raise Fault(TOO_LARGE, f"more than {max_bytes} bytes when inflated")
    if not decompressor.eof:
        raise Fault(BAD_COMPRESSION, "it breaks off")
    return b"".join(parts)
