"""Rows of global windows where no store is: what shards contribute is kept in memory and put together there."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby
from typing import NamedTuple

from consumer.core.compile import Program
from consumer.core.contributions import Contribution, combined, decode
from consumer.core.counts import count
from consumer.records import CONTRIBUTION, Row


class _Place(NamedTuple):
    """A window: the number of its definition, its end and its start. They come in this order."""

    number: int
    end_ms: int
    start_ms: int


class GlobalRows:
    """What several shards contribute to the global windows of a pipeline."""

    def __init__(self, program: Program) -> None:
        self._any = bool(program.combined)
        self._windows = program.windows
        self._numbers = {window.hash: number for number, window in enumerate(program.windows)}
        self._contributions: dict[_Place, list[Contribution]] = defaultdict(list)

    def without(self, rows: Sequence[Row]) -> Sequence[Row]:
        """Keep the contributions among a shard's rows, and return the others."""
        if not self._any:
            return rows
        for row in rows:
            if row.output == CONTRIBUTION:
                each = decode(row.data)
                self._contributions[self._place(each)].append(each)
        return [row for row in rows if row.output != CONTRIBUTION]

    def complete(self, until_ms: float = math.inf) -> Iterator[list[Row]]:
        """Yield the rows of each window that is due by a watermark, in order; what they were made of is let go."""
        for place in sorted(self._contributions):
            window = self._windows[place.number]
            if window.due_ms(place.end_ms) <= until_ms:
                yield combined(window, self._contributions.pop(place))

    def waiting(self) -> dict[str, int]:
        """Return how many groups of each window have been contributed to and are kept."""
        groups: dict[str, int] = {}
        for place, contributions in self._contributions.items():
            window = self._windows[place.number]
            count(groups, window.window.name, len(combined(window, contributions)))
        return groups

    def _place(self, contribution: Contribution) -> _Place:
        return _Place(self._numbers[contribution.window_hash], contribution.end_ms, contribution.start_ms)


def alone(program: Program, rows: Iterable[Row]) -> Iterator[Row]:
    """Yield the rows of a shard that is its stream's only one: a window is complete when it has contributed to it."""
    windows = {window.hash: window for window in program.windows}
    for of, neighbours in groupby(rows, key=_window_of):
        if of is None:
            yield from neighbours
        else:
            yield from combined(windows[of[0]], [decode(row.data) for row in neighbours])


def _window_of(row: Row) -> tuple[str, int, int] | None:
    """Return which window a row is a contribution to; None if it is a row."""
    if row.output != CONTRIBUTION:
        return None
    contribution = decode(row.data)
    return contribution.window_hash, contribution.end_ms, contribution.start_ms
