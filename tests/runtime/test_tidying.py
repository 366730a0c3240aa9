"""What is thrown away, when, and how often the store is asked for it."""

from __future__ import annotations

import json
from random import Random
from typing import Any, cast

import msgspec
import pytest

from consumer.errors import RetryableError
from consumer.records import HashRange
from consumer.runtime import tidying
from consumer.runtime.tidying import Tidying
from consumer.state.base import Claim, Entry, StateStore
from consumer.state.memory import MemoryStore
from consumer.testing.fakes import FaultyStore
from consumer.testing.store_harness import state
from tests.random_streams import records
from tests.runtime.world import SHARD, World, random_pipeline

HALF, ALL = 2**127, 2**128
WHOLE, LOW, HIGH = HashRange(0, ALL - 1), HashRange(0, HALF - 1), HashRange(HALF, ALL - 1)


class Parents(World):
    """A world where `children` are those of the shard `parent`; `calls` are what was asked of the store."""

    def __init__(self) -> None:
        super().__init__(random_pipeline(4), records(Random(4), 1))
        self.born: dict[str, HashRange] = {"low": LOW, "high": HIGH}
        self.store = MemoryStore(self.memory)
        self.faulty = FaultyStore(self.store)
        self.calls: list[str] = []
        self.has("parent", 9, ended=True)

    def children(self, parent: str) -> dict[str, HashRange]:
        return self.born if parent == "parent" else {}

    def has(self, shard: str, commit_no: int | None, *, range_: HashRange = WHOLE, ended: bool = False) -> None:
        stored = None
        if commit_no is not None:
            hash_range = (str(range_.first), str(range_.last))
            stored = msgspec.structs.replace(state(commit_no, ended=ended), hash_range=hash_range)
        self.memory.items[shard] = Claim(3, stored)

    def tidying(self, *parents: str) -> Tidying:
        return Tidying(self.surroundings(cast("StateStore", self)), SHARD, parents)

    def __getattr__(self, name: str) -> Any:
        self.calls.append(name)
        return getattr(self.faulty, name)

    def events(self) -> list[str]:
        return [json.loads(line)["event"] for line in self.log.getvalue().splitlines()]

    def put(self, shard: str, epoch: int, commit_no: int) -> Entry:
        return self.store.put_object(shard, 0, epoch, commit_no, f"{epoch} {commit_no}".encode())


@pytest.fixture
def world() -> Parents:
    return Parents()


def _is_retired(world: Parents) -> bool:
    return world.memory.items["parent"].retired


@pytest.mark.parametrize(
    ("low", "high", "retired"),
    [(1, 1, True), (1, 0, False), (0, 1, False), (1, None, False), (None, 1, False), (7, 2, True)],
)
def test_a_parent_goes_when_all_children_have_made_a_commit_beyond_0(
    world: Parents, low: int | None, high: int | None, *, retired: bool
) -> None:
    world.has("low", low)
    world.has("high", high)
    world.tidying("parent").retire_parents()
    assert _is_retired(world) is retired
    assert world.events() == (["parent_retired"] if retired else [])


def test_a_child_that_is_a_tombstone_has_left_its_parents_behind(world: Parents) -> None:
    world.has("low", 1)
    world.memory.items["high"] = Claim(3, None, retired=True)
    world.tidying("parent").retire_parents()
    assert _is_retired(world)


def test_a_child_that_nobody_has_begun_has_not(world: Parents) -> None:
    world.has("low", 1)
    world.tidying("parent").retire_parents()
    assert not _is_retired(world)


@pytest.mark.parametrize(
    ("born", "retired"),
    [
        ({"low": LOW}, False),
        ({"high": HIGH}, False),
        ({}, False),
        ({"low": LOW, "high": HashRange(HALF + 1, ALL - 1)}, False),
        ({"low": LOW, "high": HashRange(HALF, ALL - 2)}, False),
        ({"low": HashRange(1, HALF - 1), "high": HIGH}, False),
        ({"low": HashRange(0, HALF), "high": HIGH}, True),
        ({"high": HIGH, "low": LOW}, True),
        ({"low": WHOLE}, True),
    ],
)
def test_children_must_fill_the_parents_range(world: Parents, born: dict[str, HashRange], *, retired: bool) -> None:
    world.born = born
    world.has("low", 1)
    world.has("high", 1)
    world.tidying("parent").retire_parents()
    assert _is_retired(world) is retired


