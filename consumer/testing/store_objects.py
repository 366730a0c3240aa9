"""What every state store must do with snapshot objects. Part of `StoreConformance`.

Inherit `StoreObjectConformance` alone for another place of objects under a store that has passed the rest.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import msgspec
import pytest

from consumer.errors import CorruptStateError, RetryableError
from consumer.state.base import IN_BUCKET, IN_TABLE, Entry, Found, StateStore, is_orphan, new_entry
from consumer.testing.store_harness import (
    OTHER_SHARD,
    SHARD,
    STATE,
    TROUBLES,
    Operation,
    StoreHarness,
    Trouble,
    TroubledStoreHarness,
    started,
)

OBJECT_OPERATIONS: tuple[Operation, ...] = ("put_object", "get_object", "delete_objects", "list_objects")


class StoreObjectConformance:
    """Inherited by `StoreConformance`."""

    @pytest.fixture
    def harness(self) -> StoreHarness:
        """Return a fresh harness; see to its end in the fixture."""
        raise NotImplementedError

    @pytest.mark.parametrize("data", [b"", b"\x00" * 1000, bytes(range(256)) * 9000], ids=["empty", "zeros", "2 MB"])
    def test_an_object_comes_back_as_it_was(self, harness: StoreHarness, data: bytes) -> None:
        """Also written twice, also by another owner."""
        store = harness.new_store()
        entry = store.put_object(SHARD, 0, 1, 0, data)
        assert store.put_object(SHARD, 0, 1, 0, data) == entry
        assert entry.size == len(data)
        assert harness.new_store().get_object(entry) == data

    def test_objects_never_meet_under_one_name(self, harness: StoreHarness) -> None:
        """The name tells generation, shard, epoch, number and bytes apart, and names nothing of the data."""
        store = harness.new_store()
        entries = [
            store.put_object(SHARD, 0, 1, 0, b"secret-key"),
            store.put_object(SHARD, 0, 1, 0, b"other"),
            store.put_object(SHARD, 0, 1, 1, b"secret-key"),
            store.put_object(SHARD, 0, 2, 0, b"secret-key"),
            store.put_object(SHARD, 1, 1, 0, b"secret-key"),
            store.put_object(OTHER_SHARD, 0, 1, 0, b"secret-key"),
        ]
        assert len({entry.key for entry in entries}) == len(entries)
        assert not any("secret" in entry.key for entry in entries)
        assert [store.get_object(entry) for entry in entries].count(b"secret-key") == len(entries) - 1

    def test_names_sort_by_epoch_and_number(self, harness: StoreHarness) -> None:
        """So that a list of them is the history."""
        store = harness.new_store()
        pairs = [(1, 9), (1, 10), (2, 0), (10, 3)]
        keys = [store.put_object(SHARD, 0, epoch, number, b"x").key for epoch, number in pairs]
        assert keys == sorted(keys)

    @pytest.mark.parametrize("data", [None, b"", b"the stat", b"the stat3", b"the state and more"])
    def test_an_object_that_is_not_what_was_written_isrefused(self, harness: StoreHarness, data: bytes | None) -> None:
        """Missing, shorter, of the same length, longer."""
        store = harness.new_store()
        entry = store.put_object(SHARD, 0, 1, 0, b"the state")
        harness.replace_object(entry, data)
        with pytest.raises(CorruptStateError, match=entry.sha256):
            store.get_object(entry)

    def test_deleting_is_for_good_and_may_be_done_again(self, harness: StoreHarness) -> None:
        """Nothing else is touched."""
        store = harness.new_store()
        gone = [store.put_object(SHARD, 0, 1, number, b"x") for number in range(3)]
        kept = store.put_object(SHARD, 0, 1, 3, b"x")
        store.delete_objects([])
        store.delete_objects(gone)
        store.delete_objects(gone)
        for entry in gone:
            with pytest.raises(CorruptStateError):
                store.get_object(entry)
        assert store.get_object(kept) == b"x"

    def test_what_is_deleted_is_listed_no_more(self, harness: StoreHarness) -> None:
        """Nor found."""
        store = harness.new_store()
        entry = store.put_object(SHARD, 0, 1, 0, b"x" * 1000)
        store.delete_objects([entry])
        assert store.list_objects(SHARD, 0) == []
        with pytest.raises(CorruptStateError):
            store.get_object(entry)

    def test_objects_are_listed_by_shard_and_generation(self, harness: StoreHarness) -> None:
        """With what their names tell, sorted, and nobody else's."""
        store = harness.new_store()
        expected = [
            Found(store.put_object(SHARD, 0, epoch, number, data), epoch, number)
            for epoch, number, data in [(1, 9, b""), (1, 10, b"x" * 1000), (2, 0, b"y"), (10**8, 3, b"z")]
        ]
        others = [
            store.put_object(SHARD, 1, 1, 0, b"x"),
            store.put_object(OTHER_SHARD, 0, 1, 0, b"x"),
            store.put_object(SHARD + "0", 0, 1, 0, b"x"),
            harness.new_store("clickstream-2").put_object(SHARD, 0, 1, 0, b"x"),
        ]
        assert sorted(store.list_objects(SHARD, 0), key=lambda one: one.epoch) == expected
        assert [one.entry for one in store.list_objects(SHARD, 1)] == others[:1]
        assert store.list_objects(SHARD, 2) == []

    def test_orphans_are_found_and_deleted(self, harness: StoreHarness) -> None:
        """What the manifest names, and what may be of a commit under way, stays."""
        store = started(harness)
        store.claim(SHARD)
        orphans = [store.put_object(SHARD, 0, 1, 0, b"fenced")]
        epoch = store.claim(SHARD).epoch
        base = store.put_object(SHARD, 0, epoch, 0, b"base")
        orphans += [store.put_object(SHARD, 0, epoch, 0, b"another try"), store.put_object(SHARD, 0, epoch, 1, b"lost")]
        _commit_objects(store, epoch, 0, [base])
        delta = store.put_object(SHARD, 0, epoch, 1, b"delta")
        _commit_objects(store, epoch, 1, [base, delta])
        kept = [base, delta, store.put_object(SHARD, 0, epoch, 2, b"under way")]
        found = store.list_objects(SHARD, 0)
        claim = store.read(SHARD)
        assert claim is not None
        collected = [one.entry for one in found if is_orphan(one, claim)]
        assert sorted(one.key for one in collected) == sorted(one.key for one in orphans)
        store.delete_objects(collected)
        assert sorted(one.entry.key for one in store.list_objects(SHARD, 0)) == sorted(one.key for one in kept)
        assert [store.get_object(entry) for entry in kept] == [b"base", b"delta", b"under way"]


