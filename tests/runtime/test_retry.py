"""How long and how often a call is tried again."""

from __future__ import annotations

import pytest

from consumer.errors import RetryableError, SetupError
from consumer.runtime.retry import BASE_SECONDS, CAP_SECONDS, StoppedError, until_done

SECONDS_MAX = 60.0


class Waiting:
    """A clock that goes on while somebody waits; it stops the waiting at `stop_at` seconds."""

    def __init__(self, *, chance: float = 1.0, stop_at: float = float("inf")) -> None:
        self.seconds = 0.0
        self.waits: list[float] = []
        self.told: list[tuple[str, float]] = []
        self._chance = chance
        self._stop_at = stop_at

    def monotonic(self) -> float:
        return self.seconds

    def random(self) -> float:
        return self._chance

    def pause(self, seconds: float) -> bool:
        assert self.told[-1][1] == seconds, "what is waited for is told before"
        self.waits.append(seconds)
        self.seconds += seconds
        return self.seconds >= self._stop_at

    def call(self, *failures: Exception | None) -> str:
        """Try something that fails so often (for ever after a None)."""
        left = list(failures)

        def call() -> str:
            if not left:
                return "done"
            if left[0] is None:
                raise RetryableError("for ever")
            raise left.pop(0)  # type: ignore[misc]  # it is none of the Nones

        return until_done(
            call,
            clock=self,
            pause=self.pause,
            seconds_max=SECONDS_MAX,
            on_retry=lambda error, wait_seconds: self.told.append((str(error), wait_seconds)),
        )


def test_a_call_that_works_is_made_once() -> None:
    waiting = Waiting()
    assert waiting.call() == "done"
    assert waiting.told == []


def test_what_may_succeed_later_is_tried_until_it_does() -> None:
    waiting = Waiting()
    assert waiting.call(RetryableError("a"), RetryableError("b")) == "done"
    assert waiting.told == [("a", BASE_SECONDS), ("b", 2 * BASE_SECONDS)]


def test_waits_double_up_to_a_cap_and_are_of_random_length() -> None:
    waiting = Waiting(chance=0.5)
    with pytest.raises(RetryableError):
        waiting.call(None)
    assert waiting.waits[:3] == [BASE_SECONDS / 2, BASE_SECONDS, 2 * BASE_SECONDS]
    assert waiting.waits[-1] == CAP_SECONDS / 2
    assert waiting.waits == sorted(waiting.waits)


def test_it_is_given_up_after_its_time_with_the_last_error() -> None:
    waiting = Waiting()
    with pytest.raises(RetryableError, match="for ever"):
        waiting.call(RetryableError("first"), None)
    assert SECONDS_MAX < waiting.seconds <= SECONDS_MAX + CAP_SECONDS


def test_other_errors_are_not_tried_again() -> None:
    waiting = Waiting()
    with pytest.raises(SetupError, match="no such table"):
        waiting.call(RetryableError("a"), SetupError("no such table"))
    assert len(waiting.waits) == 1


def test_a_stop_ends_the_waiting() -> None:
    waiting = Waiting(stop_at=5 * BASE_SECONDS)
    with pytest.raises(StoppedError):
        waiting.call(None)
    assert waiting.waits == [BASE_SECONDS, 2 * BASE_SECONDS, 4 * BASE_SECONDS]
