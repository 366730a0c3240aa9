"""What the status page is made of: the newest facts, kept as they are told, once a batch or a commit.

A shard's facts are written by that shard's thread alone, and each is replaced whole, so that the page may be made by
another thread meanwhile, without a lock: a shard that stands still, or waits for a sink, holds up nobody who looks.
What all shards share is behind a lock that is held for a few additions.

Times are epoch milliseconds of the clock passed in.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

from consumer.core.completion import Completion
from consumer.records import Position
from consumer.telemetry.shards import Batch

RECENT_MINUTES = 10
"""How long late events and dead letters count as recent."""
RECENT_MS = RECENT_MINUTES * 60_000
COMMITS_MAX = 5
"""How many commits are kept, and how many more of those that went wrong."""

CommitResult = Literal["ok", "retry", "failed", "fenced"]
DaemonState = Literal["not started", "initialising", "running", "ended"]


def position_text(position: Position | None) -> str | None:
    """Return a position as logs and the status page write it."""
    return None if position is None else f"{position.sequence}:{position.sub_sequence}"


class Recent:
    """How many of something there were in the last while: a sum a bucket of time."""

    def __init__(self, *, bucket_ms: int, buckets: int) -> None:
        self._bucket_ms = bucket_ms
        self._sums: deque[tuple[int, int]] = deque(maxlen=buckets)

    def add(self, number: int, now_ms: int) -> None:
        """Count so many more."""
        bucket = now_ms // self._bucket_ms
        if self._sums and self._sums[-1][0] == bucket:
            self._sums[-1] = bucket, self._sums[-1][1] + number
        else:
            self._sums.append((bucket, number))

    def total(self, now_ms: int, span_ms: int) -> int:
        """Return how many there were in the last `span_ms`, or up to one bucket less.

        What was counted before the clock was put back lies ahead, and does not count.
        """
        after, now = (now_ms - span_ms) // self._bucket_ms, now_ms // self._bucket_ms
        return sum(number for bucket, number in tuple(self._sums) if after < bucket <= now)


def _last_minutes() -> Recent:
    return Recent(bucket_ms=5_000, buckets=RECENT_MINUTES * 12)


@dataclass(frozen=True, slots=True)
class Commit:
    """A commit, or an attempt that went wrong. Sizes and seconds are None where it was not made."""

    at_ms: int
    shard: str
    result: CommitResult
    commit_no: int | None = None
    seconds: float | None = None
    size_bytes: int | None = None
    rows: int | None = None
    step: str | None = None
    error: str | None = None


@dataclass(frozen=True, slots=True)
class TakeOver:
    """How a shard came to this worker."""

    at_ms: int
    epoch: int
    started: str
    seconds: float
    groups_limit: int
    position: str | None
    """Where it goes on."""


class ShardFacts:
    """The newest of one shard, since this worker has it. Written by the shard's thread."""

    def __init__(self, now_ms: Callable[[], int]) -> None:
        self._now_ms = now_ms
        self.taken_over: TakeOver | None = None
        self.refusal: str | None = None
        self.batch: tuple[int, Batch] | None = None
        """When the newest call of the source was told, and what it was."""
        self.watermark_moved_ms: int | None = None
        self.records = 0
        self.recent_records = _last_minutes()
        self.commit: Commit | None = None
        self.state_bytes: int | None = None
        self.undelivered_rows = 0
        self.checkpointed_ms: int | None = None

    def note_batch(self, batch: Batch, now_ms: int) -> None:
        """Keep a batch in the place of the one before."""
        if self.batch is None or self.batch[1].watermark_ms != batch.watermark_ms:
            self.watermark_moved_ms = now_ms
        self.batch = now_ms, batch
        received = batch.counts.received
        if received:
            self.records += received
            self.recent_records.add(received, now_ms)

    @property
    def position(self) -> str | None:
        """Return how far the shard is counted, or where it goes on; None at its beginning, or if that is not known."""
        if self.batch is not None:
            return position_text(self.batch[1].position)
        return None if self.taken_over is None else self.taken_over.position

    def note_checkpoint(self) -> None:
        """Note that the source has stored how far the shard is read."""
        self.checkpointed_ms = self._now_ms()


@dataclass(frozen=True, slots=True)
class SinkFacts:
    """What became of the rows for one sink. `failing_since_ms` is None while it takes rows."""

    rows_sent: int = 0
    bytes_sent: int = 0
    rows_rejected: int = 0
    retries: int = 0
    last_sent_ms: int | None = None
    failing_since_ms: int | None = None
    last_failure_ms: int | None = None
    last_failure_reason: str | None = None
    last_rejected_ms: int | None = None
    last_rejected_reason: str | None = None


