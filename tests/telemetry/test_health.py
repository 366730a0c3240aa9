"""The rules of health.py, in their order."""

from __future__ import annotations

import pytest

from consumer.telemetry.health import PARKED, STEP_SECONDS_MAX, Activity, Health, WorkerState
from tests.telemetry.told import FakeClock


@pytest.fixture
def health(clock: FakeClock) -> Health:
    return Health(clock.monotonic)


@pytest.mark.parametrize("activity", [activity for activity in Activity if activity not in PARKED])
def test_no_progress_for_longer_than_the_limit_is_not_alive(
    health: Health, clock: FakeClock, activity: Activity
) -> None:
    health.progress("shard-0", activity)
    health.progress("shard-1", activity)
    clock.seconds += STEP_SECONDS_MAX
    assert health.report().live
    health.progress("shard-1", activity)
    clock.seconds += 1
    report = health.report()
    assert not report.live
    assert report.problems == {"shard-0": f"{activity}: no progress for 301 s (limit 300 s)"}


def test_every_attempt_is_progress(health: Health, clock: FakeClock) -> None:
    for _ in range(100):
        health.progress("shard-0", Activity.WAITING_FOR_SINK)
        clock.seconds += 30
        assert health.report().live


@pytest.mark.parametrize("activity", sorted(PARKED))
def test_a_parked_shard_has_no_limit(health: Health, clock: FakeClock, activity: Activity) -> None:
    health.progress("shard-0", activity)
    clock.seconds += 1_000_000
    report = health.report()
    assert report.live
    assert report.shards["shard-0"].activity is activity


def test_a_shard_that_has_left_counts_no_more(health: Health, clock: FakeClock) -> None:
    health.progress("shard-0", Activity.PROCESSING)
    health.gone("shard-0")
    health.gone("never seen")
    clock.seconds += 1_000
    assert health.report().live
    assert health.report().shards == {}


def test_ready_between_initialisation_and_stopping(health: Health) -> None:
    assert (health.report().live, health.report().ready) == (True, False)
    health.ready()
    assert health.report().ready
    health.stopping()
    assert not health.report().ready
    assert health.report().live


def test_a_late_initialisation_does_not_undo_stopping(health: Health) -> None:
    health.stopping()
    health.ready()
    assert health.state is WorkerState.STOPPING
