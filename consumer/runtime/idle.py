"""When a shard is idle, so that its windows may close without another event (the rules of windows, rule 8).

1. A read says that nothing is left if it has no records and is 0 ms behind the shard's end. Any other read says
   otherwise.
2. The shard is idle when reads have said so for `events.idle_after`, from the first of them on. It begins with nothing
   at each start of a worker: nobody knows what came while no one was reading.
3. Reads that are handed over further apart than usual do not go together. Worker or daemon was held up, by a sink that
   was down or a process that was stopped, and the daemon had read ahead: what it hands over now says what was true
   then. A decision on it would make late what came meanwhile.
4. A decision is wanted when the shard becomes idle, then whenever one would close something, and at the latest when
   `idle_after` has passed since the one before: the watermark is what tells late events from others.
"""

from __future__ import annotations

from consumer.pipeline.model import Pipeline
from consumer.runtime.daemon_files import DEFAULTS
from consumer.sources.multilang import ProcessRecords

HELD_UP_SECONDS = 10.0
"""How much later than usual a read may be handed over and still be news."""
_INTERVAL = "idleTimeBetweenReadsInMillis"


class IdleWatch:
    """Watches the reads of one shard. All times are of the monotonic clock, in seconds."""

    def __init__(self, idle_after_seconds: float | None, gap_seconds_max: float) -> None:
        self._idle_after_seconds = idle_after_seconds
        self._gap_seconds_max = gap_seconds_max
        self._since: float | None = None
        self._last_read = 0.0
        self._decided: float | None = None

    @classmethod
    def of(cls, pipeline: Pipeline) -> IdleWatch:
        """Return the watch of a shard of a pipeline."""
        after_ms = pipeline.events.idle_after_ms
        interval_ms = int(dict(pipeline.worker.kcl).get(_INTERVAL, DEFAULTS[_INTERVAL]))
        return cls(None if after_ms is None else after_ms / 1000, HELD_UP_SECONDS + interval_ms / 1000)

    def read(self, message: ProcessRecords, now: float) -> None:
        """Take note of a read that is handed over now."""
        nothing_left = not message.records and message.millis_behind_latest == 0
        if not nothing_left:
            self._since = None
        elif self._since is None or now - self._last_read > self._gap_seconds_max:
            self._since, self._decided = now, None
        self._last_read = now

    def nothing_left_seconds(self, now: float) -> float:
        """Return for how long reads have said that nothing is left; 0 if the newest did not."""
        return 0.0 if self._since is None else now - self._since

    def wants_decision(self, now: float, *, closes: bool) -> bool:
        """Tell whether to decide now, which is taken as done. `closes`: it would close something."""
        after = self._idle_after_seconds
        if after is None or self._since is None or now - self._since < after:
            return False
        if self._decided is not None and now - self._decided < after and not closes:
            return False
        self._decided = now
        return True
