"""What a shard keeps from one record to the next, and what its children take over when it has ended.

1. A child's watermark is the lowest of its parents': none, if one of them has none.
2. In an aligned window the watermark that counts for a group is never lower than any that counted for it before: the
   watermarks of the parents whose range held the group's hash, and their floors there, are floors of the child.
3. In an aligned window a group goes to the child whose range holds the hash of its partition key.
4. In any other window the groups stay those of the shard where their events were, their origin. All of an origin go to
   the child whose range holds the lowest hash of the origin's own range. No event is put into them any more.
What is remembered of groups that were emitted early goes where the groups go, or would go.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from consumer.pipeline.model import Pipeline, Window
from consumer.records import HashRange, hash_key
from consumer.testing.reference.rows import key_order
from consumer.testing.reference.windows import Key, OpenGroups, Span

Origin = str | None
"""The shard whose events a group has; None in aligned windows, whose groups have all of their events."""


class Floor(NamedTuple):
    """A watermark below which none counts for the groups of a range."""

    hash_range: HashRange
    watermark_ms: int


class GroupName(NamedTuple):
    """What tells a group from every other one: the number of the pipeline's window, origin, key and start."""

    number: int
    origin: Origin
    key: Key
    start_ms: int


@dataclass(frozen=True, slots=True)
class Part:
    """What is remembered of a group that was emitted early: the number of its next part, and its window's end."""

    next: int
    end_ms: int


@dataclass(frozen=True, slots=True)
class Group:
    """An open window of a group, of the pipeline's window with this number."""

    number: int
    origin: Origin
    key: Key
    span: Span

    @property
    def name(self) -> GroupName:
        """Return what tells it from every other group that is open."""
        return GroupName(self.number, self.origin, self.key, self.span.start_ms)

    def row_order(self, shard: str) -> tuple[object, ...]:
        """Return its place among the rows that arise from one record of a shard."""
        return self.number, _origin_order(self.origin, shard), self.span.end_ms, self.span.start_ms, key_order(self.key)

    def early_order(self, shard: str) -> tuple[object, ...]:
        """Return its place among the groups that are emitted early to make room in a shard."""
        return self.span.end_ms, self.number, self.span.start_ms, key_order(self.key), _origin_order(self.origin, shard)


def _origin_order(origin: Origin, shard: str) -> tuple[bool, str]:
    """Return what puts origins in order: by name, the shard itself last."""
    return origin == shard, origin or ""


