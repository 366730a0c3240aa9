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

from google.protobuf import descriptor_pb2, descriptor_pool, message, message_factory

from consumer.records import HashRange, Record, hash_key

MAGIC = b"\xf3\x89\x9a\xc2"
_DIGEST_BYTES = 16
_HASH_KEY = re.compile(r"[+-]?[0-9]+")
_PACKAGE = "streamgauge.kpl"
_Field = descriptor_pb2.FieldDescriptorProto


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
    packet = _AggregatedRecord()
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
    packet = _AggregatedRecord()
    try:
        packet.ParseFromString(body)
    except message.DecodeError:
        return None
    return packet if packet.IsInitialized() else None


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


def _message(name: str, *fields: tuple[str, int, int]) -> descriptor_pb2.DescriptorProto:
    made = descriptor_pb2.DescriptorProto(name=name)
    for number, (field, label, type_) in enumerate(fields, 1):
        nested = f".{_PACKAGE}.Record" if type_ == _Field.TYPE_MESSAGE else None
        made.field.add(name=field, number=number, label=label, type=type_, type_name=nested)
    return made


def _aggregated_record() -> Any:
    """Return the message's class. Texts are declared as bytes: Java reads them whatever they hold."""
    file = descriptor_pb2.FileDescriptorProto(name="streamgauge/kpl.proto", package=_PACKAGE, syntax="proto2")
    file.message_type.append(
        _message(
            "Record",
            ("partition_key_index", _Field.LABEL_REQUIRED, _Field.TYPE_UINT64),
            ("explicit_hash_key_index", _Field.LABEL_OPTIONAL, _Field.TYPE_UINT64),
            ("data", _Field.LABEL_REQUIRED, _Field.TYPE_BYTES),
        )
    )
    file.message_type.append(
        _message(
            "AggregatedRecord",
            ("partition_key_table", _Field.LABEL_REPEATED, _Field.TYPE_BYTES),
            ("explicit_hash_key_table", _Field.LABEL_REPEATED, _Field.TYPE_BYTES),
            ("records", _Field.LABEL_REPEATED, _Field.TYPE_MESSAGE),
        )
    )
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName(f"{_PACKAGE}.AggregatedRecord"))


_AggregatedRecord = _aggregated_record()
