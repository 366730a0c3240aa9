"""`streamgauge state handover`: has the pipeline run in workers, or in AWS Lambda, from here on.

1. Every state item is read: with one that is damaged nothing is changed.
2. The application item says so: no owner of the other kind takes a shard any more.
3. Every state item gets a higher epoch: those that have a shard cannot commit any more, whatever they are at.
A crash in between is harmless: give the command again. No window is lost, for the state stays as it is.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

import msgspec

from consumer.core.times import format_time
from consumer.entrypoints.state.site import Site
from consumer.entrypoints.state.wording import counted
from consumer.errors import EXIT_OK, RefusedError
from consumer.runtime.surroundings import RUNNERS
from consumer.state.base import Application, Claim, RunsIn

_ARRIVAL_SKEW_MS = 60_000
"""How far the times of arrival of one record and the next may be out of order, and more."""


def hand_over(site: Site, to: RunsIn) -> int:
    """Hand the pipeline over; return EXIT_OK.

    RefusedError, and nothing is changed, if an item cannot be read, or the definitions change at the same time.
    """
    before = site.application()
    site.claims()
    after = msgspec.structs.replace(before, runs_in=to)
    if after != before and site.tried(lambda: site.store.adopt(before, after)) != after:
        raise RefusedError("the application item was changed at the same time; give the command again")
    claims = site.claims()
    fenced = [shard for shard, claim in claims.items() if not claim.retired]
    for shard in fenced:
        site.tried(partial(site.store.claim, shard))
    site.tell(f"Pipeline {site.pipeline.name} runs in {RUNNERS[to]} from here on.")
    site.tell(f"  fenced   {counted(len(fenced), 'shard')}: whoever had one commits nothing more")
    if to == "worker":
        site.tell(
            "Delete the event source mapping, or disable it, and the rule of the tick (MappingEnabled=false of the"
        )
        site.tell("stack does both), then start the workers: what is counted they skip.")
    elif (start_ms := _unread_from_ms(before, claims)) is not None:
        start = format_time(start_ms)
        site.tell(f"Stop the workers. The mapping may start AT_TIMESTAMP {start}: what is counted is skipped.")
        site.tell(f"  in the stack: StartingPosition=AT_TIMESTAMP StartingPositionTimestamp={start_ms // 1000}")
    else:
        site.tell("Stop the workers. The mapping must start at TRIM_HORIZON: what is counted is skipped.")
    return EXIT_OK


def _unread_from_ms(application: Application, claims: Mapping[str, Claim]) -> int | None:
    """Return a time after which all arrived that is not counted; None if it is not known of a shard.

    A shard that was never begun has parents that were, or is a root. Ended shards count until their children have
    begun: those begin where they ended.
    """
    states = [claim.state for claim in claims.values() if claim.state]
    arrivals = [state.counted_until_ms for state in states if state.counted_until_ms is not None]
    begun = [shard for shard, claim in claims.items() if claim.state or claim.retired]
    if not states or len(arrivals) < len(states) or not set(application.roots) <= set(begun):
        return None
    return min(arrivals) - _ARRIVAL_SKEW_MS
