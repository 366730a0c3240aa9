"""Why records are misrouted, asked when the first of a shard is: a stream can be changed while a worker runs.

Misrouted records are dead letters and counted; here a person is told the cause. The stream may have begun to distribute
its records by itself, which makes nearly all of them misrouted, or its producers use other keys. The stream is asked in
the background, and what goes wrong there is part of what is told.
"""

from __future__ import annotations

import threading
from collections.abc import Callable

from consumer.core.counts import Counts
from consumer.core.faults import MISROUTED
from consumer.errors import StreamgaugeError
from consumer.telemetry.alarm_events import Misrouting
from consumer.telemetry.events import Telemetry

REPEAT_SECONDS = 3600.0
"""A shard's misrouted records are told of once in so long."""
RETRY_SECONDS = 60.0
"""After so long the stream is asked again if it could not be asked."""


class MisroutingWatch:
    """Looks for misrouted records of all shards. Used by the threads of all shards, and by the background's.

    `ignores_keys` asks the stream whether it distributes its records by itself.
    """

    def __init__(
        self,
        ignores_keys: Callable[[], bool],
        *,
        telemetry: Telemetry,
        monotonic: Callable[[], float],
        in_background: Callable[[Callable[[], None]], None],
    ) -> None:
        self._ignores_keys = ignores_keys
        self._telemetry = telemetry
        self._monotonic = monotonic
        self._in_background = in_background
        self._lock = threading.Lock()
        self._quiet_until: dict[str, float] = {}

    def look(self, shard: str, counts: Counts) -> None:
        """Look at what a batch came to. It costs a look-up where no record is misrouted."""
        records = counts.dead_letters.get(MISROUTED, 0)
        if not records:
            return
        with self._lock:
            now_seconds = self._monotonic()
            if now_seconds < self._quiet_until.get(shard, now_seconds):
                return
            self._quiet_until[shard] = now_seconds + REPEAT_SECONDS
        self._in_background(lambda: self._tell(shard, records))

    def _tell(self, shard: str, records: int) -> None:
        cause, error = Misrouting.UNKNOWN, None
        try:
            cause = Misrouting.BY_SERVICE if self._ignores_keys() else Misrouting.BY_PRODUCERS
        except StreamgaugeError as trouble:
            error = trouble
            with self._lock:
                self._quiet_until[shard] = self._monotonic() + RETRY_SECONDS
        self._telemetry.stream_misroutes(shard=shard, records=records, cause=cause, error=error)
