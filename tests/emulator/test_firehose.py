"""Firehose by boto3: limits, partial failures, buffering, what arrives in S3."""

from __future__ import annotations

import gzip
import time
from typing import Any

import pytest

from consumer.emulator.errors import AwsError
from consumer.emulator.faults import Fault
from consumer.emulator.firehose import Destination, Firehose
from consumer.emulator.server import Emulator
from consumer.emulator.settings import Settings
from tests.emulator.conftest import MovableClock
from tests.emulator.kinesis_reader import refused

MIB = 1024 * 1024


def create(firehose: Any, bucket: str, **destination: Any) -> str:
    where = {"BucketARN": f"arn:aws:s3:::{bucket}", "RoleARN": "arn:aws:iam::123456789012:role/r", **destination}
    firehose.create_delivery_stream(DeliveryStreamName=bucket, ExtendedS3DestinationConfiguration=where)
    return bucket


def objects(s3: Any, bucket: str) -> dict[str, bytes]:
    listed = s3.list_objects_v2(Bucket=bucket).get("Contents", [])
    return {one["Key"]: s3.get_object(Bucket=bucket, Key=one["Key"])["Body"].read() for one in listed}


def await_objects(s3: Any, bucket: str, count: int) -> dict[str, bytes]:
    deadline = time.monotonic() + 20
    while len(found := objects(s3, bucket)) < count:
        assert time.monotonic() < deadline, found.keys()
        time.sleep(0.02)
    return found


def put(firehose: Any, stream: str, *records: bytes) -> Any:
    return firehose.put_record_batch(DeliveryStreamName=stream, Records=[{"Data": data} for data in records])


def test_records_arrive_joined_without_a_delimiter(aws: Emulator, firehose: Any, s3: Any, bucket: str) -> None:
    stream = create(firehose, bucket, Prefix="rows/")
    answer = put(firehose, stream, b"a", b"b\n", b"c")
    assert answer["FailedPutCount"] == 0
    assert all(set(one) == {"RecordId"} for one in answer["RequestResponses"])
    firehose.put_record(DeliveryStreamName=stream, Record={"Data": b"d"})
    assert objects(s3, bucket) == {}
    aws.firehose.flush()
    [(key, body)] = objects(s3, bucket).items()
    assert body == b"ab\ncd"
    hour = time.strftime("%Y/%m/%d/%H/", time.gmtime(aws.firehose.now_ms() / 1000))
    assert key.startswith(f"rows/{hour}{stream}-1-")


def test_a_delivery_stream_is_described_and_deleted(aws: Emulator, firehose: Any, s3: Any, bucket: str) -> None:
    stream = create(firehose, bucket, Prefix="p/", BufferingHints={"SizeInMBs": 2, "IntervalInSeconds": 60})
    described = firehose.describe_delivery_stream(DeliveryStreamName=stream)["DeliveryStreamDescription"]
    assert described["DeliveryStreamStatus"] == "ACTIVE"
    assert described["DeliveryStreamARN"] == f"arn:aws:firehose:us-east-1:123456789012:deliverystream/{stream}"
    destination = described["Destinations"][0]["ExtendedS3DestinationDescription"]
    assert destination["BufferingHints"] == {"SizeInMBs": 2, "IntervalInSeconds": 60}
    assert destination["BucketARN"] == f"arn:aws:s3:::{bucket}"
    assert stream in firehose.list_delivery_streams(Limit=10_000)["DeliveryStreamNames"]
    put(firehose, stream, b"last words")
    firehose.delete_delivery_stream(DeliveryStreamName=stream)
    assert refused(firehose.describe_delivery_stream, DeliveryStreamName=stream)[0] == "ResourceNotFoundException"
    assert list(await_objects(s3, bucket, 1).values()) == [b"last words"]


def test_delivery_streams_are_listed_in_pages(aws: Emulator, firehose: Any, name: str) -> None:
    for letter in "abc":
        aws.firehose.create(f"{name}-{letter}", Destination("bucket"))
    page = firehose.list_delivery_streams(ExclusiveStartDeliveryStreamName=name, Limit=2)
    assert page["DeliveryStreamNames"] == [f"{name}-a", f"{name}-b"]
    assert page["HasMoreDeliveryStreams"]


