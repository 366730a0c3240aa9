"""What a shard knows of its place in the stream: its hash range, and what it has taken over from its parents.

Aligned groups follow their key's hash. Parts of windows that are not aligned keep the name of the shard whose events
they hold, their origin. `Floors` keeps a window closed that a parent has emitted: after a merge the child's watermark
is the lower one of its parents', and a straggler must not open again what the faster parent was done with.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple

from consumer.core.windows import LONG_AGO_MS, NO_FLOOR, FloorOf, Shape, Windows
from consumer.records import HashRange, hash_key

_ROUTED_MAX = 50_000
"""How many partition keys a shard remembers as its own."""


class Floor(NamedTuple):
    """The watermark that a range has reached, whatever the watermark of the shard that holds the range now."""

    range: HashRange
    watermark_ms: int


class Floors:
    """The floors of a shard. They may overlap: the highest one counts."""

    def __init__(self, floors: Iterable[Floor] = ()) -> None:
        self._floors = tuple(floors)

    def __iter__(self) -> Iterator[Floor]:
        return iter(self._floors)

    def __len__(self) -> int:
        return len(self._floors)

    def above(self, watermark_ms: int) -> list[Floor]:
        """Return the floors that still count at a watermark of the shard."""
        return [floor for floor in self._floors if floor.watermark_ms > watermark_ms]

    def within(self, range_: HashRange) -> list[Floor]:
        """Return the floors of a part of the shard's range."""
        cut = [Floor(common(floor.range, range_), floor.watermark_ms) for floor in self._floors]
        return [floor for floor in cut if floor.range.first <= floor.range.last]

    def of(self, partition_key: str) -> int:
        """Return the floor where a partition key's hash lies."""
        hashed = hash_key(partition_key)
        return max((floor.watermark_ms for floor in self._floors if floor.range.holds(hashed)), default=LONG_AGO_MS)

    def of_groups(self, shape: Shape) -> FloorOf:
        """Return what tells the floor of a group by its key: windows that are not aligned have none."""
        partition_key = shape.partition_key
        if partition_key is None or not self._floors:
            return NO_FLOOR
        return lambda key: self.of(partition_key(key))


def common(one: HashRange, other: HashRange) -> HashRange:
    """Return what two ranges have in common; `first` is beyond `last` if that is nothing."""
    return HashRange(max(one.first, other.first), min(one.last, other.last))


class Routing:
    """Tells whether partition keys belong to a shard. `known` are some that do."""

    __slots__ = ("_range", "known")

    def __init__(self, range_: HashRange) -> None:
        self._range = range_
        self.known: set[str] = set()

    def belongs(self, partition_key: str) -> bool:
        """Tell whether a partition key's hash lies in the shard's range."""
        if not self._range.holds(hash_key(partition_key)):
            return False
        if len(self.known) >= _ROUTED_MAX:
            self.known.clear()
        self.known.add(partition_key)
        return True


class Holding(NamedTuple):
    """The windows of definition `number` that hold the events of one shard, their origin.

    `lowest_hash` is the first hash key of the origin's range: where it goes, the part goes.
    """

    number: int
    origin: str
    lowest_hash: int
    windows: Windows
