"""Trouble on request: each kind by boto3, and how faults are counted and chosen."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from botocore.exceptions import ConnectionClosedError

from consumer.emulator.faults import Fault, Faults
from consumer.emulator.server import Emulator
from tests.emulator.kinesis_reader import FIRST, iterator, refused


@pytest.fixture
def table(aws: Emulator, dynamodb: Any, name: str) -> str:
    dynamodb.create_table(
        TableName=name,
        BillingMode="PAY_PER_REQUEST",
        AttributeDefinitions=[{"AttributeName": "k", "AttributeType": "S"}],
        KeySchema=[{"AttributeName": "k", "KeyType": "HASH"}],
    )
    return name


@pytest.fixture
def delivery(aws: Emulator, firehose: Any, bucket: str) -> str:
    destination = {"BucketARN": f"arn:aws:s3:::{bucket}", "RoleARN": "arn:aws:iam::123456789012:role/r"}
    firehose.create_delivery_stream(DeliveryStreamName=bucket, ExtendedS3DestinationConfiguration=destination)
    return bucket


class Target:
    """A write to one of the services, and whether it had its effect."""

    def __init__(self, service: str, write: Callable[[], Any], happened: Callable[[], bool]) -> None:
        self.service = service
        self.write = write
        self.happened = happened


@pytest.fixture(params=["kinesis", "firehose", "dynamodb", "s3"])
def target(request: pytest.FixtureRequest, aws: Emulator) -> Target:
    client = request.getfixturevalue(request.param)
    if request.param == "kinesis":
        stream = request.getfixturevalue("stream")
        return Target(
            "kinesis",
            lambda: client.put_record(StreamName=stream, Data=b"x", PartitionKey="k"),
            lambda: bool(aws.kinesis.records(stream)),
        )
    if request.param == "firehose":
        delivery = request.getfixturevalue("delivery")
        return Target(
            "firehose",
            lambda: client.put_record(DeliveryStreamName=delivery, Record={"Data": b"x"}),
            lambda: bool(aws.firehose.stream(delivery).records),
        )
    if request.param == "dynamodb":
        table = request.getfixturevalue("table")
        key = {"k": {"S": "key"}}
        return Target(
            "dynamodb",
            lambda: client.put_item(TableName=table, Item=key),
            lambda: "Item" in client.get_item(TableName=table, Key=key),
        )
    bucket = request.getfixturevalue("bucket")
    return Target(
        "s3",
        lambda: client.put_object(Bucket=bucket, Key="key", Body=b"x"),
        lambda: client.list_objects_v2(Bucket=bucket)["KeyCount"] == 1,
    )


THROTTLES = {
    "kinesis": ("ProvisionedThroughputExceededException", 400),
    "firehose": ("ServiceUnavailableException", 503),
    "dynamodb": ("ProvisionedThroughputExceededException", 400),
    "s3": ("SlowDown", 503),
}
FAILURES = {
    "kinesis": "InternalFailure",
    "firehose": "InternalFailure",
    "dynamodb": "InternalServerError",
    "s3": "InternalError",
}


def add(aws: Emulator, target: Target, kind: str, **more: Any) -> None:
    aws.faults.add(msgspec.convert({"service": target.service, "kind": kind, "times": 1, **more}, Fault))


def test_throttle(aws: Emulator, target: Target) -> None:
    add(aws, target, "throttle")
    assert refused(target.write)[:2] == THROTTLES[target.service]
    assert not target.happened()
    target.write()
    assert target.happened()


def test_error_before_the_effect(aws: Emulator, target: Target) -> None:
    add(aws, target, "error_before")
    assert refused(target.write)[:2] == (FAILURES[target.service], 500)
    assert not target.happened()


def test_error_after_the_effect(aws: Emulator, target: Target) -> None:
    add(aws, target, "error_after")
    assert refused(target.write)[:2] == (FAILURES[target.service], 500)
    assert target.happened()


def test_drop_before_the_effect(aws: Emulator, target: Target) -> None:
    add(aws, target, "drop_before")
    with pytest.raises(ConnectionClosedError):
        target.write()
    assert not target.happened()


def test_drop_after_the_effect(aws: Emulator, target: Target) -> None:
    add(aws, target, "drop_after")
    with pytest.raises(ConnectionClosedError):
        target.write()
    assert target.happened()


def test_delay(aws: Emulator, target: Target) -> None:
    add(aws, target, "delay", delay_ms=80)
    started = time.monotonic()
    target.write()
    assert time.monotonic() - started >= 0.08
    assert target.happened()


def test_a_cut_answer_looks_like_success_without_content_to_boto3(aws: Emulator, dynamodb: Any, table: str) -> None:
    """The trap that the pipeline's clients have to see through."""
    dynamodb.put_item(TableName=table, Item={"k": {"S": "key"}})
    aws.faults.add(Fault(service="dynamodb", operation="GetItem", kind="cut", times=1))
    answer = dynamodb.get_item(TableName=table, Key={"k": {"S": "key"}})
    assert "Item" not in answer
    assert "Item" in dynamodb.get_item(TableName=table, Key={"k": {"S": "key"}})


