"""Every store: in memory, behind faults, and on DynamoDB and S3 as the embedded AWS serves them."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count
from typing import Any

import pytest

from consumer.emulator.faults import Fault, Kind, Service
from consumer.emulator.server import Emulator
from consumer.errors import RetryableError
from consumer.state.base import IN_TABLE, Entry, StateStore
from consumer.state.dynamodb import DynamoStore, create_table
from consumer.state.memory import Memory, MemoryStore
from consumer.testing.fake_state_aws import FakeDynamo, FakeStateS3, StoredAws
from consumer.testing.fakes import FaultyStore
from consumer.testing.store_conformance import StoreConformance, StoreTroubleConformance
from consumer.testing.store_harness import Operation, StoreHarness, Trouble, TroubledStoreHarness
from consumer.testing.store_objects import StoreObjectTroubleConformance


class MemoryHarness(StoreHarness):
    def __init__(self) -> None:
        self._memories: dict[str, Memory] = {}

    def new_store(self, pipeline: str = "clickstream") -> StateStore:
        return MemoryStore(self._memories.setdefault(pipeline, Memory(pipeline)))

    def replace_object(self, entry: Entry, data: bytes | None) -> None:
        objects = self._memories["clickstream"].objects
        if data is None:
            del objects[entry.key]
        else:
            objects[entry.key] = data


class TestMemory(StoreConformance):
    @pytest.fixture
    def harness(self) -> StoreHarness:
        return MemoryHarness()


class FaultyHarness(MemoryHarness, TroubledStoreHarness):
    """The fake with faults is a store as well, and its troubles look like real ones."""

    def __init__(self) -> None:
        super().__init__()
        self._stores: list[FaultyStore] = []

    def new_store(self, pipeline: str = "clickstream") -> StateStore:
        self._stores.append(FaultyStore(super().new_store(pipeline)))
        return self._stores[-1]

    def trouble(self, operation: Operation, trouble: Trouble) -> None:
        after_effect = trouble not in {"throttled", "failed before effect"}
        for store in self._stores:
            store.fail(operation, RetryableError(trouble), after_effect=after_effect)


class TestFaulty(StoreTroubleConformance):
    @pytest.fixture
    def harness(self) -> TroubledStoreHarness:
        return FaultyHarness()


REQUESTS: dict[Operation, tuple[Service, str]] = {
    "read_application": ("dynamodb", "GetItem"),
    "create_application": ("dynamodb", "PutItem"),
    "reset": ("dynamodb", "PutItem"),
    "adopt": ("dynamodb", "PutItem"),
    "claim": ("dynamodb", "UpdateItem"),
    "read": ("dynamodb", "GetItem"),
    "list_shards": ("dynamodb", "Query"),
    "put_object": ("s3", "PutObject"),
    "get_object": ("s3", "GetObject"),
    "delete_objects": ("s3", "DeleteObjects"),
    "list_objects": ("s3", "ListObjectsV2"),
    "advance": ("dynamodb", "UpdateItem"),
    "retire": ("dynamodb", "PutItem"),
    "read_ledger": ("dynamodb", "GetItem"),
    "write_ledger": ("dynamodb", "PutItem"),
    "put_contributions": ("dynamodb", "BatchWriteItem"),
    "read_contributions": ("dynamodb", "Query"),
    "write_progress": ("dynamodb", "PutItem"),
    "read_progress": ("dynamodb", "Query"),
}
REQUESTS_WITHOUT_BUCKET: dict[Operation, tuple[Service, str]] = REQUESTS | {
    "put_object": ("dynamodb", "PutItem"),
    "get_object": ("dynamodb", "GetItem"),
    "delete_objects": ("dynamodb", "BatchWriteItem"),
    "list_objects": ("dynamodb", "Query"),
}
KINDS: dict[Trouble, Kind] = {
    "throttled": "throttle",
    "failed before effect": "error_before",
    "failed after effect": "error_after",
    "reply lost": "drop_after",
    "reply cut": "cut",
}


class DynamoHarness(TroubledStoreHarness):
    requests = REQUESTS
    has_bucket = True

    def __init__(self, emulator: Emulator, dynamodb: Any, s3: Any, number: int) -> None:
        self.emulator, self.dynamodb, self.s3 = emulator, dynamodb, s3
        self.table = f"state-{number}"
        self.bucket = f"bucket-{number}" if self.has_bucket else None
        create_table(dynamodb, self.table)
        if self.bucket is not None:
            s3.create_bucket(Bucket=self.bucket)

    def new_store(self, pipeline: str = "clickstream") -> StateStore:
        return DynamoStore(self.dynamodb, self.s3, table=self.table, bucket=self.bucket, pipeline=pipeline)

    def replace_object(self, entry: Entry, data: bytes | None) -> None:
        if data is None:
            self.s3.delete_object(Bucket=self.bucket, Key=entry.key)
        else:
            self.s3.put_object(Bucket=self.bucket, Key=entry.key, Body=data)

    def trouble(self, operation: Operation, trouble: Trouble) -> None:
        service, request = self.requests[operation]
        kind = KINDS[trouble]
        if kind == "cut" and request == "PutObject":
            kind = "drop_after"  # its answer is a head without a body: it can be lost, but not cut
        self.emulator.faults.add(Fault(service=service, operation=request, kind=kind, times=1))


class TableAloneHarness(DynamoHarness):
    """Without a bucket: snapshots are items too."""

    requests = REQUESTS_WITHOUT_BUCKET
    has_bucket = False

    def replace_object(self, entry: Entry, data: bytes | None) -> None:
        key = {"pk": {"S": entry.key.removeprefix(IN_TABLE) + "/00000"}, "sk": {"S": "chunk"}}
        if data is None:
            self.dynamodb.delete_item(TableName=self.table, Key=key)
        else:
            self.dynamodb.put_item(TableName=self.table, Item=key | {"data": {"B": data}})


class FakeAwsHarness(StoreHarness):
    """The same store on stand-ins for the clients: what is tested over them meets what the services do."""

    def __init__(self, *, bucket: bool) -> None:
        self._stored = StoredAws()
        self._bucket = "bucket" if bucket else None

    def new_store(self, pipeline: str = "clickstream") -> StateStore:
        dynamodb, s3 = FakeDynamo(self._stored), FakeStateS3(self._stored)
        return DynamoStore(dynamodb, s3, table="table", bucket=self._bucket, pipeline=pipeline)

    def replace_object(self, entry: Entry, data: bytes | None) -> None:
        self._stored.objects.pop(entry.key, None)
        chunk = entry.key.removeprefix(IN_TABLE) + "/00000", "chunk"
        self._stored.items.pop(chunk, None)
        if data is not None and self._bucket is not None:
            self._stored.objects[entry.key] = data
        elif data is not None:
            self._stored.items[chunk] = {"pk": {"S": chunk[0]}, "sk": {"S": chunk[1]}, "data": {"B": data}}


class TestFakeAws(StoreConformance):
    @pytest.fixture
    def harness(self) -> StoreHarness:
        return FakeAwsHarness(bucket=True)


class TestFakeAwsTableAlone(StoreConformance):
    @pytest.fixture
    def harness(self) -> StoreHarness:
        return FakeAwsHarness(bucket=False)


NUMBERS = count()


class TestDynamo(StoreTroubleConformance):
    @pytest.fixture
    def harness(self, emulator: Emulator, clients: tuple[Any, Any]) -> Iterator[TroubledStoreHarness]:
        emulator.faults.clear()
        yield DynamoHarness(emulator, *clients, next(NUMBERS))
        emulator.faults.clear()


class TestTableAlone(StoreObjectTroubleConformance):
    """Only the place of objects is another one."""

    @pytest.fixture
    def harness(self, emulator: Emulator, clients: tuple[Any, Any]) -> Iterator[TroubledStoreHarness]:
        emulator.faults.clear()
        yield TableAloneHarness(emulator, *clients, next(NUMBERS))
        emulator.faults.clear()