class StoreObjectTroubleConformance(StoreObjectConformance):
    """Inherited by `StoreTroubleConformance`; `harness` returns a TroubledStoreHarness."""

    @pytest.fixture
    def harness(self) -> TroubledStoreHarness:
        """Return a fresh harness; see to its end in the fixture."""
        raise NotImplementedError

    @pytest.mark.parametrize("operation", OBJECT_OPERATIONS)
    @pytest.mark.parametrize("trouble", TROUBLES)
    def test_trouble_with_an_object_is_told_and_passes(
        self, harness: TroubledStoreHarness, operation: Operation, trouble: Trouble
    ) -> None:
        """RetryableError, whatever is there; the same call succeeds afterwards, or finds its own effect."""
        store = harness.new_store()
        entry = store.put_object(SHARD, 0, 1, 0, b"the state")
        place = IN_TABLE if entry.key.startswith(IN_TABLE) else IN_BUCKET
        more = new_entry("clickstream", SHARD, 0, epoch=1, commit_no=1, data=b"more", place=place)
        calls: dict[Operation, tuple[Callable[[], object], object]] = {
            "put_object": (lambda: store.put_object(SHARD, 0, 1, 1, b"more"), more),
            "get_object": (lambda: store.get_object(entry), b"the state"),
            "delete_objects": (lambda: store.delete_objects([entry]), None),
            "list_objects": (lambda: store.list_objects(SHARD, 0), [Found(entry, 1, 0)]),
        }
        call, expected = calls[operation]
        harness.trouble(operation, trouble)
        with pytest.raises(RetryableError):
            call()
        assert call() == expected


def _commit_objects(store: StateStore, epoch: int, number: int, manifest: Sequence[Entry]) -> None:
    one = msgspec.structs.replace(STATE, commit_no=number, inline=None, manifest=tuple(manifest))
    store.advance(SHARD, epoch, one, ended=False)
