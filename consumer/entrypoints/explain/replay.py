"""Reads a group's records again, from a mark of the ledger on, through the very code that the workers run.

Everything is as the worker had it: the watermark and the floors stand in the mark, the records come in their order, an
idle decision is taken where its mark says so, and after a split or merge the child takes over by the worker's own rule.
Only the windows that were open at the mark are missing, which have nothing to do with the one that is asked for. Where
something cannot be as the worker had it, a reason says so; marks on the way are held against what was read.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, cast

from consumer.core.compile import Program
from consumer.core.processor import Processor
from consumer.core.resharding import Floor
from consumer.core.times import format_time, parse_time
from consumer.core.windows import LONG_AGO_MS
from consumer.entrypoints.beginning import start_seconds
from consumer.entrypoints.explain.audit import Audit, Counted
from consumer.entrypoints.explain.lineage import Shard, Start
from consumer.entrypoints.explain.probes import Eye, Tracer
from consumer.entrypoints.explain.question import Question
from consumer.entrypoints.state.site import Site
from consumer.entrypoints.state.wording import position_text
from consumer.pipeline.model import Sliding, Tumbling
from consumer.records import HashRange, Position, Record, Row
from consumer.runtime import clock
from consumer.sources.reading import RecordsClient, ShardGoneError, ShardReader
from consumer.state.base import Application
from consumer.state.marks import Mark

READ_PAUSE_SECONDS = 0.25
"""Between two reads of a shard: less than half of its reads, so that those of the workers go on."""
_NOBODY = HashRange(1, 0)


class Place(NamedTuple):
    """Where a record is."""

    shard: str
    position: Position


@dataclass(frozen=True)
class Seen:
    """A record of the group. `fate`: filtered, the reason of a dead letter, or counted (in its windows, or late)."""

    place: Place
    time_ms: int
    arrival_ms: int | None
    fate: str
    data: bytes


@dataclass(frozen=True)
class Emitted:
    """A row of the asked window and group, as the worker emitted it, or, where `is_open`, as it would be by now."""

    data: bytes
    start_ms: int
    end_ms: int
    revision: int
    is_open: bool


@dataclass
class Reading:
    """What is common to all readings of one question: the pipeline's things, and what must not be read twice."""

    site: Site
    program: Program
    application: Application
    question: Question

    def __post_init__(self) -> None:
        pipeline = self.site.pipeline
        self.wide = Eye(pipeline, self.question, filtered=False)
        self.narrow = Eye(pipeline, self.question, filtered=True)
        self.partition_key = self.question.partition_key(pipeline)

    def time_ms(self, record: Record) -> int | None:
        """Return the time of a record's event if it is one of the group's, whether filters let it through or not."""
        if self.partition_key is not None and record.partition_key != self.partition_key:
            return None
        return self.wide.time_ms(record)

    def pages(self, shard: Shard, after: Position | None, tell: Callable[[str], None]) -> Iterator[list[Record]]:
        """Yield what the shard's state has counted after a position. `tell` hears of what is missing."""
        if not shard.ended and (shard.counted is None or (after is not None and after >= shard.counted)):
            return
        reader = self._reader(shard, after)
        is_first = after is not None
        while True:
            try:
                page = self.site.tried(reader.page)
            except ShardGoneError:
                tell(f"{shard.id} is no longer in the stream: all its records are older than the stream's retention")
                return
            if is_first and page.records:
                is_first = False
                if after is not None and Position.of(page.records[0]).sequence > after.sequence:
                    tell(f"records of {shard.id} behind {after.sequence} are older than the stream's retention")
            yield [record for record in page.records if _is_between(after, Position.of(record), shard.counted)]
            if page.is_last or (not page.records and page.behind_ms == 0):
                return
            if page.records and shard.counted is not None and Position.of(page.records[-1]) >= shard.counted:
                return
            clock.sleep(READ_PAUSE_SECONDS)

    def _reader(self, shard: Shard, after: Position | None) -> ShardReader:
        pipeline = self.site.pipeline
        is_root = shard.id in self.application.roots
        return ShardReader(
            cast("RecordsClient", self.site.stream),
            pipeline.source.stream,
            shard.id,
            shard.hash_range,
            sequence=None if after is None else after.sequence,
            start_seconds=start_seconds(pipeline, self.application.started_at_ms) if is_root else None,
        )


