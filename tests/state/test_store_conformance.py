"""Every store: in memory, behind faults, and on DynamoDB and S3 as the embedded AWS serves them."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count
from typing import Any

import pytest

from consumer.emulator.faults import Fault, Kind, Service
from consumer.emulator.server import Emulator
from consumer.errors import RetryableError
from consumer.state.base import Entry, StateStore
from consumer.state.dynamodb import DynamoStore, create_table
from consumer.state.memory import Memory, MemoryStore
from consumer.testing.fakes import FaultyStore
from consumer.testing.store_conformance import (
    Operation,
    StoreConformance,
    StoreHarness,
    StoreTroubleConformance,
    Trouble,
    TroubledStoreHarness,
)


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
    "claim": ("dynamodb", "UpdateItem"),
    "read": ("dynamodb", "GetItem"),
    "put_object": ("s3", "PutObject"),
    "get_object": ("s3", "GetObject"),
    "delete_objects": ("s3", "DeleteObjects"),
    "advance": ("dynamodb", "UpdateItem"),
}
KINDS: dict[Trouble, Kind] = {
    "throttled": "throttle",
    "failed before effect": "error_before",
    "failed after effect": "error_after",
    "reply lost": "drop_after",
    "reply cut": "cut",
}


class DynamoHarness(TroubledStoreHarness):
    def __init__(self, emulator: Emulator, dynamodb: Any, s3: Any, number: int) -> None:
        self._emulator, self._dynamodb, self._s3 = emulator, dynamodb, s3
        self._table, self._bucket = f"state-{number}", f"bucket-{number}"
        create_table(dynamodb, self._table)
        s3.create_bucket(Bucket=self._bucket)

    def new_store(self, pipeline: str = "clickstream") -> StateStore:
        return DynamoStore(self._dynamodb, self._s3, table=self._table, bucket=self._bucket, pipeline=pipeline)

    def replace_object(self, entry: Entry, data: bytes | None) -> None:
        if data is None:
            self._s3.delete_object(Bucket=self._bucket, Key=entry.key)
        else:
            self._s3.put_object(Bucket=self._bucket, Key=entry.key, Body=data)

    def trouble(self, operation: Operation, trouble: Trouble) -> None:
        service, request = REQUESTS[operation]
        kind = KINDS[trouble]
        if kind == "cut" and operation == "put_object":
            kind = "drop_after"  # its answer is a head without a body: it can be lost, but not cut
        self._emulator.faults.add(Fault(service=service, operation=request, kind=kind, times=1))


class TestDynamo(StoreTroubleConformance):
    numbers = count()

    @pytest.fixture
    def harness(self, emulator: Emulator, clients: tuple[Any, Any]) -> Iterator[TroubledStoreHarness]:
        emulator.faults.clear()
        yield DynamoHarness(emulator, *clients, next(self.numbers))
        emulator.faults.clear()