def test_the_older_s3_destination(aws: Emulator, firehose: Any, s3: Any, bucket: str) -> None:
    where = {"BucketARN": f"arn:aws:s3:::{bucket}", "RoleARN": "r", "CompressionFormat": "GZIP"}
    firehose.create_delivery_stream(DeliveryStreamName=bucket, S3DestinationConfiguration=where)
    put(firehose, bucket, b"a\n", b"b\n")
    aws.firehose.flush()
    [(key, body)] = objects(s3, bucket).items()
    assert key.endswith(".gz")
    assert gzip.decompress(body) == b"a\nb\n"


def test_a_full_buffer_is_written(aws: Emulator, firehose: Any, s3: Any, bucket: str) -> None:
    stream = create(firehose, bucket, BufferingHints={"SizeInMBs": 1, "IntervalInSeconds": 900})
    for _ in range(5):
        put(firehose, stream, bytes(512 * 1024))
    assert [len(body) for body in await_objects(s3, bucket, 2).values()] == [MIB, MIB]


def test_an_old_buffer_is_written(aws: Emulator, clock: MovableClock, firehose: Any, s3: Any, bucket: str) -> None:
    stream = create(firehose, bucket, BufferingHints={"SizeInMBs": 1, "IntervalInSeconds": 60})
    put(firehose, stream, b"old")
    clock.advance(60_000)
    assert list(await_objects(s3, bucket, 1).values()) == [b"old"]


@pytest.mark.parametrize("code", ["ServiceUnavailableException", "InternalFailure"])
def test_partial_failures_come_in_the_order_of_the_request(
    aws: Emulator, firehose: Any, s3: Any, bucket: str, code: Any
) -> None:
    stream = create(firehose, bucket)
    aws.faults.add(Fault(service="firehose", kind="partial", indexes=(1, 3), error_code=code, times=1))
    answer = put(firehose, stream, b"0", b"1", b"2", b"3", b"4")
    assert answer["FailedPutCount"] == 2
    assert [one.get("ErrorCode") for one in answer["RequestResponses"]] == [None, code, None, code, None]
    assert all(("RecordId" in one) != ("ErrorMessage" in one) for one in answer["RequestResponses"])
    put(firehose, stream, b"1", b"3")
    aws.firehose.flush()
    assert list(objects(s3, bucket).values()) == [b"02413"]


def test_every_record_can_fail(aws: Emulator, firehose: Any, bucket: str) -> None:
    stream = create(firehose, bucket)
    aws.faults.add(Fault(service="firehose", kind="partial", record_probability=1.0, times=1))
    assert put(firehose, stream, b"0", b"1")["FailedPutCount"] == 2


@pytest.mark.parametrize(
    ("records", "code", "message"),
    [
        ([b"x"] * 501, "ValidationException", "500"),
        ([], "ValidationException", "1"),
        ([b"x", bytes(1_000 * 1024 + 1)], "ValidationException", "records.2.member.data"),
        ([bytes(900_000)] * 5, "InvalidArgumentException", "Records size exceeds 4 MB limit"),
    ],
)
def test_batches_beyond_the_limits_are_refused_as_a_whole(
    aws: Emulator, firehose: Any, bucket: str, records: list[bytes], code: str, message: str
) -> None:
    stream = create(firehose, bucket)
    found, status, text = (
        refused(put, firehose=firehose, stream=stream) if not records else _refused(firehose, stream, records)
    )
    assert (found, status) == (code, 400)
    assert message in text
    assert aws.firehose.stream(stream).records == []


def _refused(firehose: Any, stream: str, records: list[bytes]) -> tuple[str, int, str]:
    return refused(firehose.put_record_batch, DeliveryStreamName=stream, Records=[{"Data": data} for data in records])


def test_the_largest_record_and_batch_pass(aws: Emulator, firehose: Any, bucket: str) -> None:
    stream = create(firehose, bucket)
    assert put(firehose, stream, *[bytes(1_000 * 1024)] * 4)["FailedPutCount"] == 0
    assert put(firehose, stream, *[b"x"] * 500)["FailedPutCount"] == 0
    assert aws.firehose.stream(stream).buffered_bytes == 4 * 1_000 * 1024 + 500


def test_a_single_record_has_the_same_limit(firehose: Any, aws: Emulator, bucket: str) -> None:
    stream = create(firehose, bucket)
    too_large = {"Data": bytes(1_000 * 1024 + 1)}
    assert refused(firehose.put_record, DeliveryStreamName=stream, Record=too_large)[0] == "ValidationException"


