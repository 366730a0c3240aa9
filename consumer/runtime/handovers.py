"""Finishes hand-overs of leases that the daemon has forgotten.

The daemon hands a lease over in two steps: the row names the new owner, and the old one beside it until that has
stopped. KCL 3.1.3 forgets the second step where the old owner's consumer of the shard still waits for parents, or for
its beginning: the lease is then renewed for ever and nobody reads the shard. The old owner's worker notices here, and
clears its name. What it may still do is fenced by our epoch.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Mapping

from consumer.errors import StreamgaugeError
from consumer.sources.leases import Lease
from consumer.telemetry.events import Telemetry

LOOK_SECONDS = 15.0
PENDING_SECONDS_MAX = 60.0
"""Twice the time that the daemon gives the old owner to stop."""


class Renewals:
    """Tells which leases nobody holds. An owner changes its lease three times in the daemon's fail-over time."""

    def __init__(self, failover_seconds: float) -> None:
        self._silence_seconds_max = failover_seconds + LOOK_SECONDS
        self._seen: dict[str, tuple[tuple[str | None, int], float]] = {}

    def unheld(self, leases: Collection[Lease], now: float) -> int:
        """Return how many of the leases, as they are at a monotonic time in seconds, are nobody's or not renewed.

        Those of shards that were read to their end are not counted.
        """
        before, self._seen = self._seen, {}
        for lease in leases:
            as_it_is = lease.owner, lease.counter
            changed, since = before.get(lease.shard, (None, now))
            self._seen[lease.shard] = as_it_is, since if changed == as_it_is else now
        return sum(not lease.ended and self._is_unheld(lease, now) for lease in leases)

    def _is_unheld(self, lease: Lease, now: float) -> bool:
        return lease.owner is None or now - self._seen[lease.shard][1] > self._silence_seconds_max


class HandoverWatch:
    """Looks at the lease table every LOOK_SECONDS, in a thread that the end of the process does not wait for.

    `read` returns the leases, None if there is no table; `finish` clears the old owner of one, unless it has changed.
    `failover_seconds` is the daemon's fail-over time.
    """

    def __init__(
        self,
        identifier: str,
        read: Callable[[], Mapping[str, Lease] | None],
        finish: Callable[[Lease], bool],
        telemetry: Telemetry,
        monotonic: Callable[[], float],
        *,
        failover_seconds: float,
    ) -> None:
        self._renewals = Renewals(failover_seconds)
        self._identifier = identifier
        self._read = read
        self._finish = finish
        self._telemetry = telemetry
        self._monotonic = monotonic
        self._since: dict[tuple[str, str], float] = {}
        self._error: Exception | None = None

    def start(self, wait: Callable[[float], bool]) -> None:
        """Begin to look; `wait(seconds)` waits, and returns True when it is time to end."""
        threading.Thread(target=self._run, args=(wait,), name="hand-overs", daemon=True).start()

    def _run(self, wait: Callable[[float], bool]) -> None:
        try:
            while not wait(LOOK_SECONDS):
                self.look()
        except Exception as error:  # noqa: BLE001 - raised by `check`, in the main thread
            self._error = error

    def check(self) -> None:
        """Raise what went wrong that nobody had foreseen."""
        if self._error is not None:
            raise self._error

    def look(self) -> None:
        """Look, tell what nobody holds, and finish what has been pending for too long.

        Trouble is told, and left for the next look.
        """
        now = self._monotonic()
        try:
            leases = [*(self._read() or {}).values()]
            self._telemetry.leases_seen(unheld=self._renewals.unheld(leases, now))
            pending = [lease for lease in leases if lease.from_owner == self._identifier]
            names = {(lease.shard, lease.owner or "") for lease in pending}
            self._since = {name: self._since.get(name, now) for name in names}
            for lease in pending:
                if now - self._since[lease.shard, lease.owner or ""] >= PENDING_SECONDS_MAX and self._finish(lease):
                    self._telemetry.handover_finished(shard=lease.shard, new_owner=lease.owner)
        except StreamgaugeError as error:
            self._telemetry.handovers_not_seen(error=error)
