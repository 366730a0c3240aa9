"""The checkpoint of a shard's end is never given up, as long as the worker runs."""

from __future__ import annotations

import json
from collections.abc import Iterator
from random import Random
from typing import Any

import pytest

from consumer.errors import RetryableError
from consumer.runtime.shard import CHECKPOINT_RETRY_SECONDS_MAX
from tests.random_streams import records
from tests.runtime.world import FakeDaemon, World, random_pipeline


@pytest.fixture
def world() -> World:
    return World(random_pipeline(11), records(Random(11), 20))


def _end(world: World, errors: list[str]) -> FakeDaemon:
    """Let the shard end, and the checkpoint of its end fail so."""
    daemon = FakeDaemon(world, end="end")
    usual = daemon._usual("end")

    def script() -> Iterator[dict[str, Any]]:
        for message in usual:
            if message["action"] == "shardEnded":
                daemon.checkpoint_errors = errors
                world.clock.seconds = began
            yield message

    began = world.clock.seconds + 10_000
    daemon._script = script()
    world.run(daemon)
    return daemon


def _retries(world: World) -> list[float]:
    lines = map(json.loads, world.log.getvalue().splitlines())
    return [line["wait_seconds"] for line in lines if line["event"] == "checkpoint_retry"]


def test_it_is_tried_again_after_longer_and_longer_waits(world: World) -> None:
    began = world.clock.seconds + 10_000
    daemon = _end(world, ["ThrottlingException"] * 7)
    assert _retries(world) == [0.5, 1, 2, 4, 8, 10, 10]
    assert world.clock.seconds == began + 35.5
    assert world.ended
    assert daemon.checkpoints[-1] is None
    assert daemon.checkpoints.count(None) == 1
    world.assert_exact()


def test_after_its_time_the_process_ends_and_the_next_one_goes_on(world: World) -> None:
    began = world.clock.seconds + 10_000
    with pytest.raises(RetryableError):
        _end(world, ["ThrottlingException"] * 1000)
    assert 0 < world.clock.seconds - began - CHECKPOINT_RETRY_SECONDS_MAX <= 10
    assert not world.ended
    world.run(FakeDaemon(world, end="end"))
    assert world.ended
    world.assert_exact()


def test_a_worker_that_stops_leaves_it_to_the_next(world: World) -> None:
    world.stopping = True
    with pytest.raises(RetryableError):
        _end(world, ["ThrottlingException"] * 3)
    assert _retries(world) == []
    assert not world.ended


def test_every_message_is_answered_in_its_turn(world: World) -> None:
    daemon = _end(world, [])
    assert daemon.statuses[0] == "initialize"
    assert daemon.statuses[-1] == "shardEnded"
    assert set(daemon.statuses[1:-1]) == {"processRecords"}
    assert len(daemon.statuses) == 2 + len(range(0, 20, world.batch_size)) + 3
