"""Splits and merges with state: what children take over, what no death in between loses or doubles, what is kept."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from random import Random
from typing import BinaryIO, cast

import pytest

from consumer.core.processor import Processor
from consumer.errors import RetryableError, UnknownShardError
from consumer.pipeline.definitions import window_hash
from consumer.pipeline.model import Pipeline
from consumer.records import HashRange, Position, Record, hash_key
from consumer.runtime import commit, compaction, tidying
from consumer.runtime.shard import ShardRunner
from consumer.runtime.surroundings import ShardOrigin
from consumer.state.base import Application, Claim, ShardState, is_orphan
from consumer.state.memory import Memory, MemoryStore
from consumer.telemetry.shards import Batch
from consumer.testing.reference import ReferenceShard, reference_lineage
from tests.random_streams import records
from tests.runtime.world import STREAM_CREATED_MS, Died, FakeDaemon, World, random_pipeline
from tests.seeds import deep_only, seeds

HALF, QUARTER, ALL = 2**127, 2**126, 2**128
ORIGINS = {
    "low": ShardOrigin(HashRange(0, HALF - 1), ()),
    "high": ShardOrigin(HashRange(HALF, ALL - 1), ()),
    "merged": ShardOrigin(HashRange(0, ALL - 1), ("low", "high")),
    "split-1": ShardOrigin(HashRange(0, QUARTER - 1), ("merged",)),
    "split-2": ShardOrigin(HashRange(QUARTER, ALL - 1), ("merged",)),
}
"""Two shards become one, and that one becomes two: parents stand before their children."""
GENERATIONS = (("low", "high"), ("merged",), ("split-1", "split-2"))


@dataclass
class Lease:
    """What the source knows of a shard."""

    records: list[Record] = field(default_factory=list)
    checkpoint: Position | str = "TRIM_HORIZON"
    ended: bool = False


class Family(World):
    """A world of several shards, of which one at a time has an owner."""

    def __init__(self, pipeline: Pipeline, records: list[Record]) -> None:
        super().__init__(pipeline, [])
        self.leases = {shard: Lease() for shard in ORIGINS}
        for number, record in enumerate(records):
            shards = GENERATIONS[number * len(GENERATIONS) // len(records)]
            hashed = hash_key(record.partition_key or "")
            owner = next(shard for shard in shards if ORIGINS[shard].hash_range.holds(hashed))
            self.leases[owner].records.append(record)
        self.application = Application(0, 0, ("low", "high"), self.program.definitions, STREAM_CREATED_MS)
        self.memory.application = self.application
        self.dies_before: str | None = None
        self.unknown: set[str] = set()
        """Shards that the stream does not know any more."""
        self.turn_to("low")

    def step(self, name: str) -> None:
        if name == f"before {self.dies_before}":
            raise Died
        super().step(name)

    def turn_to(self, shard: str) -> None:
        """Let the coming calls be about a shard."""
        self.shard = shard
        lease = self.leases[shard]
        self.records, self.checkpoint, self.ended = lease.records, lease.checkpoint, lease.ended

    def origin(self, shard: str) -> ShardOrigin:
        if shard in self.unknown:
            raise UnknownShardError(f"no shard {shard}")
        return ORIGINS[shard]

    def children(self, parent: str) -> dict[str, HashRange]:
        return {shard: origin.hash_range for shard, origin in ORIGINS.items() if parent in origin.parents}

    def serve(self, shard: str, die_at: int | None = None, end: str = "end") -> bool:
        """Serve a shard to its end, or to the process's death; return whether it died."""
        self.turn_to(shard)
        try:
            if die_at is None:
                self.run(FakeDaemon(self, end=end))
                return False
            return self.run_until_death(die_at, end)
        finally:
            self.leases[shard].checkpoint, self.leases[shard].ended = self.checkpoint, self.ended

    def stored_outbox(self) -> set[bytes]:
        """Return the rows of the outboxes of all shards: a child sends what its parents left."""
        return {row for shard in self.memory.items for row in self._outbox(shard)}

    def _outbox(self, shard: str) -> Iterator[bytes]:
        state = self.memory.items[shard].state
        if state is None:
            return
        store = MemoryStore(self.memory)
        entries = [state.inline] if state.inline is not None else [store.get_object(each) for each in state.manifest]
        range_ = HashRange(*map(int, state.hash_range))
        yield from (row.data for row in Processor.restore(self.program, shard, 0, entries, hash_range=range_)[1])

    def state(self, shard: str) -> ShardState:
        state = self.memory.items[shard].state
        assert state is not None
        return state

    def assert_exact(self) -> None:
        shards = [
            ReferenceShard(shard, origin.hash_range, origin.parents, self.leases[shard].records)
            for shard, origin in ORIGINS.items()
        ]
        expected = reference_lineage(self.program.pipeline, 0, shards, window_hash).values()
        rows = self.unique_rows()
        wanted = {json.loads(row.data)["id"]: row.data for each in expected for row in [*each.rows, *each.late]}
        dead = {letter.id: letter for each in expected for letter in each.dead_letters}
        assert rows.keys() == wanted.keys() | dead.keys()
        assert all(rows[row_id] == data for row_id, data in wanted.items())
        assert all(letter.matches(rows[row_id]) for row_id, letter in dead.items())


