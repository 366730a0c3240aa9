"""What an owner refuses to work on, and how long it tries what may work later."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from random import Random
from typing import Any, Literal

import msgspec
import pytest

from consumer.errors import RefusedError, RetryableError
from consumer.records import Position
from consumer.runtime import surroundings
from consumer.runtime.gaps import check_state
from consumer.runtime.surroundings import check_application
from consumer.state.base import Application
from consumer.testing.store_harness import state
from tests.random_streams import records
from tests.runtime.world import SHARD, World, random_pipeline


def _world(on_gap: Literal["refuse", "continue"]) -> World:
    pipeline = random_pipeline(4)
    pipeline = dataclasses.replace(pipeline, state=dataclasses.replace(pipeline.state, on_gap=on_gap))
    return World(pipeline, records(Random(4), 1))


@pytest.fixture
def world() -> World:
    return _world("refuse")


def _changed(application: Application, **changes: Any) -> Application:
    return msgspec.structs.replace(application, **changes)


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"stream_created_ms": 1}, "deleted and created again"),
        ({"runs_in": "lambda"}, "runs in"),
        ({"definitions": "others"}, "definitions of pipeline p have been changed"),
        ({"generation": 1}, "was reset"),
    ],
)
def test_an_application_that_has_changed_is_refused(world: World, changes: dict[str, Any], told: str) -> None:
    mine = world.application
    check_application(mine, mine, "p")
    with pytest.raises(RefusedError, match=told):
        check_application(_changed(mine, **changes), mine, "p")


@pytest.mark.parametrize(
    ("changes", "told"), [({"generation": 9}, "another generation"), ({"stream_created_ms": 9}, "another stream")]
)
def test_a_state_of_something_else_is_refused(world: World, changes: dict[str, Any], told: str) -> None:
    around, mine = world.surroundings(), _state(world)
    check_state(around, SHARD, mine, None)
    with pytest.raises(RefusedError, match=told):
        check_state(around, SHARD, msgspec.structs.replace(mine, **changes), None)


def _state(world: World) -> Any:
    return msgspec.structs.replace(
        state(3),
        position=Position(7, 1),
        generation=world.application.generation,
        stream_created_ms=world.application.stream_created_ms,
    )


@pytest.mark.parametrize(
    ("position", "checkpoint", "ahead"),
    [
        (Position(7, 1), Position(7, 2), True),
        (Position(7, 1), Position(7, 1), False),
        (Position(7, 1), Position(6, 9), False),
        (None, Position(1, 0), True),
        (Position(7, 1), None, False),
        (None, None, False),
    ],
)
def test_a_checkpoint_ahead_of_the_state_is_refused_or_told(
    position: Position | None, checkpoint: Position | None, *, ahead: bool
) -> None:
    lenient, strict = _world("continue"), _world("refuse")
    stored = msgspec.structs.replace(_state(strict), position=position)
    check_state(lenient.surroundings(), SHARD, stored, checkpoint)
    assert ("gap_passed" in lenient.log.getvalue()) is ahead
    if not ahead:
        check_state(strict.surroundings(), SHARD, stored, checkpoint)
        return
    with pytest.raises(RefusedError, match="ahead of the state"):
        check_state(strict.surroundings(), SHARD, stored, checkpoint)


def _failing(times: int) -> Callable[[], str]:
    left = iter(range(times))

    def call() -> str:
        if next(left, None) is not None:
            raise RetryableError("busy")
        return "done"

    return call


def _events(world: World) -> list[str]:
    return [json.loads(line)["event"] for line in world.log.getvalue().splitlines()]


def test_what_may_work_later_is_tried_again_and_told(world: World) -> None:
    around = world.surroundings()
    assert around.retrying(SHARD, "claim", _failing(2)) == "done"
    assert _events(world) == ["commit_retry", "commit_retry"]


def test_what_does_not_work_in_time_is_told_and_raised(world: World) -> None:
    around, began = world.surroundings(), world.clock.seconds
    with pytest.raises(RetryableError, match="busy"):
        around.retrying(SHARD, "claim", _failing(10**6))
    assert world.clock.seconds - began >= surroundings.RETRY_SECONDS_MAX
    assert _events(world)[-1] == "commit_failed"
    assert _events(world).count("commit_failed") == 1
