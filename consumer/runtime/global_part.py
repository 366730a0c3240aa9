"""What one owner of a shard does for global windows: it tells its progress, and combines the buckets that are its own.

The order, in the commits of `commit.py`:
1. What the shard contributes is part of the outbox of the commit that closed the windows, and is sent with it.
2. Only then is the progress told, with the watermark of that commit: who reads it finds all contributions stored.
3. What is complete by the progress of all shards is read, combined, and goes into the outbox of this owner's next
   commit, together with the note up to where it has combined (core/combining.py): both are stored, or neither.

A crash between any two of these leaves the state as it was, and the next owner does the same again: contributions are
the same bytes under the same names, rows have the same ids and bytes, progress is told anew at INIT.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from functools import partial
from itertools import groupby
from typing import TYPE_CHECKING, NamedTuple

from consumer.core.combining import Bucket, buckets
from consumer.core.compile import Program, WindowProgram
from consumer.core.completion import NAME_DIGITS, Completion, Progress, Stretch
from consumer.core.contributions import Contribution, combined, stamped
from consumer.core.processor import Processor
from consumer.core.windows import LONG_AGO_MS
from consumer.errors import RetryableError
from consumer.records import HashRange, Row

if TYPE_CHECKING:
    from consumer.runtime.surroundings import Surroundings

RETENTIONS_KEPT = 2
"""How many times the stream's retention contributions are kept."""
_CLOCKS_APART_MS = 5 * 60_000
"""So much earlier contributions count as forgotten: the store has another clock, and a bucket is not read at once."""
COMBINED_ROWS_MAX = 10_000
CONTRIBUTIONS_READ_MAX = 10_000
BYTES_READ_MAX = 32 * 1024 * 1024
"""After so many rows, or so much that was read, the next window waits: a message of the daemon has to be answered."""


def _expires_ms(around: Surroundings) -> int | None:
    """Return when what is told now may be forgotten: contributions, and the progress of ended shards; None: never.

    Who is further behind than the stream's retention has lost records anyway.
    """
    return None if around.retention is None else around.clock.now_ms() + RETENTIONS_KEPT * around.retention.period_ms


def awaited_ms(around: Surroundings, watermark_ms: int | None) -> int | None:
    """Return the watermark up to which other shards wait for an idle one to go on; None if no global window waits.

    It is never beyond that of the shard that is ahead. Where no shard is ahead nobody decides: a stream that is silent
    as a whole is left alone, and two idle shards do not drive each other on.
    """
    if not around.program.combined:
        return None
    highest_ms = around.view.look(around).highest_ms
    if highest_ms is None:
        return None
    decided_ms = min(highest_ms, around.clock.now_ms() - around.program.pipeline.events.out_of_orderness_ms)
    return decided_ms if around.program.passes_combined(watermark_ms, decided_ms) else None


class Combined(NamedTuple):
    """The rows of what was combined.

    `moved`: whether a state is to be stored that knows of it. `done`: nothing is left that was complete; else another
    call goes on.
    """

    rows: list[Row]
    moved: bool
    done: bool


