"""The pure core: a value machine for one shard.

Rule 1: same state + same records = same rows and same state, byte for byte, however the records are batched.
Rule 2: a record at or before the position is skipped; it was already counted.
Rule 3: no clock, no environment, no log, no network. Whatever a rule of time needs is in the records.
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Sequence
from dataclasses import dataclass

import msgspec

from consumer.core import snapshot
from consumer.core.compile import Program
from consumer.core.counts import Counts, count
from consumer.core.faults import Fault
from consumer.core.ids import dead_letter_id, late_id
from consumer.core.times import format_time
from consumer.core.windows import LONG_AGO_MS, Windows
from consumer.records import DEAD_LETTER, LATE, Position, Record, Row

DATA_MAX_BYTES = 700_000
"""How much of a record a late row or dead letter carries: what a sink's record can hold after base64."""

_encode = msgspec.json.Encoder().encode


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a batch led to: finished rows in order, its counts, and the bytes of the records not skipped."""

    rows: list[Row]
    counts: Counts
    size_bytes: int = 0


class Core:
    """The state that the generated loop works on."""

    def __init__(self, program: Program, shard: str, generation: int) -> None:
        self.shard = shard
        self.generation = generation
        self.watermark_ms = LONG_AGO_MS
        self.windows: list[Windows] = [window.open() for window in program.windows]
        self.counts = Counts()
        self.rows: list[Row] = []
        self.size_bytes = 0
        self._program = program
        self._pipeline = program.pipeline

    def due_ms(self) -> int:
        """Return a watermark below which nothing is due."""
        return min(windows.due_ms() for windows in self.windows)

    def close(self, watermark_ms: int) -> int:
        """Turn every window that is due into rows; return the next due watermark.

        Order: window as in the file, window_end, window_start, group key with null first.
        """
        for program, windows in zip(self._program.windows, self.windows, strict=True):
            if windows.due_ms() > watermark_ms:
                continue
            for closed in sorted(windows.close(watermark_ms), key=program.order):
                self.rows.append(program.row(self, closed.key, closed.group, closed.start_ms, closed.end_ms))
                count(self.counts.results, program.window.name)
        return self.due_ms()

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
            "sub_sequence_number": record.sub_sequence_number,
            "shard": self.shard,
        }


def _data(record: Record) -> dict[str, object]:
    data: dict[str, object] = {"data": b64encode(record.data[:DATA_MAX_BYTES]).decode()}
    if len(record.data) > DATA_MAX_BYTES:
        data["data_truncated"] = True
    return data


class Processor:
    """One shard of a pipeline: records in, rows out, and a state that can be frozen and restored."""

    def __init__(self, program: Program, shard: str, generation: int = 0) -> None:
        self._program = program
        self._core = Core(program, shard, generation)
        self.position: Position | None = None
        self.last_arrival_ms: int | None = None
        self.totals = Counts()

    @property
    def watermark_ms(self) -> int | None:
        """Return the shard's watermark, None before the first accepted event."""
        return None if self._core.watermark_ms == LONG_AGO_MS else self._core.watermark_ms

    def apply(self, records: Sequence[Record]) -> Outcome:
        """Process records in shard order. An exception leaves the state unusable: it is a bug, not bad data."""
        fresh = records[self._replayed(records) :]
        core = self._core
        core.counts, core.rows, core.size_bytes = Counts(len(records), len(records) - len(fresh)), [], 0
        if fresh:
            self._program.apply(core, fresh)
            last = fresh[-1]
            self.last_arrival_ms = last.arrival_ms
            if last.sequence_number is not None:
                self.position = Position.of(last)
        self.totals.add(core.counts)
        return Outcome(core.rows, core.counts, core.size_bytes)

    def _replayed(self, records: Sequence[Record]) -> int:
        """Return how many records at the front are at or before the position."""
        if self.position is None or not records or records[0].sequence_number is None:
            return 0
        if Position.of(records[0]) > self.position:
            return 0
        if Position.of(records[-1]) <= self.position:
            return len(records)
        return next(number for number, record in enumerate(records) if Position.of(record) > self.position)

    def close_all(self) -> Outcome:
        """Close every window: the end of a bounded input."""
        core = self._core
        core.counts, core.rows = Counts(), []
        core.close(-LONG_AGO_MS)
        self.totals.add(core.counts)
        return Outcome(core.rows, core.counts)

    def open_groups(self) -> dict[str, int]:
        """Return how many groups each window holds."""
        pairs = zip(self._program.windows, self._core.windows, strict=True)
        return {program.window.name: windows.open_count() for program, windows in pairs}

    def dirty_groups(self) -> int:
        """Return how many groups the next delta would hold."""
        return sum(windows.dirty_count() for windows in self._core.windows)

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
            totals=self.totals,
        )
        changes = [
            snapshot.changes_of(program, windows, everything=base)
            for program, windows in zip(self._program.windows, self._core.windows, strict=True)
        ]
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
            for window, windows, change in zip(program.windows, processor._core.windows, changes, strict=True):
                snapshot.restore_changes(window, windows, change)
            processor._take(header)
        return processor, outbox

    def _take(self, header: snapshot.Header) -> None:
        if header.position is not None:
            self.position = Position(int(header.position[0]), header.position[1])
        self.last_arrival_ms = header.last_arrival_ms
        self._core.watermark_ms = LONG_AGO_MS if header.watermark_ms is None else header.watermark_ms
        self.totals = header.totals
