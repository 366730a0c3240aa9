"""What an owner tells of INIT and COMMIT: operators see its state through these numbers alone."""

from __future__ import annotations

from random import Random

import msgspec
import pytest

from consumer.errors import FencedError, RefusedError
from consumer.records import HashRange, Position, Record, hash_key
from consumer.runtime import commit
from consumer.runtime.commit import ShardOwner
from consumer.runtime.heap import STATE_HEAP
from consumer.runtime.mode import Mode
from consumer.runtime.surroundings import Surroundings
from consumer.state.base import ShardState
from consumer.state.memory import MemoryStore
from tests.core.rule_stories import pipeline
from tests.random_streams import records
from tests.runtime.test_resharding import ORIGINS, Family
from tests.runtime.world import SHARD, FakeDaemon, World, random_pipeline

STEP_SECONDS = 0.25
"""What every half of a call takes here."""


class SlowWorld(World):
    def step(self, name: str) -> None:
        self.clock.seconds += STEP_SECONDS
        super().step(name)


class OvertakenWorld(World):
    """Another worker claims the shard as soon as it is claimed."""

    def step(self, name: str) -> None:
        if name == "after claim":
            MemoryStore(self.memory).claim(SHARD)
        super().step(name)


class SlowFamily(Family):
    def step(self, name: str) -> None:
        self.clock.seconds += STEP_SECONDS
        super().step(name)


def _world() -> SlowWorld:
    return SlowWorld(random_pipeline(11), records(Random(11), 60))


def _state(world: World, shard: str = SHARD) -> ShardState:
    claim = MemoryStore(world.memory).read(shard)
    assert claim is not None
    assert claim.state is not None
    return claim.state


def _initialised(world: World, shard: str = SHARD) -> tuple[ShardOwner, Surroundings]:
    world.steps.clear()
    around = world.surroundings()
    owner = ShardOwner(around, shard)
    owner.initialise(None)
    return owner, around


def test_a_start_is_told_with_what_it_found_and_how_long_it_took() -> None:
    world = _world()
    _initialised(world)
    (told,) = world.told("shard_initialised")
    assert told["started"] == "empty"
    assert (told["epoch"], told["commit_no"], told["groups"], told["position"]) == (1, 0, 0, None)
    assert told["seconds"] == STEP_SECONDS * len(world.steps)
    assert told["state_bytes"] == len(_state(world).inline or b"") > 0


def test_a_start_from_what_is_stored_is_told_so() -> None:
    world = _world()
    world.run(FakeDaemon(world, end="lost"))
    stored = _state(world)
    owner, _ = _initialised(world)
    told = world.told("shard_initialised")[-1]
    assert told["started"] == "resumed"
    assert (told["epoch"], told["commit_no"]) == (2, stored.commit_no)
    assert told["groups"] == sum(owner.processor.open_groups().values()) > 0
    assert told["position"] == f"{world.records[-1].sequence_number}:{world.records[-1].sub_sequence_number}"
    assert told["seconds"] == STEP_SECONDS * len(world.steps)
    assert told["state_bytes"] == len(stored.inline or b"")


def test_a_child_tells_that_it_has_inherited() -> None:
    family = SlowFamily(random_pipeline(11), list(records(Random(11), 60)))
    for shard in ("low", "high", "merged"):
        family.serve(shard)
    assert [told["started"] for told in family.told("shard_initialised")] == ["empty", "empty", "inherited"]


@pytest.mark.parametrize("inline_max_bytes", [8192, 0])
def test_commits_tell_their_size_what_is_stored_and_how_long_they_took(
    inline_max_bytes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(commit, "INLINE_BYTES_MAX", inline_max_bytes)
    monkeypatch.setattr(commit, "SMALL_STATE_GROUPS", 0 if inline_max_bytes == 0 else 1000)
    world = _world()
    world.run(FakeDaemon(world, end="lost"))
    commits, deliveries = world.told("committed"), world.told("delivered")
    assert [told["commit_no"] for told in commits] == list(range(len(commits)))
    assert sum(told["rows"] for told in commits) == sum(told["rows"] for told in deliveries) == len(world.sink.rows)
    calls = 1 if inline_max_bytes else 2
    assert {told["seconds"] for told in commits} == {2 * STEP_SECONDS * calls}
    assert {told["seconds"] for told in deliveries} == {2 * STEP_SECONDS}
    assert any(told["groups"] for told in commits)
    state = _state(world)
    assert commits[-1]["state_bytes"] == len(state.inline or b"") + sum(entry.size for entry in state.manifest)
    last = len(state.inline) if state.inline is not None else state.manifest[-1].size
    assert commits[-1]["bytes"] == last
    assert (len(state.manifest) > 1) == (inline_max_bytes == 0)


def test_a_missing_application_item_refuses_the_shard_before_it_is_claimed() -> None:
    world = _world()
    world.memory.application = None
    with pytest.raises(RefusedError, match="application item has disappeared"):
        ShardOwner(world.surroundings(), SHARD).initialise(None)
    assert not world.memory.items


def test_who_is_refused_after_another_has_claimed_is_fenced_and_not_parked() -> None:
    """What a late owner misses may have been given up by a later one that went on."""
    alone = World(random_pipeline(11), records(Random(11), 60))
    overtaken = OvertakenWorld(random_pipeline(11), records(Random(11), 60))
    for world, error in ((alone, RefusedError), (overtaken, FencedError)):
        world.application = msgspec.structs.replace(world.application, roots=("another",))
        world.memory.application = world.application
        owner = ShardOwner(world.surroundings(), SHARD)
        with pytest.raises(error):
            owner.initialise(None)
        assert owner.mode is Mode.PARKED


def test_a_shard_knows_its_range_before_and_after_a_restart() -> None:
    family = Family(random_pipeline(11), list(records(Random(11), 60)))
    for _ in range(2):
        family.turn_to("low")
        owner, _ = _initialised(family, "low")
        assert owner.mode is Mode.ACTIVE
        assert owner.hash_range == ORIGINS["low"].hash_range == HashRange(0, 2**127 - 1)
        assert _state(family, "low").hash_range == ("0", str(2**127 - 1))


def test_records_are_held_against_the_shards_range_from_its_first_lease_on() -> None:
    windows = "w: {tumbling: 10ms, by: [user], select: {c: count()}}"
    family = Family(pipeline(windows, bound="0ms"), [])
    users = [name for name in map(str, range(99)) if not ORIGINS["low"].hash_range.holds(hash_key(name))]
    foreign = [Record(b'{"user": "%s", "at": 1}' % user.encode(), user, "7", 0, 1_000) for user in users[:1]]
    family.turn_to("low")
    owner, _ = _initialised(family, "low")
    assert owner.step(foreign).counts.dead_letters == {"misrouted": 1}


def test_the_collector_is_told_what_was_loaded_and_what_is_open(monkeypatch: pytest.MonkeyPatch) -> None:
    loaded: list[int] = []
    settled: list[int] = []
    monkeypatch.setattr(STATE_HEAP, "loaded", loaded.append)
    monkeypatch.setattr(STATE_HEAP, "settle", settled.append)
    world = _world()
    world.run(FakeDaemon(world, end="lost"))
    owner, _ = _initialised(world)
    groups = sum(owner.processor.open_groups().values())
    assert loaded == [0, groups]
    assert settled[-1] == groups > 0


def test_positions_in_the_log_are_those_of_the_state() -> None:
    world = _world()
    world.run()
    assert _state(world).position == Position.of(world.records[-1])
