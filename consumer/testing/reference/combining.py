"""Rows of global windows: what the shards counted of one, put together.

1. A shard contributes what its own events are in a window, each its part, when its row would be due there.
2. A window is complete when it is due by the watermark of every shard that is still read.
3. A complete window gives one row a group. Its events are those of all parts, one origin after the other in the order
   of their names: of equal events that of the first one is first. Sums and moments are those of each part, added up.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from consumer.pipeline.model import Pipeline, Window
from consumer.records import Row
from consumer.testing.reference.outcome import Contributed, Expected, WindowHash
from consumer.testing.reference.rows import RowMaker, key_order
from consumer.testing.reference.windows import Event, Span


@dataclass(slots=True)
class Combined:
    """Rows of global windows, in order of window, end, start and key; `row_events`: how many events each is made of."""

    rows: list[Row] = field(default_factory=list)
    row_events: list[int] = field(default_factory=list)


def complete_until(shards: Iterable[Expected]) -> float:
    """Return the watermark by which global windows are complete, of the shards that are still read."""
    return min((-math.inf if each.watermark_ms is None else each.watermark_ms for each in shards), default=-math.inf)


def reference_combined(
    pipeline: Pipeline,
    generation: int,
    shards: Iterable[Expected],
    window_hash: WindowHash,
    *,
    until_ms: float = math.inf,
) -> Combined:
    """Return the rows of a pipeline's global windows that are due by a watermark: of all shards that there have been.

    What was contributed to windows of other definitions is left out.
    """
    parts: dict[str, list[Contributed]] = defaultdict(list)
    for shard in shards:
        for part in shard.contributed:
            parts[part.window_hash].append(part)
    rows = RowMaker(pipeline, "", generation, window_hash)
    combined = Combined()
    for window in pipeline.windows:
        for group in _groups(window, parts[window_hash(pipeline, window)], until_ms):
            span = Span(group[0].start_ms, group[0].end_ms, _in_order(group))
            combined.rows.append(rows.result(window, None, group[0].key, span, None, final=True, early=False))
            combined.row_events.append(len(span.events()))
    return combined


def _groups(window: Window, parts: Iterable[Contributed], until_ms: float) -> Iterator[list[Contributed]]:
    """Yield the parts of each group that is due, in the order of their origins."""
    groups: dict[tuple[Any, ...], list[Contributed]] = defaultdict(list)
    for part in parts:
        if part.end_ms - 1 + window.allowed_lateness_ms <= until_ms:
            groups[part.end_ms, part.start_ms, key_order(part.key)].append(part)
    for _, group in sorted(groups.items(), key=lambda item: item[0]):
        origins = sorted(group, key=lambda part: part.origin)
        assert len({part.origin for part in origins}) == len(origins), "a part was contributed twice"
        yield origins


def _in_order(parts: Sequence[Contributed]) -> list[Any]:
    """Return the parts as one history, whose events are numbered on from part to part."""
    history: list[Any] = []
    first = 0
    for part in parts:
        history.append(_renumbered(part.history, first))
        first += 1 + max(event.number for event in Span(0, 0, part.history).events())
    return history


def _renumbered(history: Sequence[Any], first: int) -> list[Any]:
    return [
        item._replace(number=first + item.number) if isinstance(item, Event) else _renumbered(item, first)
        for item in history
    ]
