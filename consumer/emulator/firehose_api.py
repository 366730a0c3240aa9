"""The operations of Firehose: AWS' requests in, AWS' answers out; the buffers are in `firehose`."""

from __future__ import annotations

from typing import Annotated, Any
from uuid import uuid4

import msgspec

from consumer.emulator.errors import AwsError, constraint, invalid
from consumer.emulator.faults import Strike
from consumer.emulator.firehose import Destination, Firehose
from consumer.emulator.limits import MIB
from consumer.emulator.service import AwsJsonService, Call, Operation, Result
from consumer.emulator.wire import Timestamp, aws_name

RECORD_BYTES_MAX = 1_000 * 1024
BATCH_RECORDS_MAX = 500
BATCH_BYTES_MAX = 4 * MIB
BUCKET_ARN = "arn:aws:s3:::"

StreamName = Annotated[str, msgspec.Meta(min_length=1, max_length=64, pattern=r"^[a-zA-Z0-9_.-]+$")]


class FirehoseRequest(msgspec.Struct, rename=aws_name, kw_only=True, frozen=True):
    """What all have in common: AWS' names, and members nobody knows are passed over."""


class BufferingHints(FirehoseRequest, frozen=True):
    """When a buffer is written: at a size, or after a time."""

    size_in_mbs: Annotated[int, msgspec.Meta(ge=1, le=128)] = 5
    interval_in_seconds: Annotated[int, msgspec.Meta(ge=0, le=900)] = 300


class Feature(FirehoseRequest, frozen=True):
    """A feature that the emulator does not have; it may be named as long as it is off."""

    enabled: bool = False


class S3Destination(FirehoseRequest, frozen=True):
    """The members that S3 and ExtendedS3 destinations share, and what must not be asked for."""

    bucket_arn: str = msgspec.field(name="BucketARN")
    role_arn: str = msgspec.field(name="RoleARN", default="")
    prefix: str = ""
    buffering_hints: BufferingHints = BufferingHints()
    compression_format: str = "UNCOMPRESSED"
    processing_configuration: Feature = Feature()
    dynamic_partitioning_configuration: Feature = Feature()
    data_format_conversion_configuration: Feature = Feature()


class CreateDeliveryStream(FirehoseRequest, frozen=True):
    """CreateDeliveryStream."""

    delivery_stream_name: StreamName
    delivery_stream_type: str = "DirectPut"
    s3_destination_configuration: S3Destination | None = msgspec.field(name="S3DestinationConfiguration", default=None)
    extended_s3_destination_configuration: S3Destination | None = msgspec.field(
        name="ExtendedS3DestinationConfiguration", default=None
    )


class OneDeliveryStream(FirehoseRequest, frozen=True):
    """DescribeDeliveryStream, DeleteDeliveryStream."""

    delivery_stream_name: StreamName


class ListDeliveryStreams(FirehoseRequest, frozen=True):
    """ListDeliveryStreams."""

    limit: Annotated[int, msgspec.Meta(ge=1, le=10_000)] = 10
    exclusive_start_delivery_stream_name: str | None = None
    delivery_stream_type: str | None = None


class FirehoseRecord(FirehoseRequest, frozen=True):
    """One record."""

    data: bytes


class PutRecord(FirehoseRequest, frozen=True):
    """PutRecord."""

    delivery_stream_name: StreamName
    record: FirehoseRecord


class PutRecordBatch(FirehoseRequest, frozen=True):
    """PutRecordBatch."""

    delivery_stream_name: StreamName
    records: Annotated[list[FirehoseRecord], msgspec.Meta(min_length=1, max_length=BATCH_RECORDS_MAX)]


class FirehoseApi:
    """The operations, one method each, named as AWS names them."""

    def __init__(self, firehose: Firehose) -> None:
        self._firehose = firehose

    def CreateDeliveryStream(self, request: CreateDeliveryStream, _strike: Strike) -> Result:
        """Make a delivery stream with an S3 destination."""
        if request.delivery_stream_type != "DirectPut":
            raise _unserved(f"delivery stream type {request.delivery_stream_type}")
        wanted = request.extended_s3_destination_configuration or request.s3_destination_configuration
        if wanted is None:
            raise _unserved("destination other than S3")
        stream = self._firehose.create(request.delivery_stream_name, _destination(wanted))
        return {"DeliveryStreamARN": stream.arn}

    def DescribeDeliveryStream(self, request: OneDeliveryStream, _strike: Strike) -> Result:
        """Describe a delivery stream."""
        stream = self._firehose.stream(request.delivery_stream_name)
        described = {
            "DeliveryStreamName": stream.name,
            "DeliveryStreamARN": stream.arn,
            "DeliveryStreamStatus": self._firehose.status(stream.name),
            "DeliveryStreamType": "DirectPut",
            "VersionId": "1",
            "CreateTimestamp": Timestamp(stream.created_ms),
            "Destinations": [_describe(stream.destination)],
            "HasMoreDestinations": False,
        }
        return {"DeliveryStreamDescription": described}

    def DeleteDeliveryStream(self, request: OneDeliveryStream, _strike: Strike) -> Result:
        """Delete a delivery stream."""
        self._firehose.delete(request.delivery_stream_name)
        return {}

    def ListDeliveryStreams(self, request: ListDeliveryStreams, _strike: Strike) -> Result:
        """List delivery streams in order of name."""
        after = request.exclusive_start_delivery_stream_name or ""
        names = [name for name in self._firehose.names() if name > after]
        page = names[: request.limit]
        return {"DeliveryStreamNames": page, "HasMoreDeliveryStreams": len(page) < len(names)}

    def PutRecord(self, request: PutRecord, _strike: Strike) -> Result:
        """Put one record."""
        _check_record(request.record, "record.data")
        self._firehose.put(request.delivery_stream_name, [request.record.data])
        return {"RecordId": _record_id(), "Encrypted": False}

    def PutRecordBatch(self, request: PutRecordBatch, strike: Strike) -> Result:
        """Put many records; answers come in the order of the request."""
        for number, record in enumerate(request.records, 1):
            _check_record(record, f"records.{number}.member.data")
        if sum(len(record.data) for record in request.records) > BATCH_BYTES_MAX:
            raise invalid("Records size exceeds 4 MB limit")
        codes = [strike.error_code(index) for index in range(len(request.records))]
        kept = [record.data for record, code in zip(request.records, codes, strict=True) if code is None]
        self._firehose.put(request.delivery_stream_name, kept)
        answers = [_refused(code) if code else {"RecordId": _record_id()} for code in codes]
        return {"FailedPutCount": len(codes) - len(kept), "Encrypted": False, "RequestResponses": answers}


