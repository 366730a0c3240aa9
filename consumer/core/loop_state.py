"""The state of one shard that the generated loop works on: its windows, and the rows that come of them."""

from __future__ import annotations

import sys
from collections.abc import Callable, Container, Iterable, Iterator, Sequence
from typing import Any, cast

import msgspec

from consumer.core import snapshot
from consumer.core.compile import Program, WindowProgram
from consumer.core.contributions import contributed
from consumer.core.counts import Counts, count
from consumer.core.faults import Fault
from consumer.core.ids import dead_letter_id, late_id
from consumer.core.resharding import Floor, Floors, Holding, Routing
from consumer.core.times import format_time
from consumer.core.windows import END_MS, LONG_AGO_MS, NEVER_MS, Due, EvictingWindows, Group, Keeps, Key, Room, Windows
from consumer.pipeline.model import Session, Sliding, Stagger
from consumer.records import DEAD_LETTER, LATE, HashRange, Record, Row, hash_key

DATA_MAX_BYTES = 700_000
"""How much of a record a late row or dead letter carries: what a sink's record can hold after base64."""

_encode = msgspec.json.Encoder().encode
"""Bytes become base64."""


class Core:
    """The state that the generated loop works on.

    `windows` are the shard's own, one a definition; `holdings` are these and what was inherited, in rows' order.
    """

    def __init__(
        self, program: Program, shard: str, generation: int, rows_max: int, hash_range: HashRange | None
    ) -> None:
        pipeline = program.pipeline
        self.hash_range = hash_range
        self.routing = None if hash_range is None else Routing(hash_range)
        self.floors = Floors()
        self._rows_max = rows_max
        self.shard = shard
        self.generation = generation
        self.watermark_ms = LONG_AGO_MS
        self.ordinal = 0
        self.room = Room(pipeline.limits.groups)
        self.counts = Counts()
        self.rows: list[Row] = []
        self._places: dict[int, Any] = {}
        self._out_of_order = False
        self._late: tuple[Record | None, bytes] = None, b""
        self._program = program
        self._pipeline = pipeline
        self._evicts = pipeline.limits.policy == "emit_early"
        self.windows: list[Any] = [self._open(number) for number in range(len(program.windows))]
        self.inherited: list[Holding] = []
        self.holdings: list[Holding] = []
        self.hold(())

    def _open(self, number: int) -> Windows:
        window = self._program.windows[number]
        return window.open_evicting(self.room, self.make_room) if self._evicts else window.open(self.room)

    def begin_step(self) -> None:
        """Begin with new rows and counts."""
        self.counts, self.rows = Counts(), []
        self._places.clear()
        self._out_of_order = False
        self._late = None, b""

    def hold(self, inherited: Iterable[Holding]) -> None:
        """Hold these beside the shard's own windows."""
        lowest_hash = 0 if self.hash_range is None else self.hash_range.first
        own = [Holding(number, self.shard, lowest_hash, windows) for number, windows in enumerate(self.windows)]
        self.inherited = list(inherited)
        self.holdings = sorted(
            [*own, *self.inherited], key=lambda each: (each.number, self._is_own(each.origin), each.origin)
        )

    def _is_own(self, origin: str) -> bool:
        return origin == self.shard

    def inherited_part(self, number: int, origin: str, lowest_hash: int) -> Holding:
        """Return the part that an origin has of a window: the one that is held, or a new one."""
        for holding in self.inherited:
            if (holding.number, holding.origin) == (number, origin):
                return holding
        return Holding(number, origin, lowest_hash, self._open(number))

    def inherit(self, parents: Sequence[Core], hash_range: HashRange) -> None:
        """Take over what the parents leave to a shard of this range."""
        self.watermark_ms = min(parent.watermark_ms for parent in parents)
        self.ordinal = max(parent.ordinal for parent in parents)
        floors = [floor for parent in parents for floor in parent.leaves_floors(hash_range)]
        self.floors = Floors(Floors(floors).above(self.watermark_ms))
        self.hold([part for parent in parents for part in self._take_over(parent, hash_range)])
        self.settle()

    def adopt(self, before: Core) -> None:
        """Take over the state of the same shard under other definitions: windows of the same hash keep what they hold.

        The others of `before` must have been flushed or are dropped; those that it has not begin empty.
        """
        numbers = {window.hash: number for number, window in enumerate(self._program.windows)}
        self.watermark_ms, self.ordinal = before.watermark_ms, before.ordinal
        if any(window.aligned for window in self._pipeline.windows):
            self.floors = before.floors
        inherited = []
        for old_number, origin, lowest_hash, windows in before.holdings:
            number = numbers.get(before._program.windows[old_number].hash)
            if number is None:
                continue
            is_own = windows is before.windows[old_number]
            holding = Holding(number, origin, lowest_hash, self.windows[number] if is_own else self._open(number))
            holding.windows.restore(snapshot.copied(windows.changes(everything=True)))
            if not is_own:
                inherited.append(holding)
        self.hold(inherited)
        self.settle()

    def flush(self, numbers: Container[int]) -> int:
        """Give the rows of these windows as at the end of the input, so many as are allowed at once.

        Return how many more rows would have been allowed: none may mean that there are more.
        """
        left = self._close([holding for holding in self.holdings if holding.number in numbers], END_MS)
        self._let_go_of_empty()
        return left

    def leaves_floors(self, heir: HashRange) -> list[Floor]:
        """Return the floors that a child of this range inherits: only aligned windows have any."""
        assert self.hash_range is not None
        if not any(window.aligned for window in self._pipeline.windows):
            return []
        own = Floors([Floor(self.hash_range, self.watermark_ms)])
        return [*own.within(heir), *self.floors.within(heir)]

    def _take_over(self, parent: Core, hash_range: HashRange) -> Iterator[Holding]:
        """Add a parent's aligned groups that hash into the range; yield the parts of other windows that come along."""
        for number, origin, lowest_hash, windows in parent.holdings:
            partition_key = self._program.windows[number].shape.partition_key
            if partition_key is not None:
                mine = _hashes_into(hash_range, partition_key)
                self.windows[number].inherit(snapshot.copied(windows.changes(everything=True, keep=mine)))
            elif hash_range.holds(lowest_hash) and windows.open_count():
                part = self.inherited_part(number, origin, lowest_hash)
                part.windows.inherit(snapshot.copied(windows.changes(everything=True)))
                yield part

    def settle(self) -> None:
        """Find out what is due when: the state is as it was stored."""
        for number, _, _, windows in self.holdings:
            windows.settle(self.watermark_ms, self.floors.of_groups(self._program.windows[number].shape))

    def number_in(self, chunk: Sequence[Record], record: Record) -> int:
        """Return which of the records this one is, counted from 1."""
        return next(number for number, each in enumerate(chunk, 1) if each is record)

    def due_ms(self) -> int:
        """Return a watermark below which nothing is due."""
        return min(holding.windows.due_ms() for holding in self.holdings)

    def close(self, watermark_ms: int) -> int:
        """Turn windows that are due into rows, so many as are allowed at once; return the next due watermark.

        Order: window as in the file, origin, window_end, window_start, group key with null first.
        """
        self._close(self.holdings, watermark_ms)
        self._let_go_of_empty()
        return self.due_ms()

    def _close(self, holdings: Iterable[Holding], watermark_ms: int) -> int:
        """Turn what is due of some windows into rows; return how many more would have been allowed."""
        rows_max = self._rows_max
        for number, origin, _, windows in holdings:
            if windows.due_ms() <= watermark_ms:
                if self._program.windows[number].window.combined:
                    closed = self._contribute(number, origin, windows, watermark_ms, rows_max)
                else:
                    closed = self._give_rows(number, origin, windows, watermark_ms, rows_max)
                rows_max -= closed
                if rows_max <= 0:
                    break
        return max(rows_max, 0)

    def _give_rows(self, number: int, origin: str, windows: Windows, watermark_ms: int, rows_max: int) -> int:
        closed = windows.close(watermark_ms, rows_max)
        for due in closed:
            self._row(number, due, origin, final=self._is_final(number, due, watermark_ms))
        return len(closed)

    def _contribute(self, number: int, origin: str, windows: Windows, watermark_ms: int, rows_max: int) -> int:
        """Turn what is due of a global window into contributions, one window after the other, each of them whole."""
        program, closed = self._program.windows[number], 0
        while windows.due_ms() <= watermark_ms and closed < rows_max:
            dues = windows.close(windows.due_ms(), sys.maxsize)
            self.rows += contributed(program, self.generation, origin, dues)
            closed += len(dues)
        return closed

    def _let_go_of_empty(self) -> None:
        if self.inherited:
            self.hold([holding for holding in self.inherited if holding.windows.open_count()])

    def _is_final(self, number: int, due: Due, watermark_ms: int) -> bool:
        keep = self._program.windows[number].keep
        return not keep.updates or due.end_ms - 1 + keep.lateness_ms <= watermark_ms

    def update(self, number: int, key: Key, group: Group, start_ms: int, end_ms: int) -> None:
        """Give a row of a window that ended before the event that has just been put into it."""
        self._out_of_order |= bool(self.floors)
        part = self.windows[number].part(key, start_ms, group) if self._evicts else None
        self._row(number, Due(end_ms, start_ms, key, group, group.revision, part), self.shard, final=False)

    def revise(self, number: int, due: Due) -> None:
        """Give a row of a sliding window that ended before the event that has just been put into it."""
        self._out_of_order |= bool(self.floors)
        self._row(number, due, self.shard, final=False)

    def make_room(self) -> None:
        """Emit groups early until there is room for one more: the one that ends first, at a tie by rows' order."""
        while self.room.left <= 0:
            number, origin, _, windows = min(self.holdings, key=self._ends_first)
            self._row(number, cast("EvictingWindows", windows).evict(), origin, final=True, early=True)

    def _ends_first(self, holding: Holding) -> Any:
        """Return what decides whose group is emitted early."""
        first = cast("EvictingWindows", holding.windows).earliest()
        if first is None:
            return (NEVER_MS,)
        end_ms, start_ms, order = first
        return end_ms, holding.number, start_ms, order, self._is_own(holding.origin), holding.origin

    def _row(self, number: int, due: Due, origin: str, *, final: bool, early: bool = False) -> None:
        """Add the row of a group that holds events of the shard `origin`."""
        program = self._program.windows[number]
        late_at_ms = due.group.late_at_ms if isinstance(program.window.kind, Session) else None
        row_id = program.row_id(self.generation, due.key, due.start_ms, due.revision, due.part, late_at_ms, origin)
        extra: dict[str, Any] = {}
        if program.keep.updates and not isinstance(program.window.kind, Sliding):
            self._count_revision(program, due, row_id, extra)
        if early:
            extra["early"] = True
            count(self.counts.early, program.window.name)
        if due.part is not None:
            extra["part"] = due.part
        group = due.group
        row = program.row(origin, row_id, due.key, group, due.start_ms, due.end_ms, due.revision, final, extra)
        self.rows.append(row)
        if self._evicts or self.floors:
            self._places[len(self.rows) - 1] = (number, self._is_own(origin), origin, *program.shape.due_order(due))
            self._out_of_order |= early
        count(self.counts.results, program.window.name)

    def order_rows(self, first: int) -> None:
        """Put the results of one record, which begin at row `first`, into rows' order.

        Only a group that is emitted early, or the update of a window that had ended by a floor, comes before its turn.
        """
        if self._out_of_order:
            numbers = [number for number in range(first, len(self.rows)) if number in self._places]
            ordered = sorted(numbers, key=self._places.__getitem__)
            rows = [self.rows[number] for number in ordered]
            for number, row in zip(numbers, rows, strict=True):
                self.rows[number] = row
            self._out_of_order = False
        self._places.clear()

    def _count_revision(self, program: WindowProgram, due: Due, row_id: str, extra: dict[str, Any]) -> None:
        group = due.group
        group.revision = due.revision + 1
        if isinstance(program.window.kind, Session | Stagger):
            group.pending = False
        if isinstance(program.window.kind, Session):
            if group.replaced:
                extra["replaces"] = group.replaced
            group.replaced, group.last_id = None, row_id

    def late(self, record: Record, number: int, start_ms: int, end_ms: int, time_ms: int, watermark_ms: int) -> None:
        """Count an event that is late for a window, and keep it where the pipeline says so."""
        program = self._program.windows[number]
        count(self.counts.late, program.window.name)
        if self._pipeline.late is None:
            return
        place = (record.sequence_number, record.sub_sequence_number)
        row_id = late_id(self._pipeline.name, self.generation, self.shard, *place, program.hash, start_ms)
        row = {
            "id": row_id,
            "reason": "late",
            "pipeline": self._pipeline.name,
            "window": program.window.name,
            "window_start": format_time(start_ms),
            "window_end": format_time(end_ms),
            "watermark": format_time(watermark_ms),
            "event_time": format_time(time_ms),
            "lateness_ms": watermark_ms - time_ms,
        }
        self.rows.append(Row(LATE, _encode(row)[:-1] + self._end_of_late(record)))

    def _end_of_late(self, record: Record) -> bytes:
        """Return how the late rows of a record end: all alike, so those of several windows share it."""
        ended, end = self._late
        if ended is not record:
            end = b"," + _encode({**self._origin(record), **_data(record)})[1:]
            self._late = record, end
        return end

    def dead_letter(self, record: Record, fault: Fault) -> None:
        """Count a record that cannot be used, and keep it where the pipeline says so."""
        count(self.counts.dead_letters, fault.reason)
        if self._pipeline.dead_letter is None:
            return
        place = (record.sequence_number, record.sub_sequence_number)
        row = {
            "id": dead_letter_id(self._pipeline.name, self.generation, self.shard, *place),
            "reason": fault.reason,
            "pipeline": self._pipeline.name,
            "detail": fault.detail,
            **self._origin(record),
            "arrival_time": None if record.arrival_ms is None else format_time(record.arrival_ms),
            **_data(record),
        }
        self.rows.append(Row(DEAD_LETTER, _encode(row)))

    def _origin(self, record: Record) -> dict[str, object]:
        return {
            "partition_key": record.partition_key,
            "sequence_number": record.sequence_number,
            "sub_sequence_number": None if record.sequence_number is None else record.sub_sequence_number,
            "shard": self.shard,
        }


def _data(record: Record) -> dict[str, object]:
    data: dict[str, object] = {"data": record.data[:DATA_MAX_BYTES]}
    if len(record.data) > DATA_MAX_BYTES:
        data["data_truncated"] = True
    return data


def _hashes_into(range_: HashRange, partition_key: Callable[[Key], str]) -> Keeps:
    return lambda key: range_.holds(hash_key(partition_key(key)))
