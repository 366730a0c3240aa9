"""Global windows in the owners of shards: one row a group over all of them, whatever dies in between."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Mapping
from random import Random

import pytest

from consumer.pipeline.definitions import window_hash
from consumer.pipeline.model import Pipeline, StdoutSink
from consumer.runtime import commit, compaction, global_part, tidying
from consumer.runtime.surroundings import ShardOrigin
from consumer.testing.reference import ReferenceShard, reference_combined, reference_lineage
from tests.random_pipelines import PipelineMaker
from tests.random_streams import records
from tests.runtime.test_resharding import ORIGINS, Family
from tests.seeds import deep_only

LAST = ("split-1", "split-2")


class GlobalFamily(Family):
    """A family whose pipeline has windows that are combined over all shards."""

    def serve_last(self) -> None:
        """Serve the youngest shards until nothing is left to be combined: each sees how far the other one is."""
        for _ in range(3):
            for shard in LAST:
                self.serve(shard, end="shutdown")

    def serve_all(self, shards: Mapping[str, ShardOrigin] = ORIGINS) -> None:
        for shard in shards:
            if not self.leases[shard].ended and shard not in LAST:
                self.serve(shard)
        if LAST[1] in shards:
            self.serve_last()

    def complete_ms(self) -> float:
        watermarks = [self.state(shard).watermark_ms for shard in LAST]
        return min(-math.inf if each is None else each for each in watermarks)

    def assert_exact(self) -> None:
        """Every row of the recount is there once, with its bytes, and nothing else: also those of global windows."""
        pipeline = self.program.pipeline
        shards = [
            ReferenceShard(shard, origin.hash_range, origin.parents, self.leases[shard].records)
            for shard, origin in ORIGINS.items()
        ]
        expected = reference_lineage(pipeline, 0, shards, window_hash).values()
        combined = reference_combined(pipeline, 0, expected, window_hash, until_ms=self.complete_ms()).rows
        rows = self.unique_rows()
        results = [*combined, *(row for each in expected for row in [*each.rows, *each.late])]
        wanted = {json.loads(row.data)["id"]: row.data for row in results}
        dead = {letter.id: letter for each in expected for letter in each.dead_letters}
        assert rows.keys() == wanted.keys() | dead.keys()
        assert all(rows[row_id] == data for row_id, data in wanted.items())
        self.global_rows = len(combined)


def global_pipeline(seed: int) -> Pipeline:
    pipeline = PipelineMaker(Random(seed), combines=True).pipeline()
    return dataclasses.replace(pipeline, late=StdoutSink(), dead_letter=StdoutSink())


def _family(seed: int, count: int = 60) -> GlobalFamily:
    return GlobalFamily(global_pipeline(seed), list(records(Random(seed), count)))


def test_the_rows_of_families_are_those_of_the_recount() -> None:
    rows = 0
    for seed in range(40):
        family = _family(seed, 90)
        family.serve_all()
        family.assert_exact()
        rows += family.global_rows
    assert rows > 100


@pytest.mark.parametrize("shard", [deep_only("high"), deep_only("merged"), "split-2"])
def test_a_death_at_any_step_loses_and_doubles_nothing(shard: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of the parent that ends last, of a child of two parents, and of one of two children of one parent."""
    monkeypatch.setattr(tidying, "_FIRST_WAIT_SECONDS", 0.0)
    before = {each: ORIGINS[each] for each in list(ORIGINS)[: list(ORIGINS).index(shard)]}
    end = "shutdown" if shard in LAST else "end"
    undisturbed = _family(SEED_WITH_ROWS, 30)
    undisturbed.serve_all(before)
    undisturbed.steps.clear()
    undisturbed.serve(shard, end=end)
    calls = set(undisturbed.steps)
    assert {"before put_contributions", "before write_progress", "before read_progress"} <= calls
    for die_at in range(len(undisturbed.steps)):
        family = _family(SEED_WITH_ROWS, 30)
        family.serve_all(before)
        assert family.serve(shard, die_at, end)
        family.serve_all()
        family.assert_exact()
        assert family.global_rows


SEED_WITH_ROWS = 11


@pytest.mark.parametrize("seed", range(40))
def test_deaths_everywhere_lose_and_double_nothing(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    random = Random(seed)
    monkeypatch.setattr(commit, "INLINE_BYTES_MAX", random.choice([0, 500, 8192]))
    monkeypatch.setattr(commit, "SMALL_STATE_GROUPS", random.choice([0, 1000]))
    monkeypatch.setattr(compaction, "MANIFEST_ENTRIES_MAX", random.choice([4, 6, 32]))
    monkeypatch.setattr(global_part, "COMBINED_ROWS_MAX", random.choice([1, 3, 10_000]))
    family = _family(seed, 90)
    for shard in ORIGINS:
        for _ in range(random.randrange(4)):
            family.batch_size = random.randint(1, 12)
            if not family.leases[shard].ended:
                family.serve(shard, random.randrange(40), "shutdown" if shard in LAST else "end")
        if not family.leases[shard].ended and shard not in LAST:
            family.serve(shard)
    family.serve_last()
    family.serve_last()
    family.assert_exact()
