"""A pipeline compiled into Python: one loop over the records of a batch, with everything inlined.

The generated module has, in this order: a group class, a merge, a row, a pack and an unpack function for each
window, then `apply(core, records)`. Names in it: `v_x` is the field or `let` x, `t1, t2, ...` are intermediate values,
`time_ms` is the event's time, `watermark_ms` the shard's, `due_ms` the lowest watermark at which something closes.

For each record, in this order (every rule of the watermark and of late events stands here and nowhere else):
  1. decode; check partition key and time; evaluate lets, filter and arguments; any fault makes a dead letter, which
     touches no window and moves no watermark;
  2. put the event into its windows; a window that is due by the watermark before the event calls it late;
  3. advance the watermark to the event's time less the bound, never backwards;
  4. close what is due.
"""

from __future__ import annotations

import linecache
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import msgspec

from consumer.core import faults, functions
from consumer.core.accumulators import Accumulators, text_of
from consumer.core.decode import (
    DEPTH_MAX,
    UNDECODABLE,
    attribute,
    check_time,
    event_type,
    inspect,
    rereader,
    text_time,
)
from consumer.core.expressions import Emitter, local
from consumer.core.ids import result_id
from consumer.core.times import FRACTION_MS, MAX_TIME_MS, MIN_TIME_MS, TimeReader, format_time
from consumer.core.windows import Closed, Group, Key, SessionWindows, TumblingWindows, Windows
from consumer.pipeline.definitions import definitions_hash, window_hash
from consumer.pipeline.model import Apply, Name, Pipeline, Session, Tumbling, Type, Window
from consumer.records import Record, Row

if TYPE_CHECKING:
    from consumer.core.processor import Core

_BIG = 1
"""Code of the msgpack extension for ints beyond 64 bits: their decimal text."""


@dataclass(frozen=True, slots=True)
class WindowProgram:
    """The generated functions of one window.

    `pack` makes a list of plain values of a key and a group, `unpack` the pair again. `row` takes the core, the key,
    the group, and the window's start and end.
    """

    window: Window
    hash: str
    open: Callable[[], Windows]
    order: Callable[[Closed], Any]
    row: Callable[[Core, Key, Group, int, int], Row]
    pack: Callable[[Key, Group], list[Any]]
    unpack: Callable[[list[Any]], tuple[Key, Group]]
    pack_key: Callable[[Key], list[Any]]
    unpack_key: Callable[[list[Any]], Key]


@dataclass(frozen=True, slots=True)
class Program:
    """A compiled pipeline: shared by all shards, holds no state. `source` is the generated module's text."""

    pipeline: Pipeline
    definitions: str
    source: str
    windows: tuple[WindowProgram, ...]
    apply: Callable[[Core, Sequence[Record]], None]


def compile_pipeline(pipeline: Pipeline, *, check_alignment: bool = True) -> Program:
    """Compile a checked pipeline.

    `check_alignment`: where a window is aligned, a record whose partition key is not the text of its field is
    misrouted. Off for inputs that have no partition keys.
    """
    event = event_type(pipeline.events.fields)
    read_time = TimeReader()
    constants: dict[str, Any] = {
        "UNDECODABLE": UNDECODABLE,
        "Fault": faults.Fault,
        "Row": Row,
        "decode": msgspec.json.Decoder(event).decode,
        "reread": rereader(event, pipeline.events.fields),
        "inspect": inspect,
        "read_time": read_time,
        "seconds_ms": read_time.seconds_ms,
        "fraction_ms": FRACTION_MS,
        "text_time": text_time,
        "check_time": check_time,
        "functions": functions,
        "faults": faults,
        "format_time": format_time,
        "encode": msgspec.json.Encoder().encode,
        "result_id": result_id,
        "big": _big,
    }
    emit = Emitter(constants)
    hashes = [window_hash(pipeline, window) for window in pipeline.windows]
    accumulators = [Accumulators(window) for window in pipeline.windows]
    for number, window in enumerate(pipeline.windows):
        _emit_window(emit, pipeline, number, window, hashes[number], accumulators[number])
    _Loop(emit, pipeline, accumulators, check_alignment=check_alignment).emit()
    source = "\n".join(emit.lines) + "\n"
    _execute(pipeline.name, source, constants)
    windows = tuple(
        _window_program(number, window, hashes[number], constants) for number, window in enumerate(pipeline.windows)
    )
    return Program(pipeline, definitions_hash(pipeline), source, windows, constants["apply"])


