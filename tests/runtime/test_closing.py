"""Windows that close are many: they are committed and sent step by step, and a death in between harms nothing."""

from __future__ import annotations

import json
from collections.abc import Iterator
from random import Random
from typing import Any

import pytest

from consumer.core.processor import Processor
from consumer.pipeline.load import load_text
from consumer.records import Position, Record
from consumer.runtime import commit
from consumer.state.memory import MemoryStore
from tests.random_streams import records
from tests.runtime.world import SHARD, FakeDaemon, World, random_pipeline
from tests.seeds import deep_only

_FILE = """\
pipeline: closing
source: {stream: clicks, partition_key: user}
events: {fields: {user: string, at: timestamp}, time: at, out_of_orderness: 0s, max_future: off}
windows:
  hits: {tumbling: 10s, by: [user], select: {hits: count()}}
  visits: {session: {gap: 5s}, by: [user], select: {hits: count()}}
sinks: [{stdout: {}}]
state: {table: table, bucket: bucket}
"""
USERS = 14
MANY = 2 * USERS
"""So many windows close when everybody's have ended."""


@pytest.fixture
def _few_rows_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Close three windows a step, and commit after each step with rows."""
    options = Processor.__init__.__kwdefaults__
    assert options is not None
    monkeypatch.setitem(options, "rows_max", 3)
    monkeypatch.setattr(commit, "PENDING_BYTES_MAX", 0)
    monkeypatch.setattr(commit, "SMALL_STATE_GROUPS", 0)
    monkeypatch.setattr(commit, "INLINE_BYTES_MAX", 0)


pytestmark = pytest.mark.usefixtures("_few_rows_at_once")


def _record(number: int, user: str, at_ms: int) -> Record:
    return Record(json.dumps({"user": user, "at": at_ms}).encode(), user, str(number), 0, at_ms)


def _everybody(extra: int = 0) -> World:
    """Return a world where everybody has come at 1 s, then one at 20 s closes all, and so many more follow."""
    came = [_record(number, f"user-{number:02}", 1000) for number in range(1, USERS + 1)]
    later = [_record(USERS + 1 + number, "last", 20_000 + number) for number in range(1 + extra)]
    world = World(load_text(_FILE, "closing.yaml", {}), [*came, *later])
    world.batch_size = len(world.records)
    return world


def _die_while_closing(world: World) -> None:
    """Let the process die after the second commit with rows: some rows are sent, many windows are due."""
    assert world.run_until_death(_steps_until_put(2))
    assert 0 < len(world.unique_rows()) < MANY
    assert _restored(world).closing


def _steps_until_put(number: int) -> int:
    world = _everybody()
    world.run()
    return [at for at, name in enumerate(world.steps) if name == "after put"][number - 1]


def _restored(world: World) -> Processor:
    store = MemoryStore(world.memory)
    claim = store.read(SHARD)
    assert claim is not None
    assert claim.state is not None
    entries = [store.get_object(entry) for entry in claim.state.manifest]
    processor, _ = Processor.restore(world.program, SHARD, 0, entries)
    return processor


def test_many_windows_are_sent_in_small_commits() -> None:
    world = _everybody(extra=4)
    world.run()
    world.assert_exact()
    rows = [line["rows"] for line in world.told("committed")]
    assert max(rows) <= 6, "never more than two steps' rows are held"
    assert sum(rows) >= MANY
    assert world.checkpoint == Position.of(world.records[-1])


def test_the_steps_of_a_batch_are_told_as_one() -> None:
    world = _everybody(extra=4)
    world.run()
    told = [line for line in world.told("batch") if line["records"]]
    assert [line["records"] for line in told] == [len(world.records)]
    assert told[0]["bytes"] == sum(len(record.data) for record in world.records)


def test_a_checkpoint_in_the_midst_of_a_batch_is_where_the_state_is() -> None:
    world = _everybody(extra=4)
    daemon = world.run()
    assert Position.of(world.records[USERS]) in daemon.checkpoints
    assert daemon.checkpoints[-1] == Position.of(world.records[-1])


@pytest.mark.parametrize("end", ["shutdown", deep_only("end")])
def test_a_death_at_any_step_of_closing_loses_and_doubles_nothing(end: str) -> None:
    world = _everybody(extra=2)
    world.run(FakeDaemon(world, end=end))
    for die_at in range(len(world.steps)):
        world = _everybody(extra=2)
        assert world.run_until_death(die_at, end)
        if not world.ended:
            world.run(FakeDaemon(world, end=end))
        world.assert_exact()


@pytest.mark.parametrize("seed", range(25))
def test_random_deaths_in_random_pipelines_lose_and_double_nothing(seed: int) -> None:
    random = Random(seed)
    world = World(random_pipeline(seed), records(Random(seed), 60))
    for _ in range(random.randrange(1, 6)):
        world.batch_size = random.randint(1, 30)
        world.run_until_death(random.randrange(80))
    world.run()
    world.assert_exact()


def _script(daemon: FakeDaemon, *actions: str) -> Iterator[dict[str, Any]]:
    yield daemon.initialize()
    for action in actions:
        yield daemon.batch([]) if action == "read" else {"action": action}


def _run(world: World, *actions: str) -> FakeDaemon:
    daemon = FakeDaemon(world)
    daemon._script = _script(daemon, *actions)
    return world.run(daemon)


def test_a_restored_state_goes_on_closing_without_a_record() -> None:
    world = _everybody()
    _die_while_closing(world)
    _run(world, "read", "shutdownRequested", "leaseLost")
    world.assert_exact()
    assert not _restored(world).closing


def test_the_end_of_a_shard_closes_what_is_due_and_leaves_what_is_open() -> None:
    """Though no read came before it: what is due by this shard's watermark is its own to close."""
    world = _everybody()
    _die_while_closing(world)
    _run(world, "shardEnded")
    world.assert_exact()
    assert world.ended
    assert world.stored_outbox() == set()
    assert _restored(world).open_groups() == {"hits": 1, "visits": 1}, "of the last user"


