"""What must come of the stream's shards, which may have been split and merged."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

from consumer.pipeline.definitions import window_hash
from consumer.pipeline.model import Pipeline
from consumer.records import HashRange, Position, Record
from consumer.sources.kinesis import ShardInfo
from consumer.testing.reference import Expected, Idle, ReferenceShard, reference_lineage

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


def _last(inputs: Sequence[Record | Idle]) -> Position | None:
    records = [item for item in inputs if isinstance(item, Record)]
    return Position.of(records[-1]) if records else None
