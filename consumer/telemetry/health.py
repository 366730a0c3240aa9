"""Whether the worker is alive and ready. Lag is neither: a worker that is behind must not be killed for it.

Alive (liveness), the rules:

1. A shard that has made no progress for longer than the limit, inside one step, makes the worker not alive.
2. Every attempt counts as progress, those that fail included: a sink or a table that is down is retried for
   as long as it takes, and a restart would not bring it back.
3. Waiting for the daemon is a step like any other, because the daemon calls about once a second for a shard
   without records too: no call for longer than the limit means that the daemon hangs.
4. A shard that is parked (refused, or fenced) does nothing on purpose and has no limit: ending the worker
   would take the other shards with it and change nothing.
5. The thread that restored a shard last speaks for it. A new lease may begin before the thread of the one before has
   ended: what that still says of the shard is not heard.

Ready: the daemon has initialised and the worker is not stopping. A worker without a shard is ready.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

STEP_SECONDS_MAX = 300.0


class Activity(StrEnum):
    """What a shard's thread is inside of."""

    RESTORING = "restoring state"
    PROCESSING = "processing"
    COMMITTING = "committing"
    DELIVERING = "delivering"
    WAITING_FOR_STATE = "waiting for the state store"
    WAITING_FOR_SINK = "waiting for sink"
    WAITING_FOR_CHECKPOINT = "waiting for checkpoint"
    WAITING_FOR_DAEMON = "waiting for daemon"
    REFUSED = "refused"
    FENCED = "fenced"


PARKED = frozenset({Activity.REFUSED, Activity.FENCED})


class WorkerState(StrEnum):
    """The life of a worker, in this order."""

    STARTING = "starting"
    READY = "ready"
    STOPPING = "stopping"


@dataclass(frozen=True, slots=True)
class ShardHealth:
    """What a shard does and for how long it has made no progress."""

    activity: Activity
    idle_seconds: float


@dataclass(frozen=True, slots=True)
class HealthReport:
    """One look at the worker. `problems` maps a shard to why it counts as stuck."""

    state: WorkerState
    shards: dict[str, ShardHealth]
    problems: dict[str, str]

    @property
    def live(self) -> bool:
        """Tell whether the worker should be left running."""
        return not self.problems

    @property
    def ready(self) -> bool:
        """Tell whether the worker reads its stream."""
        return self.state is WorkerState.READY


class Health:
    """Collects progress from the shards' threads; `report` is called by the HTTP server's.

    `monotonic` returns seconds; `limit_seconds` is how long one step may take.
    """

    def __init__(self, monotonic: Callable[[], float], *, limit_seconds: float = STEP_SECONDS_MAX) -> None:
        self.monotonic = monotonic
        self._limit_seconds = limit_seconds
        self._lock = threading.Lock()
        self._state = WorkerState.STARTING
        self._shards: dict[str, tuple[Activity, float]] = {}
        self._speakers: dict[str, int] = {}

    @property
    def state(self) -> WorkerState:
        """Return where the worker is in its life."""
        return self._state

    def ready(self) -> None:
        """Note that the daemon has initialised. A worker that is stopping stays so."""
        with self._lock:
            if self._state is WorkerState.STARTING:
                self._state = WorkerState.READY

    def stopping(self) -> None:
        """Note that the worker was told to stop."""
        with self._lock:
            self._state = WorkerState.STOPPING

    def progress(self, shard: str, activity: Activity) -> None:
        """Note that the shard has begun something, or is getting on with it."""
        now_seconds = self.monotonic()
        with self._lock:
            if activity is Activity.RESTORING:
                self._speakers[shard] = threading.get_ident()
            if self._is_heard(shard):
                self._shards[shard] = (activity, now_seconds)

    def gone(self, shard: str) -> None:
        """Note that the shard has left the worker."""
        with self._lock:
            if self._is_heard(shard):
                self._speakers.pop(shard, None)
                self._shards.pop(shard, None)

    def report(self) -> HealthReport:
        """Return how things are now."""
        now_seconds = self.monotonic()
        with self._lock:
            state = self._state
            shards = {
                shard: ShardHealth(activity, max(0.0, now_seconds - at))
                for shard, (activity, at) in sorted(self._shards.items())
            }
        problems = {shard: self._problem(health) for shard, health in shards.items() if self._is_stuck(health)}
        return HealthReport(state, shards, problems)

    def _is_heard(self, shard: str) -> bool:
        me = threading.get_ident()
        return self._speakers.get(shard, me) == me

    def _is_stuck(self, health: ShardHealth) -> bool:
        return health.activity not in PARKED and health.idle_seconds > self._limit_seconds

    def _problem(self, health: ShardHealth) -> str:
        idle, limit = f"{health.idle_seconds:.0f} s", f"{self._limit_seconds:.0f} s"
        return f"{health.activity}: no progress for {idle} (limit {limit})"
