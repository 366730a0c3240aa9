"""JSON: two readers, the same events and the same faults.

The fast one (msgspec, in C) takes whatever is plainly right; everything else goes to the slow one, which either
returns the event after all (of duplicate members the last counts) or says what is wrong.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from typing import Annotated, Any, NoReturn

import msgspec

from consumer.core.decode_event import flat_event, typed_event
from consumer.core.decode_values import field_values
from consumer.core.faults import INVALID_JSON, INVALID_UTF8, TOO_DEEP, TOO_LARGE, Fault
from consumer.core.functions import INT_MAX, INT_MIN
from consumer.pipeline.model import Events, Field, Type
from consumer.records import Record

DEPTH_MAX = 100
UNDECODABLE = (msgspec.MsgspecError, UnicodeDecodeError)
"""What msgspec raises."""
INT64 = Annotated[int, msgspec.Meta(ge=INT_MIN, le=INT_MAX)]

_WIRE_TYPES: dict[Type, Any] = {
    Type.STRING: str,
    Type.INT: INT64,
    Type.FLOAT: float,
    Type.BOOL: bool,
    Type.TIMESTAMP: INT64 | str,
}
_SHALLOW_BYTES = 2 * DEPTH_MAX
"""A JSON text of no more bytes has no more levels than DEPTH_MAX: each takes two brackets."""
_SHALLOW_OBJECTS_BYTES = 5 * DEPTH_MAX
"""The same for a text without arrays: what an object stands in is at least `{"":}`."""
_INT_DIGITS_MAX = 400
"""No float is longer."""
_HUGE = 10**_INT_DIGITS_MAX
_BRACKETS = re.compile(rb'"(?:[^"\\]|\\.)*+"?|[\[{]|[\]}]', re.DOTALL)

ReadOne = Callable[[bytes], Any]
"""Returns the event of a record's plain bytes, or raises its Fault."""


def json_reader(events: Events) -> ReadOne:
    """Return the reader of one record."""
    event, reread, max_bytes = typed_event(events.fields, _WIRE_TYPES), _rereader(events.fields), events.max_bytes
    decode = reread if event is None else msgspec.json.Decoder(event).decode

    def read(data: bytes) -> Any:
        inspect(data, max_bytes)
        try:
            return decode(data)
        except UNDECODABLE:
            return reread(data)

    return read


def plain_reader(events: Events, otherwise: Callable[[bytes], Any]) -> Callable[[Sequence[Record]], list[Any]]:
    """Return the fastest reader of many records; what is not plainly right goes to `otherwise`.

    Here an event's time is spent, so what can be asked of all records together is asked once.
    """
    event, max_bytes = typed_event(events.fields, _WIRE_TYPES), events.max_bytes
    if event is None:
        return lambda records: [otherwise(record.data) for record in records]
    decode = msgspec.json.Decoder(event).decode
    plain_bytes = min(max_bytes, _SHALLOW_OBJECTS_BYTES)

    def are_plain(datas: list[bytes]) -> bool:
        text = b" ".join(datas)  # a blank: no half of a character finds its other half in the next record
        if not (text.isascii() or _is_utf8(text)):
            return False
        longest = max(map(len, datas), default=0)
        if longest <= plain_bytes and (longest <= _SHALLOW_BYTES or b"[" not in text):
            return True
        return all(map(is_small, datas))

    def is_plain(data: bytes) -> bool:
        return (data.isascii() or _is_utf8(data)) and is_small(data)

    def is_small(data: bytes) -> bool:
        return len(data) <= max_bytes and not _may_be_deep(data)

    def read(records: Sequence[Record]) -> list[Any]:
        datas = [record.data for record in records]
        plain = datas if are_plain(datas) else [data if is_plain(data) else b"" for data in datas]  # b"" is no JSON
        found: list[Any] = []
        decoded = map(decode, plain)
        while True:
            try:
                found.extend(decoded)
            except UNDECODABLE:  # the events before it are in the list, and the iterator stands behind it
                found.append(otherwise(datas[len(found)]))
            else:
                return found

    return read


def inspect(data: bytes, max_bytes: int) -> None:
    """Raise the fault of bytes that are too long, no UTF-8, or nested too deeply."""
    if len(data) > max_bytes:
        raise Fault(TOO_LARGE, f"{len(data)} bytes, at most {max_bytes} are allowed")
    if not data.isascii():
        text_of(data)
    if _may_be_deep(data):
        _check_depth(data)


def text_of(data: bytes) -> str:
    """Return the text of UTF-8 bytes."""
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        raise Fault(INVALID_UTF8, f"byte {error.start} is not UTF-8") from None


def _is_utf8(data: bytes) -> bool:
    try:
        data.decode()
    except UnicodeDecodeError:
        return False
    return True


def _may_be_deep(data: bytes) -> bool:
    """Tell whether there are brackets enough; to find none is much faster than to count them."""
    if data.find(b"{", 1) < 0 and b"[" not in data:
        return False
    return data.count(b"[") + data.count(b"{") > DEPTH_MAX


def _check_depth(data: bytes) -> None:
    depth = 0
    for match in _BRACKETS.finditer(data):
        token = match[0]
        if token in b"[{":
            depth += 1
            if depth > DEPTH_MAX:
                raise Fault(TOO_DEEP, f"more than {DEPTH_MAX} levels")
        elif token in b"]}":
            depth -= 1


def _rereader(fields: tuple[Field, ...]) -> ReadOne:
    """Return the slow reader. It returns what the fast ones would, or raises a Fault."""
    event = flat_event(fields)
    decode = json.JSONDecoder(parse_constant=_no_constant, parse_int=_integer).decode

    def reread(data: bytes) -> msgspec.Struct:
        try:
            document = decode(data.decode())
        except ValueError:
            raise Fault(INVALID_JSON, "not a JSON text") from None
        return event(*field_values(fields, document))

    return reread


def _no_constant(name: str) -> NoReturn:
    raise ValueError(name)


def _integer(digits: str) -> int:
    """Read an int of any length; of a very long one only that it is out of every range matters."""
    return int(digits) if len(digits) <= _INT_DIGITS_MAX else _HUGE
