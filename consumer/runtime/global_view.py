"""What all shards have told of their progress, as one worker sees it: read once an interval for all its shards.

A read is no photograph: shards may be split and merged while it goes on. So its names count only if the read before
had the same: then all of them had told something at the moment between the two, and nobody else (completion.py). Until
then what was complete stays so.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import TYPE_CHECKING

from consumer.core.compile import Program
from consumer.core.completion import Completion, Progress, completion
from consumer.errors import RefusedError, RetryableError

if TYPE_CHECKING:
    from consumer.runtime.surroundings import Surroundings


class GlobalView:
    """Thread-safe."""

    def __init__(self) -> None:
        self._reading = threading.Lock()
        self._names: frozenset[str] | None = None
        self._next_read: float | None = None
        self._completion = Completion()

    def look(self, around: Surroundings) -> Completion:
        """Return what is known, about `commit_interval` old. Nobody waits for another's read."""
        if self._reading.acquire(blocking=False):
            try:
                now = around.clock.monotonic()
                if self._next_read is None or now >= self._next_read:
                    self._next_read = now + around.program.pipeline.state.commit_interval_ms / 1000
                    self._read(around)
            finally:
                self._reading.release()
        return self._completion

    def _read(self, around: Surroundings) -> None:
        try:
            told = self._read_names_twice(around)
        except (RefusedError, RetryableError) as error:  # a newer worker's progress takes no older worker down
            around.telemetry.commit_retry(shard="", step="tell", error=error, wait_seconds=0)
            return
        if told is None:
            return
        self._completion = completion(told, around.clock.now_ms())
        around.telemetry.global_progress(
            completion=self._completion, waiting=_waiting(around.program, self._completion)
        )

    def _read_names_twice(self, around: Surroundings) -> Sequence[Progress] | None:
        """Return what all shards have told; None if they are others each time."""
        for _ in range(2):
            told = around.store.read_progress(around.application.generation)
            before, self._names = self._names, frozenset(each.shard for each in told)
            if before == self._names:
                return told
        return None


def _waiting(program: Program, reached: Completion) -> dict[str, int]:
    """Return how many windows are due by the highest watermark and not by that of all; none while that is unknown."""
    held_back_ms = reached.held_back_ms or 0
    windows = (program.windows[number] for number in program.combined)
    return {each.window.name: held_back_ms // each.step_ms for each in windows}
