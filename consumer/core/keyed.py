"""Windows that each group opens for itself: sessions and stagger windows.

A key has one group, or a list of several, in the order of their starts, which all differ. `first_ms` is a group's
start; `last_ms` is kept by sessions alone. Sessions of a key may overlap where their length is limited: an event goes
to the earliest that can take it. With updates, a group is `pending` from a change to the row that tells of it.

All keys stand in `groups`; those that changed since the last commit stand in `dirty` as well, with the same entry. A
key's only group bears the present `turn` if the key is in `dirty`: that is all that an event has to look at.
"""

from __future__ import annotations

import heapq
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from typing import Any

from consumer.core.expiry import NO_KEY, Expiry
from consumer.core.parts import Parts
from consumer.core.windows import ANY, LONG_AGO_MS, Due, FloorOf, Group, Keep, Keeps, Key, Packed, Room, Shape

_GATHERED = 1000
"""About how many groups are put in order at once when many close."""


class KeyedWindows(ABC):
    """What sessions and stagger windows share. `span_ms` is how long a group of one event lives."""

    layout = "keyed"

    def __init__(self, span_ms: int, keep: Keep, shape: Shape, room: Room, *, evicts: bool) -> None:
        self._span_ms = span_ms
        self._updates = keep.updates
        self._row_after_ms = keep.emit_delay_ms - 1
        self._drop_after_ms = keep.lateness_ms - 1
        self._shape = shape
        self._room = room
        self._evicts = evicts
        self.groups: dict[Key, Group | list[Group]] = {}
        self.dirty: dict[Key, Group | list[Group]] = {}
        self.turn = object()
        self._gone: set[Key] = set()
        self._expiry = Expiry(span_ms, self._turn_ms)
        self._closing: list[tuple[int, int, Any, Key, Group]] = []
        self._ends_first: list[tuple[int, int, Any, int, Key]] = []
        self._noted = 0
        self._open_count = 0
        self._parts = Parts(shape)

    @abstractmethod
    def end_ms(self, group: Group) -> int:
        """Return where a group's window ends."""

    @abstractmethod
    def _touched(self, groups: list[Group], time_ms: int) -> list[Group]:
        """Return the groups of a key, earliest first, that an event of this time is put together with."""

    @abstractmethod
    def _join(self, key: Key, touched: list[Group], time_ms: int, watermark_ms: int) -> Group:
        """Put together the groups that an event touches, one at least, and return the group it goes to."""

    def place(self, key: Key, time_ms: int, watermark_ms: int) -> Group | None:
        """Return the group that an event belongs to: extended, merged or new. None: the event is late."""
        groups = self._of(key)
        touched = self._touched(groups, time_ms) if groups else groups
        if touched:
            self._put(key, groups)
            return self._join(key, touched, time_ms, watermark_ms)
        return None if self._is_late_alone(time_ms, watermark_ms) else self._open(key, groups, time_ms)

    def _is_late_alone(self, time_ms: int, watermark_ms: int) -> bool:
        return time_ms + self._span_ms + self._drop_after_ms <= watermark_ms

    def _open(self, key: Key, others: list[Group], time_ms: int) -> Group:
        group = self._new(time_ms)
        if self._updates:
            group.pending = True
        self._put(key, [*others, group])
        self._open_count += 1
        self._room.left -= 1
        self._expiry.enter(key, self._group_turn_ms(group))
        self._begin(key, group)
        self._note(key, group)
        return group

    def _new(self, time_ms: int) -> Group:
        group = self._shape.new()
        group.first_ms = time_ms
        return group

    def _begin(self, key: Key, group: Group) -> None:
        """Find out which part a group is that has a new start."""
        if self._evicts:
            group.part = self._parts.number(key, group.first_ms)

    def _note(self, key: Key, group: Group) -> None:
        """Enter a group where the one that ends first is looked for."""
        if self._evicts:
            self._noted += 1
            entry = (self.end_ms(group), group.first_ms, self._shape.order(key), self._noted, key)
            heapq.heappush(self._ends_first, entry)

    def change(self, key: Key, group: Group) -> None:
        """Take note that a group changes which the last row told of. Called only with updates."""
        group.pending = True
        self._expiry.enter(key, self._group_turn_ms(group))

    def _drop_ms(self, group: Group) -> int:
        return self.end_ms(group) + self._drop_after_ms

    def _group_turn_ms(self, group: Group) -> int:
        """Return the watermark at which a group gives a row, or is dropped without one."""
        if self._updates and not group.pending:
            return self._drop_ms(group)
        return self.end_ms(group) + self._row_after_ms

    def _turn_ms(self, key: Key) -> int | None:
        entry = self.groups.get(key)
        if entry is None:
            return None
        return min(map(self._group_turn_ms, entry)) if entry.__class__ is list else self._group_turn_ms(entry)

    def _of(self, key: Key) -> list[Group]:
        """Return a key's groups, earliest first."""
        return _listed(self.groups.get(key))

    def _put(self, key: Key, groups: list[Group]) -> None:
        """Keep these as the groups of a key, changed."""
        if not groups:
            del self.groups[key]
            self.dirty.pop(key, None)
            self._gone.add(key)
        elif len(groups) == 1:
            self.groups[key] = self.dirty[key] = group = groups[0]
            group.turn = self.turn
        else:
            self.groups[key] = self.dirty[key] = sorted(groups, key=_first_ms)

    def _remove(self, key: Key, group: Group) -> list[Group]:
        """Drop a group of a key, and return those that it keeps."""
        left = [other for other in self._of(key) if other is not group]
        self._put(key, left)
        self._open_count -= 1
        self._room.left += 1
        return left

    def due_ms(self) -> int:
        """See Windows."""
        return LONG_AGO_MS if self._closing else self._expiry.next_ms()

    def close(self, watermark_ms: int, rows_max: int) -> list[Due]:
        """See Windows."""
        rows: list[Due] = []
        while len(rows) < rows_max and (self._closing or self._gather(watermark_ms)):
            if self._closing:
                *_, key, group = self._closing.pop()
                rows.append(self._emit(key, group, watermark_ms))
        self._parts.forget(watermark_ms)
        return rows

    def _gather(self, watermark_ms: int) -> bool:
        """Put the groups in order whose rows are due first, whole milliseconds of them; False if there are none."""
        keys: list[Key] = []
        until_ms = watermark_ms
        while (key := self._expiry.pop(until_ms)) is not NO_KEY:
            keys.append(key)
            if len(keys) == _GATHERED:
                until_ms = min(until_ms, *map(self._group_turn_ms, self._of(key)))
        for key in dict.fromkeys(keys):
            self._closing += self._due_of(key, until_ms)
        self._closing.sort(key=_place, reverse=True)
        return bool(keys)

    def _due_of(self, key: Key, until_ms: int) -> Iterator[tuple[int, int, Any, Key, Group]]:
        """Yield the groups of a key whose row is due; drop those that have had it and need not be kept."""
        for group in self._of(key):
            turn_ms = self._group_turn_ms(group)
            if turn_ms > until_ms:
                continue
            if self._updates and not group.pending:
                if self._remove(key, group):
                    self._enter(key)
            else:
                yield turn_ms, group.first_ms, self._shape.order(key), key, group

    def _enter(self, key: Key) -> None:
        turn_ms = self._turn_ms(key)
        if turn_ms is not None:
            self._expiry.enter(key, turn_ms)

    def _emit(self, key: Key, group: Group, watermark_ms: int) -> Due:
        if self._drop_ms(group) <= watermark_ms:
            left = self._remove(key, group)
        else:
            group.pending = False
            left = self._of(key)
            self._put(key, left)
        if left:
            self._enter(key)
        return self._due(key, group)

    def _due(self, key: Key, group: Group) -> Due:
        revision = group.revision if self._updates else 0
        return Due(self.end_ms(group), group.first_ms, key, group, revision, group.part if self._evicts else None)

    def joins(self, key: Key, time_ms: int, watermark_ms: int) -> list[list[Group]]:
        """See Windows."""
        touched = self._touched(self._of(key), time_ms)
        if not touched and self._is_late_alone(time_ms, watermark_ms):
            return []
        return [touched]

    def earliest(self) -> tuple[int, int, Any] | None:
        """See EvictingWindows."""
        while self._ends_first:
            end_ms, start_ms, order, _, key = self._ends_first[0]
            group = next((group for group in self._of(key) if group.first_ms == start_ms), None)
            if group is not None and self.end_ms(group) == end_ms:
                return end_ms, start_ms, order
            heapq.heappop(self._ends_first)
            if group is not None:
                self._note(key, group)
        return None

    def evict(self) -> Due:
        """See EvictingWindows."""
        first = self.earliest()
        assert first is not None
        *_, key = heapq.heappop(self._ends_first)
        group = next(group for group in self._of(key) if group.first_ms == first[1])
        self._remove(key, group)
        part = self._parts.add(key, group.first_ms, self._drop_ms(group))
        return self._due(key, group)._replace(part=part)

    def part(self, _key: Key, _start_ms: int, group: Group) -> int | None:
        """See EvictingWindows."""
        part: int | None = group.part
        return part

    def open_count(self) -> int:
        """See Windows."""
        return self._open_count

    def key_count(self) -> int:
        """See Windows."""
        return len(self.groups)

    def dirty_count(self) -> int:
        """See Windows."""
        return len(self.dirty)

    def changes(self, *, everything: bool, keep: Keeps = ANY) -> Packed:
        """Return `[gone, groups, parts]`: `[*key]` of keys without groups; all groups of a key, earliest first."""
        rows = self._shape.pack_rows(None, _pairs(self.groups if everything else self.dirty, keep))
        gone = [] if everything else [self._shape.pack_key(key) for key in self._gone if key not in self.dirty]
        return [gone, rows, self._parts.changes(everything=everything, keep=keep)]

    def fold(self) -> None:
        """See Windows."""
        self._gone.clear()
        self._parts.fold()
        self.dirty.clear()
        self.turn = object()

    def restore(self, changes: Packed) -> None:
        """See Windows. All groups of a key come together and replace what was stored of it."""
        gone, rows, parts = changes
        for values in gone:
            self.groups.pop(self._shape.unpack_key(values), None)
        held, before = self.groups, NO_KEY
        for _, key, group in self._shape.unpack_rows(rows):
            held[key] = group if key != before else [*_listed(held[key]), group]
            before = key
        self._parts.restore(parts)

    def inherit(self, changes: Packed) -> None:
        """See Windows."""
        self.restore(changes)

    def settle(self, watermark_ms: int, _floor_ms: FloorOf) -> None:
        """See Windows."""
        self._parts.forget(watermark_ms)
        self._expiry.enter_all(self._turns())
        if self._evicts:
            for key, group in _pairs(self.groups, ANY):
                self._note(key, group)
        self._open_count = sum(len(entry) for entry in self.groups.values() if entry.__class__ is list)
        self._open_count += sum(entry.__class__ is not list for entry in self.groups.values())
        self._room.left -= self._open_count

    def _turns(self) -> Iterator[tuple[Key, int]]:
        """Yield all keys, and when they are due."""
        turn_ms, end_ms, more_ms = self._group_turn_ms, self.end_ms, self._row_after_ms
        for key, entry in self.groups.items():
            if entry.__class__ is list:
                yield key, min(map(turn_ms, entry))
            else:
                yield key, turn_ms(entry) if self._updates else end_ms(entry) + more_ms


