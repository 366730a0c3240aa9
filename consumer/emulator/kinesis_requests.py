"""The requests of Kinesis, as far as the emulator reads them."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec

from consumer.emulator.wire import aws_name

StreamName = Annotated[str, msgspec.Meta(min_length=1, max_length=128, pattern=r"^[a-zA-Z0-9_.-]+$")]
PartitionKey = Annotated[str, msgspec.Meta(min_length=1, max_length=256)]
PageSize = Annotated[int, msgspec.Meta(ge=1, le=10_000)]


class KinesisRequest(msgspec.Struct, rename=aws_name, kw_only=True, frozen=True):
    """What all have in common: AWS' names, and members nobody knows are passed over."""


class StreamRequest(KinesisRequest, frozen=True, kw_only=True):
    """A request about one stream, named or by its ARN."""

    stream_name: StreamName | None = None
    stream_arn: str | None = None

    @property
    def named(self) -> str:
        """The stream's name, empty if the request has none."""
        if self.stream_name is not None:
            return self.stream_name
        return (self.stream_arn or "").rpartition(":stream/")[2]


class StreamModeDetails(KinesisRequest, frozen=True):
    """How the stream scales."""

    stream_mode: Literal["PROVISIONED", "ON_DEMAND"]


class CreateStream(KinesisRequest, frozen=True):
    """CreateStream."""

    stream_name: StreamName
    shard_count: Annotated[int, msgspec.Meta(ge=1)] | None = None
    stream_mode_details: StreamModeDetails | None = None
    max_record_size_in_kib: Annotated[int, msgspec.Meta(ge=1024, le=10_240)] = 1024


class DeleteStream(StreamRequest, frozen=True):
    """DeleteStream."""


class DescribeStream(StreamRequest, frozen=True):
    """DescribeStream."""

    limit: PageSize = 100
    exclusive_start_shard_id: str | None = None


class DescribeStreamSummary(StreamRequest, frozen=True):
    """DescribeStreamSummary."""


class ListStreams(KinesisRequest, frozen=True):
    """ListStreams."""

    limit: PageSize = 100
    exclusive_start_stream_name: str | None = None
    next_token: str | None = None


class ShardFilter(KinesisRequest, frozen=True):
    """Which shards to list; `timestamp` in epoch seconds."""

    type: Literal[
        "AFTER_SHARD_ID", "AT_TRIM_HORIZON", "FROM_TRIM_HORIZON", "AT_LATEST", "AT_TIMESTAMP", "FROM_TIMESTAMP"
    ]
    shard_id: str | None = None
    timestamp: float | None = None


class ListShards(StreamRequest, frozen=True):
    """ListShards."""

    next_token: str | None = None
    exclusive_start_shard_id: str | None = None
    max_results: PageSize = 1000
    shard_filter: ShardFilter | None = None


class GetShardIterator(StreamRequest, frozen=True):
    """GetShardIterator; `timestamp` in epoch seconds."""

    shard_id: str
    shard_iterator_type: Literal[
        "AT_SEQUENCE_NUMBER", "AFTER_SEQUENCE_NUMBER", "TRIM_HORIZON", "LATEST", "AT_TIMESTAMP"
    ]
    starting_sequence_number: str | None = None
    timestamp: float | None = None


class GetRecords(KinesisRequest, frozen=True):
    """GetRecords."""

    shard_iterator: str
    limit: Annotated[int, msgspec.Meta(ge=1)] = 10_000


class PutRecord(StreamRequest, frozen=True):
    """PutRecord."""

    data: bytes
    partition_key: PartitionKey
    explicit_hash_key: str | None = None


class PutRecordsEntry(KinesisRequest, frozen=True, gc=False):
    """One record of PutRecords."""

    data: bytes
    partition_key: PartitionKey
    explicit_hash_key: str | None = None


class PutRecords(StreamRequest, frozen=True):
    """PutRecords."""

    records: Annotated[list[PutRecordsEntry], msgspec.Meta(min_length=1, max_length=500)]


class SplitShard(StreamRequest, frozen=True):
    """SplitShard."""

    shard_to_split: str
    new_starting_hash_key: str


class MergeShards(StreamRequest, frozen=True):
    """MergeShards."""

    shard_to_merge: str
    adjacent_shard_to_merge: str


class UpdateShardCount(StreamRequest, frozen=True):
    """UpdateShardCount."""

    target_shard_count: Annotated[int, msgspec.Meta(ge=1)]
    scaling_type: Literal["UNIFORM_SCALING"]
