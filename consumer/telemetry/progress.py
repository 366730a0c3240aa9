"""What a person at a terminal wants to see while the worker runs: one line that is kept up to date.

The numbers come from the same events as metrics and logs. The display is imported only where there is a terminal.
"""

from __future__ import annotations

import importlib.util
import sys
import threading
from collections import deque
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext

from consumer.core.counts import Counts

RATE_SECONDS = 5.0
"""The rate is taken over this time."""


class Progress:
    """Totals of the whole worker. Used by many threads at once. `monotonic` returns seconds."""

    def __init__(self, monotonic: Callable[[], float]) -> None:
        self._monotonic = monotonic
        self._lock = threading.Lock()
        self._counts = Counts()
        self._behind_seconds: dict[str, float] = {}
        self._committed_at: float | None = None
        self._samples: deque[tuple[float, int]] = deque([(monotonic(), 0)])

    def batch(self, shard: str, counts: Counts, behind_seconds: float) -> None:
        """Count a batch; `behind_seconds` is how far the shard is behind its tip."""
        with self._lock:
            self._counts.add(counts)
            self._behind_seconds[shard] = behind_seconds

    def committed(self) -> None:
        """Note that a commit was made now."""
        with self._lock:
            self._committed_at = self._monotonic()

    def shard_held(self, shard: str) -> None:
        """Note that the worker has been given a shard."""
        with self._lock:
            self._behind_seconds.setdefault(shard, 0.0)

    def shard_gone(self, shard: str) -> None:
        """Note that the shard has left the worker."""
        with self._lock:
            self._behind_seconds.pop(shard, None)

    def line(self) -> str:
        """Return the line as it is now."""
        now_seconds = self._monotonic()
        with self._lock:
            if not self._behind_seconds and not self._counts.received:
                return "waiting for the first shard"
            return "  ".join(self._parts(now_seconds))

    def _parts(self, now_seconds: float) -> list[str]:
        counts = self._counts
        parts = [
            f"{counts.received:,} records",
            f"{self._records_per_second(now_seconds):,.0f}/s",
            f"{sum(counts.results.values()):,} results",
            f"{sum(counts.late.values()):,} late",
            f"{sum(counts.dead_letters.values()):,} dead letters",
            f"{len(self._behind_seconds)} shards",
            f"{max(self._behind_seconds.values(), default=0.0):.1f} s behind",
        ]
        if self._committed_at is not None:
            parts.append(f"committed {max(0.0, now_seconds - self._committed_at):.0f} s ago")
        return parts

    def _records_per_second(self, now_seconds: float) -> float:
        samples = self._samples
        samples.append((now_seconds, self._counts.received))
        while samples[1][0] <= now_seconds - RATE_SECONDS:
            samples.popleft()
        elapsed_seconds = now_seconds - samples[0][0]
        return (self._counts.received - samples[0][1]) / elapsed_seconds if elapsed_seconds > 0 else 0.0


def show(progress: Progress) -> AbstractContextManager[object]:
    """Return a context in which the line is shown below the log lines, if standard error is a terminal.

    The image has no rich; a terminal that is given to a container shows the log lines alone.
    """
    if not sys.stderr.isatty() or importlib.util.find_spec("rich") is None:
        return nullcontext()
    from consumer.telemetry.terminal import live_line  # noqa: PLC0415 - rich is imported for a person alone

    return live_line(progress.line)
