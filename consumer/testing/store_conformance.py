"""What every state store must do, as tests to inherit.

Subclass `StoreConformance`, override the fixture `harness`, and pytest runs the suite against your store. Name this
module, `store_upkeep`, `store_objects`, `store_global` and `store_harness` to `pytest.register_assert_rewrite` to have
their assertions explained.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from itertools import chain

import msgspec
import pytest

from consumer.errors import RetryableError
from consumer.state.base import (
    INLINE_BYTES_MAX,
    MANIFEST_ENTRIES_MAX,
    Application,
    Claim,
    Entry,
    FenceRefusedError,
)
from consumer.testing.store_global import (
    GLOBAL_OPERATIONS,
    StoreGlobalConformance,
    StoreGlobalTroubleConformance,
)
from consumer.testing.store_harness import (
    APPLICATION,
    CHANGED_APPLICATION,
    ENTRY,
    HAS_EFFECT,
    LEDGER,
    NEXT_APPLICATION,
    OPERATIONS,
    OTHER_SHARD,
    SHARD,
    STATE,
    STATES,
    TROUBLES,
    Operation,
    StoreHarness,
    Trouble,
    TroubledStoreHarness,
    committed,
    refused,
    started,
    state,
)
from consumer.testing.store_objects import (
    OBJECT_OPERATIONS,
    StoreObjectConformance,
    StoreObjectTroubleConformance,
)
from consumer.testing.store_upkeep import StoreUpkeepConformance

_THREADS = 8
_CLAIMS_A_THREAD = 6


class StoreConformance(StoreUpkeepConformance, StoreObjectConformance, StoreGlobalConformance):
    """Inherit, and override `harness`."""

    # Claims

    def test_nothing_is_there_at_first(self, harness: StoreHarness) -> None:
        """No item, no application."""
        store = harness.new_store()
        assert store.read(SHARD) is None
        assert store.read_application() is None

    def test_epochs_rise_by_one_from_one(self, harness: StoreHarness) -> None:
        """Whoever claims."""
        claims = [harness.new_store().claim(SHARD) for _ in range(3)]
        assert claims == [Claim(1, None), Claim(2, None), Claim(3, None)]

    def test_concurrent_claims_get_epochs_of_their_own(self, harness: StoreHarness) -> None:
        """No epoch is given twice or left out, and each owner sees its own rise."""

        def claim_some(_: int) -> list[int]:
            store = harness.new_store()
            return [store.claim(SHARD).epoch for _ in range(_CLAIMS_A_THREAD)]

        with ThreadPoolExecutor(_THREADS) as pool:
            epochs = list(pool.map(claim_some, range(_THREADS)))
        assert sorted(chain.from_iterable(epochs)) == list(range(1, _THREADS * _CLAIMS_A_THREAD + 1))
        assert all(mine == sorted(mine) for mine in epochs)

    def test_a_claim_returns_the_last_commit(self, harness: StoreHarness) -> None:
        """And leaves it as it is."""
        committed(harness.new_store(), 2)
        assert harness.new_store().claim(SHARD) == Claim(2, state(2))
        assert harness.new_store().read(SHARD) == Claim(2, state(2))

    def test_reading_changes_nothing(self, harness: StoreHarness) -> None:
        """Twice the same."""
        store = harness.new_store()
        epoch = committed(store, 0)
        assert store.read(SHARD) == store.read(SHARD) == Claim(epoch, state(0))
        assert store.read(OTHER_SHARD) is None
        assert store.read(OTHER_SHARD) is None

    def test_shards_and_pipelines_are_apart(self, harness: StoreHarness) -> None:
        """Each has its own item and its own application."""
        store, other = harness.new_store(), harness.new_store("payments")
        committed(store, 1)
        store.create_application(APPLICATION)
        assert store.read(OTHER_SHARD) is None
        assert other.read(SHARD) is None
        assert other.read_application() is None
        assert other.claim(SHARD) == Claim(1, None)

    # Commits

    def test_every_commit_replaces_all_of_the_state(self, harness: StoreHarness) -> None:
        """What comes back is what was written, null or not, up to the limits."""
        store = started(harness)
        epoch = store.claim(SHARD).epoch
        for one in STATES:
            store.advance(SHARD, epoch, one, ended=False)
            assert store.read(SHARD) == Claim(epoch, one)
        store.advance(SHARD, epoch, state(5, ended=True), ended=True)
        assert store.read(SHARD) == Claim(epoch, state(5, ended=True))

    def test_commit_0_is_made_once(self, harness: StoreHarness) -> None:
        """Not without a claim, not twice, not over a later one."""
        store = started(harness)
        with refused(store, None):
            store.advance(SHARD, 1, state(0), ended=False)
        epoch = store.claim(SHARD).epoch
        with refused(store, Claim(epoch, None)):
            store.advance(SHARD, epoch, state(1), ended=False)
        store.advance(SHARD, epoch, state(0), ended=False)
        with refused(store, Claim(epoch, state(0))):
            store.advance(SHARD, epoch, state(0, inline=b"another"), ended=False)
        store.advance(SHARD, epoch, state(1), ended=False)
        with refused(store, Claim(epoch, state(1))):
            store.advance(SHARD, epoch, state(0, inline=b"another"), ended=False)

    @pytest.mark.parametrize("commit_no", [1, 2, 4, 5])
    def test_a_commit_follows_its_predecessor_alone(self, harness: StoreHarness, commit_no: int) -> None:
        """After commit 2 comes 3, and nothing else."""
        store = harness.new_store()
        epoch = committed(store, 2)
        with refused(store, Claim(epoch, state(2))):
            store.advance(SHARD, epoch, state(commit_no, inline=b"another"), ended=False)

    @pytest.mark.parametrize("first", [True, False])
    def test_a_claim_fences_every_earlier_owner(self, harness: StoreHarness, *, first: bool) -> None:
        """Before commit 0 and after; the new owner goes on."""
        old, new = started(harness), harness.new_store()
        epoch = old.claim(SHARD).epoch if first else committed(old, 3)
        expected = new.claim(SHARD)
        number = 0 if first else 4
        with refused(new, expected):
            old.advance(SHARD, epoch, state(number), ended=False)
        new.advance(SHARD, expected.epoch, state(number), ended=False)

    def test_an_epoch_that_was_not_given_isrefused(self, harness: StoreHarness) -> None:
        """From the future as from the past."""
        store = harness.new_store()
        epoch = committed(store, 0)
        with refused(store, Claim(epoch, state(0))):
            store.advance(SHARD, epoch + 1, state(1), ended=False)

    def test_an_ended_state_takes_only_commits_that_know_it(self, harness: StoreHarness) -> None:
        """Frozen for the others; and a live one is closed to those that believe it ended."""
        store = harness.new_store()
        epoch = committed(store, 1)
        with refused(store, Claim(epoch, state(1))):
            store.advance(SHARD, epoch, state(2, ended=True), ended=True)
        store.advance(SHARD, epoch, state(2, ended=True), ended=False)
        with refused(store, Claim(epoch, state(2, ended=True))):
            store.advance(SHARD, epoch, state(3), ended=False)
        store.advance(SHARD, epoch, state(3, ended=True), ended=True)

    def test_of_two_equal_commits_one_isrefused(self, harness: StoreHarness) -> None:
        """Twins in one epoch, at the same moment: the number decides."""
        epoch = committed(harness.new_store(), 0)

        def commit(number: int) -> bool:
            try:
                harness.new_store().advance(SHARD, epoch, state(1, inline=b"%d" % number), ended=False)
            except FenceRefusedError:
                return False
            return True

        with ThreadPoolExecutor(_THREADS) as pool:
            assert sum(pool.map(commit, range(_THREADS))) == 1

    @pytest.mark.parametrize(
        "changes",
        [
            {"inline": b"x" * (INLINE_BYTES_MAX + 1)},
            {"inline": None, "manifest": (ENTRY,) * (MANIFEST_ENTRIES_MAX + 1)},
            {"inline": None},
            {"manifest": (ENTRY,)},
        ],
    )
    def test_a_state_that_must_not_be_is_not_stored(
        self, harness: StoreHarness, changes: dict[str, bytes | tuple[Entry, ...] | None]
    ) -> None:
        """Beyond a limit, without a snapshot, or with two: a mistake of the caller's."""
        store = started(harness)
        epoch = store.claim(SHARD).epoch
        with pytest.raises(AssertionError):
            store.advance(SHARD, epoch, msgspec.structs.replace(STATE, **changes), ended=False)
        assert store.read(SHARD) == Claim(epoch, None)

    # The application

    def test_the_application_is_written_once(self, harness: StoreHarness) -> None:
        """The first wins; the second gets what the first wrote."""
        store = harness.new_store()
        assert store.create_application(APPLICATION) == APPLICATION
        another = msgspec.structs.replace(APPLICATION, roots=(), started_at_ms=1)
        assert harness.new_store().create_application(another) == APPLICATION
        assert harness.new_store().read_application() == APPLICATION

    def test_an_application_without_roots_is_kept(self, harness: StoreHarness) -> None:
        """Nothing is something else than missing."""
        without = msgspec.structs.replace(APPLICATION, roots=())
        harness.new_store().create_application(without)
        assert harness.new_store().read_application() == without

    def test_all_who_create_at_once_see_the_same(self, harness: StoreHarness) -> None:
        """One of them wins."""

        def create(number: int) -> Application:
            return harness.new_store().create_application(msgspec.structs.replace(APPLICATION, started_at_ms=number))

        with ThreadPoolExecutor(_THREADS) as pool:
            seen = set(pool.map(create, range(_THREADS)))
        assert seen == {harness.new_store().read_application()}

    # Adoptions

    def test_other_definitions_are_adopted_whole(self, harness: StoreHarness) -> None:
        """States stay as they are."""
        store = harness.new_store()
        epoch = committed(store, 1)
        assert store.adopt(APPLICATION, CHANGED_APPLICATION) == CHANGED_APPLICATION
        assert harness.new_store().read_application() == CHANGED_APPLICATION
        assert store.read(SHARD) == Claim(epoch, state(1))
        back = msgspec.structs.replace(CHANGED_APPLICATION, definitions=APPLICATION.definitions, adoptions=2)
        assert store.adopt(CHANGED_APPLICATION, back) == back

    @pytest.mark.parametrize(
        "stored",
        [
            msgspec.structs.replace(APPLICATION, generation=1),
            msgspec.structs.replace(APPLICATION, definitions="e" * 64),
            msgspec.structs.replace(APPLICATION, adoptions=2),
        ],
    )
    def test_who_adopts_from_what_is_not_stored_gets_what_is(self, harness: StoreHarness, stored: Application) -> None:
        """The number of adoptions tells the same definitions apart that were given up and came again."""
        store = harness.new_store()
        store.create_application(stored)
        assert store.adopt(APPLICATION, CHANGED_APPLICATION) == stored
        assert store.read_application() == stored

    def test_of_all_who_adopt_at_once_one_wins(self, harness: StoreHarness) -> None:
        """The others get to see what it has stored."""
        harness.new_store().create_application(APPLICATION)

        def adopt(number: int) -> Application:
            mine = msgspec.structs.replace(CHANGED_APPLICATION, definitions=str(number))
            return harness.new_store().adopt(APPLICATION, mine)

        with ThreadPoolExecutor(_THREADS) as pool:
            seen = set(pool.map(adopt, range(_THREADS)))
        assert seen == {harness.new_store().read_application()}