class SessionWindows(KeyedWindows):
    """Sessions: events of a key whose gaps are at most `gap_ms`, and that span at most `length_ms_max`."""

    def __init__(
        self, gap_ms: int, length_ms_max: int | None, keep: Keep, shape: Shape, room: Room, *, evicts: bool
    ) -> None:
        super().__init__(gap_ms, keep, shape, room, evicts=evicts)
        self._gap_ms = gap_ms
        self._length_ms_max = length_ms_max

    def _new(self, time_ms: int) -> Group:
        group = super()._new(time_ms)
        group.last_ms = time_ms
        return group

    def end_ms(self, group: Group) -> int:
        """Return the gap after the last event."""
        end_ms: int = group.last_ms + self._gap_ms
        return end_ms

    def _touched(self, groups: list[Group], time_ms: int) -> list[Group]:
        gap_ms = self._gap_ms
        near = [group for group in groups if group.first_ms - gap_ms <= time_ms <= group.last_ms + gap_ms]
        if not near or self._fits(near, time_ms):
            return near
        return next(([group] for group in near if self._fits([group], time_ms)), [])

    def _fits(self, groups: list[Group], time_ms: int) -> bool:
        if self._length_ms_max is None:
            return True
        last_ms: int = max(group.last_ms for group in groups)
        length_ms: int = max(last_ms, time_ms) - min(groups[0].first_ms, time_ms)
        return length_ms <= self._length_ms_max

    def _join(self, key: Key, touched: list[Group], time_ms: int, watermark_ms: int) -> Group:
        group, *others = touched
        if others or time_ms < group.first_ms:
            self._restructure(group, touched)
        for later in others:
            self._shape.merge(group, later)
        if time_ms < group.first_ms:
            group.first_ms = time_ms
            group.late_at_ms = watermark_ms if self._is_late_alone(time_ms, watermark_ms) else None
            self._begin(key, group)
        group.last_ms = max(time_ms, *(each.last_ms for each in touched))
        if others or group.first_ms == time_ms:
            self._put(key, [other for other in self._of(key) if other not in others])
            self._note(key, group)
        self._open_count -= len(others)
        self._room.left += len(others)
        return group

    def _restructure(self, group: Group, touched: list[Group]) -> None:
        """Name the rows that the group's next row replaces: the last ones of all groups that go into it."""
        if not self._updates:
            return
        replaced = [row_id for each in touched for row_id in _row_ids(each)]
        group.replaced = replaced or None
        group.last_id = None
        group.revision = max(each.revision for each in touched)


