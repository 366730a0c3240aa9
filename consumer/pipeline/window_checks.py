"""What concerns the kinds of windows: lengths that fit each other, and how many groups an event may open."""

from __future__ import annotations

from collections.abc import Iterable

from consumer.pipeline.durations import UNITS_MS, format_duration
from consumer.pipeline.inspection import Inspection
from consumer.pipeline.problems import Path
from consumer.pipeline.schema import WINDOW_KINDS, LimitsPart, SlidingPart, TumblingPart, WindowPart

WINDOWS_OF_EVENT_MAX = 10_000
"""Sliding windows that an event may be in."""

_HOUR_MS = UNITS_MS["h"]


def check_kind(file: Inspection, path: Path) -> None:
    """Report what is wrong with the kind of the window at a path."""
    file.one_kind(path, WINDOW_KINDS, "one kind of window")
    tumbling = file.part(TumblingPart, (*path, "tumbling"))
    if tumbling is not None:
        _check_tumbling(file, (*path, "tumbling"), tumbling)
    sliding = file.part(SlidingPart, (*path, "sliding"))
    if sliding is not None:
        _check_sliding(file, (*path, "sliding"), sliding)


def _check_tumbling(file: Inspection, path: Path, tumbling: TumblingPart) -> None:
    if tumbling.offset >= tumbling.size:
        file.refuse((*path, "offset"), "must be less than `size`: windows repeat every `size`")
    if tumbling.timezone is not None and tumbling.size < _HOUR_MS:
        file.refuse(
            (*path, "size"),
            "must be at least 1h with a `timezone`: shorter windows are the same everywhere, so leave `timezone` out",
        )


def _check_sliding(file: Inspection, path: Path, sliding: SlidingPart) -> None:
    if sliding.every > sliding.size:
        file.refuse(
            (*path, "every"),
            f"must not be more than `size`, {format_duration(sliding.size)}: events between windows would be in none",
        )
    elif windows_of_event(sliding) > WINDOWS_OF_EVENT_MAX:
        file.refuse(
            (*path, "every"),
            f"puts every event into {windows_of_event(sliding):,} windows, and at most {WINDOWS_OF_EVENT_MAX:,} are "
            f"possible: write at least {format_duration(-(-sliding.size // WINDOWS_OF_EVENT_MAX))}",
        )


def windows_of_event(sliding: SlidingPart) -> int:
    """Return in how many windows an event is at most."""
    return -(-sliding.size // sliding.every)


def check_limits(file: Inspection) -> None:
    """Report a limit on groups that a single event would go beyond, so that none could ever be counted."""
    is_default = not file.has(("limits",))
    limits = LimitsPart() if is_default else file.part(LimitsPart, ("limits",))
    windows = [file.part(WindowPart, path) for _, path in file.keys(("windows",))]
    if limits is None or limits.policy != "reject":
        return
    needed = _groups_of_event(window for window in windows if window is not None)
    if needed > limits.groups:
        file.refuse(
            ("windows",) if is_default else ("limits", "groups"),
            f"an event may open {needed:,} groups, and one that does would be a dead letter: `limits.groups` is "
            f"{limits.groups:,}",
            at_key=is_default,
        )


def _groups_of_event(windows: Iterable[WindowPart]) -> int:
    """Return how many groups an event may open: in all windows that take every event, and in one that takes some."""
    always, sometimes = 0, [0]
    for window in windows:
        groups = 1 if window.sliding is None else windows_of_event(window.sliding)
        if window.where is None:
            always += groups
        else:
            sometimes.append(groups)
    return always + max(sometimes)
