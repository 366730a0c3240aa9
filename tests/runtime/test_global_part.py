"""What one owner does for global windows, and what a worker sees of all shards."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator, Sequence
from typing import Any

import msgspec
import pytest

from consumer.core.combining import buckets
from consumer.core.completion import LAST_HASH_KEY, Progress
from consumer.core.contributions import Contribution, decode
from consumer.errors import RetryableError
from consumer.pipeline.load import load_text
from consumer.records import HashRange, Record
from consumer.runtime import global_part
from consumer.runtime.commit import ShardOwner
from consumer.runtime.global_view import GlobalView
from consumer.runtime.surroundings import Retention, ShardOrigin, Surroundings
from consumer.sources.reading import Behind
from consumer.state.base import StateStore
from consumer.state.memory import MemoryStore
from tests.runtime.world import STREAM_CREATED_MS, World

FILE = """
pipeline: simulated
source: {stream: clicks}
events:
  fields: {at: timestamp, page: string}
  time: at
  out_of_orderness: 1s
  idle_after: 10s
windows:
  views: {tumbling: 10s, by: [page], combine: true, select: {events: count()}}
sinks: [{stdout: {}}]
late: {stdout: {}}
dead_letter: {stdout: {}}
state: {table: state, commit_interval: 5s, emit_delay: 1s}
"""
HALF = 2**127
RANGES = {"low": HashRange(0, HALF - 1), "high": HashRange(HALF, LAST_HASH_KEY)}
HOUR_MS = 3_600_000
START_MS = STREAM_CREATED_MS


class Two(World):
    """Two shards that are owned at once."""

    def __init__(self, retention_ms: int | None = None) -> None:
        super().__init__(load_text(FILE, "two.yaml", {}), [])
        self.application = msgspec.structs.replace(self.application, roots=tuple(RANGES))
        self.memory.application = self.application
        self.around = self.surroundings(MemoryStore(self.memory))
        if retention_ms is not None:
            kept = Retention(retention_ms, lambda *_: Behind(None, is_whole=True, ended=False))
            self.around = dataclasses.replace(self.around, retention=kept)
        self.owners = {shard: self.begin(shard) for shard in RANGES}
        self.sequence = 0

    def origin(self, shard: str) -> ShardOrigin:
        return ShardOrigin(RANGES[shard], ())

    def stored_outbox(self) -> set[bytes]:
        return {row for shard in self.owners for row in self._rows(shard)}

    def _rows(self, shard: str) -> Iterator[bytes]:
        self.shard = shard
        yield from super().stored_outbox()

    def begin(self, shard: str) -> ShardOwner:
        self.owners = getattr(self, "owners", {})
        owner = self.owners[shard] = ShardOwner(self.around, shard)
        owner.initialise(None)
        return owner

    def put(self, shard: str, second: int, page: str = "x") -> None:
        """Let a shard process an event of a second after the start, and commit."""
        self.sequence += 1
        time_ms = START_MS + 1000 * second
        data = json.dumps({"at": time_ms, "page": page}).encode()
        self.owners[shard].step([Record(data, page, str(self.sequence), 0, time_ms)])
        self.commit(shard)

    def commit(self, shard: str) -> None:
        self.owners[shard].commit(lambda _: True)

    def combine(self) -> None:
        """Let an interval pass, then let both shards combine what is theirs, and commit."""
        self.clock.seconds += 6
        for shard, owner in self.owners.items():
            owner.combine()
            if owner.commit_is_due():
                self.commit(shard)

    def counts(self) -> dict[str, int]:
        """Return how many events the rows tell, by their windows' starts in seconds after the start."""
        rows = [json.loads(row) for row in self.unique_rows().values()]
        return {row["window_start"][14:19]: row["events"] for row in rows}


def test_a_window_has_its_row_when_all_shards_have_passed_it() -> None:
    world = Two()
    world.put("low", 1)
    world.put("high", 2)
    world.put("low", 40)
    world.combine()
    assert world.counts() == {}
    world.put("high", 12)
    world.combine()
    assert list(world.counts().values()) == [2]
    assert json.loads(world.sink.rows[0])["final"]
    world.put("high", 60)
    world.combine()
    world.combine()
    assert list(world.counts().values()) == [2, 1]
    assert len(world.sink.rows) == 2


