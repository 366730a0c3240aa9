"""Where the rows of an outbox go: contributions to the state table, everything else to the sinks."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial

from consumer.core.contributions import CHUNK_BYTES
from consumer.records import CONTRIBUTION, Row
from consumer.runtime.surroundings import Surroundings

_PORTION_ROWS = 25
"""What DynamoDB takes at once."""


def send(around: Surroundings, shard: str, outbox: Sequence[Row]) -> None:
    """Send all rows; return when every one is where it belongs.

    DeliveryStopped or StoppedError: the worker stops while something is down; whoever comes next sends them all again.
    """
    rows, contributions = outbox, [row.data for row in outbox if row.output == CONTRIBUTION]
    if contributions:
        rows = [row for row in outbox if row.output != CONTRIBUTION]
        for portion in portions(contributions):
            around.retrying(shard, "contribute", partial(around.store.put_contributions, portion))
        around.telemetry.contributed(shard=shard, items=len(contributions), size_bytes=sum(map(len, contributions)))
    around.router.send(
        rows,
        pause=around.pause,
        observer=around.telemetry.delivery(shard),
        random=around.clock.random,
        clock=around.clock.monotonic,
    )


def portions(contributions: Sequence[bytes]) -> Iterator[Sequence[bytes]]:
    """Yield contributions in small portions, in order: one that is throttled has to be written again as a whole.

    All together might never come through, where a store takes so much a second of one bucket.
    """
    portion: list[bytes] = []
    for contribution in contributions:
        if portion and (len(portion) == _PORTION_ROWS or sum(map(len, portion)) + len(contribution) > CHUNK_BYTES):
            yield portion
            portion = []
        portion.append(contribution)
    if portion:
        yield portion
