"""The numbered lists of INIT and COMMIT: what survives a death at any step, and what is refused."""

from __future__ import annotations

import dataclasses
import json
import threading
from collections.abc import Iterator
from random import Random
from typing import Any, BinaryIO, cast

import msgspec
import pytest

from consumer.core.processor import Processor
from consumer.errors import DaemonError, FencedError, RetryableError, SetupError
from consumer.records import HashRange, Position, Record
from consumer.runtime import commit, compaction
from consumer.runtime.shard import ShardRunner
from consumer.runtime.surroundings import ShardOrigin
from consumer.state.base import Application, ShardState
from consumer.state.memory import MemoryStore
from consumer.testing.fakes import FaultyStore
from tests.random_streams import records
from tests.runtime.world import FAILOVER_SECONDS, SHARD, FakeDaemon, World, random_pipeline
from tests.seeds import deep_only, seeds

SEED = 11


def _world(seed: int = SEED, count: int = 60) -> World:
    return World(random_pipeline(seed), records(Random(seed), count))


def _assert_exact(world: World) -> None:
    world.assert_exact()


def _state(world: World) -> ShardState:
    claim = MemoryStore(world.memory).read(SHARD)
    assert claim is not None
    assert claim.state is not None
    return claim.state


def test_an_undisturbed_run_is_exact_and_sends_nothing_twice() -> None:
    world = _world()
    daemon = world.run()
    _assert_exact(world)
    assert len(world.sink.rows) == len(world.unique_rows()) > 10
    assert world.checkpoint == Position.of(world.records[-1])
    assert daemon.statuses[0] == "initialize"
    assert daemon.statuses[-2:] == ["shutdownRequested", "leaseLost"]
    assert world.stored_outbox() == set(), "delivery is recorded before the lease goes"


def test_a_shard_that_is_behind_commits_less_often() -> None:
    commits = {}
    for behind_ms in (None, 0, 86_400_000):
        world = _world()
        world.run(FakeDaemon(world, behind_ms=behind_ms))
        _assert_exact(world)
        commits[behind_ms] = world.steps.count("before advance")
    assert commits[None] == commits[0] > commits[86_400_000] >= 1


@pytest.mark.parametrize("end", ["leaseLost", "shardEnded"])
def test_nothing_is_told_of_a_shard_that_has_left(end: str) -> None:
    """Its conversation may go on for a while; by then another thread, or worker, speaks for it."""
    world = _world()
    runner = world.runner()
    telemetry = runner._around.telemetry
    looks = []

    def script(daemon: FakeDaemon) -> Iterator[dict[str, Any]]:
        yield daemon.initialize()
        yield daemon.batch(world.records)
        looks.append(telemetry.health.report().shards)
        yield {"action": end}
        looks.append(telemetry.health.report().shards)

    daemon = FakeDaemon(world)
    daemon._script = script(daemon)
    runner.run(cast("BinaryIO", daemon), cast("BinaryIO", daemon))
    looks.append(telemetry.health.report().shards)
    assert [SHARD in shards for shards in looks] == [True, False, False]
    assert "shard_released" not in world.log.getvalue()


def _steps(end: str, **world_options: int) -> int:
    world = _world(**world_options)
    world.run(FakeDaemon(world, end=end))
    return len(world.steps)


