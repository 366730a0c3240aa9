"""Sliding windows whose groups may be emitted early: every window keeps panes of its own.

What is emitted early from one window must stay in the others, so panes cannot be shared; an event costs as much as
there are windows it is in. Panes are kept all the same, so that sums are added in the same order as elsewhere.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

from consumer.core.panes import Pane, TumblingWindows
from consumer.core.sliding import Grid
from consumer.core.windows import Due, Group, Keep, Key, Packed, Room, Shape
from consumer.pipeline.model import Sliding


class _Paned:
    """A group of one window: a group a pane, by the pane's start."""

    __slots__ = ("panes", "revision")

    def __init__(self) -> None:
        self.panes: dict[int, Group] = {}
        self.revision = 0


class _Starts:
    """The windows by their starts."""

    def __init__(self, size_ms: int) -> None:
        self._size_ms = size_ms

    def bounds(self, time_ms: int) -> tuple[int, int]:
        """Return start and end of the window that starts there."""
        return time_ms, time_ms + self._size_ms


class SlidingApart(TumblingWindows):
    """The open windows of a sliding window, each for itself."""

    layout = "apart"

    def __init__(self, kind: Sliding, keep: Keep, shape: Shape, room: Room, make_room: Callable[[], None]) -> None:
        super().__init__(_Starts(kind.size_ms), keep, _paned(shape), room)
        self._grid = Grid(kind)
        self._of_pane = shape
        self._make_room = make_room

    def _drop_ms(self, start_ms: int) -> int:
        return start_ms + self._grid.size_ms - 1 + self._keep.lateness_ms

    def late(self, time_ms: int, watermark_ms: int) -> list[int]:
        """Return the starts of the windows that an event is late for."""
        return [start_ms for start_ms in self._grid.starts(time_ms) if self._drop_ms(start_ms) <= watermark_ms]

    def _kept(self, time_ms: int, watermark_ms: int) -> list[int]:
        return [start_ms for start_ms in self._grid.starts(time_ms) if self._drop_ms(start_ms) > watermark_ms]

    def place(self, key: Key, time_ms: int, watermark_ms: int) -> Iterator[tuple[Group, int]]:
        """Yield the groups that an event goes to, one for each window it is not late for, and the window's start.

        The event is added to each before the next one is asked for: that may have it emitted early.
        """
        pane_ms = self._grid.pane_of(time_ms)
        for start_ms in self._kept(time_ms, watermark_ms):
            panes = self._group(self.pane(start_ms, start_ms + self._grid.size_ms), key).panes
            if pane_ms not in panes:
                panes[pane_ms] = self._of_pane.new()
            yield panes[pane_ms], start_ms

    def _group(self, pane: Pane, key: Key) -> _Paned:
        if pane.get(key) is None:
            self._make_room()
            self._room.left -= 1
            pane.dirty[key] = _Paned()
            self.opened(pane, key)
        paned: _Paned = pane.touch(key)
        return paned

    def update(self, key: Key, start_ms: int) -> Due:
        """Return the row of a window that ended before an event that has just been put into it."""
        pane = self._panes[start_ms]
        return self._due(pane, key, pane.touch(key))

    def _due(self, pane: Pane, key: Key, group: _Paned) -> Due:
        revision, group.revision = group.revision, group.revision + self._keep.updates
        part = self.part(key, pane.start_ms, group)
        return Due(pane.end_ms, pane.start_ms, key, self._together(group), revision, part)

    def _together(self, paned: _Paned) -> Group:
        group = self._of_pane.new()
        for _, part in sorted(paned.panes.items()):
            self._of_pane.merge(group, part)
        return group

    def joins(self, key: Key, time_ms: int, watermark_ms: int) -> list[list[Group]]:
        """See Windows."""
        found = []
        for start_ms in self._kept(time_ms, watermark_ms):
            pane = self._panes.get(start_ms)
            group = None if pane is None else pane.get(key)
            found.append([] if group is None else list(group.panes.values()))
        return found


def _paned(shape: Shape) -> Shape:
    """Return the shape of groups that are a group a pane."""

    def pack(key: Key, group: _Paned) -> Packed:
        panes = [[pane_ms, *shape.pack(key, part)] for pane_ms, part in group.panes.items()]
        return [group.revision, panes, *shape.pack_key(key)]

    def unpack(values: Packed) -> tuple[Key, _Paned]:
        group = _Paned()
        group.revision, panes, *key = values
        for pane_ms, *part in panes:
            group.panes[pane_ms] = shape.unpack(part)[1]
        return shape.unpack_key(key), group

    def pack_rows(start_ms: int | None, pairs: Iterable[tuple[Key, _Paned]]) -> list[Packed]:
        return [[start_ms, *pack(key, group)] for key, group in pairs]

    def unpack_rows(rows: list[Packed]) -> Iterator[tuple[Any, Key, _Paned]]:
        for start_ms, *values in rows:
            yield start_ms, *unpack(values)

    return Shape(
        new=_Paned,
        merge=shape.merge,
        pack=pack,
        unpack=unpack,
        pack_rows=pack_rows,
        unpack_rows=unpack_rows,
        pack_key=shape.pack_key,
        unpack_key=shape.unpack_key,
        order=shape.order,
    )
