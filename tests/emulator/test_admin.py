"""The emulator's own interface, by HTTP."""

from __future__ import annotations

from typing import Any

import pytest
import urllib3

from consumer.emulator.calls import CALLS_MAX, Calls
from consumer.emulator.server import Emulator
from tests.emulator.kinesis_reader import refused


class Admin:
    """Calls the interface."""

    def __init__(self, endpoint: str) -> None:
        self._endpoint = endpoint

    def __call__(self, method: str, path: str, document: Any = None) -> tuple[int, Any]:
        with urllib3.PoolManager() as pool:
            answer = pool.request(method, f"{self._endpoint}/_streamgauge/{path}", json=document)
            return answer.status, answer.json()


@pytest.fixture
def admin(aws: Emulator) -> Admin:
    return Admin(aws.endpoint)


def test_health(admin: Admin, stream: str) -> None:
    status, health = admin("GET", "health")
    assert (status, health["status"]) == (200, "ok")
    assert stream in health["streams"]


def test_faults_are_added_listed_and_removed(admin: Admin, aws: Emulator, kinesis: Any, stream: str) -> None:
    fault = {"service": "kinesis", "operation": "ListShards", "kind": "throttle"}
    _, added = admin("POST", "faults", fault)
    assert refused(kinesis.list_shards, StreamName=stream)[0] == "LimitExceededException"
    _, listed = admin("GET", "faults")
    [active] = listed["faults"]
    assert (active["id"], active["struck"], active["fault"]["kind"]) == (added["id"], 1, "throttle")
    assert admin("DELETE", f"faults/{added['id']}") == (200, {})
    assert admin("DELETE", f"faults/{added['id']}")[0] == 404
    kinesis.list_shards(StreamName=stream)
    admin("POST", "faults", fault)
    assert admin("DELETE", "faults") == (200, {})
    assert aws.faults.active() == []


def test_settings_are_changed_by_name(admin: Admin, aws: Emulator) -> None:
    _, before = admin("GET", "settings")
    assert before == {"limits": False, "state_delay_ms": 0, "put_latency_ms": 0, "journal": True}
    status, after = admin("POST", "settings", {"limits": True, "put_latency_ms": 7})
    assert (status, after) == (200, {**before, "limits": True, "put_latency_ms": 7})
    assert aws.settings.limits


def test_the_journal_is_read_from_a_number_and_cleared(admin: Admin, aws: Emulator, kinesis: Any, stream: str) -> None:
    admin("DELETE", "calls")
    kinesis.put_record(StreamName=stream, Data=b"x", PartitionKey="k")
    aws.client("sts").get_caller_identity()
    _, both = admin("GET", "calls")
    [put, identity] = both["calls"]
    assert {name: put[name] for name in ("service", "operation", "coordinates", "fault", "status")} == {
        "service": "kinesis",
        "operation": "PutRecord",
        "coordinates": stream,
        "fault": None,
        "status": 200,
    }
    assert admin("GET", f"calls?after={put['number']}")[1]["calls"] == [identity]
    assert admin("GET", "calls?service=kinesis")[1]["calls"] == [put]
    aws.settings.change(journal=False)
    kinesis.list_shards(StreamName=stream)
    assert len(admin("GET", "calls")[1]["calls"]) == 2


def test_the_journal_shows_what_struck_a_call(admin: Admin, aws: Emulator, kinesis: Any, stream: str) -> None:
    last = aws.calls.enter("test", "", "", None).number
    admin("POST", "faults", {"service": "kinesis", "operation": "PutRecord", "kind": "error_after", "times": 1})
    refused(kinesis.put_record, StreamName=stream, Data=b"x", PartitionKey="k")
    [entry] = aws.calls.entries(after=last)
    assert (entry.fault, entry.status) == ("error_after", 500)


def test_the_journal_is_bounded() -> None:
    calls = Calls(lambda: 0)
    for _ in range(CALLS_MAX + 10):
        calls.enter("s3", "GetObject", "", None)
    entries = calls.entries()
    assert (len(entries), entries[0].number) == (CALLS_MAX, 11)


def test_put_latency_delays_puts_alone(admin: Admin, aws: Emulator, kinesis: Any, stream: str) -> None:
    admin("POST", "settings", {"put_latency_ms": 60_000})
    kinesis.list_shards(StreamName=stream)
    aws.settings.change(put_latency_ms=0)
    kinesis.put_record(StreamName=stream, Data=b"x", PartitionKey="k")


def test_firehose_is_flushed(admin: Admin, aws: Emulator, firehose: Any, s3: Any, bucket: str) -> None:
    where = {"BucketARN": f"arn:aws:s3:::{bucket}", "RoleARN": "r"}
    firehose.create_delivery_stream(DeliveryStreamName=bucket, S3DestinationConfiguration=where)
    firehose.put_record(DeliveryStreamName=bucket, Record={"Data": b"x"})
    assert admin("GET", "health")[1]["undelivered_bytes"] == 1
    assert admin("POST", "firehose/flush") == (200, {})
    assert s3.list_objects_v2(Bucket=bucket)["KeyCount"] == 1
    assert admin("GET", "health")[1]["undelivered_bytes"] == 0


def test_a_flush_into_a_missing_bucket_says_so_and_keeps_the_data(
    admin: Admin, aws: Emulator, firehose: Any, s3: Any, name: str
) -> None:
    where = {"BucketARN": f"arn:aws:s3:::late-{name}", "RoleARN": "r"}
    firehose.create_delivery_stream(DeliveryStreamName=name, S3DestinationConfiguration=where)
    firehose.put_record(DeliveryStreamName=name, Record={"Data": b"x"})
    status, answer = admin("POST", "firehose/flush")
    assert status == 502
    assert "NoSuchBucket" in answer["error"]
    s3.create_bucket(Bucket=f"late-{name}")
    assert admin("POST", "firehose/flush")[0] == 200
    assert s3.list_objects_v2(Bucket=f"late-{name}")["KeyCount"] == 1


@pytest.mark.parametrize(
    ("method", "path", "document", "status"),
    [
        ("GET", "nothing", None, 404),
        ("POST", "health", None, 404),
        ("POST", "firehose/drain", None, 404),
        ("DELETE", "faults/word", None, 400),
        ("GET", "calls?after=word", None, 400),
        ("POST", "faults", {"service": "s3"}, 400),
        ("POST", "faults", {"service": "s3", "kind": "delay"}, 400),
        ("POST", "settings", {"typo": 1}, 400),
        ("POST", "settings", {"put_latency_ms": -1}, 400),
        ("POST", "settings", [], 400),
    ],
)
def test_mistakes_are_explained(admin: Admin, method: str, path: str, document: Any, status: int) -> None:
    found, answer = admin(method, path, document)
    assert found == status
    assert answer["error"]
