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
The rows of a record stand in the order of window, origin, window_end, window_start, key.
The watermark is the one that counts for the group: `state` tells it, and what is open.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial

from consumer.pipeline.model import Expression, Pipeline, Window
from consumer.records import HashRange, Position, Record, Row, hash_key
from consumer.testing.reference.decoding import decode
from consumer.testing.reference.expressions import ExpressionError, evaluate
from consumer.testing.reference.outcome import Adoption, Contributed, DeadLetter, Expected, Idle, OpenWindow, WindowHash
from consumer.testing.reference.rows import RowMaker
from consumer.testing.reference.state import Group, Part, ShardState
from consumer.testing.reference.values import Value
from consumer.testing.reference.windows import Bounds, Event, Key, OpenGroups, Span

MISROUTED = "misrouted"
FUTURE_TIMESTAMP = "future_timestamp"
EXPRESSION_ERROR = "expression_error"
STATE_LIMIT = "state_limit"

Input = Record | Idle | Adoption


def reference(
    pipeline: Pipeline,
    shard: str,
    generation: int,
    inputs: Iterable[Input],
    window_hash: WindowHash,
    *,
    hash_range: HashRange | None = None,
    close_all: bool = False,
    keys_required: bool = True,
) -> Expected:
    """Return what must come of one shard's records and idle decisions, from its first on, in their order.

    Only windows that are due by the shard's watermark have rows, unless `close_all` says that the input has ended.
    Global windows have none here: `reference_combined` makes them of what several shards `contributed`.
    A record without partition key is misrouted only if `keys_required`: files may have none. Where the shard's
    `hash_range` is known, a record whose partition key hashes elsewhere is misrouted.
    `window_hash` gives the definition's hash that is part of the ids. ValueError if a record lacks the time the
    pipeline lives by.
    """
    state = ShardState(pipeline, shard, hash_range)
    interpreter = Interpreter(state, generation, window_hash, keys_required=keys_required)
    return interpreter.take_all(inputs, close_all=close_all)


@dataclass(frozen=True, slots=True)
class _Accepted:
    """An event without a fault.

    `arguments` holds the aggregates' arguments of each window whose `where` it passes; None if it is filtered.
    """

    time_ms: int
    values: dict[str, Value]
    arguments: dict[str, tuple[tuple[Value, ...], ...]] | None


