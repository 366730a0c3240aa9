"""What shards leave of a global window to be combined: each its own part, reduced, in as many buckets as the file says.

A contribution is what one origin, the shard whose events were counted, has in one bucket of one window. It is made
when the window is due by the shard's watermark, once, and never changes. What is too large for one item of a store is
cut into chunks.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Iterator, Sequence
from hashlib import blake2b
from itertools import groupby
from typing import Any

import msgspec

from consumer.core.compile import Program, WindowProgram, restore_big
from consumer.core.windows import Due, Group, Key
from consumer.errors import CorruptStateError
from consumer.records import CONTRIBUTION, Row

CHUNK_BYTES = 300 * 1024
"""An item of DynamoDB holds 400 KiB, names and key included."""
_LEVEL = 1
"""zlib's fastest."""


class Contribution(msgspec.Struct, frozen=True, array_like=True):
    """One chunk of what an origin contributes to a bucket of the window [start_ms, end_ms).

    `window` is its name and `window_hash` the hash of its definition; `chunk` counts from 0, there are `chunks`;
    `data` is a part of zlib(msgpack(groups)). `expires_ms`, epoch milliseconds, is when a store may forget it; None
    where nothing is forgotten.
    """

    window: str
    window_hash: str
    generation: int
    bucket: int
    end_ms: int
    start_ms: int
    origin: str
    chunk: int
    chunks: int
    data: bytes
    expires_ms: int | None = None


def encode(contribution: Contribution) -> bytes:
    """Return what an outbox and a store keep of it."""
    return _encoder.encode(contribution)


def decode(data: bytes) -> Contribution:
    """Read what `encode` has made; CorruptStateError of anything else."""
    try:
        return _decoder.decode(data)
    except msgspec.MsgspecError as error:
        raise CorruptStateError(f"a contribution to a global window cannot be read: {error}") from error


def stamped(program: Program, rows: Iterable[Row], expires_ms: int) -> tuple[list[Row], int | None]:
    """Return rows, with the time at which contributions among them may be forgotten, and when all of these are due.

    That is a watermark; None if there are none.
    """
    windows = {window.hash: window for window in program.windows}
    told, due_ms = list[Row](), list[int]()
    for row in rows:
        if row.output == CONTRIBUTION:
            contribution = decode(row.data)
            due_ms.append(windows[contribution.window_hash].due_ms(contribution.end_ms))
            told.append(row._replace(data=encode(msgspec.structs.replace(contribution, expires_ms=expires_ms))))
        else:
            told.append(row)
    return told, max(due_ms, default=None)


def contributed(program: WindowProgram, generation: int, origin: str, dues: Iterable[Due]) -> Iterator[Row]:
    """Yield what an origin contributes of a window's groups that are due, those of one window side by side."""
    for (end_ms, start_ms), groups in groupby(dues, key=_window_of):
        buckets: dict[int, list[Any]] = {}
        for due in groups:
            packed = program.shape.pack(due.key, due.group)
            buckets.setdefault(bucket_of(program, due.key), []).append(packed)
        for bucket, rows in sorted(buckets.items()):
            data = zlib.compress(_encoder.encode(rows), _LEVEL)
            pieces = [data[first : first + CHUNK_BYTES] for first in range(0, len(data), CHUNK_BYTES)]
            for chunk, piece in enumerate(pieces):
                contribution = Contribution(
                    window=program.window.name,
                    window_hash=program.hash,
                    generation=generation,
                    bucket=bucket,
                    end_ms=end_ms,
                    start_ms=start_ms,
                    origin=origin,
                    chunk=chunk,
                    chunks=len(pieces),
                    data=piece,
                )
                yield Row(CONTRIBUTION, encode(contribution))


def bucket_of(program: WindowProgram, key: Key) -> int:
    """Return the bucket of a group: decided by its key alone."""
    assert program.window.buckets is not None
    if program.window.buckets == 1:
        return 0
    digest = blake2b(_encoder.encode(program.shape.pack_key(key)), digest_size=8).digest()
    return int.from_bytes(digest) % program.window.buckets


def combined(program: WindowProgram, contributions: Iterable[Contribution]) -> list[Row]:
    """Return the final rows of one bucket of one window, or of several, of all contributions to it, in rows' order.

    Groups of one key are put together in the order of their origins. CorruptStateError if a chunk is missing.
    """
    groups: dict[Key, Group] = {}
    combine = program.combine
    assert combine is not None
    ordered = sorted(contributions, key=_place)
    for _, chunks in groupby(ordered, key=_bucket_and_origin):
        for key, group in _groups(program, list(chunks)):
            held = groups.setdefault(key, group)
            if held is not group:
                combine(held, group)
    first = ordered[0]
    start_ms, end_ms = first.start_ms, first.end_ms
    return [
        program.combined_row(first.generation, key, groups[key], start_ms, end_ms)
        for key in sorted(groups, key=program.shape.order)
    ]


def _groups(program: WindowProgram, chunks: Sequence[Contribution]) -> Iterator[tuple[Key, Group]]:
    first = chunks[0]
    if [each.chunk for each in chunks] != list(range(first.chunks)):
        raise CorruptStateError(
            f"of what {first.origin} contributed to {first.window} only chunks {[each.chunk for each in chunks]} of "
            f"{first.chunks} are there"
        )
    try:
        rows = _rows_decoder.decode(zlib.decompress(b"".join(each.data for each in chunks)))
    except (zlib.error, msgspec.MsgspecError) as error:
        raise CorruptStateError(f"what {first.origin} contributed to {first.window} cannot be read: {error}") from error
    return map(program.shape.unpack, rows)


def _window_of(due: Due) -> tuple[int, int]:
    return due.end_ms, due.start_ms


def _bucket_and_origin(contribution: Contribution) -> tuple[int, str]:
    return contribution.bucket, contribution.origin


def _place(contribution: Contribution) -> tuple[int, str, int]:
    return contribution.bucket, contribution.origin, contribution.chunk


_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(Contribution)
_rows_decoder = msgspec.msgpack.Decoder(list[Any], ext_hook=restore_big)
