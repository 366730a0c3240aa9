"""A DynamoDB in memory that counts what it is asked for global windows, as AWS would charge for it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from consumer.core.completion import Progress
from consumer.state.dynamodb import DynamoStore
from consumer.testing.fake_state_aws import PAGE_BYTES_MAX, FakeDynamo, FakeStateS3, StoredAws

WRITE_UNIT_BYTES = 1024
READ_UNIT_BYTES = 4096
"""A strongly consistent read of so much is a read unit."""
PROGRESS, CONTRIBUTIONS = "/progress/", "/global/"
"""What is in the partition keys of these items, and in no others."""


@dataclass(slots=True)
class Traffic:
    """Requests of one kind, and the items, bytes and units that they wrote or read."""

    requests: int = 0
    items: int = 0
    size_bytes: int = 0
    units: int = 0


@dataclass(slots=True)
class Meter:
    """What was asked. `key_units` are write units by partition key; `commits` are those of states."""

    contributions_written: Traffic = field(default_factory=Traffic)
    contributions_read: Traffic = field(default_factory=Traffic)
    progress_written: Traffic = field(default_factory=Traffic)
    progress_read: Traffic = field(default_factory=Traffic)
    key_units: dict[str, int] = field(default_factory=dict)
    commits: int = 0


class MeteredDynamo(FakeDynamo):
    """Counts in `meter`, which may be replaced at any time."""

    def __init__(self, stored: StoredAws) -> None:
        super().__init__(stored)
        self.meter = Meter()
        self._sizes: dict[tuple[str, str], int] = {}

    def query(self, **request: Any) -> Any:
        """Count a page, if it is of global windows."""
        answer = super().query(**request)
        partition = request["ExpressionAttributeValues"][":pk"]["S"]
        sizes = [self._sizes.get((partition, item["sk"]["S"]), 0) for item in answer["Items"]]
        if CONTRIBUTIONS in partition:
            _read(self.meter.contributions_read, sizes)
        return answer

    def put_item(self, *, Item: Mapping[str, Any], **condition: Any) -> Any:  # noqa: N803 - AWS' names
        """Count a progress."""
        if PROGRESS in Item["pk"]["S"]:
            self.meter.progress_written.requests += 1
            self._wrote(self.meter.progress_written, Item)
        return super().put_item(Item=Item, **condition)

    def batch_write_item(self, *, RequestItems: Mapping[str, Any], **options: Any) -> Any:  # noqa: N803 - AWS' names
        """Count a call with contributions."""
        ((_, writes),) = RequestItems.items()
        items = [write["PutRequest"]["Item"] for write in writes if "PutRequest" in write]
        contributions = [item for item in items if CONTRIBUTIONS in item["pk"]["S"]]
        self.meter.contributions_written.requests += bool(contributions)
        for item in contributions:
            self._wrote(self.meter.contributions_written, item)
        return super().batch_write_item(RequestItems=RequestItems, **options)

    def update_item(self, **request: Any) -> Any:
        """Count a commit."""
        self.meter.commits += 1
        return super().update_item(**request)

    def count_progress(self, partition: str, shards: Iterable[str]) -> None:
        """Count a Query of all progress, page by page."""
        page, size_bytes = list[int](), 0
        for shard in shards:
            page.append(self._sizes[partition, shard])
            size_bytes += page[-1]
            if size_bytes >= PAGE_BYTES_MAX:
                _read(self.meter.progress_read, page)
                page, size_bytes = [], 0
        if page:
            _read(self.meter.progress_read, page)

    def _wrote(self, traffic: Traffic, item: Mapping[str, Any]) -> None:
        partition, size_bytes = item["pk"]["S"], item_bytes(item)
        self._sizes[partition, item["sk"]["S"]] = size_bytes
        units = -(-size_bytes // WRITE_UNIT_BYTES)
        traffic.items += 1
        traffic.size_bytes += size_bytes
        traffic.units += units
        self.meter.key_units[partition] = self.meter.key_units.get(partition, 0) + units


class MeteredStore(DynamoStore):
    """The real store; but progress is kept decoded, for it is read more often than all else together."""

    def __init__(self, dynamo: MeteredDynamo, s3: FakeStateS3, *, pipeline: str) -> None:
        super().__init__(dynamo, s3, table="states", bucket="bench", pipeline=pipeline)
        self._dynamo = dynamo
        self._told: dict[str, Progress] = {}

    def write_progress(self, progress: Progress) -> None:
        """Write it, and keep it."""
        super().write_progress(progress)
        self._told[progress.shard] = progress

    def read_progress(self, generation: int) -> Sequence[Progress]:
        """Count the pages of a Query."""
        self._dynamo.count_progress(f"bench{PROGRESS}{generation}", self._told)
        return tuple(self._told.values())


def _read(traffic: Traffic, sizes: Sequence[int]) -> None:
    """Count one page."""
    traffic.requests += 1
    traffic.items += len(sizes)
    traffic.size_bytes += sum(sizes)
    traffic.units += max(1, -(-sum(sizes) // READ_UNIT_BYTES))


def item_bytes(item: Mapping[str, Any]) -> int:
    """Return what DynamoDB counts for an item: its names and values."""
    return sum(len(name) + _value_bytes(value) for name, value in item.items())


def _value_bytes(typed: Mapping[str, Any]) -> int:
    ((kind, value),) = typed.items()
    match kind:
        case "S":
            return len(value.encode())
        case "B":
            return len(value)
        case "N":
            return len(value) // 2 + 2
        case "L":
            return 3 + sum(1 + _value_bytes(each) for each in value)
        case "M":
            return 3 + sum(1 + len(name) + _value_bytes(each) for name, each in value.items())
    return 1
