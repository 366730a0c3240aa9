"""MessagePack: a map with string keys.

As in JSON, of duplicate keys the last counts, and only declared fields are looked at: other keys, keys of other
types, and what stands below them need only be well-formed; their text may be no UTF-8. Binary data is no string, a
float no int, whatever its value; a float that is NaN or infinite is out of range. A timestamp (extension type -1)
becomes ISO-8601 text with milliseconds, rounded down. Bytes that are not one whole MessagePack value have the
reason invalid_json: there is one reason for "not the format that is declared".
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any

import msgspec

from consumer.core.decode_event import flat_event, typed_event
from consumer.core.decode_json import DEPTH_MAX, INT64, UNDECODABLE, ReadOne, text_of
from consumer.core.decode_values import check_time, field_value, value_at
from consumer.core.faults import INVALID_JSON, TOO_DEEP, TOO_LARGE, WRONG_TYPE, Fault
from consumer.core.functions import FLOAT_MAX
from consumer.core.times import format_time
from consumer.pipeline.model import Events, Field, Type

_WIRE_TYPES: dict[Type, Any] = {
    Type.STRING: str,
    Type.INT: INT64,
    Type.FLOAT: Annotated[float, msgspec.Meta(ge=-FLOAT_MAX, le=FLOAT_MAX)],
    Type.BOOL: bool,
    Type.TIMESTAMP: INT64 | str,
}
_CONTAINERS = bytes([*range(0x80, 0xA0), 0xDC, 0xDD, 0xDE, 0xDF])
"""First bytes of maps and arrays."""
_TIMESTAMP = -1
_NANOSECONDS = 1_000_000_000


def msgpack_reader(events: Events) -> ReadOne:
    """Return the reader of one record, which raises its Fault."""
    event = typed_event(events.fields, _WIRE_TYPES)
    decode = None if event is None else msgspec.msgpack.Decoder(event).decode
    reread = _rereader(events.fields)
    max_bytes = events.max_bytes

    def read(data: bytes) -> Any:
        if len(data) > max_bytes:
            raise Fault(TOO_LARGE, f"{len(data)} bytes, at most {max_bytes} are allowed")
        if decode is None or _may_be_deep(data):
            return reread(data)
        try:
            return decode(data)
        except UNDECODABLE:
            return reread(data)

    return read


def _may_be_deep(data: bytes) -> bool:
    return len(data) > DEPTH_MAX and len(data) - len(data.translate(None, _CONTAINERS)) > DEPTH_MAX


def _rereader(fields: tuple[Field, ...]) -> ReadOne:
    """Return the slow reader. It returns what the fast one would, or raises a Fault."""
    event = flat_event(fields)

    def reread(data: bytes) -> msgspec.Struct:
        document = _Parser(data).whole()
        if not isinstance(document, dict):
            raise Fault(WRONG_TYPE, "not a map")
        return event(*[field_value(field, _plain(field, value_at(document, field))) for field in fields])

    return reread


@dataclass(frozen=True, slots=True)
class _Extension:
    code: int
    payload: bytes


@dataclass(frozen=True, slots=True)
class _Text:
    """A string that may be no UTF-8."""

    data: bytes


def _plain(field: Field, value: object) -> object:
    """Return texts, and the times of timestamps, as str."""
    if isinstance(value, _Text):
        return text_of(value.data)
    if isinstance(value, _Extension) and value.code == _TIMESTAMP and field.type is Type.TIMESTAMP:
        return _iso_time(field.name, value.payload)
    return value


def _iso_time(name: str, payload: bytes) -> str:
    nanoseconds = 0
    if len(payload) == 4:  # noqa: PLR2004 - timestamp 32: seconds
        (seconds,) = struct.unpack(">I", payload)
    elif len(payload) == 8:  # noqa: PLR2004 - timestamp 64: 30 bits of nanoseconds, 34 of seconds
        nanoseconds, seconds = divmod(int.from_bytes(payload, "big"), 1 << 34)
    elif len(payload) == 12:  # noqa: PLR2004 - timestamp 96
        nanoseconds, seconds = struct.unpack(">Iq", payload)
    else:
        raise Fault(WRONG_TYPE, f"{name} is no timestamp")
    if nanoseconds >= _NANOSECONDS:
        raise Fault(WRONG_TYPE, f"{name} is no timestamp")
    time_ms = seconds * 1000 + nanoseconds // 1_000_000
    check_time(name, time_ms)
    return format_time(time_ms)


def _malformed() -> Fault:
    return Fault(INVALID_JSON, "not one MessagePack value")


class _Parser:
    """Reads one value. Binary data stay bytes, which fit no field."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._place = 0

    def whole(self) -> Any:
        """Return the value that the bytes are; raise the Fault of anything else."""
        value = self._value(0)
        if self._place != len(self._data):
            raise _malformed()
        return value

    def _value(self, depth: int) -> Any:
        code = self._bytes(1)[0]
        if code not in _CODES:
            raise _malformed()
        read, argument = _CODES[code]
        return read(self, argument, depth)

    def _bytes(self, size: int) -> bytes:
        taken = self._data[self._place : self._place + size]
        if len(taken) != size:
            raise _malformed()
        self._place += size
        return taken

    def constant(self, value: int | None, _: int) -> int | None:
        return value

    def number(self, layout: struct.Struct, _: int) -> Any:
        return layout.unpack(self._bytes(layout.size))[0]

    def text(self, size: int, _: int) -> _Text:
        return _Text(self._bytes(size))

    def binary(self, size: int, _: int) -> bytes:
        return self._bytes(size)

    def extension(self, size: int, _: int) -> _Extension:
        (code,) = struct.unpack("b", self._bytes(1))
        return _Extension(code, self._bytes(size))

    def array(self, size: int, depth: int) -> list[Any]:
        depth = _deeper(depth)
        return [self._value(depth) for _ in range(size)]

    def map(self, size: int, depth: int) -> dict[str, Any]:
        depth = _deeper(depth)
        members: dict[str, Any] = {}
        for _ in range(size):
            key, value = self._value(depth), self._value(depth)
            if isinstance(key, _Text):
                members[key.data.decode(errors="surrogateescape")] = value
        return members

    def sized(self, how: tuple[int, _Read], depth: int) -> Any:
        size_bytes, read = how
        return read(self, int.from_bytes(self._bytes(size_bytes), "big"), depth)


