"""What the worker tells of global windows: see events.py."""

# ruff: noqa: D401 - the docstring of an event says what has happened

from __future__ import annotations

from collections.abc import Mapping

from structlog.typing import FilteringBoundLogger

from consumer.core.completion import Completion
from consumer.core.times import format_time
from consumer.telemetry.facts import Facts
from consumer.telemetry.metrics import Metrics

_OF_THE_STREAM = (
    "global_cover",
    "global_held_back_seconds",
    "global_watermark_timestamp_seconds",
    "global_windows_waiting",
)
INCOMPLETE_REMEDY = (
    "these windows have no rows: parts of them were kept for twice the retention of the stream, while a shard held "
    "them back; if the stream still has their records, `streamgauge state reset` counts all that it holds again"
)


class GlobalEvents:
    """The events of global windows."""

    metrics: Metrics
    facts: Facts
    logger: FilteringBoundLogger

    def contributed(self, *, shard: str, items: int, size_bytes: int) -> None:
        """A shard's parts of windows that are due by its watermark were stored, to be combined."""
        self.metrics.counter("contributions_written_total").inc(items)
        self.metrics.counter("contribution_bytes_total").inc(size_bytes)
        self.facts.note_contributions(written=items)
        self.logger.debug("contributed", shard=shard, contributions=items, bytes=size_bytes)

    def combined(self, *, shard: str, contributions: int, rows: Mapping[str, int], seconds: float) -> None:
        """A shard has put contributions together, to rows by window; their commit is still to come."""
        self.metrics.counter("contributions_read_total").inc(contributions)
        self.metrics.histogram("global_combine_duration_seconds").observe(seconds)
        for window, count in rows.items():
            self.metrics.counter("results_emitted_total", window=window).inc(count)
        self.facts.note_contributions(read=contributions, rows=rows)
        self.logger.debug(
            "combined", shard=shard, contributions=contributions, rows=sum(rows.values()), seconds=round(seconds, 3)
        )

    def global_progress(self, *, completion: Completion, waiting: Mapping[str, int]) -> None:
        """The worker has read how far all shards are; `waiting` windows have ended for some shard and not for all."""
        self.facts.note_reached(completion, waiting)
        self.metrics.gauge("global_cover").set(bool(completion.members))
        for window, count in waiting.items():
            self.metrics.gauge("global_windows_waiting", window=window).set(count)
        watermark_ms, held_back_ms, shard = completion.watermark_ms, completion.held_back_ms, completion.held_back_by
        if watermark_ms is not None:
            self.metrics.gauge("global_watermark_timestamp_seconds").set(watermark_ms / 1000)
        if held_back_ms is not None and shard is not None:
            self.metrics.only("global_held_back_seconds", held_back_ms / 1000, shard=shard)

    def _forget_global_progress(self) -> None:
        """Tell nothing of it: who has no shard reads no progress, and what was last read grows old."""
        for name in _OF_THE_STREAM:
            self.metrics.clear(name)

    def global_windows_incomplete(
        self, *, shard: str, window: str, bucket: int, after_ms: int | None, until_ms: int
    ) -> None:
        """Windows that end after the one time, up to the other, get no rows: parts of them may be forgotten already."""
        self.metrics.counter("global_windows_incomplete_total").inc()
        self.facts.note_incomplete(window)
        self.logger.error(
            "global_windows_incomplete",
            shard=shard,
            window=window,
            bucket=bucket,
            after=None if after_ms is None else format_time(after_ms),
            until=format_time(until_ms),
            remedy=INCOMPLETE_REMEDY,
        )
