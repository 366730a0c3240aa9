"""The records of a shard, each stored once, in the form GetRecords answers with.

A record is encoded as a CBOR map when it is put. An answer is then made of slices of what is stored, not copied,
whatever the number of records; and a put costs the same however much is stored: bytes go to segments of bounded
size, the rest to flat arrays of eight bytes a record and column.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left, bisect_right
from struct import Struct
from typing import NamedTuple

import cbor2

SEGMENT_BYTES = 128 * 1024
"""Also the size of the pieces in which an answer is sent."""

_SEQUENCE = b"\xa4\x6eSequenceNumber\x78\x38"  # a map of four; then a text of 56 bytes
_ARRIVAL = b"\x78\x1bApproximateArrivalTimestamp\xc1\x1b"  # tag 1; then an unsigned integer of eight bytes
_DATA = b"\x64Data"
_KEY = b"\x6cPartitionKey"
_BYTES = 0x40
_TEXT = 0x60
_ARRAY = 0x80
_UINT64 = Struct(">Q")
_UINT32 = Struct(">BI")
_UINT16 = Struct(">BH")


class StoredRecord(NamedTuple):
    """One record as a reader sees it; `arrival_ms` is in epoch milliseconds."""

    sequence_number: str
    arrival_ms: int
    data: bytes
    partition_key: str


def cbor_head(major: int, length: int) -> bytes:
    """Return the head of a CBOR byte string, text, array or map; `major` is the type in the upper three bits."""
    if length < 24:  # noqa: PLR2004 - the widths of RFC 8949, section 3
        return bytes((major | length,))
    if length < 1 << 8:
        return bytes((major | 24, length))
    if length < 1 << 16:
        return _UINT16.pack(major | 25, length)
    return _UINT32.pack(major | 26, length)


def encode_record(sequence_number: bytes, arrival_ms: int, data: bytes, partition_key: bytes) -> bytes:
    """Return the CBOR map of one record. `sequence_number` has 56 digits, `partition_key` is UTF-8."""
    return b"".join(
        (
            _SEQUENCE,
            sequence_number,
            _ARRIVAL,
            _UINT64.pack(arrival_ms),
            _DATA,
            cbor_head(_BYTES, len(data)),
            data,
            _KEY,
            cbor_head(_TEXT, len(partition_key)),
            partition_key,
        )
    )


class EncodedRecords:
    """`count` records, encoded one after the other, in pieces that together are all of them."""

    __slots__ = ("count", "pieces")

    def __init__(self, count: int, pieces: list[bytes | memoryview]) -> None:
        self.count = count
        self.pieces = pieces

    def cbor(self) -> list[bytes | memoryview]:
        """Return the records as one CBOR array, in pieces."""
        return [cbor_head(_ARRAY, self.count), *self.pieces]

    def decode(self) -> list[StoredRecord]:
        """Return the records one by one."""
        maps = cbor2.loads(b"".join(self.cbor()), semantic_decoders={1: lambda time_ms, _immutable: time_ms})
        return [
            StoredRecord(m["SequenceNumber"], m["ApproximateArrivalTimestamp"], m["Data"], m["PartitionKey"])
            for m in maps
        ]


class RecordLog:
    """The records in order of arrival, found by index, by counter of the sequence number, or by time.

    `last_arrival_ms` is the arrival of the last record, 0 if there is none.
    """

    __slots__ = (
        "_arrivals_ms",
        "_counters",
        "_data_end",
        "_data_ends",
        "_ends",
        "_open",
        "_sealed",
        "_segment_starts",
        "last_arrival_ms",
    )

    def __init__(self) -> None:
        self._counters = array("Q")
        self._arrivals_ms = array("Q")
        self._data_ends = array("Q")
        self._ends = array("Q")
        self._sealed: list[bytes] = []
        self._open = bytearray()  # the last segment; its bytes may move, so it is copied where others are sliced
        self._segment_starts = [0]
        self._data_end = 0
        self.last_arrival_ms = 0

    def __len__(self) -> int:
        return len(self._counters)

    def append(self, counter: int, arrival_ms: int, data_bytes: int, encoded: bytes) -> None:
        """Store a record behind all others; counter and arrival never fall."""
        segment = self._open
        if len(segment) + len(encoded) > SEGMENT_BYTES and segment:
            self._segment_starts.append(self._segment_starts[-1] + len(segment))
            self._sealed.append(bytes(segment))
            segment.clear()
        segment += encoded
        self._data_end += data_bytes
        self._data_ends.append(self._data_end)
        self._ends.append(self._segment_starts[-1] + len(segment))
        self.last_arrival_ms = arrival_ms
        self._arrivals_ms.append(arrival_ms)
        self._counters.append(counter)

    def arrival_ms(self, index: int) -> int:
        """Return the arrival of record number `index`."""
        return self._arrivals_ms[index]

    def index_at(self, counter: int) -> int:
        """Return the index of the first record at or after `counter`."""
        return bisect_left(self._counters, counter)

    def index_at_time(self, time_ms: int) -> int:
        """Return the index of the first record that arrived at or after `time_ms`."""
        return bisect_left(self._arrivals_ms, time_ms)

    def end_of_page(self, first: int, records_max: int, data_bytes_max: int) -> int:
        """Return the index behind the last record of a page: within both limits, and at least one record."""
        stop = min(first + records_max, len(self))
        if first >= stop:
            return first
        before = self._data_ends[first - 1] if first else 0
        return max(first + 1, bisect_right(self._data_ends, before + data_bytes_max, first, stop))

    def data_bytes(self, first: int, end: int) -> int:
        """Return the size of the records' data, keys not counted."""
        if first >= end:
            return 0
        return self._data_ends[end - 1] - (self._data_ends[first - 1] if first else 0)

    def page(self, first: int, end: int) -> EncodedRecords:
        """Return the records from index `first` up to `end`."""
        if first >= end:
            return EncodedRecords(0, [])
        start, stop = (self._ends[first - 1] if first else 0), self._ends[end - 1]
        return EncodedRecords(end - first, self._slice(start, stop))

    def _slice(self, start: int, stop: int) -> list[bytes | memoryview]:
        number = bisect_right(self._segment_starts, start) - 1
        pieces: list[bytes | memoryview] = []
        while start < stop and number < len(self._sealed):
            offset, segment = self._segment_starts[number], self._sealed[number]
            pieces.append(memoryview(segment)[start - offset : stop - offset])
            start, number = offset + len(segment), number + 1
        if start < stop:
            offset = self._segment_starts[-1]
            pieces.append(bytes(self._open[start - offset : stop - offset]))
        return pieces
