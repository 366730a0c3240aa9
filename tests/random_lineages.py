"""Random lineages for random pipelines: shards that are split and merged, with cuts near the hashes of the keys."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from random import Random

from consumer.pipeline.model import Limits, Name, Pipeline, Source, Type, Window
from consumer.records import HashRange, Record, hash_key
from consumer.testing.reference import ReferenceShard
from tests.random_pipelines import VALUES, PipelineMaker, step_ms, with_global_windows
from tests.random_streams import Item, Stream, start_ms

EVERYTHING = HashRange(0, 2**128 - 1)
_USERS = "abcdefghijklm"
_USER = Name("user", Type.STRING, nullable=False)
_NUMBER = Name("i", Type.INT, nullable=False)

Key = str | int


def pipeline(random: Random, *, combines: bool = False) -> Pipeline:
    """Return a random pipeline, most of whose windows are aligned; some have a partition key that is a number.

    With `combines`, most are made global.
    """
    made = PipelineMaker(random, formats=True).pipeline()
    key = _NUMBER if random.random() < 0.2 else _USER
    windows = tuple(
        _keyed(random, window, key) if window.aligned or random.random() < 0.3 else _not_keyed(window, key)
        for window in made.windows
    )
    events = replace(made.events, max_future_ms=random.choice([None, None, made.events.max_future_ms]))
    made = replace(made, source=Source("stream", key.name, "trim_horizon"), windows=windows, events=events)
    return with_global_windows(random, made) if combines else made


def _not_keyed(window: Window, key: Name) -> Window:
    return replace(window, by=tuple(name for name in window.by if name != key), aligned=False)


def _keyed(random: Random, window: Window, key: Name) -> Window:
    names = [name for name in window.by if name not in {key, _USER}]
    names.insert(random.randint(0, len(names)), key)
    return replace(window, by=tuple(names), aligned=True)


def without_late_events(random: Random, made: Pipeline) -> Pipeline:
    """Return a pipeline whose windows are aligned and wait for all events of `calm_lineage`."""
    key = _NUMBER if made.source.partition_key == _NUMBER.name else _USER
    windows = tuple(window if window.aligned else _keyed(random, window, key) for window in made.windows)
    events = replace(made.events, out_of_orderness_ms=_BOUND_STEPS * step_ms(made))
    return replace(made, windows=windows, events=events, limits=Limits(1_000_000, "reject"))


@dataclass
class _Shard:
    """A shard that is still read; `time_ms` is the time of its last event."""

    id: str
    hash_range: HashRange
    parents: tuple[str, ...]
    time_ms: int
    inputs: list[Item] = field(default_factory=list)


class _Lineage:
    """Shards that come and go."""

    def __init__(self, random: Random, made: Pipeline, *, cuts: bool = True) -> None:
        self._random = random
        self._key_name = made.source.partition_key or "user"
        every: Sequence[Key] = VALUES[Type.INT] if self._key_name == _NUMBER.name else _USERS
        self.keys = random.sample(every, random.randint(1, len(every)))
        self.start_ms = start_ms(random, made)
        self.step_ms = step_ms(made)
        self.stream = Stream(random, made.events, self.start_ms, self.step_ms, cuts=cuts)
        self.shards: list[_Shard] = []
        self.live: list[_Shard] = []
        self._names = self._shard_names()
        self._begin_all()

    def _shard_names(self) -> list[str]:
        """Return names in Kinesis' order, the last first; sometimes in no order."""
        names = [f"shardId-{number:012}" for number in range(99, -1, -1)]
        if self._random.random() < 0.2:
            self._random.shuffle(names)
        return names

    def _begin_all(self) -> None:
        cuts = sorted({self._cut(EVERYTHING) for _ in range(self._random.randrange(4))})
        for first, after in zip([0, *cuts], [*cuts, EVERYTHING.last + 1], strict=True):
            steps = self._random.choice([0, 10, 30, 100, 1000])
            self._begin(HashRange(first, after - 1), (), self.start_ms + steps * self.step_ms)

    def _begin(self, hash_range: HashRange, parents: tuple[_Shard, ...], time_ms: int) -> None:
        shard = _Shard(self._names.pop(), hash_range, tuple(parent.id for parent in parents), time_ms)
        self.shards.append(shard)
        self.live = sorted(
            [shard, *(each for each in self.live if each not in parents)], key=lambda each: each.hash_range
        )

    def _cut(self, hash_range: HashRange) -> int:
        """Return where a range's second half begins: often at the hash of a key, or just after it."""
        near = [hash_key(str(key)) + more for key in self.keys for more in (0, 1)]
        inside = [cut for cut in near if hash_range.first < cut <= hash_range.last]
        if inside and self._random.random() < 0.6:
            return self._random.choice(inside)
        return self._random.randint(hash_range.first + 1, hash_range.last)

    def reshard(self) -> None:
        """Split or merge some of the shards."""
        for _ in range(self._random.randint(1, 3)):
            if len(self.live) > 1 and self._random.random() < 0.6:
                self._merge()
            else:
                self._split(self._random.choice(self.live))

    def _split(self, shard: _Shard) -> None:
        first, last = shard.hash_range
        if first == last:
            return
        cut = self._cut(shard.hash_range)
        for half in self._random.sample([HashRange(first, cut - 1), HashRange(cut, last)], 2):
            self._begin(half, (shard,), shard.time_ms)

    def _merge(self) -> None:
        number = self._random.randrange(len(self.live) - 1)
        low, high = self.live[number : number + 2]
        parents = (low, high) if self._random.random() < 0.5 else (high, low)
        times_ms = [low.time_ms, high.time_ms]
        between_ms = self._random.randint(*sorted(times_ms))
        time_ms = self._random.choice([min(times_ms), min(times_ms), between_ms, max(times_ms)])
        self._begin(HashRange(low.hash_range.first, high.hash_range.last), parents, time_ms)

    def event(self, time_ms: int, keys: Sequence[Key]) -> tuple[bytes, str]:
        """Return the bytes and the partition key of an event of one of these keys."""
        return self.stream.event(time_ms, **{self._key_name: self._random.choice(keys)})

    def keys_of(self, shard: _Shard) -> list[Key]:
        """Return the keys that hash into a shard's range."""
        return [key for key in self.keys if shard.hash_range.holds(hash_key(str(key)))]

    def told(self) -> list[ReferenceShard]:
        """Return all shards, parents before children."""
        return [ReferenceShard(each.id, each.hash_range, each.parents, each.inputs) for each in self.shards]


