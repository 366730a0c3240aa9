"""What one owner does for global windows, and what a worker sees of all shards."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import msgspec
import pytest

from consumer.core import contributions
from consumer.core.combining import buckets
from consumer.core.compile import compile_pipeline
from consumer.core.completion import LAST_HASH_KEY, Progress
from consumer.core.contributions import Contribution, decode
from consumer.core.snapshot import Reader
from consumer.errors import RetryableError
from consumer.pipeline.definitions import definitions_text
from consumer.pipeline.load import load_text
from consumer.records import HashRange, Record
from consumer.runtime import global_part, sending
from consumer.runtime.adoption import adopt
from consumer.runtime.commit import ShardOwner
from consumer.runtime.surroundings import Retention, ShardOrigin
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
  max_future: 'off'
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


def event(sequence: int, second: int, page: str = "x") -> Record:
    """Return an event of a second after the start."""
    time_ms = START_MS + 1000 * second
    data = json.dumps({"at": time_ms, "page": page}).encode()
    return Record(data, page, str(sequence), 0, time_ms)


class Two(World):
    """Two shards that are owned at once."""

    def __init__(self, retention_ms: int | None = None, file: str = FILE, begun: Iterable[str] = RANGES) -> None:
        pipeline = load_text(file, "two.yaml", {})
        super().__init__(pipeline, [])
        meaning = definitions_text(pipeline)
        self.application = msgspec.structs.replace(self.application, roots=tuple(RANGES), meaning=meaning)
        self.memory.application = self.application
        self.around = self.surroundings(MemoryStore(self.memory))
        self.keep(retention_ms)
        self.owners = {shard: self.begin(shard) for shard in begun}
        self.sequence = 0

    def keep(self, retention_ms: int | None) -> None:
        """Have the next owners hear how long the stream keeps records."""
        if retention_ms is not None:
            kept = Retention(retention_ms, lambda *_: Behind(None, is_whole=True, ended=False))
            self.around = dataclasses.replace(self.around, retention=kept)

    def change(self, file: str) -> None:
        """Have the next owners come of workers with another file."""
        pipeline, stored = load_text(file, "two.yaml", {}), self.memory.application
        assert stored is not None
        self.application = adopt(stored, pipeline, MemoryStore(self.memory).adopt)
        self.program = compile_pipeline(pipeline, incarnations=dict(self.application.incarnations))
        retention = self.around.retention
        self.around = dataclasses.replace(self.surroundings(MemoryStore(self.memory)), retention=retention)

    def origin(self, shard: str) -> ShardOrigin:
        return ShardOrigin(RANGES[shard], ())

    def stored_outbox(self) -> set[bytes]:
        store = MemoryStore(self.memory)
        states = [claim.state for claim in store.list_shards().values() if claim.state is not None]
        newest = [store.get_object(state.manifest[-1]) if state.inline is None else state.inline for state in states]
        return {row.data for data in newest for row in Reader(data).outbox}

    def forget(self) -> None:
        """Delete what the store may forget."""
        now_ms, progress = self.clock.now_ms(), self.memory.progress
        for name in [name for name, each in progress.items() if each.expires_ms and each.expires_ms <= now_ms]:
            del progress[name]
        for bucket in self.memory.contributions.values():
            for place in [place for place, each in bucket.items() if (each.expires_ms or 0) <= now_ms]:
                del bucket[place]

    def begin(self, shard: str) -> ShardOwner:
        self.owners = getattr(self, "owners", {})
        owner = self.owners[shard] = ShardOwner(self.around, shard)
        owner.initialise(None)
        return owner

    def put(self, shard: str, second: int, page: str = "x") -> None:
        """Let a shard process an event of a second after the start, and commit."""
        self.step_alone(shard, second, page)
        self.commit(shard)

    def step_alone(self, shard: str, second: int, page: str = "x") -> None:
        """Let a shard process an event of a second after the start."""
        self.owners[shard].step([self.record(second, page)])

    def record(self, second: int, page: str = "x") -> Record:
        """Return an event of a second after the start, behind all others."""
        self.sequence += 1
        return event(self.sequence, second, page)

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


def test_what_a_throttled_store_takes_bit_by_bit_is_stored_in_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """Many chunks, of which a bucket takes three a second."""
    monkeypatch.setattr(contributions, "CHUNK_BYTES", 20)
    monkeypatch.setattr(sending, "CHUNK_BYTES", 200)
    world = Two()
    store, stored, left = world.around.store, MemoryStore.put_contributions, {0: 3}

    def throttled(rows: Sequence[bytes]) -> None:
        second = int(world.clock.seconds)
        for row in rows:
            left[second] = left.get(second, 3) - 1
            if left[second] < 0:
                raise RetryableError("throttled")
            stored(store, [row])  # type: ignore[arg-type]  # it is one

    monkeypatch.setattr(store, "put_contributions", throttled)
    for number in range(400):
        world.step_alone("low", 1, f"page-{number * 7919 % 10_007}")
    world.step_alone("low", 40)
    world.commit("low")
    (found,) = {(each.origin, each.chunks) for each in _contributions(world)}
    assert found[1] > 50
    assert len(list(_contributions(world))) == found[1]


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
    assert [(line["window"], line["until"][14:19]) for line in lines] == [("views", "13:30")]
    # The window that was contributed to after the long while is whole.
    assert [json.loads(row)["window_start"][14:19] for row in world.sink.rows] == ["14:00"]


def test_parts_are_kept_for_as_long_as_was_said_when_they_were_made() -> None:
    """Somebody has the stream keep more while a shard stands still: parts that are stored expire no later for that."""
    world = Two(retention_ms=HOUR_MS)
    world.put("low", 1)
    world.put("low", 40)
    world.keep(24 * HOUR_MS)
    for shard in RANGES:
        world.begin(shard)
    world.clock.seconds += 3 * 3600
    world.forget()
    world.put("high", 2)
    world.put("high", 70)
    world.put("low", 71)
    world.combine()
    world.combine()
    assert [line["until"][14:19] for line in world.told("global_windows_incomplete")] == ["13:30"]
    assert "13:20" not in world.counts()


def test_parts_wait_for_their_commit_without_expiring_any_later() -> None:
    world = Two(retention_ms=HOUR_MS)
    world.put("low", 1)
    world.step_alone("low", 40)
    world.clock.seconds += 100
    world.commit("low")
    (contribution,) = _contributions(world)
    assert contribution.expires_ms == _told(world, "low").stretches[-1].expires_ms


def test_an_event_of_the_far_future_makes_nothing_forgotten_but_what_was_contributed() -> None:
    """It makes all others of its shard late; the windows of the other shards go on."""
    world = Two(retention_ms=HOUR_MS)
    world.put("low", 1)
    world.put("low", 40_000_000)
    world.put("high", 2)
    world.clock.seconds += 3 * 3600
    world.put("high", 3 * 3600)
    world.put("high", 3 * 3600 + 20)
    world.combine()
    assert [line["until"][14:19] for line in world.told("global_windows_incomplete")] == ["13:30"]
    world.put("high", 3 * 3600 + 70)
    world.combine()
    world.combine()
    assert [json.loads(row)["events"] for row in world.sink.rows] == [1, 1]
    assert len(world.told("global_windows_incomplete")) == 1


ADDED = FILE.replace("sinks:", "  all: {tumbling: 10s, combine: true, select: {events: count()}}\nsinks:")


def test_nothing_is_missed_of_a_window_that_is_new() -> None:
    """A pipeline that has run for days has parts that are forgotten: of other windows."""
    world = Two(retention_ms=HOUR_MS)
    for shard in RANGES:
        world.put(shard, 1)
        world.put(shard, 40)
    world.combine()
    world.clock.seconds += 3 * 3600
    world.change(ADDED)
    for second in (3 * 3600, 3 * 3600 + 20, 3 * 3600 + 40):
        for shard in RANGES:
            if second == 3 * 3600:
                world.begin(shard)
            world.put(shard, second)
    for _ in range(2):
        world.combine()
    assert world.told("global_windows_incomplete") == []
    rows = [json.loads(row) for row in world.unique_rows().values()]
    assert [row["events"] for row in rows if row["window"] == "all"] == [2, 2]


def test_a_worker_of_before_gives_no_rows_of_a_window_that_others_do_not_count_any_more() -> None:
    """A rolling change: what the shards of new workers had open of it was thrown away, so its rows would lack that."""
    world = Two(file=ADDED)
    world.put("low", 1)
    world.put("high", 2)
    combiner = next(each for each in RANGES if any(of.number == 1 for of in buckets(world.program, RANGES[each])))
    other = next(each for each in RANGES if each != combiner)
    world.change(FILE.replace("state: {", "state: {removed_windows: {all: drop}, "))
    world.begin(other)
    for shard in RANGES:
        world.put(shard, 40)
    for _ in range(3):
        world.combine()
    rows = [json.loads(row) for row in world.unique_rows().values()]
    assert [(row["window"], row["events"]) for row in rows] == [("views", 2)]


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


def test_a_part_that_cannot_be_read_takes_no_worker_down(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each worker after the other would get the shard, and end. It is refused, with an alarm, and the others go on."""

    def lacking(*arguments: Any, **options: Any) -> Iterator[Contribution]:
        for each in stored(*arguments, **options):
            yield msgspec.structs.replace(each, chunks=2)

    stored = MemoryStore.read_contributions
    monkeypatch.setattr(MemoryStore, "read_contributions", lacking)
    world = World(load_text(FILE, "one.yaml", {}), [])
    world.records = [event(second, second) for second in (1, 40)]
    daemon = world.run()
    (refused,) = world.told("shard_refused")
    assert "only chunks [0] of 2 are there" in refused["error"]
    assert daemon.statuses[-1] == "leaseLost"
    assert world.sink.rows == []


def test_contributions_are_read_back_as_they_were() -> None:
    world = Two()
    world.put("low", 1)
    world.put("low", 40)
    store: StateStore = world.around.store
    (contribution,) = _contributions(world)
    found = store.read_contributions(0, contribution.window_hash, 0, after_end_ms=None, until_end_ms=2**50)
    assert list(found) == [contribution]
    assert decode(msgspec.msgpack.encode(contribution)) == contribution


@pytest.mark.parametrize("limit", ["COMBINED_ROWS_MAX", "CONTRIBUTIONS_READ_MAX", "BYTES_READ_MAX"])
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
