"""The ledger behind the commits: what becomes a mark, when, and that no trouble with it reaches a commit."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from random import Random

import msgspec
import pytest

from consumer.errors import CorruptStateError, RetryableError
from consumer.records import Position
from consumer.runtime.commit import ShardOwner
from consumer.runtime.ledger import DECISION_SECONDS, MARK_SECONDS
from consumer.state.base import ShardState, StateStore
from consumer.state.marks import Ledger, Mark
from consumer.state.memory import MemoryStore
from consumer.testing.fakes import FaultyStore
from tests.random_streams import records
from tests.runtime.world import SHARD, FakeDaemon, World, random_pipeline

SEED = 11


def _world(seed: int = SEED, count: int = 40) -> World:
    return World(random_pipeline(seed), records(Random(seed), count))


def _ledger(world: World) -> Ledger:
    ledger = world.memory.ledgers[SHARD]
    assert ledger is not None
    return ledger


def _state(world: World) -> ShardState:
    state = world.memory.items[SHARD].state
    assert state is not None
    return state


def _owner(world: World, store: StateStore | None = None, **changes: Callable[..., None]) -> ShardOwner:
    around = dataclasses.replace(world.surroundings(store or MemoryStore(world.memory)), **changes)  # type: ignore[arg-type]  # of one name
    owner = ShardOwner(around, SHARD)
    owner.initialise(None)
    return owner


def _commit(world: World, owner: ShardOwner, at: int, *, seconds: float, ended: bool = False) -> None:
    world.clock.seconds += seconds
    owner.step(world.records[at : at + 1])
    while owner.processor.closing:
        owner.step(())
    owner.commit(lambda _: True, ended=ended)


def _assert_true(world: World) -> None:
    """No mark tells of what was not committed."""
    ledger = world.memory.ledgers.get(SHARD)
    if ledger is None:
        return
    state = _state(world)
    for mark in ledger.marks:
        assert mark.commit_no <= state.commit_no
        assert mark.position is None or (state.position is not None and mark.position <= state.position)
        assert mark.watermark_ms is None or (state.watermark_ms is not None and mark.watermark_ms <= state.watermark_ms)


def test_a_mark_is_made_at_the_beginning_then_once_a_minute_then_at_the_end() -> None:
    world = _world()
    owner = _owner(world)
    (beginning,) = _ledger(world).marks
    assert (beginning.commit_no, beginning.position, beginning.ended) == (0, None, False)
    for number in range(8):
        _commit(world, owner, number, seconds=MARK_SECONDS / 4)
    _commit(world, owner, 8, seconds=1, ended=True)
    marks = _ledger(world).marks
    assert [mark.position for mark in marks[1:]] == [Position.of(world.records[at]) for at in (3, 7, 8)]
    assert [mark.ended for mark in marks] == [False, False, False, True]
    assert marks[-1].totals.received == 9
    state = _state(world)
    assert (marks[-1].watermark_ms, marks[-1].last_arrival_ms) == (state.watermark_ms, state.last_arrival_ms)
    assert (_ledger(world).hash_range, _ledger(world).epoch) == (state.hash_range, 1)


def test_marks_keep_what_was_counted_then() -> None:
    """Later counts do not change them."""
    world = _world()
    owner = _owner(world)
    for number in range(30):
        _commit(world, owner, number, seconds=MARK_SECONDS)
    received = [mark.totals.received for mark in _ledger(world).marks]
    assert received == list(range(31))
    lost = [sum(mark.totals.late.values()) + sum(mark.totals.dead_letters.values()) for mark in _ledger(world).marks]
    assert lost == sorted(lost)
    assert lost[0] == 0 < lost[-1]


def test_an_owner_begins_with_a_mark_of_what_it_found() -> None:
    """Where that is something new: a death may have taken the mark of it."""
    world = _world()
    _commit(world, _owner(world), 0, seconds=1)
    assert len(_ledger(world).marks) == 1
    _owner(world)
    marks = _ledger(world).marks
    assert marks[1].position == Position.of(world.records[0])
    assert _ledger(world).epoch == 2
    _owner(world)
    assert _ledger(world).marks == marks, "it tells nothing new"


def _decide(world: World, owner: ShardOwner) -> None:
    world.clock.origin_ms = max(record.arrival_ms or 0 for record in world.records)
    world.clock.seconds += 100
    assert owner.idle() is not None


def _open_world() -> tuple[World, ShardOwner, int]:
    """Return a world in which windows are open, and how many records were taken."""
    for seed in range(50):
        world = _world(seed)
        owner = _owner(world)
        for number in range(20):
            _commit(world, owner, number, seconds=1)
            if sum(owner.processor.open_groups().values()):
                return world, owner, number + 1
    raise AssertionError


def test_an_idle_decision_is_a_mark_with_the_commit_that_holds_it() -> None:
    world, owner, taken = _open_world()
    position = owner.processor.position
    _decide(world, owner)
    decided_ms = owner.processor.watermark_ms
    assert not any(mark.idle for mark in _ledger(world).marks)
    _commit(world, owner, taken, seconds=1)
    marks = _ledger(world).marks
    (idle,) = (mark for mark in marks if mark.idle)
    assert (idle.position, idle.watermark_ms, idle.decisions) == (position, decided_ms, 1)
    assert idle.commit_no == _state(world).commit_no
    assert marks[-1].position == Position.of(world.records[taken])
    assert marks[-1].decisions == 1
    assert _owner(world) is not None
    assert _ledger(world).marks[-1].decisions == 1, "it is counted on by the next owner"


@pytest.mark.parametrize("end", ["later", "idle", "finish"])
def test_many_decisions_are_few_writes(end: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not one is lost: what waits is written with a later commit, when the shard is looked at, or as the lease goes."""
    world, owner, taken = _open_world()
    written: list[Ledger] = []
    write = MemoryStore.write_ledger

    def noted(store: MemoryStore, shard: str, ledger: Ledger) -> None:
        written.append(ledger)
        write(store, shard, ledger)

    monkeypatch.setattr(MemoryStore, "write_ledger", noted)
    assert owner.processor.watermark_ms is not None
    clock, bound_ms = world.clock, world.program.pipeline.events.out_of_orderness_ms
    clock.ms_per_second = 1.0
    clock.origin_ms = owner.processor.watermark_ms + bound_ms - round(clock.seconds)
    for _ in range(5):
        clock.seconds += 1
        assert owner.idle() is not None
        owner.commit(lambda _: True)
    before = len(written)
    assert before <= 1
    if end == "later":
        _commit(world, owner, taken, seconds=DECISION_SECONDS)
    elif end == "idle":
        clock.seconds += DECISION_SECONDS
        clock.origin_ms -= 1000
        assert owner.idle() is None
    else:
        owner.finish(lambda _: True)
    assert len(written) == before + 1
    assert sum(mark.idle for mark in _ledger(world).marks) == 5


