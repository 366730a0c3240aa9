"""What is the same for all runs of a story: the pipeline, the records, and what must come of them."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from functools import cache
from random import Random

from prometheus_client import CollectorRegistry

from consumer.core.compile import Program, compile_pipeline
from consumer.pipeline.definitions import window_hash
from consumer.pipeline.model import Pipeline
from consumer.records import Record, hash_key
from consumer.telemetry.events import Telemetry
from consumer.telemetry.health import Health
from consumer.telemetry.logging import configure_logging
from consumer.telemetry.metrics import Metrics
from consumer.testing.reference import (
    DeadLetter,
    ReferenceShard,
    complete_until,
    reference_combined,
    reference_lineage,
)
from tests.crash_points import global_story
from tests.crash_points.variants import Share, Stage
from tests.random_streams import records
from tests.runtime.test_resharding import GENERATIONS, ORIGINS
from tests.runtime.world import Clock, random_pipeline

LAST = {"split-1": "a", "split-2": "b"}
"""The shards that are left in the end, and a partition key of each."""
_RECORDS = 48


@dataclass(frozen=True)
class Scene:
    """What is the same for all runs of a seed: a random pipeline, random records, and the rows they must lead to."""

    program: Program
    by_shard: Mapping[str, Sequence[Record]]
    rows: Mapping[str, bytes]
    dead_letters: Mapping[str, DeadLetter]
    telemetry: Telemetry
    first_rows: AbstractSet[bytes] = frozenset()
    """Those that are due when of the last shards the first halves were delivered."""

    @staticmethod
    @cache
    def of(seed: int, *, combines: bool) -> Scene:
        """Make it, once."""
        by_shard = _distributed(seed)
        if combines:
            by_shard = global_story.closed(by_shard, LAST)
        program = compile_pipeline(global_story.pipeline() if combines else random_pipeline(seed))
        rows, dead_letters = _recount(program.pipeline, by_shard)
        first = {
            shard: records[: count_of(records, Share.FIRST)] if shard in LAST else records
            for shard, records in by_shard.items()
        }
        first_rows = frozenset(_recount(program.pipeline, first)[0].values())
        return Scene(program, by_shard, rows, dead_letters, _telemetry(program), first_rows)

    def due(self, stage: Stage) -> AbstractSet[bytes]:
        """Return the rows that are due when a stage is over that settles."""
        return self.first_rows if stage.share is Share.FIRST else set(self.rows.values())


def _recount(
    pipeline: Pipeline, by_shard: Mapping[str, Sequence[Record]]
) -> tuple[dict[str, bytes], dict[str, DeadLetter]]:
    """Return the rows and the dead letters that shards' records must lead to, by their ids."""
    shards = [
        ReferenceShard(shard, origin.hash_range, origin.parents, by_shard[shard]) for shard, origin in ORIGINS.items()
    ]
    expected = reference_lineage(pipeline, 0, shards, window_hash)
    until_ms = complete_until(expected[shard] for shard in LAST)
    combined = reference_combined(pipeline, 0, expected.values(), window_hash, until_ms=until_ms).rows
    rows = [*combined, *(row for each in expected.values() for row in [*each.rows, *each.late])]
    letters = [letter for each in expected.values() for letter in each.dead_letters]
    return {json.loads(row.data)["id"]: row.data for row in rows}, {letter.id: letter for letter in letters}


def count_of(records: Sequence[Record], share: Share) -> int:
    """Return how many of a shard's records are a share of them."""
    return share * len(records) // 2


def _telemetry(program: Program) -> Telemetry:
    """Return one that keeps nothing."""
    clock = Clock()
    return Telemetry(
        metrics=Metrics(CollectorRegistry(), stream="clicks"),
        logger=configure_logging(level="error", now_ms=clock.now_ms, stream=io.StringIO()),
        health=Health(clock.monotonic),
        windows=[window.name for window in program.pipeline.windows],
        monotonic=clock.monotonic,
        now_ms=clock.now_ms,
    )


def _distributed(seed: int) -> dict[str, list[Record]]:
    """Return the records of each shard: those of its time whose partition keys hash into its range."""
    by_shard: dict[str, list[Record]] = {shard: [] for shard in ORIGINS}
    for number, record in enumerate(records(Random(seed), _RECORDS)):
        shards = GENERATIONS[number * len(GENERATIONS) // _RECORDS]
        hashed = hash_key(record.partition_key or "")
        by_shard[next(shard for shard in shards if ORIGINS[shard].hash_range.holds(hashed))].append(record)
    return by_shard
