"""Global windows in AWS Lambda: shards of which no batch comes."""

from __future__ import annotations

from consumer.records import HashRange, Position, Record
from consumer.runtime.invocations import Invocations
from consumer.runtime.surroundings import ShardOrigin
from consumer.sources.reading import Behind
from tests.runtime.test_global_part import HOUR_MS, RANGES, Two

TIMEOUT_MS = 60_000


class Mapped(Two):
    """Two shards that a mapping delivers; `given` are the records of each."""

    def __init__(self) -> None:
        super().__init__(HOUR_MS, begun=())
        self.given: dict[str, list[Record]] = {shard: [] for shard in RANGES}
        self.container = Invocations(self.around, self, self)

    def is_spent(self) -> bool:
        return False

    def timeout_ms(self) -> int:
        return TIMEOUT_MS

    def behind(self, shard: str, position: Position | None, _: HashRange) -> Behind:
        positions = list(map(Position.of, self.given[shard]))
        first = next((each for each in positions if position is None or each > position), None)
        return Behind(first, ended=False, is_whole=True)

    def origins(self) -> dict[str, ShardOrigin]:
        return {shard: self.origin(shard) for shard in RANGES}

    def batch(self, shard: str, second: int) -> None:
        record = self.record(second)
        self.given[shard].append(record)
        assert self.container.batch(shard, [record]) is None

    def ticks(self, number: int) -> None:
        for _ in range(number):
            self.clock.seconds += 61
            self.container.tick()


def test_a_shard_that_never_had_a_record_is_begun_by_the_tick_and_holds_nothing_back() -> None:
    world = Mapped()
    world.ticks(1)
    world.batch("low", 1)
    world.batch("low", 40)
    world.ticks(8)
    assert world.counts() == {"13:20": 1, "14:00": 1}
    world.batch("high", 1_000)
    assert world.told("shard_refused") == []


def test_a_shard_that_a_dead_invocation_had_claimed_is_begun_all_the_same() -> None:
    world = Mapped()
    world.around.store.claim("high")
    world.ticks(1)
    (claim,) = (claim for shard, claim in world.memory.items.items() if shard == "high")
    assert claim.state is not None


def test_a_root_of_which_something_is_to_come_is_left_to_its_batch() -> None:
    world = Mapped()
    world.given["high"].append(world.record(1))
    world.ticks(3)
    assert "high" not in world.memory.items
