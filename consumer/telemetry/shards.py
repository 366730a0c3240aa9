"""The series and repeated lines of one shard, looked up once and used once a batch."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from prometheus_client import Gauge
from structlog.typing import FilteringBoundLogger

from consumer.core.counts import Counts
from consumer.records import Position
from consumer.telemetry.metrics import Metrics
from consumer.telemetry.repeats import Line, Repeats, Unsaid

REPEAT_SECONDS = 60.0
"""At most one line in this time about the same thing in the same shard."""
REPEAT_SECONDS_MAX = 600.0
"""So seldom it is told in the end if it goes on."""


@dataclass(frozen=True, slots=True)
class Batch:
    """What is to be told about one call of the source for a shard, with or without records.

    `size_bytes` is of the records' data. `watermark_ms` and `position` are the shard's after the batch, None
    before the first event or record. `newest_arrival_ms` is the arrival time of the last record, None without
    records. `millis_behind` is what the source said, None if it said nothing. `open_groups` and `active_keys` are by
    window.
    """

    counts: Counts
    size_bytes: int
    watermark_ms: int | None
    position: Position | None
    newest_arrival_ms: int | None
    millis_behind: int | None
    open_groups: Mapping[str, int]
    active_keys: Mapping[str, int]
    process_seconds: float

    def behind_seconds(self, now_ms: int) -> float:
        """Return how far reading is behind the tip: the newest record's age, or more if the source says."""
        said_ms = self.millis_behind or 0
        age_ms = 0 if self.newest_arrival_ms is None else now_ms - self.newest_arrival_ms
        return max(said_ms, age_ms) / 1000


class ShardSeries:
    """The metrics of one shard. A gauge does not exist before it is set: a 0 would say something untrue."""

    def __init__(self, metrics: Metrics, shard: str, monotonic: Callable[[], float]) -> None:
        self._metrics = metrics
        self._shard = shard
        self._monotonic = monotonic
        self._records = metrics.counter("records_received_total", shard=shard)
        self._bytes = metrics.counter("bytes_received_total", shard=shard)
        self._gauges: dict[str, Gauge] = {}
        self._of_windows: dict[tuple[str, str], Gauge] = {}
        self._checkpointed_at: float | None = None

    def set(self, name: str, value: float) -> None:
        """Set a gauge that has no label but the shard."""
        gauge = self._gauges.get(name)
        if gauge is None:
            gauge = self._gauges[name] = self._metrics.gauge(name, shard=self._shard)
        gauge.set(value)

    def checkpointed(self) -> None:
        """Start the age of the checkpoint anew."""
        first = self._checkpointed_at is None
        self._checkpointed_at = self._monotonic()
        if first:
            self._metrics.gauge("checkpoint_age_seconds", shard=self._shard).set_function(self._checkpoint_age)

    def batch(self, batch: Batch, now_ms: int) -> None:
        """Update everything that has the shard in its labels."""
        if batch.counts.received:
            self._records.inc(batch.counts.received)
            self._bytes.inc(batch.size_bytes)
        self.set("iterator_age_seconds", batch.behind_seconds(now_ms))
        self.set("last_batch_timestamp_seconds", now_ms / 1000)
        for name, by_window in (("windows_open", batch.open_groups), ("keys_active", batch.active_keys)):
            for window, number in by_window.items():
                self._of_window(name, window).set(number)
        if batch.watermark_ms is not None:
            self.set("watermark_timestamp_seconds", batch.watermark_ms / 1000)
            self.set("event_time_lag_seconds", (now_ms - batch.watermark_ms) / 1000)

    def _of_window(self, name: str, window: str) -> Gauge:
        gauge = self._of_windows.get((name, window))
        if gauge is None:
            gauge = self._of_windows[name, window] = self._metrics.gauge(name, shard=self._shard, window=window)
        return gauge

    def _checkpoint_age(self) -> float:
        assert self._checkpointed_at is not None
        return self._monotonic() - self._checkpointed_at


class ShardLines:
    """Log lines of one shard, told now and then (see repeats.py). Used by the shard's thread alone."""

    def __init__(self, logger: FilteringBoundLogger, shard: str, monotonic: Callable[[], float]) -> None:
        self._logger = logger
        self._shard = shard
        self._monotonic = monotonic
        self._repeats = Repeats(interval_seconds=REPEAT_SECONDS, interval_seconds_max=REPEAT_SECONDS_MAX)

    def count(self, line: Line, number: int, **details: object) -> None:
        """Count something that `tell` will tell."""
        self._repeats.count(line, number, details)

    def tell(self) -> None:
        """Write the lines that are due."""
        if self._repeats.pending:
            for line, unsaid in self._repeats.due(self._monotonic()):
                self._write(line, unsaid)

    def tell_rest(self) -> None:
        """Write all that was not told yet: the shard is leaving."""
        for line, unsaid in self._repeats.rest():
            self._write(line, unsaid)

    def _write(self, line: Line, unsaid: Unsaid) -> None:
        values = {**dict(line.labels), line.counted: unsaid.number, **unsaid.details}
        getattr(self._logger, line.level)(line.event, shard=self._shard, **values)
