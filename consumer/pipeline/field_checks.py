"""What concerns the places of fields in an event: paths, units and columns that fit the format and each other."""

from __future__ import annotations

from consumer.pipeline import layout
from consumer.pipeline.inspection import Inspection
from consumer.pipeline.model import Type
from consumer.pipeline.problems import Path
from consumer.pipeline.schema import FieldPart

_FORMATS = ("json", "msgpack", "csv")


def check_fields(file: Inspection) -> None:
    """Report paths, units and columns that cannot be."""
    parts = {name: file.part(FieldPart, path) for name, path in file.keys(("events", "fields"))}
    known = {name: part for name, part in parts.items() if part is not None}
    for name, part in known.items():
        _check_unit(file, name, part)
    format_ = _format(file)
    if format_ is None:
        return
    misplaced = {name for name, part in known.items() if _is_misplaced(file, format_, name, part)}
    if format_ != "csv":
        _check_paths(file, {name: part for name, part in known.items() if name not in misplaced})
    elif len(known) == len(parts) and not misplaced and not _is_mixed(file, known):
        # Columns go by turn, so one field that is not known leaves the others without a place.
        _check_columns(file, known)


def _format(file: Inspection) -> str | None:
    """Return the format of events, None if the file does not let us know."""
    path: Path = ("events", "format")
    if not file.has(path):
        return None if path in file.explained else "json"
    format_ = file.at(*path)
    return format_ if isinstance(format_, str) and format_ in _FORMATS else None


def _check_unit(file: Inspection, name: str, part: FieldPart) -> None:
    type_ = part.type.removesuffix("?")
    if part.unit is not None and type_ != Type.TIMESTAMP:
        file.refuse(_of(name, "unit"), f"says what a timestamp counts, and `{name}` is of type {type_}: leave it out")


def _is_misplaced(file: Inspection, format_: str, name: str, part: FieldPart) -> bool:
    """Report a path in csv, or a column elsewhere."""
    if format_ == "csv" and part.path is not None:
        file.refuse(_of(name, "path"), "a csv record has no members: write `column: 3` or `column: NAME`")
        return True
    if format_ != "csv" and part.column is not None:
        file.refuse(_of(name, "column"), f"a {format_} event has no columns: write `path: user.id`")
        return True
    return False


def _check_paths(file: Inspection, fields: dict[str, FieldPart]) -> None:
    for name, reason in layout.conflicts(layout.places("json", fields)):
        file.refuse(_of(name, "path"), reason, at_key=fields[name].path is None)


def _is_mixed(file: Inspection, fields: dict[str, FieldPart]) -> bool:
    """Report columns by number beside columns by name."""
    columns = {name: part.column for name, part in fields.items() if part.column is not None}
    first = next(iter(columns), None)
    mixed = [name for name in columns if type(columns[name]) is not type(columns[first or name])]
    for name in mixed:
        kinds = ("number", "name") if isinstance(columns[name], int) else ("name", "number")
        file.refuse(
            _of(name, "column"),
            f"is a {kinds[0]}, and that of `{first}` is a {kinds[1]}: write numbers for all fields, or names for all",
        )
    return bool(mixed)


def _check_columns(file: Inspection, fields: dict[str, FieldPart]) -> None:
    readers: dict[layout.Place, str] = {}
    for name, place in layout.places("csv", fields).items():
        other = readers.setdefault(place, name)
        if other == name:
            continue
        (column,) = place
        shown = f"column {column + 1}" if isinstance(column, int) else f"the column {column}"
        by_turn = any(fields[each].column is None for each in (name, other)) and isinstance(column, int)
        remedy = "; a field without `column` has the column of its turn" if by_turn else ""
        file.refuse(
            _of(name, "column"), f"reads {shown}, as `{other}` does{remedy}", at_key=fields[name].column is None
        )


def _of(name: str, key: str) -> Path:
    return ("events", "fields", name, key)
