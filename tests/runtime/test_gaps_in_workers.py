"""What was never counted and no batch tells of: a worker that comes back too late, and leases that are ahead."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Iterator, Sequence
from random import Random
from typing import Any, Literal

import msgspec
import pytest

from consumer.records import HashRange, Position, Record
from consumer.runtime.surroundings import Retention, Surroundings
from consumer.sources.reading import Behind
from consumer.state.base import Claim, ShardState, StateStore
from tests.random_streams import records
from tests.runtime.test_resharding import ORIGINS, Family, _before, _serve_all
from tests.runtime.world import FakeDaemon, World, random_pipeline

HOUR = 3600.0
DAY_MS = 24 * 3_600_000
OnGap = Literal["refuse", "continue"]


def _behind(held: Sequence[Record], position: Position | None) -> Behind:
    left = [Position.of(each) for each in held]
    first = next((each for each in left if position is None or each > position), None)
    return Behind(first, is_whole=position is not None and position in left)


class Kept(World):
    """A world whose stream deletes records after a day."""

    def __init__(self, on_gap: OnGap = "refuse") -> None:
        pipeline = random_pipeline(11)
        state = dataclasses.replace(pipeline.state, on_gap=on_gap)
        hourly = dataclasses.replace(pipeline.worker, kcl=(("idleTimeBetweenReadsInMillis", "3600000"),))
        super().__init__(dataclasses.replace(pipeline, state=state, worker=hourly), list(records(Random(11), 30)))
        self.records = [msgspec.structs.replace(each, arrival_ms=self.clock.now_ms()) for each in self.records]
        self.looks = 0

    def surroundings(self, store: StateStore | None = None) -> Surroundings:
        return dataclasses.replace(super().surroundings(store), retention=Retention(DAY_MS, self.behind))

    def behind(self, _: str, position: Position | None, __: HashRange) -> Behind:
        self.looks += 1
        return _behind(self.records, position)

    def state(self) -> ShardState:
        state = self.memory.items[self.shard].state
        assert state is not None
        return state

    def count(self, number: int) -> None:
        """Have so many records counted by a worker that then stops."""
        daemon = FakeDaemon(self)
        daemon._script = iter(
            [daemon.initialize(), daemon.batch(self.records[:number]), {"action": "shutdownRequested"}]
        )
        self.run(daemon)


def test_a_worker_that_comes_back_too_late_is_refused() -> None:
    world = Kept()
    world.count(8)
    before = world.state()
    world.clock.seconds += 25 * HOUR
    del world.records[:12]
    world.run()
    (refused,) = world.told("shard_refused")
    assert "may have expired before they were counted" in refused["error"]
    assert world.state() == before


def test_a_worker_that_comes_back_too_late_goes_on_where_the_file_says_so() -> None:
    world = Kept("continue")
    world.count(8)
    before = world.state().position
    world.clock.seconds += 25 * HOUR
    del world.records[:12]
    world.run()
    (gap,) = world.told("gap_passed")
    assert before is not None
    assert (gap["counted_to"], gap["goes_on"]) == (str(before.sequence), world.records[0].sequence_number)
    assert world.state().position == Position.of(world.records[-1])
    world.run()
    assert len(world.told("gap_passed")) == 1


@pytest.mark.parametrize(("hours", "expired", "looks"), [(25, 0, 1), (25, 7, 1), (13, 0, 1), (11, 0, 0)])
def test_a_worker_that_comes_back_in_time_goes_on(hours: int, expired: int, looks: int) -> None:
    """It asks the stream only after a long stop, once."""
    world = Kept()
    world.count(8)
    world.clock.seconds += hours * HOUR
    del world.records[:expired]
    world.run()
    assert world.looks == looks
    assert not world.told("shard_refused")
    assert world.state().position == Position.of(world.records[-1])


def test_a_shard_that_was_silent_has_no_gap() -> None:
    world = Kept()
    coming = world.records[8:]
    del world.records[8:]
    daemon = FakeDaemon(world)
    daemon._script = _silent(daemon, hours=40)
    world.run(daemon)
    assert 15 < world.state().commit_no < 25
    world.records = coming
    world.clock.seconds += 20 * HOUR
    world.run()
    assert not world.told("shard_refused")
    assert world.state().position == Position.of(coming[-1])


def test_one_read_that_says_that_nothing_is_left_may_be_old_news() -> None:
    """The daemon had read ahead, and the worker was held up for a day."""
    world = Kept()
    world.count(8)
    counted = world.state()
    daemon = FakeDaemon(world)
    daemon._script = iter([daemon.initialize(), *daemon.silence(2, seconds=20 * HOUR), {"action": "shutdownRequested"}])
    world.run(daemon)
    assert world.state().counted_until_ms == counted.counted_until_ms


def test_what_a_child_held_before_its_parents_were_read_is_not_taken_for_counted() -> None:
    """The parents were closed at once, and read to their ends eleven hours later: the child had records by then."""
    family = _family("refuse", KeptFamily)
    began_ms = family.clock.now_ms()
    for lease in family.leases.values():
        lease.records = [msgspec.structs.replace(each, arrival_ms=began_ms) for each in lease.records]
    family.clock.seconds += 11 * HOUR
    _serve_all(family, {each: ORIGINS[each] for each in _before("merged")})
    family.turn_to("merged")
    daemon = FakeDaemon(family)
    daemon._script = iter([daemon.initialize(), {"action": "shutdownRequested"}])
    family.run(daemon)
    family.clock.seconds += 22 * HOUR
    del family.leases["merged"].records[:5]
    family.serve("merged")
    (refused,) = family.told("shard_refused")
    assert "may have expired before they were counted" in refused["error"]


def _silent(daemon: FakeDaemon, hours: int) -> Iterator[dict[str, Any]]:
    yield daemon.initialize()
    yield daemon.batch(daemon.world.records)
    yield from daemon.silence(hours, seconds=HOUR)
    yield {"action": "leaseLost"}


class KeptFamily(Family):
    """A family whose stream deletes records after a day."""

    def surroundings(self, store: StateStore | None = None) -> Surroundings:
        return dataclasses.replace(super().surroundings(store), retention=Retention(DAY_MS, self.behind))

    def behind(self, shard: str, position: Position | None, _: HashRange) -> Behind:
        return _behind(self.leases[shard].records, position)


def _family(on_gap: OnGap, kind: type[Family] = Family) -> Family:
    pipeline = random_pipeline(11)
    state = dataclasses.replace(pipeline.state, on_gap=on_gap)
    return kind(dataclasses.replace(pipeline, state=state), list(records(Random(11), 60)))


@pytest.mark.parametrize("on_gap", ["refuse", "continue"])
def test_a_parent_whose_lease_has_ended_and_whose_state_has_not(on_gap: OnGap) -> None:
    """The table was restored from a backup."""
    family = _family(on_gap)
    _serve_all(family, {each: ORIGINS[each] for each in _before("high")})
    family.serve("high", end="shutdown")
    backup = copy.deepcopy(family.memory.items["high"])
    family.serve("high")
    family.memory.items["high"] = backup
    assert backup.state is not None
    position = backup.state.position
    family.serve("merged", end="lost")
    if on_gap == "refuse":
        assert "but high has not ended" in family.log.getvalue()
        assert family.memory.items["merged"] == Claim(1, None)
        return
    assert family.state("merged").parents == ("low", "high")
    assert family.memory.items["high"].retired
    (gap,) = family.told("gap_passed")
    assert position is not None
    assert (gap["shard"], gap["counted_to"], gap["goes_on"]) == ("high", str(position.sequence), None)
    assert "high" not in family.surroundings().telemetry.health.report().shards


def test_an_owner_of_a_parent_that_was_ended_commits_nothing_more() -> None:
    family = _family("continue")
    _serve_all(family, {each: ORIGINS[each] for each in _before("high")})
    family.serve("high", end="shutdown")
    epoch = family.memory.items["high"].epoch
    family.serve("merged", end="shutdown")
    assert family.memory.items["high"].epoch > epoch
    family.serve("high")
    family.serve("merged")
    assert len(family.unique_rows()) > 0


def test_a_parent_that_was_never_begun_is_refused() -> None:
    family = _family("refuse")
    _serve_all(family, {each: ORIGINS[each] for each in _before("high")})
    family.serve("merged", end="lost")
    assert "but high has no state" in family.log.getvalue()
    assert family.memory.items["merged"] == Claim(1, None)


def test_a_parent_that_was_never_begun_ends_as_it_begins_where_the_file_says_so() -> None:
    """Who began it later would give rows of the child another content."""
    family = _family("continue")
    _serve_all(family, {each: ORIGINS[each] for each in _before("high")})
    family.serve("merged", end="lost")
    assert family.state("merged").parents == ("low", "high")
    (gap,) = family.told("gap_passed")
    assert (gap["shard"], gap["counted_to"], gap["goes_on"]) == ("high", None, None)
    family.serve("high")
    assert family.leases["high"].ended
    assert family.memory.items["high"].retired or family.state("high").position is None


def test_what_a_parent_that_was_never_begun_had_to_inherit_is_not_lost() -> None:
    """It was silent, and its lease went amiss."""
    family = _family("continue")
    family.leases["merged"].records.clear()
    _serve_all(family, {each: ORIGINS[each] for each in (*_before("merged"), "split-1", "split-2")})
    family.assert_exact()
    assert [gap["shard"] for gap in family.told("gap_passed")] == ["merged"]


def test_of_parents_that_the_stream_knows_no_more_a_child_inherits_nothing() -> None:
    """All their records had expired."""
    family = _family("continue")
    family.unknown = {"low", "high"}
    family.serve("merged", end="lost")
    assert family.state("merged").parents == ()
    assert [gap["shard"] for gap in family.told("gap_passed")] == ["low", "high"]


def test_a_parent_whose_state_is_gone_is_no_gap_to_pass() -> None:
    family = _family("continue")
    _serve_all(family, {each: ORIGINS[each] for each in _before("merged")})
    family.memory.items["high"] = Claim(family.memory.items["high"].epoch, None)
    family.serve("merged", end="lost")
    assert "but high has no state" in family.log.getvalue()
    assert family.memory.items["merged"] == Claim(1, None)
