"""Random lives of a pipeline with global windows: whatever becomes of it, a row counts all events of its window.

Events are in order, none is late: so what a row must say is told by a count over all events. Windows are added and
removed meanwhile, with workers of both files; owners die, sleep and wake up behind others; shards merge and split; the
stream's retention changes, and what the store may forget is forgotten. Rows may be missing for that. None may be wrong.
"""

from __future__ import annotations

import dataclasses
import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from random import Random
from typing import NamedTuple

import pytest

from consumer.core.completion import LAST_HASH_KEY
from consumer.core.times import format_time
from consumer.errors import FencedError
from consumer.records import DEAD_LETTER, LATE, HashRange, Record
from consumer.runtime.commit import ShardOwner
from consumer.runtime.mode import Mode
from consumer.runtime.surroundings import ShardOrigin, Surroundings
from consumer.sinks.base import Router
from consumer.state.base import StateStore
from tests.runtime.test_global_part import FILE, HALF, HOUR_MS, START_MS, Two
from tests.seeds import seeds

ORIGINS = {
    "low": ShardOrigin(HashRange(0, HALF - 1), ()),
    "high": ShardOrigin(HashRange(HALF, LAST_HASH_KEY), ()),
    "merged": ShardOrigin(HashRange(0, LAST_HASH_KEY), ("low", "high")),
    "left": ShardOrigin(HashRange(0, HALF // 2), ("merged",)),
    "right": ShardOrigin(HashRange(HALF // 2 + 1, LAST_HASH_KEY), ("merged",)),
}
WINDOWS = {
    "views": "tumbling: 10s, by: [page], combine: true, buckets: 3, select: {events: count()}",
    "all": "tumbling: 20s, combine: true, select: {events: count()}",
    "trend": "sliding: {size: 20s, every: 10s}, combine: true, allowed_lateness: 5s, select: {events: count()}",
}
HEAD, TAIL = FILE[: FILE.index("windows:")], FILE[FILE.index("sinks:") :]


def file_with(names: Iterable[str], dropped: Iterable[str] = ()) -> str:
    windows = "".join(f"  {name}: {{{WINDOWS[name]}}}\n" for name in WINDOWS if name in names)
    told = ", ".join(f"{name}: drop" for name in dropped)
    return f"{HEAD}windows:\n{windows}{TAIL}".replace("state: {", f"state: {{removed_windows: {{{told}}}, ")


class Event(NamedTuple):
    """When it was, in seconds after the start, and of which page."""

    second: int
    page: str


class Life(Two):
    """`owners` are those that are at work, `sleeping` some that others have taken over from, or will."""

    def __init__(self, random: Random) -> None:
        self.random = random
        self.windows = self._some_windows()
        super().__init__(HOUR_MS, file_with(self.windows), begun=())
        self.sleeping: list[ShardOwner] = []
        self.over: set[str] = set()
        self.seconds: dict[str, int] = defaultdict(int)
        self.given: dict[str, list[Record]] = defaultdict(list)
        self.events: list[Event] = []

    def _some_windows(self) -> list[str]:
        return [name for name in WINDOWS if self.random.random() < 0.7] or ["all"]

    def surroundings(self, store: StateStore | None = None) -> Surroundings:
        router = Router({output: [self.sink] for output in (*WINDOWS, LATE, DEAD_LETTER)})
        return dataclasses.replace(super().surroundings(store), router=router)

    def origin(self, shard: str) -> ShardOrigin:
        return ORIGINS[shard]

    def children(self, parent: str) -> dict[str, HashRange]:
        return {shard: origin.hash_range for shard, origin in ORIGINS.items() if parent in origin.parents}

    def open_shards(self) -> list[str]:
        return [
            shard
            for shard, origin in ORIGINS.items()
            if shard not in self.over and self.over.issuperset(origin.parents)
        ]

    def owner(self, shard: str) -> ShardOwner:
        """Return the owner of a shard, a new one if there is none: it is given all records from the first one on."""
        if shard not in self.owners:
            take(self.begin(shard), self.given[shard])
        return self.owners[shard]

    def act(self) -> None:
        shard = self.random.choice(self.open_shards())
        deeds = {
            self._process: 50,
            self._commit: 25,
            self._die: 6,
            self._sleep: 4,
            self._wake: 4,
            self._wait: 6,
            self._end: 2,
            self._change: 2,
            self._be_away: 1,
        }
        (deed,) = self.random.choices(list(deeds), list(deeds.values()))
        try:
            deed(shard)
        except FencedError:
            self.owners.pop(shard, None)

    def _process(self, shard: str) -> None:
        owner = self.owner(shard)
        self.seconds[shard] += self.random.choice((0, 1, 1, 2, 5, 5, 30))
        event = Event(self.seconds[shard], self.random.choice("ab"))
        record = self.record(*event)
        self.given[shard].append(record)
        self.events.append(event)
        take(owner, [record])

    def _commit(self, shard: str) -> None:
        owner = self.owner(shard)
        if self.random.random() < 0.7:
            owner.combine()
        self.commit(shard)

    def _die(self, shard: str) -> None:
        self.owners.pop(shard, None)

    def _sleep(self, shard: str) -> None:
        if shard in self.owners:
            self.sleeping.append(self.owners.pop(shard))

    def _wake(self, _: str) -> None:
        if not self.sleeping:
            return
        owner = self.sleeping.pop()
        if owner.mode is Mode.ACTIVE:
            owner.combine()
            owner.commit(lambda _: True)
            self.owners.pop(owner.shard, None)  # nobody had taken over: others cannot know that

    def _wait(self, _: str) -> None:
        self.clock.seconds += self.random.choice((1, 6, 20))

    def _end(self, shard: str) -> None:
        children = self.children(shard)
        if not children or self.random.random() < 0.5:
            return
        self.owner(shard).commit(lambda _: True, ended=True)
        self.over.add(shard)
        del self.owners[shard]
        for child in children:  # begins where none of its events is late
            reached = [self.seconds[parent] for parent in ORIGINS[child].parents]
            self.seconds[child] = self.random.randint(min(reached), max(reached))

    def _change(self, _: str) -> None:
        """Roll out another file: some workers have it at once."""
        before, self.windows = self.windows, self._some_windows()
        self.change(file_with(self.windows, [name for name in before if name not in self.windows]))
        for shard in list(self.owners):
            if self.random.random() < 0.6:
                del self.owners[shard]

    def _be_away(self, _: str) -> None:
        """Let much time pass; the next workers may find that the stream keeps more, or less."""
        self.clock.seconds += 60 * self.random.choice((20, 50, 100, 300))
        self.forget()
        self.keep(self.random.choice((HOUR_MS, HOUR_MS, 6 * HOUR_MS)))
        if self.random.random() < 0.5:
            self.owners.clear()

    def finish(self) -> None:
        for _ in range(4):
            for shard in self.open_shards():
                self.owners.pop(shard, None)
                owner = self.owner(shard)
                owner.combine()
                self.commit(shard)
            self.clock.seconds += 6

    def assert_rows_are_whole(self) -> Counter[str]:
        """Return how many rows there are of each window, all of which count what they must."""
        rows = [json.loads(row) for row in self.unique_rows().values()]
        for row in rows:
            counted = [each for each in self.events if row.get("page", each.page) == each.page]
            times = [format_time(START_MS + 1000 * each.second) for each in counted]
            assert row["events"] == sum(row["window_start"] <= time < row["window_end"] for time in times), row
        return Counter(row["window"] for row in rows)


def take(owner: ShardOwner, records: Sequence[Record]) -> None:
    """Have an owner process records, and close all that is due."""
    while owner.mode is Mode.ACTIVE and (records or owner.processor.closing):
        records = records[owner.step(records).taken :]


@pytest.mark.parametrize("seed", seeds(15, deep=400))
def test_every_row_counts_all_events_of_its_window(seed: int) -> None:
    random = Random(seed)
    life = Life(random)
    for _ in range(random.choice((80, 200, 400))):
        life.act()
    life.finish()
    life.assert_rows_are_whole()


def test_lives_have_something_of_everything() -> None:
    """Without which the test above would prove little."""
    rows, adoptions, splits, incomplete = Counter[str](), 0, 0, 0
    for seed in range(6):
        life = Life(Random(seed))
        for _ in range(400):
            life.act()
        life.finish()
        rows += life.assert_rows_are_whole()
        adoptions += life.application.adoptions
        splits += "merged" in life.over
        incomplete += len(life.told("global_windows_incomplete"))
    assert min(rows[name] for name in WINDOWS) > 15
    assert min(adoptions, splits, incomplete) > 2
