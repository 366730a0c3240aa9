"""The encoding of a shard's state: versioned, typed, compressed msgpack.

An entry is a base (everything) or a delta (what changed since the entry before). Restoring applies a base, then its
deltas in order. `zlib(msgpack([version, header, windows, outbox]))`, where windows is, for each window of the
pipeline, `[gone, groups]`:
  tumbling: gone = starts of panes that ended; groups = [start_ms, *key, *slots]
  session:  gone = keys without sessions;      groups = [*key, first_ms, last_ms, *slots], all sessions of a key
Ints beyond 64 bits are an extension type: their decimal text.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from typing import Any

import msgspec

from consumer.core.compile import Program, WindowProgram, restore_big
from consumer.core.counts import Counts
from consumer.core.windows import TumblingWindows, Windows
from consumer.errors import CorruptStateError, RefusedError
from consumer.records import Row, decode_rows

VERSION = 1

_LEVEL = 1
"""zlib's fastest: state is mostly numbers and short keys, and commits are often."""

Changes = list[list[Any]]


class Header(msgspec.Struct, frozen=True):
    """What an entry says of itself. `position` is sequence number and sub-sequence number."""

    definitions: str
    shard: str
    generation: int
    base: bool
    position: tuple[str, int] | None
    last_arrival_ms: int | None
    watermark_ms: int | None
    totals: Counts


def changes_of(program: WindowProgram, windows: Windows, *, everything: bool) -> Changes:
    """Return a window's `[gone, groups]`."""
    if isinstance(windows, TumblingWindows):
        starts, panes = windows.changes(everything=everything)
        return [starts, [[start_ms, *program.pack(key, group)] for start_ms, key, group in panes]]
    keys, sessions = windows.changes(everything=everything)
    return [[program.pack_key(key) for key in keys], [program.pack(key, group) for key, group in sessions]]


def restore_changes(program: WindowProgram, windows: Windows, changes: Changes) -> None:
    """Apply a window's `[gone, groups]`."""
    gone, groups = changes
    if isinstance(windows, TumblingWindows):
        windows.restore(gone, ((start_ms, *program.unpack(values)) for start_ms, *values in groups))
    else:
        windows.restore(map(program.unpack_key, gone), map(program.unpack, groups))


def encode(header: Header, changes: Sequence[Changes], outbox: Sequence[Row]) -> bytes:
    """Return an entry's bytes."""
    return zlib.compress(_encoder.encode([VERSION, header, changes, outbox]), _LEVEL)


def decode(data: bytes) -> tuple[Header, list[Changes], list[Row]]:
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
