"""Expected rows beside those that came: what fits, what is missing, what is too much, and what differs."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from consumer.entrypoints.unit_tests.definitions import ExpectedRow

RELATIVE_TOLERANCE = 1e-9
ABSOLUTE_TOLERANCE = 1e-12
"""How far a float may be from the one expected: the rounding of a sum is nobody's specification."""

_CELLS_MAX = 1_000_000
"""More rows than this, beside one another, are paired in their order, without looking for the best fit."""

ActualRow = Mapping[str, Any]
"""A row's JSON."""


@dataclass(frozen=True, slots=True)
class Pair:
    """An expected row and the one that came in its place; None where there is none. `differing` names columns."""

    expected: ExpectedRow | None
    actual: ActualRow | None
    differing: tuple[str, ...] = ()

    @property
    def fits(self) -> bool:
        """Tell whether the row is as expected."""
        return self.expected is not None and self.actual is not None and not self.differing


def compare(expected: Sequence[ExpectedRow], actual: Sequence[ActualRow]) -> list[Pair]:
    """Return all rows of both sides in order, as many as possible of them fitting."""
    if len(expected) * len(actual) > _CELLS_MAX:
        return list(_between(expected, actual))
    differing = [[_differing(row, came) for came in actual] for row in expected]
    pairs: list[Pair] = []
    row = came = 0
    for next_row, next_came in [*_longest_fit(differing, len(actual)), (len(expected), len(actual))]:
        pairs += _between(expected[row:next_row], actual[came:next_came])
        if next_row < len(expected):
            pairs.append(Pair(expected[next_row], actual[next_came]))
        row, came = next_row + 1, next_came + 1
    return pairs


def _longest_fit(differing: list[list[tuple[str, ...]]], width: int) -> Iterator[tuple[int, int]]:
    """Yield the pairs of indexes of a longest common subsequence of rows that fit."""
    height = len(differing)
    # lengths[i][j]: how many pairs fit in the rows from i on beside those from j on
    lengths = [[0] * (width + 1) for _ in range(height + 1)]
    for i in reversed(range(height)):
        for j in reversed(range(width)):
            skipping = max(lengths[i + 1][j], lengths[i][j + 1])
            lengths[i][j] = skipping if differing[i][j] else max(skipping, 1 + lengths[i + 1][j + 1])
    i = j = 0
    while i < height and j < width:
        if not differing[i][j] and lengths[i][j] == 1 + lengths[i + 1][j + 1]:
            yield i, j
            i, j = i + 1, j + 1
        elif lengths[i + 1][j] >= lengths[i][j + 1]:
            i += 1
        else:
            j += 1


def _between(expected: Sequence[ExpectedRow], actual: Sequence[ActualRow]) -> Iterator[Pair]:
    """Pair the rows between two that fit: each expected one with the first that came of the same window."""
    left = list(actual)
    for row in expected:
        place = next((index for index, came in enumerate(left) if _same_window(row, came)), None)
        if place is None:
            yield Pair(row, None)
            continue
        for came in left[:place]:
            yield Pair(None, came)
        yield Pair(row, left[place], _differing(row, left[place]))
        del left[: place + 1]
    for came in left:
        yield Pair(None, came)


def _same_window(row: ExpectedRow, came: ActualRow) -> bool:
    return row.window is None or row.window == came["window"]


def _differing(row: ExpectedRow, came: ActualRow) -> tuple[str, ...]:
    return tuple(name for name, value in row.columns.items() if not _equal(value, came.get(name)))


def _equal(expected: Any, actual: Any) -> bool:
    if isinstance(expected, float) and isinstance(actual, float):
        return math.isclose(expected, actual, rel_tol=RELATIVE_TOLERANCE, abs_tol=ABSOLUTE_TOLERANCE)
    if isinstance(expected, list) and isinstance(actual, list):
        return len(expected) == len(actual) and all(map(_equal, expected, actual))
    if isinstance(expected, dict) and isinstance(actual, dict):
        return all(name in actual and _equal(value, actual[name]) for name, value in expected.items())
    return type(expected) is type(actual) and bool(expected == actual)
