"""A worker process of the simulation: its clock, what it tells, and its death."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from consumer.errors import FencedError
from consumer.records import Position
from consumer.runtime.churn import ClaimPace
from consumer.runtime.global_view import GlobalView
from consumer.telemetry.shards import Batch
from consumer.testing.simulation.stream import STARTED_MS

if TYPE_CHECKING:
    from consumer.testing.simulation.world import World


class Clock:
    """A worker's own: its monotonic clock has another rate and origin, its wall clock jumps."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._origin = world.random.uniform(0, 5_000)
        self._rate = world.random.uniform(0.97, 1.03)
        self.ahead_ms = round(world.random.uniform(-300, 300))

    def monotonic(self) -> float:
        """Return seconds that never go back."""
        return self._origin + self._world.scheduler.now * self._rate

    def now_ms(self) -> int:
        """Return the wall clock in epoch milliseconds."""
        return STARTED_MS + round(self._world.scheduler.now * 1000) + self.ahead_ms

    def random(self) -> float:
        """Return a number in [0, 1)."""
        return self._world.random.random()


class Worker:
    """One process, Java and Python together. `slot` is the place that it was started in."""

    def __init__(self, world: World, slot: int, name: str, identifier: str) -> None:
        self.slot = slot
        self.name = name
        self.identifier = identifier
        self.alive = True
        self.paused_until = 0.0
        self.jvm_paused_until = 0.0
        self.clock = Clock(world)
        self.stopping = False
        self.stop_deadline = float("inf")
        self.pace = ClaimPace()
        self.view = GlobalView()
        self._world = world

    def pause(self, seconds: float) -> bool:
        """Wait; return True if trying must end, because the worker stops and its grace is over."""
        self._world.scheduler.sleep(seconds)
        return self.grace_is_over

    @property
    def grace_is_over(self) -> bool:
        """Tell whether the worker was told to stop, and has had the time for it."""
        return self.stopping and self._world.scheduler.now >= self.stop_deadline


def _ignore(*_: Any, **__: Any) -> None:
    """Do nothing."""


class Deaf:
    """Takes whatever is told, and forgets it."""

    def __getattr__(self, name: str) -> Any:
        return _ignore


class Told(Deaf):
    """The telemetry of a worker: what the simulation counts, and nothing rendered."""

    def __init__(self, world: World, worker: Worker) -> None:
        self._world = world
        self._worker = worker
        self._observer = Deaf()

    def delivery(self, _shard: str) -> Deaf:
        """Return an observer."""
        return self._observer

    def idle_advanced(self, *, shard: str, watermark_ms: int, position: Position | None) -> None:
        """Keep the decision until a commit holds it."""
        self._world.note(self._worker, f"idle {shard} {watermark_ms} {position}")
        self._world.scheduler.current.decisions.append((position, watermark_ms))

    def batch(self, _shard: str, batch: Batch) -> None:
        """Count what was replayed."""
        self._world.counts["records replayed"] += batch.counts.replayed

    def committed(self, *, shard: str, commit_no: int, **_: Any) -> None:
        """Forget the decisions that a commit now holds."""
        self._world.note(self._worker, f"committed {shard} {commit_no}")
        self._world.scheduler.current.decisions.clear()

    def outbox_resent(self, *, shard: str, rows: int) -> None:
        """Count."""
        self._world.note(self._worker, f"resent {shard} {rows}")
        self._world.counts["outboxes resent"] += 1

    def epoch_churn(self, **_: Any) -> None:
        """Count."""
        self._world.counts["claims put off"] += 1

    def fenced(self, *, shard: str, epoch: int, seen_epoch: int) -> None:
        """Count."""
        self._world.note(self._worker, f"fenced {shard} {epoch} < {seen_epoch}")
        self._world.counts["fences"] += 1

    def shard_refused(self, *, shard: str, error: BaseException) -> None:
        """Let the world judge it."""
        self._world.refused(self._worker, shard, error)


def describe(error: BaseException) -> str:
    """Return what ended a process, for the trace."""
    return f"{type(error).__name__}: {error}" if not isinstance(error, FencedError) else f"FencedError: {error}"
