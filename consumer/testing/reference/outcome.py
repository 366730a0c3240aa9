"""What the interpreter says must come out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import msgspec

from consumer.pipeline.model import Pipeline, Window
from consumer.records import Row
from consumer.testing.reference.values import Value
from consumer.testing.reference.windows import Span

DETAIL_CHARACTERS_MAX = 500

WindowHash = Callable[[Pipeline, Window], str]
"""Gives the hash of a window's definition that is part of the ids."""


@dataclass(frozen=True, slots=True)
class Idle:
    """An input like a record: at this moment of the consumer's clock it was decided that the shard has nothing left."""

    now_ms: int


@dataclass(frozen=True, slots=True)
class Adoption:
    """An input like a record: from here on the definitions are these.

    Windows of the same hash go on with what is open of them, others begin empty. What is open of windows that are no
    more is flushed if their hash is among the `flushed`, else dropped.
    """

    pipeline: Pipeline
    window_hash: WindowHash
    flushed: frozenset[str]


@dataclass(frozen=True, slots=True)
class OpenWindow:
    """A window that is kept: it is not due, or still open to late events.

    `by` are its group's values, `events` how many it has.
    """

    window: str
    start_ms: int
    end_ms: int
    by: tuple[Value, ...]
    events: int


@dataclass(frozen=True, slots=True)
class Contributed:
    """What the events of one shard, the origin, are in a global window: `history` as that of a span (windows.py)."""

    window_hash: str
    origin: str
    start_ms: int
    end_ms: int
    key: tuple[Value, ...]
    history: list[Any]

    @property
    def events(self) -> int:
        """Return how many events are in it."""
        return len(Span(self.start_ms, self.end_ms, self.history).events())


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """A record that must be a dead letter.

    `reason` is the first fault in the contract's order, `reasons` all that were found: of several faults any
    is a right reason. `members` is the row without `reason` and `detail`.
    """

    reason: str
    reasons: frozenset[str]
    members: dict[str, Any]

    @property
    def id(self) -> str:
        """Return the row's id."""
        return str(self.members["id"])

    def matches(self, row: bytes) -> bool:
        """Tell whether a row is this dead letter: all members in order, a right reason, some short detail."""
        try:
            actual = msgspec.json.decode(row, type=dict[str, Any])
        except msgspec.DecodeError:
            return False
        detail = actual.get("detail")
        if actual.get("reason") not in self.reasons or not isinstance(detail, str):
            return False
        expected = {
            "id": self.members["id"],
            "reason": actual["reason"],
            "pipeline": self.members["pipeline"],
        }
        expected |= {"detail": detail} | self.members
        return len(detail) <= DETAIL_CHARACTERS_MAX and row == msgspec.json.encode(expected)


@dataclass(slots=True)
class Expected:
    """All that one shard's records must lead to.

    `rows` are the results in order, and `row_events` how many events each is made of; those of global windows come of
    what all shards `contributed`, by `combining`. `late` and `dead_letters`
    are empty where the pipeline names no place for them; they are counted all the same. For every window, `received`
    is the sum of its `in_windows` and `late_events`, of those `outside` by its own `where`, of `filtered` and of all
    `dead_lettered`; an event is in or late for several sliding windows, and counted for each. Records at or before
    an earlier position are `replayed` and nothing else.
    """

    shard: str
    received: int = 0
    replayed: int = 0
    filtered: int = 0
    outside: Counter[str] = field(default_factory=Counter)
    in_windows: Counter[str] = field(default_factory=Counter)
    late_events: Counter[str] = field(default_factory=Counter)
    dead_lettered: Counter[str] = field(default_factory=Counter)
    watermark_ms: int | None = None
    rows: list[Row] = field(default_factory=list)
    row_events: list[int] = field(default_factory=list)
    late: list[Row] = field(default_factory=list)
    dead_letters: list[DeadLetter] = field(default_factory=list)
    contributed: list[Contributed] = field(default_factory=list)
    open_windows: list[OpenWindow] = field(default_factory=list)
