"""The pure core: a value machine for one shard.

Rule 1: same state + same records = same rows and same state, byte for byte, however the records are batched.
Rule 2: a record at or before the position is skipped; it was already counted.
Rule 3: no clock, no environment, no log, no network. Whatever a rule of time needs is in the records.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass

from consumer.core import snapshot
from consumer.core.combining import Combining
from consumer.core.compile import Program
from consumer.core.counts import Counts
from consumer.core.layouts import LAYOUTS
from consumer.core.loop_state import Core
from consumer.core.open_windows import OpenWindows, open_windows
from consumer.core.resharding import Floor, Floors
from consumer.core.windows import END_MS, LONG_AGO_MS, NEVER_MS, Windows
from consumer.records import HashRange, Position, Record, Row

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


class Processor:
    """One shard of a pipeline: records in, rows out, and a state that can be frozen, restored and inherited.

    `hash_range`: the shard's, if it is known; then a record from outside is misrouted where a window is aligned.
    """

    def __init__(
        self,
        program: Program,
        shard: str,
        generation: int = 0,
        *,
        hash_range: HashRange | None = None,
        rows_max: int = ROWS_MAX,
    ) -> None:
        self._program = program
        self._core = Core(program, shard, generation, rows_max, hash_range)
        self.position: Position | None = None
        self.last_arrival_ms: int | None = None
        self.totals = Counts()
        self.combining = Combining(program)
        self.needs_base = False
        """Whether the next entry cannot follow those stored: of an older format, or of other definitions."""

    @property
    def program(self) -> Program:
        """Return the program of the definitions that the state is of."""
        return self._program

    @property
    def watermark_ms(self) -> int | None:
        """Return the shard's watermark, None before the first accepted event."""
        return None if self._core.watermark_ms == LONG_AGO_MS else self._core.watermark_ms

    @property
    def closing(self) -> bool:
        """Tell whether windows wait to be closed: no record is taken before they are."""
        return self._core.due_ms() <= self._core.watermark_ms

    @property
    def closed_ms(self) -> int | None:
        """Return the watermark up to which all that is due has been closed: lower than the shard's while `closing`."""
        watermark_ms = min(self._core.watermark_ms, self._core.due_ms() - 1)
        return None if watermark_ms <= LONG_AGO_MS else watermark_ms

    @property
    def next_due_ms(self) -> int | None:
        """Return a watermark below which nothing is due, None where nothing is open."""
        due_ms = self._core.due_ms()
        return None if due_ms == NEVER_MS else due_ms

    def step(self, records: Sequence[Record]) -> Outcome:
        """Process records in shard order, until all are taken or as many windows closed as may be at once.

        Go on with `records[outcome.taken:]` while there are any, or `closing`. An exception leaves the state unusable:
        it is a bug, not bad data.
        """
        core = self._core
        core.begin_step()
        taken = size_bytes = 0
        if not self._goes_on_closing():
            replayed = self._replayed(records)
            fresh = records[replayed:] if replayed else records
            taken = replayed + (self._apply(fresh) if fresh else 0)
            done = records[replayed:taken]
            size_bytes = sum(map(len, [record.data for record in done]))
            core.counts.received, core.counts.replayed = taken, replayed
            if done:
                self._note(done[-1], len(done))
        self.totals.add(core.counts)
        return Outcome(core.rows, core.counts, size_bytes, taken)

    def _apply(self, records: Sequence[Record]) -> int:
        core = self._core
        if not core.floors:
            return self._program.apply(core, records)
        taken = self._program.above_floors()(core, records)
        if not self.closing:
            core.floors = Floors(core.floors.above(core.watermark_ms))
        return taken

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
        while self.closing:  # what stops before the last record has left windows to be closed
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

    def flush(self, windows: Collection[str]) -> Outcome:
        """Emit what is open of these windows, as at the end of the input; with ROWS_MAX rows there may be more.

        The shard's watermark stays as it is, so this is for windows that are about to be left out.
        """
        names = [program.window.name for program in self._program.windows]
        core = self._core
        core.begin_step()
        core.flush({number for number, name in enumerate(names) if name in windows})
        self.totals.add(core.counts)
        return Outcome(core.rows, core.counts)

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
        counted = {program.window.name: 0 for program in self._program.windows}
        for number, _, _, windows in self._core.holdings:
            counted[self._program.windows[number].window.name] += windows.open_count()
        return counted

    def active_keys(self) -> dict[str, int]:
        """Return how many keys have something open in each window; see `Windows.key_count`.

        What came from other shards, in windows that are not aligned, counts for itself.
        """
        counted = {program.window.name: 0 for program in self._program.windows}
        for number, _, _, windows in self._core.holdings:
            counted[self._program.windows[number].window.name] += windows.key_count()
        return counted

    def open_windows(self) -> list[OpenWindows]:
        """Return what is open of each window, its own events and those of each shard that it has taken over."""
        return [
            open_windows(self._program.windows[number], origin, windows)
            for number, origin, _, windows in self._core.holdings
        ]

    def floors(self) -> Floors:
        """Return the watermarks that ranges have reached which this shard has taken over."""
        return self._core.floors

    def begin_generation(self, generation: int) -> None:
        """Go on as a shard of another generation: what is emitted from here on has other ids."""
        self._core.generation = generation

    def stand_at(self, position: Position | None, watermark_ms: int | None, floors: Iterable[Floor] = ()) -> None:
        """Go to another place of the shard, with what is open: for those who explain a result, never for a worker."""
        self.position = position
        self._core.watermark_ms = LONG_AGO_MS if watermark_ms is None else watermark_ms
        self._core.floors = Floors(floors)
        self._core.settle()

    def dirty_groups(self) -> int:
        """Return how many groups the next delta would hold."""
        return sum(holding.windows.dirty_count() for holding in self._core.holdings)

    def room(self) -> int:
        """Return how many more groups may be opened."""
        return self._core.room.left

    def freeze(self, outbox: Sequence[Row], *, base: bool) -> bytes:
        """Encode the state (a base) or what changed since the last freeze (a delta), with the rows to be sent.

        From here on the next delta starts.
        """
        core = self._core
        header = snapshot.Header(
            definitions=self._program.definitions,
            shard=core.shard,
            generation=core.generation,
            base=base,
            position=None if self.position is None else (str(self.position[0]), self.position[1]),
            last_arrival_ms=self.last_arrival_ms,
            watermark_ms=self.watermark_ms,
            ordinal=core.ordinal,
            totals=self.totals,
            floors=[(str(first), str(last), floor_ms) for (first, last), floor_ms in core.floors],
            combining=self.combining.pack(),
        )
        own = [self._held(number, None, None, windows, everything=base) for number, windows in enumerate(core.windows)]
        inherited = [
            self._held(number, origin, str(lowest_hash), windows, everything=base)
            for number, origin, lowest_hash, windows in core.inherited
        ]
        data = snapshot.encode(header, outbox, [*own, *inherited])
        for holding in core.holdings:
            holding.windows.fold()
        self.needs_base = self.needs_base and not base
        return data

    def _held(
        self, number: int, origin: str | None, lowest_hash: str | None, windows: Windows, *, everything: bool
    ) -> snapshot.Held:
        columns = len(self._program.windows[number].window.by)
        changes = windows.changes(everything=everything)
        return snapshot.Held(number, origin, lowest_hash, windows.layout, columns, changes)

    @classmethod
    def restore(
        cls,
        program: Program,
        shard: str,
        generation: int,
        entries: Sequence[bytes],
        *,
        hash_range: HashRange | None = None,
    ) -> tuple[Processor, Sequence[Row]]:
        """Return the processor that froze a base and then its deltas, and the rows of the last of them."""
        processor = cls(program, shard, generation, hash_range=hash_range)
        outbox: Sequence[Row] = []
        for number, data in enumerate(entries):
            entry = snapshot.Reader(data)
            snapshot.check(entry.header, program, shard, generation, base=number == 0)
            processor._restore(entry)
            processor.needs_base |= entry.version != snapshot.VERSION
            outbox = entry.outbox
        processor._core.settle()
        return processor, outbox

    def _restore(self, entry: snapshot.Reader) -> None:
        core = self._core
        own = [each for each in entry.held if each.origin is None]
        assert len(own) == len(core.windows), "the definitions are these"
        inherited = [
            core.inherited_part(each.number, each.origin, int(each.lowest_hash or ""))
            for each in entry.held
            if each.origin is not None
        ]
        held = [*core.windows, *(holding.windows for holding in inherited)]
        for windows, each in zip(held, entry.held, strict=True):
            windows.restore(each.changes)
        for number, place, rows in entry.pieces():
            held[number].restore(LAYOUTS[held[number].layout].only(place, rows))
        core.hold(inherited)
        self._take(entry.header)

    @classmethod
    def inherit(
        cls, program: Program, shard: str, generation: int, *, hash_range: HashRange, parents: Sequence[Processor]
    ) -> Processor:
        """Return the processor of a shard that a split or merge made, with what its parents leave to it.

        The parents have ended, were made with their own hash ranges, and stay as they are.
        """
        for parent in parents:
            while parent.closing:  # what may be due is told a little too early
                closed = parent.step(()).rows
                assert not closed, "what is due by a parent's watermark is its own to close"
        processor = cls(program, shard, generation, hash_range=hash_range)
        cores = [parent._core for parent in parents]  # noqa: SLF001 - of this very class
        processor._core.inherit(cores, hash_range)
        processor.combining.inherit([parent.combining for parent in parents], hash_range)
        processor._note_reached(max(parent._reached_ms() for parent in parents))  # noqa: SLF001 - of this very class
        return processor

    @classmethod
    def adopt(cls, program: Program, before: Processor) -> Processor:
        """Return the processor of the same shard by other definitions.

        Windows that both have go on with what they hold, others begin empty at the shard's position and watermark. What
        is held of windows that `program` has not is left out: `flush` it before. Nothing may be `closing`.
        """
        assert not before.closing, "what is due by the old definitions is theirs to close"
        core = before._core
        processor = cls(program, core.shard, core.generation, hash_range=core.hash_range)
        processor._core.adopt(core)
        reached_ms = before._reached_ms()
        seen_ms = reached_ms + before.program.pipeline.events.out_of_orderness_ms
        processor.combining.adopt(before.combining, seen_ms)
        processor._note_reached(reached_ms)
        processor.position, processor.last_arrival_ms, processor.totals = (
            before.position,
            before.last_arrival_ms,
            before.totals,
        )
        processor.needs_base = True
        return processor

    def _reached_ms(self) -> int:
        """Return the highest watermark of this shard, and of all that it came of."""
        core = self._core
        return max(core.watermark_ms, self.combining.reached_ms, *(floor_ms for _, floor_ms in core.floors))

    def _note_reached(self, reached_ms: int) -> None:
        if reached_ms > self._reached_ms():
            self.combining.reached_ms = reached_ms

    def _take(self, header: snapshot.Header) -> None:
        if header.position is not None:
            self.position = Position(int(header.position[0]), header.position[1])
        self.last_arrival_ms = header.last_arrival_ms
        self._core.watermark_ms = LONG_AGO_MS if header.watermark_ms is None else header.watermark_ms
        self._core.floors = Floors(
            Floor(HashRange(int(first), int(last)), floor_ms) for first, last, floor_ms in header.floors
        )
        self._core.ordinal = header.ordinal
        self.combining.restore(header.combining)
        self.totals = header.totals
