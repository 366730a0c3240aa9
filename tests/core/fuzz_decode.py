"""Random, mutated and adversarial records of every format and compression: the reader against the reference.

`run(cases, seed)` raises at the first difference; the same arguments give the same records.
"""

from __future__ import annotations

import gzip
import json
import struct
import sys
from collections.abc import Callable
from random import Random
from typing import Any

from consumer.core.decode import attribute, check_time, reader, text_time
from consumer.core.faults import Fault
from consumer.core.times import epoch_ms, parse_time
from consumer.pipeline.model import Events, Field, TimeUnit, Type
from consumer.records import Record
from consumer.testing.reference.decoding import decode

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

CHUNK = 64

PATHS: list[tuple[str | int, ...]] = [
    ("a",),
    ("b",),
    ("c c",),
    ("é",),
    ('q"',),
    ("n", "x"),
    ("n", "y"),
    ("n", "deep", "z"),
    ("l", 0, "x"),
    ("l", 0, "y"),
    ("l", 2),
    ("m", 1, 0),
    ("m", 70),
    ("n", 1),
]
TEXTS = ["", "x", "é\U0001f600", "a,b", 'q"', "line\nend", "\r\n", "\x00", "\ufeff", "[[{", "\\", " 1 ", "null", "NaN"]
TIMES = [
    "2026-01-31T12:34:56.789Z",
    "2026-01-31 12:34:56.7899999+05:30",
    "2026-01-31",
    "20260131T123456",
    "20260131",
    "9999-12-31T23:59:59.999-00:01",
    "0001-01-01T00:00:00+00:01",
    "+10000-01-01",
    "2026-01-31T24:00:00Z",
    "2016-12-31T23:59:60Z",
    "2026-02-29",
]
INTS = [0, 1, -1, 127, 128, -33, 65_536, 1_767_225_600, 2**31, 2**53 + 1, 2**63 - 1, -(2**63), 253_402_300_799_999]
WIDE_INTS = [2**63, -(2**63) - 1, 2**64 - 1, 10**25, 10**400, -(10**420)]
FLOATS = [0.0, -0.0, 0.1, 1.5, -2.5, 1e17, 1e308, 5e-324, 253_402_300_800.0]
NUMBERS = ["-0", "1e3", "1E+2", "0.10000000000000000555", "1e999", "-1e999", "01", "1.", ".5", "+1", "1_0", "0x1", "٣"]
NUMBERS += ["9007199254740993", "1" + "0" * 308, "1" + "0" * 309, "9" * 5000, "0" * 5000 + "7", "1e-400", "NaN", "inf"]
TOKENS = [b"{", b"}", b"[", b"]", b",", b":", b'"', b"\\", b"\\ud800", b"\n", b"\r\n", b"null", b"true", b"1e5", b"-"]
TOKENS += [
    b"\xff",
    b"\xed\xa0\x80",
    b"\xef\xbb\xbf",
    b"}\n{",
    b"} {",
    b'{"":' * 101,
    b"[" * 100 + b"]" * 100,
    b"[" * 99 + b"]" * 99,
]
TOKENS += [b"\xc0", b"\xc1", b"\x91" * 101, b"\xdc", b"\xdf\xff\xff\xff\xff", b"\xd6\xff", b"\xc7", b"\x81\xa1a", b'""']


def run(cases: int, seed: int) -> None:
    """Compare at least as many records as `cases`; AssertionError at the first that differs."""
    random = Random(seed)
    done = 0
    while done < cases:
        events = random_events(random)
        read = reader(events)
        for _ in range(4):
            datas = random_chunk(random, events)
            done += len(datas) + 1
            compare(events, datas, read([Record(data) for data in datas]))


def compare(events: Events, datas: list[bytes], found: list[Any]) -> None:
    """Check what the reader has made of records."""
    assert len(found) == len(datas)
    for data, entry in zip(datas, found, strict=True):
        values, faults = decode(events, data)
        outcome = values_of(events, entry)
        same = outcome.reason in faults if isinstance(outcome, Fault) else not faults and repr(outcome) == repr(values)
        assert same, f"{data!r} of {events!r} gives {outcome!r}, not {values!r} {faults!r}"


