"""What the demo needs in the embedded AWS, and what it reads back from it."""

from __future__ import annotations

import urllib.request
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any

from consumer.entrypoints.demo.clients import client
from consumer.entrypoints.demo.lineage import Counted, Family, count_family
from consumer.entrypoints.demo.processes import DemoError
from consumer.entrypoints.demo.recount import destinations
from consumer.pipeline.model import Pipeline
from consumer.records import Position, Record
from consumer.sources import kinesis, leases
from consumer.sources.kinesis import ShardInfo
from consumer.state import dynamodb
from consumer.state.base import Application

RESULTS_BUCKET = "streamgauge-demo-results"
REGION = "us-east-1"

_FLUSH_PATH = "/_streamgauge/firehose/flush"
_FLUSH_SECONDS_MAX = 60
_RECORDS_A_READ = 10_000
_BUFFER = {"SizeInMBs": 1, "IntervalInSeconds": 1}


def environment_for(endpoint: str, environ: Mapping[str, str]) -> dict[str, str]:
    """Return the environment in which every AWS client uses the embedded AWS, and none of this machine's settings."""
    kept = {name: value for name, value in environ.items() if not name.startswith("AWS_")}
    return {
        **kept,
        "AWS_ENDPOINT_URL": endpoint,
        "AWS_ACCESS_KEY_ID": "demo",
        "AWS_SECRET_ACCESS_KEY": "demo",
        "AWS_DEFAULT_REGION": REGION,
        "AWS_REGION": REGION,
        "AWS_CONFIG_FILE": "/dev/null",
        "AWS_SHARED_CREDENTIALS_FILE": "/dev/null",
        "AWS_EC2_METADATA_DISABLED": "true",
        "NO_PROXY": "127.0.0.1,localhost",
        "no_proxy": "127.0.0.1,localhost",
    }


