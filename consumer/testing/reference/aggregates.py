"""What aggregates say of a list of events: each computed anew from all of them, in the plainest way.

Only estimates follow the steps of the core's summaries, for their bytes have to be equal: `top` beyond its counters,
the moments of floats, and HyperLogLog, which is the library's.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from fractions import Fraction
from typing import Any

from consumer.core.sketches_distinct import HyperLogLog
from consumer.pipeline.model import Aggregate, Type
from consumer.testing.reference.values import Value, printable
from consumer.testing.reference.windows import Event, Span

BUCKETS_MAX = 2048
Bucket = tuple[int, int, int]
Moments = tuple[int, float, float]


def aggregate(column: Aggregate, span: Span, number: int) -> Any:
    """Return what a row shows in the column with this number, over all events of a window.

    `history` of the span is events in shard order, and histories of sessions merged in or of panes. An event's
    `arguments` has a tuple of values for each column.
    """
    if column.function == "count" and not column.arguments:
        return len(list(_flat(span.history)))
    if column.function == "rate":
        return _ratio(len(list(_flat(span.history))) * int(column.parameters[0]), span.end_ms - span.start_ms)
    history = _known(span.history, number)
    if column.function in _OF_ORDERED:
        return _OF_ORDERED[column.function](history, column, number)
    events = sorted(_flat(history), key=lambda event: event.number)
    if column.function in _COUNTS:
        return _COUNTS[column.function]([event.arguments[number][0] for event in events], column)
    value = _OF_EVENTS[column.function](events, column, number) if events else None
    return printable(_unsigned(value) if column.function in _UNSIGNED else value, column.type)


def _flat(history: Iterable[Any]) -> Iterator[Event]:
    for item in history:
        if isinstance(item, Event):
            yield item
        else:
            yield from _flat(item)


def _known(history: Iterable[Any], number: int) -> list[Any]:
    """Return the history without the events that do not count: those whose last argument is null."""
    return [
        item if isinstance(item, Event) else _known(item, number)
        for item in history
        if not isinstance(item, Event) or item.arguments[number][-1] is not None
    ]


def _unsigned(value: Value) -> Value:
    return 0.0 if isinstance(value, float) and value == 0 else value


def _ratio(numerator: int, denominator: int) -> float:
    return float(Fraction(numerator, denominator))


# Aggregates of events in shard order.


def _min(events: list[Event], _: Aggregate, number: int) -> Value:
    return _extreme(events, number, min)


def _max(events: list[Event], _: Aggregate, number: int) -> Value:
    return _extreme(events, number, max)


def _extreme(events: list[Event], number: int, better: Callable[..., Any]) -> Value:
    value: Value = better(event.arguments[number][0] for event in events)
    return value


def _first(events: list[Event], _: Aggregate, number: int) -> Value:
    return min(events, key=lambda event: (event.time_ms, event.number)).arguments[number][0]


def _last(events: list[Event], _: Aggregate, number: int) -> Value:
    return max(events, key=lambda event: (event.time_ms, event.number)).arguments[number][0]


def _min_by(events: list[Event], _: Aggregate, number: int) -> Value:
    return _by(events, number, min)


def _max_by(events: list[Event], _: Aggregate, number: int) -> Value:
    return _by(events, number, max)


def _by(events: list[Event], number: int, better: Callable[..., Any]) -> Value:
    best = better(event.arguments[number][1] for event in events)
    return next(event.arguments[number][0] for event in events if event.arguments[number][1] == best)


def _variance_of_ints(values: list[int]) -> float:
    mean = Fraction(sum(values), len(values))
    return float(sum((value - mean) ** 2 for value in values) / len(values))


def _quantile(events: list[Event], column: Aggregate, number: int) -> Value:
    whole = column.arguments[0].type is Type.INT
    values = sorted(float(event.arguments[number][0] or 0) for event in events)
    part = Fraction(str(column.parameters[0]))
    if part in {0, 1}:
        return values[-int(part)]
    buckets = _folded([_bucket(value) for value in values])
    middle = _middle(buckets[math.ceil(part * len(values)) - 1], whole=whole)
    return float(min(max(middle, Fraction(values[0])), Fraction(values[-1])))


def _bucket(value: float) -> Bucket:
    """Return sign, octave and step, such that buckets sort as their numbers: both are negative for negative ones."""
    if value == 0:
        return 0, 0, 0
    size, octave = abs(Fraction(value)), math.frexp(value)[1] - 1
    step = int((size / Fraction(2) ** octave - 1) * 64)
    return (1, octave, step) if value > 0 else (-1, -octave, -step)


def _folded(buckets: list[Bucket]) -> list[Bucket]:
    """Return the buckets, those below the highest ones moved up."""
    distinct = sorted(set(buckets))
    floor = distinct[-BUCKETS_MAX] if len(distinct) > BUCKETS_MAX else distinct[0]
    return [max(bucket, floor) for bucket in buckets]


def _middle(bucket: Bucket, *, whole: bool) -> Fraction:
    sign, octave, step = bucket[0], bucket[0] * bucket[1], bucket[0] * bucket[2]
    low, high = ((1 + Fraction(each, 64)) * Fraction(2) ** octave for each in (step, step + 1))
    if whole:
        return Fraction(sign * (math.ceil(low) + math.ceil(high) - 1), 2)
    return sign * (low + high) / 2


# Counts of values: never null.


def _count(values: list[Value], _: Aggregate) -> Any:
    return len(values)


def _count_distinct(values: list[Value], column: Aggregate) -> Any:
    limit, policy = column.parameters
    exact = len(set(values))
    if policy == "reject" or exact <= int(limit):
        return exact
    return max(_approx_distinct(values, column), int(limit) + 1)


def _approx_distinct(values: list[Value], _: Aggregate) -> Any:
    sketches = HyperLogLog()
    return sketches.count(sketches.of(values))


# Aggregates to which it matters how sessions and panes were merged, or that show lists.


def _sum(history: list[Any], column: Aggregate, number: int) -> Any:
    return printable(_sum_in_order(history, number), column.type)


def _avg(history: list[Any], column: Aggregate, number: int) -> Any:
    total = _sum_in_order(history, number)
    return None if total is None else printable(_unsigned(total / len(list(_flat(history)))), column.type)


def _sum_in_order(history: list[Any], number: int) -> float | None:
    """Return the sum in shard order; a session merged in adds its own sum where it was merged."""
    total: float | None = None
    for item in history:
        value = item.arguments[number][0] if isinstance(item, Event) else _sum_in_order(item, number)
        if isinstance(value, int | float):
            total = (0 if total is None else total) + value
    return total


def _variance(history: list[Any], column: Aggregate, number: int) -> Any:
    if not list(_flat(history)):
        return None
    if column.arguments[0].type is Type.INT:
        return _variance_of_ints([int(event.arguments[number][0] or 0) for event in _flat(history)])
    count, _, deviations = _moments(history, number)
    return printable(deviations / count, column.type)


def _stddev(history: list[Any], column: Aggregate, number: int) -> Any:
    variance = _variance(history, column, number)
    return None if variance is None else math.sqrt(variance)


def _moments(history: list[Any], number: int) -> Moments:
    """Return count, mean and squared deviations, item by item; a history merged in is one item."""
    all_of_it: Moments = 0, 0.0, 0.0
    for item in history:
        if isinstance(item, Event):
            all_of_it = _moments_with(all_of_it, float(item.arguments[number][0] or 0))
        else:
            all_of_it = _joined(all_of_it, _moments(item, number))
    return all_of_it


def _moments_with(moments: Moments, value: float) -> Moments:
    count, mean, deviations = moments
    moved = mean + (value - mean) / (count + 1)
    return count + 1, moved, deviations + (value - mean) * (value - moved)


def _joined(one: Moments, other: Moments) -> Moments:
    if not one[0] or not other[0]:
        return one if one[0] else other
    count, apart = one[0] + other[0], other[1] - one[1]
    between = apart * apart * (one[0] * other[0] / count)
    return count, one[1] + apart * (other[0] / count), one[2] + (other[2] + between)


def _top(history: list[Any], column: Aggregate, number: int) -> Any:
    rows = int(column.parameters[0])
    counts, error = _counted(history, number, max(10 * rows, 100))
    values: list[Any] = list(counts)
    return [
        {"value": printable(_unsigned(value), column.type), "count": counts[value], "error": error}
        for value in sorted(sorted(values), key=lambda value: counts[value], reverse=True)[:rows]
    ]


def _counted(history: list[Any], number: int, kept: int) -> tuple[Counter[Value], int]:
    counts: Counter[Value] = Counter()
    error = 0
    for item in history:
        if isinstance(item, Event):
            counts[item.arguments[number][0]] += 1
        else:
            merged, of_merged = _counted(item, number, kept)
            counts.update(merged)
            error += of_merged
        if len(counts) > 2 * kept:
            ascending = sorted(counts.values())
            taken = ascending[len(ascending) - kept - 1]
            counts = +Counter({value: count - taken for value, count in counts.items()})
            assert len(counts) == len(ascending) - bisect_left(ascending, taken + 1)
            error += taken
    return counts, error


def _collect(history: list[Any], column: Aggregate, number: int) -> Any:
    events = sorted(_flat(history), key=lambda event: (event.time_ms, event.number))
    values = [event.arguments[number][0] for event in events[: int(column.parameters[0])]]
    return [printable(value, column.type) for value in values]


_OF_EVENTS: dict[str, Callable[[list[Event], Aggregate, int], Value]] = {
    "min": _min,
    "max": _max,
    "first": _first,
    "last": _last,
    "min_by": _min_by,
    "max_by": _max_by,
    "quantile": _quantile,
}
_UNSIGNED = {"min", "max", "quantile"}
_COUNTS: dict[str, Callable[[list[Value], Aggregate], Any]] = {
    "count": _count,
    "count_distinct": _count_distinct,
    "approx_distinct": _approx_distinct,
}
_OF_ORDERED: dict[str, Callable[[list[Any], Aggregate, int], Any]] = {
    "sum": _sum,
    "avg": _avg,
    "variance": _variance,
    "stddev": _stddev,
    "top": _top,
    "collect": _collect,
}
