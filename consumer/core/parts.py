"""Which groups were emitted early, and how often: a group that opens again is the next part of it.

A name is remembered until its window is dropped, so that no two rows get one id.
"""

from __future__ import annotations

import heapq
from typing import NamedTuple

from consumer.core.windows import ANY, Keeps, Key, Packed, Shape

_Name = tuple[int, Key]
"""Start and key of a group."""


class _Part(NamedTuple):
    number: int
    until_ms: int


class Parts:
    """The names of a window's groups, each with the number of the part that comes next."""

    def __init__(self, shape: Shape) -> None:
        self._shape = shape
        self._parts: dict[_Name, _Part] = {}
        self._dirty: set[_Name] = set()
        self._expiry: list[tuple[int, int, _Name]] = []
        self._added = 0

    def number(self, key: Key, start_ms: int) -> int | None:
        """Return the part that a group is; None if none of its name was emitted early."""
        part = self._parts.get((start_ms, key))
        return None if part is None else part.number

    def add(self, key: Key, start_ms: int, until_ms: int) -> int:
        """Note that a group is emitted early, and return which part it is.

        Its name is remembered below the watermark `until_ms`.
        """
        name = (start_ms, key)
        part = self._parts.get(name, _Part(0, until_ms))
        self._keep(name, _Part(part.number + 1, max(until_ms, part.until_ms)))
        self._dirty.add(name)
        return part.number

    def _keep(self, name: _Name, part: _Part) -> None:
        self._parts[name] = part
        self._added += 1
        heapq.heappush(self._expiry, (part.until_ms, self._added, name))

    def forget(self, watermark_ms: int) -> None:
        """Forget the names whose windows are dropped."""
        while self._expiry and self._expiry[0][0] <= watermark_ms:
            until_ms, _, name = heapq.heappop(self._expiry)
            part = self._parts.get(name)
            if part is not None and part.until_ms == until_ms:
                del self._parts[name]
                self._dirty.discard(name)

    def changes(self, *, everything: bool, keep: Keeps = ANY) -> list[Packed]:
        """Return `[until_ms, number, start_ms, *key]` of what changed since the last fold, or of everything."""
        names = self._parts if everything else self._dirty
        return [
            [part.until_ms, part.number, name[0], *self._shape.pack_key(name[1])]
            for name in names
            if keep(name[1])
            for part in [self._parts[name]]
        ]

    def fold(self) -> None:
        """Make what was dirty clean: it has been stored."""
        self._dirty.clear()

    def restore(self, changes: list[Packed]) -> None:
        """Apply stored changes."""
        for until_ms, number, start_ms, *key in changes:
            self._keep((start_ms, self._shape.unpack_key(key)), _Part(number, until_ms))
