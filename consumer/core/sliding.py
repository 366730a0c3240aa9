"""Sliding windows, by panes: an event goes into one pane, however many windows overlap there.

A pane is as long as the greatest common divisor of `size` and `every`. A window's value is its panes' groups put
together in the order of time. Which keys a window has is known without its panes: `_open`.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Iterator
from typing import NamedTuple

from consumer.core.panes import Pane, packed_panes
from consumer.core.windows import ANY, NEVER_MS, Due, FloorOf, Group, Keep, Keeps, Key, Packed, Room, Shape
from consumer.pipeline.model import Sliding

_FORMAT_1 = 5
"""How many members the changes had in the first format."""


class PaneBounds(NamedTuple):
    """A pane [start_ms, end_ms), and the watermarks at which the first and the last window with it are dropped."""

    start_ms: int
    end_ms: int
    first_drop_ms: int
    last_drop_ms: int


class Grid:
    """Where the panes and windows of a definition lie."""

    def __init__(self, kind: Sliding) -> None:
        self.size_ms = kind.size_ms
        self.every_ms = kind.every_ms
        self.pane_ms = math.gcd(kind.size_ms, kind.every_ms)

    def pane_of(self, time_ms: int) -> int:
        """Return the start of the pane that a time is in."""
        return time_ms - time_ms % self.pane_ms

    def starts(self, time_ms: int) -> range:
        """Return the starts of the windows that a time is in."""
        last_ms = time_ms - time_ms % self.every_ms
        earlier = (self.size_ms - 1 - (time_ms - last_ms)) // self.every_ms
        return range(last_ms - earlier * self.every_ms, last_ms + 1, self.every_ms)

    def panes(self, start_ms: int) -> range:
        """Return the starts of a window's panes."""
        return range(start_ms, start_ms + self.size_ms, self.pane_ms)


