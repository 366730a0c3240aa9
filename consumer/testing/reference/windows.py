"""Open windows as lists of their events, and aggregates over such lists."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from consumer.pipeline.model import Aggregate, Session, Tumbling
from consumer.testing.reference.values import Value

Key = tuple[Value, ...]


class Event(NamedTuple):
    """An event in a window. `number` counts the shard's records; `arguments` has one value a column."""

    time_ms: int
    number: int
    arguments: tuple[Value, ...]


@dataclass(eq=False, slots=True)
class Span:
    """One open window, or one session.

    `history` says how it came about: events in shard order, and where a later session was merged into
    this one, that session's history as an item of its own.
    """

    start_ms: int
    end_ms: int
    history: list[Any] = field(default_factory=list)

    def events(self) -> list[Event]:
        """Return all events, those of a session merged in where it was merged in."""
        return list(_flatten(self.history))


def _flatten(history: list[Any]) -> Iterator[Event]:
    for item in history:
        if isinstance(item, Event):
            yield item
        else:
            yield from _flatten(item)


class OpenGroups:
    """The open windows of one definition."""

    def __init__(self, kind: Tumbling | Session) -> None:
        self._kind = kind
        self._spans: dict[Key, list[Span]] = {}
        self._nothing_due_before_ms = math.inf

    def all(self) -> list[tuple[Key, Span]]:
        """Return every open window with its group."""
        return [(key, span) for key, spans in self._spans.items() for span in spans]

    def with_event(self, key: Key, event: Event) -> tuple[Span, list[Span]]:
        """Return the window that the event would be in, and the open ones that it would take the place of."""
        start_ms, end_ms = self._bounds_alone(event.time_ms)
        touched = sorted(self._touched(key, event.time_ms), key=lambda span: span.start_ms)
        if not touched:
            return Span(start_ms, end_ms, [event]), []
        history = [*touched[0].history, *(span.history for span in touched[1:]), event]
        return Span(min(start_ms, touched[0].start_ms), max(end_ms, touched[-1].end_ms), history), touched

    def replace(self, key: Key, replaced: list[Span], span: Span) -> None:
        """Keep what `with_event` returned."""
        self._spans[key] = [one for one in self._spans.get(key, []) if one not in replaced] + [span]
        self._nothing_due_before_ms = min(self._nothing_due_before_ms, span.end_ms - 1)

    def take_due(self, watermark_ms: int) -> list[tuple[Key, Span]]:
        """Remove and return the windows whose last millisecond the watermark has reached."""
        if watermark_ms < self._nothing_due_before_ms:
            return []
        groups = self.all()
        due = [(key, span) for key, span in groups if span.end_ms - 1 <= watermark_ms]
        for key, span in due:
            self._spans[key].remove(span)
            if not self._spans[key]:
                del self._spans[key]
        left = (span.end_ms - 1 for _, spans in self._spans.items() for span in spans)
        self._nothing_due_before_ms = min(left, default=math.inf)
        return due

    def _bounds_alone(self, time_ms: int) -> tuple[int, int]:
        if isinstance(self._kind, Session):
            return time_ms, time_ms + self._kind.gap_ms
        number = (time_ms - self._kind.offset_ms) // self._kind.size_ms
        start_ms = self._kind.offset_ms + number * self._kind.size_ms
        return start_ms, start_ms + self._kind.size_ms

    def _touched(self, key: Key, time_ms: int) -> list[Span]:
        """Return the open windows an event of this time belongs to; of sessions, those within the gap."""
        spans = self._spans.get(key, [])
        if isinstance(self._kind, Session):
            gap_ms = self._kind.gap_ms
            return [span for span in spans if span.start_ms - gap_ms <= time_ms <= span.end_ms]
        return [span for span in spans if span.start_ms <= time_ms < span.end_ms]


def aggregate(column: Aggregate, span: Span, number: int) -> Value:
    """Return the value of the column with this number over all events of a window."""
    if column.function == "count" and column.argument is None:
        return len(span.events())
    known = [event for event in span.events() if event.arguments[number] is not None]
    if column.function == "count":
        return len(known)
    if not known:
        return None
    return _AGGREGATES[column.function](known, span, number)


def _sum(_: list[Event], span: Span, number: int) -> Value:
    return _sum_in_order(span.history, number)


def _avg(known: list[Event], span: Span, number: int) -> Value:
    total = _sum_in_order(span.history, number)
    assert total is not None
    return _without_sign_of_zero(total / len(known))


def _sum_in_order(history: list[Any], number: int) -> float | None:
    """Return the sum in shard order; a session merged in adds its own sum where it was merged."""
    total: float | None = None
    for item in history:
        value = item.arguments[number] if isinstance(item, Event) else _sum_in_order(item, number)
        if isinstance(value, int | float):
            total = (0 if total is None else total) + value
    return total


def _min(known: list[Event], _: Span, number: int) -> Value:
    return _without_sign_of_zero(min((event.arguments[number] for event in known), key=_comparable))


def _max(known: list[Event], _: Span, number: int) -> Value:
    return _without_sign_of_zero(max((event.arguments[number] for event in known), key=_comparable))


def _without_sign_of_zero(value: Value) -> Value:
    return 0.0 if isinstance(value, float) and value == 0 else value


def _comparable(value: Value) -> Any:
    return value


def _first(known: list[Event], _: Span, number: int) -> Value:
    return min(known, key=lambda event: (event.time_ms, event.number)).arguments[number]


def _last(known: list[Event], _: Span, number: int) -> Value:
    return max(known, key=lambda event: (event.time_ms, event.number)).arguments[number]


_AGGREGATES: dict[str, Callable[[list[Event], Span, int], Value]] = {
    "sum": _sum,
    "avg": _avg,
    "min": _min,
    "max": _max,
    "first": _first,
    "last": _last,
}
