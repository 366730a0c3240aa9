"""The definitions of a pipeline made again of their stored text: so that a state that was made with them can be read.

The text is that of `definitions_text`. It says all that decides results; for the rest (sinks, state, worker) the
pipeline of today stands in.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from consumer.errors import RefusedError
from consumer.pipeline.aggregates import parse_aggregate
from consumer.pipeline.definitions import VERSION, definitions_text
from consumer.pipeline.expressions import parse_expression
from consumer.pipeline.model import (
    Expression,
    Field,
    Kind,
    Let,
    Limits,
    Name,
    Pipeline,
    Session,
    Sliding,
    Stagger,
    TimeUnit,
    Tumbling,
    Type,
    Window,
)
from consumer.pipeline.tokens import ExpressionError

_Scope = dict[str, tuple[Type, bool] | None]


def recalled(text: str, today: Pipeline) -> Pipeline:
    """Return the pipeline of a definitions' text, in all else that of today.

    RefusedError if this version does not understand the text as the one that wrote it did.
    """
    try:
        meaning = json.loads(text)
        pipeline = _pipeline(meaning, today) if meaning["version"] == VERSION else None
    except (ValueError, TypeError, KeyError, ExpressionError) as error:
        raise RefusedError(f"the stored text of definitions cannot be read: {error}. {_REMEDY}") from error
    if pipeline is None or definitions_text(pipeline) != text:
        raise RefusedError(f"the stored text of definitions means something else to this streamgauge. {_REMEDY}")
    return pipeline


_REMEDY = "Start the version of streamgauge that wrote it, with the file of today"


def _pipeline(meaning: Mapping[str, Any], today: Pipeline) -> Pipeline:
    fields = tuple(map(_field, meaning["fields"]))
    scope: _Scope = {field.name: (field.type, field.nullable) for field in fields}
    lets = _lets(meaning["lets"], scope)
    groups, policy = meaning["limits"]
    return replace(
        today,
        name=meaning["pipeline"],
        source=replace(today.source, partition_key=meaning["partition_key"]),
        events=replace(today.events, fields=fields, **{name: meaning[name] for name in _OF_EVENTS}),
        lets=lets,
        where=_condition(meaning["where"], scope),
        windows=tuple(_window(window, scope) for window in meaning["windows"]),
        limits=Limits(groups, policy),
    )


_OF_EVENTS = (
    "format",
    "compression",
    "max_bytes",
    "time",
    "out_of_orderness_ms",
    "idle_after_ms",
    "max_future_ms",
)


def _field(written: Sequence[Any]) -> Field:
    name, of, nullable, path, unit = written
    return Field(name, Type(of), nullable, tuple(path), TimeUnit(unit))


def _lets(written: Sequence[Sequence[Any]], scope: _Scope) -> tuple[Let, ...]:
    """Parse the lets, each in the scope of those before it, and add them to the scope."""
    lets = []
    for name, text, _, _ in written:
        expression = parse_expression(text, scope)
        assert expression.type is not None
        scope[name] = (expression.type, expression.nullable)
        lets.append(Let(name, expression))
    return tuple(lets)


def _condition(text: str | None, scope: _Scope) -> Expression | None:
    return None if text is None else parse_expression(text, scope)


def _window(written: Mapping[str, Any], scope: _Scope) -> Window:
    return Window(
        name=written["window"],
        kind=_kind(*written["kind"]),
        by=tuple(Name(name, Type(of), nullable) for name, of, nullable in written["by"]),
        select=tuple(parse_aggregate(name, text, scope) for name, text, _ in written["select"]),
        aligned=written["aligned"],
        where=_condition(written["window_where"], scope),
        allowed_lateness_ms=written["allowed_lateness_ms"],
        emit=written["emit"],
        buckets=written.get("buckets"),
    )


def _kind(kind: str, *parameters: Any) -> Kind:
    made: Kind = _KINDS[kind](*parameters)
    return made


_KINDS: Mapping[str, Any] = {"tumbling": Tumbling, "sliding": Sliding, "session": Session, "stagger": Stagger}
