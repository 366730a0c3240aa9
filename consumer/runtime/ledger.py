"""Keeps a shard's ledger (`state/marks.py`): a mark now and then of where a commit has left the shard.

1. A mark is made of a state that is committed, never of one that may yet be lost: so none is false, whoever writes it
   and however late. An idle decision is noted when it is made, and becomes a mark with the commit that holds it.
2. There is one at the shard's beginning, at each new owner's, at each idle decision, at each change of definitions, at
   the shard's end, and else at most one a minute. Decisions are written every ten seconds at most: a silent shard may
   take one a second.
3. They are written behind the commits, in the background. What cannot be written now goes with the next; what a crash
   loses stays lost. No commit waits for it, and no state depends on it.
"""

from __future__ import annotations

import threading
from dataclasses import replace

import msgspec

from consumer.core.processor import Processor
from consumer.errors import CorruptStateError, StreamgaugeError
from consumer.runtime.surroundings import Surroundings
from consumer.state.base import ShardState
from consumer.state.marks import Ledger, Mark, thinned

MARK_SECONDS = 60.0
DECISION_SECONDS = 10.0


class LedgerKeeper:
    """What one owner of a shard adds to its ledger."""

    def __init__(self, around: Surroundings, shard: str) -> None:
        self._around = around
        self._shard = shard
        self._decided: list[Mark] = []
        self._decisions = 0
        self._marked_at: float | None = None
        self._definitions = ""
        self._written_at = 0.0
        self._lock = threading.Lock()
        self._new: tuple[Mark, ...] = ()
        self._head: Ledger | None = None
        self._is_writing = False
        self._error: Exception | None = None
        self._found: tuple[Mark, ...] | None = None
        """What earlier owners have left; None until that is known."""
        self._written: tuple[Mark, ...] = ()

    def decided(self, processor: Processor) -> None:
        """Note an idle decision: the next commit holds it."""
        self._decisions += 1
        self._decided.append(self._mark(processor, 0, idle=True))

    def committed(self, epoch: int, state: ShardState, processor: Processor) -> None:
        """Add marks, if it is time for one: `state` was committed, or found committed, and `processor` stands there.

        What went wrong in the background without being foreseen is raised here.
        """
        if self._error is not None:
            raise self._error
        now = self._around.clock.monotonic()
        is_due = self._marked_at is None or now - self._marked_at >= MARK_SECONDS or state.ended
        is_due = is_due or state.definitions != self._definitions
        new = [msgspec.structs.replace(mark, commit_no=state.commit_no) for mark in self._decided]
        self._decided = []
        if is_due:
            self._marked_at, self._definitions = now, state.definitions
            new.append(self._mark(processor, state.commit_no, ended=state.ended))
        if new:
            with self._lock:
                self._new = thinned((*self._new, *new))
                self._head = Ledger(
                    epoch, state.generation, state.stream_created_ms, state.hash_range, state.parents, marks=()
                )
        if is_due:
            self.flush()
        else:
            self.look()

    def look(self) -> None:
        """Have decisions that wait written, if the last write is long enough ago."""
        if self._around.clock.monotonic() - self._written_at >= DECISION_SECONDS:
            self.flush()

    def flush(self) -> None:
        """Have marks that wait written now."""
        with self._lock:
            if self._is_writing or not self._new:
                return
            self._is_writing = True
        self._written_at = self._around.clock.monotonic()
        self._around.in_background(self._write)

    def _mark(self, processor: Processor, commit_no: int, *, ended: bool = False, idle: bool = False) -> Mark:
        totals = processor.totals
        return Mark(
            commit_no=commit_no,
            position=processor.position,
            last_arrival_ms=processor.last_arrival_ms,
            watermark_ms=processor.watermark_ms,
            definitions=processor.program.definitions,
            totals=replace(
                totals,
                late=totals.late.copy(),
                dead_letters=totals.dead_letters.copy(),
                early=totals.early.copy(),
                results={},
            ),
            floors=tuple((str(first), str(last), floor_ms) for (first, last), floor_ms in processor.floors()),
            ended=ended,
            idle=idle,
            decisions=self._decisions,
        )

    def _write(self) -> None:
        """Write until nothing is new. Trouble with the store is told, and what is new waits for the next mark."""
        try:
            while self._add_new():
                pass
        except Exception as error:  # noqa: BLE001 - told, or raised by `committed` in the shard's own thread
            if isinstance(error, StreamgaugeError):
                self._around.telemetry.ledger_failed(shard=self._shard, error=error)
            else:
                self._error = error
            with self._lock:
                self._is_writing = False

    def _add_new(self) -> bool:
        """Write what is new; return whether there was anything."""
        with self._lock:
            new, head = self._new, self._head
            self._is_writing = bool(new)
            if not new or head is None:
                return False
        if self._found is None:
            self._found = self._written = self._read(head)
        before = self._found[-1].decisions if self._found else 0
        marks = self._written
        for mark in new:
            if not (marks and _tells_nothing_new(mark, marks[-1])):
                marks = (*marks, msgspec.structs.replace(mark, decisions=before + mark.decisions))
        marks = thinned(marks)
        self._around.store.write_ledger(self._shard, msgspec.structs.replace(head, marks=marks))
        with self._lock:
            self._written = marks
            self._new = tuple(mark for mark in self._new if not any(mark is one for one in new))
        return True

    def _read(self, head: Ledger) -> tuple[Mark, ...]:
        """Return the marks of earlier owners; none if they are of another generation or stream, or cannot be read."""
        try:
            found = self._around.store.read_ledger(self._shard)
        except CorruptStateError as error:
            self._around.telemetry.ledger_failed(shard=self._shard, error=error)
            return ()
        if found is None or (found.generation, found.stream_created_ms) != (head.generation, head.stream_created_ms):
            return ()
        return found.marks


def _tells_nothing_new(mark: Mark, before: Mark) -> bool:
    """Tell whether a mark stands where the one before it does."""
    if mark.idle or mark.ended != before.ended or mark.definitions != before.definitions:
        return False
    return (mark.position, mark.watermark_ms) == (before.position, before.watermark_ms)