def wild_lineage(random: Random, made: Pipeline) -> list[ReferenceShard]:
    """Return shards whose times are far apart, some of which get nothing, with idle decisions and misrouted records."""
    lineage = _Lineage(random, made)
    number = 0
    reshards = random.choice([1, 2, 2, 3])
    for reshard in range(reshards + 1):
        for shard in lineage.live:
            for _ in range(random.choice([0, 5, 12, 25] if lineage.keys_of(shard) else [0, 2])):
                number += 1
                _wild_event(random, made, lineage, shard, number)
        if reshard < reshards:
            lineage.reshard()
    return lineage.told()


def _wild_event(random: Random, made: Pipeline, lineage: _Lineage, shard: _Shard, number: int) -> None:
    shard.time_ms = lineage.stream.after(shard.time_ms)
    if random.random() < 0.03:
        shard.inputs.append(lineage.stream.idle(shard.time_ms))
    keys = lineage.keys_of(shard) if random.random() < 0.96 else []
    data, key = lineage.event(shard.time_ms, keys or lineage.keys)
    arrival_ms = lineage.start_ms + 30 * (number // 4) * lineage.step_ms
    if made.events.time is None:
        arrival_ms = shard.time_ms
    shard.inputs.append(Record(data, key, str(10**55 + number // 2), number % 2, arrival_ms))


_BOUND_STEPS = 100
_JITTER_STEPS = 40


def calm_lineage(random: Random, made: Pipeline) -> tuple[list[ReferenceShard], list[Record]]:
    """Return shards that get each record by its partition key, none of them late, and all records in their order."""
    lineage = _Lineage(random, made, cuts=False)
    records: list[Record] = []
    time_ms = lineage.start_ms
    for number in range(random.randrange(80)):
        time_ms += random.choice([0, 0, 1, 3, 12, 50]) * lineage.step_ms
        event_ms = time_ms - random.randrange(_JITTER_STEPS) * lineage.step_ms
        data, key = lineage.event(event_ms, lineage.keys)
        records.append(Record(data, key, str(10**55 + number), 0, event_ms))
        shard = next(shard for shard in lineage.live if shard.hash_range.holds(hash_key(key)))
        shard.inputs.append(records[-1])
        if random.random() < 0.05:
            lineage.reshard()
    return lineage.told(), records
