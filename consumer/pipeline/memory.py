"""How much memory open groups take: the one place with these estimates.

They are for CPython, for texts of up to 30 characters, and meant to be somewhat too high. A group is what `limits`
counts: one session, or one window and key. Two figures for each: with a few values in every aggregate that keeps
many (sets, lists, sketches), and with all of these full, which is a bound.
"""

from __future__ import annotations

import math

from consumer.pipeline.model import Aggregate, Pipeline, Session, Sliding, Stagger, Type, Window

_GROUP_BYTES = 90
"""A group's own share of the state: its entry, its place in the order of closing."""
_OWN_TIMES_BYTES = {Session: 100, Stagger: 70}
"""What a session or stagger window has more than a window whose bounds are the same for all keys."""
_REVISION_BYTES = 40
"""What a group has more that gives several rows."""
_OPEN_WINDOW_BYTES = 120
"""The entry of a key in an open sliding window; the values lie in panes, which windows share."""
_KEY_BYTES = {Type.STRING: 60}
_KEY_BYTES_OTHER = 32
_NUMBER_BYTES = 32
_TEXT_BYTES = 50
"""What a text takes more than a number."""

_SLOTS = {
    "count": 1,
    "sum": 1,
    "min": 1,
    "max": 1,
    "avg": 2,
    "first": 2,
    "last": 2,
    "min_by": 3,
    "max_by": 3,
    "variance": 3,
    "stddev": 3,
    "quantile": 3,
    "top": 1,
    "rate": 1,
}
"""Numbers, or values, that an aggregate keeps beside those it keeps many of."""

_FEW_BYTES = 250
"""A set, list, dict or sketch with a few values."""
_ENTRY_BYTES = 60
"""A value's entry in a set, or a value and its time in lists, without the value itself."""
_SKETCH_BYTES = 4_600
"""A HyperLogLog sketch of 4,096 registers."""
_BUCKETS_MAX = 2_048
_BUCKET_BYTES = 100
_COUNTERS_A_ROW = 20
_COUNTERS_MIN = 200
"""Counters of `top(x, k)`: 20 k, at least 200."""


def memory_per_group(window: Window) -> int:
    """Return an estimate, in tens, of the bytes that one open group of a window takes with few values in it."""
    return _group_bytes(window, [_few_bytes(aggregate) for aggregate in window.select])


def memory_per_group_at_most(window: Window) -> int:
    """Return an estimate, in tens, of the bytes of a group whose sets, lists and sketches are full: a bound."""
    return _group_bytes(window, [max(_few_bytes(each), _full_bytes(each)) for each in window.select])


def memory_bytes_at_limit(pipeline: Pipeline) -> int:
    """Return the bytes of a shard with `limits.groups` open groups, all of the window whose groups take most, full.

    A bound for open groups. The process itself, records under way and rows that wait come on top, and with
    emit_early the names of the groups that were emitted early, until their windows end.
    """
    return pipeline.limits.groups * max(memory_per_group_at_most(window) for window in pipeline.windows)


def _group_bytes(window: Window, aggregates: list[int]) -> int:
    key = sum(_KEY_BYTES.get(column.type, _KEY_BYTES_OTHER) for column in window.by)
    revision = _REVISION_BYTES if window.allowed_lateness_ms else 0
    own = _GROUP_BYTES + _OWN_TIMES_BYTES.get(type(window.kind), 0) + revision
    group = own + key + sum(aggregates)
    if isinstance(window.kind, Sliding):
        group = _OPEN_WINDOW_BYTES + revision + panes_of_window(window.kind) * group
    return round(group, -1)


def panes_of_window(kind: Sliding) -> int:
    """Return how many panes there are at most for each open sliding window of a key.

    Panes are as long as the greatest common divisor of size and every. Over a time t with an event in each pane there
    are t / pane of them, and at least t / every windows open.
    """
    return kind.every_ms // math.gcd(kind.size_ms, kind.every_ms)


def _value_bytes(aggregate: Aggregate) -> int:
    return _NUMBER_BYTES + (_TEXT_BYTES if aggregate.arguments and _keeps_text(aggregate) else 0)


def _keeps_text(aggregate: Aggregate) -> bool:
    keeps_values = aggregate.function in {"count_distinct", "min_by", "max_by"} or aggregate.type is Type.STRING
    return keeps_values and any(argument.type is Type.STRING for argument in aggregate.arguments)


def _few_bytes(aggregate: Aggregate) -> int:
    many = _FEW_BYTES if _full_bytes(aggregate) else 0
    slots = _SLOTS.get(aggregate.function, 0) * _NUMBER_BYTES
    texts = sum(argument.type is Type.STRING for argument in aggregate.arguments) if _keeps_text(aggregate) else 0
    return many + slots + (0 if many else texts * _TEXT_BYTES)


def _full_bytes(aggregate: Aggregate) -> int:
    """Return the bytes of an aggregate that keeps many values, when it keeps as many as it may; else 0."""
    entry = _ENTRY_BYTES + _value_bytes(aggregate)
    match aggregate.function:
        case "count_distinct":
            return max(_first_parameter(aggregate) * entry, _SKETCH_BYTES)
        case "approx_distinct":
            return _SKETCH_BYTES
        case "quantile":
            return _BUCKETS_MAX * _BUCKET_BYTES
        case "top":
            return max(_COUNTERS_A_ROW * _first_parameter(aggregate), _COUNTERS_MIN) * entry
        case "collect":
            return _first_parameter(aggregate) * entry
        case _:
            return 0


def _first_parameter(aggregate: Aggregate) -> int:
    value = aggregate.parameters[0]
    assert isinstance(value, int)
    return value
