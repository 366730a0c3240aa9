"""Merged entries of a state: restoring them is restoring what they were made of, however they were merged.

A test's name ends with its seed: the pipeline, its shards and their records are made from it.
"""

from __future__ import annotations

import zlib
from base64 import b64decode
from collections.abc import Iterator, Sequence
from pathlib import Path
from random import Random
from typing import Any

import msgspec
import pytest

from consumer.core import snapshot
from consumer.core.compile import Program, compile_pipeline
from consumer.core.layouts import LAYOUTS
from consumer.core.merging import merge
from consumer.core.processor import Outcome, Processor
from consumer.errors import CorruptStateError, RefusedError
from consumer.records import HashRange, Record, Row
from consumer.testing.entries import whole_entry
from consumer.testing.reference import Idle
from tests import random_lineages
from tests.random_pipelines import PipelineMaker
from tests.random_streams import Item, inputs, is_raw
from tests.seeds import seeds

SHARD = "shardId-000000000007"
GENERATION = 3
SEEDS = seeds(30, deep=30)


@pytest.fixture(autouse=True)
def _small_blocks(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Cut entries into blocks of a few rows: most states here have no more."""
    seed = request.node.callspec.params["seed"] if hasattr(request.node, "callspec") else 0
    monkeypatch.setattr(snapshot, "BLOCK_ROWS", (1, 2, 5, 4096)[seed % 4])


class Life:
    """A shard that is frozen after every step: all its entries, a base first."""

    def __init__(self, program: Program, shard: str, hash_range: HashRange | None, random: Random) -> None:
        self.program = program
        self.shard = shard
        self.hash_range = hash_range
        self.entries: list[bytes] = []
        self.outbox: Sequence[Row] = []
        self._random = random

    def live(self, processor: Processor, items: Sequence[Item]) -> None:
        self._freeze(processor, [])
        for step in self._steps(items):
            if isinstance(step, Idle):
                self._took(processor, processor.idle(step.now_ms))
            left = [] if isinstance(step, Idle) else step
            while left or processor.closing:
                outcome = processor.step(left)
                left = left[outcome.taken :]
                self._took(processor, outcome)

    def _steps(self, items: Sequence[Item]) -> Iterator[Idle | list[Record]]:
        batch: list[Record] = []
        for item in items:
            if isinstance(item, Idle) or self._random.random() < 0.3:
                yield batch
                batch = []
            if isinstance(item, Idle):
                yield item
            else:
                batch.append(item)
        yield batch

    def _took(self, processor: Processor, outcome: Outcome) -> None:
        if self._random.random() < 0.8:
            self._freeze(processor, outcome.rows)

    def _freeze(self, processor: Processor, outbox: Sequence[Row]) -> None:
        self.entries.append(processor.freeze(outbox, base=not self.entries))
        self.outbox = outbox

    def restore(self, entries: Sequence[bytes]) -> Processor:
        processor, outbox = Processor.restore(self.program, self.shard, GENERATION, entries, hash_range=self.hash_range)
        # A merged entry has no rows to be sent: those of the newest entry count, which is never a merged one.
        assert outbox == (self.outbox if entries[-1] == self.entries[-1] else [])
        return processor


def _merged_at_random(random: Random, entries: list[bytes]) -> list[bytes]:
    """Return entries some neighbours of which were merged, and merged again."""
    for _ in range(random.randint(1, 5)):
        first = random.randrange(len(entries))
        after = random.randint(first + 1, len(entries))
        entries = [*entries[:first], merge(entries[first:after]), *entries[after:]]
    return entries


def _meaning(processor: Processor) -> list[object]:
    """Return the state of a processor without what is only order."""
    entry = whole_entry(processor.freeze([], base=True))
    inherited = [[number, origin, lowest, _sorted(changes)] for number, origin, lowest, changes in entry.inherited]
    return [msgspec.structs.astuple(entry.header), *map(_sorted, entry.windows), inherited]


def _sorted(changes: Any) -> list[Any]:
    return [part if part is None else sorted(part, key=repr) for part in changes]


def _assert_same(life: Life, random: Random) -> None:
    entries = _merged_at_random(random, life.entries)
    straight, merged = life.restore(life.entries), life.restore(entries)
    whole = merge(life.entries)
    assert _meaning(life.restore([whole])) == _meaning(merged) == _meaning(straight)
    assert _content(whole) == _content(life.restore(life.entries).freeze([], base=True)), "nothing that has ended"
    for entry in [*life.entries, *entries]:
        _assert_no_name_is_gone_and_told(entry)
    assert merged.close_all().rows == straight.close_all().rows


def _content(base: bytes) -> list[object]:
    entry = whole_entry(base)
    return [*map(_sorted, entry.windows), *[[*part[:3], _sorted(part.changes)] for part in entry.inherited]]


def _assert_no_name_is_gone_and_told(data: bytes) -> None:
    reader = snapshot.Reader(data)
    for number, place, rows in reader.pieces():
        reader.held[number].changes[place] += rows
    for held in reader.held:
        for table in LAYOUTS[held.layout].tables:
            if table.gone is not None:
                gone_name = table.gone_name or table.name
                gone = set(map(gone_name(held.columns), held.changes[table.gone]))
                assert not gone & set(map(table.name(held.columns), held.changes[table.rows]))


@pytest.mark.parametrize("seed", SEEDS)
def test_merged_entries_are_restored_as_what_they_were_made_of(seed: int) -> None:
    random = Random(seed)
    pipeline = PipelineMaker(random, formats=True).pipeline()
    items = inputs(random, pipeline, random.randrange(90))
    program = compile_pipeline(pipeline, keys_required=not is_raw(items))
    life = Life(program, SHARD, None, random)
    rows_max = 10_000 if pipeline.limits.policy == "emit_early" else random.choice([1, 3, 10_000])
    life.live(Processor(program, SHARD, GENERATION, rows_max=rows_max), items)
    _assert_same(life, random)


@pytest.mark.parametrize("seed", SEEDS)
def test_merged_entries_of_a_lineage_are_restored_as_what_they_were_made_of(seed: int) -> None:
    """With floors, and parts of other shards that end sooner or later."""
    random = Random(seed)
    pipeline = random_lineages.pipeline(random)
    program = compile_pipeline(pipeline)
    ended: dict[str, Processor] = {}
    for shard in random_lineages.wild_lineage(random, pipeline):
        parents = [ended[parent] for parent in shard.parents]
        life = Life(program, shard.id, shard.hash_range, random)
        if parents:
            processor = Processor.inherit(program, shard.id, GENERATION, hash_range=shard.hash_range, parents=parents)
        else:
            processor = Processor(program, shard.id, GENERATION, hash_range=shard.hash_range)
        life.live(processor, shard.inputs)
        _assert_same(life, random)
        ended[shard.id] = life.restore(_merged_at_random(random, life.entries))


def test_a_large_state_is_merged_block_by_block(monkeypatch: pytest.MonkeyPatch) -> None:
    random = Random(1)
    pipeline = PipelineMaker(random).pipeline()
    program = compile_pipeline(pipeline)
    life = Life(program, SHARD, None, random)
    monkeypatch.setattr(snapshot, "BLOCK_ROWS", 2)
    life.live(Processor(program, SHARD, GENERATION), inputs(random, pipeline, 60))
    whole = merge(life.entries)
    _, *blocks = msgspec.msgpack.decode(whole)
    rows = [len(piece.rows) for piece in snapshot.Reader(whole).pieces()]
    assert len(blocks) > 5
    assert sum(rows) > 10
    assert max(rows) <= 4, "whole names, which may have several rows"


def test_entries_of_an_older_format_are_not_merged() -> None:
    old = (Path(__file__).with_name("golden") / "format-1-windows.b64").read_bytes()
    with pytest.raises(RefusedError, match="older format"):
        merge([zlib.compress(b64decode(old))])
    with pytest.raises(CorruptStateError):
        merge([b"x"])
