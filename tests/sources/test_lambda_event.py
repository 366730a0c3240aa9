"""Events of a mapping, and of anything else."""

from __future__ import annotations

from typing import Any

import pytest

from consumer.errors import SetupError
from consumer.records import Record
from consumer.sources.lambda_event import delivery, is_delivery

ARN = "arn:aws:kinesis:eu-west-1:123456789012:stream/clicks"


def one(number: int = 7, shard: str = "shardId-000000000006", **changes: Any) -> dict[str, Any]:
    record: dict[str, Any] = {
        "kinesis": {
            "kinesisSchemaVersion": "1.0",
            "partitionKey": "u1",
            "sequenceNumber": str(number),
            "data": "eyJhIjoxfQ==",
            "approximateArrivalTimestamp": 1545084650.987,
        },
        "eventSource": "aws:kinesis",
        "eventID": f"{shard}:{number}",
        "eventSourceARN": ARN,
    }
    return record | changes


def test_a_delivery_has_its_shard_and_records_in_order() -> None:
    event = {"Records": [one(7), one(8)]}
    assert is_delivery(event)
    found = delivery(event)
    assert (found.stream_arn, found.shard) == (ARN, "shardId-000000000006")
    assert found.records == [
        Record(b'{"a":1}', "u1", "7", 0, 1_545_084_650_987),
        Record(b'{"a":1}', "u1", "8", 0, 1_545_084_650_987),
    ]


def test_a_schedule_is_no_delivery() -> None:
    assert not is_delivery({"source": "aws.events", "detail-type": "Scheduled Event"})


@pytest.mark.parametrize(
    ("records", "words"),
    [
        ([], "records of 0 streams"),
        ([one(), one(shard="shardId-000000000007")], "2 shards in one event"),
        ([one(), one(eventSourceARN=ARN + "2")], "records of 2 streams"),
        ([one(eventSource="aws:sqs")], "records of aws:sqs"),
        ([{"body": "x"}], "not one of a Kinesis event source mapping"),
        ([one(kinesis={})], "not one of a Kinesis event source mapping"),
        ([one(kinesis=one()["kinesis"] | {"data": "!!"})], "not one of a Kinesis event source mapping"),
        ([one(kinesis=one()["kinesis"] | {"approximateArrivalTimestamp": "x"})], "not one of a Kinesis"),
        (7, "not one of a Kinesis"),
    ],
)
def test_what_is_no_delivery_of_one_shard_is_refused(records: Any, words: str) -> None:
    with pytest.raises(SetupError, match=words):
        delivery({"Records": records})
