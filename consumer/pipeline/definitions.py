"""Hashes of what a pipeline and its windows mean: stored with the state, and part of every result's id.

They must never change for the same meaning, so what goes in is spelled out here, key by key, and a test holds the
hashes of known pipelines.

The incarnation of a window that was added to a running pipeline is the number of the adoption that added it. It is
part of the hashes, so that a window that is removed and added again never gives an old id a new content. Windows that
were there at the beginning have none.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Any

from consumer.pipeline.canonical import aggregate_to_text, names_in, to_text
from consumer.pipeline.model import (
    Expression,
    Field,
    Kind,
    Let,
    Name,
    Pipeline,
    Session,
    Sliding,
    Tumbling,
    Window,
)

VERSION = 1
_NONE: Mapping[str, int] = MappingProxyType({})


Incarnations = Mapping[str, int]
"""By window, of those that have one."""


def definitions_hash(pipeline: Pipeline, incarnations: Incarnations = _NONE) -> str:
    """Return the hash (hex sha256) of all that decides the pipeline's results.

    Not in it: the stream and where reading starts, sinks, state and worker. They may change while the state stays.
    """
    text = definitions_text(pipeline)
    return _sha256(text if not incarnations else _canonical({"definitions": text, "incarnations": dict(incarnations)}))


def definitions_text(pipeline: Pipeline) -> str:
    """Return what `definitions_hash` is the hash of, as one line of JSON.

    `differences.py` compares two of them, `recall.py` makes the definitions of one again.
    """
    events = pipeline.events
    return _canonical(
        {
            "version": VERSION,
            "pipeline": pipeline.name,
            "partition_key": pipeline.source.partition_key,
            "fields": [_field(field) for field in events.fields],
            **_time(pipeline),
            "format": events.format,
            "compression": events.compression,
            "max_bytes": events.max_bytes,
            "limits": [pipeline.limits.groups, pipeline.limits.policy],
            "lets": [_let(let) for let in pipeline.lets],
            "where": _optional_text(pipeline.where),
            "windows": [_window(window) for window in pipeline.windows],
        }
    )


def window_hash(pipeline: Pipeline, window: Window, incarnation: int = 0) -> str:
    """Return the hash (hex sha256) of what decides the values of one window, other windows left out."""
    hash_ = _window_hash(pipeline, window)
    return hash_ if not incarnation else _hash({"window": hash_, "incarnation": incarnation})


def _window_hash(pipeline: Pipeline, window: Window) -> str:
    used = _names_used(pipeline, window)
    return _hash(
        {
            "version": VERSION,
            **_window(window),
            "partition_key": pipeline.source.partition_key if window.aligned else None,
            **_time(pipeline),
            "where": _optional_text(pipeline.where),
            "fields": sorted(_field(field) for field in pipeline.events.fields if field.name in used),
            "lets": sorted(_let(let) for let in pipeline.lets if let.name in used),
        }
    )


def _names_used(pipeline: Pipeline, window: Window) -> frozenset[str]:
    """Return the fields and lets that the window needs, also through other lets."""
    used = {column.name for column in window.by}
    used |= _names_of(argument for aggregate in window.select for argument in aggregate.arguments)
    used |= _names_of([pipeline.where, window.where])
    used |= {pipeline.events.time} if pipeline.events.time else set()
    # A let names only what stands before it, so one pass from the last to the first finds all.
    for let in reversed(pipeline.lets):
        if let.name in used:
            used |= names_in(let.expression)
    return frozenset(used)


def _names_of(expressions: Iterable[Expression | None]) -> frozenset[str]:
    return frozenset().union(*(names_in(expression) for expression in expressions if expression is not None))


def _time(pipeline: Pipeline) -> dict[str, Any]:
    events = pipeline.events
    return {
        "time": events.time,
        "out_of_orderness_ms": events.out_of_orderness_ms,
        "idle_after_ms": events.idle_after_ms,
        "max_future_ms": events.max_future_ms,
    }


def _window(window: Window) -> dict[str, Any]:
    return {
        "window": window.name,
        "kind": _kind(window.kind),
        "by": [_typed(column) for column in window.by],
        "select": [[column.name, aggregate_to_text(column), column.type.value] for column in window.select],
        "aligned": window.aligned,
        "window_where": _optional_text(window.where),
        "allowed_lateness_ms": window.allowed_lateness_ms,
        "emit": window.emit,
        **({} if window.buckets is None else {"buckets": window.buckets}),
    }


def _kind(kind: Kind) -> list[str | int | None]:
    if isinstance(kind, Tumbling):
        return ["tumbling", kind.size_ms, kind.offset_ms, kind.timezone]
    if isinstance(kind, Sliding):
        return ["sliding", kind.size_ms, kind.every_ms]
    if isinstance(kind, Session):
        return ["session", kind.gap_ms, kind.max_length_ms]
    return ["stagger", kind.size_ms]


def _field(field: Field) -> list[Any]:
    return [field.name, field.type.value, field.nullable, list(field.path), field.unit.value]


def _typed(name: Name) -> list[str | bool]:
    return [name.name, name.type.value, name.nullable]


def _let(let: Let) -> list[str | bool]:
    assert let.expression.type is not None
    return [let.name, to_text(let.expression), let.expression.type.value, let.expression.nullable]


def _optional_text(expression: Expression | None) -> str | None:
    return None if expression is None else to_text(expression)


def _hash(meaning: dict[str, Any]) -> str:
    return _sha256(_canonical(meaning))


def _canonical(meaning: dict[str, Any]) -> str:
    return json.dumps(meaning, sort_keys=True, separators=(",", ":"), ensure_ascii=True)


def _sha256(canonical: str) -> str:
    return hashlib.sha256(canonical.encode("ascii")).hexdigest()