def _family(seed: int, count: int = 60) -> Family:
    return Family(random_pipeline(seed), list(records(Random(seed), count)))


def _serve_all(family: Family, shards: Mapping[str, ShardOrigin] = ORIGINS) -> None:
    for shard in shards:
        if not family.leases[shard].ended:
            family.serve(shard)


@pytest.mark.parametrize("seed", seeds(30, deep=30))
def test_the_rows_of_a_family_are_those_of_the_recount(seed: int) -> None:
    family = _family(seed, 90)
    _serve_all(family)
    family.assert_exact()
    assert family.unique_rows()


@pytest.mark.parametrize(
    ("shard", "inline_max_bytes"),
    [
        ("high", 8192),
        ("merged", 0),
        ("split-2", 8192),
        deep_only("high", 0),
        deep_only("merged", 8192),
        deep_only("split-2", 0),
    ],
)
def test_a_death_at_any_step_loses_and_doubles_nothing(
    shard: str, inline_max_bytes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of the parent that ends last, of a child of two parents, and of one of two children of one parent."""
    monkeypatch.setattr(commit, "INLINE_BYTES_MAX", inline_max_bytes)
    monkeypatch.setattr(tidying, "_FIRST_WAIT_SECONDS", 0.0)
    undisturbed = _family(11)
    _serve_all(undisturbed, {each: ORIGINS[each] for each in _before(shard)})
    undisturbed.steps.clear()
    undisturbed.serve(shard)
    for die_at in range(len(undisturbed.steps)):
        family = _family(11)
        _serve_all(family, {each: ORIGINS[each] for each in _before(shard)})
        assert family.serve(shard, die_at)
        _serve_all(family)
        family.assert_exact()


def _before(shard: str) -> list[str]:
    return list(ORIGINS)[: list(ORIGINS).index(shard)]


@pytest.mark.parametrize("seed", seeds(20, deep=20))
def test_deaths_everywhere_lose_and_double_nothing(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    random = Random(seed)
    monkeypatch.setattr(commit, "INLINE_BYTES_MAX", random.choice([0, 500, 8192]))
    monkeypatch.setattr(commit, "SMALL_STATE_GROUPS", random.choice([0, 1000]))
    monkeypatch.setattr(compaction, "MANIFEST_ENTRIES_MAX", random.choice([4, 6, 32]))
    monkeypatch.setattr(compaction, "RUN_MIN", random.choice([2, 4, 100]))
    family = _family(seed, 90)
    for shard in ORIGINS:
        for _ in range(random.randrange(4)):
            family.batch_size = random.randint(1, 12)
            if not family.leases[shard].ended:
                family.serve(shard, random.randrange(40))
        if not family.leases[shard].ended:
            family.serve(shard)
    family.assert_exact()


@pytest.mark.parametrize("parent", ["low", "high"])
def test_a_child_is_refused_while_a_parent_has_not_ended(parent: str) -> None:
    family = _family(3)
    _serve_all(family, {each: ORIGINS[each] for each in GENERATIONS[0] if each != parent})
    family.serve(parent, end="shutdown")
    before = family.state(parent)
    family.serve("merged")
    assert f"but {parent} has not ended" in family.log.getvalue()
    assert family.memory.items["merged"] == Claim(1, None), "nothing was written, and it may be taken over later"
    assert not family.leases["merged"].ended
    assert family.state(parent) == before
    _serve_all(family)
    family.assert_exact()


def _end_unsent(family: Family, shard: str) -> None:
    """Let a shard end, and its worker die before the rows that came of it are sent."""
    family.turn_to(shard)
    family.steps.clear()
    daemon = FakeDaemon(family)
    daemon._script = iter([daemon.initialize(), daemon.batch(family.records), {"action": "shardEnded"}])
    family.dies_before = "put"
    with pytest.raises(Died):
        family.run(daemon)
    family.dies_before = None


def test_a_child_sends_and_acknowledges_what_its_parent_left() -> None:
    """Lease rows were lost, and so the child began before its parent's end was checkpointed."""
    family = _family(11)
    family.serve("low")
    _end_unsent(family, "high")
    left = set(family._outbox("high"))
    assert family.state("high").ended
    assert left
    assert not left & set(family.sink.rows)
    family.serve("merged", end="lost")
    assert left <= set(family.sink.rows)
    assert not set(family._outbox("high")), "that they were sent is recorded with the parent"
    assert family.memory.items["high"].epoch == 2
    assert family.memory.items["low"].epoch == 1, "nothing was left there: its owner is not fenced"
    _serve_all(family)
    family.assert_exact()


def test_that_a_parents_rows_were_sent_is_recorded_before_the_child_begins() -> None:
    """And nothing of the parent stays with the child's worker: others may serve it."""
    family = _family(11)
    family.serve("low")
    _end_unsent(family, "high")
    before = family.state("high")
    family.turn_to("merged")
    around = family.surroundings()
    commit.ShardOwner(around, "merged").initialise(None)
    after = family.state("high")
    assert before.outbox_rows > after.outbox_rows == 0
    assert (after.commit_no, after.ended) == (before.commit_no + 1, True)
    assert not set(family._outbox("high"))
    assert set(around.telemetry.health.report().shards) == {"merged"}


def test_a_late_owner_of_an_ended_parent_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(commit, "INLINE_BYTES_MAX", 0)
    family = _family(5)
    _serve_all(family, {each: ORIGINS[each] for each in _before("merged")})
    before = family.state("high")
    family.leases["high"].checkpoint, family.leases["high"].ended = "TRIM_HORIZON", False
    family.serve("high")
    assert family.state("high") == before
    assert family.leases["high"].ended
    _serve_all(family)
    family.assert_exact()


def test_parents_are_given_up_when_all_children_have_left_them_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(commit, "INLINE_BYTES_MAX", 0)
    monkeypatch.setattr(tidying, "_FIRST_WAIT_SECONDS", 0.0)
    family = _family(7, 90)
    items = family.memory.items
    _serve_all(family, {each: ORIGINS[each] for each in _before("split-1")})
    assert items["low"] == Claim(1, None, retired=True)
    assert items["high"] == Claim(1, None, retired=True)
    family.serve("split-1", end="lost")
    assert family.state("split-1").commit_no > 0
    assert not items["merged"].retired, "its other child has not begun"
    _serve_all(family)
    assert items["merged"].retired
    folders = {key.split("/")[2] for key in family.memory.objects}
    assert folders == {"split-1", "split-2"}
    store = MemoryStore(family.memory)
    for shard in folders:
        found = store.list_objects(shard, 0)
        assert found
        assert not [one for one in found if is_orphan(one, items[shard])]
    family.assert_exact()
    family.leases["low"].checkpoint, family.leases["low"].ended = "TRIM_HORIZON", False
    family.serve("low")
    assert family.leases["low"].ended, "a late owner of a tombstone lets its end be checkpointed"
    assert items["low"] == Claim(2, None, retired=True)


def test_a_child_of_a_tombstone_is_refused() -> None:
    family = _family(7)
    _serve_all(family, {each: ORIGINS[each] for each in _before("merged")})
    MemoryStore(family.memory).retire("low", 1)
    family.serve("merged")
    assert "was given up after other shards had taken it over" in family.log.getvalue()


def test_a_shard_that_came_from_nowhere_is_refused() -> None:
    family = _family(7)
    family.application = Application(0, 0, ("low",), family.program.definitions, STREAM_CREATED_MS)
    family.memory.application = family.application
    family.serve("high")
    assert "has no parents and was not there" in family.log.getvalue()
    assert not family.leases["high"].ended


def test_of_a_parent_whose_state_could_not_be_read_at_first_nothing_is_told_any_more(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It would count as a shard that is stuck, minutes later, and end the worker."""
    family = _family(7)
    _serve_all(family, {each: ORIGINS[each] for each in _before("merged")})
    family.turn_to("merged")
    around = family.surroundings(_Throttled(family.memory))
    daemon = FakeDaemon(family)
    daemon._script = iter([daemon.initialize(), daemon.batch([]), daemon.batch([])])
    held: list[set[str]] = []
    batch = around.telemetry.batch

    def told(shard: str, each: Batch) -> None:
        batch(shard, each)
        held.append({*around.telemetry.health.report().shards, *around.telemetry.facts.shards()})

    monkeypatch.setattr(around.telemetry, "batch", told)  # looked at while the child is at work
    ShardRunner(around, failover_seconds=10).run(cast("BinaryIO", daemon), cast("BinaryIO", daemon))
    assert '"commit_retry"' in family.log.getvalue()
    assert held == [{"merged"}, {"merged"}]


class _Throttled(MemoryStore):
    """A store that is throttled at the first look at a parent."""

    def __init__(self, memory: Memory) -> None:
        super().__init__(memory)
        self._throttled = {"low"}

    def read(self, shard: str) -> Claim | None:
        if shard in self._throttled:
            self._throttled.remove(shard)
            raise RetryableError("too many calls")
        return super().read(shard)


def test_objects_of_crashed_owners_are_collected(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(commit, "INLINE_BYTES_MAX", 0)
    family = _family(9)
    store = MemoryStore(family.memory)
    steps = _family(9)
    steps.serve("low")
    second_put = [number for number, step in enumerate(steps.steps) if step == "after put_object"][1]
    assert family.serve("low", second_put)
    assert len(store.list_objects("low", 0)) == 2, "commit 0, and one that no item refers to"
    family.serve("low", end="lost")
    assert [one for one in store.list_objects("low", 0) if is_orphan(one, family.memory.items["low"])] == []
    assert '"orphans_deleted"' in family.log.getvalue()