def _execute(name: str, source: str, namespace: dict[str, Any]) -> None:
    """Run the module; tracebacks and debuggers find its lines through linecache."""
    filename = f"<streamgauge {name}>"
    linecache.cache[filename] = (len(source), None, source.splitlines(keepends=True), filename)
    exec(compile(source, filename, "exec"), namespace)  # noqa: S102 - our own text; user text never enters it raw


def _window_program(number: int, window: Window, hash_: str, made: dict[str, Any]) -> WindowProgram:
    kind = window.kind
    if isinstance(kind, Tumbling):
        size_ms = kind.size_ms

        def opened() -> Windows:
            return TumblingWindows(size_ms)
    else:
        gap_ms = kind.gap_ms

        def opened() -> Windows:
            return SessionWindows(gap_ms, made[f"Group{number}"], made[f"merge{number}"])

    single = len(window.by) == 1
    return WindowProgram(
        window=window,
        hash=hash_,
        open=opened,
        order=_order_one if single else _order_many,
        row=made[f"row{number}"],
        pack=made[f"pack{number}"],
        unpack=made[f"unpack{number}"],
        pack_key=_pack_one if single else _pack_many,
        unpack_key=_unpack_one if single else tuple,
    )


def _pack_one(key: Key) -> list[Any]:
    return [key]


def _pack_many(key: Any) -> list[Any]:
    return list(key)


def _unpack_one(values: list[Any]) -> Key:
    key: Key = values[0]
    return key


def _order_one(closed: Closed) -> Any:
    """Order by end, start, then key: null first."""
    return closed.end_ms, closed.start_ms, closed.key is not None, closed.key


def _order_many(closed: Closed) -> Any:
    key: Any = closed.key
    return closed.end_ms, closed.start_ms, [(part is not None, part) for part in key]


def _big(value: int | None) -> int | msgspec.msgpack.Ext | None:
    if value is None or functions.INT_MIN <= value <= functions.INT_MAX:
        return value
    return msgspec.msgpack.Ext(_BIG, str(value).encode())


def restore_big(code: int, data: memoryview) -> int:
    """Read the msgpack extension for ints beyond 64 bits."""
    assert code == _BIG, code
    return int(bytes(data))


def _emit_window(
    emit: Emitter, pipeline: Pipeline, number: int, window: Window, hash_: str, accumulators: Accumulators
) -> None:
    session = isinstance(window.kind, Session)
    attributes = [*(["first_ms", "last_ms"] if session else []), *accumulators.attributes()]
    with emit.block(f"class Group{number}:"):
        emit.line(f'"""A group of {window.name}."""')
        emit.line(f"__slots__ = {tuple(attributes)!r}")
        with emit.block("def __init__(self):"):
            for name in accumulators.attributes():
                emit.line(f"self.{name} = {accumulators.initial(name)}")
    emit.line("")
    if session:
        with emit.block(f"def merge{number}(group, later):"):
            emit.line("pass" if not accumulators.slots else f'"""Add a later session of {window.name}."""')
            accumulators.emit_merge(emit)
        emit.line("")
    _emit_row(emit, pipeline, number, window, hash_, accumulators)
    _emit_packing(emit, number, window, attributes, accumulators.int_sums())


def _key_names(window: Window) -> list[str]:
    return [f"k{number}" for number in range(len(window.by))]


def _unpacking(window: Window) -> str:
    names = _key_names(window)
    return names[0] if len(names) == 1 else f"({', '.join(names)},)" if names else ""