def firehose_service(firehose: Firehose) -> AwsJsonService:
    """Return the service in front of the delivery streams."""
    api = FirehoseApi(firehose)
    operations: dict[str, Operation[Any]] = {
        "CreateDeliveryStream": Operation(CreateDeliveryStream, api.CreateDeliveryStream, _stream_of),
        "DescribeDeliveryStream": Operation(OneDeliveryStream, api.DescribeDeliveryStream, _stream_of),
        "DeleteDeliveryStream": Operation(OneDeliveryStream, api.DeleteDeliveryStream, _stream_of),
        "ListDeliveryStreams": Operation(ListDeliveryStreams, api.ListDeliveryStreams, lambda _request: ""),
        "PutRecord": Operation(PutRecord, api.PutRecord, _stream_of, put=True),
        "PutRecordBatch": Operation(
            PutRecordBatch, api.PutRecordBatch, _stream_of, batch=lambda request: len(request.records), put=True
        ),
    }
    return AwsJsonService("firehose", operations, _throttle)


def _throttle(call: Call) -> AwsError:
    if call.put:
        return AwsError("ServiceUnavailableException", "Slow down.", 503)
    return AwsError("LimitExceededException", f"Rate exceeded for {call.operation}.")


def _stream_of(request: CreateDeliveryStream | OneDeliveryStream | PutRecord | PutRecordBatch) -> str:
    return request.delivery_stream_name


def _unserved(what: str) -> AwsError:
    return invalid(f"The embedded Firehose has no {what}.")


def _destination(wanted: S3Destination) -> Destination:
    if not wanted.bucket_arn.startswith(BUCKET_ARN):
        raise constraint("bucketARN", f"start with {BUCKET_ARN}")
    if "!{" in wanted.prefix:
        raise _unserved("expressions in the prefix")
    if wanted.compression_format not in ("UNCOMPRESSED", "GZIP"):
        raise _unserved(f"compression {wanted.compression_format}")
    if wanted.processing_configuration.enabled or wanted.dynamic_partitioning_configuration.enabled:
        raise _unserved("processing")
    if wanted.data_format_conversion_configuration.enabled:
        raise _unserved("format conversion")
    return Destination(
        bucket=wanted.bucket_arn.removeprefix(BUCKET_ARN),
        prefix=wanted.prefix,
        buffer_bytes=wanted.buffering_hints.size_in_mbs * MIB,
        buffer_ms=wanted.buffering_hints.interval_in_seconds * 1000,
        compressed=wanted.compression_format == "GZIP",
    )


def _describe(destination: Destination) -> Result:
    described = {
        "RoleARN": "arn:aws:iam::123456789012:role/embedded",
        "BucketARN": f"{BUCKET_ARN}{destination.bucket}",
        "Prefix": destination.prefix,
        "BufferingHints": {
            "SizeInMBs": destination.buffer_bytes // MIB,
            "IntervalInSeconds": destination.buffer_ms // 1000,
        },
        "CompressionFormat": "GZIP" if destination.compressed else "UNCOMPRESSED",
        "EncryptionConfiguration": {"NoEncryptionConfig": "NoEncryption"},
    }
    return {
        "DestinationId": "destinationId-000000000001",
        "S3DestinationDescription": described,
        "ExtendedS3DestinationDescription": described,
    }


def _check_record(record: FirehoseRecord, member: str) -> None:
    if len(record.data) > RECORD_BYTES_MAX:
        raise constraint(member, f"have length less than or equal to {RECORD_BYTES_MAX}")


def _record_id() -> str:
    return uuid4().hex


def _refused(code: str) -> Result:
    message = "Slow down." if code == "ServiceUnavailableException" else "Internal service failure."
    return {"ErrorCode": code, "ErrorMessage": message}
