"""A pipeline that goes from workers to AWS Lambda and back in mid-stream, with the real daemon and runtime client."""

from __future__ import annotations

import json
from datetime import datetime
from random import Random
from typing import Any

import pytest

from consumer.entrypoints.demo.processes import Child
from consumer.entrypoints.demo.runtime_api import LambdaFunction
from consumer.errors import EXIT_OK
from consumer.sources.kinesis import describe
from consumer.sources.mapping import UNCHECKED
from consumer.testing.mapping import EventSourceMapping, Habits
from tests.end_to_end.rig import START_MS, Rig

pytestmark = [pytest.mark.daemon, pytest.mark.deep, pytest.mark.xdist_group("lambda"), pytest.mark.timeout(900)]
SHARDS = 2
HANDLER = "consumer.entrypoints.lambda_handler.handler"
HOUR_MS = 3_600_000
HABITS = Habits(duplicate=0.05, old_batch=0.05, throttled=0.1, early_child=0.1)


def test_a_pipeline_goes_to_lambda_and_back_with_its_sessions_open(rig: Rig) -> None:
    """Whoever loses the shards is still at work then; and the stream is resharded while nobody's daemon sees it."""
    rig.put(2_000)
    worker = rig.start()
    rig.wait_until_read(worker)
    _hand_over(rig, "lambda")
    first_hour_ms, second_hour_ms = START_MS + HOUR_MS, START_MS + 2 * HOUR_MS
    assert _open_sessions(rig) > 0
    rig.put(2_000, seed=2, offset_ms=HOUR_MS)
    rig.wait_until_told(worker, '"fenced"')
    with _function(rig) as function:
        mapping = _mapping(rig, function)
        assert mapping.step()
        assert rig.stop(worker) == EXIT_OK, worker.output()
        _drain(mapping)
        rig.cloud.split(rig.cloud.shards()[0])
        rig.put(500, seed=3, offset_ms=HOUR_MS)
        _drain(mapping)
        _hand_over(rig, "worker")
        assert _open_sessions(rig) > 0
        rig.put(2_000, seed=4, offset_ms=2 * HOUR_MS)
        refused = mapping.failed
        mapping.step()
        assert mapping.failed == refused + 1, "the function has no shard any more"
        assert "runs in workers" in function.output()
    worker = rig.start()
    rig.wait_until_read(worker)
    rig.wait_until_combined(worker)
    assert rig.stop(worker) == EXIT_OK, worker.output()
    counted = rig.recount()
    assert counted.is_right, counted
    visits = [json.loads(row) for row in rig.cloud.delivered()["aggregates"]]
    for boundary_ms in (first_hour_ms, second_hour_ms):
        across = [row for row in visits if "started" in row and _ms(row["started"]) < boundary_ms <= _ms(row["ended"])]
        assert across, "sessions that were open when the pipeline moved go on behind it"


def _hand_over(rig: Rig, to: str) -> None:
    said = _state(rig, "handover", "--to", to)
    assert "from here on" in said.output()


def _open_sessions(rig: Rig) -> int:
    """Return how many sessions are open in all shards."""
    shards = [shard.id for shard in rig.cloud.shards() if not shard.closed]
    shown = [json.loads(_state(rig, "show", "--json", shard).output()) for shard in shards]
    return sum(each["groups"] for one in shown for each in one["windows"] if each["window"] == "visits")


def _state(rig: Rig, *arguments: str) -> Child:
    command = rig.children.start("state", ["consumer", "state", *arguments, str(rig.file)], rig.environ)
    assert rig.wait_until_ended(command) == EXIT_OK, command.output()
    return command


def _function(rig: Rig) -> LambdaFunction:
    environ = {**rig.environ, "STREAMGAUGE_PIPELINE": str(rig.file), UNCHECKED: "yes"}
    return LambdaFunction(rig.children, environ, handler=HANDLER)


def _mapping(rig: Rig, function: LambdaFunction) -> EventSourceMapping:
    client: Any = rig.emulator.client("kinesis")
    stream = rig.pipeline.source.stream
    return EventSourceMapping(
        client,
        stream,
        describe(client, stream).arn,
        function.invoke,
        batch_size=300,
        random=Random(7),
        habits=HABITS,
    )


def _ms(text: str) -> int:
    return round(datetime.fromisoformat(text).timestamp() * 1000)


def _drain(mapping: EventSourceMapping) -> None:
    while not mapping.drained():
        pass
