"""What the open windows of one shard have in common: panes.py, sliding.py and keyed.py have the kinds.

Rule 1: `dirty` holds the groups that changed since the last commit, which encodes them alone. In panes a group that is
touched moves there from `clean`, and a commit folds them into `clean` again; of keyed windows see keyed.py.
Rule 2: what ended leaves nothing behind but its name, until the next commit has told the store.
Rule 3: whatever is due is closed before the next record is looked at, so whatever is held is not late. A window is
  emitted at the watermark `end - 1` (with `emit: final` only when it is dropped), and dropped `lateness` later.
Rule 4: while the closing of many windows is under way (`close` gives no more than it is asked for), no record is
  looked at. What is left is due by the watermark, so a restored state goes on with it.

Keys are what the generated code makes of a window's `by`: the value itself, or a tuple. Groups are objects with a
slot an accumulator and, where a window needs them, what group_code.py lists.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

NEVER_MS = 2**62
"""Later than any time."""
END_MS = NEVER_MS - 1
"""The watermark of a shard whose input has ended."""
LONG_AGO_MS = -(2**62)
"""Earlier than any time: the watermark of a shard that has seen nothing."""

Group = Any
Key = Hashable
Packed = list[Any]
Keeps = Callable[[Key], bool]
"""Whether a key is one of those asked for."""
FloorOf = Callable[[Key], int]
"""The watermark that the group of a key has reached in an earlier shard (resharding.py)."""


def ANY(_key: Key) -> bool:  # noqa: N802 - a constant that happens to be a function
    """Keep every key."""
    return True


def NO_FLOOR(_key: Key) -> int:  # noqa: N802 - a constant that happens to be a function
    """Return what the groups of most shards have: no floor."""
    return LONG_AGO_MS


class Due(NamedTuple):
    """A group of the window [start_ms, end_ms) whose row is due. `revision` and `part` are the row's."""

    end_ms: int
    start_ms: int
    key: Key
    group: Group
    revision: int = 0
    part: int | None = None


class Room:
    """How many more groups a shard may open, all its windows together."""

    __slots__ = ("left",)

    def __init__(self, left: int) -> None:
        self.left = left


@dataclass(frozen=True, slots=True)
class Keep:
    """How long windows are kept: `lateness_ms` beyond their end; `updates` tells whether late events give rows."""

    lateness_ms: int = 0
    updates: bool = False

    @property
    def emit_delay_ms(self) -> int:
        """Return how long after a window's end its first row is due."""
        return 0 if self.updates else self.lateness_ms


@dataclass(frozen=True, slots=True)
class Shape:
    """What the generated code knows of a window's groups.

    `merge` adds a later group to an earlier one. `pack` makes a list of plain values of a key and a group, `unpack`
    the pair again; `pack_rows` does so with many that are in a pane, whose start each row then begins with (in windows
    without panes it is None, and in no row), and `unpack_rows` yields start, key and group. `order` makes keys
    comparable: null first. `partition_key` returns the partition key of a group's events, by the group's key; None in
    windows that are not aligned.
    """

    new: Callable[[], Group]
    merge: Callable[[Group, Group], None]
    pack: Callable[[Key, Group], Packed]
    unpack: Callable[[Packed], tuple[Key, Group]]
    pack_rows: Callable[[int | None, Iterable[tuple[Key, Group]]], list[Packed]]
    unpack_rows: Callable[[list[Packed]], Iterator[tuple[Any, Key, Group]]]
    pack_key: Callable[[Key], Packed]
    unpack_key: Callable[[Packed], Key]
    order: Callable[[Key], Any]
    partition_key: Callable[[Key], str] | None = None

    def due_order(self, due: Due) -> Any:
        """Return what rows that are due at once are ordered by."""
        return due.end_ms, due.start_ms, self.order(due.key)


class Windows(Protocol):
    """The open windows of one definition in one shard. `layout` says what is where in their changes."""

    layout: str

    def due_ms(self) -> int:
        """Return a watermark below which nothing is due, emitted or dropped."""

    def close(self, watermark_ms: int, rows_max: int) -> list[Due]:
        """Return what is due by the watermark, in order, and drop what need not be kept; at most so many rows.

        Fewer rows than asked for mean that nothing is left to be closed.
        """

    def joins(self, key: Key, time_ms: int, watermark_ms: int) -> list[list[Group]]:
        """Return, for each window an event would be in, the groups there that it would be put together with.

        An empty list stands for a group that the event would open. Windows it is late for are left out.
        """

    def open_count(self) -> int:
        """Return how many groups are open."""

    def key_count(self) -> int:
        """Return how many keys have a group open: of windows that start at fixed times, in the start with the most."""

    def dirty_count(self) -> int:
        """Return how many entries the next delta would hold."""

    def changes(self, *, everything: bool, keep: Keeps = ANY) -> Packed:
        """Return as plain values what changed since the last fold, or everything, of the keys that are to be kept.

        What did not change is not looked at.
        """

    def fold(self) -> None:
        """Make what was dirty clean: it has been stored."""

    def restore(self, changes: Packed) -> None:
        """Apply stored changes, or a part of them: the rows may come in several, after all that is gone in panes."""

    def inherit(self, changes: Packed) -> None:
        """Add what a parent held of keys that no other parent holds."""

    def settle(self, watermark_ms: int, floor_ms: FloorOf, /) -> None:
        """Find out what is due when: all stored changes have been applied."""


class EvictingWindows(Windows, Protocol):
    """Windows whose groups may be emitted early."""

    def earliest(self) -> tuple[int, int, Any] | None:
        """Return end, start and key order of the group that ends first, None if there is none."""

    def evict(self) -> Due:
        """Drop the group that ends first, and return it; what opens it again is its next part."""

    def part(self, key: Key, start_ms: int, group: Group, /) -> int | None:
        """Return the part that a group is; None if none of its name was emitted early."""