def values_of(events: Events, entry: Any) -> dict[str, Any] | Fault:
    """Return an event's values with times as epoch milliseconds, as the generated code does it, or the Fault."""
    if isinstance(entry, Fault):
        return entry
    values = {}
    try:
        for field in events.fields:
            value = getattr(entry, attribute(field.name))
            values[field.name] = value if value is None or field.type is not Type.TIMESTAMP else time_of(field, value)
    except Fault as fault:
        return fault
    return values


def time_of(field: Field, value: str | int) -> int:
    """Return epoch milliseconds of what an event holds for a time; Fault."""
    if isinstance(value, str):
        return text_time(field.name, value, parse_time)
    time_ms = epoch_ms(value, field.unit)
    check_time(field.name, time_ms)
    return time_ms


def random_events(random: Random) -> Events:
    """Return the declaration of an event."""
    form = random.choice(["json", "json", "msgpack", "csv"])
    return Events(
        format=form,  # type: ignore[arg-type] # one of the three
        compression=random.choice(["none", "gzip", "zstd", "auto", "auto"]),
        fields=random_fields(random, csv=form == "csv"),
        time=None,
        out_of_orderness_ms=0,
        idle_after_ms=None,
        max_future_ms=None,
        max_bytes=random.choice([60, 150, 300, 1 << 20, 1 << 20, 1 << 20]),
    )


def random_fields(random: Random, *, csv: bool) -> tuple[Field, ...]:
    paths = random.sample(PATHS[: random.choice([3, 5, len(PATHS)])], random.randint(1, 3))
    if csv:
        names = random.random() < 0.5
        paths = [(random.choice(["a", "b", 'q"', ""]) if names else random.randrange(4),) for _ in paths]
    return tuple(
        Field(
            f"f{number}",
            random.choice(list(Type)),
            nullable=random.random() < 0.6,
            path=path,
            unit=random.choice(list(TimeUnit)),
        )
        for number, path in enumerate(paths)
    )


def random_chunk(random: Random, events: Events) -> list[bytes]:
    """Return records to be read at once: any, or sound ones alone, perhaps with the joints between them moved."""
    datas = [random_record(random, events) for _ in range(random.randint(0, CHUNK))]
    if random.random() < 0.5:
        return datas
    datas = [data for data in datas if not decode(events, data)[1]]
    if random.random() < 0.7 and events.format == "json" and events.compression in ("none", "auto"):
        datas = [data for data in datas if data[:1] + data[-1:] == b"{}"][: random.choice([3, 8, CHUNK])]
    if random.random() < 0.5:
        return datas
    for _ in range(random.randint(1, 2)):
        _split(random, datas)
        _join(random, datas)
    return datas


def _split(random: Random, datas: list[bytes]) -> None:
    if datas:
        number = random.randrange(len(datas))
        data = datas[number]
        places = [place for place, byte in enumerate(data) if byte in b",:{}[]"]
        place = random.choice(places) + random.randint(0, 1) if places else random.randint(0, len(data))
        datas[number : number + 1] = [data[:place], data[place:]]


def _join(random: Random, datas: list[bytes]) -> None:
    if len(datas) > 1:
        number = random.randrange(len(datas) - 1)
        joint = random.choice([b"", b"\n", b" ", b",", b"\r\n", b"}\n{"])
        datas[number : number + 2] = [joint.join(datas[number : number + 2])]


def random_record(random: Random, events: Events) -> bytes:
    """Return a record: often sound, often almost."""
    data = mutated(random, _WRITERS[events.format](random, events), 0.25)
    compression = events.compression
    if compression == "auto":
        compression = random.choice(["none", "none", "none", "gzip", "zstd"])
    if compression != "none" and random.random() < 0.97:
        data = mutated(random, _compressed(random, data, compression), 0.15)
    return data


def mutated(random: Random, data: bytes, share: float) -> bytes:
    """Return the data, or, for a share of them, with something cut, changed, doubled or put in."""
    while random.random() < share:
        place = random.randint(0, len(data))
        end = min(len(data), place + random.choice([0, 0, 1, 1, 2, 9]))
        put = random.choice([b"", random.choice(TOKENS), random.randbytes(1), data[place:end] * 2])
        data = data[:place] + put + data[end:]
        if random.random() < 0.1:
            data = data[: random.randint(0, len(data))]
    return data