@dataclass(slots=True)
class Tally:
    """Something that happens to records: how often in all, lately, and when and where last."""

    number: int = 0
    recent: Recent = field(default_factory=_last_minutes)
    last_ms: int | None = None
    last_shard: str | None = None

    def add(self, number: int, now_ms: int, shard: str) -> None:
        """Count so many more."""
        self.number += number
        self.recent.add(number, now_ms)
        self.last_ms, self.last_shard = now_ms, shard


@dataclass(frozen=True, slots=True)
class Reached:
    """How far all shards of the stream are together, as it was read at `at_ms`.

    `waiting` is by window, how many wait for the last shard. `unknown_since_ms` says since when there is no watermark
    of all, though some shard has told one; None while there is one.
    """

    at_ms: int
    completion: Completion
    waiting: Mapping[str, int]
    unknown_since_ms: int | None


@dataclass(frozen=True, slots=True)
class Combining:
    """What was done for global windows: contributions stored and read; times that windows got no rows, and of which."""

    contributions_written: int = 0
    contributions_read: int = 0
    incomplete: int = 0
    last_incomplete: str | None = None


@dataclass(frozen=True, slots=True)
class Step:
    """A step of the start. `ended_ms` is None while it lasts; `error` is that of the newest try that failed."""

    name: str
    began_ms: int
    ended_ms: int | None = None
    retries: int = 0
    error: str | None = None


@dataclass(frozen=True, slots=True)
class Identity:
    """Whose worker it is; None is not known yet."""

    pipeline: str | None
    definitions: str | None
    version: str | None
    stream: str | None
    application: str | None
    identifier: str | None