class SlidingWindows:
    """The panes and the open windows of a sliding window.

    `_touched` are the panes that may have changed since the last fold.
    `_open` has the keys of each window that is kept, by start, each with the revision of its next row. Of it only the
    starts and the revisions are stored: the keys are those of the panes. While the window whose turn it is has given
    some of its rows, `_closing` has the keys to come, the next one last, and `_closed` the last one given.
    """

    layout = "sliding"

    def __init__(self, kind: Sliding, keep: Keep, shape: Shape, room: Room) -> None:
        self._grid = Grid(kind)
        self._keep = keep
        self._shape = shape
        self._room = room
        self._panes: dict[int, Pane] = {}
        self._touched: dict[int, Pane] = {}
        self._open: dict[int, dict[Key, int]] = {}
        self._turns: list[tuple[int, int]] = []
        self._closing: list[Key] = []
        self._closed: list[Key] = []
        self._gone: list[int] = []
        self._opened: list[int] = []
        self._dropped: list[int] = []
        self._revised: set[tuple[int, Key]] = set()

    def _end_ms(self, start_ms: int) -> int:
        return start_ms + self._grid.size_ms

    def _drop_ms(self, start_ms: int) -> int:
        return start_ms + self._grid.size_ms - 1 + self._keep.lateness_ms

    def bounds(self, time_ms: int) -> PaneBounds:
        """Return the pane that a time is in."""
        start_ms = self._grid.pane_of(time_ms)
        starts = self._grid.starts(start_ms)
        return PaneBounds(start_ms, start_ms + self._grid.pane_ms, self._drop_ms(starts[0]), self._drop_ms(starts[-1]))

    def pane(self, start_ms: int) -> Pane:
        """Return a pane, opening it if need be. Its groups may be changed."""
        pane = self._panes.get(start_ms)
        if pane is None:
            pane = self._panes[start_ms] = Pane(start_ms, start_ms + self._grid.pane_ms)
        self._touched[start_ms] = pane
        return pane

    def late(self, time_ms: int, watermark_ms: int) -> list[int]:
        """Return the starts of the windows that an event is late for."""
        return [start_ms for start_ms in self._grid.starts(time_ms) if self._drop_ms(start_ms) <= watermark_ms]

    def opened(self, pane_ms: int, key: Key, watermark_ms: int) -> None:
        """Enter a key that is new in a pane into the windows with that pane."""
        for start_ms in self._grid.starts(pane_ms):
            if self._drop_ms(start_ms) <= watermark_ms:
                continue
            keys = self._open.get(start_ms)
            if keys is None:
                keys = self._open[start_ms] = {}
                self._opened.append(start_ms)
                self._enter(start_ms, self._emit_ms(start_ms))
            if key not in keys:
                keys[key] = 0
                self._room.left -= 1

    def _enter(self, start_ms: int, turn_ms: int) -> None:
        heapq.heappush(self._turns, (turn_ms, start_ms))

    def due_ms(self) -> int:
        """See Windows. A window comes up when its first rows are due, and once more when it is dropped."""
        return self._turns[0][0] if self._turns else NEVER_MS

    def close(self, watermark_ms: int, rows_max: int) -> list[Due]:
        """See Windows."""
        rows: list[Due] = []
        while self._turns and self._turns[0][0] <= watermark_ms and len(rows) < rows_max:
            turn_ms, start_ms = heapq.heappop(self._turns)
            if turn_ms == self._emit_ms(start_ms):
                rows += self._emit(start_ms, rows_max - len(rows))
                if self._closing:
                    self._enter(start_ms, turn_ms)
                    break
            if self._drop_ms(start_ms) <= watermark_ms:
                self._drop(start_ms)
            else:
                self._enter(start_ms, self._drop_ms(start_ms))
        return rows

    def _emit_ms(self, start_ms: int) -> int:
        return self._end_ms(start_ms) - 1 + self._keep.emit_delay_ms

    def _emit(self, start_ms: int, rows_max: int) -> list[Due]:
        if not self._closing:
            self._closing = self._keys_to_close(start_ms)
        cut = max(0, len(self._closing) - rows_max)
        keys = self._closing[cut:][::-1]
        del self._closing[cut:]
        self._closed = keys[-1:] if self._closing else []
        return [self._due(start_ms, key) for key in keys]

    def _keys_to_close(self, start_ms: int) -> list[Key]:
        """Return the keys of a window that have no row yet, the first one last."""
        keys = [key for key, revision in self._open[start_ms].items() if not revision]
        return sorted(keys, key=self._shape.order, reverse=True)

    def _due(self, start_ms: int, key: Key) -> Due:
        """Return a row of a window, and count it."""
        revision = self._open[start_ms][key]
        if self._keep.updates:
            self._open[start_ms][key] = revision + 1
            self._revised.add((start_ms, key))
        return Due(self._end_ms(start_ms), start_ms, key, self._together(start_ms, key), revision)

    def _together(self, start_ms: int, key: Key) -> Group:
        group = self._shape.new()
        for part in self._groups(start_ms, key):
            self._shape.merge(group, part)
        return group

    def _groups(self, start_ms: int, key: Key) -> Iterator[Group]:
        for pane in self._panes_of(start_ms):
            group = pane.get(key)
            if group is not None:
                yield group

    def _panes_of(self, start_ms: int) -> Iterator[Pane]:
        """Yield a window's panes in the order of time."""
        for pane_ms in self._grid.panes(start_ms):
            pane = self._panes.get(pane_ms)
            if pane is not None:
                yield pane

    def _drop(self, start_ms: int) -> None:
        """Drop a window, and the panes that no later window has."""
        self._room.left += len(self._open.pop(start_ms))
        self._dropped.append(start_ms)
        for pane_ms in range(start_ms, start_ms + self._grid.every_ms, self._grid.pane_ms):
            if self._panes.pop(pane_ms, None) is not None:
                self._touched.pop(pane_ms, None)
                self._gone.append(pane_ms)

    def updates(self, key: Key, time_ms: int, watermark_ms: int) -> list[Due]:
        """Return the rows of windows that ended before an event that has just been put into them."""
        starts = [start_ms for start_ms in self._grid.starts(time_ms) if self._end_ms(start_ms) - 1 <= watermark_ms]
        return [self._due(start_ms, key) for start_ms in starts if self._drop_ms(start_ms) > watermark_ms]

    def joins(self, key: Key, time_ms: int, watermark_ms: int) -> list[list[Group]]:
        """See Windows."""
        return [
            list(self._groups(start_ms, key)) if key in self._open.get(start_ms, ()) else []
            for start_ms in self._grid.starts(time_ms)
            if self._drop_ms(start_ms) > watermark_ms
        ]

    def open_count(self) -> int:
        """See Windows."""
        return sum(map(len, self._open.values()))

    def key_count(self) -> int:
        """See Windows."""
        return max(map(len, self._open.values()), default=0)

    def dirty_count(self) -> int:
        """See Windows."""
        return sum(len(pane.dirty) for pane in self._touched.values()) + len(self._revised)

    def changes(self, *, everything: bool, keep: Keeps = ANY) -> Packed:
        """Return `[gone panes, groups, revisions, starts, gone starts, closed]`.

        Groups are `[pane start, *packed]`, revisions `[start, revision, *key]`, starts those of windows that were
        opened, gone starts those of windows that were dropped, closed the `[*key]` of one key or none.
        """
        groups = packed_panes(self._shape, self._panes if everything else self._touched, keep, everything=everything)
        revisions = self._revisions(keep, everything=everything)
        closed = [self._shape.pack_key(key) for key in self._closed]
        if everything:
            return [[], groups, revisions, list(self._open), [], closed]
        opened = [start_ms for start_ms in self._opened if start_ms in self._open]
        return [self._gone, groups, revisions, opened, self._dropped, closed]

    def _revisions(self, keep: Keeps, *, everything: bool) -> list[Packed]:
        names = (
            [(start_ms, key) for start_ms, keys in self._open.items() for key, revision in keys.items() if revision]
            if everything
            else [(start_ms, key) for start_ms, key in self._revised if start_ms in self._open]
        )
        kept = [(start_ms, key) for start_ms, key in names if keep(key)]
        return [[start_ms, self._open[start_ms][key], *self._shape.pack_key(key)] for start_ms, key in kept]

    def fold(self) -> None:
        """See Windows."""
        self._gone, self._opened, self._dropped = [], [], []
        self._revised.clear()
        for pane in self._touched.values():
            pane.clean.update(pane.dirty)
            pane.dirty = {}
        self._touched.clear()

    def restore(self, changes: Packed) -> None:
        """See Windows. Changes of format 1 have all starts each time, and no gone ones."""
        if len(changes) == _FORMAT_1:
            *changes, starts, closed = changes
            changes = [*changes, starts, list(self._open.keys() - starts), closed]
        *_, gone_starts, closed = changes
        for start_ms in gone_starts:
            self._open.pop(start_ms, None)
        self.inherit(changes)
        if closed is not None:
            self._closed = [self._shape.unpack_key(values) for values in closed]

    def inherit(self, changes: Packed) -> None:
        """See Windows."""
        gone, groups, revisions, starts, *_ = changes
        for pane_ms in gone:
            self._panes.pop(pane_ms, None)
        for pane_ms, key, group in self._shape.unpack_rows(groups):
            self.pane(pane_ms).clean[key] = group
        for start_ms in starts:
            self._open.setdefault(start_ms, {})
        for start_ms, revision, *values in revisions:
            self._open.setdefault(start_ms, {})[self._shape.unpack_key(values)] = revision

    def settle(self, watermark_ms: int, floor_ms: FloorOf) -> None:
        """See Windows. A pane that is kept for a later window may also belong to one that a parent has dropped."""
        for start_ms, revisions in self._open.items():
            drop_ms, emit_ms = self._drop_ms(start_ms), self._emit_ms(start_ms)
            keys = dict.fromkeys((key for pane in self._panes_of(start_ms) for key in pane), 0)
            self._open[start_ms] = {key: 0 for key in keys if floor_ms(key) < drop_ms} | revisions
            emitted = emit_ms <= watermark_ms and self._keep.updates and all(self._open[start_ms].values())
            self._enter(start_ms, drop_ms if emitted else emit_ms)
        self._room.left -= self.open_count()
        if self._closed and not self._keep.updates:
            last = self._shape.order(self._closed[0])
            keys_to_close = self._keys_to_close(self._turns[0][1])
            self._closing = [key for key in keys_to_close if self._shape.order(key) > last]
