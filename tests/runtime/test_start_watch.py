"""A long start says what it is at; a short one, and one that is over, say nothing."""

from __future__ import annotations

import threading
from typing import cast

from consumer.runtime.start_watch import StartWatch
from consumer.telemetry.events import Telemetry
from consumer.telemetry.health import Health


class Told:
    """Stands for a telemetry: counts lines, and says when the second one has come."""

    def __init__(self) -> None:
        self.health = Health(lambda: 0.0)
        self.lines = 0
        self.twice = threading.Event()

    def starting(self) -> None:
        self.lines += 1
        if self.lines == 2:
            self.twice.set()


def test_it_tells_again_and_again_until_the_worker_is_ready() -> None:
    told = Told()
    with StartWatch(cast("Telemetry", told), interval_seconds=0.001) as watch:
        assert told.twice.wait(30)
        told.health.ready()
        watch._thread.join(30)
        assert not watch._thread.is_alive()


def test_a_short_start_says_nothing() -> None:
    told = Told()
    with StartWatch(cast("Telemetry", told)):
        pass
    assert told.lines == 0
