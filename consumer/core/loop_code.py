"""The generated loop: `apply(core, records)`.

For each record, in this order (every rule of the watermark and of late events stands here and nowhere else):
  1. read; check partition key and time; evaluate lets, filters and arguments; see that there is room for the groups
     it would open; any fault makes a dead letter, which touches no window and moves no watermark;
  2. put the event into its windows; one that is dropped by the watermark before the event calls it late; one that has
     ended by it, and is kept for late events, gives a row at once;
  3. advance the watermark to the event's time less the bound, never backwards;
  4. close what is due. If that is more than is asked for at once, stop after this record.
Names: `v_x` is the field or `let` x, `t1, t2, ...` are intermediate values, `time_ms` is the event's time,
`watermark_ms` the shard's, `counts_ms` the one that counts for the record in aligned windows (another one only where
there are floors), `due_ms` a watermark below which nothing is due.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from itertools import groupby
from typing import Any

from consumer.core.accumulators import Accumulators
from consumer.core.decode import attribute
from consumer.core.expressions import Emitter, local
from consumer.core.group_code import gives_updates, keeper_of
from consumer.core.times import MAX_TIME_MS, MIN_TIME_MS, epoch_ms_source
from consumer.pipeline.canonical import names_in
from consumer.pipeline.model import (
    Expression,
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

CHUNK = 64
"""How many records are read at once: few enough to stay in the processor's cache."""


