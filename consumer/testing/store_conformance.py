"""What every state store must do, as tests to inherit.

Subclass `StoreConformance`, override the fixture `harness`, and pytest runs the suite against your store. Name this
module to `pytest.register_assert_rewrite` to have its assertions explained.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from itertools import chain
from typing import Literal

import msgspec
import pytest

from consumer.errors import CorruptStateError, RetryableError
from consumer.records import Position
from consumer.state.base import (
    FORMAT_VERSION,
    INLINE_BYTES_MAX,
    MANIFEST_ENTRIES_MAX,
    Application,
    Claim,
    Entry,
    FenceRefusedError,
    ShardState,
    StateStore,
    new_entry,
)

SHARD = "shardId-000000000007"
OTHER_SHARD = "shardId-000000000008"
_THREADS = 8
_CLAIMS_A_THREAD = 6

Operation = Literal[
    "read_application",
    "create_application",
    "claim",
    "read",
    "put_object",
    "get_object",
    "delete_objects",
    "advance",
]
OPERATIONS: tuple[Operation, ...] = (
    "read_application",
    "create_application",
    "claim",
    "read",
    "put_object",
    "get_object",
    "delete_objects",
    "advance",
)
Trouble = Literal["throttled", "failed before effect", "failed after effect", "reply lost", "reply cut"]
TROUBLES: tuple[Trouble, ...] = (
    "throttled",
    "failed before effect",
    "failed after effect",
    "reply lost",
    "reply cut",
)
_HAS_EFFECT = frozenset({"failed after effect", "reply lost", "reply cut"})


class StoreHarness(ABC):
    """A place where stores keep things, empty at first, and what can be done to it."""

    @abstractmethod
    def new_store(self, pipeline: str = "clickstream") -> StateStore:
        """Return another owner's store over the same place."""

    @abstractmethod
    def replace_object(self, entry: Entry, data: bytes | None) -> None:
        """Put other bytes, or nothing (None), behind the store's back."""


class TroubledStoreHarness(StoreHarness):
    """A place that can also be made to suffer."""

    @abstractmethod
    def trouble(self, operation: Operation, trouble: Trouble) -> None:
        """Make the next call of an operation suffer."""


STATE = ShardState(
    commit_no=0,
    ended=False,
    position=None,
    last_arrival_ms=None,
    watermark_ms=None,
    hash_range=("0", str(2**128 - 1)),
    stream_created_ms=1_700_000_000_123,
    definitions="d" * 64,
    generation=0,
    format_version=FORMAT_VERSION,
    inline=b"\x00\xff snapshot",
    manifest=(),
    sha256="a" * 64,
)
APPLICATION = Application(
    generation=0,
    started_at_ms=1_700_000_000_456,
    roots=("shardId-000000000000", "shardId-000000000001"),
    definitions="d" * 64,
    stream_created_ms=1_700_000_000_123,
)
_ENTRY = Entry("clickstream/0/shard/00000001-000000000001-" + "b" * 64, "b" * 64, 123_456)
_STATES = (
    STATE,
    msgspec.structs.replace(
        STATE, commit_no=1, position=Position(int("4" * 56), 0), last_arrival_ms=0, watermark_ms=-1
    ),
    msgspec.structs.replace(STATE, commit_no=2, inline=None, manifest=(_ENTRY,) * MANIFEST_ENTRIES_MAX),
    msgspec.structs.replace(STATE, commit_no=3, inline=b"x" * INLINE_BYTES_MAX, generation=7, sha256="c" * 64),
    msgspec.structs.replace(STATE, commit_no=4, position=Position(int("4" * 56) + 1, 2**40), ended=True),
)


def state(commit_no: int, *, ended: bool = False, inline: bytes = b"x") -> ShardState:
    """Return a state that differs by what is given."""
    return msgspec.structs.replace(STATE, commit_no=commit_no, ended=ended, inline=inline)


def committed(store: StateStore, last: int, *, ended: bool = False) -> int:
    """Claim the shard, commit 0 to `last`, the last one with `ended`; return the epoch."""
    epoch = store.claim(SHARD).epoch
    for number in range(last + 1):
        store.advance(SHARD, epoch, state(number, ended=ended and number == last), ended=False)
    return epoch


