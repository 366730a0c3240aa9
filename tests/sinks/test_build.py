"""From a pipeline's targets to a router."""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path

import pytest

from consumer.errors import SinkError
from consumer.pipeline.model import (
    Events,
    FileSink,
    FirehoseSink,
    Pipeline,
    SinkRoute,
    Source,
    State,
    StdoutSink,
    Tumbling,
    Window,
    Worker,
)
from consumer.records import DEAD_LETTER, LATE, Row
from consumer.sinks.build import build_router
from consumer.testing.fakes import FakeFirehose, RecordingObserver


def window(name: str) -> Window:
    return Window(name=name, kind=Tumbling(60_000, 0), by=(), select=(), aligned=False)


PIPELINE = Pipeline(
    name="clickstream",
    source=Source(stream="clicks", partition_key=None, start="trim_horizon"),
    events=Events(fields=(), time=None, out_of_orderness_ms=0, max_future_ms=None, max_bytes=1),
    lets=(),
    where=None,
    windows=(window("views"), window("visits")),
    sinks=(),
    late=None,
    dead_letter=None,
    state=State(table="t", bucket="b", commit_interval_ms=1, emit_delay_ms=1),
    worker=Worker(application="a", identifier=None, metrics_port=0, kcl=()),
)
OUTBOX = [Row("views", b"v"), Row("visits", b"s"), Row(LATE, b"l"), Row(DEAD_LETTER, b"d")]


class Clients:
    """A factory that counts."""

    def __init__(self) -> None:
        self.made: list[FakeFirehose] = []

    def __call__(self) -> FakeFirehose:
        self.made.append(FakeFirehose())
        return self.made[-1]


def send(pipeline: Pipeline, clients: Clients, stdout: io.BytesIO) -> list[str]:
    """Send one row of every output; return the sinks' names."""
    router = build_router(pipeline, clients, stdout)
    router.send(OUTBOX, pause=lambda _: True, observer=RecordingObserver(), random=lambda: 0.0, clock=lambda: 0.0)
    router.close()
    return [sink.name for sink in router.sinks]


def test_each_route_takes_its_windows_and_side_outputs_have_their_own(tmp_path: Path) -> None:
    clients, stdout, path = Clients(), io.BytesIO(), tmp_path / "letters"
    pipeline = replace(
        PIPELINE,
        sinks=(SinkRoute(FirehoseSink("aggregates"), None), SinkRoute(StdoutSink(), ("visits",))),
        late=FirehoseSink("late"),
        dead_letter=FileSink(str(path)),
    )
    assert send(pipeline, clients, stdout) == ["firehose:aggregates", "stdout", "firehose:late", f"file:{path}"]
    (client,) = clients.made
    assert sorted(client.rows) == [b"l", b"s", b"v"]
    assert stdout.getvalue() == b"s\n"
    assert path.read_bytes() == b"d\n"


def test_equal_targets_share_one_sink_and_a_row_goes_there_once() -> None:
    clients, stdout = Clients(), io.BytesIO()
    pipeline = replace(
        PIPELINE,
        sinks=(SinkRoute(StdoutSink(), None), SinkRoute(StdoutSink(), ("views",))),
        late=StdoutSink(),
    )
    assert send(pipeline, clients, stdout) == ["stdout"]
    assert stdout.getvalue() == b"v\ns\nl\n"


def test_without_a_firehose_no_client_is_made() -> None:
    clients = Clients()
    send(replace(PIPELINE, sinks=(SinkRoute(StdoutSink(), None),)), clients, io.BytesIO())
    assert clients.made == []


def test_outputs_that_nobody_wants_go_nowhere() -> None:
    stdout = io.BytesIO()
    send(replace(PIPELINE, sinks=(SinkRoute(StdoutSink(), ("views",)),)), Clients(), stdout)
    assert stdout.getvalue() == b"v\n"


def test_a_file_that_cannot_be_opened_is_refused(tmp_path: Path) -> None:
    route = SinkRoute(FileSink(str(tmp_path / "nowhere" / "out")), None)
    with pytest.raises(SinkError, match="must exist"):
        build_router(replace(PIPELINE, sinks=(route,)), Clients(), io.BytesIO())