class LoopCode:
    """Writes `apply`.

    `keys_required`: where a window is aligned, a record without partition key is misrouted. `floors`: write instead
    `apply_above_floors`, the slower loop of a shard that has floors (resharding.py): records of different keys may have
    different watermarks, so nothing that was found out for one holds for the next.
    """

    def __init__(
        self,
        emit: Emitter,
        pipeline: Pipeline,
        accumulators: list[Accumulators],
        *,
        keys_required: bool,
        floors: bool = False,
    ) -> None:
        self._emit = emit
        self._pipeline = pipeline
        self._windows = pipeline.windows
        self._accumulators = accumulators
        self._aligned = any(window.aligned for window in pipeline.windows)
        self._keys_required = keys_required
        self._floors = floors and self._aligned
        self._evicts = pipeline.limits.policy == "emit_early"
        self._ordinal = any(each.needs_ordinal for each in accumulators)
        self._keeper = keeper_of(pipeline)
        self._values: dict[int, list[str]] = {}

    def emit(self) -> None:
        """Write it."""
        emit = self._emit
        with emit.block(f"def {'apply_above_floors' if self._floors else 'apply'}(core, records):"):
            emit.line("watermark_ms = core.watermark_ms")
            emit.line("due_ms = core.due_ms()")
            emit.line("room = core.room")
            emit.line("filtered = 0")
            emit.line(f"newest_ms = watermark_ms + {self._pipeline.events.out_of_orderness_ms}")
            if self._aligned:
                emit.line("routing = core.routing")
                emit.line("own_keys = None if routing is None else routing.known")
            if self._ordinal:
                emit.line("ordinal = core.ordinal")
            for number, window in enumerate(self._windows):
                emit.line(f"windows{number} = core.windows[{number}]")
                if isinstance(window.kind, Session | Stagger):
                    emit.line(f"dirty{number}, turn{number} = windows{number}.dirty, windows{number}.turn")
                    emit.line(f"get{number} = windows{number}.groups.get")
            self._forget_panes()
            with emit.block(f"for first in range(0, len(records), {CHUNK}):"):
                emit.line(f"chunk = records[first:first + {CHUNK}]")
                with emit.block("for record, event in zip(chunk, read(chunk)):"):
                    self._record()
                with emit.block("else:"):
                    emit.line("continue")
                emit.line("taken = first + core.number_in(chunk, record)")
                emit.line("break")
            with emit.block("else:"):
                emit.line("taken = len(records)")
            emit.line("core.watermark_ms = watermark_ms")
            emit.line("core.counts.filtered += filtered")
            emit.line("return taken")

    def _forget_panes(self) -> None:
        for number, window in enumerate(self._windows):
            leads = isinstance(window.kind, Tumbling) and number == self._leader(number)
            if leads or (isinstance(window.kind, Sliding) and not self._evicts):
                self._emit.line(f"start{number}_ms = end{number}_ms = 0")
            if leads:
                self._emit.line(f"panes{number} = {{}}")

    def _record(self) -> None:
        emit = self._emit
        if self._ordinal:
            emit.line("ordinal += 1")
        if self._evicts or self._floors:
            emit.line("rows_before = len(core.rows)")
        if self._floors:
            self._forget_panes()
        with emit.block("if event.__class__ is Fault:"):
            emit.line("core.dead_letter(record, event)")
            emit.line("continue")
        with emit.block("try:"):
            self._fields()
            self._check()
            self._evaluate()
        with emit.block("except Fault as fault:"):
            emit.line("core.dead_letter(record, fault)")
            emit.line("continue")
        with self._kept("keep" if self._pipeline.where is not None else None):
            self._put()
        if self._pipeline.where is not None:
            with emit.block("else:"):
                emit.line("filtered += 1")
        self._advance()

    def _advance(self) -> None:
        emit, bound_ms = self._emit, self._pipeline.events.out_of_orderness_ms
        with emit.block("if time_ms > newest_ms:"):
            emit.line(f"newest_ms, watermark_ms = time_ms, time_ms - {bound_ms}")
            with emit.block("if watermark_ms >= due_ms:"):
                emit.line("due_ms = core.close(watermark_ms)")
                self._forget_panes()
                self._order_rows()
                with emit.block("if watermark_ms >= due_ms:"):
                    emit.line("break")
        self._order_rows()

    def _order_rows(self) -> None:
        if self._evicts or self._floors:
            self._emit.line("core.order_rows(rows_before)")

    @contextmanager
    def _kept(self, condition: str | None) -> Iterator[None]:
        """Write what follows under a condition, if there is one."""
        if condition is None:
            yield
            return
        with self._emit.block(f"if {condition}:"):
            before = len(self._emit.lines)
            yield
            if len(self._emit.lines) == before:
                self._emit.line("pass")

    # Step 1

    def _fields(self) -> None:
        emit = self._emit
        used = self._used_names()
        for field in self._pipeline.events.fields:
            if field.name in used or field.type is Type.TIMESTAMP:
                emit.line(f"{local(field.name)} = event.{attribute(field.name)}")
            if field.type is Type.TIMESTAMP:
                self._timestamp(field.name, field.unit, nullable=field.nullable)

    def _timestamp(self, name: str, unit: TimeUnit, *, nullable: bool) -> None:
        emit, value = self._emit, local(name)
        with emit.block(f"if {value}.__class__ is str:"):
            with emit.block("try:"):
                emit.line(f"second, _, fraction = {value}.partition('.')")
                emit.line(f"{value} = seconds_ms[second] + fraction_ms[fraction]")
            with emit.block("except KeyError:"):
                emit.line(f"{value} = text_time({name!r}, {value}, read_time)")
        with emit.block(f"elif {value} is not None:" if nullable else "else:"):
            if unit is not TimeUnit.MILLISECONDS:
                emit.line(f"{value} = {epoch_ms_source(value, unit)}")
            with emit.block(f"if not {MIN_TIME_MS} <= {value} <= {MAX_TIME_MS}:"):
                emit.line(f"check_time({name!r}, {value})")

    def _used_names(self) -> set[str]:
        """Return what expressions, keys and checks refer to."""
        pipeline = self._pipeline
        roots: list[Expression | None] = [let.expression for let in pipeline.lets]
        roots.append(pipeline.where)
        for window in pipeline.windows:
            roots += [window.where, *window.by, *(each for column in window.select for each in column.arguments)]
        names = set().union(*(names_in(root) for root in roots if root is not None))
        return names | {pipeline.events.time or "", (pipeline.source.partition_key or "") if self._aligned else ""}

    def _check(self) -> None:
        emit, pipeline = self._emit, self._pipeline
        if self._aligned:
            assert pipeline.source.partition_key is not None
            key = local(pipeline.source.partition_key)
            fields = {field.name: field for field in pipeline.events.fields}
            text = key if fields[pipeline.source.partition_key].type is Type.STRING else f"str({key})"
            known = "" if self._keys_required else " and record.partition_key is not None"
            with emit.block(f"if record.partition_key != {text}{known}:"):
                emit.line("raise Fault(faults.MISROUTED, 'the partition key is not the text of its field')")
            elsewhere = f"own_keys is not None and {text} not in own_keys and not routing.belongs({text})"
            if self._keeper is not None:
                emit.line(f"group{self._keeper} = get{self._keeper}({key})")
                elsewhere = f"group{self._keeper} is None and {elsewhere}"
            with emit.block(f"if {elsewhere}:"):
                emit.line("raise Fault(faults.MISROUTED, \"the partition key's hash is outside the shard's range\")")
            if self._floors:
                emit.line(f"counts_ms = max(watermark_ms, core.floors.of({text}))")
        if pipeline.events.time is None:
            emit.line("time_ms = record.arrival_ms")
            return
        emit.line(f"time_ms = {local(pipeline.events.time)}")
        if pipeline.events.max_future_ms is not None:
            emit.line("arrival_ms = record.arrival_ms")
            # Few events are ahead at all: the comparison spares the others the sum.
            ahead = f"time_ms > arrival_ms and time_ms > arrival_ms + {pipeline.events.max_future_ms}"
            with emit.block(f"if arrival_ms is not None and {ahead}:"):
                emit.line("raise Fault(faults.FUTURE_TIMESTAMP, 'ahead of its arrival by more than max_future')")

    def _evaluate(self) -> None:
        """Write lets, the filters, all arguments, and whether there is room."""
        emit = self._emit
        for let in self._pipeline.lets:
            emit.line(f"{local(let.name)} = {emit.value(let.expression)}")
        if self._pipeline.where is None:
            self._arguments()
            self._room()
            return
        emit.line(f"keep = {emit.condition(self._pipeline.where)}")
        with self._kept("keep"):
            self._arguments()
            self._room()

    def _arguments(self) -> None:
        known: dict[Any, str] = {}
        for number, window in enumerate(self._windows):
            arguments = self._accumulators[number].arguments
            if window.where is None:
                known |= {each: self._emit.value(each) for each in arguments if each not in known}
                self._values[number] = [known[each] for each in arguments]
        for number, window in enumerate(self._windows):
            if window.where is None:
                continue
            self._emit.line(f"keep{number} = {self._emit.condition(window.where)}")
            own = dict(known)
            with self._kept(f"keep{number}"):
                for each in self._accumulators[number].arguments:
                    if each not in own:
                        own[each] = self._emit.value(each)
            self._values[number] = [own[each] for each in self._accumulators[number].arguments]

    def _room(self) -> None:
        """Write the checks that refuse a record for what it would open or add."""
        emit = self._emit
        for number, accumulators in enumerate(self._accumulators):
            if accumulators.refusals():
                with self._kept(self._condition(number)), emit.block(f"for groups in {self._joins(number)}:"):
                    accumulators.emit_refusal(emit, self._values[number])
        if self._evicts:
            return
        with emit.block(f"if room.left < {sum(map(_groups_max, self._windows))}:"):
            emit.line("opened = 0")
            for number in range(len(self._windows)):
                with self._kept(self._condition(number)):
                    emit.line(f"opened += {self._joins(number)}.count([])")
            with emit.block("if opened > max(room.left, 0):"):
                emit.line("raise Fault(faults.STATE_LIMIT, 'it would open more groups than limits.groups')")

    def _joins(self, number: int) -> str:
        return f"windows{number}.joins({_key(self._windows[number])}, time_ms, {self._watermark(number)})"

    def _watermark(self, number: int) -> str:
        """Return the name of the watermark that counts in a window."""
        return "counts_ms" if self._floors and self._windows[number].aligned else "watermark_ms"

    def _condition(self, number: int) -> str | None:
        return None if self._windows[number].where is None else f"keep{number}"

    # Step 2

    def _leader(self, number: int) -> int:
        """Return the first of the neighbouring tumbling windows that share this one's edges: one look serves all."""
        span = self._span(number)
        while number > 0 and span is not None and self._span(number - 1) == span:
            number -= 1
        return number

    def _span(self, number: int) -> object:
        """Return what decides where a tumbling window's panes begin, end, and are late; None for other windows."""
        window = self._windows[number]
        if not isinstance(window.kind, Tumbling):
            return None
        return window.kind, window.allowed_lateness_ms, window.emit, self._watermark(number)

    def _put(self) -> None:
        for leader, numbers in groupby(range(len(self._windows)), key=self._leader):
            kind = self._windows[leader].kind
            if isinstance(kind, Tumbling):
                self._tumbling(leader, list(numbers))
            elif isinstance(kind, Sliding):
                self._sliding(leader)
            else:
                self._keyed(leader, kind)

    def _tumbling(self, leader: int, numbers: list[int]) -> None:
        emit, window = self._emit, self._windows[leader]
        start, end, watermark = f"start{leader}_ms", f"end{leader}_ms", self._watermark(leader)
        emit.line(f"# {', '.join(self._windows[number].name for number in numbers)}")
        with emit.block(f"if not {start} <= time_ms < {end}:"):
            emit.line(f"{start}, {end} = windows{leader}.bounds(time_ms)")
            emit.line(f"met = panes{leader}.get({start})")
            with emit.block("if met is not None:"):
                emit.line(f"{self._pane_names(numbers)} = met")
            with emit.block(f"elif {end} + {window.allowed_lateness_ms - 1} <= {watermark}:"):
                for number in numbers:
                    with self._kept(self._condition(number)):
                        emit.line(f"core.late(record, {number}, {start}, {end}, time_ms, {watermark})")
                emit.line(f"{end}, get{leader} = {start}, None")
            with emit.block("else:"):
                for number in numbers:
                    emit.line(f"pane{number} = windows{number}.pane({start}, {end})")
                    emit.line(f"dirty{number}, clean{number} = pane{number}.dirty, pane{number}.clean")
                    emit.line(f"get{number} = dirty{number}.get")
                emit.line(f"panes{leader}[{start}] = {self._pane_names(numbers)}")
                emit.line(f"due_ms = min(due_ms, windows{leader}.due_ms())")
        with emit.block(f"if get{leader} is not None:"):
            for number in numbers:
                with self._kept(self._condition(number)):
                    self._group_of_pane(number, [f"windows{number}.opened(pane{number}, key)"] if self._evicts else [])
                    self._accumulators[number].emit_add(emit, self._values[number])
                    if gives_updates(window):
                        with emit.block(f"if {end} - 1 <= {watermark}:"):
                            emit.line(f"core.update({number}, key, group, {start}, {end})")

    def _pane_names(self, numbers: list[int]) -> str:
        """Return what is kept at hand of the panes that events were in since the last close: they come to and fro."""
        names = ("pane", "dirty", "clean", "get") if self._evicts else ("dirty", "clean", "get")
        return ", ".join(f"{name}{number}" for number in numbers for name in names)

    def _group_of_pane(self, number: int, opened: list[str]) -> None:
        """Write how the group of an event is found in a pane, or opened; `opened` is what else is to be done then."""
        emit = self._emit
        emit.line(f"key = {_key(self._windows[number])}")
        emit.line(f"group = get{number}(key)")
        with emit.block("if group is None:"):
            emit.line(f"group = clean{number}.pop(key, None)")
            with emit.block("if group is None:"):
                if self._evicts:
                    emit.line("core.make_room()")
                emit.line(f"group = Group{number}()")
                if isinstance(self._windows[number].kind, Tumbling):
                    emit.line("room.left -= 1")
                for line in opened:
                    emit.line(line)
            emit.line(f"dirty{number}[key] = group")

    def _sliding(self, number: int) -> None:
        emit, window, watermark = self._emit, self._windows[number], self._watermark(number)
        emit.line(f"# {window.name}")
        with self._kept(self._condition(number)):
            if self._evicts:
                self._sliding_apart(number)
                return
            bounds = f"start{number}_ms, end{number}_ms, first{number}_ms, last{number}_ms"
            with emit.block(f"if not start{number}_ms <= time_ms < end{number}_ms:"):
                emit.line(f"{bounds} = windows{number}.bounds(time_ms)")
                emit.line(f"dirty{number} = None")
            self._late_for_some(number, f"first{number}_ms <= {watermark}")
            with emit.block(f"if last{number}_ms > {watermark}:"):
                with emit.block(f"if dirty{number} is None:"):
                    emit.line(f"pane{number} = windows{number}.pane(start{number}_ms)")
                    emit.line(f"dirty{number}, clean{number} = pane{number}.dirty, pane{number}.clean")
                    emit.line(f"get{number} = dirty{number}.get")
                self._group_of_pane(
                    number,
                    [
                        f"windows{number}.opened(start{number}_ms, key, {watermark})",
                        f"due_ms = min(due_ms, windows{number}.due_ms())",
                    ],
                )
                self._accumulators[number].emit_add(emit, self._values[number])
                if gives_updates(window):
                    ended = f"if first{number}_ms - {window.allowed_lateness_ms} <= {watermark}:"
                    with (
                        emit.block(ended),
                        emit.block(f"for due in windows{number}.updates(key, time_ms, {watermark}):"),
                    ):
                        emit.line(f"core.revise({number}, due)")

    def _late_for_some(self, number: int, condition: str) -> None:
        kind, watermark = self._windows[number].kind, self._watermark(number)
        assert isinstance(kind, Sliding)
        loop = f"for start_ms in windows{number}.late(time_ms, {watermark}):"
        with self._emit.block(f"if {condition}:"), self._emit.block(loop):
            end = f"start_ms + {kind.size_ms}"
            self._emit.line(f"core.late(record, {number}, start_ms, {end}, time_ms, {watermark})")

    def _sliding_apart(self, number: int) -> None:
        emit, window, watermark = self._emit, self._windows[number], self._watermark(number)
        self._late_for_some(number, f"time_ms <= {watermark}")
        emit.line(f"key = {_key(window)}")
        with emit.block(f"for group, start_ms in windows{number}.place(key, time_ms, {watermark}):"):
            emit.line("pass")
            self._accumulators[number].emit_add(emit, self._values[number])
            if gives_updates(window):
                assert isinstance(window.kind, Sliding)
                with emit.block(f"if start_ms + {window.kind.size_ms - 1} <= {watermark}:"):
                    emit.line(f"core.revise({number}, windows{number}.update(key, start_ms))")
        emit.line(f"due_ms = min(due_ms, windows{number}.due_ms())")

    def _keyed(self, number: int, kind: Session | Stagger) -> None:
        emit, window, watermark = self._emit, self._windows[number], self._watermark(number)
        emit.line(f"# {window.name}")
        with self._kept(self._condition(number)):
            emit.line(f"key = {_key(window)}")
            emit.line(f"group = group{number}" if number == self._keeper else f"group = get{number}(key)")
            with emit.block(f"if group.__class__ is Group{number} and {_stays_one(kind)}:"):
                with emit.block(f"if group.turn is not turn{number}:"):
                    emit.line(f"group.turn, dirty{number}[key] = turn{number}, group")
                if isinstance(kind, Session):
                    with emit.block("if time_ms > group.last_ms:"):
                        emit.line("group.last_ms = time_ms")
            with emit.block("else:"):
                if self._evicts:
                    with emit.block(f"if [] in windows{number}.joins(key, time_ms, {watermark}):"):
                        emit.line("core.make_room()")
                emit.line(f"group = windows{number}.place(key, time_ms, {watermark})")
                end = f"time_ms + {_alone_ms(kind)}"
                with emit.block("if group is None:"):
                    emit.line(f"core.late(record, {number}, time_ms, {end}, time_ms, {watermark})")
                with emit.block("else:"):
                    emit.line(f"due_ms = min(due_ms, windows{number}.due_ms())")
            self._add_keyed(number)

    def _add_keyed(self, number: int) -> None:
        emit, window, watermark = self._emit, self._windows[number], self._watermark(number)
        with emit.block("if group is not None:"):
            emit.line("pass")
            self._accumulators[number].emit_add(emit, self._values[number])
            if gives_updates(window):
                with emit.block("if not group.pending:"):
                    emit.line(f"windows{number}.change(key, group)")
                emit.line(f"end_ms = windows{number}.end_ms(group)")
                with emit.block(f"if end_ms - 1 <= {watermark}:"):
                    emit.line(f"core.update({number}, key, group, group.first_ms, end_ms)")
                with emit.block("else:"):
                    emit.line(f"due_ms = min(due_ms, windows{number}.due_ms())")


