"""Calls again what may succeed later: the one place that says how long to wait between two tries, and for how long."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol, TypeVar

from consumer.errors import RetryableError

BASE_SECONDS = 0.1
CAP_SECONDS = 10.0
"""The longest wait before the first repetition, doubled with each further one, and what it is capped at."""
_DOUBLINGS_MAX = 10

T = TypeVar("T")


class Clock(Protocol):
    """What is asked of a clock."""

    def monotonic(self) -> float:
        """Return seconds that never go back."""

    def random(self) -> float:
        """Return a number in [0, 1)."""


class StoppedError(Exception):
    """The worker stops while a call is being tried again; what is stored is whole."""


def until_done(
    call: Callable[[], T],
    *,
    clock: Clock,
    pause: Callable[[float], bool],
    seconds_max: float,
    on_retry: Callable[[RetryableError, float], None],
) -> T:
    """Call until it works, with growing waits of random length; return what it returns.

    `pause(seconds)` waits, and returns True when trying must end; `on_retry(error, wait_seconds)` is told before each
    wait. Raises the last RetryableError once `seconds_max` are over, and StoppedError when trying must end.
    """
    attempt, deadline = 0, clock.monotonic() + seconds_max
    while True:
        try:
            return call()
        except RetryableError as error:
            wait_seconds = min(CAP_SECONDS, BASE_SECONDS * 2**attempt) * clock.random()
            on_retry(error, wait_seconds)
            if pause(wait_seconds):
                raise StoppedError(str(error)) from error
            if clock.monotonic() > deadline:
                raise
            attempt = min(attempt + 1, _DOUBLINGS_MAX)
