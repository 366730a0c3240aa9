"""When a commit is due, what makes it necessary, and what an owner does at its end."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest

from consumer.errors import RefusedError
from consumer.pipeline.model import State
from consumer.records import Position, Record, Row
from consumer.runtime import commit, compaction
from consumer.runtime.commit import ShardOwner
from consumer.runtime.mode import Mode
from consumer.state.base import Claim, ShardState
from consumer.state.memory import MemoryStore
from consumer.telemetry.events import Telemetry
from tests.core.rule_stories import pipeline
from tests.runtime.world import SHARD, World

TEN = "w: {tumbling: 10ms, by: [user], select: {c: count()}}"
EMIT_SECONDS, INTERVAL_SECONDS = 1.0, 5.0
"""The defaults of `state.emit_delay` and `state.commit_interval`."""
HAIR = 2**-11


class Shard:
    """An owner, and the source that it checkpoints at."""

    def __init__(self, world: World | None = None) -> None:
        self.world = world or World(pipeline(TEN, bound="0ms"), [])
        self.owner = ShardOwner(self.world.surroundings(), SHARD)
        self.checkpoints: list[Position] = []
        self.works = True
        self.owner.initialise(None)
        self.world.steps.clear()

    def take(self, *events: tuple[int, int, str]) -> None:
        """Take records: sequence number, time, user."""
        self.owner.step([_record(*event) for event in events])

    def checkpoint(self, position: Position) -> bool:
        self.checkpoints.append(position)
        return self.works

    def commit(self, *, ended: bool = False) -> None:
        self.owner.commit(self.checkpoint, ended=ended)

    def due_after(self, seconds: float) -> bool:
        """Tell whether a commit is due so long from now on, and not a hair before."""
        clock = self.world.clock
        clock.seconds += seconds - HAIR
        before = self.owner.commit_is_due()
        clock.seconds += HAIR
        return self.owner.commit_is_due() and not before

    @property
    def commits(self) -> int:
        return self.world.steps.count("before advance")

    @property
    def state(self) -> ShardState:
        claim = MemoryStore(self.world.memory).read(SHARD)
        assert claim is not None
        assert claim.state is not None
        return claim.state

    def told(self, event: str) -> list[dict[str, Any]]:
        return self.world.told(event)


def _record(sequence: int, time: int, user: str) -> Record:
    return Record(json.dumps({"user": user, "at": time}).encode(), user, str(sequence), 0, 1_000)


def test_nothing_new_needs_no_commit() -> None:
    shard = Shard()
    shard.world.clock.seconds += 1000
    assert not shard.owner.commit_is_due()
    shard.owner.step([])
    assert not shard.owner.commit_is_due()
    shard.owner.finish(shard.checkpoint)
    assert shard.commits == 0
    assert not shard.checkpoints


def test_a_restored_state_with_nothing_to_acknowledge_needs_no_commit() -> None:
    shard = Shard()
    shard.take((1, 1, "a"))
    shard.commit()
    later = Shard(shard.world)
    later.world.clock.seconds += 1000
    assert not later.owner.commit_is_due()
    later.owner.finish(later.checkpoint)
    assert later.commits == 0


def test_records_wait_for_the_interval_since_the_last_commit() -> None:
    shard = Shard()
    shard.world.clock.seconds += 2
    shard.take((1, 1, "a"))
    assert shard.due_after(INTERVAL_SECONDS - 2)
    shard.commit()
    assert not shard.owner.commit_is_due()
    shard.take((2, 2, "a"))
    assert shard.due_after(INTERVAL_SECONDS)


def test_results_wait_for_the_emit_delay_since_the_first_of_them() -> None:
    shard = Shard()
    shard.take((1, 1, "a"), (2, 15, "a"))
    shard.world.clock.seconds += EMIT_SECONDS / 2
    shard.take((3, 25, "a"))
    assert shard.due_after(EMIT_SECONDS / 2)


@pytest.mark.parametrize(
    ("behind_seconds", "wait_seconds"),
    [(0, EMIT_SECONDS), (10, EMIT_SECONDS), (30, 3.0), (50, INTERVAL_SECONDS), (86_400, INTERVAL_SECONDS)],
)
def test_results_of_a_shard_that_is_behind_wait_a_tenth_of_that_up_to_the_interval(
    behind_seconds: int, wait_seconds: float
) -> None:
    shard = Shard()
    shard.owner.behind_ms = behind_seconds * 1000
    shard.take((1, 1, "a"), (2, 15, "a"))
    assert shard.due_after(wait_seconds)
    shard.commit()
    assert shard.due_after(wait_seconds), "that they were sent is recorded as late"


def test_a_longer_emit_delay_stays_what_it_is() -> None:
    assert State("table", None, commit_interval_ms=5_000, emit_delay_ms=60_000).row_wait_ms(86_400_000) == 60_000


def test_how_long_rows_have_waited_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[float] = []

    def delivered(_: object, *, emit_delay_seconds: float, **__: object) -> None:
        told.append(emit_delay_seconds)

    monkeypatch.setattr(Telemetry, "delivered", delivered)
    shard = Shard()
    for number in range(2):
        shard.take((3 * number + 1, 20 * number + 1, "a"), (3 * number + 2, 20 * number + 15, "a"))
        shard.world.clock.seconds += 0.5
        shard.take((3 * number + 3, 20 * number + 19, "a"))
        shard.world.clock.seconds += 0.25
        shard.commit()
    assert told == [0.75, 0.75]


def test_that_rows_were_delivered_is_recorded_after_the_emit_delay() -> None:
    shard = Shard()
    shard.take((1, 1, "a"), (2, 15, "a"))
    shard.commit()
    assert shard.state.outbox_rows == len(shard.world.sink.rows) == 1
    assert shard.due_after(EMIT_SECONDS)
    shard.commit()
    assert shard.state.outbox_rows == 0
    shard.world.clock.seconds += 1000
    assert not shard.owner.commit_is_due()


def test_much_is_committed_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    shard = Shard()
    shard.take((1, 1, "a"), (2, 1, "b"), (3, 15, "a"))
    row_bytes = sum(len(row.data) for row in shard.owner._pending)
    for bytes_max, due in ((row_bytes, False), (row_bytes - 1, True)):
        monkeypatch.setattr(commit, "PENDING_BYTES_MAX", bytes_max)
        assert shard.owner.commit_is_due() is due
    shard.commit()
    monkeypatch.setattr(commit, "PENDING_BYTES_MAX", 0)
    assert not shard.owner.commit_is_due(), "what was sent no longer counts"
    assert not Shard().owner.commit_is_due()
    shard.take((4, 16, "a"), (5, 16, "b"), (6, 16, "c"))
    for groups_max, due in ((3, False), (2, True)):
        monkeypatch.setattr(commit, "DIRTY_GROUPS_MAX", groups_max)
        assert shard.owner.commit_is_due() is due


def test_a_checkpoint_that_did_not_work_is_tried_again_by_the_next_commit() -> None:
    shard = Shard()
    shard.works = False
    shard.take((1, 1, "a"))
    shard.commit()
    assert shard.due_after(INTERVAL_SECONDS)
    shard.works = True
    shard.owner.finish(shard.checkpoint)
    shard.owner.finish(shard.checkpoint)
    assert shard.checkpoints == [Position(1, 0)] * 2


def test_records_that_were_skipped_move_the_checkpoint_as_far_as_they_go() -> None:
    shard = Shard()
    shard.take((1, 1, "a"), (2, 1, "a"), (3, 1, "a"))
    shard.commit()
    later = Shard(shard.world)
    later.owner.finish(later.checkpoint)
    assert not later.checkpoints, "nothing was given to this lease"
    later.take((1, 1, "a"), (2, 1, "a"))
    later.owner.finish(later.checkpoint)
    later.take((1, 1, "a"))
    later.owner.finish(later.checkpoint)
    assert later.checkpoints == [Position(2, 0)] * 2
    assert later.owner.processor.totals.filtered == 0
    assert later.owner.processor.open_groups() == {"w": 1}


def test_the_end_of_the_lease_commits_and_then_records_the_delivery() -> None:
    shard = Shard()
    shard.take((1, 1, "a"), (2, 15, "a"))
    shard.owner.finish(shard.checkpoint)
    assert shard.commits == 2
    assert shard.state.outbox_rows == 0
    assert len(shard.world.sink.rows) == 1


def test_rows_without_records_are_not_left_behind_at_the_end_of_the_lease() -> None:
    """Windows close in portions: the last of them without a new record."""
    shard = Shard()
    shard.owner.processor._core._rows_max = 1
    shard.take((1, 1, "a"), (2, 1, "b"), (3, 15, "a"))
    shard.commit()
    shard.commit()
    assert shard.owner.processor.closing
    shard.owner.step([])
    shard.owner.finish(shard.checkpoint)
    assert len(shard.world.sink.rows) == 2


def test_an_ended_shard_without_rows_is_committed_once_and_takes_no_checkpoint() -> None:
    shard = Shard()
    shard.take((1, 1, "a"))
    shard.commit(ended=True)
    assert shard.commits == 1
    assert shard.state.ended
    assert not shard.checkpoints


def test_an_ended_shard_with_rows_records_their_delivery_at_once() -> None:
    shard = Shard()
    shard.take((1, 1, "a"), (2, 15, "a"))
    shard.commit(ended=True)
    assert shard.commits == 2
    assert shard.state.ended
    assert shard.state.outbox_rows == 0
    assert shard.state.commit_no == 2


def test_recording_a_delivery_adds_to_the_entries_of_an_ended_state(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(commit, "INLINE_BYTES_MAX", 0)
    shard = Shard()
    shard.take((1, 1, "a"), (2, 15, "a"))
    shard.commit(ended=True)
    first, second = shard.state.manifest
    assert second.size < first.size


def test_what_changed_is_never_taken_for_the_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    """However small it is, it is no state that an item could hold alone."""
    monkeypatch.setattr(commit, "INLINE_BYTES_MAX", 0)
    monkeypatch.setattr(commit, "SMALL_STATE_GROUPS", 0)
    shard = Shard()
    shard.take((1, 1, "a"), (2, 1, "b"))
    shard.commit()
    monkeypatch.setattr(commit, "INLINE_BYTES_MAX", 8192)
    shard.take((3, 1, "c"))
    shard.commit()
    assert shard.state.inline is None
    assert len(shard.state.manifest) == 3
    assert Shard(shard.world).owner.processor.open_groups() == {"w": 3}


def test_a_base_takes_the_place_of_all_entries_those_just_merged_included(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(commit, "INLINE_BYTES_MAX", 0)
    monkeypatch.setattr(commit, "SMALL_STATE_GROUPS", 0)
    monkeypatch.setattr(compaction, "RUN_MIN", 2)
    shard = Shard()
    objects = shard.world.memory.objects
    for number in range(1, 50):
        shard.take((number, 1, f"user{number}"))
        shard.commit()
        if len(objects) > len(shard.state.manifest):
            break  # one was merged of others, and waits for the next commit
    assert len(objects) == len(shard.state.manifest) + 1
    monkeypatch.setattr(commit, "SMALL_STATE_GROUPS", 1000)
    shard.take((50, 1, "a"))
    shard.commit()
    assert list(objects) == [entry.key for entry in shard.state.manifest]
    assert len(objects) == 1


def test_an_ended_state_starts_no_merge(monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[int] = []

    def start(_: object, manifest: object, *, epoch: int, commit_no: int) -> None:
        started.append(commit_no)

    monkeypatch.setattr(compaction.Compaction, "start", start)
    shard = Shard()
    shard.take((1, 1, "a"))
    shard.commit()
    shard.commit(ended=True)
    assert started == [1]


@pytest.mark.parametrize("ended", [False, True])
def test_the_next_owner_is_active_or_frozen_as_the_state_is(*, ended: bool) -> None:
    shard = Shard()
    shard.take((1, 1, "a"), (2, 15, "a"))
    shard.commit(ended=ended)
    later = Shard(shard.world)
    assert later.owner.mode is (Mode.FROZEN if ended else Mode.ACTIVE)
    assert later.commits == 0


def test_a_snapshot_at_another_position_than_the_item_tells_is_refused() -> None:
    shard = Shard()
    shard.take((1, 1, "a"))
    shard.commit()
    other = msgspec.structs.replace(shard.state, position=Position(7, 0))
    shard.world.memory.items[SHARD] = Claim(1, other)
    with pytest.raises(RefusedError, match="not at the position its state item names"):
        Shard(shard.world)


def test_what_was_sent_again_is_told_and_recorded() -> None:
    shard = Shard()
    shard.take((1, 1, "a"), (2, 15, "a"))
    shard.commit()
    later = Shard(shard.world)
    assert [told["rows"] for told in later.told("outbox_resent")] == [1]
    assert len(later.world.sink.rows) == 2
    assert later.due_after(EMIT_SECONDS)
    later.owner.finish(later.checkpoint)
    assert later.state.outbox_rows == 0
    assert len(Shard(shard.world).told("outbox_resent")) == 1
    assert len(later.world.sink.rows) == 2


def test_rows_of_a_beginning_are_stored_then_sent_then_recorded(monkeypatch: pytest.MonkeyPatch) -> None:
    """As those of a window that was removed: its last rows come before any record."""
    shard = Shard()
    shard.take((1, 1, "a"))
    shard.commit()
    row = Row("w", b'{"id": "last of its window"}')
    monkeypatch.setattr(commit, "carried_over", lambda _around, _shard, processor: [(processor, [row])])
    later = Shard(shard.world)
    assert later.state.outbox_rows == 1
    assert later.world.sink.rows == [row.data]
    assert later.due_after(EMIT_SECONDS)
    later.owner.finish(later.checkpoint)
    assert later.state.outbox_rows == 0
    assert later.world.sink.rows == [row.data]


def test_a_small_state_is_written_whole_and_a_larger_one_by_what_changed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(commit, "INLINE_BYTES_MAX", 0)
    monkeypatch.setattr(commit, "SMALL_STATE_GROUPS", 2)
    shard = Shard()
    lengths = []
    for number, users in enumerate(("a", "b", "c", "d")):
        shard.take((number + 1, 1, users))
        shard.commit()
        lengths.append(len(shard.state.manifest))
    assert lengths == [1, 1, 2, 3]


def test_up_to_its_greatest_size_a_state_is_in_its_item(monkeypatch: pytest.MonkeyPatch) -> None:
    sizes: list[int] = []
    for less in (0, 1):
        shard = Shard()
        shard.take((1, 1, "a"))
        if sizes:
            monkeypatch.setattr(commit, "INLINE_BYTES_MAX", sizes[0] - less)
        shard.commit()
        inline = shard.state.inline
        sizes.append(0 if inline is None else len(inline))
    assert sizes[0] > 0
    assert sizes[1] == 0
    monkeypatch.setattr(commit, "INLINE_BYTES_MAX", sizes[0])
    shard = Shard()
    shard.take((1, 1, "a"))
    shard.commit()
    assert shard.state.inline is not None
