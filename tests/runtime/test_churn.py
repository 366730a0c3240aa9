"""Owners that take a shard from one another again and again: a worker slows down, and leaves the shard to another."""

from __future__ import annotations

from collections.abc import Iterator
from random import Random
from typing import Any, BinaryIO, cast

import pytest

from consumer.runtime.churn import CALM_CLAIMS, CHURN_SECONDS, WAIT_SECONDS_MAX, ClaimPace
from consumer.runtime.shard import ShardRunner
from consumer.state.memory import MemoryStore
from tests.random_streams import records
from tests.runtime.world import FAILOVER_SECONDS, SHARD, FakeDaemon, World, random_pipeline


class Flapping(World):
    """A worker that gets the lease of a shard, and loses it, again and again."""

    def __init__(self) -> None:
        super().__init__(random_pipeline(11), records(Random(11), 60))
        self.pace = ClaimPace()
        self.waits: list[float] = []
        self.claims_while_it_waits = 0

    def pause(self, seconds: float) -> bool:
        self.waits.append(seconds)
        for _ in range(self.claims_while_it_waits):
            MemoryStore(self.memory).claim(SHARD)
        return super().pause(seconds)

    def lease(self, script: Iterator[dict[str, Any]] | None = None) -> FakeDaemon:
        daemon = FakeDaemon(self, script=script)
        runner = ShardRunner(self.surroundings(), failover_seconds=FAILOVER_SECONDS, pace=self.pace)
        runner.run(cast("BinaryIO", daemon), cast("BinaryIO", daemon))
        return daemon

    def short_lease(self) -> FakeDaemon:
        return self.lease(iter([FakeDaemon(self).initialize(), {"action": "leaseLost"}]))

    def epoch(self) -> int:
        return self.memory.items[SHARD].epoch


def test_a_few_claims_do_not_wait() -> None:
    world = Flapping()
    for _ in range(CALM_CLAIMS):
        world.short_lease()
    assert world.waits == []
    assert world.told("epoch_churn") == []
    assert world.epoch() == CALM_CLAIMS


def test_further_ones_wait_longer_each_time_up_to_a_limit_and_tell() -> None:
    world = Flapping()
    for _ in range(CALM_CLAIMS + 8):
        world.short_lease()
    assert len(world.waits) == 8
    assert world.waits[:3] == [1.5, 3.0, 6.0], "the clock's chance is a half: three quarters of the longest"
    assert world.waits[-1] == 0.75 * WAIT_SECONDS_MAX < 3 * FAILOVER_SECONDS
    assert [line["wait_seconds"] for line in world.told("epoch_churn")] == world.waits
    assert [line["claims"] for line in world.told("epoch_churn")] == list(range(CALM_CLAIMS + 1, CALM_CLAIMS + 9))
    world.lease()
    world.assert_exact()


def test_what_is_long_ago_does_not_count() -> None:
    world = Flapping()
    for _ in range(5 * CALM_CLAIMS):
        world.short_lease()
        world.clock.seconds += CHURN_SECONDS / CALM_CLAIMS + 1
    assert world.waits == []


def test_other_shards_do_not_count() -> None:
    world = Flapping()
    for _ in range(CALM_CLAIMS + 1):
        world.pace.enter(world.surroundings(), "another")
    assert len(world.waits) == 1
    world.short_lease()
    assert len(world.waits) == 1


def test_who_is_overtaken_while_it_waits_leaves_the_shard_to_the_other() -> None:
    world = Flapping()
    for _ in range(CALM_CLAIMS):
        world.short_lease()
    world.claims_while_it_waits = 1
    world.batch_size = 60
    daemon = world.lease()
    assert world.epoch() == CALM_CLAIMS + 1, "it has not claimed the shard"
    assert '"fenced"' in world.log.getvalue()
    assert daemon.checkpoints == []
    assert world.sink.rows == []
    assert "processRecords" in daemon.statuses, "the daemon is answered"


def test_a_worker_that_stops_does_not_claim() -> None:
    world = Flapping()
    for _ in range(CALM_CLAIMS):
        world.short_lease()
    world.stopping = True
    world.short_lease()
    assert world.epoch() == CALM_CLAIMS


@pytest.mark.parametrize("slows_down", [True, False], ids=["slowed down", "without"])
def test_two_flapping_workers_do_not_burn_through_epochs(monkeypatch: pytest.MonkeyPatch, *, slows_down: bool) -> None:
    """As fast as the daemon gives out leases, for ten minutes. Without the wait it is an epoch a second."""
    if not slows_down:
        monkeypatch.setattr(ClaimPace, "enter", lambda *_: None)
    world = Flapping()
    paces = ClaimPace(), ClaimPace()
    started = world.clock.seconds
    turn = 0
    while world.clock.seconds < started + 600:
        world.pace = paces[turn % 2]
        turn += 1
        world.short_lease()
        world.clock.seconds += 1
    assert (world.epoch() < 60) is slows_down
