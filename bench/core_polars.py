"""The jobs of the benchmark in polars, by micro-batches: what is open is a data frame that each batch is merged into.

One thread. What has ended by the watermark becomes rows after each batch; sliding windows are put together from panes.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from io import BytesIO
from typing import Any

os.environ.setdefault("POLARS_MAX_THREADS", "1")  # before polars is imported: on one core, as all others

import polars as pl

from bench.core_events import OUT_OF_ORDERNESS_MS
from bench.core_jobs import EVERY_MS, GAP_MS, SLIDING_MS, TUMBLING_MS, Job, Shape

BATCH = 10_000
"""Events that are handled at once: the most that the daemon gives."""

_FIELDS = {
    "user": pl.String,
    "time": pl.String,
    "page": pl.String,
    "kind": pl.String,
    "amount": pl.Float64,
    "quantity": pl.Int64,
}
_COLUMNS = {
    3: ("events", "total", "greatest"),
    5: ("events", "total", "greatest", "least"),
    8: ("events", "total", "greatest", "least", "squares", "first", "first_ms", "last", "last_ms"),
}
_END_MS = 2**52
"""Later than any event, in what the arithmetic of times can hold."""


def run(job: Job, data: Sequence[bytes]) -> list[bytes]:
    """Return the rows of a job."""
    windows = [_windows(shape, job.aggregates) for shape in job.windows]
    watermark_ms = 0
    rows: list[bytes] = []
    for batch in _batches(data):
        events = _events(_decode(batch), job)
        newest_ms = events["time_ms"].max()
        if job.derives:
            events = events.filter(pl.col("kind") != "bot")
        for each in windows:
            each.add(events, watermark_ms)
        watermark_ms = max(watermark_ms, newest_ms - OUT_OF_ORDERNESS_MS)
        rows += [row for each in windows for row in each.close(watermark_ms)]
    return rows + [row for each in windows for row in each.close(_END_MS)]


def decode(data: Sequence[bytes]) -> int:
    """Decode all events, and do nothing with them; return how many there are."""
    return sum(_decode(batch).height for batch in _batches(data))


def _batches(data: Sequence[bytes]) -> Iterator[Sequence[bytes]]:
    return (data[first : first + BATCH] for first in range(0, len(data), BATCH))


def _decode(batch: Sequence[bytes]) -> pl.DataFrame:
    return pl.read_ndjson(BytesIO(b"\n".join(batch)), schema=_FIELDS)


def _events(decoded: pl.DataFrame, job: Job) -> pl.DataFrame:
    """Return events with their time, and as if each were what it adds to a window."""
    time = pl.col("time").str.to_datetime("%Y-%m-%dT%H:%M:%S%.fZ", time_unit="ms").dt.epoch("ms")
    value = pl.col("amount") * pl.col("quantity") if job.derives else pl.col("amount")
    added = {
        "events": pl.lit(1, pl.Int64),
        "total": pl.col("value"),
        "greatest": pl.col("value"),
        "least": pl.col("value"),
        "squares": pl.col("value") * pl.col("value"),
        "first": pl.col("value"),
        "first_ms": pl.col("time_ms"),
        "last": pl.col("value"),
        "last_ms": pl.col("time_ms"),
    }
    columns = {name: added[name] for name in _COLUMNS[job.aggregates]}
    return decoded.with_columns(time_ms=time, value=value).with_columns(**columns)


def _together(aggregates: int) -> list[pl.Expr]:
    """Return what rows of one window and key are put together by."""
    first = pl.col("first").get(pl.col("first_ms").arg_min())
    last = pl.col("last").reverse().get(pl.col("last_ms").reverse().arg_max())
    found = {
        "events": pl.col("events").sum(),
        "total": pl.col("total").sum(),
        "greatest": pl.col("greatest").max(),
        "least": pl.col("least").min(),
        "squares": pl.col("squares").sum(),
        "first": first,
        "first_ms": pl.col("first_ms").min(),
        "last": last,
        "last_ms": pl.col("last_ms").max(),
    }
    return [found[name] for name in _COLUMNS[aggregates]]


def _rows(name: str, closed: pl.DataFrame, aggregates: int) -> list[bytes]:
    """Return windows that have ended as lines of JSON."""
    if closed.is_empty():
        return []
    mean = pl.col("total") / pl.col("events")
    made: list[Any] = [pl.lit(name).alias("window")]
    if "least" in _COLUMNS[aggregates]:
        made.append(mean.alias("mean"))
    if "squares" in _COLUMNS[aggregates]:
        made.append((pl.col("squares") / pl.col("events") - mean * mean).clip(0).sqrt().alias("spread"))
    times = [pl.from_epoch(name, "ms").dt.to_string("iso:strict") for name in ("window_start", "window_end")]
    shown = closed.with_columns(*made, *times).drop("squares", "first_ms", "last_ms", strict=False)
    lines: list[bytes] = shown.write_ndjson().encode().splitlines()
    return lines


class _TimeWindows:
    """Tumbling and sliding windows by page: a row a pane of `every_ms` and page."""

    def __init__(self, name: str, size_ms: int, every_ms: int, aggregates: int) -> None:
        self._name = name
        self._size_ms = size_ms
        self._every_ms = every_ms
        self._aggregates = aggregates
        self._panes: pl.DataFrame | None = None
        self._closed_ms = 0

    def add(self, events: pl.DataFrame, watermark_ms: int) -> None:
        """Add a batch, except what is late for all its windows."""
        start = pl.col("time_ms") // self._every_ms * self._every_ms
        in_time = events.with_columns(start=start).filter(pl.col("start") + self._size_ms > watermark_ms)
        panes = in_time.group_by("start", "page", maintain_order=True).agg(_together(self._aggregates))
        if self._panes is not None:
            both = pl.concat([self._panes, panes])
            panes = both.group_by("start", "page", maintain_order=True).agg(_together(self._aggregates))
        self._panes = panes

    def close(self, watermark_ms: int) -> list[bytes]:
        """Return the rows of the windows that have ended since the last call; forget panes that no other has."""
        assert self._panes is not None
        end = pl.col("window_start") + self._size_ms
        earlier = range(0, self._size_ms, self._every_ms)
        windows = pl.concat([self._panes.with_columns(window_start=pl.col("start") - each) for each in earlier])
        ended = windows.filter((end <= watermark_ms) & (end > self._closed_ms)).with_columns(window_end=end)
        by = ("window_start", "window_end", "page")
        closed = ended.sort("start").group_by(by, maintain_order=True).agg(_together(self._aggregates))
        self._closed_ms = watermark_ms
        self._panes = self._panes.filter(pl.col("start") + self._size_ms > watermark_ms)
        return _rows(self._name, closed, self._aggregates)


class _Sessions:
    """Sessions by user: a row a session."""

    def __init__(self, name: str, gap_ms: int, aggregates: int) -> None:
        self._name = name
        self._gap_ms = gap_ms
        self._aggregates = aggregates
        self._open: pl.DataFrame | None = None

    def add(self, events: pl.DataFrame, watermark_ms: int) -> None:
        """Add a batch, except what is late; whatever lies at most a gap apart becomes one session."""
        in_time = events.filter(pl.col("time_ms") + self._gap_ms > watermark_ms)
        columns = ("user", "started", "ended", *_COLUMNS[self._aggregates])
        pieces = in_time.with_columns(started=pl.col("time_ms"), ended=pl.col("time_ms")).select(columns)
        if self._open is not None:
            pieces = pl.concat([self._open, pieces])
        before = pl.col("ended").cum_max().shift().over("user")
        begins = before.is_null() | (pl.col("started") - before > self._gap_ms)
        numbered = pieces.sort("user", "started", maintain_order=True).with_columns(number=begins.cum_sum())
        bounds = [pl.col("user").first(), pl.col("started").min(), pl.col("ended").max()]
        merged = numbered.group_by("number", maintain_order=True).agg(*bounds, *_together(self._aggregates))
        self._open = merged.select(columns)

    def close(self, watermark_ms: int) -> list[bytes]:
        """Return the rows of the sessions that have ended."""
        assert self._open is not None
        ended = pl.col("ended") + self._gap_ms <= watermark_ms
        closed = self._open.filter(ended).with_columns(ended=pl.col("ended") + self._gap_ms)
        self._open = self._open.filter(~ended)
        return _rows(self._name, closed.rename({"started": "window_start", "ended": "window_end"}), self._aggregates)


def _windows(shape: Shape, aggregates: int) -> _TimeWindows | _Sessions:
    if shape is Shape.TUMBLING:
        return _TimeWindows(shape, TUMBLING_MS, TUMBLING_MS, aggregates)
    if shape is Shape.SLIDING:
        return _TimeWindows(shape, SLIDING_MS, EVERY_MS, aggregates)
    return _Sessions(shape, GAP_MS, aggregates)