@dataclass(slots=True)
class ShardState:
    """All that a shard keeps.

    `hash_range` is None where it is not known. `open` has for each window of the pipeline the open groups of each
    origin. `taken` counts the records, those of the longest line of ancestors included.
    """

    pipeline: Pipeline
    shard: str
    hash_range: HashRange | None
    watermark_ms: int | None = None
    floors: list[Floor] = field(default_factory=list)
    taken: int = 0
    open: list[dict[Origin, OpenGroups]] = field(init=False)
    parts: dict[GroupName, Part] = field(default_factory=dict)
    ranges: dict[str, HashRange] = field(default_factory=dict)
    """The hash ranges of all origins."""

    def __post_init__(self) -> None:
        self.open = [{self.own_origin(window): OpenGroups(window)} for window in self.pipeline.windows]
        if self.hash_range is not None:
            self.ranges[self.shard] = self.hash_range

    def own_origin(self, window: Window) -> Origin:
        """Return the origin of the groups that the shard's own events are put into."""
        return None if window.aligned else self.shard

    def own_groups(self, number: int) -> OpenGroups:
        """Return the groups that the shard's own events are put into."""
        return self.open[number][self.own_origin(self.pipeline.windows[number])]

    def groups(self) -> Iterator[Group]:
        """Return everything that is open."""
        for number, origins in enumerate(self.open):
            for origin, groups in origins.items():
                for key, span in groups.all():
                    yield Group(number, origin, key, span)

    def count(self) -> int:
        """Return how many groups are open."""
        return sum(groups.count for origins in self.open for groups in origins.values())

    # -- watermarks

    def watermark_of(self, number: int, key: Key) -> float:
        """Return the watermark that counts for a group of the window with this number."""
        own_ms = -math.inf if self.watermark_ms is None else self.watermark_ms
        return max(own_ms, self.floor_of(number, key))

    def floor_of(self, number: int, key: Key) -> float:
        """Return what the watermark that counts for a group is never lower than."""
        window = self.pipeline.windows[number]
        if not self.floors or not window.aligned:
            return -math.inf
        hash_ = self._hash_of(window, key)
        return max((floor.watermark_ms for floor in self.floors if floor.hash_range.holds(hash_)), default=-math.inf)

    def floor_max(self) -> float:
        """Return the highest floor."""
        return max((floor.watermark_ms for floor in self.floors), default=-math.inf)

    def _hash_of(self, window: Window, key: Key) -> int:
        """Return the hash of the partition key of a group of an aligned window."""
        names = [name.name for name in window.by]
        field_name = self.pipeline.source.partition_key
        assert field_name is not None
        return hash_key(str(key[names.index(field_name)]))

    # -- other definitions

    def adopt(self, pipeline: Pipeline, kept: Sequence[int | None]) -> None:
        """Go on by other definitions. `kept` has for each of their windows the number that it had before, if any."""
        aligned = [any(window.aligned for window in each.windows) for each in (self.pipeline, pipeline)]
        before, numbers = self.open, {old: new for new, old in enumerate(kept) if old is not None}
        self.pipeline = pipeline
        self.open = [
            {self.own_origin(window): OpenGroups(window)} if old is None else before[old]
            for window, old in zip(pipeline.windows, kept, strict=True)
        ]
        self.parts = {
            name._replace(number=numbers[name.number]): part
            for name, part in self.parts.items()
            if name.number in numbers
        }
        if not all(aligned):
            self.floors = []

    # -- what children take over

    def inherit(self, parents: Sequence[ShardState]) -> None:
        """Take over what the parents, which have ended, leave to this shard."""
        watermarks = [parent.watermark_ms for parent in parents]
        known = [watermark_ms for watermark_ms in watermarks if watermark_ms is not None]
        self.watermark_ms = min(known) if len(known) == len(watermarks) else None
        self.taken = max(parent.taken for parent in parents)
        for parent in parents:
            self._inherit_floors(parent)
            self.ranges |= parent.ranges
            for group in parent.groups():
                if self.takes(group.number, group.origin, group.key, parent):
                    window = self.pipeline.windows[group.number]
                    groups = self.open[group.number].setdefault(group.origin, OpenGroups(window))
                    groups.replace(group.key, [], group.span)
            for name, part in parent.parts.items():
                if self.takes(name.number, name.origin, name.key, parent):
                    self.parts[name] = part

    def _inherit_floors(self, parent: ShardState) -> None:
        floors = list(parent.floors)
        if parent.watermark_ms is not None:
            assert parent.hash_range is not None
            floors.append(Floor(parent.hash_range, parent.watermark_ms))
        for floor in floors:
            common = self._common(floor.hash_range)
            if common is not None:
                self.floors.append(Floor(common, floor.watermark_ms))

    def _common(self, other: HashRange) -> HashRange | None:
        """Return what a range has in common with the shard's."""
        assert self.hash_range is not None
        common = HashRange(max(self.hash_range.first, other.first), min(self.hash_range.last, other.last))
        return common if common.first <= common.last else None

    def takes(self, number: int, origin: Origin, key: Key, parent: ShardState) -> bool:
        """Tell whether a group of a parent, of its window with this number, comes here."""
        assert self.hash_range is not None
        if origin is None:
            return self.hash_range.holds(self._hash_of(parent.pipeline.windows[number], key))
        return self.hash_range.holds(parent.ranges[origin].first)
