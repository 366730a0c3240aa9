"""Merging a state's entries behind the commits: when, what the next commit makes of it, what a death leaves behind."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Iterator
from random import Random
from typing import Any, BinaryIO, cast

import pytest

from consumer.core import snapshot
from consumer.errors import RetryableError
from consumer.runtime import commit, compaction
from consumer.runtime.commit import ShardOwner
from consumer.runtime.compaction import COMMITS_MAX, CROWDED, Attempt, Background, Leftovers, due
from consumer.runtime.mode import Mode
from consumer.runtime.shard import ShardRunner
from consumer.runtime.surroundings import at_once
from consumer.runtime.tidying import Tidying
from consumer.state.base import MANIFEST_ENTRIES_MAX, Entry, ShardState, StateStore
from consumer.state.memory import MemoryStore
from consumer.testing.fakes import FaultyStore
from tests.random_streams import records
from tests.runtime.world import FAILOVER_SECONDS, SHARD, Died, FakeDaemon, World, random_pipeline
from tests.seeds import deep_only

SEED = 11


class Later:
    """A background whose merges are done when somebody says so."""

    def __init__(self) -> None:
        self.tasks: list[Callable[[], None]] = []

    def __call__(self, task: Callable[[], None]) -> None:
        if isinstance(task, compaction._Merge):
            self.tasks.append(task)
        else:
            task()

    def catch_up(self) -> None:
        while self.tasks:
            self.tasks.pop(0)()


RUN_MIN = 4
"""Fewer than usual: the streams here are short."""


@pytest.fixture(autouse=True)
def _every_commit_has_an_object(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(commit, "INLINE_BYTES_MAX", 0)
    monkeypatch.setattr(commit, "SMALL_STATE_GROUPS", -1)
    monkeypatch.setattr(compaction, "RUN_MIN", RUN_MIN)


def _world(count: int = 60) -> World:
    world = World(random_pipeline(SEED), records(Random(SEED), count))
    world.batch_size = 1
    return world


def _state(world: World) -> ShardState:
    state = world.memory.items[SHARD].state
    assert state is not None
    return state


def _serve(
    world: World,
    daemon: FakeDaemon,
    background: Callable[[Callable[[], None]], None],
    store: StateStore | None = None,
) -> FakeDaemon:
    around = dataclasses.replace(world.surroundings(store), in_background=background)
    runner = ShardRunner(around, failover_seconds=FAILOVER_SECONDS)
    runner.run(cast("BinaryIO", daemon), cast("BinaryIO", daemon))
    return daemon


def _watched(world: World, look: Callable[[], None], end: str = "shutdown") -> FakeDaemon:
    """Return a daemon that looks before each of its messages."""
    daemon = FakeDaemon(world, end=end)
    usual = daemon._script

    def script() -> Iterator[dict[str, Any]]:
        for message in usual:
            if SHARD in world.memory.items and world.memory.items[SHARD].state is not None:
                look()
            yield message

    daemon._script = script()
    return daemon


def _assert_tidy(world: World) -> None:
    """Nothing lies in the store but what the state refers to."""
    assert set(world.memory.objects) == {entry.key for entry in _state(world).manifest}


def _begin_again(world: World) -> None:
    world.run(FakeDaemon(world, script=iter([FakeDaemon(world).initialize()])))


def _entries(*sizes: int) -> tuple[Entry, ...]:
    return tuple(Entry(str(number), "", size) for number, size in enumerate(sizes))


@pytest.mark.parametrize(
    ("sizes", "count"),
    [
        ((), 0),
        ((5,), 0),
        ((5, 5, 5), 0),
        ((5, 5, 5, 5), 4),
        ((100, 5, 5, 5), 0),
        ((16, 5, 5, 5), 0),
        ((15, 5, 5, 5), 4),
        ((100, 5, 5, 5, 5), 4),
        ((100, 50, 20, 10, 5), 0),
        ((100, 50, 20, 10, 10), 0),
        ((200, 60, 20, 15, 10, 5), 4),
        ((80, 50, 20, 10, 5, 5), 6),
        ((1, 100, 1, 1), 4),
    ],
)
def test_what_newer_ones_have_outgrown_is_merged_with_them(sizes: tuple[int, ...], count: int) -> None:
    manifest = _entries(*sizes)
    assert due(manifest) == manifest[len(manifest) - count :]


def test_a_crowded_manifest_is_merged_whatever_its_sizes() -> None:
    sizes = [2**number for number in range(CROWDED, 0, -1)]
    assert due(_entries(*sizes[1:])) == ()
    assert len(due(_entries(*sizes))) == RUN_MIN


def test_of_the_smallest_neighbours_those_are_merged_that_are_not_being_merged_already() -> None:
    entries = _entries(1, 1, 5, 5)
    for merging, place in (((), 0), (entries[:1], 1), (entries[1:2], 2), (entries[:3], 0), (entries, 0)):
        assert compaction._cheapest_pair(entries, merging) == place


@pytest.mark.parametrize(("base", "growth"), [(10**6, 1.0), (10**6, 0.3), (10, 1.0), (10**4, 0.0)])
def test_bytes_are_written_again_as_often_as_the_state_doubles(base: int, growth: float) -> None:
    """`growth`: how much of the smaller of two entries is not in the other one as well."""
    random, sizes, written, most = Random(1), [base], 0, 0
    commits = 5_000
    for _ in range(commits):
        sizes.append(random.randint(500, 1500))
        run = [entry.size for entry in due(_entries(*sizes))]
        if run:
            merged = max(run) + round(growth * (sum(run) - max(run)))
            sizes[-len(run) :] = [merged]
            written += merged
        most = max(most, len(sizes))
    assert most <= CROWDED
    assert written <= 12 * 1000 * commits + 2 * base


def test_one_base_is_written_and_what_is_merged_replaces_what_it_was_made_of() -> None:
    world, lengths = _world(), []
    bases: set[str] = set()

    def look() -> None:
        manifest = _state(world).manifest
        lengths.append(len(manifest))
        bases.update(key for key, data in world.memory.objects.items() if snapshot.Reader(data).header.base)

    _serve(world, _watched(world, look), Later())
    assert len(bases) == 1, "commits write none"
    world, lengths = _world(), []
    _serve(world, _watched(world, look), at_once)
    assert max(lengths) < 12
    world.assert_exact()
    _begin_again(world)
    _assert_tidy(world)


def test_the_next_commit_takes_up_what_was_merged_in_the_meantime() -> None:
    world, later, replaced = _world(), Later(), []

    def look() -> None:
        if later.tasks:
            before, run = _state(world).manifest, cast("Any", later.tasks[0]).run
            later.catch_up()
            assert _state(world).manifest == before, "only a commit refers to it"
            assert {entry.key for entry in before} < set(world.memory.objects), "what it is made of is there"
            replaced.append(run)

    _serve(world, _watched(world, look), later)
    assert len(replaced) > 3
    assert len(_state(world).manifest) < 12
    assert not {entry for run in replaced[:-1] for entry in run} & set(_state(world).manifest)
    world.assert_exact()
    _begin_again(world)
    _assert_tidy(world)


def test_commits_do_not_wait_for_merges_and_never_refer_to_too_many_entries() -> None:
    """Neighbours are merged by the commit then, the cheapest, and a merge that comes too late is thrown away."""
    world, later, lengths = _world(150), Later(), []
    _serve(world, _watched(world, lambda: lengths.append(len(_state(world).manifest))), later)
    assert max(lengths) == MANIFEST_ENTRIES_MAX - 1
    later.catch_up()
    world.assert_exact()
    _assert_tidy(world)
    world.run()
    world.assert_exact()


def test_a_merge_that_began_before_its_entries_were_merged_otherwise_is_thrown_away(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(compaction, "MANIFEST_ENTRIES_MAX", 6)
    world, later = _world(), Later()
    seen = 0

    def look() -> None:
        nonlocal seen
        seen += 1
        assert len(_state(world).manifest) <= 5
        if seen % 12 == 0:
            later.catch_up()

    _serve(world, _watched(world, look), later)
    later.catch_up()
    world.assert_exact()
    assert "commit_retry" not in world.log.getvalue(), "entries that are gone are no trouble then"
    _assert_tidy(world)


@pytest.mark.parametrize("end", [deep_only("shutdown"), "end"])
def test_a_death_at_any_step_of_a_merge_loses_nothing_and_leaves_nothing(end: str) -> None:
    world = _world(24)
    world.run(FakeDaemon(world, end=end))
    merges = [number for number, step in enumerate(world.steps) if step == "before get_object"]
    assert len(merges) > RUN_MIN
    for die_at in range(merges[0] - 3, len(world.steps)):
        world = _world(24)
        assert world.run_until_death(die_at, end)
        if not world.ended:
            world.run(FakeDaemon(world, end=end))
        world.assert_exact()
        _begin_again(world)
        _assert_tidy(world)


def test_nobody_takes_a_merged_entry_for_an_orphan_before_a_commit_refers_to_it() -> None:
    """An earlier owner, who slept in the middle of its INIT, tidies up late."""
    world, later, looks = _world(), Later(), 0
    zombie = Tidying(world.surroundings(MemoryStore(world.memory)), SHARD, ())

    def look() -> None:
        nonlocal looks
        if looks % 3 == 0:
            later.catch_up()
        looks += 1
        before = set(world.memory.objects)
        zombie.collect_orphans()
        assert set(world.memory.objects) == before

    _serve(world, _watched(world, look), later)
    world.assert_exact()
    _begin_again(world)
    _assert_tidy(world)


def test_what_a_fenced_owner_writes_late_is_the_next_owners_to_delete() -> None:
    world, later = _world(), Later()
    daemon = FakeDaemon(world)
    with pytest.raises(Died):
        _serve(world, _stopped_at_a_merge(world, daemon, later), later)
    tasks, later.tasks = later.tasks, []
    world.run()
    _assert_tidy(world)
    before = set(world.memory.objects)
    for task in tasks:
        task()
    assert set(world.memory.objects) == before, "what it reads is gone"
    late = MemoryStore(world.memory).put_object(SHARD, 0, 1, COMMITS_MAX, b"late")
    _begin_again(world)
    assert late.key not in world.memory.objects
    world.assert_exact()


def _stopped_at_a_merge(world: World, daemon: FakeDaemon, later: Later) -> FakeDaemon:
    usual = daemon._script

    def script() -> Iterator[dict[str, Any]]:
        for message in usual:
            if later.tasks:
                raise Died
            yield message

    daemon._script = script()
    return daemon


def test_a_merge_that_ends_after_its_owner_has_left_leaves_nothing() -> None:
    for end in ("shutdown", "end"):
        world, later = _world(), Later()
        _serve(world, FakeDaemon(world, end=end), later)
        assert later.tasks
        later.catch_up()
        world.assert_exact()
        _assert_tidy(world)


def test_an_owner_that_leaves_while_its_merge_is_being_written_leaves_nothing() -> None:
    world, later = _world(), Later()
    owners: list[ShardOwner] = []

    class Store(MemoryStore):
        def put_object(self, shard: str, generation: int, epoch: int, commit_no: int, data: bytes) -> Entry:
            entry = super().put_object(shard, generation, epoch, commit_no, data)
            if commit_no >= COMMITS_MAX:
                owners[0].mode = Mode.SILENT
            return entry

    around = dataclasses.replace(world.surroundings(Store(world.memory)), in_background=later)
    owners.append(ShardOwner(around, SHARD))
    owners[0].initialise(None)
    for record in world.records:
        world.clock.seconds += 6
        owners[0].step([record])
        if not later.tasks:
            owners[0].commit(lambda _: True)
    assert set(world.memory.objects) == {entry.key for entry in _state(world).manifest}
    later.catch_up()
    assert owners[0].mode is Mode.SILENT
    _assert_tidy(world)


@pytest.mark.parametrize("count", [41, 42, 43, 44, 45])
def test_the_end_of_a_shard_begins_no_merge(count: int) -> None:
    world = _world(count)
    _serve(world, FakeDaemon(world, end="end"), at_once)
    _assert_tidy(world)


def test_an_ended_state_is_not_merged() -> None:
    world, later = _world(), Later()
    _serve(world, FakeDaemon(world, end="end"), later)
    ended = _state(world)
    assert len(due(ended.manifest)) >= RUN_MIN
    later.tasks.clear()
    _serve(world, FakeDaemon(world, end="end"), later)
    assert not later.tasks
    assert _state(world) == ended


def test_trouble_with_the_store_is_told_and_the_merge_is_tried_after_another_commit() -> None:
    world = _world()
    store = FaultyStore(MemoryStore(world.memory))
    store.fail("get_object", RetryableError("throttled"))
    store.fail("get_object", RetryableError("throttled"))
    _serve(world, FakeDaemon(world), at_once, store)
    told = [json.loads(line) for line in world.log.getvalue().splitlines()]
    assert [line["event"] for line in told if line["event"] == "merge_failed"] == ["merge_failed", "merge_failed"]
    world.assert_exact()
    assert len(_state(world).manifest) < 12
    _assert_tidy(world)


@pytest.mark.parametrize("after_effect", [True, False], ids=["answer lost", "nothing written"])
def test_what_a_failed_merge_has_left_is_deleted_before_the_next_one(*, after_effect: bool) -> None:
    """And not the merged entry before it, which may bear the same number, and which the state refers to."""
    world, later = _world(), Later()
    store = FaultyStore(MemoryStore(world.memory))
    failed, looks = 0, 0

    def look() -> None:
        nonlocal failed, looks
        if not later.tasks:
            return
        looks += 1
        if looks % 2:
            before = set(world.memory.objects)
            store.fail("put_object", RetryableError("throttled"), after_effect=after_effect)
            later.catch_up()
            failed += len(set(world.memory.objects) - before)
            return
        later.catch_up()
        referred = {entry.key for entry in _state(world).manifest}
        assert referred <= set(world.memory.objects)
        numbered = [key for key in world.memory.objects if f"-{COMMITS_MAX // 1000:09d}" in key]
        assert len([key for key in numbered if key not in referred]) <= 1, "only the one that was merged now"

    _serve(world, _watched(world, look), later, store)
    assert looks > 3
    assert (failed > 1) is after_effect
    world.assert_exact()


def test_what_has_the_number_of_a_failed_merge_is_no_leftover() -> None:
    """An ordinary commit may come to the number of a merge that failed long before."""
    world = _world()
    store = MemoryStore(world.memory)
    taken_up, left = (store.put_object(SHARD, 0, 1, COMMITS_MAX + 1, data) for data in (b"taken up", b"left"))
    others = [store.put_object(SHARD, 0, *named, b"another") for named in ((2, COMMITS_MAX + 1), (1, COMMITS_MAX + 3))]
    failed = {Attempt(COMMITS_MAX + 1, left.sha256)}
    Leftovers(world.surroundings(store), SHARD, 1, failed).delete()
    assert set(world.memory.objects) == {entry.key for entry in (taken_up, *others)}
    assert left.key not in world.memory.objects
    assert failed == set()


def test_what_nobody_had_foreseen_ends_the_process(monkeypatch: pytest.MonkeyPatch) -> None:
    def merge(_: object) -> bytes:
        raise ZeroDivisionError

    monkeypatch.setattr(compaction, "merge", merge)
    with pytest.raises(ZeroDivisionError):
        _world().run()


def test_a_merge_is_done_in_a_thread_that_ends_with_the_process() -> None:
    done: list[bool] = []
    background = Background()
    for _ in range(3):
        background(lambda: done.append(background._thread.daemon))
    while len(done) < 3:
        background._thread.join(0.001)
    assert done == [True] * 3
