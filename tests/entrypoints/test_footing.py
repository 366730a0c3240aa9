"""What a start agrees on: where it begins, with which shards, and which definitions."""

from __future__ import annotations

import dataclasses
import io
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import msgspec
import pytest
from prometheus_client import CollectorRegistry

from consumer.core.compile import compile_pipeline
from consumer.emulator.server import Emulator
from consumer.entrypoints.beginning import start_seconds
from consumer.entrypoints.footing import Footing, Shards, agree
from consumer.errors import RefusedError, RetryableError
from consumer.pipeline.load import load
from consumer.pipeline.model import Pipeline
from consumer.records import Position
from consumer.runtime import clock
from consumer.runtime.adoption import former_windows
from consumer.sources.reading import Behind
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


def _footing(pipeline: Pipeline, store: MemoryStore, emulator: Emulator) -> Footing:
    telemetry = Telemetry(
        metrics=Metrics(CollectorRegistry(), stream="clicks"),
        logger=configure_logging(level="warning", now_ms=clock.now_ms, stream=io.StringIO()),
        health=Health(clock.monotonic),
        windows=[window.name for window in pipeline.windows],
        monotonic=clock.monotonic,
        now_ms=clock.now_ms,
    )
    program, stream = compile_pipeline(pipeline), emulator.client("kinesis")
    return agree(program, store, stream, lambda _, call: call(), telemetry, runs_in="worker")


def _application(pipeline: Pipeline, memory: Memory, emulator: Emulator) -> Application:
    return _footing(pipeline, MemoryStore(memory), emulator).application


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
    events = dataclasses.replace(pipeline.events, out_of_orderness_ms=1)
    with pytest.raises(RefusedError, match=r"definitions .*events\.out_of_orderness: was .*is now 1ms.*state reset"):
        _application(dataclasses.replace(pipeline, events=events), memory, emulator)
    with pytest.raises(RefusedError, match=r"windows\.revenue, .*: no longer in the file .*removed_windows.*reset"):
        _application(dataclasses.replace(pipeline, windows=pipeline.windows[:1]), memory, emulator)
    other = Memory()
    stored = MemoryStore(memory).read_application()
    assert stored is not None
    MemoryStore(other).create_application(msgspec.structs.replace(stored, stream_created_ms=1))
    with pytest.raises(RefusedError, match="deleted and created again"):
        _application(pipeline, other, emulator)


def test_windows_are_added_and_removed_at_a_start(emulator: Emulator, pipeline: Pipeline) -> None:
    memory = Memory()
    first, *others = pipeline.windows
    state = dataclasses.replace(pipeline.state, removed_windows=tuple((each.name, "drop") for each in others))
    before = _application(pipeline, memory, emulator)
    smaller = dataclasses.replace(pipeline, windows=(first,), state=state)
    after = _application(smaller, memory, emulator)
    assert (after.adoptions, after.incarnations) == (1, ())
    assert _application(smaller, memory, emulator) == after, "it is adopted once"
    footing = _footing(pipeline, MemoryStore(memory), emulator)
    again = footing.application
    assert again.incarnations == tuple(sorted((each.name, 2) for each in others))
    assert footing.program.definitions == again.definitions != before.definitions
    assert former_windows(again) == {window.name for window in pipeline.windows}


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


def test_what_a_stream_holds_behind_a_position_is_looked_up(emulator: Emulator, pipeline: Pipeline) -> None:
    stream, first = pipeline.source.stream, "shardId-000000000000"
    client = emulator.client("kinesis")
    footing = _footing(_starting(pipeline, "latest"), MemoryStore(Memory()), emulator)
    waits: list[float] = []

    def pause(seconds: float) -> bool:
        waits.append(seconds)
        return len(waits) > 20

    retention = footing.retention(pause)
    assert retention.period_ms == 24 * 3_600_000
    hash_range = Shards(client, stream).origin(first).hash_range
    assert retention.behind(first, None, hash_range) == Behind(None, is_whole=False)
    numbers = [
        client.put_record(StreamName=stream, Data=b"{}", PartitionKey="x", ExplicitHashKey=str(hash_range.first))
        for _ in range(2)
    ]
    one, two = (Position(int(each["SequenceNumber"]), 0) for each in numbers)
    assert retention.behind(first, one, hash_range) == Behind(two, is_whole=True)
    assert retention.behind(first, two, hash_range) == Behind(None, is_whole=True)
    assert retention.behind("shardId-000000000099", None, hash_range) == Behind(None, ended=True, is_whole=False)