def _emit_row(
    emit: Emitter, pipeline: Pipeline, number: int, window: Window, hash_: str, accumulators: Accumulators
) -> None:
    names = _key_names(window)
    origin = "None" if window.aligned else "core.shard"
    with emit.block(f"def row{number}(core, key, group, start_ms, end_ms):"):
        if names:
            emit.line(f"{_unpacking(window)} = key")
        id_arguments = f"{pipeline.name!r}, core.generation, {hash_!r}, ({''.join(f'{n}, ' for n in names)}), start_ms"
        with emit.block(f"return Row({window.name!r}, encode({{"):
            emit.line(f"'id': result_id({id_arguments}, 0, None, {origin}),")
            emit.line(f"'pipeline': {pipeline.name!r},")
            emit.line(f"'window': {window.name!r},")
            emit.line("'window_start': format_time(start_ms),")
            emit.line("'window_end': format_time(end_ms),")
            for name, column in zip(names, window.by, strict=True):
                emit.line(f"{column.name!r}: {text_of(name, column.type, nullable=column.nullable)},")
            for aggregate in window.select:
                emit.line(f"{aggregate.name!r}: {accumulators.result(aggregate)},")
            emit.line("'revision': 0,")
            emit.line("'final': True,")
            if not window.aligned:
                emit.line("'shard': core.shard,")
                emit.line("'partial': True,")
        emit.line("}))")
    emit.line("")


def _emit_packing(emit: Emitter, number: int, window: Window, attributes: list[str], int_sums: list[str]) -> None:
    names = _key_names(window)
    values = [f"big(group.{name})" if name in int_sums else f"group.{name}" for name in attributes]
    with emit.block(f"def pack{number}(key, group):"):
        if names:
            emit.line(f"{_unpacking(window)} = key")
        emit.line(f"return [{', '.join([*names, *values])}]")
    emit.line("")
    with emit.block(f"def unpack{number}(values):"):
        emit.line(f"group = Group{number}()")
        emit.line(f"[{', '.join([*names, *(f'group.{name}' for name in attributes)])}] = values")
        key = names[0] if len(names) == 1 else f"({''.join(f'{name}, ' for name in names)})"
        emit.line(f"return {key}, group")
    emit.line("")