def _row_ids(group: Group) -> list[str]:
    return [*(group.replaced or []), *([group.last_id] if group.last_id is not None else [])]


class StaggerWindows(KeyedWindows):
    """Windows of `size_ms`, each opened by an event that lies in no other one of its key."""

    def __init__(self, size_ms: int, keep: Keep, shape: Shape, room: Room, *, evicts: bool) -> None:
        super().__init__(size_ms, keep, shape, room, evicts=evicts)
        self._size_ms = size_ms

    def end_ms(self, group: Group) -> int:
        """Return the end: a size after the event that opened it."""
        end_ms: int = group.first_ms + self._size_ms
        return end_ms

    def _touched(self, groups: list[Group], time_ms: int) -> list[Group]:
        return next(([group] for group in groups if group.first_ms <= time_ms < group.first_ms + self._size_ms), [])

    def _join(self, _key: Key, touched: list[Group], _time_ms: int, _watermark_ms: int) -> Group:
        return touched[0]


def _first_ms(group: Group) -> int:
    first_ms: int = group.first_ms
    return first_ms


def _place(closing: tuple[int, int, Any, Key, Group]) -> Any:
    return closing[:3]


def _pairs(entries: dict[Key, Group | list[Group]], keep: Keeps) -> Iterable[tuple[Key, Group]]:
    """Return keys to be kept, each with its group, or once with each of them."""
    if keep is ANY and list not in set(map(type, entries.values())):
        return entries.items()
    return _each_pair(entries, keep)


def _each_pair(entries: dict[Key, Group | list[Group]], keep: Keeps) -> Iterator[tuple[Key, Group]]:
    for key, entry in entries.items():
        if keep is ANY or keep(key):
            if entry.__class__ is list:
                for group in entry:
                    yield key, group
            else:
                yield key, entry


def _listed(entry: Group | list[Group] | None) -> list[Group]:
    if entry is None:
        return []
    return entry if isinstance(entry, list) else [entry]