def _compressed(random: Random, data: bytes, how: str) -> bytes:
    if random.random() < 0.1:
        how = random.choice(["gzip", "zstd"])
    compress = _gzip if how == "gzip" else _zstd
    cut = random.choice([0, 0, 0, random.randint(0, len(data))])
    made = compress(data[cut:])
    if cut:
        made = compress(data[:cut]) + made
    if how == "zstd" and random.random() < 0.1:
        made = struct.pack("<II", 0x184D2A50, 3) + b"abc" + made
    return made + random.choice([b""] * 15 + [b"\0", made[:7]])


def _gzip(data: bytes) -> bytes:
    return gzip.compress(data, 1, mtime=0)


def _zstd(data: bytes) -> bytes:
    return zstd.compress(data, 1)


def random_value(random: Random, of: Type) -> Any:
    """Return a value, mostly of the type."""
    if random.random() < 0.06:
        of = random.choice(list(Type))
    if random.random() < 0.04:
        return random.choice([None, [], {}, [1], {"x": 1}])
    if of is Type.STRING:
        return random.choice(TEXTS)
    if of is Type.BOOL:
        return random.random() < 0.5
    if of is Type.TIMESTAMP and random.random() < 0.5:
        return random.choice(TIMES)
    if of is Type.FLOAT and random.random() < 0.6:
        return random.choice(FLOATS)
    return random.choice(INTS) if random.random() < 0.95 else random.choice(WIDE_INTS)


def random_document(random: Random, fields: tuple[Field, ...]) -> dict[str, Any]:
    """Return an object that has the fields, mostly."""
    document: dict[str, Any] = {}
    for field in fields:
        if not field.nullable or random.random() < 0.8:
            _put(document, field.path, random_value(random, field.type))
    for _ in range(random.choice([0, 0, 1, 2])):
        document[random.choice(["a", "n", "l", "other", "é"])] = random_value(random, random.choice(list(Type)))
    if document and random.random() < 0.02:
        del document[random.choice(list(document))]
    return dict(random.sample(list(document.items()), len(document)))


def _put(node: Any, path: tuple[str | int, ...], value: Any) -> None:
    """Put the value at the path; where something else stands in the way, leave it."""
    for step, following in zip(path, [*path[1:], None], strict=True):
        below: Any = value if following is None else [] if isinstance(following, int) else {}
        if isinstance(step, str) and isinstance(node, dict):
            node = node.setdefault(step, below)
        elif isinstance(step, int) and isinstance(node, list):
            node.extend(None for _ in range(len(node), step + 1))
            if node[step] is None:
                node[step] = below
            node = node[step]
        else:
            return


def _json(random: Random, events: Events) -> bytes:
    document = random_document(random, events.fields)
    separators = random.choice([(",", ":"), (",", ":"), (", ", ": "), (" ,\n", "\t:")])
    text = json.dumps(document, ensure_ascii=random.random() < 0.7, separators=separators)
    if random.random() < 0.1:
        text = text[:-1] + "," + json.dumps(random_document(random, events.fields))[1:]
    if random.random() < 0.1:
        text = text.replace("0", random.choice(NUMBERS), 1)
    return text.encode() + random.choice([b"", b"", b"", b"", b"\n", b" "])


def _csv(random: Random, events: Events) -> bytes:
    width = random.randint(1, 5)
    steps = [field.path[0] for field in events.fields]
    lines = []
    if isinstance(steps[0], str):
        header = [str(step) for step in [*steps, "other"]]
        width = len(header)
        lines.append([_quoted(random, name) for name in random.sample(header, width)])
    for _ in range(random.choice([0] + [1] * 18 + [2])):
        lines += [[_quoted(random, _column(random, events.fields)) for _ in range(width)]]
    end = random.choice(["\n", "\n", "\r\n", "\r"])
    return (end.join(",".join(line) for line in lines) + random.choice(["", end])).encode()


def _column(random: Random, fields: tuple[Field, ...]) -> str:
    value = random_value(random, random.choice(fields).type)
    if random.random() < 0.1:
        return random.choice(NUMBERS)
    return "" if value is None else str(value)[:4300]