@pytest.mark.parametrize(
    ("end", "inline_max_bytes"), [("shutdown", 0), ("end", 8192), deep_only("shutdown", 8192), deep_only("end", 0)]
)
def test_a_death_at_any_step_loses_and_doubles_nothing(
    end: str, inline_max_bytes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(commit, "INLINE_BYTES_MAX", inline_max_bytes)
    monkeypatch.setattr(commit, "SMALL_STATE_GROUPS", 0)
    deaths = _steps(end)
    for die_at in range(deaths):
        world = _world()
        assert world.run_until_death(die_at, end)
        if not world.ended:
            world.run(FakeDaemon(world, end=end))
        _assert_exact(world)


@pytest.mark.parametrize("seed", seeds(20, deep=20))
def test_many_deaths_at_random_steps_lose_and_double_nothing(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    random = Random(seed)
    monkeypatch.setattr(commit, "INLINE_BYTES_MAX", random.choice([0, 500, 8192]))
    monkeypatch.setattr(commit, "SMALL_STATE_GROUPS", random.choice([0, 1000]))
    monkeypatch.setattr(compaction, "MANIFEST_ENTRIES_MAX", random.choice([4, 6, 32]))
    monkeypatch.setattr(compaction, "RUN_MIN", random.choice([2, 4, 100]))
    world = _world(seed, 80)
    for _ in range(random.randrange(1, 9)):
        world.batch_size = random.randint(1, 12)
        world.run_until_death(random.randrange(40))
    world.run()
    _assert_exact(world)


def test_what_was_stored_but_not_sent_is_sent_first_by_the_next_owner() -> None:
    world = _world()
    steps = _steps("shutdown")
    world.run()
    first_put = world.steps.index("before put")
    world = _world()
    assert steps > first_put
    assert world.run_until_death(first_put)
    assert not world.sink.rows
    stored = world.stored_outbox()
    assert stored
    world.run(FakeDaemon(world, script=iter([FakeDaemon(world).initialize()])))
    assert set(world.sink.rows) == stored


def test_calls_come_in_the_order_of_the_list(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(commit, "INLINE_BYTES_MAX", 0)
    world = _world()
    world.run()
    befores = [step.removeprefix("before ") for step in world.steps if step.startswith("before ")]
    assert befores[:4] == ["read_application", "claim", "put_object", "advance"], "INIT and commit 0: no checkpoint"
    first_put = befores.index("put")
    assert befores[first_put - 2 : first_put + 3] == ["put_object", "advance", "put", "checkpoint", "delete_objects"]


def test_a_lost_answer_to_the_fence_is_found_to_be_ours() -> None:
    world = _world()
    store = FaultyStore(MemoryStore(world.memory))
    store.fail("advance", RetryableError("cut"), after_effect=True)
    world.run(store=store)
    _assert_exact(world)
    assert "fenced" not in world.log.getvalue()


def test_a_fence_that_was_never_written_is_written_again() -> None:
    world = _world()
    store = FaultyStore(MemoryStore(world.memory))
    store.fail("advance", RetryableError("cut"))
    store.fail("advance", RetryableError("throttled"))
    world.run(store=store)
    _assert_exact(world)


def test_trouble_with_the_store_is_retried_at_every_call() -> None:
    world = _world()
    store = FaultyStore(MemoryStore(world.memory))
    for operation in ("read_application", "claim", "advance", "read", "put_object", "delete_objects"):
        store.fail(operation, RetryableError(operation))
    world.run(store=store)
    _assert_exact(world)


def test_a_store_that_stays_away_ends_the_process() -> None:
    world = _world()
    store = FaultyStore(MemoryStore(world.memory))
    for _ in range(1000):
        store.fail("claim", RetryableError("away"))
    with pytest.raises(RetryableError):
        world.run(store=store)


def test_a_fenced_owner_goes_silent() -> None:
    """Another owner claims in the middle: nothing more is written, sent or checkpointed."""
    world = _world()
    daemon = FakeDaemon(world)
    usual = daemon._usual("shutdown")

    def script() -> Iterator[dict[str, Any]]:
        for number, message in enumerate(usual):
            if number == 4:
                MemoryStore(world.memory).claim(SHARD)
                world.steps.clear()
            yield message

    daemon._script = script()
    world.run(daemon)
    assert not {"after advance", "before put", "before checkpoint"} & set(world.steps)
    assert "fenced" in world.log.getvalue()
    world.run()
    _assert_exact(world)


def test_a_fenced_owner_that_keeps_its_lease_has_a_twin_and_ends() -> None:
    world = _world()
    daemon = FakeDaemon(world)

    def script() -> Iterator[dict[str, Any]]:
        usual = daemon._usual("shutdown")
        yield next(usual)
        MemoryStore(world.memory).claim(SHARD)
        yield next(usual)
        while True:
            world.clock.seconds += 6
            yield daemon.batch([])

    daemon._script = script()
    with pytest.raises(FencedError, match=r"worker\.identifier"):
        world.run(daemon)


def test_a_sink_that_is_down_holds_the_batch_and_loses_nothing() -> None:
    world = _world()
    world.sink.down = 20
    world.run()
    _assert_exact(world)


def test_a_stop_while_the_sink_is_down_leaves_the_rows_to_the_next_owner() -> None:
    world = _world()
    world.sink.down = 10**9
    world.stopping = True
    daemon = world.run()
    assert not world.sink.rows
    assert daemon.statuses[-1] == "leaseLost"
    world.stopping, world.sink.down = False, 0
    world.run()
    _assert_exact(world)


def test_the_lease_table_may_be_rewound() -> None:
    world = _world()
    world.run()
    sent = len(world.sink.rows)
    world.checkpoint = "TRIM_HORIZON"
    world.run()
    assert len(world.sink.rows) == sent
    _assert_exact(world)


def test_a_checkpoint_is_never_beyond_what_this_lease_was_given() -> None:
    """After a rewind the state is ahead; FakeDaemon asserts each checkpoint."""
    world = _world()
    world.run()
    world.checkpoint = "TRIM_HORIZON"
    world.batch_size = 1
    daemon = world.run()
    assert daemon.checkpoints


def test_a_passing_checkpoint_error_waits_for_the_next_commit() -> None:
    world = _world()
    daemon = FakeDaemon(world)
    daemon.checkpoint_errors = ["ThrottlingException", "KinesisClientLibDependencyException"]
    world.run(daemon)
    _assert_exact(world)
    assert daemon.checkpoints


def test_a_lost_lease_at_a_checkpoint_stops_all_writing() -> None:
    world = _world()
    daemon = FakeDaemon(world)
    daemon.checkpoint_errors = ["ShutdownException"]
    world.run(daemon)
    assert daemon.checkpoints == []
    world.run()
    _assert_exact(world)


def test_an_unknown_checkpoint_error_ends_the_process() -> None:
    world = _world()
    daemon = FakeDaemon(world)
    daemon.checkpoint_errors = ["NullPointerException"]
    with pytest.raises(DaemonError, match="NullPointerException"):
        world.run(daemon)


def test_the_end_of_a_shard_is_checkpointed_after_everything_was_sent() -> None:
    world = _world()
    daemon = FakeDaemon(world, end="end")
    daemon.checkpoint_errors = ["ThrottlingException"] * 3
    world.run(daemon)
    assert world.ended
    assert daemon.checkpoints[-1] is None
    assert _state(world).ended
    assert world.stored_outbox() == set()
    _assert_exact(world)


def test_an_ended_shard_is_frozen() -> None:
    """INIT of an ended shard processes nothing; its end goes straight to the checkpoint."""
    world = _world()
    ended = world.records[:40]
    rest = world.records[40:]
    world.records = ended
    world.run(FakeDaemon(world, end="end"))
    before = _state(world)
    world.records = [*ended, *rest]
    daemon = world.run(FakeDaemon(world, end="end"))
    assert _state(world) == before
    assert daemon.checkpoints == [None]


def _refused(world: World) -> str:
    daemon = world.run()
    assert daemon.checkpoints == []
    assert not world.sink.rows
    line = next(line for line in world.log.getvalue().splitlines() if '"shard_refused"' in line)
    return str(json.loads(line)["error"])


def test_a_child_whose_parent_has_no_state_is_refused() -> None:
    world = _world()
    world.application = msgspec.structs.replace(world.application, roots=("another",))
    world.memory = type(world.memory)()
    MemoryStore(world.memory).create_application(world.application)
    assert "came from parent-1 by a split or merge, but parent-1 has no state" in _refused(world)


def test_state_that_is_behind_the_lease_is_a_gap() -> None:
    world = _world()
    world.checkpoint = Position.of(world.records[10])
    assert "no state for it" in _refused(world)


def test_other_definitions_are_refused_before_the_claim() -> None:
    world = _world()
    world.application = msgspec.structs.replace(world.application, definitions="0" * 64)
    assert "definitions" in _refused(world)
    assert MemoryStore(world.memory).read(SHARD) is None, "nothing was written"


def test_a_stream_made_again_is_refused() -> None:
    world = _world()
    world.application = msgspec.structs.replace(world.application, stream_created_ms=1)
    assert "deleted and created again" in _refused(world)


def test_a_later_checkpoint_than_the_state_is_a_gap() -> None:
    world = _world()
    kept = world.records
    world.records = kept[:20]
    world.run()
    world.sink.rows.clear()
    world.checkpoint = Position.of(kept[30])
    world.records = kept
    assert "ahead of the state" in _refused(world)


def test_a_gap_is_passed_where_the_file_says_so() -> None:
    pipeline = random_pipeline(SEED)
    state = dataclasses.replace(pipeline.state, on_gap="continue")
    kept = list(records(Random(SEED), 60))
    world = World(dataclasses.replace(pipeline, state=state), kept[:20])
    world.run()
    world.checkpoint = Position.of(kept[30])
    world.records = kept
    world.run()
    assert _state(world).position == Position.of(kept[-1])
    (gap,) = world.told("gap_passed")
    assert gap["counted_to"] == str(Position.of(kept[19]).sequence)
    assert gap["goes_on"] == str(Position.of(kept[30]).sequence)


def test_a_state_that_is_gone_is_no_gap_to_pass() -> None:
    pipeline = random_pipeline(SEED)
    state = dataclasses.replace(pipeline.state, on_gap="continue")
    world = World(dataclasses.replace(pipeline, state=state), list(records(Random(SEED), 60)))
    world.checkpoint = Position.of(world.records[10])
    assert "no state for it" in _refused(world)


def test_a_parked_shard_answers_and_does_nothing() -> None:
    world = _world()
    world.application = Application(0, 0, (), world.program.definitions, 1)
    daemon = world.run()
    assert "processRecords" in daemon.statuses
    assert world.steps == ["before read_application", "after read_application"]


def test_records_delivered_again_within_an_aggregate_are_skipped_by_sub_sequence() -> None:
    world = _world()
    pairs = [record for record in world.records if record.sub_sequence_number == 1]
    assert pairs
    stop_at = Position.of(world.records[20])
    assert world.records[20].sub_sequence_number == 0
    everything = world.records
    world.records = everything[:21]
    world.run()
    assert world.checkpoint == stop_at
    world.records = everything
    world.run()
    _assert_exact(world)


def test_garbage_from_the_daemon_ends_the_process() -> None:
    world = _world()
    daemon = FakeDaemon(world, script=iter([{"action": "surprise"}]))
    with pytest.raises(DaemonError, match="not understood"):
        world.run(daemon)


def test_a_daemon_that_begins_otherwise_ends_the_process() -> None:
    world = _world()
    with pytest.raises(DaemonError, match="began with"):
        world.run(FakeDaemon(world, script=iter([{"action": "leaseLost"}])))


def test_the_end_of_the_conversation_in_the_middle_is_no_error() -> None:
    world = _world()
    daemon = FakeDaemon(world)
    script = daemon._usual("shutdown")
    daemon._script = iter([next(script), next(script)])
    world.run(daemon)
    world.run()
    _assert_exact(world)


def _record(data: bytes) -> Record:
    return Record(data, "a", str(10**55), 0, 1_000_000)


def test_bytes_that_are_no_event_are_dead_letters_and_move_the_position() -> None:
    world = World(random_pipeline(SEED), [_record(b"\x00not json")])
    world.run()
    (row,) = world.sink.rows
    assert json.loads(row)["reason"] == "invalid_json"
    assert world.checkpoint == Position(10**55, 0)


def test_the_end_of_a_shard_whose_state_has_another_owner_ends_the_process() -> None:
    """Answered without a checkpoint it would be wedged, and no further message would tell."""
    world = _world()
    daemon = FakeDaemon(world, end="end")
    usual = daemon._usual("end")

    def script() -> Iterator[dict[str, Any]]:
        for number, message in enumerate(usual):
            if number == 4:
                MemoryStore(world.memory).claim(SHARD)
            yield message

    daemon._script = script()
    with pytest.raises(FencedError):
        world.run(daemon)
    assert not world.ended


def test_a_throttled_checkpoint_is_tried_again_though_nothing_new_comes() -> None:
    world = _world()
    daemon = FakeDaemon(world)
    daemon.checkpoint_errors = ["ThrottlingException"] * 12
    usual = daemon._usual("shutdown")

    def script() -> Iterator[dict[str, Any]]:
        for message in usual:
            if message["action"] == "shutdownRequested":
                for _ in range(20):
                    world.clock.seconds += 6
                    yield daemon.batch([])
            yield message

    daemon._script = script()
    world.run(daemon)
    assert world.checkpoint == Position.of(world.records[-1])


def test_a_stop_while_the_state_store_is_away_is_no_failure() -> None:
    world = _world()
    world.stopping = True
    store = FaultyStore(MemoryStore(world.memory))
    store.fail("advance", RetryableError("away"))
    store.fail("read", RetryableError("away"))
    daemon = world.run(store=store)
    assert daemon.statuses[-1] == "leaseLost"
    world.stopping = False
    world.run()
    _assert_exact(world)


def test_objects_that_may_not_be_deleted_delay_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(commit, "INLINE_BYTES_MAX", 0)
    world = _world()
    store = FaultyStore(MemoryStore(world.memory))
    for _ in range(100):
        store.fail("delete_objects", SetupError("not allowed"))
    world.run(store=store)
    _assert_exact(world)


def test_a_listing_that_fails_for_now_is_tried_again() -> None:
    world = _world()
    answers: list[Exception | None] = [RetryableError("throttled"), RetryableError("throttled"), None]

    class Listing:
        def origin(self, shard: str) -> ShardOrigin:
            error = answers.pop(0)
            if error is not None:
                raise error
            return world.origin(shard)

        def children(self, shard: str) -> dict[str, HashRange]:
            return world.children(shard)

    daemon = FakeDaemon(world)
    around = dataclasses.replace(world.surroundings(), lineage=Listing())
    runner = ShardRunner(around, failover_seconds=FAILOVER_SECONDS)
    runner.run(cast("BinaryIO", daemon), cast("BinaryIO", daemon))
    assert not answers
    _assert_exact(world)


def test_a_tampered_inline_snapshot_is_refused() -> None:
    world = _world()
    world.run(FakeDaemon(world, script=iter([FakeDaemon(world).initialize()])))
    claim = world.memory.items[SHARD]
    assert claim.state is not None
    other = Processor(world.program, SHARD, 0).freeze([], base=True)
    state = msgspec.structs.replace(claim.state, inline=other, sha256="0" * 64)
    world.memory.items[SHARD] = msgspec.structs.replace(claim, state=state)
    assert "does not match the hash" in _refused(world)


def test_much_to_send_does_not_wait_for_the_interval(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(commit, "PENDING_BYTES_MAX", 1)
    world = _world()
    world.batch_size = 60
    daemon = FakeDaemon(world)
    daemon._script = iter([daemon.initialize(), daemon.batch(world.records)])
    world.run(daemon)
    assert world.sink.rows


def test_a_new_lease_is_not_told_away_by_the_end_of_the_old_one() -> None:
    world = _world()
    around = world.surroundings()
    initialised: dict[str, Any] = {"epoch": 1, "commit_no": 0, "groups": 0, "state_bytes": 1, "position": None}
    initialised["groups_limit"] = 1_000
    around.telemetry.shard_initialised(shard=SHARD, **initialised, seconds=0.0, started="empty")
    newer = threading.Thread(
        target=lambda: around.telemetry.shard_initialised(shard=SHARD, **initialised, seconds=0.0, started="resumed")
    )
    newer.start()
    newer.join()
    around.telemetry.shard_released(shard=SHARD)
    assert SHARD in around.telemetry.health.report().shards
