"""The protobuf message in a packet of the producer library; `kpl.py` has the rules around it."""

from __future__ import annotations

from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message, message_factory

_PACKAGE = "streamgauge.kpl"
_Field = descriptor_pb2.FieldDescriptorProto


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


AggregatedRecord = _aggregated_record()


def parsed(body: bytes) -> Any:
    """Return the message that these bytes are, None if they are none."""
    packet = AggregatedRecord()
    try:
        packet.ParseFromString(body)
    except message.DecodeError:
        return None
    return packet if packet.IsInitialized() else None
