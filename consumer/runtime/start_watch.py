"""Says what a long start is at: a line every quarter of a minute, from a thread of its own, until it is over."""

from __future__ import annotations

import threading
from types import TracebackType
from typing import Self

from consumer.telemetry.events import Telemetry
from consumer.telemetry.health import WorkerState

INTERVAL_SECONDS = 15.0


class StartWatch:
    """Watches from the beginning to the end of its block, or of the start if that is earlier."""

    def __init__(self, telemetry: Telemetry, *, interval_seconds: float = INTERVAL_SECONDS) -> None:
        self._telemetry = telemetry
        self._interval_seconds = interval_seconds
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="start-watch", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._over.wait(self._interval_seconds):
            if self._telemetry.health.state is not WorkerState.STARTING:
                return
            self._telemetry.starting()
