"""What global windows are held to: what cannot be combined over shards is refused, each with what to write instead."""

from __future__ import annotations

from collections.abc import Iterable

from consumer.pipeline.inspection import Inspection
from consumer.pipeline.model import Aggregate
from consumer.pipeline.problems import Path

_KINDS = {
    "session": "events in other shards may join two sessions of one",
    "stagger": "it begins with an event, in each shard with another one",
}
"""Kinds whose windows are not the same ones in all shards, each with why."""


def can_be_global(file: Inspection, path: Path) -> bool:
    """Tell whether the kind of the window at a path can be combined over shards."""
    return not any(file.has((*path, kind)) for kind in _KINDS)


def check_combine(file: Inspection, path: Path, columns: Iterable[Aggregate]) -> None:
    """Report what is wrong with a window that is not aligned and says `combine`, and with its `buckets`."""
    if file.at(*path, "combine") is True:
        _check_global(file, path)
        _check_columns(file, path, columns)
    elif file.at(*path, "combine") is False:
        check_no_buckets(file, path, "write `combine: true`, or leave it out")


def check_no_buckets(file: Inspection, path: Path, remedy: str) -> None:
    """Report `buckets` of a window that is not global."""
    if file.has((*path, "buckets")):
        file.refuse((*path, "buckets"), f"only global windows are combined in buckets: {remedy}", at_key=True)


def _check_global(file: Inspection, path: Path) -> None:
    for kind, why in _KINDS.items():
        if file.has((*path, kind)):
            file.refuse(
                (*path, "combine"),
                f"a {kind} window cannot be combined over shards, as {why}: write `combine: false`, for one row a "
                "shard, or make the window tumbling or sliding",
            )
    if file.at(*path, "emit") == "updates":
        file.refuse(
            (*path, "emit"),
            "a global window gives final rows alone, which `allowed_lateness` delays: write `emit: final`, or leave "
            "it out",
        )


def _check_columns(file: Inspection, path: Path, columns: Iterable[Aggregate]) -> None:
    if file.has((*path, "sliding")):
        return  # There it is refused in any case.
    for column in columns:
        if "reject" in column.parameters:
            file.refuse(
                (*path, "select", column.name),
                "count_distinct with 'reject' cannot be in a global window, whose parts are put together only when "
                "it has ended: write 'approximate', or leave it out",
            )


def check_policy(file: Inspection) -> None:
    """Report `emit_early` in a file with global windows."""
    windows = [f"`{name}`" for name, path in file.keys(("windows",)) if file.at(*path, "combine") is True]
    if windows and file.at("limits", "policy") == "emit_early":
        file.refuse(
            ("limits", "policy"),
            f"of global windows ({', '.join(windows)}) only whole ones are combined, so nothing of them can be "
            "emitted early: write `reject`, or `combine: false` there",
        )