def test_contributions_are_stored_before_progress_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    world, calls = Two(), list[str]()
    store = world.around.store
    for name in ("advance", "put_contributions", "write_progress"):
        monkeypatch.setattr(store, name, _noting(calls, name, getattr(store, name)))
    world.put("low", 1)
    calls.clear()
    world.put("low", 2)
    world.put("low", 40)
    assert calls == ["advance", "advance", "put_contributions", "write_progress"]


def _noting(calls: list[str], name: str, call: Any) -> Any:
    def noted(*arguments: Any, **options: Any) -> Any:
        calls.append(name)
        return call(*arguments, **options)

    return noted


def test_progress_is_told_when_a_window_goes_by_and_not_at_each_commit() -> None:
    world = Two()
    for second in range(1, 10):
        world.put("low", second)
    assert _told(world, "low").commit_no == 1
    world.put("low", 15)
    assert _told(world, "low").commit_no == 10
    assert _told(world, "low").watermark_ms == START_MS + 14_000


def _told(world: Two, shard: str) -> Progress:
    return world.memory.progress[0, shard]


def test_a_new_owner_goes_on_where_the_last_one_has_combined() -> None:
    world = Two()
    world.put("low", 1)
    world.put("high", 2)
    world.put("low", 40)
    world.put("high", 40)
    world.combine()
    assert len(world.sink.rows) == 1
    for shard in RANGES:
        world.begin(shard)
    world.combine()
    world.combine()
    assert len(world.unique_rows()) == 1


def test_an_idle_shard_goes_on_for_those_that_wait_and_no_further() -> None:
    world = Two()
    world.put("low", 1)
    world.put("low", 40)
    world.clock.seconds += 100
    low, high = world.owners["low"], world.owners["high"]
    assert high.idle_closes()
    assert high.idle() is not None
    world.commit("high")
    assert high.processor.watermark_ms == low.processor.watermark_ms
    world.combine()
    assert list(world.counts().values()) == [1]
    assert not high.idle_closes()
    assert high.idle() is None


def test_a_stream_that_is_silent_as_a_whole_is_left_alone() -> None:
    world = Two()
    world.clock.seconds += 100
    assert not any(owner.idle_closes() for owner in world.owners.values())
    assert [owner.idle() for owner in world.owners.values()] == [None, None]


def test_parts_that_may_be_forgotten_give_no_rows_and_an_alarm() -> None:
    world = Two(retention_ms=HOUR_MS)
    world.put("low", 1)
    world.put("low", 40)
    contribution = next(iter(_contributions(world)))
    assert contribution.expires_ms == world.clock.now_ms() + 2 * HOUR_MS
    world.clock.seconds += 3 * 3600
    world.put("low", 60)
    world.put("high", 2)
    world.put("high", 70)
    world.combine()
    lines = world.told("global_windows_incomplete")
    assert [(line["window"], line["until"][14:19]) for line in lines] == [("views", "13:59")]
    # The window that was contributed to after the long while is whole.
    assert [json.loads(row)["window_start"][14:19] for row in world.sink.rows] == ["14:00"]


def _contributions(world: Two) -> Iterator[Contribution]:
    for bucket in world.memory.contributions.values():
        yield from bucket.values()


def test_a_read_that_fails_loses_no_row(monkeypatch: pytest.MonkeyPatch) -> None:
    world = Two()
    for second in (1, 15, 25, 40):
        world.put("low", second)
    world.put("high", 50)
    store, read = world.around.store, world.around.store.read_contributions

    def torn(*arguments: Any, **options: Any) -> Iterator[Contribution]:
        yield next(iter(read(*arguments, **options)))
        raise RetryableError("the second page")

    monkeypatch.setattr(store, "read_contributions", torn)
    world.combine()
    assert world.sink.rows == []
    monkeypatch.setattr(store, "read_contributions", read)
    world.combine()
    assert list(world.counts().values()) == [1, 1, 1]


# What a worker sees


