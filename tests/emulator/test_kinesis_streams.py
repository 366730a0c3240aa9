"""Streams by boto3: making, describing, listing, deleting, and their states."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from consumer.emulator.server import Emulator
from tests.emulator.conftest import MovableClock
from tests.emulator.kinesis_reader import FIRST, SECOND, iterator, refused


def test_a_new_stream_is_described(aws: Emulator, kinesis: Any, name: str) -> None:
    before = datetime.now(UTC)
    kinesis.create_stream(StreamName=name, ShardCount=3)
    summary = kinesis.describe_stream_summary(StreamName=name)["StreamDescriptionSummary"]
    created = summary.pop("StreamCreationTimestamp")
    assert abs((created - before).total_seconds()) < 3_600 * 24
    assert summary == {
        "StreamName": name,
        "StreamARN": f"arn:aws:kinesis:us-east-1:123456789012:stream/{name}",
        "StreamStatus": "ACTIVE",
        "StreamModeDetails": {"StreamMode": "PROVISIONED"},
        "RetentionPeriodHours": 24,
        "EnhancedMonitoring": [{"ShardLevelMetrics": []}],
        "EncryptionType": "NONE",
        "OpenShardCount": 3,
        "ConsumerCount": 0,
        "MaxRecordSizeInKiB": 1024,
    }


def test_the_shards_of_a_new_stream_cover_all_hash_keys(aws: Emulator, kinesis: Any, name: str) -> None:
    kinesis.create_stream(StreamName=name, ShardCount=3)
    shards = kinesis.describe_stream(StreamName=name)["StreamDescription"]["Shards"]
    starts = [int(shard["HashKeyRange"]["StartingHashKey"]) for shard in shards]
    ends = [int(shard["HashKeyRange"]["EndingHashKey"]) for shard in shards]
    assert starts[0] == 0
    assert ends[-1] == 2**128 - 1
    assert starts[1:] == [end + 1 for end in ends[:-1]]
    assert [len(shard["SequenceNumberRange"]["StartingSequenceNumber"]) for shard in shards] == [56] * 3


def test_describe_stream_comes_in_pages(aws: Emulator, kinesis: Any, name: str) -> None:
    kinesis.create_stream(StreamName=name, ShardCount=3)
    first = kinesis.describe_stream(StreamName=name, Limit=2)["StreamDescription"]
    rest = kinesis.describe_stream(StreamName=name, ExclusiveStartShardId=SECOND)["StreamDescription"]
    assert [len(first["Shards"]), first["HasMoreShards"]] == [2, True]
    assert [len(rest["Shards"]), rest["HasMoreShards"]] == [1, False]


def test_an_on_demand_stream_starts_with_four_shards(aws: Emulator, kinesis: Any, name: str) -> None:
    kinesis.create_stream(StreamName=name, StreamModeDetails={"StreamMode": "ON_DEMAND"})
    summary = kinesis.describe_stream_summary(StreamName=name)["StreamDescriptionSummary"]
    assert (summary["OpenShardCount"], summary["StreamModeDetails"]) == (4, {"StreamMode": "ON_DEMAND"})


def test_a_stream_is_found_by_its_arn(kinesis: Any, stream: str) -> None:
    arn = f"arn:aws:kinesis:us-east-1:123456789012:stream/{stream}"
    summary = kinesis.describe_stream_summary(StreamARN=arn)["StreamDescriptionSummary"]
    placed = kinesis.put_record(StreamARN=arn, Data=b"x", PartitionKey="k")
    assert summary["StreamName"] == stream
    assert placed["ShardId"] in (FIRST, SECOND)


def test_streams_are_listed_in_order_and_pages(aws: Emulator, kinesis: Any, name: str) -> None:
    wanted = [f"{name}-{letter}" for letter in "abc"]
    for one in reversed(wanted):
        aws.kinesis.create_stream(one, 1)
    start = name  # sorts before all of them, behind nothing that begins with it
    first = kinesis.list_streams(ExclusiveStartStreamName=start, Limit=2)
    rest = kinesis.list_streams(NextToken=first["NextToken"], Limit=1)
    assert first["StreamNames"] == wanted[:2]
    assert first["HasMoreStreams"]
    assert rest["StreamNames"] == wanted[2:]
    assert [one["StreamName"] for one in first["StreamSummaries"]] == wanted[:2]


def test_a_deleted_stream_is_gone_and_its_namesake_is_another(aws: Emulator, kinesis: Any, stream: str) -> None:
    old = kinesis.put_record(StreamName=stream, Data=b"old", PartitionKey="k")["SequenceNumber"]
    reading = iterator(kinesis, stream, FIRST)
    kinesis.delete_stream(StreamName=stream)
    assert refused(kinesis.describe_stream_summary, StreamName=stream)[:2] == ("ResourceNotFoundException", 400)
    kinesis.create_stream(StreamName=stream, ShardCount=2)
    assert aws.kinesis.records(stream) == []
    assert int(kinesis.put_record(StreamName=stream, Data=b"new", PartitionKey="k")["SequenceNumber"]) > int(old)
    assert refused(kinesis.get_records, ShardIterator=reading)[0] == "ResourceNotFoundException"


def test_states_last_as_long_as_told(aws: Emulator, kinesis: Any, clock: MovableClock, name: str) -> None:
    def status() -> str:
        return str(kinesis.describe_stream_summary(StreamName=name)["StreamDescriptionSummary"]["StreamStatus"])

    aws.settings.change(state_delay_ms=1_000_000)
    kinesis.create_stream(StreamName=name, ShardCount=1)
    assert status() == "CREATING"
    assert refused(kinesis.put_record, StreamName=name, Data=b"x", PartitionKey="k")[0] == "ResourceNotFoundException"
    assert refused(kinesis.list_shards, StreamName=name)[0] == "ResourceInUseException"
    clock.advance(1_000_000)
    assert status() == "ACTIVE"
    kinesis.split_shard(StreamName=name, ShardToSplit=FIRST, NewStartingHashKey=str(2**100))
    assert status() == "UPDATING"
    busy = refused(kinesis.split_shard, StreamName=name, ShardToSplit=FIRST, NewStartingHashKey=str(2**100))
    assert busy[0] == "ResourceInUseException"
    assert len(kinesis.list_shards(StreamName=name)["Shards"]) == 1
    assert kinesis.put_record(StreamName=name, Data=b"x", PartitionKey="k")["ShardId"] == FIRST
    clock.advance(1_000_000)
    assert len(kinesis.list_shards(StreamName=name)["Shards"]) == 3
    kinesis.delete_stream(StreamName=name)
    assert status() == "DELETING"
    assert name in kinesis.list_streams(Limit=1000)["StreamNames"]
    clock.advance(1_000_000)
    assert name not in kinesis.list_streams(Limit=1000)["StreamNames"]


@pytest.mark.parametrize(
    ("operation", "arguments", "code"),
    [
        ("create_stream", {"ShardCount": 1, "StreamName": "no spaces"}, "ValidationException"),
        ("create_stream", {"StreamName": "no-count"}, "ValidationException"),
        ("create_stream", {"StreamName": "many", "ShardCount": 10_001}, "LimitExceededException"),
        ("delete_stream", {"StreamName": "nowhere"}, "ResourceNotFoundException"),
        ("describe_stream", {"StreamName": "nowhere"}, "ResourceNotFoundException"),
        ("describe_stream_summary", {"StreamName": "nowhere"}, "ResourceNotFoundException"),
        ("describe_stream_summary", {}, "InvalidArgumentException"),
        ("list_shards", {"StreamName": "nowhere"}, "ResourceNotFoundException"),
        ("put_record", {"StreamName": "nowhere", "Data": b"", "PartitionKey": "k"}, "ResourceNotFoundException"),
        (
            "register_stream_consumer",
            {"StreamARN": "arn:aws:kinesis:us-east-1:123456789012:stream/x", "ConsumerName": "c"},
            "UnknownOperationException",
        ),
    ],
)
def test_errors_have_aws_names(
    aws: Emulator, kinesis: Any, operation: str, arguments: dict[str, Any], code: str
) -> None:
    assert refused(getattr(kinesis, operation), **arguments)[:2] == (code, 400)


def test_a_name_is_taken_once(kinesis: Any, stream: str) -> None:
    code, status, message = refused(kinesis.create_stream, StreamName=stream, ShardCount=1)
    assert (code, status) == ("ResourceInUseException", 400)
    assert message == f"Stream {stream} under account 123456789012 already exists."