class Facts:
    """The facts of a worker. Called by the threads of all shards, and read by the HTTP server's.

    `windows` are the names of the pipeline's windows; `now_ms` returns epoch milliseconds.
    """

    def __init__(self, windows: Sequence[str], now_ms: Callable[[], int]) -> None:
        self.now_ms = now_ms
        self.began_ms = now_ms()
        self.identity: Identity | None = None
        self.window_texts: Mapping[str, str] = {}
        self.daemon: DaemonState = "not started"
        self.java_version: str | None = None
        self.daemon_says: str | None = None
        self.stop_reason: str | None = None
        self.reached: Reached | None = None
        self._combining = Combining()
        self._lock = threading.Lock()
        self._shards: dict[str, ShardFacts] = {}
        self._steps: list[Step] = []
        self._sinks: dict[str, SinkFacts] = {}
        self._results = dict.fromkeys(windows, 0)
        self._late = {window: Tally() for window in windows}
        self._dead_letters: dict[str, Tally] = {}
        self._commit_numbers: dict[CommitResult, int] = {"ok": 0, "retry": 0, "failed": 0, "fenced": 0}
        self._commits: deque[Commit] = deque(maxlen=COMMITS_MAX)
        self._failed_commits: deque[Commit] = deque(maxlen=COMMITS_MAX)

    # The start

    def step(self, name: str | None) -> None:
        """Note that the start goes on to this step, or with None that it is over."""
        now_ms = self.now_ms()
        with self._lock:
            if self._steps and self._steps[-1].ended_ms is None:
                self._steps[-1] = replace(self._steps[-1], ended_ms=now_ms)
            if name is not None:
                self._steps.append(Step(name, now_ms))

    def step_failed(self, error: str) -> None:
        """Note that the step is tried again."""
        with self._lock:
            if self._steps:
                last = self._steps[-1]
                self._steps[-1] = replace(last, retries=last.retries + 1, error=error)

    def steps(self) -> tuple[Step, ...]:
        """Return the steps of the start so far."""
        with self._lock:
            return tuple(self._steps)

    # Shards

    def hold(self, shard: str) -> ShardFacts:
        """Return new facts of a shard, in the place of those of an earlier lease."""
        facts = ShardFacts(self.now_ms)
        with self._lock:
            self._shards[shard] = facts
        return facts

    def let_go(self, shard: str, facts: ShardFacts) -> None:
        """Forget these facts of a shard; not those of a newer lease."""
        with self._lock:
            if self._shards.get(shard) is facts:
                del self._shards[shard]

    def shards(self) -> dict[str, ShardFacts]:
        """Return the facts by shard."""
        with self._lock:
            return dict(self._shards)

    # What happens to records and rows

    def note_batch(self, shard: str, facts: ShardFacts, batch: Batch, now_ms: int) -> None:
        """Keep a batch; the lock is taken only if something came of it."""
        facts.note_batch(batch, now_ms)
        counts = batch.counts
        if counts.results or counts.late or counts.dead_letters:
            with self._lock:
                for window, number in counts.results.items():
                    self._results[window] += number
                for window, number in counts.late.items():
                    self._late[window].add(number, now_ms, shard)
                for reason, number in counts.dead_letters.items():
                    self._dead_letters.setdefault(reason, Tally()).add(number, now_ms, shard)

    def note_commit(self, facts: ShardFacts, commit: Commit) -> None:
        """Keep a commit."""
        facts.commit = commit
        with self._lock:
            self._commit_numbers[commit.result] += 1
            (self._commits if commit.result == "ok" else self._failed_commits).append(commit)

    def note_rows(self, sink: str, result: Literal["sent", "failed", "rejected"], rows: int, size_bytes: int) -> None:
        """Count rows that a sink has taken, or never will."""
        now_ms = self.now_ms()
        with self._lock:
            facts = self._sinks.get(sink, SinkFacts())
            if result == "sent":
                self._sinks[sink] = replace(
                    facts,
                    rows_sent=facts.rows_sent + rows,
                    bytes_sent=facts.bytes_sent + size_bytes,
                    last_sent_ms=now_ms,
                    failing_since_ms=None,
                )
            elif result == "rejected":
                self._sinks[sink] = replace(facts, rows_rejected=facts.rows_rejected + rows)

    def note_retry(self, sink: str, reason: str) -> None:
        """Note that a sink has not taken rows, which are sent again."""
        now_ms = self.now_ms()
        with self._lock:
            facts = self._sinks.get(sink, SinkFacts())
            self._sinks[sink] = replace(
                facts,
                retries=facts.retries + 1,
                failing_since_ms=now_ms if facts.failing_since_ms is None else facts.failing_since_ms,
                last_failure_ms=now_ms,
                last_failure_reason=reason,
            )

    def note_rejection(self, sink: str, reason: str) -> None:
        """Note why a row is lost; `note_rows` counts it."""
        now_ms = self.now_ms()
        with self._lock:
            facts = self._sinks.get(sink, SinkFacts())
            self._sinks[sink] = replace(facts, last_rejected_ms=now_ms, last_rejected_reason=reason)

    # Global windows

    def note_reached(self, completion: Completion, waiting: Mapping[str, int]) -> None:
        """Keep how far all shards are, in the place of what was read before."""
        now_ms, before = self.now_ms(), self.reached
        since_ms = None
        if completion.watermark_ms is None and completion.highest_ms is not None:
            since_ms = now_ms if before is None or before.unknown_since_ms is None else before.unknown_since_ms
        self.reached = Reached(now_ms, completion, dict(waiting), since_ms)

    def note_contributions(self, *, written: int = 0, read: int = 0, rows: Mapping[str, int] | None = None) -> None:
        """Count contributions, and by window the rows that were made of them."""
        with self._lock:
            self._combining = replace(
                self._combining,
                contributions_written=self._combining.contributions_written + written,
                contributions_read=self._combining.contributions_read + read,
            )
            for window, number in (rows or {}).items():
                self._results[window] += number

    def note_incomplete(self, window: str) -> None:
        """Note that windows got no rows."""
        with self._lock:
            self._combining = replace(
                self._combining, incomplete=self._combining.incomplete + 1, last_incomplete=window
            )

    def totals(self) -> Totals:
        """Return what all shards share, as it is now."""
        now_ms = self.now_ms()
        with self._lock:
            return Totals(
                results=dict(self._results),
                late={window: _told(tally, now_ms) for window, tally in self._late.items()},
                dead_letters={reason: _told(tally, now_ms) for reason, tally in sorted(self._dead_letters.items())},
                sinks=dict(sorted(self._sinks.items())),
                commit_numbers=dict(self._commit_numbers),
                commits=tuple(reversed(self._commits)),
                failed_commits=tuple(reversed(self._failed_commits)),
                combining=self._combining,
            )


@dataclass(frozen=True, slots=True)
class ToldTally:
    """A tally at one moment."""

    number: int
    recent: int
    last_ms: int | None
    last_shard: str | None


@dataclass(frozen=True, slots=True)
class Totals:
    """What all shards share at one moment; commits with the newest first. By window, reason, or sink."""

    results: Mapping[str, int]
    late: Mapping[str, ToldTally]
    dead_letters: Mapping[str, ToldTally]
    sinks: Mapping[str, SinkFacts]
    commit_numbers: Mapping[CommitResult, int]
    commits: tuple[Commit, ...]
    failed_commits: tuple[Commit, ...]
    combining: Combining


def _told(tally: Tally, now_ms: int) -> ToldTally:
    return ToldTally(tally.number, tally.recent.total(now_ms, RECENT_MS), tally.last_ms, tally.last_shard)