class StoreTroubleConformance(StoreConformance, StoreObjectTroubleConformance, StoreGlobalTroubleConformance):
    """Inherit this one for a store that is reached over a network; `harness` returns a TroubledStoreHarness."""

    @pytest.fixture
    def harness(self) -> TroubledStoreHarness:
        """Return a fresh harness; see to its end in the fixture."""
        raise NotImplementedError

    @pytest.mark.parametrize("operation", sorted(set(OPERATIONS) - {*OBJECT_OPERATIONS, *GLOBAL_OPERATIONS}))
    @pytest.mark.parametrize("trouble", TROUBLES)
    def test_trouble_is_told_and_never_read_as_an_answer(
        self, harness: TroubledStoreHarness, operation: Operation, trouble: Trouble
    ) -> None:
        """RetryableError, whatever is there; the same call succeeds afterwards, or finds its own effect."""
        store = harness.new_store()
        epoch = committed(store, 0)
        ended = committed(store, 0, ended=True, shard=OTHER_SHARD)
        calls: dict[Operation, tuple[Callable[[], object], object]] = {
            "read_application": (store.read_application, APPLICATION),
            "create_application": (lambda: store.create_application(APPLICATION), APPLICATION),
            "claim": (lambda: store.claim(SHARD), Claim(epoch + 1 + (trouble in HAS_EFFECT), state(0))),
            "read": (lambda: store.read(SHARD), Claim(epoch, state(0))),
            "advance": (lambda: store.advance(SHARD, epoch, state(1), ended=False), None),
            "reset": (lambda: store.reset(APPLICATION), NEXT_APPLICATION),
            "adopt": (lambda: store.adopt(APPLICATION, CHANGED_APPLICATION), CHANGED_APPLICATION),
            "list_shards": (
                store.list_shards,
                {SHARD: Claim(epoch, state(0)), OTHER_SHARD: Claim(ended, state(0, ended=True))},
            ),
            "retire": (lambda: store.retire(OTHER_SHARD, ended), None),
            "read_ledger": (lambda: store.read_ledger(SHARD), None),
            "write_ledger": (lambda: store.write_ledger(SHARD, LEDGER), None),
        }
        call, expected = calls[operation]
        harness.trouble(operation, trouble)
        with pytest.raises(RetryableError):
            call()
        if operation == "advance" and trouble in HAS_EFFECT:
            with pytest.raises(FenceRefusedError):
                call()
        else:
            assert call() == expected
        if operation == "advance":
            assert store.read(SHARD) == Claim(epoch, state(1))
        if operation == "retire":
            assert store.read(OTHER_SHARD) == Claim(ended, None, retired=True)
        if operation == "write_ledger":
            assert store.read_ledger(SHARD) == LEDGER
