"""The pure core: a value machine for one shard.

Rule 1: same state + same records = same rows and same state, byte for byte, however the records are batched.
Rule 2: a record at or before the position is skipped; it was already counted.
Rule 3: no clock, no environment, no log, no network. Whatever a rule of time needs is in the records.
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from consumer.core import snapshot
from consumer.core.compile import Program, WindowProgram
from consumer.core.counts import Counts, count
from consumer.core.faults import Fault
from consumer.core.ids import dead_letter_id, late_id
from consumer.core.times import format_time
from consumer.core.windows import END_MS, LONG_AGO_MS, Due, EvictingWindows, Group, Key, Room, Windows
from consumer.pipeline.model import Session, Sliding, Stagger
from consumer.records import DEAD_LETTER, LATE, Position, Record, Row

DATA_MAX_BYTES = 700_000
"""How much of a record a late row or dead letter carries: what a sink's record can hold after base64."""

_encode = msgspec.json.Encoder().encode


ROWS_MAX = 10_000
"""How many rows windows give at once when they close: the rest waits, so that these can be sent first."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a batch led to: finished rows in order, its counts, and the bytes of the records not skipped.

    `taken` is how many of the records are done with, skipped ones included.
    """

    rows: list[Row]
    counts: Counts
    size_bytes: int = 0
    taken: int = 0


class Core:
    """The state that the generated loop works on."""

    def __init__(self, program: Program, shard: str, generation: int, rows_max: int) -> None:
        pipeline = program.pipeline
        self._rows_max = rows_max
        self.shard = shard
        self.generation = generation
        self.watermark_ms = LONG_AGO_MS
        self.ordinal = 0
        self.room = Room(pipeline.limits.groups)
        self.counts = Counts()
        self.rows: list[Row] = []
        self._places: dict[int, Any] = {}
        self._any_early = False
        self._program = program
        self._pipeline = pipeline
        self.windows: list[Windows]
        self._evicting: list[EvictingWindows] | None = None
        if pipeline.limits.policy == "emit_early":
            self._evicting = [window.open_evicting(self.room, self.make_room) for window in program.windows]
            self.windows = list(self._evicting)
        else:
            self.windows = [window.open(self.room) for window in program.windows]

    def due_ms(self) -> int:
        """Return a watermark below which nothing is due."""
        return min(windows.due_ms() for windows in self.windows)

    def close(self, watermark_ms: int) -> int:
        """Turn windows that are due into rows, so many as are allowed at once; return the next due watermark.

        Order: window as in the file, window_end, window_start, group key with null first.
        """
        rows_max = self._rows_max
        for number, windows in enumerate(self.windows):
            if windows.due_ms() <= watermark_ms:
                closed = windows.close(watermark_ms, rows_max)
                for due in closed:
                    self._row(number, due, final=self._is_final(number, due, watermark_ms))
                rows_max -= len(closed)
                if not rows_max:
                    break
        return self.due_ms()

    def _is_final(self, number: int, due: Due, watermark_ms: int) -> bool:
        keep = self._program.windows[number].keep
        return not keep.updates or due.end_ms - 1 + keep.lateness_ms <= watermark_ms

    def update(self, number: int, key: Key, group: Group, start_ms: int, end_ms: int) -> None:
        """Give a row of a window that ended before the event that has just been put into it."""
        part = None if self._evicting is None else self._evicting[number].part(key, start_ms, group)
        self._row(number, Due(end_ms, start_ms, key, group, group.revision, part), final=False)

    def revise(self, number: int, due: Due) -> None:
        """Give a row of a sliding window that ended before the event that has just been put into it."""
        self._row(number, due, final=False)

    def make_room(self) -> None:
        """Emit groups early until there is room for one more: the one that ends first, at a tie by rows' order."""
        assert self._evicting is not None
        while self.room.left <= 0:
            found = [(windows.earliest(), number) for number, windows in enumerate(self._evicting)]
            _, number = min((first[0], number) for first, number in found if first is not None)
            self._row(number, self._evicting[number].evict(), final=True, early=True)

    def _row(self, number: int, due: Due, *, final: bool, early: bool = False) -> None:
        program = self._program.windows[number]
        late_at_ms = due.group.late_at_ms if isinstance(program.window.kind, Session) else None
        row_id = program.row_id(self, due.key, due.start_ms, due.revision, due.part, late_at_ms)
        extra: dict[str, Any] = {}
        if program.keep.updates and not isinstance(program.window.kind, Sliding):
            self._count_revision(program, due, row_id, extra)
        if early:
            extra["early"] = True
            count(self.counts.early, program.window.name)
        if due.part is not None:
            extra["part"] = due.part
        group = due.group
        row = program.row(self, row_id, due.key, group, due.start_ms, due.end_ms, due.revision, final, extra)
        self.rows.append(row)
        if self._evicting is not None:
            self._places[len(self.rows) - 1] = (number, *program.shape.due_order(due))
            self._any_early |= early
        count(self.counts.results, program.window.name)

    def order_rows(self, first: int) -> None:
        """Put the results of one record, which begin at row `first`, into rows' order: one came early."""
        if self._any_early:
            numbers = [number for number in range(first, len(self.rows)) if number in self._places]
            ordered = sorted(numbers, key=self._places.__getitem__)
            rows = [self.rows[number] for number in ordered]
            for number, row in zip(numbers, rows, strict=True):
                self.rows[number] = row
            self._any_early = False
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
        self.rows.append(Row(LATE, _encode(row | self._origin(record) | _data(record))))

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
        }
        arrival = None if record.arrival_ms is None else format_time(record.arrival_ms)
        row_of_record = self._origin(record) | {"arrival_time": arrival} | _data(record)
        self.rows.append(Row(DEAD_LETTER, _encode(row | row_of_record)))

    def _origin(self, record: Record) -> dict[str, object]:
        return {
            "partition_key": record.partition_key,
            "sequence_number": record.sequence_number,
            "sub_sequence_number": None if record.sequence_number is None else record.sub_sequence_number,
            "shard": self.shard,
        }


