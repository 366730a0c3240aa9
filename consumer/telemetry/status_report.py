"""Makes the status of the facts: what was told, put beside the clock and what health says."""

from __future__ import annotations

from operator import attrgetter

from consumer.core.completion import Progress
from consumer.core.times import format_time
from consumer.telemetry import status
from consumer.telemetry.attention import attention
from consumer.telemetry.facts import (
    RECENT_MS,
    Combining,
    Commit,
    Facts,
    Identity,
    Reached,
    ShardFacts,
    SinkFacts,
    Step,
    ToldTally,
    Totals,
)
from consumer.telemetry.health import PARKED, Activity, Health, HealthReport, ShardHealth, WorkerState

SLOWEST = 5
"""How many shards are told of that global windows wait for."""
USUAL_SECONDS = 5.0
"""Up to this it is no news that a shard was not called: an idle one is called about once a second."""
TRIED_MS = 300_000
"""A sink that has failed is tried again sooner than this; later its rows are another worker's, or there are none."""
_MINUTE_MS = 60_000
_UNTOLD = ShardHealth(Activity.RESTORING, 0.0)
"""Of a shard whose thread has not said yet what it does."""


class StatusBoard:
    """What the HTTP server asks for the status. It waits for no shard, no sink and no store."""

    def __init__(self, facts: Facts, health: Health) -> None:
        self._facts = facts
        self._health = health

    def status(self) -> status.Status:
        """Return how things are now."""
        return make_status(self._facts, self._health.report())


def make_status(facts: Facts, health: HealthReport) -> status.Status:
    """Return the status at this moment."""
    now_ms, totals, held = facts.now_ms(), facts.totals(), facts.shards()
    nothing = ShardFacts(facts.now_ms)
    shards = [
        _shard(shard, held.get(shard, nothing), health, now_ms) for shard in sorted(health.shards.keys() | held.keys())
    ]
    made = status.Status(
        at=format_time(now_ms),
        worker=_worker(facts, health, now_ms),
        attention=[],
        start=[_step(step, now_ms) for step in facts.steps()],
        totals=_totals(shards),
        shards=shards,
        windows=[_window(name, facts, totals, shards) for name in totals.results],
        global_windows=None if facts.reached is None else _global_windows(facts.reached, totals.combining, now_ms),
        commits=_commits(totals, now_ms),
        sinks=[_sink(name, sink, now_ms) for name, sink in totals.sinks.items()],
        dead_letters=[_dead_letter(reason, tally) for reason, tally in totals.dead_letters.items()],
    )
    recent_records = sum(each.recent_records.total(now_ms, RECENT_MS) for each in held.values())
    return status.with_attention(made, attention(made, health, recent_records))


def _worker(facts: Facts, health: HealthReport, now_ms: int) -> status.Worker:
    who = facts.identity or _NOBODY
    return status.Worker(
        state=_STATES[health.state],
        alive=health.live,
        daemon=facts.daemon,
        daemon_says=facts.daemon_says if facts.daemon == "initialising" else None,
        stopping_because=facts.stop_reason,
        started_at=format_time(facts.began_ms),
        uptime_seconds=_since(facts.began_ms, now_ms),
        pipeline=who.pipeline,
        definitions=who.definitions,
        version=who.version,
        stream=who.stream,
        application=who.application,
        identifier=who.identifier,
        java_version=facts.java_version,
    )


_NOBODY = Identity(None, None, None, None, None, None)

_STATES: dict[WorkerState, status.WorkerStateWord] = {
    WorkerState.STARTING: "starting",
    WorkerState.READY: "ready",
    WorkerState.STOPPING: "stopping",
}


def _step(step: Step, now_ms: int) -> status.Step:
    return status.Step(
        step=step.name,
        began_at=format_time(step.began_ms),
        seconds=_since(step.began_ms, now_ms if step.ended_ms is None else step.ended_ms),
        done=step.ended_ms is not None,
        retries=step.retries,
        error=step.error,
    )


def _shard(shard: str, facts: ShardFacts, health: HealthReport, now_ms: int) -> status.Shard:
    doing = health.shards.get(shard, _UNTOLD)
    taken = facts.taken_over
    batch_ms, batch = facts.batch or (None, None)
    watermark_ms = None if batch is None else batch.watermark_ms
    return status.Shard(
        shard=shard,
        doing=str(doing.activity),
        seconds_without_progress=round(doing.idle_seconds, 3),
        problem=facts.refusal if doing.activity in PARKED else health.problems.get(shard),
        taken_over_at=None if taken is None else format_time(taken.at_ms),
        started=None if taken is None else taken.started,
        epoch=None if taken is None else taken.epoch,
        last_batch_at=_time(batch_ms),
        last_batch_ago_seconds=_maybe_since(batch_ms, now_ms),
        last_batch_records=None if batch is None else batch.counts.received,
        records=facts.records,
        records_per_second=_a_second(facts, now_ms),
        behind_seconds=_behind(facts, now_ms),
        position=facts.position,
        watermark=_time(watermark_ms),
        watermark_age_seconds=None if watermark_ms is None else round((now_ms - watermark_ms) / 1000, 3),
        watermark_unmoved_seconds=None if watermark_ms is None else _maybe_since(facts.watermark_moved_ms, now_ms),
        open_windows={} if batch is None else dict(batch.open_groups),
        open_windows_limit=None if taken is None else taken.groups_limit,
        state_bytes=facts.state_bytes,
        undelivered_rows=facts.undelivered_rows,
        checkpointed_ago_seconds=_maybe_since(facts.checkpointed_ms, now_ms),
        last_commit=None if facts.commit is None else _commit(facts.commit, now_ms),
    )