class _Loop:
    """Writes `apply`."""

    def __init__(
        self, emit: Emitter, pipeline: Pipeline, accumulators: list[Accumulators], *, check_alignment: bool
    ) -> None:
        self._emit = emit
        self._pipeline = pipeline
        self._accumulators = accumulators
        self._start_is_of: tuple[int, int] | None = None
        self._aligned = check_alignment and any(window.aligned for window in pipeline.windows)

    def emit(self) -> None:
        emit = self._emit
        with emit.block("def apply(core, records):"):
            emit.line("watermark_ms = core.watermark_ms")
            emit.line("due_ms = core.due_ms()")
            emit.line("filtered = size_bytes = 0")
            for number, window in enumerate(self._pipeline.windows):
                emit.line(f"windows{number} = core.windows[{number}]")
                if isinstance(window.kind, Tumbling):
                    emit.line(f"pane{number}_ms = None")
                else:
                    emit.line(f"dirty{number}, clean{number} = windows{number}.dirty, windows{number}.clean")
            with emit.block("for record in records:"):
                self._record()
            emit.line("core.watermark_ms = watermark_ms")
            emit.line("core.counts.filtered += filtered")
            emit.line("core.size_bytes = size_bytes")

    def _record(self) -> None:
        emit = self._emit
        with emit.block("try:"):
            self._decode()
            self._check()
            values = self._evaluate()
        with emit.block("except Fault as fault:"):
            emit.line("core.dead_letter(record, fault)")
            emit.line("continue")
        if self._pipeline.where is not None:
            with emit.block("if keep:"):
                self._windows(values)
            with emit.block("else:"):
                emit.line("filtered += 1")
        else:
            self._windows(values)
        bound_ms = self._pipeline.events.out_of_orderness_ms
        with emit.block(f"if time_ms - {bound_ms} > watermark_ms:"):
            emit.line(f"watermark_ms = time_ms - {bound_ms}")
            with emit.block("if watermark_ms >= due_ms:"):
                emit.line("due_ms = core.close(watermark_ms)")
                for number, window in enumerate(self._pipeline.windows):
                    if isinstance(window.kind, Tumbling):
                        emit.line(f"pane{number}_ms = None")

    def _decode(self) -> None:
        emit, events = self._emit, self._pipeline.events
        emit.line("data = record.data")
        # Levels of arrays alone take two bytes each, levels of objects alone take five.
        nested = f'size > {2 * DEPTH_MAX} and (size > {5 * DEPTH_MAX} or b"[" in data) and {_MANY_BRACKETS}'
        emit.line("size = len(data)")
        emit.line("size_bytes += size")
        with emit.block(f"if not data.isascii() or size > {events.max_bytes} or {nested}:"):
            emit.line(f"inspect(data, {events.max_bytes})")
        with emit.block("try:"):
            emit.line("event = decode(data)")
        with emit.block("except UNDECODABLE:"):
            emit.line(f"inspect(data, {events.max_bytes})")
            emit.line("event = reread(data)")
        used = self._used_names()
        for field in events.fields:
            if field.name in used or field.type is Type.TIMESTAMP:
                emit.line(f"{local(field.name)} = event.{attribute(field.name)}")
            if field.type is Type.TIMESTAMP:
                self._timestamp(field.name, nullable=field.nullable)

    def _timestamp(self, name: str, *, nullable: bool) -> None:
        emit, value = self._emit, local(name)
        with emit.block(f"if {value}.__class__ is str:"):
            with emit.block("try:"):
                emit.line(f"{value} = seconds_ms[{value}[:20]] + fraction_ms[{value}[20:]]")
            with emit.block("except KeyError:"):
                emit.line(f"{value} = text_time({name!r}, {value}, read_time)")
        present = f"{value} is not None and " if nullable else ""
        with emit.block(f"elif {present}not {MIN_TIME_MS} <= {value} <= {MAX_TIME_MS}:"):
            emit.line(f"check_time({name!r}, {value})")

    def _used_names(self) -> set[str]:
        """Return what expressions, keys and checks refer to."""
        pipeline = self._pipeline
        roots: list[Any] = [let.expression for let in pipeline.lets]
        roots += [] if pipeline.where is None else [pipeline.where]
        for window in pipeline.windows:
            roots += [*window.by, *(a.argument for a in window.select if a.argument is not None)]
        names = set().union(*(names_in(root) for root in roots))
        names |= {pipeline.events.time or "", (pipeline.source.partition_key or "") if self._aligned else ""}
        return names

    def _check(self) -> None:
        emit, pipeline = self._emit, self._pipeline
        if self._aligned:
            assert pipeline.source.partition_key is not None
            key = local(pipeline.source.partition_key)
            fields = {field.name: field for field in pipeline.events.fields}
            text = key if fields[pipeline.source.partition_key].type is Type.STRING else f"str({key})"
            with emit.block(f"if record.partition_key != {text}:"):
                emit.line("raise Fault(faults.MISROUTED, 'the partition key is not the text of its field')")
        if pipeline.events.time is None:
            emit.line("time_ms = record.arrival_ms")
            return
        emit.line(f"time_ms = {local(pipeline.events.time)}")
        if pipeline.events.max_future_ms is not None:
            emit.line("arrival_ms = record.arrival_ms")
            with emit.block(f"if arrival_ms is not None and time_ms > arrival_ms + {pipeline.events.max_future_ms}:"):
                emit.line("raise Fault(faults.FUTURE_TIMESTAMP, 'ahead of its arrival by more than max_future')")

    def _evaluate(self) -> list[list[str]]:
        """Write lets, the filter and all arguments; return the names of each window's arguments."""
        emit = self._emit
        for let in self._pipeline.lets:
            emit.line(f"{local(let.name)} = {emit.value(let.expression)}")
        if self._pipeline.where is None:
            return self._arguments()
        emit.line(f"keep = {emit.condition(self._pipeline.where)}")
        with emit.block("if keep:"):
            before = len(emit.lines)
            names = self._arguments()
            if len(emit.lines) == before:
                emit.line("pass")
        return names

    def _arguments(self) -> list[list[str]]:
        known: dict[Any, str] = {}
        for accumulators in self._accumulators:
            for argument in accumulators.arguments:
                if argument not in known:
                    known[argument] = self._emit.value(argument)
        return [[known[argument] for argument in each.arguments] for each in self._accumulators]

    def _windows(self, values: list[list[str]]) -> None:
        for number, window in enumerate(self._pipeline.windows):
            self._emit.line(f"# {window.name}")
            if isinstance(window.kind, Tumbling):
                self._tumbling(number, window, window.kind, values[number])
            else:
                self._session(number, window, window.kind, values[number])

    def _tumbling(self, number: int, window: Window, kind: Tumbling, values: list[str]) -> None:
        emit, size_ms, offset_ms = self._emit, kind.size_ms, kind.offset_ms % kind.size_ms
        if self._start_is_of != (size_ms, offset_ms):
            since = f"(time_ms - {offset_ms})" if offset_ms else "time_ms"
            emit.line(f"start_ms = time_ms - {since} % {size_ms}")
            self._start_is_of = (size_ms, offset_ms)
        with emit.block(f"if start_ms != pane{number}_ms:"):
            with emit.block(f"if start_ms + {size_ms - 1} <= watermark_ms:"):
                emit.line(f"core.late(record, {number}, start_ms, start_ms + {size_ms}, time_ms, watermark_ms)")
            with emit.block("else:"):
                emit.line(f"pane{number}_ms = start_ms")
                emit.line(f"pane{number} = windows{number}.pane(start_ms)")
                emit.line(f"dirty{number}, clean{number} = pane{number}.dirty, pane{number}.clean")
                with emit.block(f"if start_ms + {size_ms - 1} < due_ms:"):
                    emit.line(f"due_ms = start_ms + {size_ms - 1}")
        with emit.block(f"if start_ms == pane{number}_ms:"):
            emit.line(f"key = {_key(window)}")
            emit.line(f"group = dirty{number}.get(key)")
            with emit.block("if group is None:"):
                emit.line(f"group = clean{number}.pop(key, None)")
                with emit.block("if group is None:"):
                    emit.line(f"group = Group{number}()")
                emit.line(f"dirty{number}[key] = group")
            self._accumulators[number].emit_add(emit, values)

    def _session(self, number: int, window: Window, kind: Session, values: list[str]) -> None:
        emit, gap_ms = self._emit, kind.gap_ms
        emit.line(f"key = {_key(window)}")
        emit.line(f"group = dirty{number}.get(key)")
        with emit.block("if group is None:"):
            emit.line(f"group = clean{number}.pop(key, None)")
            with emit.block("if group is not None:"):
                emit.line(f"dirty{number}[key] = group")
        within = f"group.first_ms - {gap_ms} <= time_ms <= group.last_ms + {gap_ms}"
        with emit.block(f"if group.__class__ is Group{number} and {within}:"):
            with emit.block("if time_ms > group.last_ms:"):
                emit.line("group.last_ms = time_ms")
            with emit.block("elif time_ms < group.first_ms:"):
                emit.line("group.first_ms = time_ms")
        with emit.block("else:"):
            emit.line(f"group = windows{number}.place(key, time_ms, watermark_ms)")
            with emit.block("if group is None:"):
                emit.line(f"core.late(record, {number}, time_ms, time_ms + {gap_ms}, time_ms, watermark_ms)")
            with emit.block(f"elif time_ms + {gap_ms - 1} < due_ms:"):
                emit.line(f"due_ms = time_ms + {gap_ms - 1}")
        if self._accumulators[number].slots:
            with emit.block("if group is not None:"):
                self._accumulators[number].emit_add(emit, values)


_MANY_BRACKETS = f'data.count(b"[") + data.count(b"{{") > {DEPTH_MAX}'


def _key(window: Window) -> str:
    parts = [_key_part(name.name, name.type, nullable=name.nullable) for name in window.by]
    return parts[0] if len(parts) == 1 else f"({''.join(f'{part}, ' for part in parts)})"


def _key_part(name: str, value_type: Type, *, nullable: bool) -> str:
    """Return the source of a part of a group's key; -0.0 is the same group as 0.0."""
    value = local(name)
    if value_type is not Type.FLOAT:
        return value
    return f"({value} + 0.0 if {value} is not None else None)" if nullable else f"({value} + 0.0)"


def names_in(expression: Any) -> set[str]:
    """Return the fields and lets that an expression refers to."""
    if isinstance(expression, Name):
        return {expression.name}
    if isinstance(expression, Apply):
        return set().union(*(names_in(argument) for argument in expression.arguments))
    return set()