@dataclass(frozen=True)
class Cloud:
    """The embedded AWS as the demo uses it."""

    pipeline: Pipeline
    environ: Mapping[str, str]
    _clients: dict[str, Any] = field(default_factory=dict)

    def prepare(self, shards: int, owner: str) -> None:
        """Create everything the pipeline names, and the leases, owned by the worker that is about to start."""
        stream_client = self._client("kinesis")
        stream = self.pipeline.source.stream
        stream_client.create_stream(StreamName=stream, ShardCount=shards)
        stream_client.get_waiter("stream_exists").wait(StreamName=stream, WaiterConfig={"Delay": 1})
        buckets = self._client("s3")
        for bucket in {RESULTS_BUCKET, self.pipeline.state.bucket} - {None}:
            buckets.create_bucket(Bucket=bucket)
        self.create_delivery_streams()
        database = self._client("dynamodb")
        dynamodb.create_table(database, self.pipeline.state.table)
        leases.prepare(database, self.pipeline.worker.application, self.shards(), owner, None)

    def create_delivery_streams(self) -> None:
        """Create the delivery streams of all sinks."""
        for name in destinations(self.pipeline):
            self._create_delivery_stream(name)

    def shards(self) -> tuple[ShardInfo, ...]:
        """Return the stream's shards."""
        return kinesis.list_shards(self._client("kinesis"), self.pipeline.source.stream)

    def split(self, shard: ShardInfo) -> None:
        """Split a shard in the middle of its hash keys."""
        first, last = map(int, shard.hash_range)
        self._reshard("split_shard", ShardToSplit=shard.id, NewStartingHashKey=str((first + last + 1) // 2))

    def merge(self, shard: ShardInfo, adjacent: ShardInfo) -> None:
        """Merge two shards whose hash keys are next to each other."""
        self._reshard("merge_shards", ShardToMerge=shard.id, AdjacentShardToMerge=adjacent.id)

    def _reshard(self, operation: str, **request: str) -> None:
        streams = self._client("kinesis")
        stream = self.pipeline.source.stream
        getattr(streams, operation)(StreamName=stream, **request)
        streams.get_waiter("stream_exists").wait(StreamName=stream, WaiterConfig={"Delay": 1})

    def records(self, shard: str) -> list[Record]:
        """Return all records of a shard, as they are stored."""
        reader = self._client("kinesis")
        stream = self.pipeline.source.stream
        iterator = reader.get_shard_iterator(StreamName=stream, ShardId=shard, ShardIteratorType="TRIM_HORIZON")
        next_iterator: str | None = iterator["ShardIterator"]
        records: list[Record] = []
        while next_iterator:
            answer = reader.get_records(ShardIterator=next_iterator, Limit=_RECORDS_A_READ)
            records += [_record(one) for one in answer["Records"]]
            next_iterator = answer.get("NextShardIterator")  # none behind the last record of a closed shard
            if not answer["Records"] and answer["MillisBehindLatest"] == 0:
                break
        return records

    def application(self) -> Application:
        """Return what the worker has stored about this pipeline; DemoError if it never started."""
        application = self._store().read_application()
        if application is None:
            raise DemoError("the worker has not stored its application item")
        return application

    def ended(self, shard: str) -> bool:
        """Tell whether a shard was worked through to its end, or its children go on without it."""
        claim = self._store().read(shard)
        return claim is not None and (claim.retired or (claim.state is not None and claim.state.ended))

    def is_done(self, counted: Counted) -> bool:
        """Tell whether a shard was worked through: to its end, or to its last record."""
        shard = counted.expected.shard
        if counted.closed:
            return self.ended(shard)
        position = self.positions([shard]).get(shard)
        return counted.last is None or (position is not None and position >= counted.last)

    def positions(self, shards: Sequence[str]) -> dict[str, Position]:
        """Return the stored positions, of shards that have one."""
        store = self._store()
        found: dict[str, Position] = {}
        for shard in shards:
            claim = store.read(shard)
            if claim is not None and claim.state is not None and claim.state.position is not None:
                found[shard] = claim.state.position
        return found

    def delivered(self) -> dict[str, list[bytes]]:
        """Have Firehose write what it holds, and return the rows of each delivery stream."""
        url = self.environ["AWS_ENDPOINT_URL"] + _FLUSH_PATH
        request = urllib.request.Request(url, method="POST")  # noqa: S310 - our own endpoint
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with opener.open(request, timeout=_FLUSH_SECONDS_MAX) as answer:
            if answer.status != HTTPStatus.OK:
                raise DemoError(f"Firehose did not write its buffers: status {answer.status}")
        return {name: self._rows(f"{name}/") for name in destinations(self.pipeline)}

    def _rows(self, prefix: str) -> list[bytes]:
        reader = self._client("s3")
        rows: list[bytes] = []
        for page in reader.get_paginator("list_objects_v2").paginate(Bucket=RESULTS_BUCKET, Prefix=prefix):
            for item in page.get("Contents", ()):
                body: bytes = reader.get_object(Bucket=RESULTS_BUCKET, Key=item["Key"])["Body"].read()
                rows += filter(None, body.split(b"\n"))
        return rows

    def _create_delivery_stream(self, name: str) -> None:
        self._client("firehose").create_delivery_stream(
            DeliveryStreamName=name,
            DeliveryStreamType="DirectPut",
            ExtendedS3DestinationConfiguration={
                "RoleARN": "arn:aws:iam::123456789012:role/demo",
                "BucketARN": f"arn:aws:s3:::{RESULTS_BUCKET}",
                "Prefix": f"{name}/",
                "BufferingHints": _BUFFER,
            },
        )

    def _store(self) -> dynamodb.DynamoStore:
        state = self.pipeline.state
        return dynamodb.DynamoStore(
            self._client("dynamodb"),
            self._client("s3"),
            table=state.table,
            bucket=state.bucket,
            pipeline=self.pipeline.name,
        )

    def _client(self, service: str) -> Any:
        if service not in self._clients:
            self._clients[service] = client(service, self.environ)
        return self._clients[service]


def count(pipeline: Pipeline, environ: Mapping[str, str], family: Family, generation: int) -> list[Counted]:
    """Read a family of shards and recount it; what a process of its own is given."""
    return count_family(pipeline, family, generation, Cloud(pipeline, environ).records)


def _record(one: Mapping[str, Any]) -> Record:
    return Record(
        one["Data"],
        one["PartitionKey"],
        one["SequenceNumber"],
        0,
        round(one["ApproximateArrivalTimestamp"].timestamp() * 1000),
    )
