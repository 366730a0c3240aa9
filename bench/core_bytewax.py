"""The jobs of the benchmark in Bytewax: one worker, its windowing operators, its event clock.

Some things are set in its favour: the system's clock stands still and wakes nobody up, and rows tell a window's number
instead of its start and end. Windows of a key close when a later event of that key comes, or in the end, for Bytewax
has a watermark a key.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from datetime import UTC, datetime, timedelta
from typing import Any

import bytewax.operators as op
from bytewax.dataflow import Dataflow
from bytewax.operators import windowing
from bytewax.testing import TestingSink, TestingSource, run_main

from bench.core_dicts import AGGREGATES, Totals, finish
from bench.core_events import OUT_OF_ORDERNESS_MS
from bench.core_jobs import EVERY_MS, GAP_MS, SLIDING_MS, TUMBLING_MS, Job, Shape

BATCH = 1_000
"""Events that the source gives at once: what Bytewax' connector to Kafka does if nothing is said."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

Event = dict[str, Any]


def run(job: Job, data: Iterable[bytes]) -> list[str]:
    """Return the rows of a job."""
    rows: list[str] = []
    flow = Dataflow("bench")
    events = op.map("decode", op.input("input", flow, TestingSource(data, BATCH)), _decode)
    if job.derives:
        events = op.filter("filter", events, lambda event: event["kind"] != "bot")
        events = op.map("derive", events, _derive)
    for shape in job.windows:
        by = "user" if shape is Shape.SESSION else "page"
        closed = _fold(shape, op.key_on(f"{shape}_key", events, _getter(by)), job.aggregates)
        op.output(f"{shape}_output", op.map(f"{shape}_row", closed, _row(shape, by)), TestingSink(rows))
    run_main(flow)
    return rows


def decode(data: Iterable[bytes]) -> int:
    """Decode all events, and do nothing with them; return how many there are."""
    events: list[Event] = []
    flow = Dataflow("bench")
    decoded = op.map("decode", op.input("input", flow, TestingSource(data, BATCH)), json.loads)
    op.output("output", decoded, TestingSink(events))
    run_main(flow)
    return len(events)


def _decode(data: bytes) -> Event:
    event: Event = json.loads(data)
    event["time"] = datetime.fromisoformat(event["time"])
    return event


def _derive(event: Event) -> Event:
    event["amount"] *= event["quantity"]
    return event


def _getter(name: str) -> Callable[[Event], Any]:
    return lambda event: event[name]


def _fold(shape: Shape, keyed: Any, aggregates: int) -> Any:
    new, add = AGGREGATES[aggregates]

    def fold(totals: Totals, event: Event) -> Totals:
        add(totals, event["amount"], event["time"].timestamp())
        return totals

    out = windowing.fold_window(shape, keyed, _clock(), _windower(shape), new, fold, _merge)
    return out.down


def _clock() -> windowing.EventClock:
    wait = timedelta(milliseconds=OUT_OF_ORDERNESS_MS)
    return windowing.EventClock(_getter("time"), wait, now_getter=lambda: _EPOCH, to_system_utc=lambda _: None)


def _windower(shape: Shape) -> Any:
    if shape is Shape.SESSION:
        return windowing.SessionWindower(timedelta(milliseconds=GAP_MS))
    if shape is Shape.SLIDING:
        return windowing.SlidingWindower(timedelta(milliseconds=SLIDING_MS), timedelta(milliseconds=EVERY_MS), _EPOCH)
    return windowing.TumblingWindower(timedelta(milliseconds=TUMBLING_MS), _EPOCH)


def _merge(totals: Totals, other: Totals) -> Totals:
    """Put two sessions together."""
    for name in ("events", "total", "squares"):
        if name in totals:
            totals[name] += other[name]
    totals["greatest"] = max(totals["greatest"], other["greatest"])
    if "least" in totals:
        totals["least"] = min(totals["least"], other["least"])
    if "first" in totals and other["first_s"] < totals["first_s"]:
        totals["first_s"], totals["first"] = other["first_s"], other["first"]
    if "last" in totals and other["last_s"] >= totals["last_s"]:
        totals["last_s"], totals["last"] = other["last_s"], other["last"]
    return totals


def _row(shape: Shape, by: str) -> Callable[[tuple[str, tuple[int, Totals]]], str]:
    def row(closed: tuple[str, tuple[int, Totals]]) -> str:
        key, (number, totals) = closed
        return json.dumps({"window": shape, "window_number": number, by: key, **finish(totals)})

    return row
