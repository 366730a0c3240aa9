"""The rules of windows and watermarks over lists that keep everything.

One record after the other:
1. A record at or before the position is skipped.
2. Decode it, check its partition key, then its time against its arrival, then evaluate every `let`, `where`,
   and the arguments of every aggregate. A fault anywhere makes it a dead letter, and nothing else happens.
3. If `where` is not true it is filtered: it goes into no window, but step 5 happens.
4. For each window in the file's order: late, by the watermark before this event, or in.
5. The watermark advances; every window that is due closes.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import msgspec

from consumer.core.ids import dead_letter_id, late_id, result_id
from consumer.core.times import format_time
from consumer.pipeline.model import Pipeline, Window
from consumer.records import LATE, Position, Record, Row
from consumer.testing.reference.decoding import decode
from consumer.testing.reference.expressions import ExpressionError, evaluate
from consumer.testing.reference.outcome import DeadLetter, Expected, OpenWindow
from consumer.testing.reference.values import Value, printable
from consumer.testing.reference.windows import Event, OpenGroups, Span, aggregate

MISROUTED = "misrouted"
FUTURE_TIMESTAMP = "future_timestamp"
EXPRESSION_ERROR = "expression_error"

DATA_BYTES_MAX = 700_000

WindowHash = Callable[[Pipeline, Window], str]


def reference(
    pipeline: Pipeline, shard: str, generation: int, records: Iterable[Record], window_hash: WindowHash
) -> Expected:
    """Return what must come of one shard's records, from its first on, in their order.

    Only windows that are due by the shard's watermark have rows. `window_hash` gives the definition's hash
    that is part of the ids. ValueError if a record lacks the time the pipeline lives by.
    """
    interpreter = _Interpreter(pipeline, shard, generation, window_hash)
    for record in records:
        interpreter.take(record)
    return interpreter.finish()


@dataclass(frozen=True, slots=True)
class _Accepted:
    """An event without a fault. `arguments` holds each window's aggregates' arguments; None if filtered."""

    time_ms: int
    values: dict[str, Value]
    arguments: dict[str, list[Value]] | None


class _Interpreter:
    def __init__(self, pipeline: Pipeline, shard: str, generation: int, window_hash: WindowHash) -> None:
        self._pipeline = pipeline
        self._shard = shard
        self._generation = generation
        self._hashes = {window.name: window_hash(pipeline, window) for window in pipeline.windows}
        self._open = {window.name: OpenGroups(window.kind) for window in pipeline.windows}
        self._position: Position | None = None
        self._watermark_ms: int | None = None
        self._expected = Expected(shard)

    def take(self, record: Record) -> None:
        if record.sequence_number is not None:
            position = Position.of(record)
            if self._position is not None and position <= self._position:
                self._expected.replayed += 1
                return
            self._position = position
        self._expected.received += 1
        event, faults = self._read(record)
        if event is None:
            self._dead_letter(record, faults)
            return
        if event.arguments is None:
            self._expected.filtered += 1
        else:
            self._put_into_windows(record, event, event.arguments)
        self._advance(event.time_ms - self._pipeline.events.out_of_orderness_ms)

    def finish(self) -> Expected:
        self._expected.watermark_ms = self._watermark_ms
        for window in self._pipeline.windows:
            self._expected.open_windows += [
                OpenWindow(window.name, span.start_ms, span.end_ms, key, len(span.events()))
                for key, span in self._open[window.name].all()
            ]
        return self._expected

    # -- step 2: from a record to an event, or to all of its faults

    def _read(self, record: Record) -> tuple[_Accepted | None, list[str]]:
        values, faults = decode(self._pipeline.events, record.data)
        usable = not faults
        if self._is_misrouted(record, values):
            faults.append(MISROUTED)
        time_ms = self._time_of(record, values, usable=usable)
        if time_ms is not None and self._is_future(record, time_ms):
            faults.append(FUTURE_TIMESTAMP)
        event = None
        if usable and time_ms is not None:
            try:
                event = self._evaluate(time_ms, values)
            except ExpressionError:
                faults.append(EXPRESSION_ERROR)
        return (None, faults) if faults else (event, faults)

    def _is_misrouted(self, record: Record, values: dict[str, Value]) -> bool:
        """Tell whether the partition key is not the field's text; raw lines have none to check."""
        field = self._pipeline.source.partition_key
        if field is None or field not in values or not any(window.aligned for window in self._pipeline.windows):
            return False
        if record.partition_key is None and record.sequence_number is None:
            return False
        return record.partition_key != str(values[field])

    def _time_of(self, record: Record, values: dict[str, Value], *, usable: bool) -> int | None:
        field = self._pipeline.events.time
        time_ms = record.arrival_ms if field is None else values.get(field)
        if usable and not isinstance(time_ms, int):
            raise ValueError("a record without the time that the pipeline's events live by")
        return time_ms if isinstance(time_ms, int) else None

    def _is_future(self, record: Record, time_ms: int) -> bool:
        allowed_ms = self._pipeline.events.max_future_ms
        return allowed_ms is not None and record.arrival_ms is not None and time_ms > record.arrival_ms + allowed_ms

    def _evaluate(self, time_ms: int, fields: dict[str, Value]) -> _Accepted:
        values = dict(fields)
        for let in self._pipeline.lets:
            values[let.name] = evaluate(let.expression, values)
        where = self._pipeline.where
        if where is not None and evaluate(where, values) is not True:
            return _Accepted(time_ms, values, None)
        arguments = {
            window.name: [
                None if column.argument is None else evaluate(column.argument, values) for column in window.select
            ]
            for window in self._pipeline.windows
        }
        return _Accepted(time_ms, values, arguments)

    # -- step 4: windows

    def _put_into_windows(self, record: Record, event: _Accepted, arguments: dict[str, list[Value]]) -> None:
        for window in self._pipeline.windows:
            groups = self._open[window.name]
            key = tuple(_key_value(event.values[name.name]) for name in window.by)
            placed = Event(event.time_ms, self._expected.received, tuple(arguments[window.name]))
            span, replaced = groups.with_event(key, placed)
            if self._watermark_ms is not None and span.end_ms - 1 <= self._watermark_ms:
                self._late(record, event.time_ms, window, span.start_ms, span.end_ms)
                continue
            self._expected.in_windows[window.name] += 1
            groups.replace(key, replaced, span)

    # -- step 5: the watermark, and what it closes

    def _advance(self, watermark_ms: int) -> None:
        if self._watermark_ms is not None and watermark_ms <= self._watermark_ms:
            return
        self._watermark_ms = watermark_ms
        for window in self._pipeline.windows:
            due = self._open[window.name].take_due(watermark_ms)
            for key, span in sorted(due, key=lambda group: _close_order(*group)):
                self._result(window, key, span)

    def _result(self, window: Window, key: tuple[Value, ...], span: Span) -> None:
        origin = None if window.aligned else self._shard
        row: dict[str, object] = {
            "id": result_id(
                self._pipeline.name,
                self._generation,
                self._hashes[window.name],
                key,
                span.start_ms,
                revision=0,
                part=None,
                origin=origin,
            ),
            "pipeline": self._pipeline.name,
            "window": window.name,
            "window_start": format_time(span.start_ms),
            "window_end": format_time(span.end_ms),
        }
        for name, value in zip(window.by, key, strict=True):
            row[name.name] = printable(value, name.type)
        for number, column in enumerate(window.select):
            row[column.name] = printable(aggregate(column, span, number), column.type)
        row |= {"revision": 0, "final": True}
        if not window.aligned:
            row |= {"shard": self._shard, "partial": True}
        self._expected.rows.append(Row(window.name, msgspec.json.encode(row)))
        self._expected.row_events.append(len(span.events()))

    # -- what does not get into a window

    def _late(self, record: Record, time_ms: int, window: Window, start_ms: int, end_ms: int) -> None:
        self._expected.late_events[window.name] += 1
        if self._pipeline.late is None:
            return
        assert self._watermark_ms is not None
        row = {
            "id": late_id(
                self._pipeline.name,
                self._generation,
                self._shard,
                record.sequence_number,
                record.sub_sequence_number,
                self._hashes[window.name],
                start_ms,
            ),
            "reason": "late",
            "pipeline": self._pipeline.name,
            "window": window.name,
            "window_start": format_time(start_ms),
            "window_end": format_time(end_ms),
            "watermark": format_time(self._watermark_ms),
            "event_time": format_time(time_ms),
            "lateness_ms": self._watermark_ms - time_ms,
            **self._place(record),
            **_data(record),
        }
        self._expected.late.append(Row(LATE, msgspec.json.encode(row)))

    def _dead_letter(self, record: Record, faults: list[str]) -> None:
        self._expected.dead_lettered[faults[0]] += 1
        if self._pipeline.dead_letter is None:
            return
        members = {
            "id": dead_letter_id(
                self._pipeline.name,
                self._generation,
                self._shard,
                record.sequence_number,
                record.sub_sequence_number,
            ),
            "pipeline": self._pipeline.name,
            **self._place(record),
            "arrival_time": None if record.arrival_ms is None else format_time(record.arrival_ms),
            **_data(record),
        }
        self._expected.dead_letters.append(DeadLetter(faults[0], frozenset(faults), members))

    def _place(self, record: Record) -> dict[str, object]:
        known = record.sequence_number is not None
        return {
            "partition_key": record.partition_key,
            "sequence_number": record.sequence_number,
            "sub_sequence_number": record.sub_sequence_number if known else None,
            "shard": self._shard,
        }


def _data(record: Record) -> dict[str, object]:
    data = base64.b64encode(record.data[:DATA_BYTES_MAX]).decode()
    return {"data": data, "data_truncated": True} if len(record.data) > DATA_BYTES_MAX else {"data": data}


def _key_value(value: Value) -> Value:
    """Return the value as it tells groups apart: minus zero is zero."""
    return 0.0 if isinstance(value, float) and value == 0 else value


def _close_order(key: tuple[Value, ...], span: Span) -> tuple[object, ...]:
    """Return the place among the rows of one window that arise from one record: null sorts first."""
    return span.end_ms, span.start_ms, tuple((value is not None, value) for value in key)
