"""The jobs of the benchmark as people write them by hand: json.loads, dicts of dicts, windows closed after each batch.

It does what it must to come to the same results on these events, and no more: nothing survives a crash, there are no
ids, a session is not merged with an earlier one, and an event of a wrong type ends the program.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime
from math import sqrt
from typing import Any

from bench.core_events import OUT_OF_ORDERNESS_MS
from bench.core_jobs import EVERY_MS, GAP_MS, SLIDING_MS, TUMBLING_MS, Job, Shape

OUT_OF_ORDER_S = OUT_OF_ORDERNESS_MS / 1000
TUMBLING_S = TUMBLING_MS // 1000
SLIDING_S = SLIDING_MS // 1000
EVERY_S = EVERY_MS // 1000
GAP_S = GAP_MS / 1000

Totals = dict[str, Any]
Add = Callable[[Totals, float, float], None]


def add_3(totals: Totals, value: float, _time_s: float) -> None:
    """Count, sum, maximum."""
    totals["events"] += 1
    totals["total"] += value
    totals["greatest"] = max(totals["greatest"], value)


def add_5(totals: Totals, value: float, _time_s: float) -> None:
    """Count, sum, maximum, minimum; the mean is made of sum and count in the end."""
    totals["events"] += 1
    totals["total"] += value
    totals["greatest"] = max(totals["greatest"], value)
    totals["least"] = min(totals["least"], value)


def add_8(totals: Totals, value: float, time_s: float) -> None:
    """Add to all of these, and to the first and the last value, and to what the standard deviation is made of."""
    totals["events"] += 1
    totals["total"] += value
    totals["squares"] += value * value
    totals["greatest"] = max(totals["greatest"], value)
    totals["least"] = min(totals["least"], value)
    if time_s < totals["first_s"]:
        totals["first_s"], totals["first"] = time_s, value
    if time_s >= totals["last_s"]:
        totals["last_s"], totals["last"] = time_s, value


def new_3() -> Totals:
    """Return what add_3 adds to."""
    return {"events": 0, "total": 0.0, "greatest": float("-inf")}


def new_5() -> Totals:
    """Return what add_5 adds to."""
    return {"events": 0, "total": 0.0, "greatest": float("-inf"), "least": float("inf")}


def new_8() -> Totals:
    """Return what add_8 adds to."""
    return {
        **new_5(),
        "squares": 0.0,
        "first": None,
        "first_s": float("inf"),
        "last": None,
        "last_s": float("-inf"),
    }


AGGREGATES = {3: (new_3, add_3), 5: (new_5, add_5), 8: (new_8, add_8)}


def finish(totals: Totals) -> Totals:
    """Return the members of a row."""
    row = {name: value for name, value in totals.items() if name not in {"squares", "first_s", "last_s"}}
    mean = totals["total"] / totals["events"]
    if "least" in totals:
        row["mean"] = mean
    if "squares" in totals:
        row["spread"] = sqrt(max(0.0, totals["squares"] / totals["events"] - mean * mean))
    return row


def iso(time_s: float) -> str:
    """Return a time as rows show it."""
    return datetime.fromtimestamp(time_s, UTC).isoformat(timespec="milliseconds")


class TimeWindows:
    """Sliding windows: a dict of totals for each window and key."""

    def __init__(self, name: str, by: str, size_s: int, every_s: int, aggregates: int) -> None:
        self.name = name
        self.by = by
        self.size_s = size_s
        self.every_s = every_s
        self.new, self.add_to = AGGREGATES[aggregates]
        self.windows: dict[tuple[int, str], Totals] = {}
        self.late = 0

    def add(self, event: dict[str, Any], time_s: float, value: float, watermark_s: float) -> None:
        """Add an event to the windows that it is in, unless they have ended."""
        start_s = int(time_s) // self.every_s * self.every_s
        while start_s + self.size_s > time_s:
            if start_s + self.size_s <= watermark_s:
                self.late += 1
                return
            key = (start_s, event[self.by])
            totals = self.windows.get(key)
            if totals is None:
                totals = self.windows[key] = self.new()
            self.add_to(totals, value, time_s)
            start_s -= self.every_s

    def close(self, watermark_s: float) -> Iterable[str]:
        """Yield the rows of the windows that have ended, and forget them."""
        ended = [key for key in self.windows if key[0] + self.size_s <= watermark_s]
        for start_s, key in sorted(ended):
            totals = self.windows.pop((start_s, key))
            start, end = iso(start_s), iso(start_s + self.size_s)
            row = {"window": self.name, "window_start": start, "window_end": end, self.by: key, **finish(totals)}
            yield json.dumps(row)


class TumblingWindows(TimeWindows):
    """Tumbling windows: an event is in one of them."""

    def add(self, event: dict[str, Any], time_s: float, value: float, watermark_s: float) -> None:
        """Add an event to its window, unless that has ended."""
        start_s = int(time_s) // self.size_s * self.size_s
        if start_s + self.size_s <= watermark_s:
            self.late += 1
            return
        key = (start_s, event[self.by])
        totals = self.windows.get(key)
        if totals is None:
            totals = self.windows[key] = self.new()
        self.add_to(totals, value, time_s)


class Sessions:
    """Sessions by user."""

    def __init__(self, name: str, gap_s: float, aggregates: int) -> None:
        self.name = name
        self.gap_s = gap_s
        self.new, self.add_to = AGGREGATES[aggregates]
        self.sessions: dict[str, Totals] = {}
        self.rows: list[str] = []
        self.late = 0

    def add(self, event: dict[str, Any], time_s: float, value: float, watermark_s: float) -> None:
        """Add an event to its user's session, or end that and begin another."""
        user = event["user"]
        session = self.sessions.get(user)
        if session is not None and time_s - session["ended"] > self.gap_s:
            self.rows.append(self.row(user, session))
            session = None
        if session is None:
            if time_s + self.gap_s <= watermark_s:
                self.late += 1
                return
            session = self.sessions[user] = {"started": time_s, "ended": time_s, **self.new()}
        elif time_s > session["ended"]:
            session["ended"] = time_s
        elif time_s < session["started"]:
            session["started"] = time_s
        self.add_to(session, value, time_s)

    def close(self, watermark_s: float) -> Iterable[str]:
        """Yield the rows of the sessions that have ended, and forget them."""
        yield from self.rows
        self.rows = []
        ended = [user for user, session in self.sessions.items() if session["ended"] + self.gap_s <= watermark_s]
        for user in ended:
            yield self.row(user, self.sessions.pop(user))

    def row(self, user: str, session: Totals) -> str:
        """Return a session's row."""
        totals = dict(session)
        start, end = iso(totals.pop("started")), iso(totals.pop("ended") + self.gap_s)
        return json.dumps(
            {"window": self.name, "window_start": start, "window_end": end, "user": user, **finish(totals)}
        )


