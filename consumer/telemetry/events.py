"""One method an event: its log line, its metrics, its meaning for health and progress, together.

Levels by consequence: DEBUG what happens all the time; INFO the life of worker, daemon and shards; WARNING
trouble that was recovered or is being retried, nothing lost; ERROR data lost, or a person is needed; CRITICAL
the worker ends.

No method takes a payload, a key of the data or a row, and errors are quoted only where redact.py allows it.
Everything is called once a batch or more rarely, never once a record. Methods of one shard are called by that
shard's thread; the others by any.
"""

# ruff: noqa: D401 - the docstring of an event says what has happened

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import Literal

from structlog.typing import FilteringBoundLogger

from consumer.aws_errors import reason_of
from consumer.core.faults import MISROUTED, REASONS
from consumer.core.times import format_time
from consumer.errors import RefusedError, SetupError
from consumer.records import Position
from consumer.telemetry.adoption_events import AdoptionEvents
from consumer.telemetry.alarm_events import AlarmEvents
from consumer.telemetry.daemon_events import DaemonEvents
from consumer.telemetry.delivery import ShardDelivery
from consumer.telemetry.facts import Commit, Facts, Identity, TakeOver, position_text
from consumer.telemetry.global_events import GlobalEvents
from consumer.telemetry.health import Activity, Health, WorkerState
from consumer.telemetry.invocation_events import ContainerStep, InvocationEvents
from consumer.telemetry.lease_events import LeaseEvents
from consumer.telemetry.metrics import Metrics
from consumer.telemetry.progress import Progress
from consumer.telemetry.redact import describe, safe_traceback
from consumer.telemetry.repeats import Line
from consumer.telemetry.shards import Batch, ShardLines, ShardSeries
from consumer.telemetry.start_events import StartEvents

Started = Literal["empty", "inherited", "resumed"]
"""What a shard's owner begins with: nothing, the states of its parents, or its own stored state."""

CommitStep = Literal["claim", "load", "snapshot", "fence", "delete", "contribute", "tell", "combine"]
"""What of taking a shard over, or of a commit, may fail and be tried again."""

StartStep = Literal[
    "check_table",
    "check_bucket",
    "describe_stream",
    "read_application",
    "list_shards",
    "create_application",
    "adopt",
    "release_leader",
    "accept_leases",
]
"""What of a worker's start may fail and be tried again, in this order."""


class _Shard:
    """What is kept of a shard while the worker holds it."""

    def __init__(self, telemetry: Telemetry, shard: str) -> None:
        self.series = ShardSeries(telemetry.metrics, shard, telemetry.monotonic)
        self.lines = ShardLines(telemetry.logger, shard, telemetry.monotonic)
        self.facts = telemetry.facts.hold(shard)
        self.delivery = ShardDelivery(telemetry.metrics, telemetry.health, telemetry.facts, self.lines, shard)
        self.owned = False
        self.refused = False
        self._thread = threading.get_ident()

    @property
    def is_mine(self) -> bool:
        """Whether the calling thread is the one that made it."""
        return self._thread == threading.get_ident()


