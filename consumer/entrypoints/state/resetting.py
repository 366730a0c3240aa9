"""`streamgauge state reset --yes`: everything is counted anew, in a generation of its own.

The order matters: see `reset` in `consumer/state/base.py`. A crash anywhere leaves a state that no worker takes by
mistake; the command is given again.
"""

from __future__ import annotations

import msgspec

from consumer.core.times import format_time
from consumer.entrypoints.beginning import begin, start_seconds
from consumer.entrypoints.state.site import Site
from consumer.entrypoints.state.wording import counted
from consumer.errors import EXIT_OK, RefusedError
from consumer.pipeline.wording import size_in_words
from consumer.runtime import clock
from consumer.sources import kinesis, leases
from consumer.state.base import Application, FenceRefusedError


def reset(site: Site) -> int:
    """Begin a new generation without any state; return EXIT_OK. RefusedError while workers run."""
    old = site.application()
    stream, source = site.stream, site.pipeline.source.stream
    site.refuse_while_leases_live()
    info = site.tried(lambda: kinesis.describe(stream, source))
    begun = site.tried(lambda: begin(site.pipeline, stream, info, generation=old.generation, now_ms=clock.now_ms()))
    shards = [shard for shard in site.tried(lambda: kinesis.list_shards(stream, source)) if shard.id in begun.roots]
    # 1. The generation ends, and every item is cleared.
    new = replace_application(site, begun)
    # 2. The source begins anew. Until then a lease that is ahead of its state is refused.
    start = start_seconds(site.pipeline, new.started_at_ms)
    removed = site.tried(lambda: leases.rewind(site.lease_tables, site.pipeline.worker.application, shards, start))
    # 3. Nothing refers to the old objects any more.
    objects, size_bytes = site.collect(new.generation)
    _tell(site, new, removed, objects, size_bytes)
    return EXIT_OK


def replace_application(site: Site, application: Application) -> Application:
    """Begin the generation after that of `application`; RefusedError if somebody else has done so meanwhile."""
    begun = msgspec.structs.replace(application, runs_in=site.application().runs_in)
    try:
        return site.tried(lambda: site.store.reset(begun))
    except FenceRefusedError as error:
        raise RefusedError("somebody else resets this pipeline at the same time: nothing was done here") from error


def _tell(site: Site, new: Application, removed: int, objects: int, size_bytes: int) -> None:
    table = site.pipeline.worker.application
    site.tell(f"Reset pipeline {site.pipeline.name}: generation {new.generation} begins.")
    site.tell(f"  states   {counted(len(site.claims()), 'shard')} cleared")
    site.tell(f"  roots    {', '.join(new.roots)}")
    site.tell(f"  leases   table {table}: {start_in_words(site)}; {counted(removed, 'row')} of other shards deleted")
    site.tell(f"  objects  {objects:,} deleted, {size_in_words(size_bytes)}")
    site.tell(
        f"{how_to_go_on(site, new)}: the stream is counted anew from there. All rows get new ids, for the generation\n"
        "is part of an id: a reader that has rows of earlier generations gets those windows once more."
    )


def how_to_go_on(site: Site, new: Application) -> str:
    """Return what has to be done for the stream to be given from its start again."""
    if new.runs_in == "worker":
        return "Start the workers"
    start = start_seconds(site.pipeline, new.started_at_ms)
    place = "TRIM_HORIZON" if start is None else f"AT_TIMESTAMP {format_time(start * 1000)}"
    return f"Delete the event source mapping, and make it anew with the position {place}"


def start_in_words(site: Site) -> str:
    """Return where the roots start."""
    start = site.pipeline.source.start
    if start == "trim_horizon":
        return "the roots start at the oldest record"
    return "the roots start now" if start == "latest" else "the roots start at source.start"
