"""Packets of the producer library, of every kind, and what the Kinesis Client Library makes of each."""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import md5
from typing import NamedTuple

from consumer.records import HashRange
from consumer.sources.kpl import MAGIC, pack

DIGEST_BYTES = 16
EMPTY = b"\x0a\x01a"
"""A table of partition keys, and no record."""
NO_MESSAGE = b"\xff\xff"
KEY_NOT_IN_TABLE = b"\x1a\x05\x08\x7f\x1a\x01x"
"""A record that refers to partition key number 127."""

Keyed = Sequence[tuple[str, bytes]]
"""Records: partition key, and data."""


class Packet(NamedTuple):
    """A record's data, and the records that come of it; None: it is an ordinary record."""

    data: bytes
    inside: Keyed | None


def packets_of(records: Keyed, range_: HashRange, foreign_key: str) -> list[Packet]:
    """Return packets of the same records for a shard with this range, each kind once; the foreign key is elsewhere."""
    keyed = [(key, data, None) for key, data in records]
    whole = pack(keyed)
    body = whole[len(MAGIC) : -DIGEST_BYTES]
    return [
        Packet(whole, records),
        Packet(pack((key, data, str(range_.first)) for key, data in records), records),
        Packet(with_digest(body + KEY_NOT_IN_TABLE), records),
        Packet(pack([*keyed, (records[0][0], b"{}", "none")]), records),
        Packet(pack([*keyed, (foreign_key, b"{}", None)]), []),
        Packet(pack([*keyed, (records[0][0], b"{}", str((range_.last + 1) % 2**128))]), []),
        Packet(with_digest(EMPTY), []),
        Packet(whole[:-1], None),
        Packet(whole[:-1] + bytes([whole[-1] ^ 1]), None),
        Packet(with_digest(NO_MESSAGE), None),
    ]


def with_digest(body: bytes) -> bytes:
    """Return a packet with a body that may be anything."""
    return MAGIC + body + md5(body, usedforsecurity=False).digest()
