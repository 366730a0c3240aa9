"""Where each field's value stands in an event, and that no two fields ask for places which exclude each other."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from consumer.pipeline.field_rules import format_path
from consumer.pipeline.schema import FieldPart

Place = tuple[str | int, ...]


def places(format_: str, fields: Mapping[str, FieldPart]) -> dict[str, Place]:
    """Return the path of each field: as the file says, or by its name, or in csv without a header by its turn."""
    if format_ != "csv":
        return {name: part.path or (name,) for name, part in fields.items()}
    if has_header(fields.values()):
        return {name: (name if part.column is None else part.column,) for name, part in fields.items()}
    return {
        name: (turn if part.column is None else int(part.column) - 1,)
        for turn, (name, part) in enumerate(fields.items())
    }


def has_header(fields: Iterable[FieldPart]) -> bool:
    """Tell whether the first line of a csv record names its columns: it does if any field is found by name."""
    return any(isinstance(part.column, str) for part in fields)


@dataclass
class _Branch:
    """A place in an event. `reader` is a field that reads it; `through`, one that reads it or something inside it."""

    through: str
    reader: str | None = None
    steps: dict[str | int, _Branch] = field(default_factory=dict)


def conflicts(paths: Mapping[str, Place]) -> Iterator[tuple[str, str]]:
    """Yield each field that cannot be read beside one before it, and why."""
    root = _Branch("")
    for name, path in paths.items():
        reason = _enter(root, name, path)
        if reason is not None:
            yield name, reason


def _enter(root: _Branch, name: str, path: Place) -> str | None:
    """Add a path to the tree; return why it does not fit, None if it does."""
    branch = root
    for length, step in enumerate(path):
        if branch.reader is not None:
            return f"lies inside {format_path(path[:length])}, which `{branch.reader}` reads as one value"
        # One of the steps stands for all: a path whose step is of the other kind never gets in.
        other = next(iter(branch.steps), step)
        if type(other) is not type(step):
            kinds = ("a list", "an object") if isinstance(step, int) else ("an object", "a list")
            through = branch.steps[other].through
            return f"takes {format_path(path[:length])} for {kinds[0]}, and `{through}` takes it for {kinds[1]}"
        branch = branch.steps.setdefault(step, _Branch(name))
    if branch.reader is not None:
        return f"reads {format_path(path)}, as `{branch.reader}` does: give a value another name by `let`"
    if branch.steps:
        return f"reads {format_path(path)} as one value, and `{branch.through}` reads inside it"
    branch.reader = name
    return None