def test_what_an_idle_decision_closes_is_sent_in_small_commits_too() -> None:
    world = _everybody()
    world.records.pop()
    daemon = FakeDaemon(world)

    def script() -> Iterator[dict[str, Any]]:
        yield daemon.initialize()
        yield daemon.batch(world.records)
        yield from daemon.silence(61, seconds=1)

    daemon._script = script()
    world.run(daemon)
    assert len(world.unique_rows()) == MANY, "at the read of the decision, the last one"
    assert max(line["rows"] for line in world.told("committed")) <= 6
    assert len(world.told("idle_advanced")) == 1
    world.assert_exact()


def test_a_stop_may_leave_the_closing_to_the_next_owner() -> None:
    world = _everybody()
    _die_while_closing(world)
    _run(world, "shutdownRequested", "leaseLost")
    assert len(world.unique_rows()) < MANY
    _run(world, "read", "shutdownRequested", "leaseLost")
    world.assert_exact()


def test_an_owner_that_is_fenced_while_closing_goes_silent() -> None:
    world = _everybody()
    _die_while_closing(world)
    daemon = FakeDaemon(world)
    sent = len(world.sink.rows)

    def script() -> Iterator[dict[str, Any]]:
        yield daemon.initialize()
        MemoryStore(world.memory).claim(SHARD)
        yield daemon.batch([])
        yield {"action": "leaseLost"}

    daemon._script = script()
    world.run(daemon)
    assert len(world.sink.rows) <= sent + 3, "the outbox was sent again, and nothing after it"
    assert "fenced" in world.log.getvalue()
    assert world.told("batch")[-1]["records"] == 0, "what was worked through is told all the same"
    _run(world, "read", "shutdownRequested", "leaseLost")
    world.assert_exact()