class Processor:
    """One shard."""

    def __init__(self, windows: Sequence[TimeWindows | Sessions], *, derives: bool = False) -> None:
        self.derives = derives
        self.windows = windows
        self.newest_s = 0.0
        self.filtered = 0

    def process(self, batch: Iterable[bytes]) -> list[str]:
        """Process a batch of events; return the rows that are due by then."""
        for data in batch:
            self.add(json.loads(data))
        return self.close(self.newest_s - OUT_OF_ORDER_S)

    def add(self, event: dict[str, Any]) -> None:
        """Add an event to all windows."""
        time_s = datetime.fromisoformat(event["time"]).timestamp()
        watermark_s = self.newest_s - OUT_OF_ORDER_S
        self.newest_s = max(self.newest_s, time_s)
        value = event["amount"]
        if self.derives:
            if event["kind"] == "bot":
                self.filtered += 1
                return
            value *= event["quantity"]
        for windows in self.windows:
            windows.add(event, time_s, value, watermark_s)

    def close(self, watermark_s: float) -> list[str]:
        """Return the rows of all windows that have ended."""
        return [row for windows in self.windows for row in windows.close(watermark_s)]


def _windows(shape: Shape, aggregates: int) -> TimeWindows | Sessions:
    if shape is Shape.TUMBLING:
        return TumblingWindows(shape, "page", TUMBLING_S, TUMBLING_S, aggregates)
    if shape is Shape.SLIDING:
        return TimeWindows(shape, "page", SLIDING_S, EVERY_S, aggregates)
    return Sessions(shape, GAP_S, aggregates)


def run(job: Job, batches: Iterable[list[bytes]]) -> list[str]:
    """Return the rows of a job."""
    processor = Processor([_windows(shape, job.aggregates) for shape in job.windows], derives=job.derives)
    rows = [row for batch in batches for row in processor.process(batch)]
    return rows + processor.close(float("inf"))


def decode(batches: Iterable[list[bytes]]) -> int:
    """Decode all events, and do nothing with them; return how many there are."""
    return sum(len([json.loads(data) for data in batch]) for batch in batches)
