"""The journal: which calls came, in order, to audit what a program really does."""

from __future__ import annotations

from collections import deque
from threading import Lock

import msgspec

from consumer.emulator.clock import Clock

CALLS_MAX = 20_000


class CallEntry(msgspec.Struct, kw_only=True, gc=False):
    """One call, entered before it had any effect.

    `coordinates` say what it was about: stream and shard, table and key, bucket and key. `fault` is the kind that
    struck it. `status` is the HTTP status of the answer, None while there is none (or if there never was one).
    """

    number: int
    time_ms: int
    service: str
    operation: str
    coordinates: str
    fault: str | None
    status: int | None = None


class Calls:
    """The last calls, at most CALLS_MAX. Can be used from any thread."""

    def __init__(self, now_ms: Clock) -> None:
        self._now_ms = now_ms
        self._lock = Lock()
        self._entered = 0
        self._entries: deque[CallEntry] = deque(maxlen=CALLS_MAX)

    def enter(self, service: str, operation: str, coordinates: str, fault: str | None) -> CallEntry:
        """Enter a call; set `status` of what is returned when it is answered."""
        with self._lock:
            self._entered += 1
            entry = CallEntry(
                number=self._entered,
                time_ms=self._now_ms(),
                service=service,
                operation=operation,
                coordinates=coordinates,
                fault=fault,
            )
            self._entries.append(entry)
            return entry

    def entries(self, *, after: int = 0, service: str | None = None) -> list[CallEntry]:
        """Return the calls with a number above `after`, oldest first; of one service only if it is given."""
        with self._lock:
            return [
                msgspec.structs.replace(entry)
                for entry in self._entries
                if entry.number > after and service in (None, entry.service)
            ]

    def clear(self) -> None:
        """Forget all calls; the numbers go on."""
        with self._lock:
            self._entries.clear()
