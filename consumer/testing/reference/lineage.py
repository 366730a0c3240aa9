"""Shards that were split and merged: each begins with what its parents left when they ended."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

from consumer.pipeline.model import Pipeline
from consumer.records import HashRange, Record
from consumer.testing.reference.interpreter import Input, Interpreter
from consumer.testing.reference.outcome import Adoption, Expected, Idle, WindowHash
from consumer.testing.reference.state import Group, ShardState


@dataclass(frozen=True, slots=True)
class ReferenceShard:
    """One shard of a lineage: the hash keys it has, the ids of its parents, and all that comes in of it.

    One parent was split, two were merged; a shard without any was there from the beginning.
    """

    id: str
    hash_range: HashRange
    parents: tuple[str, ...]
    inputs: Sequence[Record | Idle]
    adopts: Adoption | None = None
    """The definitions that it begins with, if they are others than those of all of its parents."""
    adoptions: Sequence[tuple[int, Adoption]] = ()
    """Those that come later: after so many inputs."""

    def all_inputs(self) -> list[Input]:
        """Return the inputs with the adoptions where they are."""
        inputs: list[Input] = []
        before = 0
        for count, adoption in self.adoptions:
            inputs += [*self.inputs[before:count], adoption]
            before = count
        return [*inputs, *self.inputs[before:]]


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
    interpreters: dict[str, Interpreter] = {}
    expected: dict[str, Expected] = {}
    for shard in shards:
        parents = [interpreters[parent] for parent in shard.parents]
        flushed: list[Expected] = []
        if shard.adopts is not None:
            parents, flushed = _adopted(shard, parents)
        definitions = (parents[0].pipeline, parents[0].window_hash) if parents else (pipeline, window_hash)
        state = ShardState(definitions[0], shard.id, shard.hash_range)
        if parents:
            assert all(parent.pipeline == state.pipeline for parent in parents), "parents of other definitions"
            state.inherit([parent.state for parent in parents])
        interpreter = Interpreter(state, generation, definitions[1], keys_required=keys_required)
        interpreters[shard.id] = interpreter
        is_last = shard.id not in with_children
        expected[shard.id] = interpreter.take_all(shard.all_inputs(), close_all=close_all and is_last)
        expected[shard.id].rows[:0] = [row for each in flushed for row in each.rows]
        expected[shard.id].row_events[:0] = [events for each in flushed for events in each.row_events]
    return expected


def _adopted(shard: ReferenceShard, parents: Sequence[Interpreter]) -> tuple[list[Interpreter], list[Expected]]:
    """Return copies of the parents with the definitions that a child adopts, and what it flushes of theirs."""
    assert shard.adopts is not None
    child = ShardState(shard.adopts.pipeline, shard.id, shard.hash_range)
    adopted, flushed = [], []
    for parent in parents:
        copy = parent.copied()
        copy.adopt(shard.adopts, partial(_goes_to, child, parent.state))
        adopted.append(copy)
        flushed.append(copy.take_all((), close_all=False))
    return adopted, flushed


def _goes_to(child: ShardState, parent: ShardState, group: Group) -> bool:
    return child.takes(group.number, group.origin, group.key, parent)