class GlobalPart:
    """Of one owner, as one epoch."""

    def __init__(self, around: Surroundings, shard: str) -> None:
        self._around = around
        self._shard = shard
        self._told: Progress | None = None
        self._combined: Completion | None = None
        self._read = self._read_bytes = 0
        self._forgotten_ms = LONG_AGO_MS

    def outbox(self, processor: Processor, rows: Sequence[Row]) -> Sequence[Row]:
        """Return rows as a commit is to hold them: from here on contributions know when they may be forgotten.

        So does the state that is stored with them.
        """
        expires_ms = _expires_ms(self._around)
        if expires_ms is None or not rows or not processor.program.combined:
            return rows
        stored, due_ms = stamped(processor.program, rows, expires_ms)
        if due_ms is not None:
            processor.combining.contributed(self._around.clock.now_ms(), Stretch(expires_ms, due_ms))
        return stored

    def tell(
        self,
        processor: Processor,
        hash_range: HashRange,
        parents: Sequence[str],
        *,
        epoch: int,
        commit_no: int,
        ended: bool,
    ) -> None:
        """Tell the progress of a commit all of whose outbox was sent, unless it says nothing new."""
        program, combining = processor.program, processor.combining
        if not program.combined:
            return
        progress = Progress(
            shard=self._shard,
            generation=self._around.application.generation,
            parents=tuple(parents),
            hash_range=(str(hash_range.first), str(hash_range.last)),
            watermark_ms=processor.closed_ms,
            epoch=epoch,
            commit_no=commit_no,
            ended=ended,
            began=tuple((program.windows[number].hash[:NAME_DIGITS], ms) for number, ms in combining.began.items()),
            stretches=combining.stretches,
            expires_ms=_expires_ms(self._around) if ended else None,
        )
        if self._says_more(progress, program):
            self._around.retrying(self._shard, "tell", partial(self._around.store.write_progress, progress))
            self._told = progress

    def _says_more(self, progress: Progress, program: Program) -> bool:
        told = self._told
        if told is None or (told.ended, told.began) != (progress.ended, progress.began):
            return True
        return program.passes_combined(told.watermark_ms, progress.watermark_ms)

    def combine(self, processor: Processor, hash_range: HashRange) -> Combined:
        """Combine windows that are complete, of the buckets of this shard.

        From here on the processor knows them as combined: the rows must be in the very next commit.
        """
        rows, up_to = list[Row](), processor.combining.up_to
        if not processor.program.combined:
            return Combined(rows, moved=False, done=True)
        view, before = self._around.view.look(self._around), up_to.copy()
        if view is self._combined:
            return Combined(rows, moved=False, done=True)
        started, self._read, self._read_bytes = self._around.clock.monotonic(), 0, 0
        self._forgotten_ms = view.forgotten_ms(self._around.clock.now_ms() + _CLOCKS_APART_MS)
        done = True
        try:
            for bucket in buckets(processor.program, hash_range) if view.watermark_ms is not None else ():
                done &= self._combine(processor, bucket, view, rows)
        except RetryableError as error:
            # What is in `rows` is whole windows; of the rest nothing is noted as combined.
            self._around.telemetry.commit_retry(shard=self._shard, step="combine", error=error, wait_seconds=0)
            done = False
        if self._read:
            self._around.telemetry.combined(
                shard=self._shard,
                contributions=self._read,
                rows=Counter(row.output for row in rows),
                seconds=self._around.clock.monotonic() - started,
            )
        self._combined = view if done else None
        return Combined(rows, moved=up_to != before, done=done)

    def _combine(self, processor: Processor, bucket: Bucket, view: Completion, rows: list[Row]) -> bool:
        """Add the rows of a bucket's windows, and note up to where it is combined, window by window; False: not all."""
        program, up_to = processor.program.windows[bucket.number], processor.combining.up_to
        watermark_ms = view.watermark_ms
        if watermark_ms is None or not _passes(program, up_to.get(bucket), watermark_ms):
            return True
        since_ms, until_ms = view.began_ms(program.hash), _end_due_by(program, watermark_ms)
        if since_ms is None:
            return True
        forgotten_ms = self._forgotten_ms
        if forgotten_ms > LONG_AGO_MS and _passes(program, up_to.get(bucket), forgotten_ms):
            self._leave_out(program, bucket, up_to, since_ms, min(_end_due_by(program, forgotten_ms), until_ms))
        found = self._around.store.read_contributions(
            self._around.application.generation,
            program.hash,
            bucket.bucket,
            after_end_ms=up_to.get(bucket),
            until_end_ms=until_ms,
        )
        for (end_ms, start_ms), group in groupby(found, key=_window_of):
            if self._is_enough(rows):
                return False
            contributions = list(group)
            self._read += len(contributions)
            self._read_bytes += sum(len(each.data) for each in contributions)
            if start_ms >= since_ms:
                rows += combined(program, contributions)
            up_to[bucket] = end_ms
        up_to[bucket] = until_ms
        return True

    def _is_enough(self, rows: Sequence[Row]) -> bool:
        read, size_bytes = self._read, self._read_bytes
        return len(rows) >= COMBINED_ROWS_MAX or read >= CONTRIBUTIONS_READ_MAX or size_bytes >= BYTES_READ_MAX

    def _leave_out(
        self, program: WindowProgram, bucket: Bucket, up_to: dict[Bucket, int], since_ms: int, end_ms: int
    ) -> None:
        """Pass windows of which contributions may be forgotten, and say so: what is left of them is not all.

        Of a window that was added, no row was to come of those that end by `since_ms`.
        """
        if end_ms <= since_ms:
            return
        self._around.telemetry.global_windows_incomplete(
            shard=self._shard,
            window=program.window.name,
            bucket=bucket.bucket,
            after_ms=up_to.get(bucket),
            until_ms=end_ms,
        )
        up_to[bucket] = end_ms


def _passes(program: WindowProgram, up_to_ms: int | None, watermark_ms: int) -> bool:
    """Tell whether a window that ends later is due by a watermark."""
    if up_to_ms is None:
        return True
    return program.next_due_ms(program.due_ms(up_to_ms)) <= watermark_ms


def _end_due_by(program: WindowProgram, watermark_ms: int) -> int:
    """Return the latest end that a window due by a watermark can have."""
    return watermark_ms + 1 - program.window.allowed_lateness_ms


def _window_of(contribution: Contribution) -> tuple[int, int]:
    return contribution.end_ms, contribution.start_ms
