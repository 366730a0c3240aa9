"""Idle closing, rule 8: when a shard counts as idle, and that its decisions are inputs like records."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator
from contextlib import suppress
from random import Random
from typing import Any

import pytest

from consumer.core.processor import Processor
from consumer.pipeline.load import load_text
from consumer.pipeline.model import Pipeline
from consumer.records import Position, Record
from consumer.runtime import commit
from consumer.runtime.idle import IdleWatch
from consumer.sources.multilang import ProcessRecords
from consumer.state.memory import MemoryStore
from tests.random_streams import START_MS, records
from tests.runtime.world import SHARD, Died, FakeDaemon, World, random_pipeline
from tests.seeds import deep_only, seeds

GAP_SECONDS_MAX = 11.0
NOTHING = ProcessRecords([], 0)
RECORD = Record(b"{}", "a", "1", 0, 1)


# -- the watch


def _decided(watch: IdleWatch, *reads: tuple[float, ProcessRecords], closes: bool = False) -> list[float]:
    """Return when the watch wanted decisions."""
    decided = []
    for now, message in reads:
        watch.read(message, now)
        if watch.wants_decision(now, closes=closes):
            decided.append(now)
    return decided


def _watch(after_seconds: float | None = 10) -> IdleWatch:
    return IdleWatch(after_seconds, GAP_SECONDS_MAX)


def _silence(*seconds: float) -> list[tuple[float, ProcessRecords]]:
    return [(now, NOTHING) for now in seconds]


def test_a_shard_is_idle_when_nothing_was_left_for_so_long() -> None:
    assert _decided(_watch(), *_silence(5, 10, 14.9, 15)) == [15]


def test_never_is_never() -> None:
    assert _decided(_watch(None), *_silence(*range(0, 100, 5))) == []


@pytest.mark.parametrize(
    "message",
    [
        ProcessRecords([RECORD], 0),
        ProcessRecords([RECORD], 5_000),
        ProcessRecords([], 1),
        ProcessRecords([], None),
    ],
)
def test_any_other_read_begins_anew(message: ProcessRecords) -> None:
    """Records, an end that is not reached, or one that nobody knows."""
    assert _decided(_watch(), *_silence(0, 5), (9, message), *_silence(10, 15, 19, 20)) == [20]


def test_what_was_read_ahead_while_the_worker_was_held_up_is_no_news() -> None:
    """The daemon reads up to four times ahead: after ten minutes at a sink that was down, these reads are old."""
    assert _decided(_watch(), *_silence(0, 5, 600, 600, 600, 605, 610)) == [610]


def test_a_decision_is_taken_again_after_as_long() -> None:
    assert _decided(_watch(), *_silence(*range(0, 36, 5))) == [10, 20, 30]


def test_a_decision_is_taken_again_at_once_where_it_closes_something() -> None:
    assert _decided(_watch(), *_silence(0, 5, 10, 15, 20), closes=True) == [10, 15, 20]


def test_times_come_from_the_pipeline_file() -> None:
    slow = _FILE + "worker: {kcl: {idleTimeBetweenReadsInMillis: 30000}}\n"
    watch = IdleWatch.of(load_text(slow, "idle.yaml", {}))
    assert _decided(watch, *_silence(0, 35, 70, 105)) == [70], "idle_after 1m, reads 30 s apart"


# -- in the world

_FILE = """\
pipeline: idle
source: {stream: clicks, partition_key: user}
events: {fields: {user: string, at: timestamp}, time: at, out_of_orderness: 3s, idle_after: 1m, max_future: off}
windows:
  minutes: {tumbling: 1m, by: [user], select: {hits: count()}}
  hours: {tumbling: 1h, by: [user], select: {hits: count()}}