def test_a_parent_without_a_state_is_kept(world: Parents) -> None:
    world.has("low", 1)
    world.has("high", 1)
    world.has("parent", None)
    world.tidying("parent").retire_parents()
    assert not _is_retired(world)


def test_a_parent_whose_fence_refuses_is_kept_and_tried_again(world: Parents) -> None:
    world.has("low", 1)
    world.has("high", 1)
    world.has("parent", 9)  # it has not ended, whatever its children say
    keeper = world.tidying("parent")
    keeper.retire_parents()
    assert not _is_retired(world)
    assert world.events() == []
    world.has("parent", 9, ended=True)
    world.clock.seconds += tidying._FIRST_WAIT_SECONDS
    keeper.retire_parents()
    assert _is_retired(world)


def test_what_has_been_retired_is_not_asked_for_again(world: Parents) -> None:
    world.has("low", 1)
    world.has("high", 1)
    keeper = world.tidying("parent")
    keeper.retire_parents()
    world.calls.clear()
    world.clock.seconds += 10_000
    keeper.retire_parents()
    assert world.calls == []


def test_the_objects_of_a_tombstone_are_deleted_by_whoever_finds_it(world: Parents) -> None:
    world.put("parent", 1, 1)
    world.memory.items["parent"] = Claim(3, None, retired=True)
    keeper = world.tidying("parent")
    keeper.retire_parents()
    assert world.memory.objects == {}
    assert world.events() == ["orphans_deleted"]
    world.calls.clear()
    world.clock.seconds += 10_000
    keeper.retire_parents()
    assert world.calls == []


def test_parents_are_looked_at_after_longer_and_longer_waits(world: Parents, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tidying, "_WAIT_SECONDS_MAX", 16.0)
    keeper, began, looked = world.tidying("parent"), world.clock.seconds, []
    for second in range(60):
        world.clock.seconds = began + second
        world.calls.clear()
        keeper.retire_parents()
        if world.calls:
            looked.append(second)
    assert looked == [0, 5, 15, 31, 47]


def test_one_parent_is_given_up_though_another_is_not(world: Parents) -> None:
    world.has("low", 1)
    world.has("high", 1)
    world.has("other", 5, ended=True)
    keeper = world.tidying("other", "parent")
    keeper.retire_parents()
    assert _is_retired(world)
    assert not world.memory.items["other"].retired
    world.calls.clear()
    world.clock.seconds += 10_000
    keeper.retire_parents()
    assert world.calls == ["read"], "of the other one, which has no children"


def test_orphans_are_deleted_and_told(world: Parents) -> None:
    old, mine = world.put(SHARD, 1, 4), world.put(SHARD, 3, 8)
    world.has(SHARD, 7)
    world.tidying().collect_orphans()
    assert list(world.memory.objects) == [mine.key] != [old.key]
    assert world.events() == ["orphans_deleted"]
    world.tidying().collect_orphans()
    assert world.events() == ["orphans_deleted"], "nothing was left to be deleted"


def test_where_there_is_no_object_nothing_is_read(world: Parents) -> None:
    world.tidying().collect_orphans()
    assert world.calls == ["list_objects"]


def test_entries_are_deleted_or_left_for_the_next_time(world: Parents, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tidying, "_LEFT_MAX", 2)
    entries = [world.put(SHARD, 3, number) for number in range(3)]
    keeper = world.tidying()
    assert keeper.delete([]) == []
    assert world.calls == []
    world.faulty.fail("delete_objects", RetryableError("busy"))
    assert keeper.delete(entries) == entries[1:]
    assert world.events() == ["commit_retry"]
    assert keeper.delete(entries[1:]) == []
    assert list(world.memory.objects) == [entries[0].key]


def test_trouble_is_told_and_everything_is_left_for_later(world: Parents) -> None:
    world.has("low", 1)
    world.has("high", 1)
    keeper = world.tidying("parent")
    world.faulty.fail("retire", RetryableError("busy"))
    keeper.retire_parents()
    assert not _is_retired(world)
    assert world.events() == ["commit_retry"]
    world.clock.seconds += tidying._FIRST_WAIT_SECONDS
    keeper.retire_parents()
    assert _is_retired(world)
