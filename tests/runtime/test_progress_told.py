"""When a shard tells others how far it is: at its beginning, after what was left unsent, and for a parent that died."""

from __future__ import annotations

import pytest

from consumer.core.completion import Progress
from consumer.records import Position
from consumer.runtime.commit import ShardOwner
from consumer.state.memory import MemoryStore
from tests.core.rule_stories import pipeline
from tests.runtime.test_commit_when import Shard
from tests.runtime.world import SHARD, Died, World

TOTAL = "w: {tumbling: 10ms, combine: true, select: {c: count()}}"


def _world() -> World:
    return World(pipeline(TOTAL, bound="0ms"), [])


def _told(world: World) -> Progress | None:
    return next((each for each in MemoryStore(world.memory).read_progress(0) if each.shard == SHARD), None)


def _dead(step: str, *events: tuple[int, int, str], ended: bool) -> World:
    """Return the world after an owner has taken events, and died in its commit at the first step of that name."""
    die_at = None
    while True:
        world = _world()
        shard = Shard(world)
        shard.take(*events)
        world.die_at = die_at
        try:
            shard.owner.commit(_taken, ended=ended)
        except Died:
            world.die_at = None
            world.steps.clear()
            return world
        die_at = world.steps.index(step)


def _taken(_position: Position) -> bool:
    return True


def test_a_shard_tells_when_it_begins() -> None:
    """Or others would wait for one that never gets a record."""
    world = _world()
    assert _told(world) is None
    ShardOwner(world.surroundings(), SHARD).initialise(None)
    told = _told(world)
    assert told is not None
    assert (told.watermark_ms, told.ended) == (None, False)


@pytest.mark.parametrize("ended", [False, True])
def test_who_goes_on_tells_after_it_has_sent_what_was_left(*, ended: bool) -> None:
    world = _dead("before put_contributions", (1, 1, "a"), (2, 15, "a"), ended=ended)
    before = _told(world)
    assert before is not None
    assert before.watermark_ms is None
    ShardOwner(world.surroundings(), SHARD).initialise(None)
    told = _told(world)
    assert told is not None
    assert (told.watermark_ms, told.ended) == (15, ended)
    assert world.steps.index("after put_contributions") < world.steps.index("before write_progress")
    if ended:
        acknowledged = len(world.steps) - world.steps[::-1].index("before advance")
        assert world.steps.index("after write_progress") < acknowledged, "nobody would tell it after that"


def test_an_heir_tells_that_a_parent_has_ended_which_died_before_it_could() -> None:
    world = _dead("before write_progress", (1, 1, "a"), ended=True)
    before = _told(world)
    assert before is not None
    assert not before.ended
    assert ShardOwner(world.surroundings(), SHARD).close_ended(heir="child")
    told = _told(world)
    assert told is not None
    assert (told.watermark_ms, told.ended) == (1, True)
