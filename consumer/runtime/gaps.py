"""Input that goes on behind records which were never counted: the one place that knows a gap, and what becomes of it.

A shard with a gap is refused, and a person decides; or, where `state.on_gap` says continue, it goes on without the
records and says so. Some gaps show: a lease or a batch is ahead of the state, a parent has not ended where its state
is. One does not: records that expire unread leave nothing. So of each shard a time is kept before which all that had
arrived was counted, and whoever comes back so much later that the stream may have deleted some since looks.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from consumer.core.times import format_time
from consumer.errors import RefusedError, UnknownShardError
from consumer.records import Position
from consumer.runtime.surroundings import ShardOrigin, Surroundings
from consumer.sources.reading import Behind
from consumer.state.base import Claim, ShardState

if TYPE_CHECKING:
    from consumer.runtime.commit import ShardOwner

CAUGHT_UP_EVERY_MS = 2 * 3_600_000
"""How often it is noted of a silent shard that nothing is unread. A stream keeps records for a day at least."""
LONG_STOP_MS = 12 * 3_600_000
"""What was counted up to a time so long ago has been stopped: records may have expired meanwhile."""
SURE_SECONDS = 60.0
"""How long a worker's reads must have said that nothing is left. One read alone may be old news, which the daemon had
read ahead; or the last of a shard that was closed long before, whose children have had records since."""
_CLOCK_SKEW_MS = 60_000
"""How far a clock here, and the times of arrival of two records, may be out."""


def check_state(around: Surroundings, shard: str, state: ShardState, checkpoint: Position | None) -> None:
    """Refuse a state of another generation or stream, or one that the source's checkpoint is ahead of."""
    application = around.application
    if state.generation != application.generation:
        raise RefusedError(f"the state of {shard} belongs to another generation")
    if state.stream_created_ms != application.stream_created_ms:
        raise RefusedError(f"the state of {shard} belongs to another stream of the same name")
    if checkpoint is not None and (state.position is None or checkpoint > state.position):
        meet_gap(
            around,
            shard,
            state.position,
            checkpoint,
            f"the lease table is ahead of the state of {shard}: records between the two are possibly lost. "
            "Set the lease's checkpoint back to TRIM_HORIZON (records already counted are skipped)",
        )


def is_to_be_noted(around: Surroundings, counted_until_ms: int | None) -> bool:
    """Tell whether it is time to note of a shard, if so it is, that nothing of it is unread."""
    if around.retention is None:
        return False
    return counted_until_ms is None or around.clock.now_ms() - counted_until_ms >= CAUGHT_UP_EVERY_MS


def check_after_stop(around: Surroundings, owner: ShardOwner) -> None:
    """Look, before a shard is read on after a long stop, whether records expired meanwhile. RetryableError, as ever."""
    until_ms, kept = owner.counted_until_ms, around.retention
    if kept is None or until_ms is None or around.clock.now_ms() - until_ms < LONG_STOP_MS:
        return
    shard, position = owner.shard, owner.processor.position
    found = around.retrying(shard, "load", lambda: kept.behind(shard, position, owner.hash_range))
    check_expired(around, shard, position, until_ms, found)


def may_have_expired(around: Surroundings, counted_until_ms: int | None, found: Behind) -> bool:
    """Tell whether records behind a position may have expired before they were counted: what is left tells nothing.

    None have if the record at the position is still there, or if all that arrived was counted up to a time since when
    nothing has expired. Of a shard of which no such time is known nothing was counted, and it begins where it can.
    """
    if around.retention is None or found.is_whole or counted_until_ms is None:
        return False
    return counted_until_ms - _CLOCK_SKEW_MS < around.clock.now_ms() - around.retention.period_ms


def check_expired(
    around: Surroundings, shard: str, position: Position | None, counted_until_ms: int | None, found: Behind
) -> None:
    """Meet a gap if records behind a position may have expired before they were counted."""
    if around.retention is None or counted_until_ms is None or not may_have_expired(around, counted_until_ms, found):
        return
    period_ms = around.retention.period_ms
    meet_gap(
        around,
        shard,
        position,
        found.first,
        f"records of {shard} may have expired before they were counted: what arrived until "
        f"{format_time(counted_until_ms)} was, the stream keeps records for {period_ms // 3_600_000} h, and the last "
        "one counted is no longer there. Reset the pipeline to count what the stream has",
    )


def meet_gap(
    around: Surroundings, shard: str, counted_to: Position | None, goes_on: Position | None, refusal: str
) -> None:
    """Refuse input that goes on behind records which were never counted, or tell of it where the file says continue.

    `goes_on` None: the shard has ended, or goes on with whatever comes next.
    """
    if around.program.pipeline.state.on_gap == "refuse":
        raise RefusedError(f"{refusal}; or write state.on_gap: continue to go on without them")
    around.telemetry.gap_passed(shard=shard, counted_to=counted_to, goes_on=goes_on)


def check_begins(shard: str, checkpoint: Position | None) -> None:
    """Refuse to begin a shard that was begun before, whatever the file says.

    It would begin empty in the same generation, and its rows would have the ids of others.
    """
    if checkpoint is not None:
        raise RefusedError(
            f"the lease table says that {shard} was processed up to {checkpoint.sequence}, but there is no state for "
            "it; restore the state table, or give the pipeline a new name to start afresh"
        )


def check_has_parents(shard: str, origin: ShardOrigin) -> None:
    """Refuse a shard that nobody can begin."""
    if not origin.parents:
        raise RefusedError(
            f"{shard} has no parents and was not there when the application started; give the pipeline a new name (and "
            "worker.application) to start afresh, from all shards that exist then"
        )


def state_left(around: Surroundings, shard: str, claim: Claim | None, heir: str) -> ShardState | None:
    """Return the state that a shard leaves to a child, which goes on behind its end; meet a gap if it has not ended.

    Where the file says continue, it is to be ended where it is, or, if it was never begun (None), as it begins: lest
    somebody begins it beside its child. A state that is gone is refused all the same: rows of the child would have the
    ids of others.
    """
    state = None if claim is None else claim.state
    if state is not None and state.ended:
        return state
    what = "has no state" if state is None else "has not ended"
    if claim is not None and claim.retired:
        what = "was given up after other shards had taken it over"
    refusal = (
        f"{heir} came from {shard} by a split or merge, but {shard} {what}: nothing of {heir} is processed. Were rows "
        f"of the lease table deleted? Give the lease of {shard} back to the workers (its checkpoint at TRIM_HORIZON); "
        "records already counted are skipped"
    )
    if claim is not None and state is None:
        raise RefusedError(refusal)
    meet_gap(around, shard, None if state is None else state.position, None, refusal)
    return state


def is_gone(around: Surroundings, shard: str) -> bool:
    """Tell whether the stream does not know a shard any more: nobody will begin it."""

    def look() -> bool:
        try:
            around.lineage.origin(shard)
        except UnknownShardError:
            return True
        return False

    return around.retrying(shard, "load", look)


def end_early(owner: ShardOwner) -> None:
    """End a shard at its stored position: the source has left it behind already."""
    while owner.processor.closing:
        owner.step(())
        if owner.commit_is_due():
            owner.commit(_no_checkpoint)
    owner.commit(_no_checkpoint, ended=True)


def _no_checkpoint(_position: Position) -> bool:
    return True
