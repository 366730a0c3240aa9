"""What must come of the stream's shards, which may have been split and merged."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from consumer.pipeline.definitions import window_hash
from consumer.pipeline.model import Pipeline, Window
from consumer.records import HashRange, Position, Record
from consumer.sources.kinesis import ShardInfo
from consumer.testing.reference import (
    Combined,
    Contributed,
    Expected,
    Idle,
    ReferenceShard,
    complete_until,
    reference_combined,
    reference_lineage,
)

Family = Sequence[ShardInfo]
"""Shards that come of each other, parents before their children."""
Inputs = Callable[[str], Sequence[Record | Idle]]
"""Returns what came in of a shard."""


@dataclass(frozen=True, slots=True)
class Counted:
    """A shard's recount, the position of its last record, and whether no record can follow."""

    expected: Expected
    last: Position | None
    closed: bool


@dataclass(frozen=True, slots=True)
class Together:
    """What must come of all shards: of each, and of global windows.

    `combined` are the rows of global windows that are complete; `waiting` is what shards have contributed to others,
    by the windows' names.
    """

    shards: Sequence[Expected]
    combined: Combined
    waiting: Mapping[str, Sequence[Contributed]]


def families(shards: Iterable[ShardInfo]) -> list[Family]:
    """Put shards together that come of each other: one family can be counted without the others."""
    found: list[list[ShardInfo]] = []
    for shard in sorted(shards, key=lambda shard: shard.id):  # a child's number is higher than its parents'
        related = [family for family in found if any(one.id in shard.parents for one in family)]
        found = [family for family in found if family not in related]
        found.append([*sorted((one for family in related for one in family), key=lambda one: one.id), shard])
    return [tuple(family) for family in found]


def count_family(pipeline: Pipeline, family: Family, generation: int, inputs: Inputs) -> list[Counted]:
    """Recount a family. What is open at the end of a shard is passed on: it counts where it is in the end."""
    taken = {shard.id: inputs(shard.id) for shard in family}
    shards = [
        ReferenceShard(shard.id, HashRange(*map(int, shard.hash_range)), shard.parents, taken[shard.id])
        for shard in family
    ]
    expected = reference_lineage(pipeline, generation, shards, window_hash)
    passed_on = {parent for shard in family for parent in shard.parents}
    return [
        Counted(
            replace(expected[shard.id], open_windows=[]) if shard.id in passed_on else expected[shard.id],
            _last(taken[shard.id]),
            shard.closed,
        )
        for shard in family
    ]


def count_stream(pipeline: Pipeline, shards: Iterable[ShardInfo], generation: int, inputs: Inputs) -> Together:
    """Recount all shards that a stream has had."""
    counted = [one for family in families(shards) for one in count_family(pipeline, family, generation, inputs)]
    return together(pipeline, counted, generation)


def together(pipeline: Pipeline, counted: Iterable[Counted], generation: int) -> Together:
    """Put together what was counted of all shards that the stream has had.

    A global window is complete when it is due by the watermark of every shard that is still open.
    """
    counted = tuple(counted)
    shards = [one.expected for one in counted]
    until_ms = complete_until(one.expected for one in counted if not one.closed)
    combined = reference_combined(pipeline, generation, shards, window_hash, until_ms=until_ms)
    return Together(
        shards,
        combined,
        {window.name: list(_waiting(pipeline, window, shards, until_ms)) for window in pipeline.windows},
    )


def _waiting(pipeline: Pipeline, window: Window, shards: Iterable[Expected], until_ms: float) -> Iterator[Contributed]:
    hash_ = window_hash(pipeline, window)
    for shard in shards:
        for part in shard.contributed:
            if part.window_hash == hash_ and part.end_ms - 1 + window.allowed_lateness_ms > until_ms:
                yield part


def _last(inputs: Sequence[Record | Idle]) -> Position | None:
    records = [item for item in inputs if isinstance(item, Record)]
    return Position.of(records[-1]) if records else None