def _alone_ms(kind: Session | Stagger) -> int:
    return kind.gap_ms if isinstance(kind, Session) else kind.size_ms


def _stays_one(kind: Session | Stagger) -> str:
    """Return the condition under which an event changes nothing but the end of a key's only group."""
    if isinstance(kind, Stagger):
        return f"group.first_ms <= time_ms < group.first_ms + {kind.size_ms}"
    fits = "" if kind.max_length_ms is None else f" and time_ms - group.first_ms <= {kind.max_length_ms}"
    return f"group.first_ms <= time_ms <= group.last_ms + {kind.gap_ms}{fits}"


def _groups_max(window: Window) -> int:
    """Return how many groups of a window one event can open."""
    return -(-window.kind.size_ms // window.kind.every_ms) if isinstance(window.kind, Sliding) else 1


def _key(window: Window) -> str:
    parts = [_key_part(name) for name in window.by]
    return parts[0] if len(parts) == 1 else f"({''.join(f'{part}, ' for part in parts)})"


def _key_part(name: Name) -> str:
    """Return the source of a part of a group's key; -0.0 is the same group as 0.0."""
    value = local(name.name)
    if name.type is not Type.FLOAT:
        return value
    return f"({value} + 0.0 if {value} is not None else None)" if name.nullable else f"({value} + 0.0)"
