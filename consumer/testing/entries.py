"""Entries of a stored state, read whole: the product reads them block by block."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from consumer.core.snapshot import Header, Reader
from consumer.core.windows import Packed
from consumer.records import Row


class Inherited(NamedTuple):
    """What is held of window `number` for another shard, its origin. `lowest_hash` is decimal text."""

    number: int
    origin: str
    lowest_hash: str
    changes: Packed


class Entry(NamedTuple):
    """A whole base or delta, with the rows to be sent."""

    header: Header
    windows: Sequence[Packed]
    outbox: Sequence[Row]
    inherited: Sequence[Inherited]


def whole_entry(data: bytes) -> Entry:
    """Return a whole entry; errors as Reader has them."""
    reader = Reader(data)
    for number, place, rows in reader.pieces():
        reader.held[number].changes[place] += rows
    windows = [each.changes for each in reader.held if each.origin is None]
    inherited = [
        Inherited(each.number, each.origin, each.lowest_hash or "", each.changes)
        for each in reader.held
        if each.origin is not None
    ]
    return Entry(reader.header, windows, reader.outbox, inherited)
