"""Open windows as lists of their events."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from consumer.pipeline.model import Session, Sliding, Stagger, Tumbling, Window
from consumer.testing.reference.values import Value
from consumer.testing.reference.wall_clock import window_around

Key = tuple[Value, ...]
Bounds = tuple[int, int]
"""Start and end of a window, in milliseconds."""
WatermarkOf = Callable[[Key], float]
"""Tells the watermark that counts for a group."""


class Event(NamedTuple):
    """An event in a window.

    `number` counts the shard's records; `arguments` has for each column the values of its aggregate's arguments.
    """

    time_ms: int
    number: int
    arguments: tuple[tuple[Value, ...], ...]


@dataclass(eq=False, slots=True)
class Span:
    """One open window of a group, or one session. Never changed in its events: an event makes another of it.

    `history` says how it came about: events in shard order; where a later session was merged into this one, that
    session's history as an item of its own; in a sliding window one such item for each pane, in time order.
    `is_told`: a row has shown all of its events.
    `revision` is that of its last row, None before the first; where sessions were merged, the highest.
    `told_ids`: the last ids of all sessions in it that had a row, the earliest session first. `is_reshaped`: since
    then sessions were merged, or the first event is another.
    `late_at_ms`: the watermark at which the first event of a session came, if it would have been late alone; else None.
    """

    start_ms: int
    end_ms: int
    history: list[Any]
    is_told: bool = False
    revision: int | None = None
    told_ids: list[str] = field(default_factory=list)
    is_reshaped: bool = False
    late_at_ms: int | None = None

    def events(self) -> list[Event]:
        """Return all events, those of a session merged in where it was merged in."""
        return list(_flatten(self.history))

    def tell(self, identity: str) -> None:
        """Note that a row of this id has shown it."""
        self.is_told = True
        self.revision = self.next_revision()
        self.told_ids = [identity]
        self.is_reshaped = False

    def next_revision(self) -> int:
        """Return the revision of the next row."""
        return 0 if self.revision is None else self.revision + 1


def _flatten(history: list[Any]) -> Iterator[Event]:
    for item in history:
        if isinstance(item, Event):
            yield item
        else:
            yield from _flatten(item)


class OpenGroups:
    """The open windows of one definition: all that are kept, whether a row has shown them or not.

    `count` says how many they are; below the watermark `nothing_before_ms` nothing happens to them.
    """

    def __init__(self, window: Window) -> None:
        self._kind = window.kind
        self._first_row_after_ms = window.allowed_lateness_ms if window.emit == "final" else 0
        self._lateness_ms = window.allowed_lateness_ms
        self._spans: dict[Key, list[Span]] = {}
        self.nothing_before_ms = math.inf
        self.count = 0

    def all(self) -> list[tuple[Key, Span]]:
        """Return every open window with its group."""
        return [(key, span) for key, spans in self._spans.items() for span in spans]

    def bounds_alone(self, time_ms: int) -> list[Bounds]:
        """Return the windows that an event of this time would be in if there were no other event."""
        kind = self._kind
        if isinstance(kind, Session):
            return [(time_ms, time_ms + kind.gap_ms)]
        if isinstance(kind, Stagger):
            return [(time_ms, time_ms + kind.size_ms)]
        if isinstance(kind, Tumbling):
            return [_tumbling(kind, time_ms)]
        starts = range(time_ms // kind.every_ms * kind.every_ms, time_ms - kind.size_ms, -kind.every_ms)
        return [(start_ms, start_ms + kind.size_ms) for start_ms in reversed(starts)]

    def with_event(self, key: Key, event: Event, alone: Bounds) -> tuple[Span, list[Span]]:
        """Return the window that the event makes of its own bounds, and the open ones it would take the place of."""
        replaced = self._joined(key, event.time_ms, alone)
        return self._with(event, alone, replaced), replaced

    def _joined(self, key: Key, time_ms: int, alone: Bounds) -> list[Span]:
        """Return what the event is put together with, earliest first."""
        spans = sorted(self._spans.get(key, []), key=lambda span: span.start_ms)
        if isinstance(self._kind, Session):
            return self._sessions_joined(self._kind, spans, time_ms)
        if isinstance(self._kind, Stagger):
            return [span for span in spans if span.start_ms <= time_ms < span.end_ms][:1]
        return [span for span in spans if span.start_ms == alone[0]]

    def _sessions_joined(self, kind: Session, spans: list[Span], time_ms: int) -> list[Span]:
        def fits(sessions: Sequence[Span]) -> bool:
            first_ms = min([time_ms, *(session.start_ms for session in sessions)])
            last_ms = max([time_ms, *(session.end_ms - kind.gap_ms for session in sessions)])
            return kind.max_length_ms is None or last_ms - first_ms <= kind.max_length_ms

        touched = [span for span in spans if span.start_ms - kind.gap_ms <= time_ms <= span.end_ms]
        return touched if fits(touched) else next(([span] for span in touched if fits([span])), [])

    def _with(self, event: Event, alone: Bounds, joined: list[Span]) -> Span:
        if not joined:
            history = self._in_panes([event]) if isinstance(self._kind, Sliding) else [event]
            return Span(*alone, history)
        start_ms, end_ms = joined[0].start_ms, max(span.end_ms for span in joined)
        if isinstance(self._kind, Session):
            start_ms, end_ms = min(start_ms, alone[0]), max(end_ms, alone[1])
        history = [*joined[0].history, *(span.history for span in joined[1:]), event]
        if isinstance(self._kind, Sliding):
            history = self._in_panes(_flatten(history))
        return Span(
            start_ms,
            end_ms,
            history,
            revision=max((span.revision for span in joined if span.revision is not None), default=None),
            told_ids=[identity for span in joined for identity in span.told_ids],
            is_reshaped=len(joined) > 1 or start_ms != joined[0].start_ms or joined[0].is_reshaped,
            late_at_ms=joined[0].late_at_ms,
        )

    def _in_panes(self, events: Iterable[Event]) -> list[list[Event]]:
        assert isinstance(self._kind, Sliding)
        size_ms = math.gcd(self._kind.size_ms, self._kind.every_ms)
        panes: dict[int, list[Event]] = {}
        for event in sorted(events, key=lambda event: event.number):
            panes.setdefault(event.time_ms // size_ms, []).append(event)
        return [panes[number] for number in sorted(panes)]

    def replace(self, key: Key, replaced: list[Span], span: Span | None) -> None:
        """Keep what `with_event` returned; with None for it, only drop what it would replace."""
        spans = [one for one in self._spans.pop(key, []) if one not in replaced] + ([] if span is None else [span])
        if spans:
            self._spans[key] = spans
        self.count += (span is not None) - len(replaced)
        if span is not None:
            self.nothing_before_ms = min(self.nothing_before_ms, self._next_ms(span))

    def is_late(self, span: Span, watermark_ms: float) -> bool:
        """Tell whether a window would have been dropped by this watermark."""
        return span.end_ms - 1 + self._lateness_ms <= watermark_ms

    def has_row(self, span: Span, watermark_ms: float) -> bool:
        """Tell whether a window has its row by this watermark."""
        return span.end_ms - 1 + self._first_row_after_ms <= watermark_ms

    def untold(self, watermark_of: WatermarkOf) -> list[tuple[Key, Span]]:
        """Return the windows whose row is due: it would show events that no row has shown."""
        return [(key, span) for key, span in self.all() if not span.is_told and self.has_row(span, watermark_of(key))]

    def drop(self, watermark_of: WatermarkOf) -> None:
        """Drop the windows that are kept no longer."""
        for key, span in self.all():
            if self.is_late(span, watermark_of(key)):
                self.replace(key, [span], None)
        self.nothing_before_ms = min((self._next_ms(span) for _, span in self.all()), default=math.inf)

    def _next_ms(self, span: Span) -> int:
        """Return the watermark at which something happens to a window next."""
        return span.end_ms - 1 + (self._lateness_ms if span.is_told else self._first_row_after_ms)


def _tumbling(kind: Tumbling, time_ms: int) -> Bounds:
    if kind.timezone is not None:
        return window_around(time_ms, kind.size_ms, kind.offset_ms, kind.timezone)
    start_ms = kind.offset_ms + (time_ms - kind.offset_ms) // kind.size_ms * kind.size_ms
    return start_ms, start_ms + kind.size_ms
