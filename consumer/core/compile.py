"""A pipeline compiled into Python: one loop over the records of a batch, with everything inlined.

The generated module has, for each window, what group_code.py writes, and then the loop of loop_code.py.
"""

from __future__ import annotations

import linecache
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import msgspec

from consumer.core import faults, functions
from consumer.core.accumulators import Accumulators
from consumer.core.calendar import Calendar, LocalCalendar, PlainCalendar
from consumer.core.decode import check_time, reader, text_time
from consumer.core.expressions import Emitter
from consumer.core.group_code import GroupCode, gives_updates
from consumer.core.ids import result_id
from consumer.core.keyed import SessionWindows, StaggerWindows
from consumer.core.loop_code import LoopCode
from consumer.core.panes import TumblingWindows
from consumer.core.sliding import SlidingWindows
from consumer.core.sliding_apart import SlidingApart
from consumer.core.times import FRACTION_MS, TimeReader, format_time
from consumer.core.windows import EvictingWindows, Group, Keep, Key, Packed, Room, Shape, Windows
from consumer.pipeline.definitions import Incarnations, definitions_hash, window_hash
from consumer.pipeline.model import Pipeline, Session, Sliding, Stagger, Tumbling, Window
from consumer.records import Record, Row

if TYPE_CHECKING:
    from consumer.core.loop_state import Core

Apply = Callable[["Core", Sequence[Record]], int]

_NONE: Incarnations = MappingProxyType({})
_BIG = 1
"""Code of the msgpack extension for ints beyond 64 bits: their decimal text."""


@dataclass(frozen=True, slots=True)
class WindowProgram:
    """The generated functions of one window. Windows of one `hash` are the same window, in whatever program.

    `row_id` takes the generation, the key, the window's start, revision, part, `late_at_ms` (see ids.py), and the
    origin: the shard whose events the group holds. `row` takes the origin, the id, the key, the group, the window's
    start and end, the revision, whether it is final, and the members that not all rows have. `combine` adds a group of
    another shard to a group; None where the window is not global. `incarnation`: see definitions.py.
    """

    window: Window
    hash: str
    keep: Keep
    shape: Shape
    row_id: Callable[[int, Key, int, int, int | None, int | None, str], str]
    row: Callable[[str, str, Key, Group, int, int, int, bool, dict[str, Any]], Row]
    combine: Callable[[Group, Group], None] | None
    incarnation: int

    def open(self, room: Room) -> Windows:
        """Return a shard's windows, none open yet."""
        kind = self.window.kind
        if isinstance(kind, Sliding):
            return SlidingWindows(kind, self.keep, self.shape, room)
        return self._open(kind, room, evicts=False)

    def open_evicting(self, room: Room, make_room: Callable[[], None]) -> EvictingWindows:
        """Return a shard's windows where groups may be emitted early. `make_room` emits one if there is no room."""
        kind = self.window.kind
        if isinstance(kind, Sliding):
            return SlidingApart(kind, self.keep, self.shape, room, make_room)
        return self._open(kind, room, evicts=True)

    def _open(self, kind: Tumbling | Session | Stagger, room: Room, *, evicts: bool) -> EvictingWindows:
        match kind:
            case Tumbling():
                return TumblingWindows(_calendar(kind), self.keep, self.shape, room)
            case Session():
                return SessionWindows(kind.gap_ms, kind.max_length_ms, self.keep, self.shape, room, evicts=evicts)
            case Stagger():
                return StaggerWindows(kind.size_ms, self.keep, self.shape, room, evicts=evicts)

    def due_ms(self, end_ms: int) -> int:
        """Return the watermark at which a window of that end is dropped."""
        return end_ms - 1 + self.window.allowed_lateness_ms

    def next_due_ms(self, watermark_ms: int) -> int:
        """Return the lowest watermark above this one at which a window is dropped, whether there are events or not."""
        kind = self.window.kind
        time_ms = watermark_ms - self.window.allowed_lateness_ms + 1
        match kind:
            case Tumbling():
                end_ms = _calendar(kind).bounds(time_ms)[1]
            case Sliding():
                end_ms = time_ms - (time_ms - kind.size_ms) % kind.every_ms + kind.every_ms
            case _:
                raise AssertionError(kind)
        return self.due_ms(end_ms)

    @property
    def step_ms(self) -> int:
        """Return from one window's start to the next one's; with a timezone, the usual."""
        kind = self.window.kind
        return kind.every_ms if isinstance(kind, Sliding) else kind.size_ms if isinstance(kind, Tumbling) else 0

    def combined_row(self, generation: int, key: Key, group: Group, start_ms: int, end_ms: int) -> Row:
        """Return the row of a group of a global window, of all shards together: the only one there is."""
        row_id = self.row_id(generation, key, start_ms, 0, None, None, "")
        return self.row("", row_id, key, group, start_ms, end_ms, 0, True, {})


def _calendar(kind: Tumbling) -> Calendar:
    if kind.timezone is None:
        return PlainCalendar(kind.size_ms, kind.offset_ms)
    return LocalCalendar(kind.size_ms, kind.offset_ms, kind.timezone)


