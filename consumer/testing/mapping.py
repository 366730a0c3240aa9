"""What an event source mapping does, here: it reads a stream as the service does, and invokes a function with batches.

One batch a shard at a time, in order, at most so many records and 6 MB of payload. A failed batch comes again whole,
one with `batchItemFailures` from the lowest of them on; a child is read when its parents are done with. And what the
service does now and then it does often here, if it is told to: the same batch twice, an old one once more, a shard
that is left alone for a while.
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from random import Random
from typing import Any, Protocol

from consumer.errors import StreamgaugeError
from consumer.sources.kinesis import KinesisClient, ShardInfo, list_shards
from consumer.sources.reading import RecordsClient

PAYLOAD_BYTES_MAX = 6_000_000
_READ_LIMIT = 10_000


class InvocationError(StreamgaugeError):
    """The function raised, ran out of time, or its process ended."""


class Client(KinesisClient, RecordsClient, Protocol):
    """Lists shards, and reads them."""


@dataclass(frozen=True, slots=True)
class Habits:
    """Chances, a step, of what a mapping does besides. `early_child`: that one is read before its parents are done."""

    duplicate: float = 0.0
    old_batch: float = 0.0
    throttled: float = 0.0
    early_child: float = 0.0


@dataclass(slots=True)
class _Shard:
    """How far a shard is read, and what of it is under way."""

    info: ShardInfo
    iterator: str | None = None
    waiting: list[Mapping[str, Any]] = field(default_factory=list)
    before: list[Mapping[str, Any]] = field(default_factory=list)
    begun: bool = False

    @property
    def done(self) -> bool:
        """Return whether everything was delivered, and nothing more will come."""
        return self.begun and self.iterator is None and not self.waiting


class EventSourceMapping:
    """Reads `stream`, from its oldest record on, and calls `invoke` with events; InvocationError is tried again."""

    def __init__(
        self,
        client: Client,
        stream: str,
        stream_arn: str,
        invoke: Callable[[dict[str, Any]], Mapping[str, Any]],
        *,
        batch_size: int = 100,
        random: Random,
        habits: Habits | None = None,
    ) -> None:
        self._client = client
        self._stream = stream
        self._arn = stream_arn
        self._invoke = invoke
        self._batch_size = batch_size
        self._random = random
        self._habits = habits or Habits()
        self._shards: dict[str, _Shard] = {}
        self.failed = 0
        """Invocations that failed, wholly or in part."""

    def step(self) -> bool:
        """Invoke the function once, for one shard that has something to deliver; False if none has."""
        for info in list_shards(self._client, self._stream):
            self._shards.setdefault(info.id, _Shard(info)).info = info
        shards = [shard for shard in self._shards.values() if self._may_be_read(shard)]
        self._random.shuffle(shards)
        for shard in shards:
            self._read(shard)
            if shard.waiting and not self._happens(self._habits.throttled):
                self._deliver(shard)
                return True
        return any(shard.waiting for shard in shards)

    def drained(self) -> bool:
        """Tell whether all that is in the stream now was delivered."""
        return not self.step() and all(shard.begun and not shard.waiting for shard in self._shards.values())

    def _may_be_read(self, shard: _Shard) -> bool:
        parents = [self._shards[parent] for parent in shard.info.parents if parent in self._shards]
        return shard.begun or all(parent.done for parent in parents) or self._happens(self._habits.early_child)

    def _read(self, shard: _Shard) -> None:
        if not shard.begun:
            request = {"StreamName": self._stream, "ShardId": shard.info.id, "ShardIteratorType": "TRIM_HORIZON"}
            shard.iterator = self._client.get_shard_iterator(**request)["ShardIterator"]
            shard.begun = True
        while shard.iterator is not None and not shard.waiting:
            answer = self._client.get_records(ShardIterator=shard.iterator, Limit=_READ_LIMIT)
            shard.iterator = answer.get("NextShardIterator")
            shard.waiting += answer["Records"]
            if not answer["Records"] and answer["MillisBehindLatest"] == 0 and shard.iterator is not None:
                return

    def _deliver(self, shard: _Shard) -> None:
        batch = self._batch(shard.waiting)
        if shard.before and self._happens(self._habits.old_batch):
            self._call(shard, shard.before)
        if self._happens(self._habits.duplicate):
            self._call(shard, batch)
        failed_from = self._call(shard, batch)
        if failed_from is not None:
            self.failed += 1
            batch = batch[:failed_from]
        if batch:
            shard.before = batch
            del shard.waiting[: len(batch)]

    def _batch(self, waiting: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
        batch: list[Mapping[str, Any]] = []
        size = 0
        for record in waiting[: self._batch_size]:
            size += 4 * len(record["Data"]) // 3 + len(record["PartitionKey"]) + 500
            if batch and size > PAYLOAD_BYTES_MAX:
                break
            batch.append(record)
        return batch

    def _call(self, shard: _Shard, batch: Sequence[Mapping[str, Any]]) -> int | None:
        """Invoke the function; return the place in the batch from which it must come again."""
        try:
            answer = self._invoke({"Records": [self._record(shard.info.id, record) for record in batch]})
            failures = {failure["itemIdentifier"] for failure in answer["batchItemFailures"]}
        except InvocationError:
            return 0
        if not failures:
            return None
        numbers = [record["SequenceNumber"] for record in batch]
        return min(map(numbers.index, failures)) if failures <= set(numbers) else 0

    def _record(self, shard: str, record: Mapping[str, Any]) -> dict[str, Any]:
        return {
            "kinesis": {
                "kinesisSchemaVersion": "1.0",
                "partitionKey": record["PartitionKey"],
                "sequenceNumber": record["SequenceNumber"],
                "data": b64encode(record["Data"]).decode(),
                "approximateArrivalTimestamp": record["ApproximateArrivalTimestamp"].timestamp(),
            },
            "eventSource": "aws:kinesis",
            "eventVersion": "1.0",
            "eventID": f"{shard}:{record['SequenceNumber']}",
            "eventName": "aws:kinesis:record",
            "awsRegion": self._arn.split(":")[3],
            "eventSourceARN": self._arn,
        }

    def _happens(self, chance: float) -> bool:
        return self._random.random() < chance
