"""Where a worker starts, and what it refuses before it starts. The whole worker is tested in tests/end_to_end."""

from __future__ import annotations

import dataclasses
import io
import json
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import msgspec
import pytest
from prometheus_client import CollectorRegistry

import consumer.entrypoints.worker
from consumer.core.compile import compile_pipeline
from consumer.emulator.server import Emulator
from consumer.entrypoints.beginning import start_seconds
from consumer.entrypoints.worker import Shards, _Worker
from consumer.errors import EXIT_ENVIRONMENT, RefusedError, RetryableError, SetupError
from consumer.pipeline.load import load
from consumer.pipeline.model import Pipeline
from consumer.runtime import clock
from consumer.runtime.retry import StoppedError
from consumer.state.base import Application
from consumer.state.memory import Memory, MemoryStore
from consumer.telemetry.events import Telemetry
from consumer.telemetry.health import Health
from consumer.telemetry.logging import configure_logging
from consumer.telemetry.metrics import Metrics

CLICKSTREAM = Path(__file__).parents[2] / "config" / "clickstream.yaml"


@pytest.fixture(scope="module")
def emulator() -> Iterator[Emulator]:
    with Emulator() as running:
        yield running


@pytest.fixture
def pipeline(emulator: Emulator, request: pytest.FixtureRequest) -> Pipeline:
    """Return the clickstream with a stream of its own."""
    pipeline = load(CLICKSTREAM, {})
    stream = f"clicks-{abs(hash(request.node.nodeid))}"
    emulator.kinesis.create_stream(stream, 2)
    return dataclasses.replace(pipeline, source=dataclasses.replace(pipeline.source, stream=stream))


def _starting(pipeline: Pipeline, start: Literal["trim_horizon", "latest"] | int) -> Pipeline:
    return dataclasses.replace(pipeline, source=dataclasses.replace(pipeline.source, start=start))


def _worker(pipeline: Pipeline, log: io.StringIO | None = None) -> _Worker:
    telemetry = Telemetry(
        metrics=Metrics(CollectorRegistry(), stream="clicks"),
        logger=configure_logging(level="warning", now_ms=clock.now_ms, stream=log or io.StringIO()),
        health=Health(clock.monotonic),
        windows=[window.name for window in pipeline.windows],
        monotonic=clock.monotonic,
        now_ms=clock.now_ms,
    )
    return _Worker(compile_pipeline(pipeline), {}, telemetry, quick_start=True)


def _application(pipeline: Pipeline, memory: Memory, emulator: Emulator) -> Application:
    return _worker(pipeline)._application(MemoryStore(memory), emulator.client("kinesis"))


def test_latest_is_the_instant_of_the_first_start_for_ever(emulator: Emulator, pipeline: Pipeline) -> None:
    pipeline, memory = _starting(pipeline, "latest"), Memory()
    first = _application(pipeline, memory, emulator)
    assert first.started_at_ms % 1000 == 0, "whole seconds, as the daemon takes them"
    assert _application(pipeline, memory, emulator) == first
    assert start_seconds(pipeline, first.started_at_ms) == first.started_at_ms // 1000


def test_other_starts_do_not_depend_on_the_clock(pipeline: Pipeline) -> None:
    assert start_seconds(_starting(pipeline, "trim_horizon"), 5_000) is None
    assert start_seconds(_starting(pipeline, 1_767_225_600_999), 5_000) == 1_767_225_600


def test_the_roots_are_the_shards_of_the_first_start(emulator: Emulator, pipeline: Pipeline) -> None:
    memory, stream = Memory(), pipeline.source.stream
    first = _application(pipeline, memory, emulator)
    assert first.roots == ("shardId-000000000000", "shardId-000000000001")
    emulator.kinesis.split_shard(stream, first.roots[0])
    assert _application(pipeline, memory, emulator).roots == first.roots


def test_other_definitions_or_another_stream_are_refused(emulator: Emulator, pipeline: Pipeline) -> None:
    memory = Memory()
    _application(pipeline, memory, emulator)
    with pytest.raises(RefusedError, match=r"definitions .*windows\.revenue: was there, is now removed.*state reset"):
        _application(dataclasses.replace(pipeline, windows=pipeline.windows[:1]), memory, emulator)
    other = Memory()
    stored = MemoryStore(memory).read_application()
    assert stored is not None
    MemoryStore(other).create_application(msgspec.structs.replace(stored, stream_created_ms=1))
    with pytest.raises(RefusedError, match="deleted and created again"):
        _application(pipeline, other, emulator)


def test_a_shard_that_turns_up_later_is_asked_for(emulator: Emulator, pipeline: Pipeline) -> None:
    stream = pipeline.source.stream
    shards = Shards(emulator.client("kinesis"), stream)
    assert shards.origin("shardId-000000000000").parents == ()
    emulator.kinesis.split_shard(stream, "shardId-000000000000")
    child = shards.origin("shardId-000000000002")
    assert child.parents == ("shardId-000000000000",)
    assert child.hash_range[0] == shards.origin("shardId-000000000000").hash_range[0]
    with pytest.raises(RetryableError, match="no shard"):
        shards.origin("shardId-000000000099")


def test_aws_that_does_not_answer_for_long_ends_the_start_with_the_status_of_a_missing_thing(
    pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(consumer.entrypoints.worker, "START_RETRY_SECONDS_MAX", 0.0)
    log = io.StringIO()

    def fail() -> None:
        raise RetryableError("table t: throttled")

    with pytest.raises(SetupError, match=r"table t: throttled \(tried for 0 s\)\. Check the network"):
        _worker(pipeline, log)._starting("check_table", fail)
    (line,) = map(json.loads, log.getvalue().splitlines())
    assert (line["event"], line["step"], line["error"]) == (
        "start_retry",
        "check_table",
        "RetryableError: table t: throttled",
    )
    assert SetupError.exit_status == EXIT_ENVIRONMENT


def test_a_stop_ends_the_waiting_for_aws(pipeline: Pipeline) -> None:
    worker = _worker(pipeline)

    def stop_and_fail() -> None:
        signal.raise_signal(signal.SIGTERM)
        raise RetryableError("throttled")

    with worker._signals(), pytest.raises(StoppedError):
        worker._starting("check_table", stop_and_fail)