class Scripted:
    """A store whose reads of progress are told beforehand."""

    def __init__(self, *reads: Sequence[Progress] | Exception) -> None:
        self.reads = list(reads)

    def read_progress(self, _: int) -> Sequence[Progress]:
        read = self.reads.pop(0)
        if isinstance(read, Exception):
            raise read
        return read


def told(shard: str, range_: HashRange, watermark_ms: int, *parents: str) -> Progress:
    return Progress(shard, 0, parents, (str(range_.first), str(range_.last)), watermark_ms, 1, 1)


LOW, HIGH = told("low", RANGES["low"], 100), told("high", RANGES["high"], 50)
MERGED = told("merged", HashRange(0, LAST_HASH_KEY), 50, "low", "high")
RIGHT = told("right", RANGES["high"], 60, "merged")


def _looks(*reads: Sequence[Progress] | Exception) -> tuple[Two, Surroundings, Scripted]:
    world, store = Two(), Scripted(*reads)
    around = dataclasses.replace(world.around, view=GlobalView(), store=store)  # type: ignore[arg-type]  # all it asks
    return world, around, store


def test_a_read_in_the_midst_of_a_merge_and_a_split_is_not_believed() -> None:
    """Low was read before the merge, right after the split: they fill the hash keys, and high is behind both."""
    mixed = [LOW, RIGHT]
    whole = [LOW, HIGH, MERGED, RIGHT]
    world, around, _ = _looks(mixed, whole, whole, whole)
    assert around.view.look(around).watermark_ms is None
    world.clock.seconds += 6
    assert around.view.look(around).watermark_ms == 50


def test_progress_is_read_once_an_interval() -> None:
    world, around, store = _looks([LOW, HIGH], [LOW, HIGH], [LOW, HIGH])
    for _ in range(3):
        assert around.view.look(around).watermark_ms == 50
    assert len(store.reads) == 1
    world.clock.seconds += 5
    around.view.look(around)
    assert store.reads == []


def test_what_was_complete_stays_so_while_the_store_does_not_answer() -> None:
    world, around, _ = _looks([LOW, HIGH], [LOW, HIGH], RetryableError("throttled"))
    around.view.look(around)
    world.clock.seconds += 5
    assert around.view.look(around).watermark_ms == 50
    assert [line["step"] for line in world.told("commit_retry")] == ["tell"]


def test_contributions_are_read_back_as_they_were() -> None:
    world = Two()
    world.put("low", 1)
    world.put("low", 40)
    store: StateStore = world.around.store
    (contribution,) = _contributions(world)
    found = store.read_contributions(0, contribution.window_hash, 0, after_end_ms=None, until_end_ms=2**50)
    assert list(found) == [contribution]
    assert decode(msgspec.msgpack.encode(contribution)) == contribution


@pytest.mark.parametrize("limit", ["COMBINED_ROWS_MAX", "CONTRIBUTIONS_READ_MAX"])
def test_what_is_too_much_for_one_call_is_left_for_the_next_ones(monkeypatch: pytest.MonkeyPatch, limit: str) -> None:
    monkeypatch.setattr(global_part, limit, 1)
    world = Two()
    for second in (1, 12, 23, 60):
        world.put("low", second)
        world.put("high", second)
    world.clock.seconds += 6
    combiner = next(owner for shard, owner in world.owners.items() if buckets(world.program, RANGES[shard]))
    assert [combiner.combine() for _ in range(4)] == [False, False, True, True]
    world.commit(combiner.shard)
    assert list(world.counts().values()) == [2, 2, 2]


def test_what_cannot_be_read_is_not_done(monkeypatch: pytest.MonkeyPatch) -> None:
    world = Two()
    for shard in world.owners:
        world.put(shard, 1)
        world.put(shard, 60)
    world.clock.seconds += 6
    combiner = next(owner for shard, owner in world.owners.items() if buckets(world.program, RANGES[shard]))

    def fail(*_: object, **__: object) -> Iterator[Contribution]:
        raise RetryableError("throttled")

    with monkeypatch.context() as patched:
        patched.setattr(MemoryStore, "read_contributions", fail)
        assert not combiner.combine()
    assert combiner.combine()
