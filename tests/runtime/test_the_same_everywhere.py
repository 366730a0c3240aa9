"""Offline, in the worker and in Lambda: the same records give the same rows, byte for byte."""

from __future__ import annotations

from collections.abc import Mapping
from random import Random

import pytest

from consumer.core.processor import Processor
from consumer.records import HashRange, Position
from consumer.runtime.invocations import Invocations
from consumer.runtime.surroundings import ShardOrigin
from consumer.sources.reading import Behind
from tests.random_streams import records
from tests.runtime.world import RANGE, SHARD, World, random_pipeline


class Function(World):
    """A world whose only shard a mapping delivers."""

    def behind(self, _: str, position: Position | None, __: HashRange) -> Behind:
        places = map(Position.of, self.records)
        return Behind(next((place for place in places if position is None or place > position), None))

    def origins(self) -> Mapping[str, ShardOrigin]:
        return {SHARD: self.origin(SHARD)}

    def is_spent(self) -> bool:
        return False

    def timeout_ms(self) -> int:
        return 60_000

    def deliver(self, random: Random) -> None:
        """Deliver everything in batches of any size, to containers that are warm or not."""
        container, first = Invocations(self.surroundings(), self, self), 0
        while batch := self.records[first : first + random.randint(1, 20)]:
            assert container.batch(SHARD, batch) is None
            first += len(batch)
            if random.random() < 0.3:
                container = Invocations(self.surroundings(), self, self)


@pytest.mark.parametrize("seed", range(25))
def test_rows_do_not_tell_where_they_were_made(seed: int) -> None:
    pipeline, given = random_pipeline(seed), list(records(Random(seed), 80))
    worker = World(pipeline, given)
    worker.batch_size = Random(seed).randint(1, 20)
    worker.run()
    function = Function(pipeline, given)
    function.deliver(Random(seed))
    offline = Processor(worker.program, SHARD, hash_range=RANGE).apply(given).rows
    wanted = sorted({row.data for row in offline})
    assert sorted(worker.unique_rows().values()) == wanted
    assert sorted(function.unique_rows().values()) == wanted
