"""CSV: a record is one line, or a header line and one line. Quoting as in RFC 4180.

An optional line end follows the last line. An empty line has no columns; columns that no field declares are ignored,
of equal names in a header the last counts. An empty column is null, for a `string` without `?` the empty text; a
column that the line does not have is null as well. A quote counts where a column begins; there, text that does not
close it, or goes on behind it, has the reason invalid_json: there is one reason for "not the format that is declared".

Values are exact, without blanks around them. An int is ASCII digits, a float is what `to_float` takes for one, both
with an optional sign; a bool is true or false in any case; a timestamp that is an int counts its field's unit, so
`20260131` is no date.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from consumer.core.decode_event import flat_event
from consumer.core.decode_json import ReadOne, text_of
from consumer.core.decode_values import checked_float, checked_int, missing, wrong_type
from consumer.core.faults import INVALID_JSON, OUT_OF_RANGE, TOO_LARGE, WRONG_TYPE, Fault
from consumer.pipeline.model import Events, Field, Type

_INT = re.compile(r"([+-]?)(?=[0-9])0*+([0-9]*+)")
_INT_DIGITS_MAX = 19
_FLOAT = re.compile(r"[+-]?(?:[0-9]++(?:\.[0-9]*+)?|\.[0-9]++)(?:[eE][+-]?[0-9]++)?")
_BOOLS = {"true": True, "false": False}
_LINE_END = re.compile(r"\r\n|\r|\n")
_COLUMN = re.compile(r'"([^"]*+(?:""[^"]*+)*+)"|(?!")([^,\r\n]*+)')


def csv_reader(events: Events) -> ReadOne:
    """Return the reader of one record, which raises its Fault."""
    fields, max_bytes = events.fields, events.max_bytes
    event = flat_event(fields)
    places_of = _places(fields)

    def read(data: bytes) -> Any:
        if len(data) > max_bytes:
            raise Fault(TOO_LARGE, f"{len(data)} bytes, at most {max_bytes} are allowed")
        lines = split_lines(text_of(data))
        places = places_of(lines)
        if len(lines) > 1:
            raise Fault(WRONG_TYPE, "more than one line of values")
        columns = lines[0] if lines else []
        width = len(columns)
        return event(
            *[
                _value(field, columns[place] if place is not None and place < width else None)
                for field, place in zip(fields, places, strict=True)
            ]
        )

    return read


def _places(fields: tuple[Field, ...]) -> Callable[[list[list[str]]], list[int | None]]:
    """Return what tells each field's column, from 0; where names are declared it takes the header from the lines."""
    steps = [field.path[0] for field in fields]
    numbers = [step for step in steps if isinstance(step, int)]
    if len(numbers) == len(steps):
        fixed: list[int | None] = [*numbers]
        return lambda _: fixed

    def by_name(lines: list[list[str]]) -> list[int | None]:
        header: dict[str | int, int] = {name: place for place, name in enumerate(lines.pop(0))}
        return [header.get(step) for step in steps]

    return by_name


def split_lines(text: str) -> list[list[str]]:
    """Return the columns of at least one line."""
    text = text[: len(text) - _line_end(text)]
    if '"' not in text:
        return [line.split(",") if line else [] for line in _LINE_END.split(text)]
    lines: list[list[str]] = []
    place = 0
    while True:
        columns, place = _split_line(text, place)
        lines.append(columns)
        end = _LINE_END.match(text, place)
        if end is None:
            return lines
        place = end.end()


def _line_end(text: str) -> int:
    """Return how many characters the last line end has."""
    return 2 if text.endswith("\r\n") else 1 if text.endswith(("\r", "\n")) else 0


def _split_line(text: str, place: int) -> tuple[list[str], int]:
    """Return the columns of the line at a place, and the place of its end."""
    if place == len(text) or text[place] in "\r\n":
        return [], place
    columns: list[str] = []
    while True:
        match = _COLUMN.match(text, place)
        if match is None:
            raise Fault(INVALID_JSON, "a quote is not closed")
        columns.append(match[2] if match[1] is None else match[1].replace('""', '"'))
        place = match.end()
        if place == len(text) or text[place] in "\r\n":
            return columns, place
        if text[place] != ",":
            raise Fault(INVALID_JSON, "text behind a closing quote")
        place += 1


def _value(field: Field, column: str | None) -> object:
    if column:
        return _READERS[field.type](field, column)
    if field.nullable:
        return None
    if column is None or field.type is not Type.STRING:
        raise missing(field)
    return column


def _string(_: Field, column: str) -> str:
    return column


def _int(field: Field, column: str) -> int:
    match = _INT.fullmatch(column)
    if match is None:
        raise wrong_type(field, "an int")
    if len(match[2]) > _INT_DIGITS_MAX:
        raise Fault(OUT_OF_RANGE, f"{field.name} is beyond 64 bits")
    return checked_int(field, int(match[1] + (match[2] or "0")))


def _float(field: Field, column: str) -> float:
    if not _FLOAT.fullmatch(column):
        raise wrong_type(field, "a number")
    return checked_float(field, float(column))


def _bool(field: Field, column: str) -> bool:
    value = _BOOLS.get(column.lower())
    if value is None:
        raise wrong_type(field, "true or false")
    return value


def _timestamp(field: Field, column: str) -> str | int:
    return _int(field, column) if _INT.fullmatch(column) else column


_READERS: dict[Type, Callable[[Field, str], object]] = {
    Type.STRING: _string,
    Type.INT: _int,
    Type.FLOAT: _float,
    Type.BOOL: _bool,
    Type.TIMESTAMP: _timestamp,
}
