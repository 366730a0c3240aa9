"""What the delivery of a shard's rows tells."""

from __future__ import annotations

from typing import Literal

from consumer.telemetry.facts import Facts
from consumer.telemetry.health import Activity, Health
from consumer.telemetry.metrics import Metrics
from consumer.telemetry.repeats import Line
from consumer.telemetry.shards import ShardLines


class ShardDelivery:
    """What the delivery of a shard's rows tells (the observer that `sinks` asks for)."""

    def __init__(self, metrics: Metrics, health: Health, facts: Facts, lines: ShardLines, shard: str) -> None:
        self._metrics = metrics
        self._health = health
        self._facts = facts
        self._lines = lines
        self._shard = shard

    def put(self, sink: str, result: Literal["sent", "failed", "rejected"], rows: int, size_bytes: int, /) -> None:
        """Count rows of an attempt with the same result."""
        self._metrics.counter("sink_rows_total", sink=sink, result=result).inc(rows)
        if result == "sent":
            self._metrics.counter("sink_bytes_total", sink=sink).inc(size_bytes)
        self._facts.note_rows(sink, result, rows, size_bytes)

    def batch(self, sink: str, seconds: float, /) -> None:
        """Count an attempt. It is progress, whatever came of it."""
        self._metrics.counter("sink_batches_total", sink=sink).inc()
        self._metrics.histogram("sink_put_duration_seconds", sink=sink).observe(seconds)
        self._health.progress(self._shard, Activity.DELIVERING)

    def retry(self, sink: str, reason: str, rows: int, wait_seconds: float, /) -> None:
        """Tell of rows that have to wait: nothing is lost, so a warning."""
        self._metrics.counter("sink_retries_total", sink=sink, reason=reason).inc()
        self._facts.note_retry(sink, reason)
        self._health.progress(self._shard, Activity.WAITING_FOR_SINK)
        line = Line("sink_retry", "warning", (("sink", sink), ("reason", reason)), "rows")
        self._lines.count(line, rows, wait_seconds=round(wait_seconds, 3))
        self._lines.tell()

    def rejected(self, sink: str, reason: str, row_bytes: int, /) -> None:
        """Tell of a row that is lost: an error."""
        self._facts.note_rejection(sink, reason)
        line = Line("sink_rejected", "error", (("sink", sink), ("reason", reason)), "rows")
        self._lines.count(line, 1, row_bytes=row_bytes)
        self._lines.tell()
