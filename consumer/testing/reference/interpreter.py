"""The rules of windows and watermarks over lists that keep everything.

One record after the other:
1. A record at or before the position is skipped.
2. Decode it, check its partition key, then its time against its arrival, then evaluate every `let`, `where`, every
   window's own `where`, and the arguments of the aggregates of the windows it passes. A fault anywhere makes it a
   dead letter, and nothing else happens.
3. If `where` is not true it is filtered: it goes into no window, but step 6 happens.
4. If it would open groups beyond the limit, or bring a group above the limit of a `count_distinct` that rejects, it
   is a dead letter, and nothing else happens.
5. For each window in the file's order, and there for each window start: late, by the watermark before this event,
   or in. With `emit_early`, what it opens beyond the limit makes room first. A window whose row was due before
   this event has another row at once.
6. The watermark advances; every window that is due has its row, and what need not be kept is dropped.
The rows of a record stand in the order of window, window_end, window_start, key.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from consumer.pipeline.model import Expression, Pipeline, Window
from consumer.records import Position, Record, Row
from consumer.testing.reference.decoding import decode
from consumer.testing.reference.expressions import ExpressionError, evaluate
from consumer.testing.reference.outcome import DeadLetter, Expected, Idle, OpenWindow
from consumer.testing.reference.rows import RowMaker, WindowHash, key_order
from consumer.testing.reference.values import Value
from consumer.testing.reference.windows import Bounds, Event, Key, OpenGroups, Span

MISROUTED = "misrouted"
FUTURE_TIMESTAMP = "future_timestamp"
EXPRESSION_ERROR = "expression_error"
STATE_LIMIT = "state_limit"


def reference(
    pipeline: Pipeline,
    shard: str,
    generation: int,
    inputs: Iterable[Record | Idle],
    window_hash: WindowHash,
    *,
    close_all: bool = False,
    keys_required: bool = True,
) -> Expected:
    """Return what must come of one shard's records and idle decisions, from its first on, in their order.

    Only windows that are due by the shard's watermark have rows, unless `close_all` says that the input has ended.
    A record without partition key is misrouted only if `keys_required`: files may have none.
    `window_hash` gives the definition's hash that is part of the ids. ValueError if a record lacks the time the
    pipeline lives by.
    """
    interpreter = _Interpreter(pipeline, shard, generation, window_hash, keys_required=keys_required)
    for item in inputs:
        if isinstance(item, Idle):
            interpreter.idle(item)
        else:
            interpreter.take(item)
    if close_all:
        interpreter.close_all()
    return interpreter.finish()


@dataclass(frozen=True, slots=True)
class _Accepted:
    """An event without a fault.

    `arguments` holds the aggregates' arguments of each window whose `where` it passes; None if it is filtered.
    """

    time_ms: int
    values: dict[str, Value]
    arguments: dict[str, tuple[tuple[Value, ...], ...]] | None


@dataclass(frozen=True, slots=True)
class _Group:
    """An open window of a group, of the pipeline's window with this number."""

    number: int
    key: Key
    span: Span

    @property
    def order(self) -> tuple[object, ...]:
        """Return its place among the rows that arise from one record."""
        return self.number, self.span.end_ms, self.span.start_ms, key_order(self.key)

    @property
    def name(self) -> tuple[int, Key, int]:
        """Return what tells it from every other group that is open."""
        return self.number, self.key, self.span.start_ms


@dataclass(frozen=True, slots=True)
class _Part:
    """What is remembered of a group that was emitted early: the number of its next part, and its window's end."""

    next: int
    end_ms: int