@pytest.mark.parametrize(
    "destination",
    [
        {"CompressionFormat": "Snappy"},
        {"Prefix": "!{timestamp:yyyy}/"},
        {"ProcessingConfiguration": {"Enabled": True}},
        {"DynamicPartitioningConfiguration": {"Enabled": True}},
        {"DataFormatConversionConfiguration": {"Enabled": True}},
    ],
)
def test_what_it_cannot_do_is_refused_not_ignored(
    aws: Emulator, firehose: Any, name: str, destination: dict[str, Any]
) -> None:
    where = {"BucketARN": "arn:aws:s3:::b", "RoleARN": "r", **destination}
    error = refused(firehose.create_delivery_stream, DeliveryStreamName=name, ExtendedS3DestinationConfiguration=where)
    assert error[0] == "InvalidArgumentException"
    assert name not in aws.firehose.names()


@pytest.mark.parametrize(
    ("operation", "arguments", "code"),
    [
        ("put_record", {"DeliveryStreamName": "nowhere", "Record": {"Data": b""}}, "ResourceNotFoundException"),
        ("delete_delivery_stream", {"DeliveryStreamName": "nowhere"}, "ResourceNotFoundException"),
        ("create_delivery_stream", {"DeliveryStreamName": "no-destination"}, "InvalidArgumentException"),
        (
            "create_delivery_stream",
            {"DeliveryStreamName": "x", "DeliveryStreamType": "KinesisStreamAsSource"},
            "InvalidArgumentException",
        ),
        ("list_tags_for_delivery_stream", {"DeliveryStreamName": "nowhere"}, "UnknownOperationException"),
    ],
)
def test_errors_have_aws_names(
    aws: Emulator, firehose: Any, operation: str, arguments: dict[str, Any], code: str
) -> None:
    assert refused(getattr(firehose, operation), **arguments)[:2] == (code, 400)


def test_a_name_is_taken_once(aws: Emulator, firehose: Any, bucket: str) -> None:
    stream = create(firehose, bucket)
    where = {"BucketARN": "arn:aws:s3:::b", "RoleARN": "r"}
    error = refused(
        firehose.create_delivery_stream, DeliveryStreamName=stream, ExtendedS3DestinationConfiguration=where
    )
    assert error[0] == "ResourceInUseException"


def test_a_new_delivery_stream_takes_its_time_when_told(
    aws: Emulator, clock: MovableClock, firehose: Any, bucket: str
) -> None:
    aws.settings.change(state_delay_ms=60_000)
    stream = create(firehose, bucket)
    described = firehose.describe_delivery_stream(DeliveryStreamName=stream)["DeliveryStreamDescription"]
    assert described["DeliveryStreamStatus"] == "CREATING"
    assert (
        refused(firehose.put_record, DeliveryStreamName=stream, Record={"Data": b""})[0] == "ResourceNotFoundException"
    )
    clock.advance(60_000)
    put(firehose, stream, b"x")


class Bucket:
    """An S3 that can be out of order."""

    def __init__(self) -> None:
        self.bodies: list[bytes] = []
        self.broken = False

    def write(self, _bucket: str, _key: str, body: bytes) -> None:
        if self.broken:
            raise OSError("S3 is out of order")
        self.bodies.append(body)


def test_what_s3_does_not_take_is_kept_and_comes_later_in_order() -> None:
    bucket = Bucket()
    firehose = Firehose(lambda: 0, bucket.write, Settings())
    firehose.create("d", Destination("b", buffer_bytes=2))
    bucket.broken = True
    firehose.put("d", [b"aa", b"bb", b"c"])
    assert firehose.pending()
    with pytest.raises(OSError, match="out of order"):
        firehose.deliver()
    assert firehose.undelivered_bytes() == 5
    bucket.broken = False
    firehose.flush()
    assert bucket.bodies == [b"aa", b"bb", b"c"]
    assert firehose.undelivered_bytes() == 0
    assert not firehose.pending()


def test_a_put_to_an_unknown_stream_keeps_nothing() -> None:
    firehose = Firehose(lambda: 0, Bucket().write, Settings())
    with pytest.raises(AwsError, match="not found"):
        firehose.put("d", [b"x"])
