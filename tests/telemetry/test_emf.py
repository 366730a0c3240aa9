"""The embedded metric format: what has happened since the last line, and nothing twice."""

from __future__ import annotations

import io
import json
from typing import Any

from prometheus_client import CollectorRegistry

from consumer.telemetry.emf import EmbeddedMetrics
from consumer.telemetry.metrics import Metrics

NOW_MS = 1_767_225_600_000


class Log:
    """A registry with the product's metrics, and what is written of it."""

    def __init__(self) -> None:
        registry = CollectorRegistry()
        self.metrics = Metrics(registry, stream="clicks")
        self._embedded = EmbeddedMetrics(registry, pipeline="demo", now_ms=lambda: NOW_MS)
        self._embedded.flush(io.StringIO(), shard=None)

    def flush(self, shard: str | None = "s-1") -> list[dict[str, Any]]:
        out = io.StringIO()
        self._embedded.flush(out, shard=shard)
        return [json.loads(line) for line in out.getvalue().splitlines()]


def test_a_counter_tells_what_was_added_since_and_adds_up_its_shards() -> None:
    log = Log()
    log.metrics.counter("records_received_total", shard="s-1").inc(5)
    log.metrics.counter("records_received_total", shard="s-2").inc(2)
    (line,) = log.flush()
    assert line["streamgauge_records_received_total"] == 7
    assert (line["pipeline"], line["stream"]) == ("demo", "clicks")
    (directive,) = line["_aws"]["CloudWatchMetrics"]
    assert line["_aws"]["Timestamp"] == NOW_MS
    assert directive["Namespace"] == "Streamgauge"
    assert directive["Dimensions"] == [["pipeline", "stream"], ["pipeline"]]
    assert {"Name": "streamgauge_records_received_total", "Unit": "Count"} in directive["Metrics"]
    assert log.flush() == [], "nothing has happened since"
    log.metrics.counter("records_received_total", shard="s-1").inc()
    assert log.flush()[0]["streamgauge_records_received_total"] == 1


def test_labels_but_shards_are_dimensions() -> None:
    log = Log()
    log.metrics.counter("records_dead_lettered_total", reason="invalid_json").inc()
    log.metrics.counter("records_dead_lettered_total", reason="too_deep").inc(2)
    found = {line["reason"]: line["streamgauge_records_dead_lettered_total"] for line in log.flush()}
    assert found == {"invalid_json": 1, "too_deep": 2}


def test_of_gauges_only_those_of_the_shard_that_was_worked_on_are_told() -> None:
    log = Log()
    log.metrics.gauge("outbox_rows", shard="s-1").set(3)
    log.metrics.gauge("outbox_rows", shard="s-2").set(9)
    assert [line["streamgauge_outbox_rows"] for line in log.flush("s-1")] == [3]
    assert [line["streamgauge_outbox_rows"] for line in log.flush("s-2")] == [9]


def test_a_histogram_gives_its_sum_and_count() -> None:
    log = Log()
    log.metrics.histogram("commit_duration_seconds").observe(0.25)
    log.metrics.histogram("commit_duration_seconds").observe(0.5)
    (line,) = log.flush()
    assert line["streamgauge_commit_duration_seconds_sum"] == 0.75
    assert line["streamgauge_commit_duration_seconds_count"] == 2
    units = {each["Name"]: each["Unit"] for each in line["_aws"]["CloudWatchMetrics"][0]["Metrics"]}
    assert units["streamgauge_commit_duration_seconds_sum"] == "Seconds"
    assert not [name for name in line if name.endswith("_bucket")]
