"""What concerns sinks: one kind each, windows that exist, and no window without a sink."""

from __future__ import annotations

from typing import Any

from consumer.pipeline import tree
from consumer.pipeline.inspection import Inspection
from consumer.pipeline.problems import Path
from consumer.pipeline.schema import SINK_KINDS
from consumer.pipeline.wording import shorten, suggestion

_ONE_SINK = "one kind of sink"
_NAME_IT = "name it in `windows` of a sink, or give one without"


def check_sinks(file: Inspection) -> None:
    """Report what is wrong with the sinks of results, late events and dead letters."""
    for place in ("late", "dead_letter"):
        file.one_kind((place,), SINK_KINDS, _ONE_SINK)
    written = file.at("sinks")
    if not isinstance(written, list):
        return
    _check_targets(file, written)
    if _check_routes(file, written):
        _check_coverage(file, written)


def _check_targets(file: Inspection, sinks: list[Any]) -> None:
    targets: list[Any] = []
    for number, sink in enumerate(sinks):
        path: Path = ("sinks", number)
        if isinstance(sink, dict):
            file.one_kind(path, SINK_KINDS, _ONE_SINK)
        target = {kind: sink[kind] for kind in SINK_KINDS if kind in sink} if isinstance(sink, dict) else None
        if target and target in targets:
            file.refuse(path, f"is the same as sinks[{targets.index(target)}]: name it once, with all its windows")
        targets.append(target)


def _check_routes(file: Inspection, sinks: list[Any]) -> bool:
    """Check the names in `windows` of sinks; False if it is not known which windows they mean."""
    there = [name for name, _ in file.keys(("windows",))]
    known = [*there, *(name for name, _ in file.keys(("state", "removed_windows")))]
    certain = isinstance(file.at("windows"), dict)
    for number, sink in enumerate(sinks):
        names = sink.get("windows", there) if isinstance(sink, dict) else None
        if not isinstance(names, list) or names == [] or tree.is_broken_below(file.root, ("sinks", number)):
            certain = False
            continue
        for index, name in enumerate(names):
            path: Path = ("sinks", number, "windows", index)
            if name in names[:index]:
                file.refuse(path, f"`{shorten(str(name))}` stands twice")
            elif there and isinstance(name, str) and name not in known:
                certain = False
                file.refuse(path, f"there is no window `{shorten(name)}`{suggestion(name, known)}")
    return certain


def _check_coverage(file: Inspection, sinks: list[Any]) -> None:
    if not sinks or any("windows" not in sink for sink in sinks):
        return
    taken = {name for sink in sinks for name in sink["windows"] if isinstance(name, str)}
    for name, path in file.keys(("windows",)):
        if name not in taken:
            file.refuse(path, f"no sink takes this window: {_NAME_IT}", at_key=True)
    for name, path in file.keys(("state", "removed_windows")):
        if name not in taken and file.at(*path) == "flush":
            file.refuse(path, f"no sink takes what is flushed of this window: {_NAME_IT}", at_key=True)
