"""The encoding of a shard's state: versioned, typed, compressed msgpack.

An entry is a base (everything) or a delta (what changed since the entry before). Restoring applies a base, then its
deltas in order. An entry is `msgpack([version, block, ...])`, each block `zlib(msgpack(...))` of about BLOCK_ROWS rows:
so that no call decodes or encodes so much that the other shards of the process would notice.

The first block is `[header, outbox, held, pieces]`, the others are pieces. `held` has for each window of the pipeline,
and then for each part of another shard's window that is held (all of them, those without changes too), what `Held`
lists; a piece is `[number in held, place, rows]`, further rows at a place of its changes. What `changes` of each kind
of windows has at which place tell panes.py, sliding.py and keyed.py; how rows are named, layouts.py. Ints beyond 64
bits are an extension type: their decimal text.

Version 1 was `zlib(msgpack([1, header, changes of each window, outbox]))`.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import msgspec

from consumer.core import combining
from consumer.core.compile import Program, restore_big
from consumer.core.counts import Counts
from consumer.core.layouts import LAYOUTS, NameOf
from consumer.core.windows import Packed
from consumer.errors import CorruptStateError, RefusedError
from consumer.records import Row, decode_rows

VERSION = 2

BLOCK_ROWS = 4096
"""Some milliseconds to decode."""
_LEVEL = 1
"""zlib's fastest: state is mostly numbers and short keys, and commits are often."""
_FIRST_OF_VERSION_1 = 0x78
"""What data compressed by zlib begin with; no list of msgpack does."""


class Header(msgspec.Struct, frozen=True):
    """What an entry says of itself.

    `position` is sequence number and sub-sequence number; `ordinal` counts the records that were taken. `floors` are
    first and last hash key (decimal text) and the watermark.
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
    floors: Sequence[tuple[str, str, int]] = ()
    combining: combining.Packed | msgspec.UnsetType = msgspec.UNSET


class Held(NamedTuple):
    """What an entry tells of a window's groups: those of the shard's own events, or of another shard, the origin.

    `layout` is a name in LAYOUTS, `columns` how many a group's key has. `lowest_hash` is decimal text. In an entry
    without blocks, which is one of version 1, `changes` has all rows.
    """

    number: int
    origin: str | None
    lowest_hash: str | None
    layout: str
    columns: int
    changes: Packed


class Piece(NamedTuple):
    """Rows at a place of the changes of `held[number]`."""

    number: int
    place: int
    rows: list[Any]


class Writer:
    """Makes an entry's bytes: pieces are added, the head comes last."""

    def __init__(self) -> None:
        self._blocks: list[bytes] = []
        self._pieces: list[Piece] = []
        self._room = BLOCK_ROWS

    def add(self, piece: Piece) -> None:
        """Add rows, which are put into one block."""
        if not piece.rows:
            return
        if len(piece.rows) > self._room:
            self._close()
        self._pieces.append(piece)
        self._room -= len(piece.rows)

    def _close(self) -> None:
        if self._pieces:
            self._blocks.append(_pack(self._pieces))
        self._pieces, self._room = [], BLOCK_ROWS

    def finish(self, header: Header, outbox: Sequence[Row], held: Sequence[Held]) -> bytes:
        """Return the entry."""
        head = _pack([header, outbox, held, self._pieces])
        return _encoder.encode([VERSION, head, *self._blocks])


def encode(header: Header, outbox: Sequence[Row], held: Iterable[Held]) -> bytes:
    """Return the bytes of an entry."""
    writer, heads = Writer(), []
    for number, each in enumerate(held):
        changes = each.changes.copy()
        for table in LAYOUTS[each.layout].tables:
            if table.gone is not None:
                _add(writer, number, table.gone, changes, None)
            _add(writer, number, table.rows, changes, table.name(each.columns))
        heads.append(each._replace(changes=changes))
    return writer.finish(header, outbox, heads)


def _add(writer: Writer, number: int, place: int, changes: Packed, name: NameOf | None) -> None:
    """Move the rows at a place from the changes to pieces. Those of one name, which stand together, stay so."""
    rows, changes[place] = changes[place], []
    first = 0
    while first < len(rows):
        after = min(first + BLOCK_ROWS, len(rows))
        while name is not None and after < len(rows) and name(rows[after]) == name(rows[after - 1]):
            after += 1
        writer.add(Piece(number, place, rows[first:after]))
        first = after


def _pack(value: Any) -> bytes:
    return zlib.compress(_encoder.encode(value), _LEVEL)


class Reader:
    """Reads an entry block by block; CorruptStateError if the bytes are none, RefusedError of a format to come.

    With `raw`, long ints stay as they are stored: for who writes them again.
    """

    def __init__(self, data: bytes, *, raw: bool = False) -> None:
        self._decode = _raw_decoder.decode if raw else _decoder.decode
        with _reading():
            self._read_head(data)

    def _read_head(self, data: bytes) -> None:
        if data[0] == _FIRST_OF_VERSION_1:
            version, header, changes, outbox = self._decode(zlib.decompress(data))
            self.held = [Held(number, None, None, "", 0, each) for number, each in enumerate(changes)]
            self._pieces: list[Any] = []
            self._blocks: list[bytes] = []
        else:
            version, *rest = _decoder.decode(data)
            if version == VERSION:
                header, outbox, held, self._pieces = self._decode(zlib.decompress(rest[0]))
                self.held = [Held(*each) for each in held]
                self._blocks = rest[1:]
        if version not in (1, VERSION):
            raise RefusedError(f"the state has format {version}, this version reads formats 1 to {VERSION}")
        self.version: int = version
        self.header = msgspec.convert(header, Header)
        self.outbox: Sequence[Row] = decode_rows(outbox)

    def pieces(self) -> Iterator[Piece]:
        """Yield the rows that are not in `held`. To be read once, when what is in `held` has been applied."""
        yield from (Piece(*piece) for piece in self._pieces)
        self._pieces = []
        for block in self._blocks:
            with _reading():
                pieces = [Piece(*piece) for piece in self._decode(zlib.decompress(block))]
            yield from pieces


@contextmanager
def _reading() -> Iterator[None]:
    try:
        yield
    except (zlib.error, msgspec.MsgspecError, ValueError, TypeError, IndexError) as error:
        raise CorruptStateError(f"a snapshot cannot be read: {error}") from error


def copied(changes: Packed) -> Packed:
    """Return what would be read of changes that were stored: nothing of it is shared with the windows it came from."""
    copy: Packed = _decoder.decode(_encoder.encode(changes))
    return copy


def check(header: Header, program: Program, shard: str, generation: int, *, base: bool) -> None:
    """Refuse an entry that does not belong here."""
    if header.definitions != program.definitions:
        raise RefusedError("the stored state was made by other definitions of this pipeline")
    if (header.shard, header.generation, header.base) != (shard, generation, base):
        raise CorruptStateError(f"a snapshot of {header.shard}, generation {header.generation}, is out of place")


_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(ext_hook=restore_big)
_raw_decoder = msgspec.msgpack.Decoder()
