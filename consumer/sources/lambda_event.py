"""The event of a Lambda event source mapping: a batch of one shard."""

from __future__ import annotations

from base64 import b64decode
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from consumer.errors import SetupError
from consumer.records import Record


@dataclass(frozen=True, slots=True)
class Delivery:
    """The records of one invocation, packets not yet taken apart, in the order of the shard."""

    stream_arn: str
    shard: str
    records: list[Record]


def is_delivery(event: Mapping[str, Any]) -> bool:
    """Tell whether an event is one of a mapping, rather than of a schedule."""
    return "Records" in event


def delivery(event: Mapping[str, Any]) -> Delivery:
    """Return what a mapping delivers. SetupError if it is not a mapping of one Kinesis stream."""
    arns, shards, records = set[str](), set[str](), list[Record]()
    try:
        for each in event["Records"]:
            if each["eventSource"] != "aws:kinesis":
                raise SetupError(f"records of {each['eventSource']}: the function reads a Kinesis stream, nothing else")
            kinesis = each["kinesis"]
            arns.add(each["eventSourceARN"])
            shards.add(each["eventID"].partition(":")[0])
            arrival_ms = round(kinesis["approximateArrivalTimestamp"] * 1000)
            data = b64decode(kinesis["data"], validate=True)
            records.append(Record(data, kinesis["partitionKey"], kinesis["sequenceNumber"], 0, arrival_ms))
    except (KeyError, TypeError, ValueError) as error:
        raise SetupError(
            f"the event is not one of a Kinesis event source mapping ({type(error).__name__}): connect the function to "
            "the stream by a mapping, not by a pipe, a queue or a call of your own"
        ) from error
    if len(arns) != 1 or len(shards) != 1:
        raise SetupError(
            f"records of {len(arns)} streams and {len(shards)} shards in one event; a mapping sends one shard's"
        )
    return Delivery(arns.pop(), shards.pop(), records)
