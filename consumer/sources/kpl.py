"""Records that the Kinesis Producer Library has packed into one: taken apart as the Kinesis Client Library does it.

The format: four bytes of magic, a protobuf message, its MD5. Whatever is not exactly that is an ordinary record. For
the worker the daemon takes them apart; results may not depend on who did, so what it leaves out is left out here too:
rule 1: a record inside that lies outside the shard's hash keys ends its packet, and the whole packet is left out (it
was written for the shards before a reshard); rule 2: one that refers to a key which is not there ends its packet, and
those before it count. Here both are counted.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from hashlib import md5
from typing import Any

from consumer.records import HashRange, Record, hash_key

MAGIC = b"\xf3\x89\x9a\xc2"
_DIGEST_BYTES = 16
_HASH_KEY = re.compile(r"[+-]?[0-9]+")


@dataclass(slots=True)
class Packets:
    """Takes packets apart for one shard, and counts what it leaves out. `hash_range` is the shard's, if known."""

    hash_range: HashRange | None = None
    left_out: int = 0
    """Records inside packets that were left out by rules 1 and 2."""

    def unpack(self, records: Iterable[Record]) -> Iterator[Record]:
        """Yield the records inside packets instead of these, with sub-sequence numbers from 0; the others as they are.

        All records inside have the sequence number and the arrival time of their packet.
        """
        for record in records:
            packet = _packet(record.data)
            if packet is None:
                yield record
            else:
                yield from self._inside(record, packet)

    def _inside(self, record: Record, packet: Any) -> list[Record]:
        found: list[Record] = []
        for number, inner in enumerate(packet.records):
            try:
                key, hash_ = _place(packet, inner)
            except (IndexError, ValueError):
                self.left_out += len(packet.records) - number
                break
            if self.hash_range is not None and not self.hash_range.holds(hash_):
                self.left_out += len(packet.records)
                return []
            found.append(Record(inner.data, key, record.sequence_number, number, record.arrival_ms))
        return found


def pack(keyed: Iterable[tuple[str, bytes, str | None]]) -> bytes:
    """Return the packet of records: partition key, data, and explicit hash key if there is one."""
    from consumer.sources.kpl_message import AggregatedRecord  # noqa: PLC0415 - as in `_packet`

    packet = AggregatedRecord()
    keys: dict[str, int] = {}
    hash_keys: dict[str, int] = {}
    for key, data, explicit in keyed:
        inner = packet.records.add(partition_key_index=keys.setdefault(key, len(keys)), data=data)
        if explicit is not None:
            inner.explicit_hash_key_index = hash_keys.setdefault(explicit, len(hash_keys))
    packet.partition_key_table.extend(key.encode() for key in keys)
    packet.explicit_hash_key_table.extend(key.encode() for key in hash_keys)
    body: bytes = packet.SerializeToString()
    return MAGIC + body + _digest(body)


def _packet(data: bytes) -> Any:
    """Return the message in a packet, None if these bytes are none."""
    if not data.startswith(MAGIC) or len(data) <= len(MAGIC) + _DIGEST_BYTES:
        return None
    body, digest = data[len(MAGIC) : -_DIGEST_BYTES], data[-_DIGEST_BYTES:]
    if _digest(body) != digest:
        return None
    # A library that takes a while to import, for what most streams do not have: a cold start in Lambda is short.
    from consumer.sources.kpl_message import parsed  # noqa: PLC0415 - see above

    return parsed(body)


def _digest(body: bytes) -> bytes:
    return md5(body, usedforsecurity=False).digest()


def _place(packet: Any, inner: Any) -> tuple[str, int]:
    """Return a record's partition key and hash key; IndexError or ValueError if it has none."""
    key = packet.partition_key_table[inner.partition_key_index].decode(errors="replace")
    if not inner.HasField("explicit_hash_key_index"):
        return key, hash_key(key)
    explicit = packet.explicit_hash_key_table[inner.explicit_hash_key_index].decode(errors="replace")
    if not _HASH_KEY.fullmatch(explicit):
        raise ValueError(explicit)
    return key, int(explicit)
