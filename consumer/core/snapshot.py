"""The encoding of a shard's state: versioned, typed, compressed msgpack.

An entry is a base (everything) or a delta (what changed since the entry before). Restoring applies a base, then its
deltas in order. `zlib(msgpack([version, header, windows, outbox]))`, where windows has for each window of the pipeline
what `changes` of its kind tells (panes.py, sliding.py, keyed.py). Ints beyond 64 bits are an extension type: their
decimal text.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence

import msgspec

from consumer.core.compile import Program, restore_big
from consumer.core.counts import Counts
from consumer.core.windows import Packed
from consumer.errors import CorruptStateError, RefusedError
from consumer.records import Row, decode_rows

VERSION = 1

_LEVEL = 1
"""zlib's fastest: state is mostly numbers and short keys, and commits are often."""


class Header(msgspec.Struct, frozen=True):
    """What an entry says of itself.

    `position` is sequence number and sub-sequence number; `ordinal` counts the records that were taken.
    """

    definitions: str
    shard: str
    generation: int
    base: bool
    position: tuple[str, int] | None
    last_arrival_ms: int | None
    watermark_ms: int | None
    ordinal: int
    totals: Counts


def encode(header: Header, changes: Sequence[Packed], outbox: Sequence[Row]) -> bytes:
    """Return an entry's bytes."""
    return zlib.compress(_encoder.encode([VERSION, header, changes, outbox]), _LEVEL)


def decode(data: bytes) -> tuple[Header, list[Packed], list[Row]]:
    """Return an entry's parts; CorruptStateError if the bytes are none."""
    try:
        version, header, changes, outbox = _decoder.decode(zlib.decompress(data))
        if version != VERSION:
            raise RefusedError(f"the state has format {version}, this version reads format {VERSION}")
        return msgspec.convert(header, Header), changes, decode_rows(outbox)
    except (zlib.error, msgspec.MsgspecError, ValueError) as error:
        raise CorruptStateError(f"a snapshot cannot be read: {error}") from error


def check(header: Header, program: Program, shard: str, generation: int, *, base: bool) -> None:
    """Refuse an entry that does not belong here."""
    if header.definitions != program.definitions:
        raise RefusedError("the stored state was made by other definitions of this pipeline")
    if (header.shard, header.generation, header.base) != (shard, generation, base):
        raise CorruptStateError(f"a snapshot of {header.shard}, generation {header.generation}, is out of place")


_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(ext_hook=restore_big)
