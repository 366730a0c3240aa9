"""Plays a test on the real core: a worker with one shard, its stored state, and its sinks, all in memory.

Rule 1: a row is delivered by the commit after it was made. Rule 2: a crash loses what came since the last commit:
the state of that commit is restored, and the source delivers again, from the shard's first record on; the core skips
what it has counted, and an idle decision is taken again where it was taken. Rule 3: the clock that an idle decision
looks at is the latest of `start`, the arrival times and the highest event time accepted, and goes on by `idle` steps.
Rule 4: the end of a test is a commit. Rule 5: the shard is the only one of its stream, so a global window is complete
when it is due there, and its rows are delivered as if they were the shard's.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import Enum

from consumer.core.compile import Program
from consumer.core.processor import Processor
from consumer.entrypoints.global_rows import alone
from consumer.entrypoints.unit_tests.definitions import Idle, Mark, Step, UnitTest
from consumer.records import Record, Row

_GENERATION = 0
_ENTRIES_MAX = 8
"""Snapshots in a row, a base and its deltas, before there is a base again."""


class Manner(Enum):
    """How the records of a test are handed over."""

    AS_WRITTEN = "as written: all records between two other steps in one batch"
    ONE_BY_ONE = "one record a batch"
    RESTORED = "one record a batch, and a restore from the stored state after each"


@dataclass(frozen=True, slots=True)
class Played:
    """What came of a test: rows as delivered, in order, and what the shard is left with."""

    rows: tuple[Row, ...]
    watermark_ms: int | None
    open_groups: dict[str, int]


def play(program: Program, test: UnitTest, manner: Manner) -> Played:
    """Play a test from its first step to its last."""
    shard = _Shard(program, test)
    for step in _in_batches(test.steps, one_by_one=manner is not Manner.AS_WRITTEN):
        match step:
            case Mark.COMMIT:
                shard.commit()
            case Mark.CRASH:
                shard.crash()
            case _:
                shard.take(step)
        if manner is Manner.RESTORED:
            shard.commit()
            shard.restore()
    shard.commit()
    return shard.played()


_Taken = list[Record] | int | Mark
"""What changes a shard: records, an idle decision by a clock that shows these milliseconds, its close."""


def _in_batches(steps: Sequence[Step], *, one_by_one: bool) -> Iterator[list[Record] | Idle | Mark]:
    batch: list[Record] = []
    for step in steps:
        if isinstance(step, Record):
            batch.append(step)
        if batch and (one_by_one or not isinstance(step, Record)):
            yield batch
            batch = []
        if not isinstance(step, Record):
            yield step
    if batch:
        yield batch


class _Shard:
    """A shard with its owner."""

    def __init__(self, program: Program, test: UnitTest) -> None:
        self._program = program
        self._name = test.shard
        self._processor = Processor(program, test.shard, _GENERATION)
        self._clock_ms = test.times.start_ms or 0
        self._bound_ms = program.pipeline.events.out_of_orderness_ms
        self._idle_after_ms = program.pipeline.events.idle_after_ms
        self._idle_for_ms = 0
        self._entries: list[bytes] = []
        self._outbox: list[Row] = []
        self._delivered: list[Row] = []
        self._counted: list[Record] = []
        """All records up to the last commit."""
        self._since: list[_Taken] = []

    def take(self, step: list[Record] | Idle | Mark) -> None:
        """Take records, an idle time, or the shard's close."""
        taken = self._decide(step) if isinstance(step, Idle) else step
        if isinstance(step, list):
            self._idle_for_ms = 0
            arrivals_ms = [record.arrival_ms for record in step if record.arrival_ms is not None]
            self._clock_ms = max([self._clock_ms, *arrivals_ms])
        if taken is not None:
            self._since.append(taken)
            self._apply(taken)

    def _decide(self, idle: Idle) -> int | None:
        """Let the clock go on; return its milliseconds if the shard has been idle for long enough, else None."""
        self._idle_for_ms += idle.duration_ms
        self._clock_ms = self._now_ms() + idle.duration_ms
        is_idle = self._idle_after_ms is not None and self._idle_for_ms >= self._idle_after_ms
        return self._clock_ms if is_idle else None

    def _now_ms(self) -> int:
        watermark_ms = self._processor.watermark_ms
        highest_ms = None if watermark_ms is None else watermark_ms + self._bound_ms
        return max(self._clock_ms, self._clock_ms if highest_ms is None else highest_ms)

    def _apply(self, taken: _Taken) -> None:
        if isinstance(taken, list):
            self._outbox += self._processor.apply(taken).rows
            return
        outcome = self._processor.idle(taken) if isinstance(taken, int) else self._processor.end()
        self._outbox += outcome.rows
        while self._processor.closing:
            self._outbox += self._processor.step(()).rows

    def commit(self) -> None:
        """Store the state and the rows, then deliver them."""
        base = len(self._entries) % _ENTRIES_MAX == 0
        entry = self._processor.freeze(self._outbox, base=base)
        self._entries = [entry] if base else [*self._entries, entry]
        self._delivered += alone(self._program, self._outbox)
        self._outbox = []
        for taken in self._since:
            self._counted += taken if isinstance(taken, list) else []
        self._since = []

    def restore(self) -> None:
        """Go on with the stored state."""
        if self._entries:
            self._processor, _ = Processor.restore(self._program, self._name, _GENERATION, self._entries)
        else:
            self._processor = Processor(self._program, self._name, _GENERATION)
        self._outbox = []

    def crash(self) -> None:
        """Lose what came since the last commit, and take it again."""
        self.restore()
        for taken in (self._counted, *self._since):
            self._apply(taken)

    def played(self) -> Played:
        """Return what came of the test."""
        return Played(tuple(self._delivered), self._processor.watermark_ms, self._processor.open_groups())
