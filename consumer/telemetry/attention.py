"""What somebody who opens the status page should look at first: one rule a function, errors before warnings."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from consumer.telemetry.facts import RECENT_MINUTES
from consumer.telemetry.health import PARKED, Activity, HealthReport
from consumer.telemetry.status import Attention, Level, Status

BEHIND_SECONDS = 30.0
"""From here on a shard counts as behind."""
UNMOVED_SECONDS = 300.0
"""From here on a watermark that stands counts as stalled, if records arrive."""
HELD_BACK_SECONDS = 600.0
"""From here on, in event time, a shard counts as holding back global windows."""
FULL_SHARE = 0.8
"""From here on a shard's open windows count as near their limit."""
LATE_SHARE = 0.01
"""From here on late events count as many."""

Found = Iterator[Attention]


def attention(status: Status, health: HealthReport, recent_records: int) -> list[Attention]:
    """Return what to look at; `recent_records` were received in the last RECENT_MINUTES."""
    found = [each for rule in _RULES for each in rule(status)]
    found += [*_stuck(health), *_late(status, recent_records)]
    return sorted(found, key=lambda each: each.level != "error")


def _of(level: Level, kind: str, text: str, shard: str | None = None) -> Attention:
    return Attention(level=level, kind=kind, text=text, shard=shard)


def _stuck(health: HealthReport) -> Found:
    for shard, reason in health.problems.items():
        yield _of("error", "stuck", f"has made no progress for long, so /healthz says 503: {reason}", shard)


def _parked(status: Status) -> Found:
    for shard in status.shards:
        if shard.doing == Activity.REFUSED:
            yield _of("error", "refused", f"is parked until a person decides: {shard.problem}", shard.shard)
        elif shard.doing == Activity.FENCED:
            yield _of("warning", "fenced", "belongs to another worker, and is about to leave this one", shard.shard)


def _daemon(status: Status) -> Found:
    if status.worker.daemon == "ended" and status.worker.state == "ready":
        yield _of("error", "daemon", "The Java daemon has ended by itself: the worker is about to end")


def _sinks(status: Status) -> Found:
    for sink in status.sinks:
        if sink.rows_rejected:
            text = f"{sink.sink} has rejected {sink.rows_rejected:,} rows for good ({sink.last_rejected_reason}): lost"
            yield _of("error", "rows_rejected", text)
        if not sink.taking_rows:
            lasting = f"for {sink.failing_for_seconds:.0f} s" if sink.failing_for_seconds else "just now"
            text = (
                f"{sink.sink} does not take rows, {lasting} ({sink.last_failure_reason}); they are kept, and sent again"
            )
            yield _of("warning", "sink_failing", text)


def _commits(status: Status) -> Found:
    for shard in status.shards:
        commit = shard.last_commit
        if commit is not None and commit.result == "failed":
            yield _of("error", "commit_failed", f"could not commit ({commit.step}): {commit.error}", shard.shard)
        elif commit is not None and commit.result == "retry":
            text = f"tries again to commit ({commit.step}): {commit.error}"
            yield _of("warning", "commit_retry", text, shard.shard)


def _behind(status: Status) -> Found:
    for shard in status.shards:
        stands = (shard.last_batch_ago_seconds or 0) >= BEHIND_SECONDS  # which another rule tells
        if not stands and (shard.behind_seconds or 0) >= BEHIND_SECONDS:
            yield _of("warning", "behind", f"is {shard.behind_seconds:,.0f} s behind its tip", shard.shard)


def _standing(status: Status) -> Found:
    for shard in status.shards:
        ago = shard.last_batch_ago_seconds
        if ago is not None and ago >= BEHIND_SECONDS and shard.doing not in PARKED:
            yield _of("warning", "no_batch", f"has had no batch for {ago:,.0f} s: {shard.doing}", shard.shard)


def _stalled(status: Status) -> Found:
    for shard in status.shards:
        unmoved = shard.watermark_unmoved_seconds
        if unmoved is not None and unmoved >= UNMOVED_SECONDS and shard.records_per_second:
            text = f"has had no later event for {unmoved:,.0f} s, though records arrive: its windows do not close"
            yield _of("warning", "watermark_stalled", text, shard.shard)


def _incomplete(status: Status) -> Found:
    found = status.global_windows
    if found is not None and found.incomplete:
        text = (
            f"Global windows have got no rows, the last ones of {found.last_incomplete_window}: parts of them may be "
            "forgotten. The log says which (global_windows_incomplete)"
        )
        yield _of("error", "global_incomplete", text)


def _held_back(status: Status) -> Found:
    found = status.global_windows
    if found is None or found.read_ago_seconds >= UNMOVED_SECONDS:
        return  # a worker that has no shard any more does not read it: others tell
    if (found.unknown_for_seconds or 0) < UNMOVED_SECONDS:
        if (found.held_back_seconds or 0) >= HELD_BACK_SECONDS:
            text = f"holds back all global windows: it is {found.held_back_seconds:,.0f} s of event time behind another"
            yield _of("warning", "global_held_back", text, found.held_back_by)
    elif found.covered:
        text = "holds back all global windows: it has had no event, and no idle decision (events.idle_after)"
        yield _of("warning", "global_held_back", text, found.held_back_by)
    else:
        text = (
            f"No global window is complete for {found.unknown_for_seconds:,.0f} s: some shard has told nothing of its "
            "progress. `streamgauge state list FILE` says which have no state"
        )
        yield _of("warning", "global_without_cover", text)


def _full(status: Status) -> Found:
    for shard in status.shards:
        held, limit = sum(shard.open_windows.values()), shard.open_windows_limit
        if limit and held >= FULL_SHARE * limit:
            text = f"has {held:,} open windows of at most {limit:,} (limits.groups)"
            yield _of("warning", "windows_limit", text, shard.shard)


def _dead_letters(status: Status) -> Found:
    recent = [each for each in status.dead_letters if each.last_10_minutes]
    if recent:
        number = sum(each.last_10_minutes for each in recent)
        reasons = ", ".join(f"{each.last_10_minutes:,} {each.reason}" for each in recent)
        text = f"Records that could not be used in the last {RECENT_MINUTES} minutes: {number:,} ({reasons})"
        yield _of("warning", "dead_letters", text)


def _late(status: Status, recent_records: int) -> Found:
    for window in status.windows:
        if recent_records and window.late_last_10_minutes >= LATE_SHARE * recent_records:
            share = 100 * window.late_last_10_minutes / recent_records
            text = f"{share:.1f} % of the records of the last {RECENT_MINUTES} minutes were late for {window.window}"
            yield _of("warning", "late", text)


_RULES: tuple[Callable[[Status], Found], ...] = (
    _parked,
    _daemon,
    _sinks,
    _incomplete,
    _commits,
    _behind,
    _standing,
    _stalled,
    _held_back,
    _full,
    _dead_letters,
)