sinks: [{stdout: {}}]
late: {stdout: {}}
state: {table: table, bucket: bucket}
"""


def _event(number: int, at_ms: int) -> Record:
    return Record(json.dumps({"user": "a", "at": at_ms}).encode(), "a", str(number), 0, at_ms)


HALF_PAST_MS = 472_222 * 3_600_000 + 1_800_000
"""When every world of these begins: half past an hour."""


def _world(*ages_seconds: float, text: str = _FILE) -> World:
    """Return a world with events so long before its present."""
    world = World(load_text(text, "idle.yaml", {}), [])
    world.clock.origin_ms += HALF_PAST_MS - world.clock.now_ms()
    world.records = [_event(number, HALF_PAST_MS - round(age * 1000)) for number, age in enumerate(ages_seconds, 1)]
    return world


def _hear(world: World, *parts: str | Iterator[dict[str, Any]], daemon: FakeDaemon | None = None) -> FakeDaemon:
    """Run a lease: `all` the records, reads without records, and actions of the daemon."""
    daemon = daemon or FakeDaemon(world)

    def script() -> Iterator[dict[str, Any]]:
        yield daemon.initialize()
        for part in parts:
            if part == "all":
                yield daemon.batch([record for record in world.records if not daemon._is_done(record)])
            elif isinstance(part, str):
                yield {"action": part}
            else:
                yield from part

    daemon._script = script()
    return world.run(daemon)


def _silent(world: World, seconds: int) -> Iterator[dict[str, Any]]:
    return FakeDaemon(world).silence(seconds, seconds=1)


STOP = ("shutdownRequested", "leaseLost")


def _windows(world: World) -> list[str]:
    return [json.loads(row)["window"] for row in world.unique_rows().values()]


def _stored(world: World) -> Processor:
    claim = MemoryStore(world.memory).read(SHARD)
    assert claim is not None
    assert claim.state is not None
    assert claim.state.inline is not None
    return Processor.restore(world.program, SHARD, 0, [claim.state.inline])[0]


def test_windows_close_without_another_event() -> None:
    world = _world(30)
    _hear(world, "all", _silent(world, 60))
    assert _windows(world) == []
    _hear(world, "all", _silent(world, 63), *STOP)
    assert _windows(world) == ["minutes"]
    world.assert_exact()
    assert len(world.decisions) == 1


def test_the_period_begins_anew_with_each_owner() -> None:
    world = _world(300)
    for _ in range(4):
        _hear(world, "all", _silent(world, 50), *STOP)
    assert world.decisions == []


def test_the_watermark_is_the_clock_less_the_bound_and_is_stored() -> None:
    world = _world(30)
    _hear(world, "all", _silent(world, 61), *STOP)
    assert _stored(world).watermark_ms == world.clock.now_ms() - 3000
    world.assert_exact()


def test_an_event_that_comes_after_a_decision_is_late_by_it() -> None:
    world = _world(30)
    _hear(world, "all", _silent(world, 61), *STOP)
    world.records += [_event(2, HALF_PAST_MS - 3_600_000), _event(3, HALF_PAST_MS - 30_000)]
    _hear(world, "all", _silent(world, 61), *STOP)
    world.assert_exact()
    late = [json.loads(row) for row in world.sink.rows if b'"late"' in row]
    assert [row["window"] for row in late] == ["minutes", "hours", "minutes"]


def _commits(world: World) -> int:
    return len(world.told("committed"))


def test_a_shard_without_open_windows_decides_and_commits_nothing() -> None:
    world = _world()
    _hear(world, _silent(world, 600))
    assert world.decisions == []
    assert _commits(world) == 1, "commit 0"
    assert _stored(world).watermark_ms is None, "or all that comes from before would be late"


def test_a_shard_falls_silent_when_everything_has_closed() -> None:
    world = _world(4000)
    _hear(world, "all", _silent(world, 120))
    assert sorted(_windows(world)) == ["hours", "minutes"]
    commits = _commits(world)
    _hear(world, _silent(world, 600))
    assert _commits(world) == commits, "not even that the rows were delivered is left to tell"
    world.assert_exact()


def test_open_windows_are_decided_on_once_a_period_and_when_they_are_due() -> None:
    world = _world(0)
    _hear(world, "all", _silent(world, 600), *STOP)
    moments = [(idle.now_ms - HALF_PAST_MS) // 1000 for _, idle in world.decisions]
    assert moments == [61, *range(63, 600, 60)], "at 63 s the minute is over by the bound of 3 s"
    assert _windows(world) == ["minutes"]
    world.assert_exact()
    assert _commits(world) <= 4 + len(moments)


def test_a_clock_behind_the_events_decides_nothing() -> None:
    world = _world(-3600)
    _hear(world, "all", _silent(world, 300), *STOP)
    assert world.decisions == []
    assert world.told("idle_advanced") == []


def test_never_closes_nothing() -> None:
    world = _world(7200, text=_FILE.replace("idle_after: 1m", "idle_after: never"))
    _hear(world, "all", _silent(world, 600), *STOP)
    assert world.decisions == []
    assert _windows(world) == []


def test_a_sink_that_was_down_makes_no_event_late() -> None:
    """What the daemon had read ahead says that nothing is left, ten minutes later; what came meanwhile is not late."""
    world = _world(59)
    daemon = FakeDaemon(world)

    def script() -> Iterator[dict[str, Any]]:
        yield daemon.initialize()
        yield daemon.batch(world.records)
        yield from daemon.silence(61, seconds=1)
        world.clock.seconds += 600
        yield from daemon.silence(3, seconds=0)
        world.records.append(_event(2, HALF_PAST_MS + 300_000))
        yield daemon.batch(world.records[1:])
        yield from ({"action": action} for action in STOP)

    daemon._script = script()
    world.run(daemon)
    world.assert_exact()
    assert not any(b'"late"' in row for row in world.sink.rows)


def test_a_fenced_owner_decides_nothing() -> None:
    """It finds out at its next commit, and is silent before the shard is idle."""
    world = _world(4000, text=_FILE.replace("idle_after: 1m", "idle_after: 10s"))

    def fence() -> Iterator[dict[str, Any]]:
        MemoryStore(world.memory).claim(SHARD)
        yield FakeDaemon(world).batch([])

    _hear(world, "all", fence(), _silent(world, 25), "leaseLost")
    assert world.told("fenced")
    assert not world.told("idle_advanced")


def test_a_parked_owner_decides_nothing() -> None:
    world = _world(4000)
    world.checkpoint = Position.of(world.records[0])
    _hear(world, _silent(world, 200), "leaseLost")
    assert world.told("shard_refused")
    assert not world.told("idle_advanced")


# -- deaths


def test_a_decision_that_no_commit_holds_is_taken_anew() -> None:
    """By another clock: nothing was sent of it."""
    taken_again = 0
    for die_at in range(30):
        world = _world(4000)
        world.die_at = die_at
        with suppress(Died):
            _hear(world, "all", _silent(world, 62), *STOP)
        world.die_at = None
        undone = world.told("idle_advanced") if not world.decisions else []
        assert not undone or not _windows(world)
        world.clock.seconds += 0.777
        _hear(world, "all", _silent(world, 62), *STOP)
        world.assert_exact()
        assert len(world.decisions) == 1
        watermarks = [line["watermark"] for line in world.told("idle_advanced")]
        assert len(set(watermarks)) == len(watermarks)
        taken_again += len(undone)
    assert taken_again


def _idle_pipeline(seed: int) -> Pipeline:
    pipeline = random_pipeline(seed)
    return dataclasses.replace(pipeline, events=dataclasses.replace(pipeline.events, idle_after_ms=12_000))


def _idle_world(seed: int, count: int = 50) -> World:
    """Return a world whose reads are seconds apart, and whose wall goes on by milliseconds, as the events do."""
    world = World(_idle_pipeline(seed), records(Random(seed), count))
    world.silences = Random(seed)
    world.clock.ms_per_second = 10
    world.clock.origin_ms = START_MS - round(world.clock.seconds * 10)
    return world


@pytest.mark.parametrize("seed", [1, deep_only(2), deep_only(3)])
def test_a_death_at_any_step_keeps_decisions_and_records_exact(seed: int) -> None:
    world = _idle_world(seed, 30)
    world.run()
    assert world.decisions
    world.assert_exact()
    for die_at in range(len(world.steps)):
        world = _idle_world(seed, 30)
        assert world.run_until_death(die_at)
        world.run()
        world.assert_exact()


@pytest.mark.parametrize("seed", seeds(20, deep=20))
def test_many_deaths_keep_decisions_and_records_exact(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    random = Random(seed)
    options = Processor.__init__.__kwdefaults__
    assert options is not None
    monkeypatch.setitem(options, "rows_max", random.choice([2, 5, 10_000]))
    monkeypatch.setattr(commit, "PENDING_BYTES_MAX", random.choice([0, 1_000, 10_000_000]))
    monkeypatch.setattr(commit, "SMALL_STATE_GROUPS", random.choice([0, 1000]))
    monkeypatch.setattr(commit, "INLINE_BYTES_MAX", random.choice([0, 8192]))
    world = _idle_world(seed)
    for _ in range(random.randrange(1, 8)):
        world.batch_size = random.randint(1, 12)
        world.run_until_death(random.randrange(60))
    world.run()
    world.assert_exact()