def test_expired_iterators(aws: Emulator, kinesis: Any, stream: str) -> None:
    start = iterator(kinesis, stream, FIRST)
    aws.faults.add(Fault(service="kinesis", kind="expire_iterator", times=1))
    kinesis.put_record(StreamName=stream, Data=b"x", PartitionKey="k")  # concerns GetRecords alone
    assert refused(kinesis.get_records, ShardIterator=start)[:2] == ("ExpiredIteratorException", 400)
    assert "NextShardIterator" in kinesis.get_records(ShardIterator=start)


def test_control_operations_are_throttled_by_their_own_error(
    aws: Emulator, kinesis: Any, dynamodb: Any, stream: str, table: str
) -> None:
    for service in ("kinesis", "dynamodb"):
        aws.faults.add(msgspec.convert({"service": service, "kind": "throttle"}, Fault))
    assert refused(kinesis.list_shards, StreamName=stream)[0] == "LimitExceededException"
    assert refused(dynamodb.describe_table, TableName=table)[0] == "LimitExceededException"


def test_partial_failures_of_put_records(aws: Emulator, kinesis: Any, stream: str) -> None:
    aws.faults.add(Fault(service="kinesis", kind="partial", indexes=(0, 2, 9), error_code="InternalFailure", times=1))
    records = [{"Data": str(number).encode(), "PartitionKey": str(number)} for number in range(5)]
    answer = kinesis.put_records(StreamName=stream, Records=records)
    assert answer["FailedRecordCount"] == 2
    assert [one.get("ErrorCode") for one in answer["Records"]] == [
        "InternalFailure",
        None,
        "InternalFailure",
        None,
        None,
    ]
    assert [record.data for record in aws.kinesis.records(stream)] == [b"1", b"3", b"4"]


def test_a_fault_strikes_its_operation_and_its_match_only(aws: Emulator, kinesis: Any, stream: str) -> None:
    aws.faults.add(Fault(service="kinesis", operation="PutRecord", kind="throttle"))
    aws.faults.add(Fault(service="kinesis", operation="GetShardIterator", kind="throttle", match=f"{stream}/{FIRST}"))
    kinesis.list_shards(StreamName=stream)
    assert refused(kinesis.put_record, StreamName=stream, Data=b"x", PartitionKey="k")[1] == 400
    iterator(kinesis, stream, "shardId-000000000001")
    where = {"StreamName": stream, "ShardId": FIRST, "ShardIteratorType": "LATEST"}
    assert refused(kinesis.get_shard_iterator, **where)[1] == 400


def struck(faults: Faults, calls: int) -> list[bool]:
    return [faults.strike("s3", "PutObject", "b/k", 0).kind is not None for _ in range(calls)]


def test_skip_and_times() -> None:
    faults = Faults()
    faults.add(Fault(service="s3", kind="throttle", skip=2, times=2))
    assert struck(faults, 6) == [False, False, True, True, False, False]
    assert faults.active() == []


def test_chance_is_the_same_for_the_same_seed() -> None:
    def pattern(seed: int) -> list[bool]:
        faults = Faults()
        faults.add(Fault(service="s3", kind="throttle", probability=0.5, seed=seed))
        return struck(faults, 200)

    assert pattern(1) == pattern(1) != pattern(2)
    assert 60 < sum(pattern(1)) < 140


def test_record_chance_is_the_same_for_the_same_seed() -> None:
    def pattern(seed: int) -> frozenset[int]:
        faults = Faults()
        faults.add(Fault(service="firehose", kind="partial", record_probability=0.3, seed=seed))
        return faults.strike("firehose", "PutRecordBatch", "d", 500).failed

    assert pattern(1) == pattern(1) != pattern(2)
    assert 100 < len(pattern(1)) < 200


def test_delays_add_up_and_the_first_other_fault_wins() -> None:
    faults = Faults()
    faults.add(Fault(service="s3", kind="delay", delay_ms=5))
    faults.add(Fault(service="s3", kind="delay", delay_ms=7))
    faults.add(Fault(service="s3", kind="throttle", times=1))
    faults.add(Fault(service="s3", kind="cut", times=1))
    strikes = [faults.strike("s3", "GetObject", "", 0) for _ in range(3)]
    assert [strike.delay_ms for strike in strikes] == [12, 12, 12]
    assert [strike.kind for strike in strikes] == ["throttle", "cut", None]


def test_faults_are_listed_and_removed() -> None:
    faults = Faults()
    first = faults.add(Fault(service="s3", kind="throttle"))
    second = faults.add(Fault(service="s3", kind="cut"))
    struck(faults, 3)
    assert [(one.id, one.met, one.struck) for one in faults.active()] == [(first, 3, 3), (second, 0, 0)]
    assert faults.remove(first)
    assert not faults.remove(first)
    assert [one.id for one in faults.active()] == [second]
    faults.clear()
    assert not any(struck(faults, 3))


@pytest.mark.parametrize(
    "wrong",
    [
        {"kind": "throttle", "probability": 1.5},
        {"kind": "throttle", "times": 0},
        {"kind": "throttle", "skip": -1},
        {"kind": "throttle", "delay_ms": 5},
        {"kind": "delay"},
        {"kind": "partial"},
        {"kind": "cut", "indexes": [1]},
        {"kind": "explode"},
        {"kind": "cut", "service": "lambda"},
        {"kind": "cut", "typo": 1},
    ],
)
def test_faults_that_make_no_sense(wrong: dict[str, Any]) -> None:
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert({"service": "s3", **wrong}, Fault)