def _is_between(after: Position | None, position: Position, last: Position | None) -> bool:
    return (after is None or position > after) and (last is None or position <= last)


@dataclass
class Replay:
    """One reading of a chain of shards, the asked group's records in sight.

    `until` is asked, with the watermark that counts for the group, whether enough was read.
    """

    reading: Reading
    chain: Sequence[Shard]
    start: Start
    until: Callable[[Replay, int], bool]
    seen: list[Seen] = field(default_factory=list)
    rows: list[Emitted] = field(default_factory=list)
    reasons: list[str] = field(default_factory=list)
    records: int = 0
    dead_letters: Counter[str] = field(default_factory=Counter)
    filtered: int = 0
    last: Place | None = None
    stopped: bool = False
    late_unread: int = 0
    """How many events were late for the window, of whatever group, behind what was read."""
    _late: int = 0

    def run(self) -> Replay:
        """Read."""
        question, site = self.reading.question, self.reading.site
        mark, first = self.start.mark, self.chain[self.start.place]
        self._processor = self._new(first)
        if mark is None:
            self.reasons.append(f"{first.id} has no ledger of this generation: it is read from its first record")
        else:
            self._processor.stand_at(mark.position, mark.watermark_ms, _floors(mark))
        self.tracer = Tracer(site.pipeline, question, self._counts_ms())
        for number, shard in enumerate(self.chain[self.start.place :]):
            if number:
                self._inherit(shard)
            self._read(shard, mark if not number else shard.beginning)
            if self.stopped:
                break
        self._finish()
        return self

    def _new(self, shard: Shard) -> Processor:
        reading = self.reading
        return Processor(reading.program, shard.id, reading.application.generation, hash_range=shard.hash_range)

    def _inherit(self, child: Shard) -> None:
        """Take over as the child has. What other parents bring are watermarks, which the child's first mark tells."""
        reading, beginning = self.reading, child.beginning
        parents = [self._processor]
        if beginning is None:
            self.reasons.append(f"the ledger of {child.id} does not have its beginning: its watermark there is a guess")
        else:
            other = Processor(reading.program, child.id, reading.application.generation, hash_range=_NOBODY)
            other.stand_at(None, beginning.watermark_ms, _floors(beginning))
            parents.append(other)
        self._processor = Processor.inherit(
            reading.program,
            child.id,
            reading.application.generation,
            hash_range=child.hash_range,
            parents=parents,
        )
        if beginning is not None and self._processor.watermark_ms != beginning.watermark_ms:
            self.reasons.append(f"{child.id} began at another watermark than its parents' records give")

    # Reading a shard

    def _read(self, shard: Shard, mark: Mark | None) -> None:
        marks = list(shard.marks)
        left = marks[marks.index(mark) + 1 :] if mark is not None and mark in marks else marks
        audit = Audit(self, shard, mark, self.reading.question.window.name)
        after = None if mark is None else mark.position
        for page in self.reading.pages(shard, after, self.tell):
            left = self._take(shard, page, left, audit)
            if self.stopped:
                break
        else:
            for each in left:
                audit.reached(each)
            audit.ended()
        if self.stopped and left:
            window = self.reading.question.window.name
            self.late_unread += left[-1].totals.late.get(window, 0) - left[0].totals.late.get(window, 0)

    def tell(self, reason: str) -> None:
        """Hear why this may not be what the worker did."""
        if reason not in self.reasons:
            self.reasons.append(reason)

    def _take(self, shard: Shard, page: Sequence[Record], marks: list[Mark], audit: Audit) -> list[Mark]:
        """Process a page; return the marks that lie behind it."""
        plain: list[Record] = []
        for record in page:
            position = Position.of(record)
            while marks and (marks[0].position is None or marks[0].position < position):
                self._apply(plain)
                plain = []
                audit.reached(marks.pop(0))
            time_ms = self.reading.time_ms(record) if self._is_watched(shard) else None
            if time_ms is None:
                plain.append(record)
            else:
                self._apply(plain)
                plain = []
                self._apply_seen(Place(shard.id, position), record, time_ms)
        self._apply(plain)
        if page:
            self.last = Place(shard.id, Position.of(page[-1]))
        watermark_ms = self._counts_ms()
        self.stopped = watermark_ms is not None and self.until(self, watermark_ms)
        return marks

    def _is_watched(self, shard: Shard) -> bool:
        """Tell whether a shard's own events belong to what is asked for: a heir's are a part of their own."""
        return self.reading.question.window.aligned or shard is self.chain[0]

    def _apply(self, records: Sequence[Record]) -> dict[str, int]:
        """Process records; return the dead letters among them."""
        if not records:
            return {}
        outcome = self._processor.apply(records)
        self._keep(outcome.rows)
        self.records += len(records)
        self.filtered += outcome.counts.filtered
        self.dead_letters.update(outcome.counts.dead_letters)
        self._late += outcome.counts.late.get(self.reading.question.window.name, 0)
        return outcome.counts.dead_letters

    def _apply_seen(self, place: Place, record: Record, time_ms: int) -> None:
        """Process a record of the group, and find out what became of it."""
        counts_ms, late_before, fate = self._counts_ms(record.partition_key), self._late, "counted"
        dead = self._apply([record])
        if dead:
            fate = next(iter(dead))
        elif self.reading.narrow.time_ms(record) is None:
            fate = "filtered"
        else:
            before = len(self.tracer.late)
            self.tracer.event(len(self.seen), time_ms, counts_ms)
            if len(self.tracer.late) - before != self._late - late_before:
                self.tell(f"what is late for the window at {place.shard} {place.position.sequence} is not certain")
        self.seen.append(Seen(place, time_ms, record.arrival_ms, fate, record.data))

    def idle(self, watermark_ms: int) -> None:
        """Take an idle decision that the worker has taken."""
        bound_ms = self.reading.site.pipeline.events.out_of_orderness_ms
        self._keep(self._processor.idle(watermark_ms + bound_ms).rows)
        while self._processor.closing:
            self._keep(self._processor.step(()).rows)

    def counted(self) -> Counted:
        """Return what was read so far."""
        by_watermark = isinstance(self.reading.question.window.kind, Tumbling | Sliding)
        return Counted(self.records, self.filtered, self.dead_letters.copy(), self._late if by_watermark else None)

    @property
    def watermark_ms(self) -> int | None:
        """Return the shard's watermark."""
        return self._processor.watermark_ms

    def _counts_ms(self, partition_key: str | None = None) -> int | None:
        """Return the watermark that counts for the group."""
        key = partition_key if partition_key is not None else self.reading.partition_key
        floor_ms = LONG_AGO_MS
        if self.reading.question.window.aligned and key is not None:
            floor_ms = self._processor.floors().of(key)
        shard_ms = self._processor.watermark_ms
        if shard_ms is None:
            return None if floor_ms == LONG_AGO_MS else floor_ms
        return max(shard_ms, floor_ms)

    def _keep(self, rows: Sequence[Row], *, is_open: bool = False) -> None:
        question = self.reading.question
        for row in rows:
            if row.output != question.window.name:
                continue
            told = json.loads(row.data)
            if question.is_of(told) and self._is_of_origin(told):
                start_ms, end_ms = parse_time(told["window_start"]), parse_time(told["window_end"])
                self.rows.append(Emitted(row.data, start_ms, end_ms, told["revision"], is_open))

    def _is_of_origin(self, told: dict[str, Any]) -> bool:
        return self.reading.question.window.aligned or told["shard"] == self.chain[0].id

    def _finish(self) -> None:
        self.tracer.advance(self._counts_ms())
        self.tracer.end()
        self._keep(self._processor.close_all().rows, is_open=True)

    def what_was_read(self) -> dict[str, Any]:
        """Return from where to where, and what all of it came to."""
        mark = self.start.mark
        return {
            "shards": [shard.id for shard in self.chain[self.start.place :]],
            "after": None if mark is None else position_text(mark.position),
            "from_watermark": None if mark is None or mark.watermark_ms is None else format_time(mark.watermark_ms),
            "to": None if self.last is None else place_facts(self.last),
            "records": self.records,
            "filtered": self.filtered,
            "dead_letters": dict(sorted(self.dead_letters.items())),
        }


def _floors(mark: Mark) -> list[Floor]:
    return [Floor(HashRange(int(low), int(high)), floor_ms) for low, high, floor_ms in mark.floors]


def place_facts(place: Place) -> dict[str, Any]:
    """Return a place as it is told."""
    return {
        "shard": place.shard,
        "sequence_number": str(place.position.sequence),
        "sub_sequence_number": place.position.sub_sequence,
    }