class Interpreter:
    """Takes what comes in of one shard, which begins with a state; the state is then that of the shard's end."""

    def __init__(self, state: ShardState, generation: int, window_hash: WindowHash, *, keys_required: bool) -> None:
        self._state = state
        self._pipeline = state.pipeline
        self._keys_required = keys_required
        self._generation = generation
        self.window_hash = window_hash
        self._rows = RowMaker(state.pipeline, state.shard, generation, window_hash)
        self._position: Position | None = None
        self._arising: list[tuple[tuple[object, ...], Row, int]] = []
        self._expected = Expected(state.shard)

    @property
    def pipeline(self) -> Pipeline:
        """Return the pipeline of the present definitions."""
        return self._pipeline

    @property
    def state(self) -> ShardState:
        """Return what the shard keeps."""
        return self._state

    def copied(self) -> Interpreter:
        """Return one that goes on with a copy of the state."""
        state = copy.deepcopy(self._state)
        return Interpreter(state, self._generation, self.window_hash, keys_required=self._keys_required)

    def take_all(self, inputs: Iterable[Input], *, close_all: bool) -> Expected:
        """Take all, close all windows if asked to, and return what must come of it."""
        for item in inputs:
            if isinstance(item, Idle):
                self._idle(item)
            elif isinstance(item, Adoption):
                self.adopt(item)
            else:
                self._take(item)
        if close_all:
            self._close(math.inf)
            self._give_rows()
        return self._finish()

    def _take(self, record: Record) -> None:
        if record.sequence_number is not None:
            position = Position.of(record)
            if self._position is not None and position <= self._position:
                self._expected.replayed += 1
                return
            self._position = position
        self._expected.received += 1
        self._state.taken += 1
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

    def _idle(self, idle: Idle) -> None:
        self._advance(idle.now_ms - self._pipeline.events.out_of_orderness_ms)
        self._give_rows()

    def adopt(self, adoption: Adoption, takes: Callable[[Group], bool] = lambda _: True) -> None:
        """Go on by other definitions; of what is flushed, only the groups that `takes` names."""
        before = {self.window_hash(self._pipeline, window): n for n, window in enumerate(self._pipeline.windows)}
        after = [adoption.window_hash(adoption.pipeline, window) for window in adoption.pipeline.windows]
        for hash_, number in before.items():
            if hash_ in adoption.flushed and hash_ not in after:
                self._flush(number, takes)
        self._give_rows()
        self._state.adopt(adoption.pipeline, [before.get(hash_) for hash_ in after])
        self._pipeline, self.window_hash = adoption.pipeline, adoption.window_hash
        self._rows = RowMaker(self._pipeline, self._state.shard, self._generation, self.window_hash)

    def _flush(self, number: int, takes: Callable[[Group], bool]) -> None:
        for origin, groups in self._state.open[number].items():
            for key, span in groups.untold(lambda _: math.inf):
                if takes(Group(number, origin, key, span)):
                    self._result(Group(number, origin, key, span), math.inf)

    def _finish(self) -> Expected:
        self._expected.watermark_ms = self._state.watermark_ms
        self._expected.open_windows = [
            OpenWindow(
                self._pipeline.windows[group.number].name,
                group.span.start_ms,
                group.span.end_ms,
                group.key,
                len(group.span.events()),
            )
            for group in self._state.groups()
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
        """Tell whether the partition key is not the field's text, or is one of another shard."""
        field = self._pipeline.source.partition_key
        if field is None or field not in values or not any(window.aligned for window in self._pipeline.windows):
            return False
        if record.partition_key is None and not self._keys_required:
            return False
        if record.partition_key is None or record.partition_key != str(values[field]):
            return True
        hash_range = self._state.hash_range
        return hash_range is not None and not hash_range.holds(hash_key(record.partition_key))

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
        return opened > 0 and limits.policy == "reject" and self._state.count() + opened > limits.groups

    # -- step 5: windows

    def _put_into_windows(self, record: Record, event: _Accepted) -> None:
        assert event.arguments is not None
        for window in self._pipeline.windows:
            self._expected.outside[window.name] += window.name not in event.arguments
        for placed in self._placed(event):
            if self._is_late(placed):
                self._late(record, event.time_ms, placed)
                continue
            self._expected.in_windows[placed.window.name] += 1
            if not placed.replaced:
                self._make_room()
            placed.groups.replace(placed.key, placed.replaced, placed.span)
            if placed.groups.has_row(placed.span, placed.watermark_ms):
                origin = self._state.own_origin(placed.window)
                self._result(Group(placed.number, origin, placed.key, placed.span), placed.watermark_ms)

    def _placed(self, event: _Accepted) -> Iterator[_Placed]:
        """Return where the event goes, also where it is late; what was opened or emitted meanwhile counts."""
        assert event.arguments is not None
        for number, window in enumerate(self._pipeline.windows):
            if window.name not in event.arguments:
                continue
            groups = self._state.own_groups(number)
            key = tuple(_key_value(event.values[name.name]) for name in window.by)
            watermark_ms = self._state.watermark_of(number, key)
            in_window = Event(event.time_ms, self._state.taken, event.arguments[window.name])
            for alone in groups.bounds_alone(event.time_ms):
                span, replaced = groups.with_event(key, in_window, alone)
                if replaced and event.time_ms < replaced[0].start_ms:
                    late_alone = groups.is_late(Span(*alone, []), watermark_ms)
                    span.late_at_ms = int(watermark_ms) if late_alone else None
                yield _Placed(number, window, groups, key, watermark_ms, span, replaced)

    def _is_late(self, placed: _Placed) -> bool:
        return placed.groups.is_late(placed.span, placed.watermark_ms)

    def _make_room(self) -> None:
        """Emit early and drop the groups that end first, as long as one more would be too many."""
        limits = self._pipeline.limits
        while limits.policy == "emit_early" and self._state.count() >= limits.groups:
            group = min(self._state.groups(), key=lambda group: group.early_order(self._state.shard))
            self._result(group, self._state.watermark_of(group.number, group.key), early=True)
            self._state.open[group.number][group.origin].replace(group.key, [group.span], None)

    # -- step 6: the watermark, and what is due by it

    def _advance(self, watermark_ms: int) -> None:
        if self._state.watermark_ms is None or watermark_ms > self._state.watermark_ms:
            self._state.watermark_ms = watermark_ms
            self._close(watermark_ms)

    def _close(self, own_ms: float) -> None:
        """Give the rows that are due if the shard's own watermark is this, and drop what is kept no longer."""
        highest_ms = max(own_ms, self._state.floor_max())
        for number, origins in enumerate(self._state.open):
            watermark_of = partial(self._watermark_of, own_ms, number)
            for origin, groups in origins.items():
                if groups.nothing_before_ms > highest_ms:
                    continue
                for key, span in groups.untold(watermark_of):
                    self._result(Group(number, origin, key, span), watermark_of(key))
                groups.drop(watermark_of)
        self._forget_parts(own_ms)

    def _watermark_of(self, own_ms: float, number: int, key: Key) -> float:
        return max(own_ms, self._state.floor_of(number, key))

    def _forget_parts(self, own_ms: float) -> None:
        """Forget how often a group was emitted early when its window is dropped."""
        parts = self._state.parts
        still_open = {group.name for group in self._state.groups()} if parts else set()
        for name, part in list(parts.items()):
            lateness_ms = self._pipeline.windows[name.number].allowed_lateness_ms
            watermark_ms = self._watermark_of(own_ms, name.number, name.key)
            if name not in still_open and part.end_ms - 1 + lateness_ms <= watermark_ms:
                del parts[name]

    # -- rows

    def _result(self, group: Group, watermark_ms: float, *, early: bool = False) -> None:
        """Make the group's next row; `watermark_ms` is the one that counts for it after the record."""
        window, span = self._pipeline.windows[group.number], group.span
        if window.combined:
            self._contribute(window, group)
            return
        before = self._state.parts.get(group.name)
        part = before.next if before is not None else 0 if early else None
        dropped = span.end_ms - 1 + window.allowed_lateness_ms <= watermark_ms
        row = self._rows.result(
            window, group.origin, group.key, span, part, final=early or window.emit == "final" or dropped, early=early
        )
        self._arising.append((group.row_order(self._state.shard), row, len(span.events())))
        span.tell(self._rows.result_id(window, group.origin, group.key, span, part))
        if early:
            assert part is not None
            self._state.parts[group.name] = Part(part + 1, span.end_ms)

    def _contribute(self, window: Window, group: Group) -> None:
        """Leave the group's part to be combined; `drop` has it gone, for it is due when it is kept no longer."""
        assert group.origin is not None
        assert window.emit == "final"
        hash_, span = self.window_hash(self._pipeline, window), group.span
        part = Contributed(hash_, group.origin, span.start_ms, span.end_ms, group.key, span.history)
        self._expected.contributed.append(part)
        span.is_told = True

    def _give_rows(self) -> None:
        """Put the rows that arose from one record in order."""
        for _, row, events in sorted(self._arising, key=lambda arisen: arisen[0]):
            self._expected.rows.append(row)
            self._expected.row_events.append(events)
        self._arising.clear()

    def _late(self, record: Record, time_ms: int, placed: _Placed) -> None:
        self._expected.late_events[placed.window.name] += 1
        if self._pipeline.late is None:
            return
        bounds: Bounds = placed.span.start_ms, placed.span.end_ms
        row = self._rows.late(placed.window, bounds, record, time_ms, int(placed.watermark_ms))
        self._expected.late.append(row)

    def _dead_letter(self, record: Record, faults: list[str]) -> None:
        self._expected.dead_lettered[faults[0]] += 1
        if self._pipeline.dead_letter is not None:
            letter = DeadLetter(faults[0], frozenset(faults), self._rows.dead_letter(record))
            self._expected.dead_letters.append(letter)


@dataclass(frozen=True, slots=True)
class _Placed:
    """Where an event goes in a window: the span with it, and the open ones that it takes the place of.

    `watermark_ms` is the one before the event that counts for its group.
    """

    number: int
    window: Window
    groups: OpenGroups
    key: Key
    watermark_ms: float
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