def test_a_decision_that_no_commit_holds_is_no_mark() -> None:
    world, owner, _ = _open_world()
    _decide(world, owner)
    _owner(world)
    assert not any(mark.idle for mark in _ledger(world).marks)


@pytest.mark.parametrize("end", ["shutdown", "end", "lost"])
def test_a_death_at_any_step_leaves_no_mark_of_what_was_not_committed(end: str) -> None:
    steps = 0
    for die_at in range(500):
        world = _world(seed=3, count=20)
        died = world.run_until_death(die_at, end)
        _assert_true(world)
        if not died:
            break
        steps += 1
        if not world.ended:
            world.run(FakeDaemon(world, end=end))
        _assert_true(world)
        world.assert_exact()
    assert any("write_ledger" in step for step in world.steps)
    assert steps > 20


@pytest.mark.parametrize("operation", ["read_ledger", "write_ledger"])
def test_trouble_is_told_and_what_is_new_goes_with_the_next(operation: str) -> None:
    world = _world()
    store = FaultyStore(MemoryStore(world.memory))
    store.fail(operation, RetryableError("throttled"))
    owner = _owner(world, store)
    assert SHARD not in world.memory.ledgers
    assert _state(world).commit_no == 0
    _commit(world, owner, 0, seconds=1)
    assert SHARD not in world.memory.ledgers, "once a minute is often enough"
    _commit(world, owner, 1, seconds=MARK_SECONDS)
    assert [mark.commit_no for mark in _ledger(world).marks] == [0, 2]
    told = [json.loads(line)["event"] for line in world.log.getvalue().splitlines()]
    assert told.count("ledger_failed") == 1


