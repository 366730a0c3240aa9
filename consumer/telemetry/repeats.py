"""Says what happens often, but not every time: at once, then at most one line an interval, which grows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple


class Line(NamedTuple):
    """What a line is about: its event, the labels that set it apart from others, and the name of its count.

    `level` is the name of a method of the logger.
    """

    event: str
    level: str
    labels: tuple[tuple[str, str], ...]
    counted: str


@dataclass(slots=True)
class Unsaid:
    """Occurrences that no line has told yet, and details of the newest."""

    number: int
    details: Mapping[str, object]


class Repeats:
    """Counts occurrences of lines and tells when one is due.

    The first is due at once, the next after `interval_seconds`. What goes on is told ever less often: each interval
    is twice the one before, up to `interval_seconds_max`. A silence of two intervals begins anew.

    Times are in seconds of one monotonic clock. Not thread-safe: the thread of each shard has its own.
    """

    def __init__(self, *, interval_seconds: float, interval_seconds_max: float) -> None:
        self._interval_seconds = interval_seconds
        self._interval_seconds_max = interval_seconds_max
        self._said: dict[Line, tuple[float, float]] = {}
        """When a line was told last, and the interval after that."""
        self._unsaid: dict[Line, Unsaid] = {}

    @property
    def pending(self) -> bool:
        """Tell whether anything was counted that no line has told yet."""
        return bool(self._unsaid)

    def count(self, line: Line, number: int, details: Mapping[str, object]) -> None:
        """Add `number` occurrences; the newest details replace older ones."""
        before = self._unsaid.get(line)
        self._unsaid[line] = Unsaid(number + (before.number if before else 0), details)

    def due(self, now_seconds: float) -> list[tuple[Line, Unsaid]]:
        """Return what must be told now, and forget it."""
        lines = [line for line in self._unsaid if self._is_due(line, now_seconds)]
        for line in lines:
            self._said[line] = now_seconds, self._next_interval(line, now_seconds)
        return [(line, self._unsaid.pop(line)) for line in lines]

    def rest(self) -> list[tuple[Line, Unsaid]]:
        """Return everything not told yet, and forget it: the last lines of all."""
        rest, self._unsaid = self._unsaid, {}
        return list(rest.items())

    def _is_due(self, line: Line, now_seconds: float) -> bool:
        said = self._said.get(line)
        return said is None or now_seconds - said[0] >= said[1]

    def _next_interval(self, line: Line, now_seconds: float) -> float:
        said = self._said.get(line)
        if said is None or now_seconds - said[0] >= 2 * said[1]:
            return self._interval_seconds
        return min(2 * said[1], self._interval_seconds_max)
