"""The one place that reads clocks, sleeps and draws random numbers."""

from __future__ import annotations

import random as _random
import threading
import time


def now_ms() -> int:
    """Return the wall clock in epoch milliseconds."""
    return time.time_ns() // 1_000_000


def monotonic() -> float:
    """Return seconds that never go back."""
    return time.monotonic()


def sleep(seconds: float) -> None:
    """Wait."""
    time.sleep(seconds)


def random() -> float:
    """Return a number in [0, 1)."""
    return _random.random()  # noqa: S311 - spreads retries, protects nothing


class Stop:
    """A request to stop, shared by all threads of a worker, with a grace for what is under way."""

    def __init__(self, grace_seconds: float) -> None:
        self._grace_seconds = grace_seconds
        self._requested = threading.Event()
        self._deadline = float("inf")

    def request(self) -> None:
        """Ask everyone to stop. Safe to call from a signal handler, and again."""
        if not self._requested.is_set():
            self._deadline = monotonic() + self._grace_seconds
            self._requested.set()

    @property
    def requested(self) -> bool:
        """Return whether a stop was asked for."""
        return self._requested.is_set()

    def wait(self, seconds: float) -> bool:
        """Wait until a stop is asked for, at most so long; return whether it was."""
        return self._requested.wait(seconds)

    def pause(self, seconds: float) -> bool:
        """Wait between two tries; return True if trying must end: a stop was asked for and its grace is over."""
        if not self._requested.wait(seconds):
            return False
        left = self._deadline - monotonic()
        if left > 0:
            sleep(min(seconds, left))
        return monotonic() >= self._deadline