class _Interpreter:
    def __init__(
        self, pipeline: Pipeline, shard: str, generation: int, window_hash: WindowHash, *, keys_required: bool
    ) -> None:
        self._pipeline = pipeline
        self._keys_required = keys_required
        self._rows = RowMaker(pipeline, shard, generation, window_hash)
        self._open = [OpenGroups(window) for window in pipeline.windows]
        self._parts: dict[tuple[int, Key, int], _Part] = {}
        self._position: Position | None = None
        self._watermark_ms: int | None = None
        self._arising: list[tuple[tuple[object, ...], Row, int]] = []
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
        elif self._breaks_a_limit(event):
            self._dead_letter(record, [STATE_LIMIT])
            return
        else:
            self._put_into_windows(record, event)
        self._advance(event.time_ms - self._pipeline.events.out_of_orderness_ms)
        self._give_rows()

    def idle(self, idle: Idle) -> None:
        self._advance(idle.now_ms - self._pipeline.events.out_of_orderness_ms)
        self._give_rows()

    def close_all(self) -> None:
        self._close(math.inf)
        self._give_rows()

    def finish(self) -> Expected:
        self._expected.watermark_ms = self._watermark_ms
        self._expected.open_windows = [
            OpenWindow(
                self._pipeline.windows[group.number].name,
                group.span.start_ms,
                group.span.end_ms,
                group.key,
                len(group.span.events()),
            )
            for group in self._all_open()
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
        """Tell whether the partition key is not the field's text."""
        field = self._pipeline.source.partition_key
        if field is None or field not in values or not any(window.aligned for window in self._pipeline.windows):
            return False
        if record.partition_key is None and not self._keys_required:
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
        if not _is_kept(self._pipeline.where, values):
            return _Accepted(time_ms, values, None)
        arguments = {
            window.name: tuple(
                tuple(evaluate(argument, values) for argument in column.arguments) for column in window.select
            )
            for window in self._pipeline.windows
            if _is_kept(window.where, values)
        }
        return _Accepted(time_ms, values, arguments)

    # -- step 4: limits

    def _breaks_a_limit(self, event: _Accepted) -> bool:
        in_time = [placed for placed in self._placed(event) if not self._is_late(placed)]
        if any(_has_too_many_values(placed.window, placed.span) for placed in in_time):
            return True
        opened = sum(not placed.replaced for placed in in_time)
        limits = self._pipeline.limits
        return opened > 0 and limits.policy == "reject" and self._open_count() + opened > limits.groups

    # -- step 5: windows

    def _put_into_windows(self, record: Record, event: _Accepted) -> None:
        assert event.arguments is not None
        for window in self._pipeline.windows:
            self._expected.outside[window.name] += window.name not in event.arguments
        for placed in self._placed(event):
            bounds = placed.span.start_ms, placed.span.end_ms
            if self._is_late(placed):
                self._late(record, event.time_ms, placed.window, bounds)
                continue
            self._expected.in_windows[placed.window.name] += 1
            if not placed.replaced:
                self._make_room()
            placed.groups.replace(placed.key, placed.replaced, placed.span)
            if placed.groups.has_row(placed.span, self._watermark()):
                self._result(_Group(placed.number, placed.key, placed.span), self._watermark())

    def _placed(self, event: _Accepted) -> Iterator[_Placed]:
        """Return where the event goes, also where it is late; what was opened or emitted meanwhile counts."""
        assert event.arguments is not None
        for number, window in enumerate(self._pipeline.windows):
            if window.name not in event.arguments:
                continue
            groups = self._open[number]
            key = tuple(_key_value(event.values[name.name]) for name in window.by)
            in_window = Event(event.time_ms, self._expected.received, event.arguments[window.name])
            for alone in groups.bounds_alone(event.time_ms):
                span, replaced = groups.with_event(key, in_window, alone)
                if replaced and event.time_ms < replaced[0].start_ms:
                    late_alone = groups.is_late(Span(*alone, []), self._watermark())
                    span.late_at_ms = self._watermark_ms if late_alone else None
                yield _Placed(number, window, groups, key, span, replaced)

    def _is_late(self, placed: _Placed) -> bool:
        return placed.groups.is_late(placed.span, self._watermark())

    def _make_room(self) -> None:
        """Emit early and drop the group that ends first, if one more would be too many."""
        limits = self._pipeline.limits
        if limits.policy == "reject" or self._open_count() < limits.groups:
            return
        group = min(self._all_open(), key=lambda group: (group.span.end_ms, group.order))
        self._result(group, self._watermark(), early=True)
        self._open[group.number].replace(group.key, [group.span], None)

    # -- step 6: the watermark, and what is due by it

    def _watermark(self) -> float:
        return -math.inf if self._watermark_ms is None else self._watermark_ms

    def _advance(self, watermark_ms: int) -> None:
        if watermark_ms > self._watermark():
            self._watermark_ms = watermark_ms
            self._close(watermark_ms)

    def _close(self, watermark_ms: float) -> None:
        for number, groups in enumerate(self._open):
            for key, span in groups.untold(watermark_ms):
                self._result(_Group(number, key, span), watermark_ms)
            groups.drop(watermark_ms)
        self._forget_parts(watermark_ms)

    def _forget_parts(self, watermark_ms: float) -> None:
        """Forget how often a group was emitted early when its window is dropped."""
        still_open = {group.name for group in self._all_open()} if self._parts else set()
        for name, part in list(self._parts.items()):
            lateness_ms = self._pipeline.windows[name[0]].allowed_lateness_ms
            if name not in still_open and part.end_ms - 1 + lateness_ms <= watermark_ms:
                del self._parts[name]

    def _all_open(self) -> list[_Group]:
        return [_Group(number, *group) for number, groups in enumerate(self._open) for group in groups.all()]

    def _open_count(self) -> int:
        return sum(groups.count for groups in self._open)

    # -- rows

    def _result(self, group: _Group, watermark_ms: float, *, early: bool = False) -> None:
        """Make the group's next row; `watermark_ms` is the one after the record."""
        window, span = self._pipeline.windows[group.number], group.span
        before = self._parts.get(group.name)
        part = before.next if before is not None else 0 if early else None
        dropped = span.end_ms - 1 + window.allowed_lateness_ms <= watermark_ms
        row = self._rows.result(
            window, group.key, span, part, final=early or window.emit == "final" or dropped, early=early
        )
        self._arising.append((group.order, row, len(span.events())))
        span.tell(self._rows.result_id(window, group.key, span, part))
        if early:
            assert part is not None
            self._parts[group.name] = _Part(part + 1, span.end_ms)

    def _give_rows(self) -> None:
        """Put the rows that arose from one record in order."""
        for _, row, events in sorted(self._arising, key=lambda arisen: arisen[0]):
            self._expected.rows.append(row)
            self._expected.row_events.append(events)
        self._arising.clear()

    def _late(self, record: Record, time_ms: int, window: Window, bounds: Bounds) -> None:
        self._expected.late_events[window.name] += 1
        if self._pipeline.late is None:
            return
        assert self._watermark_ms is not None
        self._expected.late.append(self._rows.late(window, bounds, record, time_ms, self._watermark_ms))

    def _dead_letter(self, record: Record, faults: list[str]) -> None:
        self._expected.dead_lettered[faults[0]] += 1
        if self._pipeline.dead_letter is not None:
            letter = DeadLetter(faults[0], frozenset(faults), self._rows.dead_letter(record))
            self._expected.dead_letters.append(letter)


@dataclass(frozen=True, slots=True)
class _Placed:
    """Where an event goes in a window: the span with it, and the open ones that it takes the place of."""

    number: int
    window: Window
    groups: OpenGroups
    key: Key
    span: Span
    replaced: list[Span]


def _is_kept(where: Expression | None, values: dict[str, Value]) -> bool:
    return where is None or evaluate(where, values) is True


def _key_value(value: Value) -> Value:
    """Return the value as it tells groups apart: minus zero is zero."""
    return 0.0 if isinstance(value, float) and value == 0 else value


def _has_too_many_values(window: Window, span: Span) -> bool:
    """Tell whether a `count_distinct` that rejects has more values than its limit."""
    for number, column in enumerate(window.select):
        if column.function == "count_distinct" and column.parameters[1] == "reject":
            limit = column.parameters[0]
            assert isinstance(limit, int)
            values = {event.arguments[number][0] for event in span.events()} - {None}
            if len(values) > limit:
                return True
    return False
