"""What windows are open in a shard, and when they end: for people who look into a state. The loop never asks."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from consumer.core.compile import WindowProgram
from consumer.core.keyed import KeyedWindows
from consumer.core.panes import TumblingWindows
from consumer.core.windows import Windows
from consumer.pipeline.model import Sliding


class OpenWindows(NamedTuple):
    """The open windows of one definition that hold the events of one shard, their origin.

    `groups` of them are open; the first to end ends at `first_end_ms`, the last at `last_end_ms` (None: none is open).
    """

    window: str
    origin: str
    groups: int
    first_end_ms: int | None
    last_end_ms: int | None


def open_windows(program: WindowProgram, origin: str, windows: Windows) -> OpenWindows:
    """Count the open groups and find out when they end. Costs as much as encoding them."""
    ends = list(_ends_ms(program, windows)) if windows.open_count() else []
    return OpenWindows(
        program.window.name, origin, windows.open_count(), min(ends, default=None), max(ends, default=None)
    )


def _ends_ms(program: WindowProgram, windows: Windows) -> Iterator[int]:
    changes, kind = windows.changes(everything=True), program.window.kind
    if isinstance(windows, KeyedWindows):
        for values in changes[1]:
            yield windows.end_ms(program.shape.unpack(values)[1])
    elif isinstance(windows, TumblingWindows):  # also sliding windows, where groups may be emitted early
        for start_ms, *_ in changes[2]:
            yield windows.bounds(start_ms)[1]
    else:
        assert isinstance(kind, Sliding)
        for start_ms in changes[3]:
            yield start_ms + kind.size_ms
