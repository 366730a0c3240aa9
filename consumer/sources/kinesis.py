"""What a worker has to know about a stream and its shards; the daemon tells neither.

Every answer is asked for what must be in it: a response that is cut off on the way reads as a success without
members, and a missing shard would be a refused one.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import boto3

from consumer.aws_errors import Meaning, meaning_of
from consumer.errors import RetryableError, SetupError
from consumer.sources import aws


class KinesisClient(Protocol):
    """What is called of boto3's Kinesis client."""

    def describe_stream_summary(self, *_: Any, **request: Any) -> Any:
        """Take `StreamName` or `StreamARN`; answer with `StreamDescriptionSummary`."""

    def list_shards(self, *_: Any, **request: Any) -> Any:
        """Take `StreamName` or `StreamARN`, `ShardFilter`, or `NextToken`; answer with `Shards`."""


def make_client(session: boto3.Session) -> KinesisClient:
    """Return a client with explicit time-outs; one serves all threads."""
    return session.client("kinesis", config=aws.CLIENT_CONFIG)


@dataclass(frozen=True, slots=True)
class StreamInfo:
    """A stream as DescribeStreamSummary tells it. `status` is ACTIVE, UPDATING, CREATING or DELETING.

    `ignores_partition_keys`: the service distributes the records by itself, and may leave the keys out.
    """

    name: str
    arn: str
    status: str
    created_ms: int
    retention_hours: int
    open_shards: int
    ignores_partition_keys: bool


@dataclass(frozen=True, slots=True)
class ShardInfo:
    """A shard. `hash_range` is decimal text, both ends included; `closed` says that no record comes any more."""

    id: str
    parent: str | None
    adjacent_parent: str | None
    hash_range: tuple[str, str]
    closed: bool

    @property
    def parents(self) -> tuple[str, ...]:
        """Return the shards that this one was split from or merged of."""
        return tuple(parent for parent in (self.parent, self.adjacent_parent) if parent is not None)


def describe(client: KinesisClient, stream: str) -> StreamInfo:
    """Return what the stream (a name or an ARN) is; SetupError if it is not there or may not be described."""
    answer = _call(client.describe_stream_summary, stream, "DescribeStreamSummary", address(stream))
    summary = member(answer, "StreamDescriptionSummary", stream)
    created: dt.datetime = member(summary, "StreamCreationTimestamp", stream)
    return StreamInfo(
        name=member(summary, "StreamName", stream),
        arn=member(summary, "StreamARN", stream),
        status=member(summary, "StreamStatus", stream),
        created_ms=round(created.timestamp() * 1000),
        retention_hours=member(summary, "RetentionPeriodHours", stream),
        open_shards=member(summary, "OpenShardCount", stream),
        # Present for on-demand streams only: all others go by the partition key.
        ignores_partition_keys=summary.get("RecordDistributionStrategy") == "AUTO",
    )


def list_shards(
    client: KinesisClient, stream: str, shard_filter: Mapping[str, Any] | None = None
) -> tuple[ShardInfo, ...]:
    """Return all shards that the filter (as ListShards takes it) lets through, in the order of the service."""
    request = {**address(stream), **({"ShardFilter": shard_filter} if shard_filter else {})}
    shards: list[ShardInfo] = []
    while request:
        answer = _call(client.list_shards, stream, "ListShards", request)
        shards += [_shard(shard, stream) for shard in member(answer, "Shards", stream)]
        # The last page has no token; a token stands alone in the next request.
        request = {"NextToken": answer["NextToken"]} if answer.get("NextToken") else {}
    return tuple(shards)


def roots(client: KinesisClient, stream: str, start_seconds: int | None) -> tuple[ShardInfo, ...]:
    """Return the shards that an application may start empty: those open at its start. SetupError if there is none.

    `start_seconds` is the start in whole epoch seconds, as the daemon gets it; None is the oldest record. Shards
    that were opened later have parents which the application reads, and must not start empty.
    """
    if start_seconds is None:
        return list_shards(client, stream, {"Type": "AT_TRIM_HORIZON"})
    instant = dt.datetime.fromtimestamp(start_seconds, dt.UTC)
    shards = list_shards(client, stream, {"Type": "AT_TIMESTAMP", "Timestamp": instant})
    if not shards:
        # An instant before the stream's creation, say. The daemon lists in the same way, and would wait for ever.
        raise SetupError(
            f"stream {stream}: no shard was open at {instant.isoformat()}. Set source.start to trim_horizon, or to an "
            "instant after the stream was created."
        )
    return shards


def address(stream: str) -> dict[str, Any]:
    """Return how a request names a stream, given by its name or its ARN."""
    return {"StreamARN" if stream.startswith("arn:") else "StreamName": stream}


def _call(operation: Any, stream: str, name: str, request: Mapping[str, Any]) -> Mapping[str, Any]:
    try:
        answer: Mapping[str, Any] = operation(**request)
    except aws.CALL_ERRORS as error:
        raise aws.translate(error, f"stream {stream}: {name}", _remedy(error, name)) from error
    return answer


def _remedy(error: Exception, name: str) -> str:
    if meaning_of(error) is Meaning.DENIED:
        return f"Allow the worker's role kinesis:{name} on this stream."
    return "Create the stream, or correct its name in source.stream, the region, the account or the endpoint."


def member(answer: Mapping[str, Any], name: str, stream: str) -> Any:
    """Return what must be in an answer; RetryableError if it is not."""
    try:
        return answer[name]
    except KeyError as error:
        raise RetryableError(f"stream {stream}: an answer without {name} (cut off on the way)") from error


def _shard(shard: Mapping[str, Any], stream: str) -> ShardInfo:
    hashes = member(shard, "HashKeyRange", stream)
    numbers = member(shard, "SequenceNumberRange", stream)
    member(numbers, "StartingSequenceNumber", stream)
    return ShardInfo(
        id=member(shard, "ShardId", stream),
        parent=shard.get("ParentShardId"),
        adjacent_parent=shard.get("AdjacentParentShardId"),
        hash_range=(member(hashes, "StartingHashKey", stream), member(hashes, "EndingHashKey", stream)),
        closed="EndingSequenceNumber" in numbers,
    )