def test_an_answer_that_is_lost_gives_no_mark_twice() -> None:
    world = _world()
    store = FaultyStore(MemoryStore(world.memory))
    store.fail("write_ledger", RetryableError("timed out"), after_effect=True)
    owner = _owner(world, store)
    _commit(world, owner, 0, seconds=MARK_SECONDS)
    assert [mark.commit_no for mark in _ledger(world).marks] == [0, 1]


def test_commits_do_not_wait_for_the_ledger() -> None:
    """Whatever the background does; when it gets there, one write has everything."""
    world, tasks = _world(), list[Callable[[], None]]()
    store = FaultyStore(MemoryStore(world.memory))
    owner = _owner(world, store, in_background=tasks.append)
    for number in range(5):
        _commit(world, owner, number, seconds=MARK_SECONDS)
    assert _state(world).commit_no == 5
    assert len(tasks) == 1
    tasks.pop()()
    assert [mark.commit_no for mark in _ledger(world).marks] == list(range(6))
    assert store.calls.count("write_ledger") == 1
    _commit(world, owner, 5, seconds=MARK_SECONDS)
    assert len(tasks) == 1


def test_a_mark_that_comes_while_another_is_written_is_written_too() -> None:
    world, tasks = _world(), list[Callable[[], None]]()

    class Store(MemoryStore):
        def write_ledger(self, shard: str, ledger: Ledger) -> None:
            if len(ledger.marks) == 1:
                _commit(world, owner, 0, seconds=MARK_SECONDS)
            super().write_ledger(shard, ledger)

    owner = _owner(world, Store(world.memory), in_background=tasks.append)
    tasks.pop()()
    assert not tasks
    assert [mark.commit_no for mark in _ledger(world).marks] == [0, 1]


def test_marks_of_another_generation_are_left_behind() -> None:
    world = _world()
    _owner(world)
    old = _ledger(world)
    world.memory.ledgers[SHARD] = msgspec.structs.replace(old, generation=7)
    _commit(world, _owner(world), 0, seconds=MARK_SECONDS)
    assert _ledger(world).generation == 0
    assert [mark.commit_no for mark in _ledger(world).marks] == [0, 1]


def test_a_ledger_that_cannot_be_read_is_told_and_begun_anew() -> None:
    world = _world()
    store = FaultyStore(MemoryStore(world.memory))
    store.fail("read_ledger", CorruptStateError("no marks"))
    _owner(world, store)
    assert [mark.commit_no for mark in _ledger(world).marks] == [0]
    assert "ledger_failed" in world.log.getvalue()


def test_what_nobody_had_foreseen_ends_the_process() -> None:
    world = _world()
    store = FaultyStore(MemoryStore(world.memory))
    store.fail("write_ledger", ZeroDivisionError())
    owner = _owner(world, store)
    with pytest.raises(ZeroDivisionError):
        _commit(world, owner, 0, seconds=1)


def test_a_zombie_writes_nothing_over_its_successors_ledger() -> None:
    world, tasks = _world(), list[Callable[[], None]]()
    _owner(world, in_background=tasks.append)
    _commit(world, _owner(world), 0, seconds=MARK_SECONDS)
    later = _ledger(world)
    tasks.pop()()
    assert _ledger(world) == later
    assert isinstance(later.marks[0], Mark)
