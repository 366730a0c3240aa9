"""Tumbling windows: a pane holds all groups of one window."""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from consumer.core.calendar import Calendar
from consumer.core.parts import Parts
from consumer.core.windows import ANY, NEVER_MS, Due, FloorOf, Group, Keep, Keeps, Key, Packed, Room, Shape


class Pane:
    """The groups of the window [start_ms, end_ms).

    `closing` holds, while many rows wait, the keys still to be emitted, the next one last. `ends_first` is a heap of
    its keys by their order, made when a group has to be emitted early.
    """

    __slots__ = ("clean", "closing", "dirty", "end_ms", "ends_first", "start_ms")

    def __init__(self, start_ms: int, end_ms: int) -> None:
        self.start_ms = start_ms
        self.end_ms = end_ms
        self.dirty: dict[Key, Group] = {}
        self.clean: dict[Key, Group] = {}
        self.closing: list[Key] | None = None
        self.ends_first: list[tuple[Any, Key]] | None = None

    def get(self, key: Key) -> Group | None:
        """Return the group of a key, None if it has none."""
        group = self.dirty.get(key)
        return self.clean.get(key) if group is None else group

    def pop(self, key: Key) -> Group:
        """Take out the group of a key, which has one."""
        return self.dirty.pop(key) if key in self.dirty else self.clean.pop(key)

    def touch(self, key: Key) -> Group:
        """Return the group of a key, which has one, as one that changes."""
        group = self.dirty.get(key)
        if group is None:
            group = self.dirty[key] = self.clean.pop(key)
        return group

    def __iter__(self) -> Iterator[Key]:
        yield from self.clean
        yield from self.dirty

    def __len__(self) -> int:
        return len(self.dirty) + len(self.clean)