class Telemetry(AdoptionEvents, AlarmEvents, DaemonEvents, GlobalEvents, InvocationEvents, LeaseEvents, StartEvents):
    """Everything that the worker tells. `windows` names the pipeline's windows; clocks are injected.

    `monotonic` returns seconds, `now_ms` epoch milliseconds.
    """

    def __init__(
        self,
        *,
        metrics: Metrics,
        logger: FilteringBoundLogger,
        health: Health,
        windows: Sequence[str],
        monotonic: Callable[[], float],
        now_ms: Callable[[], int],
        progress: Progress | None = None,
    ) -> None:
        self.metrics = metrics
        self.logger = logger.bind(stream=metrics.stream)
        self.health = health
        self.monotonic = monotonic
        self.facts = Facts(windows, now_ms)
        self._now_ms = now_ms
        self._progress = progress
        self._lock = threading.Lock()
        self._shards: dict[str, _Shard] = {}
        self._batches = metrics.counter("batches_total")
        self._batch_records = metrics.histogram("batch_records")
        self._process_duration = metrics.histogram("process_duration_seconds")
        self._filtered = metrics.counter("records_filtered_total")
        self._replayed = metrics.counter("records_replayed_total")
        self._misrouted = metrics.counter("records_misrouted_total")
        self._dead_lettered = {
            reason: metrics.counter("records_dead_lettered_total", reason=reason) for reason in REASONS
        }
        self._late = {window: metrics.counter("records_late_total", window=window) for window in windows}
        self._results = {window: metrics.counter("results_emitted_total", window=window) for window in windows}
        self._early = {window: metrics.counter("results_early_total", window=window) for window in windows}
        self._emit_delay = metrics.histogram("emit_delay_seconds")
        self._idle_advances = metrics.counter("idle_advances_total")
        self._commits = {
            result: metrics.counter("commits_total", result=result) for result in ("ok", "retry", "fenced", "failed")
        }
        self._commit_duration = metrics.histogram("commit_duration_seconds")
        self._commit_bytes = metrics.histogram("commit_bytes")
        self._resent = metrics.counter("outbox_resent_rows_total")
        self._checkpoint_retries = metrics.counter("checkpoint_retries_total")
        self._orphans = metrics.counter("state_orphans_deleted_total")
        self._ledger_failures = metrics.counter("ledger_failures_total")
        self._restores = {
            result: metrics.counter("state_restores_total", result=result)
            for result in ("empty", "inherited", "resumed", "refused")
        }
        self._restore_duration = metrics.histogram("restore_duration_seconds")
        self._fenced = metrics.counter("fenced_total")
        self._shards_owned = metrics.gauge("shards_owned")
        self._shards_parked = metrics.gauge("shards_parked")
        self._acquired = metrics.counter("leases_acquired_total")
        self._lost = metrics.counter("leases_lost_total")
        self._ended = metrics.counter("shards_ended_total")
        self._expect_daemon_log()

    # The worker

    def worker_started(
        self, *, pipeline: str, definitions: str, version: str, stream: str, application: str, identifier: str
    ) -> None:
        """The worker has read its pipeline file. `definitions` is the hash of what the pipeline means."""
        self.facts.identity = Identity(pipeline, definitions, version, stream, application, identifier)
        self.metrics.gauge("build_info", version=version).set(1)
        self.metrics.gauge("pipeline_info", hash=definitions).set(1)
        self.metrics.gauge("worker_started_timestamp_seconds").set(self._now_ms() / 1000)
        self.logger.info(
            "worker_started",
            pipeline=pipeline,
            definitions=definitions,
            version=version,
            stream=stream,
            application=application,
            identifier=identifier,
        )

    def start_retry(self, *, step: StartStep | ContainerStep, error: BaseException, wait_seconds: float) -> None:
        """A call to AWS that the start needs failed for now, and is made again after a wait."""
        self.facts.step_failed(describe(error))
        self.logger.warning("start_retry", step=step, error=describe(error), wait_seconds=round(wait_seconds, 3))

    def worker_stopping(self, *, reason: str) -> None:
        """The worker begins to drain: a signal, the end of the daemon, an error elsewhere."""
        self.health.stopping()
        self.facts.stop_reason = reason
        self.logger.info("worker_stopping", reason=reason)

    def worker_stopped(self, *, status: int) -> None:
        """The last line of a worker; `status` is what the command ends with."""
        self.logger.info("worker_stopped", status=status)

    def failed(self, *, error: BaseException, shard: str | None = None) -> None:
        """An error that ends the worker, with its message only if it cannot quote data.

        Where it came from is told unless it was foreseen: then its message says what to do.
        """
        where = {} if shard is None else {"shard": shard}
        trace = {} if isinstance(error, RefusedError | SetupError) else {"exception": safe_traceback(error)}
        self.logger.critical("failed", error=describe(error), **trace, **where)

    def stream_ignores_keys(self, *, stream: str) -> None:
        """The stream distributes records by itself: aligned windows cannot be right, nearly all is misrouted."""
        remedy = "set the stream to distribute by partition key, or make the windows global (combine: true)"
        self.logger.error("stream_ignores_keys", stream=stream, remedy=remedy)

    # The life of a shard

    def activity(self, *, shard: str, activity: Activity) -> None:
        """The shard's thread begins something. Call it before every step that may take long or block."""
        self.health.progress(shard, activity)

    def shard_initialised(
        self,
        *,
        shard: str,
        epoch: int,
        commit_no: int,
        groups: int,
        groups_limit: int,
        state_bytes: int,
        position: Position | None,
        seconds: float,
        started: Started,
    ) -> None:
        """The shard was taken over in `seconds`."""
        held = self._hold(shard)
        held.facts.taken_over = TakeOver(self._now_ms(), epoch, started, seconds, groups_limit, position_text(position))
        held.facts.state_bytes = state_bytes
        held.series.set("epoch", epoch)
        held.series.set("groups_limit", groups_limit)
        held.series.set("state_bytes", state_bytes)
        self._restores[started].inc()
        self._restore_duration.observe(seconds)
        self.health.progress(shard, Activity.PROCESSING)
        self.logger.info(
            "shard_initialised",
            shard=shard,
            epoch=epoch,
            commit_no=commit_no,
            groups=groups,
            state_bytes=state_bytes,
            position=position_text(position),
            seconds=round(seconds, 3),
            started=started,
        )

    def shard_refused(self, *, shard: str, error: BaseException) -> None:
        """The state does not fit; the shard is parked (nothing is processed) until a person decides."""
        held = self._hold(shard)
        held.refused = True
        held.facts.refusal = describe(error)
        self._update_owned()
        self._restores["refused"].inc()
        self.health.progress(shard, Activity.REFUSED)
        self.logger.error("shard_refused", shard=shard, error=describe(error))

    def shutdown_requested(self, *, shard: str) -> None:
        """The daemon is about to let the shard go, after a last commit."""
        self.logger.info("shutdown_requested", **self._where(shard))

    def lease_lost(self, *, shard: str) -> None:
        """The shard belongs to nobody or somebody else now: the next owner goes on from the last commit."""
        stopping = self.health.state is WorkerState.STOPPING
        if not stopping:
            self._lost.inc()
        where = self._where(shard)
        self._let_go(shard)
        write = self.logger.info if stopping else self.logger.warning
        write("lease_lost", **where)

    def shard_ended(self, *, shard: str) -> None:
        """The shard was read to its end, and that is checkpointed."""
        self._ended.inc()
        where = self._where(shard)
        self._let_go(shard)
        self.logger.info("shard_ended", **where)

    def shard_released(self, *, shard: str) -> None:
        """The shard's thread ends before it was told why: nothing of the shard may stay behind."""
        where = self._where(shard)
        if self._let_go(shard):
            self.logger.warning("shard_released", **where)

    # Batches

    def batch(self, shard: str, batch: Batch) -> None:
        """One call of the source was processed; committing is not part of it."""
        now_ms = self._now_ms()
        held = self._shard(shard)
        counts = batch.counts
        held.series.batch(batch, now_ms)
        self.facts.note_batch(shard, held.facts, batch, now_ms)
        self._batches.inc()
        if counts.received:
            self._batch_records.observe(counts.received)
            self._process_duration.observe(batch.process_seconds)
        self._count(held, batch)
        held.lines.tell()
        behind_seconds = batch.behind_seconds(now_ms)
        if self._progress is not None:
            self._progress.batch(shard, counts, behind_seconds)
        self.health.progress(shard, Activity.PROCESSING)
        self.logger.debug(
            "batch",
            shard=shard,
            records=counts.received,
            bytes=batch.size_bytes,
            replayed=counts.replayed,
            filtered=counts.filtered,
            position=position_text(batch.position),
            behind_seconds=behind_seconds,
            seconds=batch.process_seconds,
        )

    def _count(self, held: _Shard, batch: Batch) -> None:
        counts = batch.counts
        self._replayed.inc(counts.replayed)
        self._filtered.inc(counts.filtered)
        for window, number in counts.results.items():
            self._results[window].inc(number)
        for window, number in counts.early.items():
            self._early[window].inc(number)
        for window, number in counts.late.items():
            self._late[window].inc(number)
            line = Line("late_seen", "warning", (("window", window),), "events")
            held.lines.count(line, number, position=position_text(batch.position))
        for reason, number in counts.dead_letters.items():
            self._dead_lettered[reason].inc(number)
            line = Line("dead_letters_seen", "warning", (("reason", reason),), "records")
            held.lines.count(line, number, position=position_text(batch.position))
        self._misrouted.inc(counts.dead_letters.get(MISROUTED, 0))

    def idle_advanced(self, *, shard: str, watermark_ms: int, position: Position | None) -> None:
        """The shard was found idle: its watermark went on to `watermark_ms` without a record after `position`."""
        self._idle_advances.inc()
        self.logger.debug(
            "idle_advanced", shard=shard, watermark=format_time(watermark_ms), position=position_text(position)
        )

    # Commits

    def committed(
        self,
        *,
        shard: str,
        commit_no: int,
        seconds: float,
        size_bytes: int,
        state_bytes: int,
        rows: int,
        groups: int,
    ) -> None:
        """The state has advanced: `size_bytes` written for `groups` changed groups, `rows` to deliver."""
        held = self._shard(shard)
        held.series.set("state_bytes", state_bytes)
        held.series.set("outbox_rows", rows)
        held.facts.state_bytes, held.facts.undelivered_rows = state_bytes, rows
        self._note(Commit(self._now_ms(), shard, "ok", commit_no, seconds, size_bytes, rows))
        self._commit_duration.observe(seconds)
        self._commit_bytes.observe(size_bytes)
        if self._progress is not None:
            self._progress.committed()
        self.health.progress(shard, Activity.DELIVERING if rows else Activity.COMMITTING)
        self.logger.debug(
            "committed",
            shard=shard,
            commit_no=commit_no,
            seconds=round(seconds, 3),
            bytes=size_bytes,
            state_bytes=state_bytes,
            rows=rows,
            groups=groups,
        )

    def commit_retry(self, *, shard: str, step: CommitStep, error: BaseException, wait_seconds: float) -> None:
        """A step failed for now, and is tried again after a wait. `shard` is empty where it is no single one's."""
        self._note(Commit(self._now_ms(), shard, "retry", step=step, error=describe(error)))
        self.metrics.counter("state_retries_total", step=step, reason=reason_of(error)).inc()
        if shard:  # else nobody would ever tell that it goes on, and the worker would be killed as one that is stuck
            self.health.progress(shard, Activity.WAITING_FOR_STATE)
        self.logger.warning(
            "commit_retry", shard=shard, step=step, error=describe(error), wait_seconds=round(wait_seconds, 3)
        )

    def commit_failed(self, *, shard: str, step: CommitStep, error: BaseException) -> None:
        """A step was given up. The worker ends; what is stored is whole."""
        self._note(Commit(self._now_ms(), shard, "failed", step=step, error=describe(error)))
        self.logger.error("commit_failed", shard=shard, step=step, error=describe(error))

    def fenced(self, *, shard: str, epoch: int, seen_epoch: int) -> None:
        """Another owner (`seen_epoch`) has the shard and goes on from the last commit: we go silent."""
        self._note(Commit(self._now_ms(), shard, "fenced"))
        self._fenced.inc()
        self.health.progress(shard, Activity.FENCED)
        self.logger.warning("fenced", **self._where(shard) | {"epoch": epoch}, seen_epoch=seen_epoch)

    def _note(self, commit: Commit) -> None:
        self._commits[commit.result].inc()
        self.facts.note_commit(self._shard(commit.shard).facts, commit)

    # Delivery and checkpoints

    def delivery(self, shard: str) -> ShardDelivery:
        """Return the observer for the deliveries of a shard."""
        return self._shard(shard).delivery

    def delivered(self, *, shard: str, commit_no: int, rows: int, seconds: float, emit_delay_seconds: float) -> None:
        """All sinks have a commit's rows, the oldest of them `emit_delay_seconds` after it was ready."""
        self._delivered(shard)
        self._emit_delay.observe(emit_delay_seconds)
        self.logger.debug("delivered", shard=shard, commit_no=commit_no, rows=rows, seconds=round(seconds, 3))

    def merge_failed(self, *, shard: str, error: BaseException) -> None:
        """Stored entries could not be merged; it is tried anew after some commit. Commits go on meanwhile."""
        self.logger.warning("merge_failed", shard=shard, error=describe(error))

    def ledger_failed(self, *, shard: str, error: BaseException) -> None:
        """The shard's ledger could not be written; the next write has it too. No commit waits for it."""
        self._ledger_failures.inc()
        self.logger.warning("ledger_failed", shard=shard, error=describe(error))

    def parent_retired(self, *, shard: str, parent: str) -> None:
        """All shards that came from a parent go on without its state: it is a tombstone now."""
        self.logger.info("parent_retired", shard=shard, parent=parent)

    def orphans_deleted(self, *, shard: str, objects: int) -> None:
        """Stored objects were deleted that no state refers to: what crashes and ended parents leave."""
        self._orphans.inc(objects)
        self.logger.info("orphans_deleted", shard=shard, objects=objects)

    def outbox_resent(self, *, shard: str, rows: int) -> None:
        """Rows that an earlier owner may not have delivered were sent again, with the same ids and bytes."""
        self._resent.inc(rows)
        self._delivered(shard)
        self.logger.info("outbox_resent", shard=shard, rows=rows)

    def _delivered(self, shard: str) -> None:
        held = self._shard(shard)
        held.series.set("outbox_rows", 0)
        held.facts.undelivered_rows = 0

    def checkpointed(self, *, shard: str, position: Position | None) -> None:
        """The source has stored how far we are; `position` None means the end of the shard."""
        held = self._shard(shard)
        held.series.checkpointed()
        held.facts.note_checkpoint()
        self.logger.debug("checkpointed", shard=shard, position=position_text(position))

    def checkpoint_retry(self, *, shard: str, error: str, wait_seconds: float) -> None:
        """A checkpoint failed for now; `error` is the name of the daemon's exception."""
        self._checkpoint_retries.inc()
        self.health.progress(shard, Activity.WAITING_FOR_CHECKPOINT)
        self.logger.warning("checkpoint_retry", shard=shard, error=error, wait_seconds=round(wait_seconds, 3))

    # Shards

    def _where(self, shard: str) -> dict[str, object]:
        """Return a shard's coordinates for a line: the epoch, and how far it is counted, as far as they are known."""
        held = self._shards.get(shard)
        facts = None if held is None else held.facts
        taken_over = None if facts is None else facts.taken_over
        epoch = None if taken_over is None else taken_over.epoch
        return {"shard": shard, "epoch": epoch, "position": None if facts is None else facts.position}

    def _shard(self, shard: str) -> _Shard:
        held = self._shards.get(shard)
        if held is not None:
            return held
        with self._lock:
            return self._shards.setdefault(shard, _Shard(self, shard))

    def _hold(self, shard: str) -> _Shard:
        held = self._shard(shard)
        if not held.is_mine:  # of a lease before this one, whose thread has not ended yet
            held = self._shards[shard] = _Shard(self, shard)
        if not held.owned:
            held.owned = True
            held.series.checkpointed()
            self._acquired.inc()
            self._update_owned()
        if self._progress is not None:
            self._progress.shard_held(shard)
        return held

    def _let_go(self, shard: str) -> bool:
        """Forget a shard, unless a new lease has begun in another thread; return whether there was anything."""
        with self._lock:
            held = self._shards.get(shard)
            if held is not None and not held.is_mine:
                return False
            self._shards.pop(shard, None)
        if held is not None:
            held.lines.tell_rest()
            self.facts.let_go(shard, held.facts)
        self.metrics.forget_shard(shard)
        self.health.gone(shard)
        if self._progress is not None:
            self._progress.shard_gone(shard)
        self._update_owned()
        return held is not None

    def _update_owned(self) -> None:
        with self._lock:
            if not self._shards:
                self._forget_global_progress()
            self._shards_owned.set(sum(held.owned for held in self._shards.values()))
            self._shards_parked.set(sum(held.refused for held in self._shards.values()))
