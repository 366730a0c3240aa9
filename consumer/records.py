"""What passes between the sources, the core and the sinks."""

from __future__ import annotations

from hashlib import md5
from typing import Any, NamedTuple

import msgspec

LATE = ":late"
DEAD_LETTER = ":dead_letter"
CONTRIBUTION = ":contribution"
"""Not for a sink: a part of a global window, to be combined with those of other shards (core/contributions.py)."""


class Record(
    msgspec.Struct,
    gc=False,
    rename={
        "partition_key": "partitionKey",
        "sequence_number": "sequenceNumber",
        "sub_sequence_number": "subSequenceNumber",
        "arrival_ms": "approximateArrivalTimestamp",
    },
):
    """One record of a shard.

    The names on the wire are the Kinesis Client Library's, so that a line of its protocol decodes straight into
    this type (base64 included). `sequence_number` is decimal text, compared as an integer. `arrival_ms` is
    Kinesis' approximate arrival time in epoch milliseconds. What the input does not know is None.
    """

    data: bytes
    partition_key: str | None = None
    sequence_number: str | None = None
    sub_sequence_number: int = 0
    arrival_ms: int | None = None


class Position(NamedTuple):
    """A place in a shard: sequence number as an integer, then the number within an aggregated record."""

    sequence: int
    sub_sequence: int

    @classmethod
    def of(cls, record: Record) -> Position:
        """Return the position of a record whose sequence number is known."""
        assert record.sequence_number is not None
        return cls(int(record.sequence_number), record.sub_sequence_number)


class HashRange(NamedTuple):
    """The hash keys of a shard, both ends included: it gets the records whose partition key hashes into it."""

    first: int
    last: int

    def holds(self, hash_key: int) -> bool:
        """Tell whether a hash key lies in the range."""
        return self.first <= hash_key <= self.last


def hash_key(partition_key: str) -> int:
    """Return what Kinesis makes of a partition key: its MD5 as an integer of 128 bits."""
    return int.from_bytes(md5(partition_key.encode(), usedforsecurity=False).digest())


class Row(NamedTuple):
    """A finished row: one JSON object without a line end.

    `output` is the name of the window the row is a result of, or LATE, or DEAD_LETTER; CONTRIBUTION is no row yet.
    """

    output: str
    data: bytes


def decode_rows(rows: list[Any]) -> list[Row]:
    """Turn decoded msgpack arrays back into rows."""
    return [Row(output, data) for output, data in rows]
