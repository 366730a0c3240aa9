"""Contributions put together by the core, whichever shards they are of."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable

from consumer.core.compile import Program
from consumer.core.contributions import Contribution, combined, decode
from consumer.records import CONTRIBUTION, Row


def contributions_of(rows: Iterable[Row]) -> list[Contribution]:
    """Return the contributions among a shard's rows."""
    return [decode(row.data) for row in rows if row.output == CONTRIBUTION]


def combined_rows(
    program: Program, contributions: Iterable[Contribution], until_ms: float = math.inf, *, apart: bool = False
) -> list[Row]:
    """Return the rows of the windows that are due by a watermark, in order of window, end and start, then key.

    `apart`: each bucket for itself, one after the other.
    """
    numbers = {window.hash: number for number, window in enumerate(program.windows)}
    windows: dict[tuple[int, int, int, int], list[Contribution]] = defaultdict(list)
    for each in contributions:
        number = numbers[each.window_hash]
        if each.end_ms - 1 + program.windows[number].window.allowed_lateness_ms <= until_ms:
            windows[number, each.end_ms, each.start_ms, each.bucket * apart].append(each)
    return [row for place, window in sorted(windows.items()) for row in combined(program.windows[place[0]], window)]
