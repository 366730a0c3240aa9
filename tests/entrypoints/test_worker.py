"""Where a worker starts, and what it refuses before it starts. The whole worker is tested in tests/end_to_end."""

from __future__ import annotations

import io
import json
import signal
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry

import consumer.entrypoints.worker
from consumer.core.compile import compile_pipeline
from consumer.entrypoints.worker import _Worker
from consumer.errors import EXIT_ENVIRONMENT, RetryableError, SetupError
from consumer.pipeline.load import load
from consumer.pipeline.model import Pipeline
from consumer.runtime import clock
from consumer.runtime.retry import StoppedError
from consumer.telemetry.events import Telemetry
from consumer.telemetry.health import Health
from consumer.telemetry.logging import configure_logging
from consumer.telemetry.metrics import Metrics

CLICKSTREAM = Path(__file__).parents[2] / "config" / "clickstream.yaml"


@pytest.fixture
def pipeline() -> Pipeline:
    return load(CLICKSTREAM, {})


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
