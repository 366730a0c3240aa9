"""What every state store must do with contributions to global windows and with progress. Part of `StoreConformance`."""

from __future__ import annotations

from collections.abc import Callable
from itertools import product

import msgspec
import pytest

from consumer.core.completion import Progress
from consumer.core.contributions import Contribution, encode
from consumer.errors import RetryableError
from consumer.state.base import StateStore
from consumer.testing.store_harness import (
    APPLICATION,
    CONTRIBUTION,
    HAS_EFFECT,
    OTHER_SHARD,
    PROGRESS,
    SHARD,
    TROUBLES,
    Operation,
    StoreHarness,
    Trouble,
    TroubledStoreHarness,
    committed,
)

GLOBAL_OPERATIONS: tuple[Operation, ...] = (
    "put_contributions",
    "read_contributions",
    "write_progress",
    "read_progress",
)
_EVER_MS = 2**62
"""The lateness of a stream that has ended: later than any window."""
_MORE_THAN_A_CALL = 60
_LARGE_BYTES = 300 * 1024
_LARGE_ONES = 5
"""More than a page of a Query, which is 1 MB."""


class StoreGlobalConformance:
    """Inherited by `StoreConformance`."""

    @pytest.fixture
    def harness(self) -> StoreHarness:
        """Return a fresh harness; see to its end in the fixture."""
        raise NotImplementedError

    # Contributions

    def test_a_contribution_comes_back_as_it_was(self, harness: StoreHarness) -> None:
        """To another owner, and with or without a time at which it may be forgotten."""
        assert _read(harness.new_store()) == []
        kept_for_ever = msgspec.structs.replace(CONTRIBUTION, origin=OTHER_SHARD, data=b"", expires_ms=None)
        _put(harness.new_store(), CONTRIBUTION, kept_for_ever)
        assert _read(harness.new_store()) == [CONTRIBUTION, kept_for_ever]

    def test_contributions_come_in_order(self, harness: StoreHarness) -> None:
        """Of end, start, origin and chunk; before year 1 and before 1970 as after; whatever shards are called."""
        ends = [-62_135_596_800_000, -1, 0, 999, 253_402_300_800_000]
        origins = ["a", "a-b", "a.b", "ab"]
        expected = [
            msgspec.structs.replace(CONTRIBUTION, end_ms=end, start_ms=start, origin=origin, chunk=chunk, chunks=11)
            for end in ends
            for start, origin, chunk in product([end - 86_400_000, end - 1], origins, [2, 10])
        ]
        store = harness.new_store()
        _put(store, *reversed(expected))
        assert _read(store) == expected

    @pytest.mark.parametrize(
        ("after", "until", "expected"),
        [
            (None, _EVER_MS, [-5, 0, 10, 11, 20]),
            (-(2**62), _EVER_MS, [-5, 0, 10, 11, 20]),
            (None, 10, [-5, 0, 10]),
            (None, 9, [-5, 0]),
            (10, 20, [11, 20]),
            (9, 19, [10, 11]),
            (10, 11, [11]),
            (20, _EVER_MS, []),
            (10, 10, []),
            (11, 10, []),
            (_EVER_MS, _EVER_MS, []),
            (None, -(2**62), []),
        ],
    )
    def test_contributions_are_read_by_the_end_of_their_windows(
        self, harness: StoreHarness, after: int | None, until: int, expected: list[int]
    ) -> None:
        """After one time, up to another; there may be none between."""
        store = harness.new_store()
        _put(store, *(msgspec.structs.replace(CONTRIBUTION, end_ms=end, start_ms=-10) for end in (20, -5, 0, 11, 10)))
        assert [each.end_ms for each in _read(store, after=after, until=until)] == expected

    def test_contributions_are_apart_by_all_that_names_them(self, harness: StoreHarness) -> None:
        """Pipeline, generation, window, bucket, and what orders them."""
        store = harness.new_store()
        others = [
            msgspec.structs.replace(CONTRIBUTION, **{name: value})
            for name, value in (("generation", 1), ("window_hash", "e" * 64), ("bucket", 1), ("bucket", 11))
        ]
        together = [
            CONTRIBUTION,
            msgspec.structs.replace(CONTRIBUTION, chunk=1),
            msgspec.structs.replace(CONTRIBUTION, origin=OTHER_SHARD),
            msgspec.structs.replace(CONTRIBUTION, start_ms=CONTRIBUTION.start_ms + 1),
        ]
        _put(store, *others, *together)
        assert _read(harness.new_store("payments")) == []
        assert _read(store) == together
        for each in others:
            assert _read(store, like=each) == [each]

    def test_the_same_contributions_may_be_put_again(self, harness: StoreHarness) -> None:
        """In one call and in another, by this owner or the next; what is there is replaced."""
        store = harness.new_store()
        store.put_contributions([])
        _put(store, CONTRIBUTION, CONTRIBUTION)
        _put(harness.new_store(), CONTRIBUTION)
        assert _read(store) == [CONTRIBUTION]
        later = msgspec.structs.replace(CONTRIBUTION, expires_ms=CONTRIBUTION.end_ms)
        _put(store, later)
        assert _read(store) == [later]

    def test_many_and_large_contributions_come_back(self, harness: StoreHarness) -> None:
        """More than the services take or give at once; and who stops reading gets what he has asked for."""
        data = bytes(range(256)) * (_LARGE_BYTES // 256)
        expected = [
            msgspec.structs.replace(
                CONTRIBUTION, chunk=number, chunks=_MORE_THAN_A_CALL, data=data if number < _LARGE_ONES else b""
            )
            for number in range(_MORE_THAN_A_CALL)
        ]
        store = harness.new_store()
        _put(store, *expected)
        assert _read(store) == expected
        until = CONTRIBUTION.end_ms
        some = store.read_contributions(0, CONTRIBUTION.window_hash, 0, after_end_ms=None, until_end_ms=until)
        assert [next(some), next(some)] == expected[:2]

    # Progress

    def test_progress_comes_back_as_it_was(self, harness: StoreHarness) -> None:
        """Of all shards of a generation, in order."""
        store = harness.new_store()
        assert list(store.read_progress(0)) == []
        other = Progress(OTHER_SHARD, 0, (), ("5", "5"), None, 1, 0)
        last = msgspec.structs.replace(other, shard="shardId-000000000010", watermark_ms=0)
        later = msgspec.structs.replace(PROGRESS, generation=1)
        for each in (last, PROGRESS, later, other):
            store.write_progress(each)
        assert list(harness.new_store().read_progress(0)) == [PROGRESS, other, last]
        assert list(store.read_progress(1)) == [later]
        assert list(store.read_progress(10)) == []
        assert list(harness.new_store("payments").read_progress(0)) == []

    def test_the_progress_of_many_shards_is_read_whole(self, harness: StoreHarness) -> None:
        """As of 1,000 shards."""
        store = harness.new_store()
        shards = [f"shardId-{number:012d}" for number in range(_MORE_THAN_A_CALL)]
        for shard in reversed(shards):
            store.write_progress(msgspec.structs.replace(PROGRESS, shard=shard))
        assert [each.shard for each in store.read_progress(0)] == shards

    def test_progress_never_goes_back(self, harness: StoreHarness) -> None:
        """What a late owner writes is not heard, and no error, whatever its epoch; the same commit's is replaced."""
        store = harness.new_store()
        store.write_progress(PROGRESS)
        store.write_progress(msgspec.structs.replace(PROGRESS, commit_no=6, epoch=4, watermark_ms=0))
        assert list(store.read_progress(0)) == [PROGRESS]
        again = msgspec.structs.replace(PROGRESS, epoch=2, watermark_ms=0, expires_ms=None, began=(), stretches=())
        store.write_progress(again)
        assert list(store.read_progress(0)) == [again]
        later = msgspec.structs.replace(PROGRESS, commit_no=10, epoch=2)
        store.write_progress(later)
        store.write_progress(msgspec.structs.replace(PROGRESS, commit_no=9))
        assert list(store.read_progress(0)) == [later]

    def test_contributions_and_progress_are_no_state(self, harness: StoreHarness) -> None:
        """No shard is listed for them, none may begin."""
        store = harness.new_store()
        _put(store, CONTRIBUTION)
        store.write_progress(PROGRESS)
        assert store.list_shards() == {}
        assert list(store.shard_names()) == []
        assert store.read(SHARD) is None
        assert store.read_application() is None

    def test_a_reset_forgets_progress(self, harness: StoreHarness) -> None:
        """Of the old generation, of shards with a state and without; not of the new one, and no other pipeline's."""
        store, other = harness.new_store(), harness.new_store("payments")
        committed(store, 0)
        for each in (store, other):
            each.write_progress(PROGRESS)
            each.write_progress(msgspec.structs.replace(PROGRESS, shard=OTHER_SHARD))
        store.reset(APPLICATION)
        assert list(store.read_progress(0)) == []
        new = msgspec.structs.replace(PROGRESS, generation=1, commit_no=0)
        store.write_progress(new)
        store.reset(APPLICATION)
        assert list(store.read_progress(1)) == [new], "the reset is repeated, and spares the new generation"
        assert [each.shard for each in other.read_progress(0)] == [SHARD, OTHER_SHARD]


class StoreGlobalTroubleConformance(StoreGlobalConformance):
    """Inherited by `StoreTroubleConformance`; `harness` returns a TroubledStoreHarness."""

    @pytest.fixture
    def harness(self) -> TroubledStoreHarness:
        """Return a fresh harness; see to its end in the fixture."""
        raise NotImplementedError

    @pytest.mark.parametrize("operation", GLOBAL_OPERATIONS)
    @pytest.mark.parametrize("trouble", TROUBLES)
    def test_trouble_with_global_windows_is_told_and_passes(
        self, harness: TroubledStoreHarness, operation: Operation, trouble: Trouble
    ) -> None:
        """RetryableError, whatever is there; the same call succeeds afterwards."""
        store = harness.new_store()
        _put(store, CONTRIBUTION)
        store.write_progress(PROGRESS)
        more = msgspec.structs.replace(CONTRIBUTION, origin=OTHER_SHARD)
        later = msgspec.structs.replace(PROGRESS, commit_no=8, watermark_ms=1)
        calls: dict[Operation, tuple[Callable[[], object], object]] = {
            "put_contributions": (lambda: _put(store, more), None),
            "read_contributions": (lambda: _read(store), [CONTRIBUTION]),
            "write_progress": (lambda: store.write_progress(later), None),
            "read_progress": (lambda: list(store.read_progress(0)), [PROGRESS]),
        }
        call, expected = calls[operation]
        harness.trouble(operation, trouble)
        with pytest.raises(RetryableError):
            call()
        if operation == "put_contributions":
            assert _read(store) == [CONTRIBUTION, more][: 1 + (trouble in HAS_EFFECT)]
        if operation == "write_progress":
            assert list(store.read_progress(0)) == [later if trouble in HAS_EFFECT else PROGRESS]
        assert call() == expected
        if operation == "put_contributions":
            assert _read(store) == [CONTRIBUTION, more]
        if operation == "write_progress":
            assert list(store.read_progress(0)) == [later]


def _put(store: StateStore, *contributions: Contribution) -> None:
    store.put_contributions([encode(each) for each in contributions])


def _read(
    store: StateStore, *, like: Contribution = CONTRIBUTION, after: int | None = None, until: int = _EVER_MS
) -> list[Contribution]:
    return list(
        store.read_contributions(like.generation, like.window_hash, like.bucket, after_end_ms=after, until_end_ms=until)
    )
