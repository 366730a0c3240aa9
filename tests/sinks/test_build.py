"""From a pipeline's targets to a router."""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import boto3
import pytest

from consumer.errors import SinkError
from consumer.pipeline.model import (
    Events,
    FileSink,
    FirehoseSink,
    Limits,
    Pipeline,
    S3Sink,
    SinkRoute,
    Source,
    SqsSink,
    State,
    StdoutSink,
    Tumbling,
    Window,
    Worker,
)
from consumer.records import DEAD_LETTER, LATE, Row
from consumer.sinks.build import Clients, build_router
from consumer.testing.fake_aws import FakeS3, FakeSqs
from consumer.testing.fakes import FakeFirehose, RecordingObserver

T = TypeVar("T")


def window(name: str) -> Window:
    return Window(name=name, kind=Tumbling(60_000, 0), by=(), select=(), aligned=False)


PIPELINE = Pipeline(
    name="clickstream",
    source=Source(stream="clicks", partition_key=None, start="trim_horizon"),
    events=Events(
        format="json",
        compression="none",
        fields=(),
        time=None,
        out_of_orderness_ms=0,
        idle_after_ms=None,
        max_future_ms=None,
        max_bytes=1,
    ),
    lets=(),
    where=None,
    windows=(window("views"), window("visits")),
    sinks=(),
    late=None,
    dead_letter=None,
    state=State(table="t", bucket="b", commit_interval_ms=1, emit_delay_ms=1),
    limits=Limits(groups=1, policy="reject"),
    worker=Worker(application="a", identifier=None, metrics_port=0, on_stop="keep", kcl=()),
)
OUTBOX = [Row("views", b"v"), Row("visits", b"s"), Row(LATE, b"l"), Row(DEAD_LETTER, b"d")]


class Services:
    """The services, which remember what clients were made."""

    def __init__(self) -> None:
        self.firehose, self.sqs, self.s3 = FakeFirehose(), FakeSqs(), FakeS3()
        self.made: list[str] = []

    def clients(self) -> Clients:
        return Clients(
            firehose=lambda: self._make("firehose", self.firehose),
            sqs=lambda: self._make("sqs", self.sqs),
            s3=lambda: self._make("s3", self.s3),
        )

    def _make(self, service: str, client: T) -> T:
        self.made.append(service)
        return client


def send(pipeline: Pipeline, services: Services, stdout: io.BytesIO) -> list[str]:
    """Send one row of every output; return the sinks' names."""
    router = build_router(pipeline, services.clients(), stdout)
    router.send(OUTBOX, pause=lambda _: True, observer=RecordingObserver(), random=lambda: 0.0, clock=lambda: 0.0)
    router.close()
    return [sink.name for sink in router.sinks]


def test_each_route_takes_its_windows_and_side_outputs_have_their_own(tmp_path: Path) -> None:
    services, stdout, path = Services(), io.BytesIO(), tmp_path / "letters"
    pipeline = replace(
        PIPELINE,
        sinks=(SinkRoute(FirehoseSink("aggregates"), None), SinkRoute(StdoutSink(), ("visits",))),
        late=FirehoseSink("late"),
        dead_letter=FileSink(str(path)),
    )
    assert send(pipeline, services, stdout) == ["firehose:aggregates", "stdout", "firehose:late", f"file:{path}"]
    assert services.made == ["firehose"]
    assert sorted(services.firehose.rows) == [b"l", b"s", b"v"]
    assert stdout.getvalue() == b"s\n"
    assert path.read_bytes() == b"d\n"


def test_equal_targets_share_one_sink_and_a_row_goes_there_once() -> None:
    services, stdout = Services(), io.BytesIO()
    pipeline = replace(
        PIPELINE,
        sinks=(SinkRoute(StdoutSink(), None), SinkRoute(StdoutSink(), ("views",))),
        late=StdoutSink(),
    )
    assert send(pipeline, services, stdout) == ["stdout"]
    assert stdout.getvalue() == b"v\ns\nl\n"


def test_only_the_clients_that_are_needed_are_made() -> None:
    services = Services()
    send(replace(PIPELINE, sinks=(SinkRoute(StdoutSink(), None),)), services, io.BytesIO())
    assert services.made == []


def test_queues_and_buckets() -> None:
    services, bucket = Services(), S3Sink("results", "clicks")
    pipeline = replace(
        PIPELINE,
        sinks=(SinkRoute(bucket, None), SinkRoute(bucket, ("views",)), SinkRoute(SqsSink("https://h/1/q"), ("views",))),
        late=bucket,
        dead_letter=SqsSink("https://h/1/q"),
    )
    folders = ["results/views/", "results/visits/", "late/"]
    assert sorted(send(pipeline, services, io.BytesIO())) == sorted(
        [*(f"s3:results/clicks/{folder}" for folder in folders), "sqs:q"]
    )
    assert sorted(services.made) == ["s3", "sqs"]
    assert sorted(services.s3.rows) == [b"l", b"s", b"v"]
    assert {name.rpartition("/")[0] for name in services.s3.objects} == {
        "results/clicks/results/views",
        "results/clicks/results/visits",
        "results/clicks/late",
    }
    assert services.sqs.rows == [b"v", b"d"]


def test_boto3_makes_the_clients_with_bounds() -> None:
    session = boto3.Session(aws_access_key_id="x", aws_secret_access_key="x", region_name="us-east-1")
    clients = Clients.of(session)
    made: list[Any] = [clients.firehose(), clients.sqs(), clients.s3()]
    for client, service in zip(made, ("firehose", "sqs", "s3"), strict=True):
        config = client.meta.config
        assert client.meta.service_model.service_name == service
        assert (config.connect_timeout, config.read_timeout) == (3, 10)
        assert config.retries == {"mode": "standard", "total_max_attempts": 2}
        client.close()


def test_outputs_that_nobody_wants_go_nowhere() -> None:
    stdout = io.BytesIO()
    send(replace(PIPELINE, sinks=(SinkRoute(StdoutSink(), ("views",)),)), Services(), stdout)
    assert stdout.getvalue() == b"v\n"


def test_windows_that_are_no_more_go_where_they_are_named_else_everywhere(tmp_path: Path) -> None:
    """What is left of them must not be lost because no sink names them any more."""
    stdout, path = io.BytesIO(), tmp_path / "rows"
    views, named = SinkRoute(StdoutSink(), ("views",)), SinkRoute(FileSink(str(path)), ("views", "named"))
    pipeline = replace(PIPELINE, sinks=(views, named))
    router = build_router(pipeline, Services().clients(), stdout, former=frozenset({"named", "forgotten", "views"}))
    rows = [Row("views", b"v"), Row("named", b"n"), Row("forgotten", b"f")]
    router.send(rows, pause=lambda _: False, observer=RecordingObserver(), random=lambda: 0.0, clock=lambda: 0.0)
    router.close()
    assert stdout.getvalue() == b"v\nf\n"
    assert path.read_bytes() == b"v\nn\nf\n"


def test_a_file_that_cannot_be_opened_is_refused(tmp_path: Path) -> None:
    route = SinkRoute(FileSink(str(tmp_path / "nowhere" / "out")), None)
    with pytest.raises(SinkError, match="must exist"):
        build_router(replace(PIPELINE, sinks=(route,)), Services().clients(), io.BytesIO())