_Read = Callable[[_Parser, Any, int], Any]


def _deeper(depth: int) -> int:
    if depth == DEPTH_MAX:
        raise Fault(TOO_DEEP, f"more than {DEPTH_MAX} levels")
    return depth + 1


def _number_codes() -> dict[int, tuple[_Read, Any]]:
    """Return the codes of float32, float64, uint8 to uint64 and int8 to int64."""
    layouts = (">f", ">d", ">B", ">H", ">I", ">Q", ">b", ">h", ">i", ">q")
    return {0xCA + number: (_Parser.number, struct.Struct(layout)) for number, layout in enumerate(layouts)}


_CODES: dict[int, tuple[_Read, Any]] = {
    **{code: (_Parser.constant, code) for code in range(0x80)},
    **{0x80 + size: (_Parser.map, size) for size in range(16)},
    **{0x90 + size: (_Parser.array, size) for size in range(16)},
    **{0xA0 + size: (_Parser.text, size) for size in range(32)},
    0xC0: (_Parser.constant, None),
    0xC2: (_Parser.constant, False),
    0xC3: (_Parser.constant, True),
    **{0xC4 + power: (_Parser.sized, (2**power, _Parser.binary)) for power in range(3)},
    **{0xC7 + power: (_Parser.sized, (2**power, _Parser.extension)) for power in range(3)},
    **_number_codes(),
    **{0xD4 + power: (_Parser.extension, 2**power) for power in range(5)},
    **{0xD9 + power: (_Parser.sized, (2**power, _Parser.text)) for power in range(3)},
    **{0xDC + power: (_Parser.sized, (2 << power, _Parser.array)) for power in range(2)},
    **{0xDE + power: (_Parser.sized, (2 << power, _Parser.map)) for power in range(2)},
    **{0x100 + number: (_Parser.constant, number) for number in range(-32, 0)},
}
"""First bytes of values: what reads on, and its size, layout or value."""