def _behind(facts: ShardFacts, now_ms: int) -> float | None:
    """Return how far behind a shard is at most: who has not read for long may have fallen behind since."""
    if facts.batch is None:
        return None
    batch_ms, batch = facts.batch
    since = _since(batch_ms, now_ms)
    return round(batch.behind_seconds(batch_ms) + (since if since > USUAL_SECONDS else 0), 3)


def _totals(shards: list[status.Shard]) -> status.Totals:
    behind = [shard.behind_seconds for shard in shards if shard.behind_seconds is not None]
    return status.Totals(
        shards=len(shards),
        records_per_second=round(sum(shard.records_per_second for shard in shards), 1),
        behind_seconds=max(behind, default=None),
        open_windows=sum(sum(shard.open_windows.values()) for shard in shards),
        undelivered_rows=sum(shard.undelivered_rows for shard in shards),
    )


def _window(name: str, facts: Facts, totals: Totals, shards: list[status.Shard]) -> status.Window:
    late = totals.late[name]
    return status.Window(
        window=name,
        definition=facts.window_texts.get(name, ""),
        open=sum(shard.open_windows.get(name, 0) for shard in shards),
        results=totals.results[name],
        late=late.number,
        late_last_10_minutes=late.recent,
        last_late_at=_time(late.last_ms),
    )


def _global_windows(reached: Reached, combining: Combining, now_ms: int) -> status.GlobalWindows:
    completion = reached.completion
    members = sorted(completion.members, key=attrgetter("passed_ms"))
    slowest = [_global_shard(each, completion.highest_ms) for each in members]
    return status.GlobalWindows(
        read_ago_seconds=_since(reached.at_ms, now_ms),
        covered=bool(completion.members),
        watermark=_time(completion.watermark_ms),
        unknown_for_seconds=_maybe_since(reached.unknown_since_ms, reached.at_ms),
        held_back_by=completion.held_back_by,
        held_back_seconds=slowest[0].behind_ahead_seconds if slowest else None,
        slowest=slowest[:SLOWEST],
        waiting=dict(reached.waiting),
        contributions_written=combining.contributions_written,
        contributions_read=combining.contributions_read,
        incomplete=combining.incomplete,
        last_incomplete_window=combining.last_incomplete,
    )


def _global_shard(told: Progress, highest_ms: int | None) -> status.GlobalShard:
    watermark_ms = told.watermark_ms
    return status.GlobalShard(
        shard=told.shard,
        watermark=_time(watermark_ms),
        behind_ahead_seconds=None if watermark_ms is None or highest_ms is None else (highest_ms - watermark_ms) / 1000,
    )


def _commits(totals: Totals, now_ms: int) -> status.Commits:
    return status.Commits(
        numbers={str(result): number for result, number in totals.commit_numbers.items()},
        last=[_commit(commit, now_ms) for commit in totals.commits],
        last_gone_wrong=[_commit(commit, now_ms) for commit in totals.failed_commits],
    )


def _commit(commit: Commit, now_ms: int) -> status.Commit:
    return status.Commit(
        at=format_time(commit.at_ms),
        ago_seconds=_since(commit.at_ms, now_ms),
        shard=commit.shard,
        result=commit.result,
        commit_no=commit.commit_no,
        seconds=None if commit.seconds is None else round(commit.seconds, 3),
        bytes=commit.size_bytes,
        rows=commit.rows,
        step=commit.step,
        error=commit.error,
    )


def _sink(name: str, sink: SinkFacts, now_ms: int) -> status.Sink:
    is_tried = sink.last_failure_ms is not None and now_ms - sink.last_failure_ms < TRIED_MS
    failing_since_ms = sink.failing_since_ms if is_tried else None
    return status.Sink(
        sink=name,
        taking_rows=failing_since_ms is None,
        failing_for_seconds=_maybe_since(failing_since_ms, now_ms),
        rows_sent=sink.rows_sent,
        bytes_sent=sink.bytes_sent,
        rows_rejected=sink.rows_rejected,
        retries=sink.retries,
        last_sent_at=_time(sink.last_sent_ms),
        last_failure_at=_time(sink.last_failure_ms),
        last_failure_reason=sink.last_failure_reason,
        last_rejected_at=_time(sink.last_rejected_ms),
        last_rejected_reason=sink.last_rejected_reason,
    )


def _dead_letter(reason: str, tally: ToldTally) -> status.DeadLetter:
    return status.DeadLetter(
        reason=reason,
        records=tally.number,
        last_10_minutes=tally.recent,
        last_at=_time(tally.last_ms),
        last_shard=tally.last_shard,
    )


def _time(at_ms: int | None) -> str | None:
    return None if at_ms is None else format_time(at_ms)


def _since(at_ms: int, now_ms: int) -> float:
    return max(0, now_ms - at_ms) / 1000


def _maybe_since(at_ms: int | None, now_ms: int) -> float | None:
    return None if at_ms is None else _since(at_ms, now_ms)


def _a_second(facts: ShardFacts, now_ms: int) -> float:
    """Return the rate of what came in the last minute, or since the shard was taken over if that is less."""
    held_ms = 0 if facts.taken_over is None else now_ms - facts.taken_over.at_ms
    number = facts.recent_records.total(now_ms, _MINUTE_MS)
    return round(number * 1000 / max(1_000, min(_MINUTE_MS, held_ms)), 1)
