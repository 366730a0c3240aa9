"""What the worker tells of changed definitions: see events.py."""

# ruff: noqa: D401 - the docstring of an event says what has happened

from __future__ import annotations

from collections.abc import Mapping, Sequence

from structlog.typing import FilteringBoundLogger

from consumer.core.times import format_time
from consumer.records import Position
from consumer.telemetry.metrics import Metrics


class AdoptionEvents:
    """The events of adoptions."""

    metrics: Metrics
    logger: FilteringBoundLogger

    def definitions_adopted(self, *, adoption: int, added: Sequence[str], removed: Mapping[str, str]) -> None:
        """The application goes on with other windows, the `adoption`th time; `removed`: what becomes of which."""
        self.logger.info("definitions_adopted", adoption=adoption, added=list(added), removed=dict(removed))

    def state_carried_over(
        self,
        *,
        shard: str,
        position: Position | None,
        watermark_ms: int | None,
        added: Sequence[str],
        flushed: Sequence[str],
        results: Mapping[str, int],
        dropped: Mapping[str, int],
    ) -> None:
        """A shard's state of earlier definitions goes on by those of today, from this position and watermark on.

        `added` windows begin empty, `flushed` ones were emitted as they were: `results` are rows by window. Of the
        others that were removed, groups were `dropped`, by window.
        """
        for window, rows in results.items():
            self.metrics.counter("results_emitted_total", window=window).inc(rows)
        self.logger.info(
            "state_carried_over",
            shard=shard,
            position=None if position is None else f"{position.sequence}:{position.sub_sequence}",
            watermark=None if watermark_ms is None else format_time(watermark_ms),
            added=list(added),
            flushed=list(flushed),
            rows=sum(results.values()),
        )
        for window, groups in dropped.items():
            self.metrics.counter("groups_dropped_total", window=window, reason=WINDOW_REMOVED).inc(groups)
            self.logger.warning("groups_dropped", shard=shard, window=window, reason=WINDOW_REMOVED, groups=groups)


WINDOW_REMOVED = "window_removed"
"""Why groups were thrown away: the pipeline file said `drop` of a window that is no longer there."""
