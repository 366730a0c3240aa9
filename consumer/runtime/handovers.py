"""Finishes hand-overs of leases that the daemon has forgotten.

The daemon hands a lease over in two steps: the row names the new owner, and the old one beside it until that has
stopped. KCL 3.1.3 forgets the second step where the old owner's consumer of the shard still waits for parents, or for
its beginning: the lease is then renewed for ever and nobody reads the shard. The old owner's worker notices here, and
clears its name. What it may still do is fenced by our epoch.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from consumer.errors import StreamgaugeError
from consumer.sources.leases import Lease
from consumer.telemetry.events import Telemetry

LOOK_SECONDS = 15.0
PENDING_SECONDS_MAX = 60.0
"""Twice the time that the daemon gives the old owner to stop."""


class HandoverWatch:
    """Looks at the lease table every LOOK_SECONDS, when it is told to.

    `read` returns the leases, None if there is no table; `finish` clears the old owner of one, unless it has changed.
    """

    def __init__(
        self,
        identifier: str,
        read: Callable[[], Mapping[str, Lease] | None],
        finish: Callable[[Lease], bool],
        telemetry: Telemetry,
        monotonic: Callable[[], float],
    ) -> None:
        self._identifier = identifier
        self._read = read
        self._finish = finish
        self._telemetry = telemetry
        self._monotonic = monotonic
        self._since: dict[tuple[str, str], float] = {}
        self._next_look = monotonic() + LOOK_SECONDS

    def look(self) -> None:
        """Look if it is time, and finish what has been pending for too long. Trouble is told, and left for later."""
        now = self._monotonic()
        if now < self._next_look:
            return
        self._next_look = now + LOOK_SECONDS
        try:
            pending = [lease for lease in (self._read() or {}).values() if lease.from_owner == self._identifier]
            names = {(lease.shard, lease.owner or "") for lease in pending}
            self._since = {name: self._since.get(name, now) for name in names}
            for lease in pending:
                if now - self._since[lease.shard, lease.owner or ""] >= PENDING_SECONDS_MAX and self._finish(lease):
                    self._telemetry.handover_finished(shard=lease.shard, new_owner=lease.owner)
        except StreamgaugeError as error:
            self._telemetry.handovers_not_seen(error=error)
