"""Where the rows of an outbox go: contributions to the state table, everything else to the sinks."""

from __future__ import annotations

from collections.abc import Sequence

from consumer.records import CONTRIBUTION, Row
from consumer.runtime.surroundings import Surroundings


def send(around: Surroundings, shard: str, outbox: Sequence[Row]) -> None:
    """Send all rows; return when every one is where it belongs.

    DeliveryStopped or StoppedError: the worker stops while something is down; whoever comes next sends them all again.
    """
    rows, contributions = outbox, [row.data for row in outbox if row.output == CONTRIBUTION]
    if contributions:
        rows = [row for row in outbox if row.output != CONTRIBUTION]
        around.retrying(shard, "contribute", lambda: around.store.put_contributions(contributions))
        around.telemetry.contributed(shard=shard, items=len(contributions), size_bytes=sum(map(len, contributions)))
    around.router.send(
        rows,
        pause=around.pause,
        observer=around.telemetry.delivery(shard),
        random=around.clock.random,
        clock=around.clock.monotonic,
    )
