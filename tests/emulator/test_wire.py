"""JSON 1.1 and CBOR 1.1: the same answers in both, by HTTP/1.1 and by HTTP/2."""

from __future__ import annotations

import json
from base64 import b64decode, b64encode
from collections.abc import Callable, Iterator
from typing import Any

import cbor2
import pytest
import urllib3

from consumer.emulator.server import Emulator
from consumer.emulator.wire import CBOR_TYPE, JSON_TYPE, aws_name
from tests.emulator.h2_client import H2Client
from tests.emulator.kinesis_reader import FIRST

Call = Callable[[str, dict[str, Any]], tuple[int, Any]]


def raw_tags(body: bytes) -> Any:
    return cbor2.loads(body, semantic_decoders={1: lambda value, _immutable: cbor2.CBORTag(1, value)})


@pytest.fixture(params=["json", "cbor"])
def content_type(request: pytest.FixtureRequest) -> str:
    return JSON_TYPE if request.param == "json" else CBOR_TYPE


@pytest.fixture(params=["http1", "http2"])
def call(request: pytest.FixtureRequest, aws: Emulator, content_type: str) -> Iterator[Call]:
    def encode(document: dict[str, Any]) -> bytes:
        return cbor2.dumps(document) if content_type == CBOR_TYPE else json.dumps(document).encode()

    def decode(body: bytes) -> Any:
        return raw_tags(body) if content_type == CBOR_TYPE else json.loads(body)

    if request.param == "http1":
        with urllib3.PoolManager() as pool:

            def by_http1(operation: str, document: dict[str, Any]) -> tuple[int, Any]:
                headers = {"X-Amz-Target": f"Kinesis_20131202.{operation}", "Content-Type": content_type}
                answer = pool.request("POST", aws.endpoint, body=encode(document), headers=headers)
                assert answer.headers["Content-Type"] == content_type
                return answer.status, decode(answer.data)

            yield by_http1
    else:
        with H2Client(aws.endpoint) as client:

            def by_http2(operation: str, document: dict[str, Any]) -> tuple[int, Any]:
                answer = client.call(f"Kinesis_20131202.{operation}", encode(document), content_type)
                assert answer.headers["content-type"] == content_type
                assert int(answer.headers["content-length"]) == len(answer.body)
                return answer.status, decode(answer.body)

            yield by_http2


def test_a_record_comes_back_in_the_reader_s_encoding(
    aws: Emulator, call: Call, content_type: str, stream: str
) -> None:
    is_cbor = content_type == CBOR_TYPE
    data = bytes(range(256))
    sent = data if is_cbor else b64encode(data).decode()
    status, placed = call(
        "PutRecords",
        {"StreamName": stream, "Records": [{"Data": sent, "PartitionKey": "ключ", "ExplicitHashKey": "0"}] * 30},
    )
    assert (status, placed["FailedRecordCount"]) == (200, 0)
    where = {"StreamName": stream, "ShardId": FIRST, "ShardIteratorType": "TRIM_HORIZON"}
    _, answer = call("GetShardIterator", where)
    status, answer = call("GetRecords", answer)
    assert status == 200
    assert len(answer["Records"]) == 30
    record = answer["Records"][7]
    stored = aws.kinesis.records(stream)[7]
    assert record["SequenceNumber"] == placed["Records"][7]["SequenceNumber"]
    assert (record["Data"] if is_cbor else b64decode(record["Data"])) == data
    assert record["PartitionKey"] == "ключ"
    arrival = record["ApproximateArrivalTimestamp"]
    assert arrival == (cbor2.CBORTag(1, stored.arrival_ms) if is_cbor else stored.arrival_ms / 1000)


def test_a_time_in_a_request(aws: Emulator, call: Call, content_type: str, stream: str) -> None:
    """CBOR 1.1 sends tag 1 with milliseconds, though the tag is made for seconds."""
    aws.kinesis.put_record(stream, "k", b"x")
    [record] = aws.kinesis.records(stream)
    shard = next(shard for shard, log in aws.kinesis.stream(stream).shards.items() if len(log.log))
    for offset_ms, expected in ((0, 1), (1, 0)):
        time_ms = record.arrival_ms + offset_ms
        if time_ms > aws.kinesis.now_ms():
            continue
        timestamp: Any = cbor2.CBORTag(1, time_ms) if content_type == CBOR_TYPE else time_ms / 1000
        where = {"StreamName": stream, "ShardId": shard, "ShardIteratorType": "AT_TIMESTAMP", "Timestamp": timestamp}
        status, found = call("GetShardIterator", where)
        assert status == 200, found
        assert len(call("GetRecords", found)[1]["Records"]) == expected


def test_a_time_in_an_answer(aws: Emulator, call: Call, content_type: str, stream: str) -> None:
    _, answer = call("DescribeStreamSummary", {"StreamName": stream})
    created_ms = aws.kinesis.stream(stream).created_ms
    created = answer["StreamDescriptionSummary"]["StreamCreationTimestamp"]
    assert created == (cbor2.CBORTag(1, created_ms) if content_type == CBOR_TYPE else created_ms / 1000)


def test_an_error(call: Call) -> None:
    status, answer = call("DescribeStream", {"StreamName": "nowhere"})
    assert status == 400
    assert answer == {
        "__type": "ResourceNotFoundException",
        "message": "Stream nowhere under account 123456789012 not found.",
    }


def test_missing_and_wrong_members(call: Call) -> None:
    for document in ({}, {"ShardIterator": 5}):
        status, answer = call("GetRecords", document)
        assert (status, answer["__type"]) == (400, "ValidationException")


def test_an_unknown_operation(call: Call) -> None:
    status, answer = call("MakeCoffee", {})
    assert (status, answer["__type"]) == (400, "UnknownOperationException")


@pytest.mark.parametrize("body", [b"{", b"\xff\xff", b'{"StreamName": '])
def test_what_cannot_be_read(aws: Emulator, content_type: str, body: bytes) -> None:
    with H2Client(aws.endpoint) as client:
        answer = client.call("Kinesis_20131202.DescribeStream", body, content_type)
    assert answer.status == 400
    assert answer.headers["x-amzn-errortype"] in ("SerializationException", "ValidationException")


def test_names_are_aws_names() -> None:
    names = [aws_name(field) for field in ("stream_arn", "size_in_mbs", "max_record_size_in_kib", "limit")]
    assert names == ["StreamARN", "SizeInMBs", "MaxRecordSizeInKiB", "Limit"]
