"""Snapshot entries as items of the table: in which order, within which limits, and after which crash."""

from __future__ import annotations

from itertools import count
from typing import Any, cast

import pytest

from consumer.errors import CorruptStateError, RetryableError
from consumer.state.base import IN_TABLE, Found
from consumer.state.chunks import CHUNK_BYTES, ChunkStore
from consumer.state.dynamodb import create_table
from consumer.state.table import Table
from consumer.testing.fakes import client_error
from consumer.testing.store_harness import SHARD

ITEM_BYTES_MAX = 400 * 1024
DATA = bytes(range(256)) * (CHUNK_BYTES * 5 // 2 // 256)
NUMBERS = count()


class Watched:
    """A client that notes what is written, heads and chunk numbers, and can fail once, before or after a write."""

    def __init__(self, client: Any) -> None:
        self._client = client
        self.writes: list[str] = []
        self.sizes: list[int] = []
        self.batches: list[list[str]] = []
        self.fail_at: int | None = None
        self.after = False

    def __getattr__(self, name: str) -> Any:
        call = getattr(self._client, name)
        if name == "batch_write_item":
            return self._delete
        if name != "put_item":
            return call

        def write(**request: Any) -> Any:
            key = request["Item"]
            number = len(self.writes)
            self.writes.append(_name(key))
            self.sizes.append(sum(len(name) + len(next(iter(value.values()))) for name, value in key.items()))
            if number == self.fail_at and not self.after:
                raise client_error("ThrottlingException")
            answer = call(**request)
            if number == self.fail_at:
                raise client_error("InternalServerError", 500)
            return answer

        return write

    def _delete(self, **request: Any) -> Any:
        """Delete; where it is to fail, it does so in the middle of a batch."""
        ((table, requests),) = request["RequestItems"].items()
        assert len(requests) <= 25
        self.batches.append([_name(each["DeleteRequest"]["Key"]) for each in requests])
        at = None if self.fail_at is None else self.fail_at - len(self.writes)
        self.writes += self.batches[-1]
        if at is None or not 0 <= at < len(requests):
            return self._client.batch_write_item(**request)
        done = requests[: at + self.after]
        if done:
            self._client.batch_write_item(**request | {"RequestItems": {table: done}})
        raise client_error("InternalServerError", 500)


def _name(key: Any) -> str:
    return "head" if key["sk"]["S"] != "chunk" else str(key["pk"]["S"]).rsplit("/", 1)[1]


class Place:
    """A table of its own, and stores of several processes over it."""

    def __init__(self, client: Any, name: str) -> None:
        create_table(client, name)
        self.real, self.name = client, name
        self.client = Watched(client)

    def store(self) -> ChunkStore:
        return ChunkStore(Table(self.client, self.name), "clickstream")

    def chunks(self) -> int:
        items = self.real.scan(TableName=self.name, ConsistentRead=True)["Items"]
        return sum(item["sk"]["S"] == "chunk" for item in items)


@pytest.fixture
def place(clients: tuple[Any, Any]) -> Place:
    return Place(clients[0], f"chunks-{next(NUMBERS)}")


def test_the_head_comes_first_and_last(place: Place) -> None:
    entry = place.store().put(SHARD, 0, 1, 2, DATA)
    assert place.client.writes == ["head", "00000", "00001", "00002", "head"]
    assert entry.key.startswith(f"{IN_TABLE}clickstream/0/{SHARD}/00000001-000000000002-")
    assert place.store().get(entry) == DATA


def test_no_item_is_larger_than_the_service_takes(place: Place) -> None:
    store = ChunkStore(Table(place.client, place.name), "p" * 48)
    store.put("s" * 128, 10**6, 10**9, 10**12, DATA)
    assert max(place.client.sizes) < ITEM_BYTES_MAX


@pytest.mark.parametrize("size", [0, 1, CHUNK_BYTES - 1, CHUNK_BYTES, CHUNK_BYTES + 1, 2 * CHUNK_BYTES])
def test_an_entry_has_as_many_chunks_as_it_needs(place: Place, size: int) -> None:
    store = place.store()
    entry = store.put(SHARD, 0, 1, 2, DATA[:size])
    assert place.chunks() == max(1, -(-size // CHUNK_BYTES))
    assert store.get(entry) == DATA[:size]
    store.delete([entry])
    assert place.chunks() == 0


@pytest.mark.parametrize("fail_at", range(5))
@pytest.mark.parametrize("after", [True, False], ids=["after", "before"])
def test_a_torn_write_is_found_and_collected(place: Place, fail_at: int, *, after: bool) -> None:
    """Whatever there is has a head: all of it is gone when what was found is deleted."""
    place.client.fail_at, place.client.after = fail_at, after
    with pytest.raises(RetryableError):
        place.store().put(SHARD, 0, 1, 2, DATA)
    collector = place.store()
    found = collector.list(SHARD, 0)
    assert [(one.epoch, one.commit_no, one.entry.size) for one in found] == [(1, 2, len(DATA))][: fail_at + after]
    collector.delete([one.entry for one in found])
    assert place.chunks() == 0
    assert collector.list(SHARD, 0) == []


@pytest.mark.parametrize("fail_at", range(4))
@pytest.mark.parametrize("after", [True, False], ids=["after", "before"])
def test_a_torn_deletion_is_found_and_repeated(place: Place, fail_at: int, *, after: bool) -> None:
    entry = place.store().put(SHARD, 0, 1, 2, DATA)
    place.client.fail_at, place.client.after = len(place.client.writes) + fail_at, after
    with pytest.raises(RetryableError):
        place.store().delete([entry])
    found = place.store().list(SHARD, 0)
    assert found == ([] if fail_at == 3 and after else [Found(entry, 1, 2)])
    place.store().delete([entry])
    assert place.chunks() == 0
    assert place.store().list(SHARD, 0) == []


def test_deletions_go_many_at_a_time_and_the_heads_last(place: Place) -> None:
    """An entry that comes twice is deleted once: the service refuses a call that names an item twice."""
    store = place.store()
    entries = [store.put(SHARD, 0, 1, number, DATA) for number in range(9)]
    store.delete([*entries, entries[0]])
    assert [len(batch) for batch in place.client.batches] == [25, 2, 9]
    assert place.client.batches[-1] == ["head"] * 9
    assert place.chunks() == 0
    assert store.list(SHARD, 0) == []


def test_what_a_call_did_not_delete_is_deleted_by_the_next_one() -> None:
    asked: list[int] = []

    class Slow:
        def batch_write_item(self, *, RequestItems: Any, **_: Any) -> Any:  # noqa: N803 - AWS' name
            (requests,) = RequestItems.values()
            asked.append(len(requests))
            left = {"t": requests[1:]} if len(requests) > 1 else {}
            return {"UnprocessedItems": left, "ConsumedCapacity": []}

    Table(cast("Any", Slow()), "t").delete_many([{"pk": {"S": str(number)}} for number in range(3)])
    assert asked == [3, 2, 1]


def test_a_call_that_deletes_nothing_is_tried_again_later() -> None:
    class Throttled:
        def batch_write_item(self, *, RequestItems: Any, **_: Any) -> Any:  # noqa: N803 - AWS' name
            return {"UnprocessedItems": RequestItems, "ConsumedCapacity": []}

    with pytest.raises(RetryableError, match="none of 1 items"):
        Table(cast("Any", Throttled()), "t").delete_many([{"pk": {"S": "1"}}])


@pytest.mark.parametrize("fail_at", range(5))
def test_a_throttled_write_goes_on_where_it_stopped(place: Place, fail_at: int) -> None:
    """What was written is not written again: a refused condition costs as much as a write."""
    store = place.store()
    place.client.fail_at = fail_at
    with pytest.raises(RetryableError):
        store.put(SHARD, 0, 1, 2, DATA)
    entry = store.put(SHARD, 0, 1, 2, DATA)
    chunks = [write for write in place.client.writes if write != "head"]
    assert len(chunks) == 3 + (1 <= fail_at <= 3)
    assert store.get(entry) == DATA
    assert store.put(SHARD, 0, 1, 2, DATA) == entry  # and after that it starts from the beginning


@pytest.mark.parametrize("fail_at", range(1, 5))
def test_what_was_deleted_meanwhile_is_written_again(place: Place, fail_at: int) -> None:
    """By whoever wrote a part of it: it does not go on where it stopped."""
    store = place.store()
    place.client.fail_at = fail_at
    with pytest.raises(RetryableError):
        store.put(SHARD, 0, 1, 2, DATA)
    store.delete([one.entry for one in store.list(SHARD, 0)])
    assert store.get(store.put(SHARD, 0, 1, 2, DATA)) == DATA


def test_what_a_slow_owner_wrote_after_a_collection_is_found(place: Place) -> None:
    """The head that was taken from under it is written again at the end."""
    slow = place.store()
    place.client.fail_at = 2
    with pytest.raises(RetryableError):
        slow.put(SHARD, 0, 1, 2, DATA)
    collector = place.store()
    collector.delete([one.entry for one in collector.list(SHARD, 0)])
    entry = slow.put(SHARD, 0, 1, 2, DATA)
    assert [one.entry for one in collector.list(SHARD, 0)] == [entry]
    collector.delete([entry])
    assert place.chunks() == 0


@pytest.mark.parametrize("number", [0, 1, 2])
def test_an_entry_without_one_of_its_chunks_is_refused(place: Place, number: int) -> None:
    entry = place.store().put(SHARD, 0, 1, 2, DATA)
    key = {"pk": {"S": f"{entry.key.removeprefix(IN_TABLE)}/{number:05d}"}, "sk": {"S": "chunk"}}
    place.real.delete_item(TableName=place.name, Key=key)
    with pytest.raises(CorruptStateError, match="missing"):
        place.store().get(entry)


def test_a_chunk_is_never_overwritten(place: Place) -> None:
    entry = place.store().put(SHARD, 0, 1, 2, DATA)
    key = {"pk": {"S": f"{entry.key.removeprefix(IN_TABLE)}/00001"}, "sk": {"S": "chunk"}}
    place.real.put_item(TableName=place.name, Item=key | {"data": {"B": b"other"}})
    place.store().put(SHARD, 0, 1, 2, DATA)
    with pytest.raises(CorruptStateError, match=entry.sha256):
        place.store().get(entry)


def test_listing_reads_no_chunk(place: Place) -> None:
    """A Query is charged for all that it passes: chunks have partition keys of their own."""
    entry = place.store().put(SHARD, 0, 1, 2, DATA)
    folder = entry.key.removeprefix(IN_TABLE).rsplit("/", 1)[0]
    items = place.real.query(
        TableName=place.name,
        KeyConditionExpression="pk = :pk",
        ExpressionAttributeValues={":pk": {"S": folder}},
    )["Items"]
    assert [sorted(item) for item in items] == [["pk", "size", "sk"]]


def test_heads_that_are_not_ours_are_left_alone(place: Place) -> None:
    key = {"pk": {"S": f"clickstream/0/{SHARD}"}, "sk": {"S": "object/notes"}}
    place.real.put_item(TableName=place.name, Item=key | {"size": {"N": "1"}})
    assert place.store().list(SHARD, 0) == []
