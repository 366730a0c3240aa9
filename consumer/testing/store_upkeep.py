"""What every state store must do beside commits: retirement, the list, reset, import. Part of `StoreConformance`."""

from __future__ import annotations

import msgspec
import pytest

from consumer.state.base import INLINE_BYTES_MAX, Claim, FenceRefusedError
from consumer.testing.store_harness import (
    APPLICATION,
    LEDGER,
    NEXT_APPLICATION,
    OTHER_SHARD,
    SHARD,
    STATE,
    StoreHarness,
    committed,
    refused,
    started,
    state,
)


class StoreUpkeepConformance:
    """Inherited by `StoreConformance`."""

    @pytest.fixture
    def harness(self) -> StoreHarness:
        """Return a fresh harness; see to its end in the fixture."""
        raise NotImplementedError

    # Retirement

    def test_a_retired_item_keeps_its_epoch_and_nothing_else(self, harness: StoreHarness) -> None:
        """And its epochs go on."""
        store = harness.new_store()
        epoch = committed(store, 1, ended=True)
        store.retire(SHARD, epoch)
        assert store.read(SHARD) == Claim(epoch, None, retired=True)
        assert store.claim(SHARD) == Claim(epoch + 1, None, retired=True)

    def test_retiring_twice_is_success(self, harness: StoreHarness) -> None:
        """Whoever has claimed it since: the tombstone is left as it is."""
        store = harness.new_store()
        epoch = committed(store, 0, ended=True)
        store.retire(SHARD, epoch)
        store.retire(SHARD, epoch)
        later = store.claim(SHARD)
        store.retire(SHARD, epoch)
        assert store.read(SHARD) == later == Claim(epoch + 1, None, retired=True)

    def test_only_an_ended_item_of_that_epoch_is_retired(self, harness: StoreHarness) -> None:
        """Not one that is live, claimed only, claimed since, or not there."""
        store = started(harness)
        with refused(store, None):
            store.retire(SHARD, 1)
        claim = store.claim(SHARD)
        with refused(store, claim):
            store.retire(SHARD, claim.epoch)
        epoch = committed(store, 1)
        with refused(store, Claim(epoch, state(1))):
            store.retire(SHARD, epoch)
        store.advance(SHARD, epoch, state(2, ended=True), ended=False)
        later = store.claim(SHARD)
        with refused(store, later):
            store.retire(SHARD, epoch)
        store.retire(SHARD, later.epoch)

    def test_all_items_have_names(self, harness: StoreHarness) -> None:
        """Live ones, claimed ones and tombstones; in order, and of this pipeline alone."""
        store = harness.new_store()
        assert list(store.shard_names()) == []
        store.claim(OTHER_SHARD)
        store.retire(SHARD, committed(store, 0, ended=True))
        assert list(store.shard_names()) == [SHARD, OTHER_SHARD] == list(store.list_shards())

    @pytest.mark.parametrize("ended", [True, False])
    def test_a_tombstone_takes_no_commit(self, harness: StoreHarness, *, ended: bool) -> None:
        """Neither a first one nor the next one, of whatever epoch."""
        store = harness.new_store()
        epoch = committed(store, 0, ended=True)
        store.retire(SHARD, epoch)
        with refused(store, Claim(epoch, None, retired=True)):
            store.advance(SHARD, epoch, state(1, ended=True), ended=ended)
        claim = store.claim(SHARD)
        for number in (0, 1):
            with refused(store, claim):
                store.advance(SHARD, claim.epoch, state(number), ended=ended)

    # The list of shards

    def test_every_shard_is_listed_with_its_item(self, harness: StoreHarness) -> None:
        """Claimed, live, ended, retired; by shard id; and no other pipeline's."""
        store = harness.new_store()
        assert store.list_shards() == {}
        committed(harness.new_store("payments"), 0, shard="shardId-000000000099")
        assert store.list_shards() == {}
        committed(store, 1)
        committed(store, 0, ended=True, shard=OTHER_SHARD)
        store.retire(OTHER_SHARD, 1)
        store.claim("shardId-000000000001")
        assert list(store.list_shards().items()) == [
            ("shardId-000000000001", Claim(1, None)),
            (SHARD, Claim(1, state(1))),
            (OTHER_SHARD, Claim(1, None, retired=True)),
        ]
        assert list(harness.new_store("payments").list_shards()) == ["shardId-000000000099"]

    def test_many_shards_are_listed_whole(self, harness: StoreHarness) -> None:
        """More than the services give at once."""
        store = harness.new_store()
        shards = [f"shardId-{number:012d}" for number in range(105)]
        for shard in reversed(shards):
            store.claim(shard)
        assert store.list_shards() == {shard: Claim(1, None) for shard in shards}
        assert list(store.list_shards()) == shards

    # Reset

    def test_a_reset_begins_the_next_generation_without_state(self, harness: StoreHarness) -> None:
        """Live, ended, retired and claimed items: all get a higher epoch and lose all else."""
        store = harness.new_store()
        committed(store, 2)
        committed(store, 0, ended=True, shard=OTHER_SHARD)
        store.retire(OTHER_SHARD, 1)
        store.claim("shardId-000000000009")
        others = harness.new_store("payments")
        committed(others, 0)
        new = msgspec.structs.replace(APPLICATION, roots=("shardId-1",), started_at_ms=5, definitions="e" * 64)
        stored = store.reset(new)
        assert stored == msgspec.structs.replace(new, generation=1) == store.read_application()
        assert store.list_shards() == {
            SHARD: Claim(2, None),
            OTHER_SHARD: Claim(2, None),
            "shardId-000000000009": Claim(2, None),
        }
        assert others.read(SHARD) == Claim(1, state(0))
        assert others.read_application() == APPLICATION

    def test_a_reset_may_be_repeated_and_spares_the_new_generation(self, harness: StoreHarness) -> None:
        """As after an answer that was lost: what the new generation has committed stays."""
        store = harness.new_store()
        committed(store, 2)
        assert store.reset(APPLICATION) == NEXT_APPLICATION
        epoch = store.claim(SHARD).epoch
        first = msgspec.structs.replace(STATE, generation=1)
        store.advance(SHARD, epoch, first, ended=False)
        assert store.reset(APPLICATION) == NEXT_APPLICATION
        assert store.read(SHARD) == Claim(epoch, first)
        assert store.reset(NEXT_APPLICATION).generation == NEXT_APPLICATION.generation + 1
        assert store.read(SHARD) == Claim(epoch + 1, None)

    def test_a_reset_of_another_generation_is_refused(self, harness: StoreHarness) -> None:
        """And where there is no application; nothing is touched."""
        store = harness.new_store()
        with pytest.raises(FenceRefusedError):
            store.reset(APPLICATION)
        assert store.read_application() is None
        epoch = committed(store, 0)
        for application in (NEXT_APPLICATION, msgspec.structs.replace(APPLICATION, generation=7)):
            with refused(store, Claim(epoch, state(0))):
                store.reset(application)
        store.reset(APPLICATION)
        with pytest.raises(FenceRefusedError):
            store.reset(msgspec.structs.replace(APPLICATION, roots=()))
        assert store.read_application() == NEXT_APPLICATION

    def test_no_zombie_commits_after_a_reset(self, harness: StoreHarness) -> None:
        """One that had claimed before is fenced; one that claims afterwards cannot begin a state of the old one."""
        store, zombie = harness.new_store(), harness.new_store()
        epoch = committed(zombie, 2)
        claimed = zombie.claim(OTHER_SHARD).epoch
        store.reset(APPLICATION)
        with refused(store, Claim(epoch + 1, None)):
            zombie.advance(SHARD, epoch, state(3), ended=False)
        with pytest.raises(FenceRefusedError):
            zombie.advance(OTHER_SHARD, claimed, state(0), ended=False)
        late = zombie.claim(SHARD)
        with refused(store, Claim(epoch + 2, None)):
            zombie.advance(SHARD, late.epoch, state(0), ended=False)

    def test_commit_0_needs_an_application(self, harness: StoreHarness) -> None:
        """Of the state's own generation."""
        store = harness.new_store()
        epoch = store.claim(SHARD).epoch
        with refused(store, Claim(epoch, None)):
            store.advance(SHARD, epoch, STATE, ended=False)
        store.create_application(APPLICATION)
        with refused(store, Claim(epoch, None)):
            store.advance(SHARD, epoch, msgspec.structs.replace(STATE, generation=1), ended=False)
        store.advance(SHARD, epoch, STATE, ended=False)

    # The ledger

    def test_a_ledger_is_replaced_whole(self, harness: StoreHarness) -> None:
        """It is the shard's and the pipeline's alone, and no part of the state or of the list of shards."""
        store = harness.new_store()
        assert store.read_ledger(SHARD) is None
        store.write_ledger(SHARD, LEDGER)
        assert harness.new_store().read_ledger(SHARD) == LEDGER
        later = msgspec.structs.replace(LEDGER, epoch=3, marks=LEDGER.marks[1:], parents=())
        store.write_ledger(SHARD, later)
        assert store.read_ledger(SHARD) == later
        assert store.read_ledger(OTHER_SHARD) is None
        assert harness.new_store("payments").read_ledger(SHARD) is None
        assert store.read(SHARD) is None
        assert store.list_shards() == {}

    def test_a_ledger_of_an_earlier_epoch_replaces_none(self, harness: StoreHarness) -> None:
        """What a late owner writes is not heard, and no error."""
        store = harness.new_store()
        store.write_ledger(SHARD, LEDGER)
        store.write_ledger(SHARD, msgspec.structs.replace(LEDGER, epoch=1, marks=()))
        assert store.read_ledger(SHARD) == LEDGER
        again = msgspec.structs.replace(LEDGER, marks=LEDGER.marks[:1])
        store.write_ledger(SHARD, again)
        assert store.read_ledger(SHARD) == again

    def test_a_ledger_outlives_the_state_but_no_reset(self, harness: StoreHarness) -> None:
        """The windows of a retired shard may be asked for; those of another generation are void."""
        store = harness.new_store()
        epoch = committed(store, 1, ended=True)
        store.write_ledger(SHARD, LEDGER)
        store.retire(SHARD, epoch)
        assert store.read_ledger(SHARD) == LEDGER
        store.reset(APPLICATION)
        assert store.read_ledger(SHARD) is None
        epoch = store.claim(SHARD).epoch
        store.advance(SHARD, epoch, msgspec.structs.replace(STATE, generation=1), ended=False)
        mine = msgspec.structs.replace(LEDGER, epoch=epoch, generation=1)
        store.write_ledger(SHARD, mine)
        store.reset(APPLICATION)
        assert store.read_ledger(SHARD) == mine, "the reset is repeated, and spares the new generation"

    # Import

    @pytest.mark.parametrize("ended", [True, False])
    def test_a_state_is_imported_by_a_claim_and_commit_0(self, harness: StoreHarness, *, ended: bool) -> None:
        """With its lineage, ended or not, inline or in objects, into another pipeline or after a reset."""
        old = harness.new_store()
        old_epoch = committed(old, 3, ended=ended)
        entry = old.put_object(SHARD, 0, old_epoch, 3, b"x" * (INLINE_BYTES_MAX + 1))
        new = harness.new_store("payments")
        new.create_application(APPLICATION)
        new.reset(APPLICATION)
        epoch = new.claim(SHARD).epoch
        copy = new.put_object(SHARD, 1, epoch, 0, old.get_object(entry))
        imported = msgspec.structs.replace(
            state(0, ended=ended), generation=1, inline=None, manifest=(copy,), parents=(OTHER_SHARD, "shardId-x")
        )
        new.advance(SHARD, epoch, imported, ended=False)
        assert new.claim(SHARD) == Claim(epoch + 1, imported)
        assert new.get_object(copy) == old.get_object(entry)
        new.advance(SHARD, epoch + 1, msgspec.structs.replace(imported, commit_no=1), ended=ended)
