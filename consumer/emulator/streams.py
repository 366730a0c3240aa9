"""A stream and its shards: hash ranges, sequence numbers, the states, splits and merges.

Sequence numbers have 56 digits: 36 name the stream (so a stream that was deleted and made again never repeats
one), 20 count. They rise across the whole stream, also over shards that were opened or closed.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Sequence
from hashlib import md5
from typing import NamedTuple

from consumer.emulator.errors import ACCOUNT, REGION, AwsError, invalid
from consumer.emulator.limits import ShardLimits
from consumer.emulator.record_log import RecordLog, encode_record

HASH_KEYS = 1 << 128
OPEN_SHARDS_MAX = 10_000
_COUNTER_DIGITS = 20


class HashRange(NamedTuple):
    """The hash keys `start` to `end`, both included."""

    start: int
    end: int


class PutEntry(NamedTuple):
    """A record to put. `hash_key` overrides the hash of the partition key."""

    data: bytes
    partition_key: str
    hash_key: int | None = None


class Placed(NamedTuple):
    """Where a record went."""

    shard_id: str
    sequence_number: str


class Shard:
    """One shard. `opened` and `closed` are counters of sequence numbers; `closed` is None while it is open."""

    __slots__ = (
        "children",
        "closed",
        "closed_ms",
        "hash_range",
        "limits",
        "log",
        "opened",
        "opened_ms",
        "parents",
        "shard_id",
    )

    def __init__(
        self, shard_id: str, hash_range: HashRange, opened: int, opened_ms: int, parents: Sequence[Shard]
    ) -> None:
        self.shard_id = shard_id
        self.hash_range = hash_range
        self.opened = opened
        self.opened_ms = opened_ms
        self.closed: int | None = None
        self.closed_ms: int | None = None
        self.parents = tuple(parent.shard_id for parent in parents)
        self.children: list[Shard] = []
        self.log = RecordLog()
        self.limits = ShardLimits(opened_ms)

    def was_open(self, time_ms: int) -> bool:
        """Tell whether the shard was open at a time."""
        return self.opened_ms <= time_ms and (self.closed_ms is None or self.closed_ms > time_ms)


class Stream:
    """A stream. `ordinal` counts the streams ever made; times are epoch milliseconds.

    Its states follow the clock: a change takes effect when it is due, which `settle` looks up; call it before
    anything else.
    """

    def __init__(self, name: str, ordinal: int, created_ms: int, mode: str, record_bytes_max: int) -> None:
        self.name = name
        self.ordinal = ordinal
        self.created_ms = created_ms
        self.mode = mode
        self.record_bytes_max = record_bytes_max
        self.status = "CREATING"
        self.deleted = False
        self.shards: dict[str, Shard] = {}
        self.open_shards: list[Shard] = []
        self._open_starts: list[int] = []
        self._counter = 0
        self._number_prefix = f"49{created_ms:013d}{ordinal:021d}"
        self._number_base = int(self._number_prefix) * 10**_COUNTER_DIGITS
        self._pending: tuple[int, Callable[[int], None]] | None = None

    @property
    def arn(self) -> str:
        """The stream's Amazon Resource Name."""
        return f"arn:aws:kinesis:{REGION}:{ACCOUNT}:stream/{self.name}"

    # States

    def change(self, status: str, delay_ms: int, now_ms: int, effect: Callable[[int], None]) -> None:
        """Enter `status` and let `effect` happen after the delay; the stream is ACTIVE from then on."""
        self.status = status
        self._pending = (now_ms + delay_ms, effect)
        self.settle(now_ms)

    @property
    def first_opened_ms(self) -> int:
        """When the first shards were opened, which is after the stream's creation; it must be or have been ACTIVE."""
        return next(iter(self.shards.values())).opened_ms

    def settle(self, now_ms: int) -> None:
        """Let what is due happen."""
        if self._pending is not None and now_ms >= self._pending[0]:
            due_ms, effect = self._pending
            self._pending = None
            self.status = "ACTIVE"
            effect(due_ms)

    def require_active(self) -> None:
        """Raise ResourceInUseException unless the stream is ACTIVE."""
        if self.status != "ACTIVE":
            text = f"Stream {self.name} under account {ACCOUNT} not ACTIVE, instead in state {self.status}"
            raise AwsError("ResourceInUseException", text)

    # Sequence numbers

    def sequence_number(self, counter: int) -> str:
        """Return the sequence number of a counter."""
        return f"{self._number_prefix}{counter:0{_COUNTER_DIGITS}d}"

    def counter_of(self, sequence_number: str) -> int | None:
        """Return the counter of a sequence number, None if this stream never gave it."""
        if not (sequence_number.isascii() and sequence_number.isdigit()):
            return None
        counter = int(sequence_number) - self._number_base
        return counter if 0 < counter <= self._counter else None

    def _next_counter(self) -> int:
        self._counter += 1
        return self._counter

    # Shards

    def shard(self, shard_id: str) -> Shard:
        """Return a shard, open or closed."""
        if shard_id not in self.shards:
            text = f"Shard {shard_id} in stream {self.name} under account {ACCOUNT} does not exist"
            raise AwsError("ResourceNotFoundException", text)
        return self.shards[shard_id]

    def open_uniformly(self, count: int, now_ms: int) -> None:
        """Open the first shards: `count` equal parts of all hash keys."""
        for hash_range in uniform_ranges(count):
            self._open(hash_range, [], now_ms)

    def split(self, shard: Shard, new_start: int, now_ms: int) -> None:
        """Close a shard and open two in its place, the second starting at `new_start`."""
        self._close([shard], now_ms)
        self._open(HashRange(shard.hash_range.start, new_start - 1), [shard], now_ms)
        self._open(HashRange(new_start, shard.hash_range.end), [shard], now_ms)

    def merge(self, lower: Shard, upper: Shard, now_ms: int) -> None:
        """Close two adjacent shards and open one in their place."""
        self._close([lower, upper], now_ms)
        self._open(HashRange(lower.hash_range.start, upper.hash_range.end), [lower, upper], now_ms)

    def reshard(self, count: int, now_ms: int) -> None:
        """Split and merge until `count` shards of equal width are open."""
        ranges = uniform_ranges(count)
        for hash_range in ranges:
            holder = self.holder(hash_range.start)
            if holder.hash_range.start != hash_range.start:
                self.split(holder, hash_range.start, now_ms)
        for hash_range in ranges:
            while (lower := self.holder(hash_range.start)).hash_range.end < hash_range.end:
                self.merge(lower, self.holder(lower.hash_range.end + 1), now_ms)

    def check_split(self, shard: Shard, new_start: int) -> None:
        """Raise what SplitShard answers if the shard cannot be split there."""
        self._check_open(shard)
        start, end = shard.hash_range
        if not start + 1 < new_start < end:
            raise invalid(
                f"NewStartingHashKey {new_start} used in SplitShard() on shard {shard.shard_id} in stream "
                f"{self.name} under account {ACCOUNT} is not both greater than one plus the shard's "
                f"StartingHashKey {start} and less than the shard's EndingHashKey {end}."
            )

    def check_merge(self, shard: Shard, adjacent: Shard) -> tuple[Shard, Shard]:
        """Return both shards, lower first, or raise what MergeShards answers if they cannot be merged."""
        self._check_open(shard)
        self._check_open(adjacent)
        lower, upper = sorted((shard, adjacent), key=lambda one: one.hash_range.start)
        if lower.hash_range.end + 1 != upper.hash_range.start:
            raise invalid(
                f"Shards {shard.shard_id} and {adjacent.shard_id} in stream {self.name} under account {ACCOUNT} "
                "are not an adjacent pair of shards eligible for merging"
            )
        return lower, upper

    def holder(self, hash_key: int) -> Shard:
        """Return the open shard that holds a hash key."""
        return self.open_shards[bisect_right(self._open_starts, hash_key) - 1]

    def _check_open(self, shard: Shard) -> None:
        if shard.closed is not None:
            raise invalid(
                f"Shard {shard.shard_id} in stream {self.name} under account {ACCOUNT} has already been merged "
                "or split, and thus is not eligible for merging or splitting."
            )

    def _open(self, hash_range: HashRange, parents: Sequence[Shard], now_ms: int) -> None:
        shard_id = f"shardId-{len(self.shards):012d}"
        shard = Shard(shard_id, hash_range, self._next_counter(), now_ms, parents)
        self.shards[shard_id] = shard
        for parent in parents:
            parent.children.append(shard)
        self._index()

    def _close(self, shards: Sequence[Shard], now_ms: int) -> None:
        for shard in shards:
            shard.closed = self._next_counter()
            shard.closed_ms = max(now_ms, shard.log.last_arrival_ms)

    def _index(self) -> None:
        still_open = (shard for shard in self.shards.values() if shard.closed is None)
        self.open_shards = sorted(still_open, key=lambda shard: shard.hash_range.start)
        self._open_starts = [shard.hash_range.start for shard in self.open_shards]

    # Records

    def put(self, entry: PutEntry, now_ms: int, *, limited: bool) -> Placed | Shard:
        """Store one record, or return the shard that has no room for it now."""
        data, partition_key, hash_key = entry
        key = partition_key.encode()
        if hash_key is None:
            hash_key = int.from_bytes(md5(key, usedforsecurity=False).digest(), "big")
        shard = self.holder(hash_key)
        if limited and not shard.limits.take_write(len(data) + len(key), now_ms):
            return shard
        self._counter = counter = self._counter + 1
        number = self.sequence_number(counter)
        log = shard.log
        arrival_ms = max(now_ms, log.last_arrival_ms)  # so that a clock set back leaves the log in order of time
        log.append(counter, arrival_ms, len(data), encode_record(number.encode(), arrival_ms, data, key))
        return Placed(shard.shard_id, number)


def uniform_ranges(count: int) -> list[HashRange]:
    """Return `count` equal parts of all hash keys; the last takes the remainder."""
    width = HASH_KEYS // count
    starts = [number * width for number in range(count)]
    return [HashRange(start, end - 1) for start, end in zip(starts, [*starts[1:], HASH_KEYS], strict=True)]
