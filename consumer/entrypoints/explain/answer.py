"""What is told of a reading: for each window its rows, and the records that made them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from consumer.core.times import format_time
from consumer.entrypoints.explain.finding import Span, span
from consumer.entrypoints.explain.probes import Traced, TracedLate, merged
from consumer.entrypoints.explain.replay import Emitted, Reading, Replay, Seen, place_facts
from consumer.pipeline.model import Session, Sliding, Tumbling

_DEAD_LETTERS = frozenset({"counted", "filtered"})


@dataclass(frozen=True)
class Wanted:
    """How much is told of each record: `records` lists them, `payload` with their data."""

    records: bool
    payload: bool


def windows_of(reading: Reading, replay: Replay, at_ms: int, wanted: Wanted) -> list[dict[str, Any]]:
    """Return what is told of each window at a time, earliest first."""
    asked = span(reading, replay, at_ms)
    kind = reading.question.window.kind
    if isinstance(kind, Tumbling | Sliding):
        groups = [[row for row in replay.tracer.rows if row.start_ms == start_ms] for start_ms in asked.starts_ms]
    else:
        groups = _related(replay.tracer.rows, at_ms)
    told = [
        _window(reading, replay, rows, _bounds(reading, rows, asked, number), wanted)
        for number, rows in enumerate(groups)
    ]
    return [each for each in told if each["rows"] or each["late"] or each["filtered"]] or told[-1:]


def _related(rows: Sequence[Traced], at_ms: int) -> list[list[Traced]]:
    """Return the rows of each session (or stagger window) at a time, with those of what was merged into it."""
    groups = merged(set(row.events) for row in rows)
    here = [
        group
        for group in groups
        if any(row.start_ms <= at_ms < row.end_ms and set(row.events) <= group for row in rows)
    ]
    return [[row for row in rows if set(row.events) <= group] for group in here] or [[]]


def _bounds(reading: Reading, rows: Sequence[Traced], asked: Span, number: int) -> tuple[int, int]:
    kind = reading.question.window.kind
    if rows:
        return rows[-1].start_ms, rows[-1].end_ms
    if isinstance(kind, Sliding):
        return asked.starts_ms[number], asked.starts_ms[number] + kind.size_ms
    return asked.starts_ms[0], asked.end_ms


def _window(
    reading: Reading, replay: Replay, rows: Sequence[Traced], bounds: tuple[int, int], wanted: Wanted
) -> dict[str, Any]:
    start_ms, end_ms = bounds
    emitted = _Emitted(replay.rows)
    told = [_row(emitted.of(row), row) for row in rows]
    numbers = rows[-1].events if rows else []
    seen = [replay.seen[number] for number in sorted(numbers)]
    others = [each for each in replay.seen if start_ms <= each.time_ms < end_ms]
    facts: dict[str, Any] = {
        "window_start": format_time(start_ms),
        "window_end": format_time(end_ms),
        "status": _status(rows),
        "rows": told,
        "records": {
            "count": len(seen),
            "first": _seen_facts(seen[0]) if seen else None,
            "last": _seen_facts(seen[-1]) if seen else None,
            "by_shard": dict(Counter(each.place.shard for each in seen)),
        },
        "late": [_late(replay, each) for each in _late_of(reading, replay, bounds)],
        "filtered": sum(each.fate == "filtered" for each in others),
        "dead_letters": dict(Counter(each.fate for each in others if each.fate not in _DEAD_LETTERS)),
    }
    if wanted.records:
        facts["records"]["all"] = [_seen_facts(each, payload=wanted.payload) for each in seen]
    return facts


def _status(rows: Sequence[Traced]) -> str:
    if not rows:
        return "empty"
    return "open" if rows[-1].is_open else "emitted"


class _Emitted:
    """The rows of the worker's code, each to be taken once: two sessions can begin and end at the same times."""

    def __init__(self, rows: Iterable[Emitted]) -> None:
        self._left = list(rows)

    def of(self, traced: Traced) -> Emitted | None:
        """Take the row of a window and revision; None if there is none."""
        name = (traced.start_ms, traced.end_ms, traced.revision, traced.is_open)
        for row in self._left:
            if (row.start_ms, row.end_ms, row.revision, row.is_open) == name:
                self._left.remove(row)
                return row
        return None


def _row(emitted: Emitted | None, traced: Traced) -> dict[str, Any]:
    return {
        "emitted": not traced.is_open,
        "records": len(traced.events),
        "row": None if emitted is None else msgspec.Raw(emitted.data),
    }


def _seen_facts(seen: Seen, *, payload: bool = False) -> dict[str, Any]:
    facts = {
        **place_facts(seen.place),
        "event_time": format_time(seen.time_ms),
        "arrival_time": None if seen.arrival_ms is None else format_time(seen.arrival_ms),
    }
    return facts | {"data": seen.data} if payload else facts


def _late_of(reading: Reading, replay: Replay, bounds: tuple[int, int]) -> list[TracedLate]:
    """Return the events that were late for a window; for a session, those that would have touched it."""
    start_ms, end_ms = bounds
    kind = reading.question.window.kind
    if isinstance(kind, Tumbling | Sliding):
        return [late for late in replay.tracer.late if late.start_ms == start_ms]
    before_ms = kind.gap_ms if isinstance(kind, Session) else kind.size_ms - 1
    return [late for late in replay.tracer.late if start_ms - before_ms <= late.start_ms < end_ms]


def _late(replay: Replay, late: TracedLate) -> dict[str, Any]:
    seen = replay.seen[late.event]
    return {
        **_seen_facts(seen),
        "watermark": format_time(late.watermark_ms),
        "lateness_ms": late.watermark_ms - seen.time_ms,
    }


def part_facts(reading: Reading, replay: Replay, origin: str | None, at_ms: int, wanted: Wanted) -> dict[str, Any]:
    """Return all that is told of a part of the group."""
    windows = windows_of(reading, replay, at_ms, wanted)
    reasons = list(replay.reasons)
    if any(row["row"] is None for window in windows for row in window["rows"]):
        reasons.append("a row of the window is not among those that reading again gives")
    return {
        "shard": origin,
        "exact": not reasons,
        "reasons": reasons,
        "read": replay.what_was_read(),
        "windows": windows,
        "later_late_events_of_the_window": replay.late_unread,
    }


def is_nothing(part: Mapping[str, Any]) -> bool:
    """Tell whether a part has nothing of the group."""
    return all(
        window["status"] == "empty" and not window["late"] and not window["filtered"] for window in part["windows"]
    )