def _data(record: Record) -> dict[str, object]:
    data: dict[str, object] = {"data": b64encode(record.data[:DATA_MAX_BYTES]).decode()}
    if len(record.data) > DATA_MAX_BYTES:
        data["data_truncated"] = True
    return data


class Processor:
    """One shard of a pipeline: records in, rows out, and a state that can be frozen and restored."""

    def __init__(self, program: Program, shard: str, generation: int = 0, *, rows_max: int = ROWS_MAX) -> None:
        self._program = program
        self._core = Core(program, shard, generation, rows_max)
        self.position: Position | None = None
        self.last_arrival_ms: int | None = None
        self.totals = Counts()

    @property
    def watermark_ms(self) -> int | None:
        """Return the shard's watermark, None before the first accepted event."""
        return None if self._core.watermark_ms == LONG_AGO_MS else self._core.watermark_ms

    @property
    def closing(self) -> bool:
        """Tell whether windows wait to be closed: no record is taken before they are."""
        return self._core.due_ms() <= self._core.watermark_ms

    def step(self, records: Sequence[Record]) -> Outcome:
        """Process records in shard order, until all are taken or as many windows closed as may be at once.

        Go on with `records[outcome.taken:]` while there are any, or `closing`. An exception leaves the state unusable:
        it is a bug, not bad data.
        """
        core = self._core
        core.counts, core.rows = Counts(), []
        taken = size_bytes = 0
        if not self._goes_on_closing():
            replayed = self._replayed(records)
            fresh = records[replayed:] if replayed else records
            taken = replayed + (self._program.apply(core, fresh) if fresh else 0)
            done = records[replayed:taken]
            size_bytes = sum(len(record.data) for record in done)
            core.counts.received, core.counts.replayed = taken, replayed
            if done:
                self._note(done[-1], len(done))
        self.totals.add(core.counts)
        return Outcome(core.rows, core.counts, size_bytes, taken)

    def _goes_on_closing(self) -> bool:
        """Close what waits; tell whether more is left."""
        return self.closing and self._core.close(self._core.watermark_ms) <= self._core.watermark_ms

    def _note(self, last: Record, taken: int) -> None:
        self._core.ordinal += taken
        self.last_arrival_ms = last.arrival_ms
        if last.sequence_number is not None:
            self.position = Position.of(last)

    def apply(self, records: Sequence[Record]) -> Outcome:
        """Process records in shard order, all of them, and close all that is due by them."""
        return self._all(self.step(records), records)

    def _all(self, outcome: Outcome, records: Sequence[Record]) -> Outcome:
        rows, counts, size_bytes, taken = outcome.rows, outcome.counts, outcome.size_bytes, outcome.taken
        while taken < len(records) or self.closing:
            more = self.step(records[taken:])
            rows += more.rows
            counts.add(more.counts)
            size_bytes += more.size_bytes
            taken += more.taken
        return Outcome(rows, counts, size_bytes, taken)

    def idle(self, now_ms: int) -> Outcome:
        """Decide that the shard is idle at a time of the consumer's clock: its watermark moves on without a record.

        While `closing` after it, go on with `step`.
        """
        return self._advance(self._idle_watermark_ms(now_ms))

    def idle_closes(self, now_ms: int) -> bool:
        """Tell whether an idle decision at that time would close something: a no is certain, a yes is not."""
        return self._core.due_ms() <= self._idle_watermark_ms(now_ms)

    def _idle_watermark_ms(self, now_ms: int) -> int:
        return now_ms - self._program.pipeline.events.out_of_orderness_ms

    def end(self) -> Outcome:
        """Let the input end: every window is due. While `closing` after it, go on with `step`."""
        return self._advance(END_MS)

    def _advance(self, watermark_ms: int) -> Outcome:
        self._core.watermark_ms = max(self._core.watermark_ms, watermark_ms)
        return self.step(())

    def close_all(self) -> Outcome:
        """Let the input end, and close every window."""
        return self._all(self.end(), ())

    def _replayed(self, records: Sequence[Record]) -> int:
        """Return how many records at the front are at or before the position."""
        if self.position is None or not records or records[0].sequence_number is None:
            return 0
        if Position.of(records[0]) > self.position:
            return 0
        if Position.of(records[-1]) <= self.position:
            return len(records)
        return next(number for number, record in enumerate(records) if Position.of(record) > self.position)

    def open_groups(self) -> dict[str, int]:
        """Return how many groups each window holds."""
        pairs = zip(self._program.windows, self._core.windows, strict=True)
        return {program.window.name: windows.open_count() for program, windows in pairs}

    def dirty_groups(self) -> int:
        """Return how many groups the next delta would hold."""
        return sum(windows.dirty_count() for windows in self._core.windows)

    def room(self) -> int:
        """Return how many more groups may be opened."""
        return self._core.room.left

    def freeze(self, outbox: Sequence[Row], *, base: bool) -> bytes:
        """Encode the state (a base) or what changed since the last freeze (a delta), with the rows to be sent.

        From here on the next delta starts.
        """
        header = snapshot.Header(
            definitions=self._program.definitions,
            shard=self._core.shard,
            generation=self._core.generation,
            base=base,
            position=None if self.position is None else (str(self.position[0]), self.position[1]),
            last_arrival_ms=self.last_arrival_ms,
            watermark_ms=self.watermark_ms,
            ordinal=self._core.ordinal,
            totals=self.totals,
        )
        changes = [windows.changes(everything=base) for windows in self._core.windows]
        data = snapshot.encode(header, changes, outbox)
        for windows in self._core.windows:
            windows.fold()
        return data

    @classmethod
    def restore(
        cls, program: Program, shard: str, generation: int, entries: Sequence[bytes]
    ) -> tuple[Processor, list[Row]]:
        """Return the processor that froze a base and then its deltas, and the rows of the last of them."""
        processor = cls(program, shard, generation)
        outbox: list[Row] = []
        for number, data in enumerate(entries):
            header, changes, outbox = snapshot.decode(data)
            snapshot.check(header, program, shard, generation, base=number == 0)
            for windows, change in zip(processor._core.windows, changes, strict=True):
                windows.restore(change)
            processor._take(header)
        for windows in processor._core.windows:
            windows.settle(processor._core.watermark_ms)
        return processor, outbox

    def _take(self, header: snapshot.Header) -> None:
        if header.position is not None:
            self.position = Position(int(header.position[0]), header.position[1])
        self.last_arrival_ms = header.last_arrival_ms
        self._core.watermark_ms = LONG_AGO_MS if header.watermark_ms is None else header.watermark_ms
        self._core.ordinal = header.ordinal
        self.totals = header.totals
