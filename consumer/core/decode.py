"""From records to events: inflate, read the format, take the declared fields.

The only place that knows which formats and compressions there are; what each of them means stands in its module.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from consumer.core.decode_csv import csv_reader
from consumer.core.decode_event import attribute
from consumer.core.decode_inflate import inflater
from consumer.core.decode_json import json_reader, plain_reader
from consumer.core.decode_msgpack import msgpack_reader
from consumer.core.decode_values import check_time, text_time
from consumer.core.faults import Fault
from consumer.pipeline.model import Events
from consumer.records import Record

__all__ = ["attribute", "check_time", "reader", "text_time"]


def reader(events: Events) -> Callable[[Sequence[Record]], list[Any]]:
    """Return the reader of records: for each one, in order, its event or the Fault that it has.

    An event has an attribute (see `attribute`) for each field: None for null; str, int, float or bool; for a
    timestamp text or an int in the field's unit, whether it is a time or not. What a record becomes does not depend
    on those it is read with.
    """
    read = {"json": json_reader, "msgpack": msgpack_reader, "csv": csv_reader}[events.format](events)
    inflate = inflater(events)

    def event_or_fault(data: bytes) -> Any:
        try:
            return read(data if inflate is None else inflate(data))
        except Fault as fault:
            fault.__context__ = None  # this and a traceback would keep the whole batch alive, in a cycle
            return fault.with_traceback(None)

    if events.format == "json" and events.compression in ("none", "auto"):
        return plain_reader(events, event_or_fault)  # nothing compressed is UTF-8
    return lambda records: [event_or_fault(record.data) for record in records]