class StoreConformance:
    """Inherit, and override `harness`."""

    @pytest.fixture
    def harness(self) -> StoreHarness:
        """Return a fresh harness; see to its end in the fixture."""
        raise NotImplementedError

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
        store = harness.new_store()
        epoch = store.claim(SHARD).epoch
        for one in _STATES:
            store.advance(SHARD, epoch, one, ended=False)
            assert store.read(SHARD) == Claim(epoch, one)
        store.advance(SHARD, epoch, state(5, ended=True), ended=True)
        assert store.read(SHARD) == Claim(epoch, state(5, ended=True))

    def test_commit_0_is_made_once(self, harness: StoreHarness) -> None:
        """Not without a claim, not twice, not over a later one."""
        store = harness.new_store()
        with _refused(store, None):
            store.advance(SHARD, 1, state(0), ended=False)
        epoch = store.claim(SHARD).epoch
        with _refused(store, Claim(epoch, None)):
            store.advance(SHARD, epoch, state(1), ended=False)
        store.advance(SHARD, epoch, state(0), ended=False)
        with _refused(store, Claim(epoch, state(0))):
            store.advance(SHARD, epoch, state(0, inline=b"another"), ended=False)
        store.advance(SHARD, epoch, state(1), ended=False)
        with _refused(store, Claim(epoch, state(1))):
            store.advance(SHARD, epoch, state(0, inline=b"another"), ended=False)

    @pytest.mark.parametrize("commit_no", [1, 2, 4, 5])
    def test_a_commit_follows_its_predecessor_alone(self, harness: StoreHarness, commit_no: int) -> None:
        """After commit 2 comes 3, and nothing else."""
        store = harness.new_store()
        epoch = committed(store, 2)
        with _refused(store, Claim(epoch, state(2))):
            store.advance(SHARD, epoch, state(commit_no, inline=b"another"), ended=False)

    @pytest.mark.parametrize("first", [True, False])
    def test_a_claim_fences_every_earlier_owner(self, harness: StoreHarness, *, first: bool) -> None:
        """Before commit 0 and after; the new owner goes on."""
        old, new = harness.new_store(), harness.new_store()
        epoch = old.claim(SHARD).epoch if first else committed(old, 3)
        expected = new.claim(SHARD)
        number = 0 if first else 4
        with _refused(new, expected):
            old.advance(SHARD, epoch, state(number), ended=False)
        new.advance(SHARD, expected.epoch, state(number), ended=False)

    def test_an_epoch_that_was_not_given_is_refused(self, harness: StoreHarness) -> None:
        """From the future as from the past."""
        store = harness.new_store()
        epoch = committed(store, 0)
        with _refused(store, Claim(epoch, state(0))):
            store.advance(SHARD, epoch + 1, state(1), ended=False)

    def test_an_ended_state_takes_only_commits_that_know_it(self, harness: StoreHarness) -> None:
        """Frozen for the others; and a live one is closed to those that believe it ended."""
        store = harness.new_store()
        epoch = committed(store, 1)
        with _refused(store, Claim(epoch, state(1))):
            store.advance(SHARD, epoch, state(2, ended=True), ended=True)
        store.advance(SHARD, epoch, state(2, ended=True), ended=False)
        with _refused(store, Claim(epoch, state(2, ended=True))):
            store.advance(SHARD, epoch, state(3), ended=False)
        store.advance(SHARD, epoch, state(3, ended=True), ended=True)

    def test_of_two_equal_commits_one_is_refused(self, harness: StoreHarness) -> None:
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
            {"inline": None, "manifest": (_ENTRY,) * (MANIFEST_ENTRIES_MAX + 1)},
            {"inline": None},
            {"manifest": (_ENTRY,)},
        ],
    )
    def test_a_state_that_must_not_be_is_not_stored(
        self, harness: StoreHarness, changes: dict[str, bytes | tuple[Entry, ...] | None]
    ) -> None:
        """Beyond a limit, without a snapshot, or with two: a mistake of the caller's."""
        store = harness.new_store()
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

    # Objects

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
    def test_an_object_that_is_not_what_was_written_is_refused(self, harness: StoreHarness, data: bytes | None) -> None:
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


class StoreTroubleConformance(StoreConformance):
    """Inherit this one for a store that is reached over a network; `harness` returns a TroubledStoreHarness."""

    @pytest.fixture
    def harness(self) -> TroubledStoreHarness:
        """Return a fresh harness; see to its end in the fixture."""
        raise NotImplementedError

    @pytest.mark.parametrize("operation", OPERATIONS)
    @pytest.mark.parametrize("trouble", TROUBLES)
    def test_trouble_is_told_and_never_read_as_an_answer(
        self, harness: TroubledStoreHarness, operation: Operation, trouble: Trouble
    ) -> None:
        """RetryableError, whatever is there; the same call succeeds afterwards, or finds its own effect."""
        store = harness.new_store()
        store.create_application(APPLICATION)
        epoch = committed(store, 0)
        entry = store.put_object(SHARD, 0, epoch, 0, b"the state")
        more = new_entry("clickstream", SHARD, 0, epoch=epoch, commit_no=1, data=b"more")
        calls: dict[Operation, tuple[Callable[[], object], object]] = {
            "read_application": (store.read_application, APPLICATION),
            "create_application": (lambda: store.create_application(APPLICATION), APPLICATION),
            "claim": (lambda: store.claim(SHARD), Claim(epoch + 1 + (trouble in _HAS_EFFECT), state(0))),
            "read": (lambda: store.read(SHARD), Claim(epoch, state(0))),
            "put_object": (lambda: store.put_object(SHARD, 0, epoch, 1, b"more"), more),
            "get_object": (lambda: store.get_object(entry), b"the state"),
            "delete_objects": (lambda: store.delete_objects([entry]), None),
            "advance": (lambda: store.advance(SHARD, epoch, state(1), ended=False), None),
        }
        call, expected = calls[operation]
        harness.trouble(operation, trouble)
        with pytest.raises(RetryableError):
            call()
        if operation == "advance" and trouble in _HAS_EFFECT:
            with pytest.raises(FenceRefusedError):
                call()
        else:
            assert call() == expected
        if operation == "advance":
            assert store.read(SHARD) == Claim(epoch, state(1))


@contextmanager
def _refused(store: StateStore, expected: Claim | None) -> Iterator[None]:
    """Hold that the block is refused by the fence and leaves the item as expected."""
    with pytest.raises(FenceRefusedError):
        yield
    assert store.read(SHARD) == expected
