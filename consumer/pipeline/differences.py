"""What differs between the definitions that a state was made with and those of a file, in the words of the file.

Both are texts of `definitions_text`. A difference names the place as messages about the file do, then what stands
there in the one and in the other.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from consumer.pipeline.durations import format_duration
from consumer.pipeline.field_rules import format_path

_NOTHING = "nothing"
_Show = Callable[[Any], str]


def differences(old: str, new: str) -> list[str]:
    """Return lines such as `windows.views.select.n: was count(), is now count(page)`; none if nothing differs."""
    return list(_of_definitions(json.loads(old), json.loads(new)))


def window_names(text: str) -> list[str]:
    """Return the names of the windows that a text tells of."""
    return [window["window"] for window in json.loads(text)["windows"]]


def global_window_names(text: str) -> list[str]:
    """Return the names of those that are global."""
    return [window["window"] for window in json.loads(text)["windows"] if "buckets" in window]


class WindowChanges(NamedTuple):
    """Names of windows, in the order of their files."""

    added: tuple[str, ...]
    removed: tuple[str, ...]


def window_changes(old: str, new: str) -> WindowChanges | None:
    """Return which windows were added and removed; None if anything else differs, the order of the others included."""
    before, after = json.loads(old), json.loads(new)
    was = {window["window"]: window for window in before.pop("windows")}
    now = {window["window"]: window for window in after.pop("windows")}
    kept = [name for name in was if name in now]
    same = before == after and kept == [name for name in now if name in was]
    if not same or any(was[name] != now[name] for name in kept):
        return None
    return WindowChanges(
        added=tuple(name for name in now if name not in was), removed=tuple(name for name in was if name not in now)
    )


def _of_definitions(old: Mapping[str, Any], new: Mapping[str, Any]) -> Iterator[str]:
    for key, (place, show) in _PLAIN.items():
        yield from _plain(place, old[key], new[key], show)
    yield from _plain("limits.groups", old["limits"][0], new["limits"][0], str)
    yield from _plain("limits.policy", old["limits"][1], new["limits"][1], str)
    yield from _named("events.fields", _by_name(old["fields"]), _by_name(new["fields"]), _field)
    yield from _named("let", _by_name(old["lets"]), _by_name(new["lets"]), _expression)
    yield from _windows(old["windows"], new["windows"])
    yield from () if old["version"] == new["version"] else ["the definitions were written by another version"]


def _windows(old: Sequence[Any], new: Sequence[Any]) -> Iterator[str]:
    before = {window["window"]: window for window in old}
    after = {window["window"]: window for window in new}
    for name in (name for name in before if name not in after):
        yield f"windows.{name}: was there, is now removed"
    for name, window in after.items():
        if name in before:
            yield from _window(f"windows.{name}", before[name], window)
        else:
            yield f"windows.{name}: is new"
    kept = [name for name in before if name in after]
    if kept != [name for name in after if name in before]:
        yield f"windows: their order was {', '.join(kept)}"


def _window(place: str, old: Mapping[str, Any], new: Mapping[str, Any]) -> Iterator[str]:
    for key, (name, show) in _OF_WINDOW.items():
        yield from _plain(f"{place}{name}", old[key], new[key], show)
    yield from _plain(f"{place}.combine", old.get("buckets"), new.get("buckets"), _combine)
    yield from _named(f"{place}.select", _by_name(old["select"]), _by_name(new["select"]), _aggregate)


def _plain(place: str, old: Any, new: Any, show: _Show) -> Iterator[str]:
    if old != new:
        yield _told(place, show(old), show(new))


def _named(place: str, old: Mapping[str, Any], new: Mapping[str, Any], show: _Show) -> Iterator[str]:
    """Tell of members that have names, and of their order, which decides that of results' columns."""
    for name in [*old, *(name for name in new if name not in old)]:
        before, after = old.get(name), new.get(name)
        if before != after:
            shown = [_NOTHING if each is None else show(each) for each in (before, after)]
            yield _told(f"{place}.{name}", *shown)
    if old.keys() == new.keys() and list(old) != list(new):
        yield _told(f"{place} (their order)", ", ".join(old), ", ".join(new))


def _told(place: str, old: str, new: str) -> str:
    # Two texts may be equal where only a type differs, which the place of the change has told already.
    return (
        f"{place}: was {old}, is now {new}" if old != new else f"{place}: means something else, though it reads {new}"
    )


def _by_name(members: Sequence[Sequence[Any]]) -> dict[str, Any]:
    return {name: rest for name, *rest in members}


def _duration(value: int | None) -> str:
    return "never" if value is None else format_duration(value)


def _optional(value: str | None) -> str:
    return _NOTHING if value is None else value


def _field(rest: Sequence[Any]) -> str:
    type_, nullable, path, unit = rest
    return f"{type_}{'?' if nullable else ''} at {format_path(tuple(path))}, unit {unit}"


def _combine(buckets: int | None) -> str:
    return "not true" if buckets is None else f"true, buckets: {buckets}"


def _expression(rest: Sequence[Any]) -> str:
    text, type_, nullable = rest
    return f"{text} ({type_}{'?' if nullable else ''})"


def _aggregate(rest: Sequence[Any]) -> str:
    text, type_ = rest
    return f"{text} ({type_})"


def _by(columns: Sequence[Sequence[Any]]) -> str:
    return "[" + ", ".join(f"{name} ({type_}{'?' if nullable else ''})" for name, type_, nullable in columns) + "]"


def _kind(kind: Sequence[Any]) -> str:
    name, *values = kind
    parameters = zip(_PARAMETERS[name], values, strict=True)
    return f"{name} " + ", ".join(
        f"{parameter} {value if parameter == 'timezone' else format_duration(value)}"
        for parameter, value in parameters
        if value is not None
    )


_PARAMETERS = {
    "tumbling": ("size", "offset", "timezone"),
    "sliding": ("size", "every"),
    "session": ("gap", "max_length"),
    "stagger": ("size",),
}
_PLAIN: Mapping[str, tuple[str, _Show]] = {
    "pipeline": ("pipeline", str),
    "partition_key": ("source.partition_key", _optional),
    "format": ("events.format", str),
    "compression": ("events.compression", str),
    "max_bytes": ("events.max_bytes", str),
    "time": ("events.time", _optional),
    "out_of_orderness_ms": ("events.out_of_orderness", _duration),
    "idle_after_ms": ("events.idle_after", _duration),
    "max_future_ms": ("events.max_future", _duration),
    "where": ("where", _optional),
}
_OF_WINDOW: Mapping[str, tuple[str, _Show]] = {
    "kind": ("", _kind),
    "by": (".by", _by),
    "aligned": (" (aligned with source.partition_key)", lambda value: "yes" if value else "no"),
    "window_where": (".where", _optional),
    "allowed_lateness_ms": (".allowed_lateness", _duration),
    "emit": (".emit", str),
}