class TumblingWindows:
    """The panes of a tumbling window, by start. `_touched` are those that may have changed since the last fold."""

    layout = "panes"

    def __init__(self, calendar: Calendar, keep: Keep, shape: Shape, room: Room) -> None:
        self._calendar = calendar
        self._keep = keep
        self._shape = shape
        self._room = room
        self._panes: dict[int, Pane] = {}
        self._touched: dict[int, Pane] = {}
        self._turns: list[tuple[int, int]] = []
        self._gone: list[int] = []
        self._gone_groups: list[tuple[int, Key]] = []
        self._parts = Parts(shape)
        self.bounds = calendar.bounds

    def pane(self, start_ms: int, end_ms: int) -> Pane:
        """Return the pane of a window that is not late, opening it if need be. Its groups may be changed."""
        pane = self._panes.get(start_ms)
        if pane is None:
            pane = self._panes[start_ms] = Pane(start_ms, end_ms)
            heapq.heappush(self._turns, (end_ms - 1 + self._keep.emit_delay_ms, start_ms))
        self._touched[start_ms] = pane
        return pane

    def due_ms(self) -> int:
        """See Windows. A pane comes up when its first rows are due, and once more when it is dropped."""
        return self._turns[0][0] if self._turns else NEVER_MS

    def close(self, watermark_ms: int, rows_max: int) -> list[Due]:
        """See Windows."""
        rows: list[Due] = []
        while self._turns and self._turns[0][0] <= watermark_ms and len(rows) < rows_max:
            turn_ms, start_ms = heapq.heappop(self._turns)
            pane = self._panes[start_ms]
            drop_ms = pane.end_ms - 1 + self._keep.lateness_ms
            if turn_ms == pane.end_ms - 1 + self._keep.emit_delay_ms:
                rows += self._emit(pane, watermark_ms, rows_max - len(rows))
                if pane.closing:
                    heapq.heappush(self._turns, (turn_ms, start_ms))
                    break
                pane.closing = None
            if drop_ms <= watermark_ms:
                self._drop(pane)
            else:
                heapq.heappush(self._turns, (drop_ms, start_ms))
        self._forget_parts(watermark_ms)
        return rows

    def _forget_parts(self, watermark_ms: int) -> None:
        """Forget the parts of windows that are dropped; none while windows wait to be closed, for rows tell them."""
        if self.due_ms() > watermark_ms:
            self._parts.forget(watermark_ms)

    def _emit(self, pane: Pane, watermark_ms: int, rows_max: int) -> list[Due]:
        """Return the next rows of a pane. If it is dropped by this watermark, its groups are taken out one by one."""
        if pane.closing is None:
            keys = [key for key in pane if not self._was_emitted(pane.get(key))]
            pane.closing = sorted(keys, key=self._shape.order, reverse=True)
        cut = max(0, len(pane.closing) - rows_max)
        keys = pane.closing[cut:][::-1]
        del pane.closing[cut:]
        dropped = pane.end_ms - 1 + self._keep.lateness_ms <= watermark_ms
        if not dropped:
            self._touched[pane.start_ms] = pane
            return [self._due(pane, key, pane.touch(key)) for key in keys]
        if pane.closing:
            self._gone_groups += [(pane.start_ms, key) for key in keys]
        self._room.left += len(keys)
        return [self._due(pane, key, pane.pop(key)) for key in keys]

    def _was_emitted(self, group: Group) -> bool:
        return self._keep.updates and group.revision > 0

    def _due(self, pane: Pane, key: Key, group: Group) -> Due:
        revision = group.revision if self._keep.updates else 0
        return Due(pane.end_ms, pane.start_ms, key, group, revision, self.part(key, pane.start_ms, group))

    def _drop(self, pane: Pane) -> None:
        del self._panes[pane.start_ms]
        self._touched.pop(pane.start_ms, None)
        self._room.left += len(pane)
        self._gone.append(pane.start_ms)

    def joins(self, key: Key, time_ms: int, watermark_ms: int) -> list[list[Group]]:
        """See Windows."""
        start_ms, end_ms = self.bounds(time_ms)
        if end_ms - 1 + self._keep.lateness_ms <= watermark_ms:
            return []
        pane = self._panes.get(start_ms)
        group = None if pane is None else pane.get(key)
        return [[] if group is None else [group]]

    def opened(self, pane: Pane, key: Key) -> None:
        """Take note of a new group. Called only where groups may be emitted early."""
        if pane.ends_first is not None:
            heapq.heappush(pane.ends_first, (self._shape.order(key), key))

    def earliest(self) -> tuple[int, int, Any] | None:
        """See EvictingWindows."""
        pane = min((pane for pane in self._panes.values() if len(pane)), key=_start_ms, default=None)
        if pane is None:
            return None
        if pane.ends_first is None:
            pane.ends_first = [(self._shape.order(key), key) for key in pane]
            heapq.heapify(pane.ends_first)
        return pane.end_ms, pane.start_ms, pane.ends_first[0][0]

    def evict(self) -> Due:
        """See EvictingWindows."""
        first = self.earliest()
        assert first is not None
        pane = self._panes[first[1]]
        assert pane.ends_first is not None
        _, key = heapq.heappop(pane.ends_first)
        self._room.left += 1
        self._gone_groups.append((pane.start_ms, key))
        due = self._due(pane, key, pane.pop(key))
        return due._replace(part=self._parts.add(key, pane.start_ms, pane.end_ms - 1 + self._keep.lateness_ms))

    def part(self, key: Key, start_ms: int, _group: Group) -> int | None:
        """See EvictingWindows."""
        return self._parts.number(key, start_ms)

    def open_count(self) -> int:
        """See Windows."""
        return sum(map(len, self._panes.values()))

    def key_count(self) -> int:
        """See Windows."""
        return max(map(len, self._panes.values()), default=0)

    def dirty_count(self) -> int:
        """See Windows."""
        return sum(len(pane.dirty) for pane in self._touched.values())

    def changes(self, *, everything: bool, keep: Keeps = ANY) -> Packed:
        """Return `[gone panes, gone groups, groups, parts]`: starts, `[start, *key]`, `[start, *packed]`."""
        groups = packed_panes(self._shape, self._panes if everything else self._touched, keep, everything=everything)
        parts = self._parts.changes(everything=everything, keep=keep)
        return [[], [], groups, parts] if everything else [self._gone, self._gone_names(), groups, parts]

    def _gone_names(self) -> list[Packed]:
        names = [(start_ms, key) for start_ms, key in self._gone_groups if not self._is_dirty(start_ms, key)]
        return [[start_ms, *self._shape.pack_key(key)] for start_ms, key in names]

    def _is_dirty(self, start_ms: int, key: Key) -> bool:
        pane = self._touched.get(start_ms)
        return pane is not None and key in pane.dirty

    def fold(self) -> None:
        """See Windows."""
        self._gone = []
        self._gone_groups = []
        self._parts.fold()
        for pane in self._touched.values():
            pane.clean.update(pane.dirty)
            pane.dirty = {}
        self._touched.clear()

    def restore(self, changes: Packed) -> None:
        """See Windows."""
        gone, gone_groups, groups, parts = changes
        for start_ms in gone:
            self._panes.pop(start_ms, None)
        for start_ms, *values in gone_groups:
            if start_ms in self._panes:
                self._panes[start_ms].clean.pop(self._shape.unpack_key(values), None)
        for start_ms, key, group in self._shape.unpack_rows(groups):
            pane = self._panes.get(start_ms)
            if pane is None:
                pane = self._panes[start_ms] = Pane(*self.bounds(start_ms))
            pane.clean[key] = group
        self._parts.restore(parts)

    def inherit(self, changes: Packed) -> None:
        """See Windows."""
        self.restore(changes)

    def settle(self, watermark_ms: int, _floor_ms: FloorOf) -> None:
        """See Windows."""
        self._room.left -= self.open_count()
        self._turns = [(self._turn_ms(pane, watermark_ms), pane.start_ms) for pane in self._panes.values()]
        heapq.heapify(self._turns)
        self._forget_parts(watermark_ms)

    def _turn_ms(self, pane: Pane, watermark_ms: int) -> int:
        """Return when a restored pane comes up: groups without a row, in a window that ended, are still closing.

        Where the watermark has not come that far, groups may be added yet: rows of others are a faster parent's.
        """
        emit_ms = pane.end_ms - 1 + self._keep.emit_delay_ms
        if emit_ms <= watermark_ms and self._keep.updates and all(map(self._was_emitted, pane.clean.values())):
            return pane.end_ms - 1 + self._keep.lateness_ms
        return emit_ms


def packed_panes(shape: Shape, panes: Mapping[int, Pane], keep: Keeps, *, everything: bool) -> list[Packed]:
    """Return `[start, *packed]` of the groups that are dirty, or of all, whose keys are to be kept."""
    rows: list[Packed] = []
    for pane in panes.values():
        for part in (pane.clean, pane.dirty) if everything else (pane.dirty,):
            pairs: Iterable[tuple[Key, Group]] = part.items()
            if keep is not ANY:
                pairs = [(key, group) for key, group in pairs if keep(key)]
            rows += shape.pack_rows(pane.start_ms, pairs)
    return rows


def _start_ms(pane: Pane) -> int:
    return pane.start_ms