@dataclass(frozen=True, slots=True)
class Program:
    """A compiled pipeline: shared by all shards, holds no state. `source` is the generated module's text.

    `apply` returns how many of the records it has taken: not all if it stops to have what it closed sent first.
    `above_floors()` is the same for a shard with floors: most never need it, so it is compiled when it is asked for.
    """

    pipeline: Pipeline
    definitions: str
    source: str
    windows: tuple[WindowProgram, ...]
    apply: Apply
    above_floors: Callable[[], Apply]

    @property
    def combined(self) -> tuple[int, ...]:
        """Return the numbers of the global windows."""
        return tuple(number for number, each in enumerate(self.windows) if each.window.combined)

    def passes_combined(self, before_ms: int | None, watermark_ms: int | None) -> bool:
        """Tell whether a global window is due by a watermark, with or without events, that was not by the one before.

        None is the watermark of a shard that has seen nothing.
        """
        if watermark_ms is None or not self.combined:
            return False
        if before_ms is None:
            return True
        return any(self.windows[number].next_due_ms(before_ms) <= watermark_ms for number in self.combined)


def compile_pipeline(pipeline: Pipeline, *, keys_required: bool = True, incarnations: Incarnations = _NONE) -> Program:
    """Compile a checked pipeline, with the incarnations of its windows (definitions.py).

    Where a window is aligned, a record whose partition key is not the text of its field is misrouted; one without a
    partition key is so only if `keys_required`: in files they may be unknown.
    """
    read_time = TimeReader()
    made: dict[str, Any] = {
        "Fault": faults.Fault,
        "Row": Row,
        "read": reader(pipeline.events),
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
    emit = Emitter(made)
    hashes = [window_hash(pipeline, window, incarnations.get(window.name, 0)) for window in pipeline.windows]
    accumulators = [Accumulators(window, pipeline.events.time) for window in pipeline.windows]
    for number, each in enumerate(accumulators):
        made |= each.constants()
        GroupCode(pipeline, number, each, hashes[number]).emit(emit)
    LoopCode(emit, pipeline, accumulators, keys_required=keys_required).emit()
    source = _execute(pipeline.name, emit, made)

    @cache
    def above_floors() -> Apply:
        loop = Emitter(made)
        LoopCode(loop, pipeline, accumulators, keys_required=keys_required, floors=True).emit()
        _execute(f"{pipeline.name} above floors", loop, made)
        apply: Apply = made["apply_above_floors"]
        return apply

    windows = tuple(
        _window_program(pipeline, number, hashes[number], incarnations.get(window.name, 0), made)
        for number, window in enumerate(pipeline.windows)
    )
    definitions = definitions_hash(pipeline, incarnations)
    return Program(pipeline, definitions, source, windows, made["apply"], above_floors)


def _execute(name: str, emit: Emitter, namespace: dict[str, Any]) -> str:
    """Run the module and return its source; tracebacks and debuggers find its lines through linecache."""
    source = "\n".join(emit.lines) + "\n"
    filename = f"<streamgauge {name}>"
    linecache.cache[filename] = (len(source), None, source.splitlines(keepends=True), filename)
    exec(compile(source, filename, "exec"), namespace)  # noqa: S102 - our own text; user text never enters it raw
    return source


def _window_program(
    pipeline: Pipeline, number: int, hash_: str, incarnation: int, made: dict[str, Any]
) -> WindowProgram:
    window = pipeline.windows[number]
    single = len(window.by) == 1
    shape = Shape(
        new=made[f"Group{number}"],
        merge=made[f"merge{number}"],
        pack=made[f"pack{number}"],
        unpack=made[f"unpack{number}"],
        pack_rows=made[f"pack_rows{number}"],
        unpack_rows=made[f"unpack_rows{number}"],
        pack_key=_pack_one if single else _pack_many,
        unpack_key=_unpack_one if single else tuple,
        order=_order_one if single else _order_many,
        partition_key=_partition_key(pipeline, window),
    )
    return WindowProgram(
        window=window,
        hash=hash_,
        keep=Keep(window.allowed_lateness_ms, gives_updates(window)),
        shape=shape,
        row_id=made[f"row_id{number}"],
        row=made[f"row{number}"],
        combine=made.get(f"combine{number}"),
        incarnation=incarnation,
    )


def _partition_key(pipeline: Pipeline, window: Window) -> Callable[[Any], str] | None:
    if not window.aligned:
        return None
    if len(window.by) == 1:
        return str
    place = [name.name for name in window.by].index(pipeline.source.partition_key or "")
    return lambda key: str(key[place])


def _pack_one(key: Key) -> Packed:
    return [key]


def _pack_many(key: Any) -> Packed:
    return list(key)


def _unpack_one(values: Packed) -> Key:
    key: Key = values[0]
    return key


def _order_one(key: Any) -> Any:
    """Order keys: null first."""
    return key is not None, key


def _order_many(key: Any) -> Any:
    return [(part is not None, part) for part in key]


def _big(value: int | None) -> int | msgspec.msgpack.Ext | None:
    if value is None or functions.INT_MIN <= value <= functions.INT_MAX:
        return value
    return msgspec.msgpack.Ext(_BIG, str(value).encode())


def restore_big(code: int, data: memoryview) -> int:
    """Read the msgpack extension for ints beyond 64 bits."""
    assert code == _BIG, code
    return int(bytes(data))
