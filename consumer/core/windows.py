"""The open windows of one shard.

Rule 1: a group is in one of two generations. `dirty` holds what changed since the last commit, `clean` the rest; a
group that is touched moves to `dirty`, a commit encodes `dirty` and folds it into `clean`.
Rule 2: what ended leaves nothing behind but its name in `gone`, until the next commit has told the store.
Rule 3: whatever is due is closed before the next record is looked at, so whatever is held is not late.

Keys are what the generated code makes of a window's `by`: the value itself, or a tuple. Groups are objects with a
slot an accumulator; sessions have `first_ms` and `last_ms` besides.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Hashable, Iterable, Iterator
from typing import Any, NamedTuple

NEVER_MS = 2**62
"""Later than any time."""
LONG_AGO_MS = -(2**62)
"""Earlier than any time: the watermark of a shard that has seen nothing."""

Group = Any
Key = Hashable


class Closed(NamedTuple):
    """A window that ended: [start_ms, end_ms) of one group."""

    end_ms: int
    start_ms: int
    key: Key
    group: Group


class Pane:
    """All groups of one tumbling window."""

    __slots__ = ("clean", "dirty")

    def __init__(self) -> None:
        self.dirty: dict[Key, Group] = {}
        self.clean: dict[Key, Group] = {}


class TumblingWindows:
    """The panes of a tumbling window, by start."""

    def __init__(self, size_ms: int) -> None:
        self._size_ms = size_ms
        self._panes: dict[int, Pane] = {}
        self._gone: list[int] = []

    def pane(self, start_ms: int) -> Pane:
        """Return the pane that starts there, opening it if need be."""
        pane = self._panes.get(start_ms)
        if pane is None:
            pane = self._panes[start_ms] = Pane()
        return pane

    def due_ms(self) -> int:
        """Return the lowest watermark at which a pane is due."""
        return min(self._panes, default=NEVER_MS) + self._size_ms - 1

    def close(self, watermark_ms: int) -> Iterator[Closed]:
        """Drop and yield every group whose window is due."""
        for start_ms in [start for start in self._panes if start + self._size_ms - 1 <= watermark_ms]:
            pane = self._panes.pop(start_ms)
            self._gone.append(start_ms)
            for groups in (pane.clean, pane.dirty):
                for key, group in groups.items():
                    yield Closed(start_ms + self._size_ms, start_ms, key, group)

    def open_count(self) -> int:
        """Return how many groups are open."""
        return sum(len(pane.dirty) + len(pane.clean) for pane in self._panes.values())

    def dirty_count(self) -> int:
        """Return how many groups changed since the last fold."""
        return sum(len(pane.dirty) for pane in self._panes.values())

    def changes(self, *, everything: bool) -> tuple[list[int], list[tuple[int, Key, Group]]]:
        """Return the starts of panes that are gone, and (start, key, group) of what changed or of everything."""
        groups = [
            (start_ms, key, group)
            for start_ms, pane in self._panes.items()
            for part in ((pane.clean, pane.dirty) if everything else (pane.dirty,))
            for key, group in part.items()
        ]
        return ([] if everything else list(self._gone)), groups

    def fold(self) -> None:
        """Make what was dirty clean: it has been stored."""
        self._gone.clear()
        for pane in self._panes.values():
            pane.clean.update(pane.dirty)
            pane.dirty = {}

    def restore(self, gone: Iterable[int], groups: Iterable[tuple[int, Key, Group]]) -> None:
        """Apply stored changes."""
        for start_ms in gone:
            self._panes.pop(start_ms, None)
        for start_ms, key, group in groups:
            self.pane(start_ms).clean[key] = group


class SessionWindows:
    """The sessions of a group key: one object, or a list of several that lie further apart than the gap.

    `merge` adds a later session to an earlier one. The expiry heap holds for every key an entry that is no later
    than the end of its first session to end; entries may be stale, and are corrected when they come up.
    """

    def __init__(self, gap_ms: int, new: Callable[[], Group], merge: Callable[[Group, Group], None]) -> None:
        self._gap_ms = gap_ms
        self._new = new
        self._merge = merge
        self.dirty: dict[Key, Group | list[Group]] = {}
        self.clean: dict[Key, Group | list[Group]] = {}
        self._gone: set[Key] = set()
        self._expiry: list[tuple[int, int, Key]] = []
        self._pushed = 0
        self._open_count = 0

    def place(self, key: Key, time_ms: int, watermark_ms: int) -> Group | None:
        """Return the session that an event belongs to: extended, merged or new. None: the event is late.

        The caller has moved the key's sessions to `dirty`, if it has any.
        """
        entry = self.dirty.get(key)
        if entry is None:
            return self._open(key, time_ms, [], watermark_ms)
        sessions = _sessions(entry)
        touched = [session for session in sessions if self._touches(session, time_ms)]
        if not touched:
            return self._open(key, time_ms, sessions, watermark_ms)
        session = touched[0]
        self._open_count -= len(touched) - 1
        for later in touched[1:]:
            self._merge(session, later)
            session.last_ms = later.last_ms
        session.first_ms = min(session.first_ms, time_ms)
        session.last_ms = max(session.last_ms, time_ms)
        if len(touched) > 1:
            self._keep(key, [other for other in sessions if other is session or other not in touched])
        return session

    def _touches(self, session: Group, time_ms: int) -> bool:
        touches: bool = session.first_ms - self._gap_ms <= time_ms <= session.last_ms + self._gap_ms
        return touches

    def _open(self, key: Key, time_ms: int, sessions: list[Group], watermark_ms: int) -> Group | None:
        end_ms = time_ms + self._gap_ms
        if end_ms - 1 <= watermark_ms:
            return None
        self._open_count += 1
        session = self._new()
        session.first_ms = session.last_ms = time_ms
        self.dirty[key] = sorted([*sessions, session], key=_first_ms) if sessions else session
        self._expect(key, end_ms)
        return session

    def _of(self, key: Key) -> list[Group]:
        """Return a key's sessions, earliest first."""
        entry = self.dirty.get(key)
        if entry is None:
            entry = self.clean.get(key)
        return _sessions(entry)

    def _keep(self, key: Key, sessions: list[Group]) -> None:
        self.clean.pop(key, None)
        self.dirty[key] = sessions[0] if len(sessions) == 1 else sessions

    def _expect(self, key: Key, end_ms: int) -> None:
        self._pushed += 1
        heapq.heappush(self._expiry, (end_ms, self._pushed, key))

    def due_ms(self) -> int:
        """Return a watermark below which no session is due."""
        return self._expiry[0][0] - 1 if self._expiry else NEVER_MS

    def close(self, watermark_ms: int) -> Iterator[Closed]:
        """Drop and yield every session that is due."""
        while self._expiry and self._expiry[0][0] - 1 <= watermark_ms:
            _, _, key = heapq.heappop(self._expiry)
            sessions = self._of(key)
            due = [session for session in sessions if self._end_ms(session) - 1 <= watermark_ms]
            for session in due:
                yield Closed(self._end_ms(session), session.first_ms, key, session)
            self._open_count -= len(due)
            left = sessions[len(due) :]
            if due:
                self._drop(key, left)
            if left:
                self._expect(key, self._end_ms(left[0]))

    def _end_ms(self, session: Group) -> int:
        end_ms: int = session.last_ms + self._gap_ms
        return end_ms

    def _drop(self, key: Key, left: list[Group]) -> None:
        if left:
            self._keep(key, left)
            return
        self.clean.pop(key, None)
        self.dirty.pop(key, None)
        self._gone.add(key)

    def open_count(self) -> int:
        """Return how many sessions are open."""
        return self._open_count

    def dirty_count(self) -> int:
        """Return how many keys changed since the last fold."""
        return len(self.dirty)

    def changes(self, *, everything: bool) -> tuple[list[Key], list[tuple[Key, Group]]]:
        """Return the keys that are gone, and (key, session) of every key that changed, or of everything.

        All sessions of a key come together, earliest first: they replace what was stored of the key.
        """
        parts = (self.clean, self.dirty) if everything else (self.dirty,)
        gone = [] if everything else [key for key in self._gone if key not in self.dirty]
        return gone, [pair for part in parts for pair in _each(part)]

    def fold(self) -> None:
        """Make what was dirty clean: it has been stored."""
        self._gone.clear()
        self.clean.update(self.dirty)
        self.dirty.clear()

    def restore(self, gone: Iterable[Key], sessions: Iterable[tuple[Key, Group]]) -> None:
        """Apply stored changes."""
        for key in gone:
            self._open_count -= len(_sessions(self.clean.pop(key, None)))
        by_key: dict[Key, list[Group]] = {}
        for key, session in sessions:
            by_key.setdefault(key, []).append(session)
        for key, of_key in by_key.items():
            self._open_count += len(of_key) - len(_sessions(self.clean.get(key)))
            self.clean[key] = of_key[0] if len(of_key) == 1 else of_key
            self._expect(key, self._end_ms(of_key[0]))


def _first_ms(session: Group) -> int:
    first_ms: int = session.first_ms
    return first_ms


def _sessions(entry: Group | list[Group] | None) -> list[Group]:
    if entry is None:
        return []
    return entry if isinstance(entry, list) else [entry]


def _each(entries: dict[Key, Group | list[Group]]) -> Iterator[tuple[Key, Group]]:
    for key, entry in entries.items():
        for session in _sessions(entry):
            yield key, session


Windows = TumblingWindows | SessionWindows
