"""The sinks of a worker: one shelf of rows for each, and every trouble on the way to it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from consumer.sinks.base import Failure
from consumer.testing.simulation.plan import Fault

if TYPE_CHECKING:
    from consumer.testing.simulation.worker import Worker
    from consumer.testing.simulation.world import World

_ANSWER_SECONDS = 0.05


class SimulatedSink:
    """A worker's access to a shelf, which the oracle keeps."""

    def __init__(self, world: World, worker: Worker, name: str) -> None:
        self.name = name
        self._world = world
        self._worker = worker

    def put(self, rows: Sequence[bytes]) -> Sequence[Failure]:
        """Take rows, or not, or not tell."""
        world, random = self._world, self._world.random
        world.oracle.is_sent(rows)
        self._step()
        if world.sink_is_down(self.name):
            world.counts["attempts at a sink that is down"] += 1
            return _all(rows, "unavailable")
        if world.chance(Fault.SINK_BEFORE):
            return _all(rows, "throttled")
        if len(rows) > 1 and world.chance(Fault.SINK_PARTIAL):
            failed = [index for index in range(len(rows)) if random.random() < 0.4]  # noqa: PLR2004 - some of them
            refused = set(failed)
            self._take([row for index, row in enumerate(rows) if index not in refused])
            return [Failure(index, "throttled") for index in failed]
        late = random.random() * 20 if random.random() < 0.3 else 0.0  # noqa: PLR2004 - now and then
        if world.chance(Fault.SINK_AFTER):
            world.scheduler.after(late, lambda: self._take(rows))
            self._step()
            return _all(rows, "timeout")
        self._take(rows)
        self._step()
        return []

    def close(self) -> None:
        """Do nothing."""

    def _take(self, rows: Sequence[bytes]) -> None:
        self._world.oracle.taken(self.name, rows)

    def _step(self) -> None:
        world = self._world
        world.step(self._worker, "put", world.random.random() * _ANSWER_SECONDS)


def _all(rows: Sequence[bytes], reason: str) -> list[Failure]:
    return [Failure(index, reason) for index in range(len(rows))]
