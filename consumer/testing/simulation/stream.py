"""A stream that was written beforehand: shards with hash ranges, splits and merges, and when each record came.

Nothing that the workers do changes it, so it is a function of the seed alone, and so is what must come out.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, field
from random import Random
from typing import NamedTuple

from consumer.records import HashRange, Position, Record, hash_key

HASH_LAST = 2**128 - 1
STARTED_MS = 1_700_000_000_000
"""The wall clock at the beginning of a run, in epoch milliseconds."""
_USERS = 14
_CHAINS = 0.5
"""How often a shard that has just been made is split or merged again."""
_OLD_AFTER = 0.6
"""How often old records come after it: producers that repeat what failed. Floors and low watermarks matter then."""
_SEQUENCE_START = 9_980
"""So that numbers get more digits on the way: they are not to be compared as text."""


@dataclass
class Shard:
    """A shard and all that will ever be in it. Times are of the run, in seconds; `closed_at` None: it stays open."""

    id: str
    hash_range: HashRange
    parents: tuple[str, ...]
    opened_at: float
    closed_at: float | None = None
    children: tuple[str, ...] = ()
    records: list[Record] = field(default_factory=list)
    arrivals: list[float] = field(default_factory=list)
    positions: list[Position] = field(default_factory=list)

    def add(self, records: Sequence[Record], at: float) -> None:
        """Add records that come at once: the parts of one aggregated record."""
        self.records += records
        self.arrivals += [at] * len(records)
        self.positions += map(Position.of, records)

    def after(self, position: Position | None) -> int:
        """Return the index of the first record after a position."""
        return 0 if position is None else bisect_right(self.positions, position)

    def read(self, start: int, count: int, now: float) -> int:
        """Return where a read of at most so many records ends; what was aggregated stays together."""
        arrived = bisect_right(self.arrivals, now)
        end = min(start + count, arrived)
        if end < arrived and end > start:
            sequence = self.positions[end - 1].sequence
            end = bisect_left(self.positions, Position(sequence + 1, 0), start)
        return end


class Load(NamedTuple):
    """How much comes and for how long. `reshards` is the number of splits and merges."""

    records: int
    seconds: float
    shards: int
    reshards: int
    silences: int
    """How many times a shard gets nothing for a while."""
    disorder: float
    """The part of the events that are older than their neighbours."""


class Stream:
    """The shards by id, in the order in which they were opened."""

    def __init__(self, load: Load, random: Random) -> None:
        self.shards: dict[str, Shard] = {}
        self.load = load
        self.splits = self.merges = 0
        self._random = random
        self._sequence = _SEQUENCE_START
        self._open: list[Shard] = []
        self._chained: Shard | None = None
        self._old_until = 0.0
        self._users = [f"user-{number}" for number in range(_USERS)]
        self._hashes = {user: hash_key(user) for user in self._users}
        self._make()

    @property
    def roots(self) -> tuple[str, ...]:
        """Return the shards that were there at first."""
        return tuple(shard.id for shard in self.shards.values() if not shard.parents)

    def _make(self) -> None:
        random, load = self._random, self.load
        for number in range(load.shards):
            first = number * (HASH_LAST + 1) // load.shards
            last = (number + 1) * (HASH_LAST + 1) // load.shards - 1
            self._open_shard(HashRange(first, last), (), 0.0)
        reshards = sorted((random.uniform(0.1, 0.8) * load.seconds for _ in range(load.reshards)), reverse=True)
        silences = [self._silence() for _ in range(load.silences)]
        for time, size in self._bursts():
            while reshards and reshards[-1] <= time:
                self._reshard_next(reshards)
            self._put(time, size, [hashes for since, until, hashes in silences if since <= time < until])

    def _reshard_next(self, times: list[float]) -> None:
        """Split or merge; often again soon after, and often the records that come next are old ones."""
        random, at = self._random, times.pop()
        newest = self._reshard(at, self._chained)
        chains = bool(times) and random.random() < _CHAINS
        self._chained = newest if chains else None
        if chains:
            times[-1] = at + random.uniform(0.2, 4)
        if random.random() < _OLD_AFTER:
            self._old_until = at + random.uniform(1, 8)

    def _silence(self) -> tuple[float, float, HashRange]:
        random, seconds = self._random, self.load.seconds
        since = random.uniform(0, 0.8) * seconds
        first = random.randrange(HASH_LAST)
        return since, since + random.uniform(15, 50), HashRange(first, min(HASH_LAST, first + HASH_LAST // 3))

    def _bursts(self) -> list[tuple[float, int]]:
        """Return times in order, and how many user records are aggregated in one record."""
        random, bursts, left = self._random, [], self.load.records
        while left:
            size = min(left, random.choice((1, 1, 1, 1, 2, 3, 5)))
            bursts.append((random.random() * self.load.seconds, size))
            left -= size
        return sorted(bursts)

    def _open_shard(self, hash_range: HashRange, parents: tuple[str, ...], at: float) -> Shard:
        shard = Shard(f"shardId-{len(self.shards):012d}", hash_range, parents, at)
        self.shards[shard.id] = shard
        self._open.append(shard)
        self._open.sort(key=lambda each: each.hash_range)
        for parent in parents:
            self.shards[parent].children += (shard.id,)
        return shard

    def _close_shard(self, shard: Shard, at: float) -> None:
        shard.closed_at = at
        self._open.remove(shard)

    def _reshard(self, at: float, shard: Shard | None) -> Shard:
        """Split a shard, or merge it with a neighbour; return one that came of it."""
        random = self._random
        number = random.randrange(len(self._open)) if shard is None else self._open.index(shard)
        shard = self._open[number]
        if len(self._open) > 1 and random.random() < 0.5:  # noqa: PLR2004 - as many merges as splits
            number = min(number, len(self._open) - 2)
            low, high = self._open[number : number + 2]
            self._close_shard(low, at)
            self._close_shard(high, at)
            self.merges += 1
            return self._open_shard(HashRange(low.hash_range.first, high.hash_range.last), (low.id, high.id), at)
        first, last = shard.hash_range
        middle = random.randint(first + 1, last)
        self._close_shard(shard, at)
        self._open_shard(HashRange(first, middle - 1), (shard.id,), at)
        self.splits += 1
        return self._open_shard(HashRange(middle, last), (shard.id,), at)

    def _put(self, at: float, size: int, silent: Sequence[HashRange]) -> None:
        random = self._random
        users = self._users
        if silent:
            users = [user for user in users if not any(each.holds(self._hashes[user]) for each in silent)] or users
        user = random.choice(users)
        shard = next(shard for shard in self._open if shard.hash_range.holds(self._hashes[user]))
        self._sequence += random.choice((1, 1, 2, 7))
        arrival_ms = STARTED_MS + round(at * 1000)
        records = [
            Record(self._data(user, arrival_ms), user, str(self._sequence), number, arrival_ms)
            for number in range(size)
        ]
        shard.add(records, at)

    def _data(self, user: str, arrival_ms: int) -> bytes:
        random = self._random
        choice = random.random()
        if choice < 0.01:  # noqa: PLR2004 - one of a hundred is no event
            return b'{"user": '
        if choice < 0.02:  # noqa: PLR2004 - and one has the partition key of another
            user = random.choice(self._users)
        age_ms = random.random() * 2_000
        if arrival_ms < STARTED_MS + self._old_until * 1000:
            age_ms += random.uniform(0, 25_000)
        elif random.random() < self.load.disorder:
            age_ms += random.expovariate(1 / 6_000)
        at_ms = arrival_ms - round(age_ms)
        page = random.choice(("a", "b", "c", None))
        text = "null" if page is None else f'"{page}"'
        return f'{{"user":"{user}","at":{at_ms},"page":{text},"n":{random.randint(-50, 1000)}}}'.encode()