def _quoted(random: Random, text: str) -> str:
    if random.random() < 0.1 or any(mark in text for mark in ',"\r\n'):
        return '"' + text.replace('"', '""') + '"'
    return text


def _msgpack(random: Random, events: Events) -> bytes:
    document = random_document(random, events.fields)
    items = list(document.items())
    if random.random() < 0.1:
        items += random_document(random, events.fields).items()
    return _pack_map(random, items)


def _pack(random: Random, value: Any) -> bytes:
    """Encode in one of the ways there are, seldom as something else."""
    if random.random() < 0.02:
        return random.choice(_ODDITIES)
    if random.random() < 0.05:
        return _timestamp(random)
    return _PACKERS[type(value)](random, value)


def _pack_array(random: Random, values: list[Any]) -> bytes:
    packed = [_pack(random, value) for value in values]
    return _sized(random, len(values), 0x90, 16, (None, 0xDC, 0xDD)) + b"".join(packed)


def _pack_text(random: Random, text: str) -> bytes:
    data = text.encode()
    return _sized(random, len(data), 0xA0, 32, (0xD9, 0xDA, 0xDB)) + data


def _pack_map(random: Random, items: list[tuple[str, Any]]) -> bytes:
    packed = [_pack(random, key) + _pack(random, value) for key, value in items]
    return _sized(random, len(items), 0x80, 16, (None, 0xDE, 0xDF)) + b"".join(packed)


def _sized(random: Random, size: int, short: int, short_max: int, codes: tuple[int | None, ...]) -> bytes:
    """Return the first bytes of something with a size."""
    ways = [bytes([short + size])] if size < short_max else []
    for power, code in enumerate(codes):
        if code is not None and size < 256 ** (2**power):
            ways.append(bytes([code]) + size.to_bytes(2**power, "big"))
    return random.choice(ways)


def _pack_int(random: Random, value: int) -> bytes:
    ways = [struct.pack("b", value)] if -32 <= value < 128 else []
    for power in range(4):
        for code, signed in ((0xCC, False), (0xD0, True)):
            try:
                ways.append(bytes([code + power]) + value.to_bytes(2**power, "big", signed=signed))
            except OverflowError:
                continue
    return random.choice(ways) if ways else struct.pack(">Bd", 0xCB, float("inf"))


def _float32(value: float) -> bytes:
    try:
        return struct.pack(">f", value)
    except OverflowError:
        return struct.pack(">f", float("nan"))


def _timestamp(random: Random) -> bytes:
    nanoseconds = random.choice([0, 1, 999_999, 1_000_000, 999_999_999, 10**9, 2**30 - 1])
    seconds = random.choice([0, -1, 1_767_225_600, 253_402_300_799, 253_402_300_800, -62_135_596_800, -62_135_596_801])
    if random.random() < 0.5:
        return b"\xc7\x0c\xff" + struct.pack(">Iq", nanoseconds, seconds)
    if random.random() < 0.5:
        return b"\xd7\xff" + struct.pack(">Q", nanoseconds << 34 | seconds % 2**34)
    return b"\xd6\xff" + struct.pack(">I", seconds % 2**32)


_PACKERS: dict[type, Callable[[Random, Any], bytes]] = {
    type(None): lambda *_: b"\xc0",
    bool: lambda _, value: b"\xc3" if value else b"\xc2",
    int: _pack_int,
    float: lambda random, value: random.choice([struct.pack(">Bd", 0xCB, value), b"\xca" + _float32(value)]),
    str: _pack_text,
    list: _pack_array,
    dict: lambda random, value: _pack_map(random, list(value.items())),
}
_ODDITIES = [
    b"\xc4\x01a",
    b"\xa1\xff",
    b"\xd4\xff\x00",
    b"\xd5\x05ab",
    b"\xc8\x00\x02\xffab",
    b"\xc1",
    b"\x91" * 99 + b"\x90",
    b"\x91" * 98 + b"\x90",
    b"\x81\x01" * 120 + b"\x02",
    b"\xcb\x7f\xf8" + b"\0" * 6,
    b"\xcb\xff\xf0" + b"\0" * 6,
    b"\xd9\x90" + b"\x91" * 144,
]
_WRITERS: dict[str, Callable[[Random, Events], bytes]] = {"json": _json, "csv": _csv, "msgpack": _msgpack}
