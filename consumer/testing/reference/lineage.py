"""Shards that were split and merged: each begins with what its parents left when they ended."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from consumer.pipeline.model import Pipeline
from consumer.records import HashRange, Record
from consumer.testing.reference.interpreter import Interpreter
from consumer.testing.reference.outcome import Expected, Idle
from consumer.testing.reference.rows import WindowHash
from consumer.testing.reference.state import ShardState


@dataclass(frozen=True, slots=True)
class ReferenceShard:
    """One shard of a lineage: the hash keys it has, the ids of its parents, and all that comes in of it.

    One parent was split, two were merged; a shard without any was there from the beginning.
    """

    id: str
    hash_range: HashRange
    parents: tuple[str, ...]
    inputs: Sequence[Record | Idle]


def reference_lineage(
    pipeline: Pipeline,
    generation: int,
    shards: Sequence[ReferenceShard],
    window_hash: WindowHash,
    *,
    close_all: bool = False,
    keys_required: bool = True,
) -> dict[str, Expected]:
    """Return what must come of each shard, by its id; parents stand before their children.

    `close_all` closes the windows of the shards without children: the others pass on what is open. The rest is as in
    `reference`.
    """
    with_children = {parent for shard in shards for parent in shard.parents}
    states: dict[str, ShardState] = {}
    expected: dict[str, Expected] = {}
    for shard in shards:
        state = states[shard.id] = ShardState(pipeline, shard.id, shard.hash_range)
        if shard.parents:
            state.inherit([states[parent] for parent in shard.parents])
        interpreter = Interpreter(state, generation, window_hash, keys_required=keys_required)
        is_last = shard.id not in with_children
        expected[shard.id] = interpreter.take_all(shard.inputs, close_all=close_all and is_last)
    return expected
