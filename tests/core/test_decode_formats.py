"""MessagePack and csv records, and compressed ones, become events, or faults with a reason."""

from __future__ import annotations

import gzip
import struct
import sys
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any, NamedTuple

import msgspec
import pytest

from consumer.core.decode import reader
from consumer.core.faults import REASONS, Fault
from consumer.pipeline.model import Events, Field, TimeUnit, Type
from consumer.records import Record
from tests.core.fuzz_decode import compare, values_of

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

MSGPACK = Events(
    format="msgpack",
    compression="none",
    fields=(
        Field("s", Type.STRING, nullable=True, path=("s",)),
        Field("i", Type.INT, nullable=True, path=("i",)),
        Field("f", Type.FLOAT, nullable=True, path=("f",)),
        Field("b", Type.BOOL, nullable=True, path=("b",)),
        Field("at", Type.TIMESTAMP, nullable=True, path=("at",)),
        Field("deep", Type.INT, nullable=True, path=("l", 1, "x")),
    ),
    time=None,
    out_of_orderness_ms=0,
    idle_after_ms=None,
    max_future_ms=None,
    max_bytes=1 << 20,
)
NOTHING = {"s": None, "i": None, "f": None, "b": None, "at": None, "deep": None}
pack = msgspec.msgpack.encode


def read(data: bytes, events: Events) -> Any:
    """Return what the record's event holds, or its reason; the reference agrees."""
    found = reader(events)([Record(data)])
    compare(events, [data], found)
    values = values_of(events, found[0])
    if isinstance(values, Fault):
        assert values.reason in REASONS
        return values.reason
    return values


def member(name: str, value: bytes) -> bytes:
    """Return a map of one member that is encoded already."""
    return b"\x81" + pack(name) + value


def test_msgpack_values() -> None:
    document = {"s": "é", "i": -5, "f": 2, "b": True, "at": "1970-01-01T00:00:01Z", "l": [0, {"x": 7}, 1], "x": b""}
    assert read(pack(document), MSGPACK) == {"s": "é", "i": -5, "f": 2.0, "b": True, "at": 1000, "deep": 7}
    assert read(b"\x80", MSGPACK) == NOTHING


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("s", b"\xd9\x01a", "a"),
        ("i", b"\xd3" + b"\xff" * 8, -1),
        ("i", struct.pack(">BQ", 0xCF, 2**63 - 1), 2**63 - 1),
        ("f", struct.pack(">Bf", 0xCA, 0.1), 0.10000000149011612),
        ("f", b"\xcf" + b"\xff" * 8, 2.0**64),
        ("at", b"\xd6\xff" + struct.pack(">I", 7), 7000),
        ("at", b"\xd7\xff" + struct.pack(">Q", 999_999_999 << 34 | 7), 7999),
        ("at", b"\xc7\x0c\xff" + struct.pack(">Iq", 999_999_999, -1), -1),
        ("at", b"\xc7\x0c\xff" + struct.pack(">Iq", 1, -1), -1000),
        ("at", pack(datetime(1970, 1, 1, 0, 0, 1, 999_999, tzinfo=UTC)), 1999),
    ],
)
def test_msgpack_encodings_of_a_value(name: str, value: bytes, expected: object) -> None:
    assert read(member(name, value), MSGPACK) == {**NOTHING, name: expected}


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "invalid_json"),
        (b"\xc1", "invalid_json"),
        (b"\x80\x80", "invalid_json"),
        (member("x", b"\xdf\xff\xff\xff\xff"), "invalid_json"),
        (member("s", b"\xa5ab"), "invalid_json"),
        (b"\x90", "wrong_type"),
        (b'{"s":"a"}', "invalid_json"),
        (member("s", b"\xc4\x01a"), "wrong_type"),
        (member("s", b"\x01"), "wrong_type"),
        (member("s", b"\xa1\xff"), "invalid_utf8"),
        (member("s", b"\xa3\xed\xa0\x80"), "invalid_utf8"),
        (member("s", b"\xd6\xff\0\0\0\0"), "wrong_type"),
        (member("i", struct.pack(">Bd", 0xCB, 1.0)), "wrong_type"),
        (member("i", b"\xcf" + b"\xff" * 8), "out_of_range"),
        (member("i", b"\xc3"), "wrong_type"),
        (member("f", struct.pack(">Bd", 0xCB, float("nan"))), "out_of_range"),
        (member("f", struct.pack(">Bd", 0xCB, float("-inf"))), "out_of_range"),
        (member("f", b"\xa11"), "wrong_type"),
        (member("b", b"\x01"), "wrong_type"),
        (member("at", b"\xd4\xff\x00"), "wrong_type"),
        (member("at", b"\xd6\x05\0\0\0\0"), "wrong_type"),
        (member("at", b"\xd7\xff" + struct.pack(">Q", 1_000_000_000 << 34)), "wrong_type"),
        (member("at", b"\xc7\x0c\xff" + struct.pack(">Iq", 0, 2**40)), "out_of_range"),
        (member("l", b"\x80"), "wrong_type"),
        (member("l", b"\x92\x01\x02"), "wrong_type"),
    ],
)
def test_msgpack_reasons(data: bytes, reason: str) -> None:
    assert read(data, MSGPACK) == reason


def test_msgpack_fields_that_are_missing() -> None:
    needed = replace(MSGPACK, fields=(Field("s", Type.STRING, nullable=False, path=("s",)),))
    assert read(b"\x80", needed) == "missing_field"
    assert read(member("s", b"\xc0"), needed) == "missing_field"


def test_msgpack_looks_at_declared_fields_alone_and_the_last_of_equal_keys_counts() -> None:
    data = b"\x86" + b"\x01\xa1\xff" + b"\xa1\xff\x02" + b"\x80\x90" + pack("s") + b"\x07" + pack("s") + pack("a")
    assert read(data + pack("x") + b"\xcb\x7f\xf8" + b"\0" * 6, MSGPACK) == {**NOTHING, "s": "a"}


@pytest.mark.parametrize("opening", [b"\x91", b"\x81\xa1x", b"\xdc\0\x01", b"\xdd\0\0\0\x01", b"\xde\0\x01\x01"])
def test_msgpack_levels(opening: bytes) -> None:
    assert read(member("x", opening * 99 + b"\xc0"), MSGPACK) == NOTHING
    assert read(member("x", opening * 100 + b"\xc0"), MSGPACK) == "too_deep"
    assert read(member("x", opening * 50_000), MSGPACK) == "too_deep"
    assert read(member("x", b"\xda\x10\0" + b"\x91" * 4096), MSGPACK) == NOTHING


def test_msgpack_size() -> None:
    data = member("s", b"\xa3abc")
    assert read(data, replace(MSGPACK, max_bytes=len(data))) == {**NOTHING, "s": "abc"}
    assert read(data, replace(MSGPACK, max_bytes=len(data) - 1)) == "too_large"


def columns(*types: str, names: str | None = None, unit: TimeUnit = TimeUnit.MILLISECONDS) -> Events:
    """Return events of csv: a type for each column, one letter for each name."""
    return replace(
        MSGPACK,
        format="csv",
        fields=tuple(
            Field(
                f"f{number}",
                Type(of.removesuffix("?")),
                nullable=of.endswith("?"),
                path=(number if names is None else names[number],),
                unit=unit,
            )
            for number, of in enumerate(types)
        ),
    )


def values(text: str, events: Events) -> Any:
    found = read(text.encode(), events)
    return found if isinstance(found, str) else tuple(found.values())


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a,1", ("a", 1)),
        ("a,1\n", ("a", 1)),
        ("a,1\r\n", ("a", 1)),
        ("a,1,more", ("a", 1)),
        ('"a, ""b""\r\nc","1"', ('a, "b"\r\nc', 1)),
        ('a"b,1', ('a"b', 1)),
        (' "a",1', (' "a"', 1)),
        (" a ,1", (" a ", 1)),
        ("\ufeffa,1", ("\ufeffa", 1)),
        ("\x00\x1c\u2028,1", ("\x00\x1c\u2028", 1)),
        (",1", ("", 1)),
        ('"",', ("", None)),
        ("a", ("a", None)),
        ("", "missing_field"),
        ("\n", "missing_field"),
        ("a,1\n\n", "wrong_type"),
        ("a,1\nb,2", "wrong_type"),
        ("a,1\rb,2", "wrong_type"),
        ('"a,1', "invalid_json"),
        ('"a"b,1', "invalid_json"),
        ('a,1\n"', "invalid_json"),
        ("a, 1", "wrong_type"),
    ],
)
def test_csv_lines(text: str, expected: object) -> None:
    assert values(text, columns("string", "int?")) == expected


@pytest.mark.parametrize(
    ("of", "text", "expected"),
    [
        ("int", "+007", 7),
        ("int", "-0", 0),
        ("int", "0" * 100_000 + "7", 7),
        ("int", "-9223372036854775808", -(2**63)),
        ("int", "9223372036854775808", "out_of_range"),
        ("int", "9" * 100_000, "out_of_range"),
        ("int", "1.0", "wrong_type"),
        ("int", "1_0", "wrong_type"),
        ("int", "٣", "wrong_type"),
        ("int", "1 ", "wrong_type"),
        ("int", "", "missing_field"),
        ("float", "+1.5e3", 1500.0),
        ("float", "7", 7.0),
        ("float", ".5", 0.5),
        ("float", "5.", 5.0),
        ("float", "1e-999", 0.0),
        ("float", "1e999", "out_of_range"),
        ("float", "inf", "wrong_type"),
        ("float", "nan", "wrong_type"),
        ("float", "1_0.0", "wrong_type"),
        ("float", "0x10", "wrong_type"),
        ("float", ".", "wrong_type"),
        ("float", "1e", "wrong_type"),
        ("bool", "TRUE", True),
        ("bool", "false", False),
        ("bool", "1", "wrong_type"),
        ("bool", "FAL\u017fE", "wrong_type"),
        ("timestamp", "1970-01-01T00:00:01Z", 1000),
        ("timestamp", "-5", -5),
        ("timestamp", "20260131", 20_260_131),
        ("timestamp", "1970", 1970),
        ("timestamp", "1.5", "wrong_type"),
        ("timestamp", "253402300800000", "out_of_range"),
        ("string?", "", None),
        ("bool?", '""', None),
    ],
)
def test_csv_values(of: str, text: str, expected: object) -> None:
    assert values(f"{text},x", columns(of)) == (expected if isinstance(expected, str) else (expected,))


def test_csv_columns_by_number() -> None:
    events = columns("string", "int")
    swapped = replace(events, fields=tuple(replace(field, path=(1 - field.path[0],)) for field in events.fields))  # type: ignore[operator] # numbers
    assert values("1,a", swapped) == ("a", 1)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("b,a\n1,x\n", ("x", 1)),
        ('"b",x,a\r\n1,,x', ("x", 1)),
        ("b,a,b\n1,x,2", ("x", 2)),
        ("b,a,b\n1,x", ("x", None)),
        ("a\nx", ("x", None)),
        ("b\n1", "missing_field"),
        ("a,b", "missing_field"),
        ("a,b\n", "missing_field"),
        ('"a",b\n\n', "missing_field"),
        ("", "missing_field"),
        ("a,b\nx,1\ny,2", "wrong_type"),
        (" a,b\nx,1", "missing_field"),
    ],
)
def test_csv_columns_by_name(text: str, expected: object) -> None:
    assert values(text, columns("string", "int?", names="ab")) == expected


def test_csv_units_utf8_and_size() -> None:
    assert values("7", columns("timestamp", unit=TimeUnit.SECONDS)) == (7000,)
    assert read(b"\xff", columns("string")) == "invalid_utf8"
    assert read(b"abc", replace(columns("string"), max_bytes=2)) == "too_large"
    assert values('"' + "x" * 200_000 + '"', columns("string")) == ("x" * 200_000,)


JSON = replace(MSGPACK, format="json", fields=(Field("s", Type.STRING, nullable=True, path=("s",)),), max_bytes=100)


def gzipped(data: bytes) -> bytes:
    """Compress without the time of day, which would give a test another name in every process."""
    return gzip.compress(data, mtime=0)


TEXT = b'{"s":"abc"}'
SOUND = {"s": "abc"}
DICTIONARY = zstd.train_dict([b'{"s":"%d abc"}' % number * 3 for number in range(1000)], 1000)
SKIPPABLE = struct.pack("<II", 0x184D2A50, 3) + b"abc"


@pytest.mark.parametrize(
    ("compression", "data", "expected"),
    [
        ("none", TEXT, SOUND),
        ("none", gzipped(TEXT), "invalid_utf8"),
        ("gzip", gzipped(TEXT), SOUND),
        ("gzip", gzipped(TEXT[:5]) + gzipped(TEXT[5:]), SOUND),
        ("gzip", TEXT, "bad_compression"),
        ("gzip", b"", "bad_compression"),
        ("gzip", zlib.compress(TEXT), "bad_compression"),
        ("gzip", zstd.compress(TEXT), "bad_compression"),
        ("gzip", gzipped(TEXT)[:-1], "bad_compression"),
        ("gzip", gzipped(TEXT) + b"\0", "bad_compression"),
        ("gzip", gzipped(TEXT) + gzipped(TEXT)[:9], "bad_compression"),
        ("gzip", gzipped(TEXT)[:-8] + b"\0" * 8, "bad_compression"),
        ("zstd", zstd.compress(TEXT), SOUND),
        ("zstd", zstd.compress(TEXT[:5]) + SKIPPABLE + zstd.compress(TEXT[5:]), SOUND),
        ("zstd", TEXT, "bad_compression"),
        ("zstd", b"", "bad_compression"),
        ("zstd", gzipped(TEXT), "bad_compression"),
        ("zstd", zstd.compress(TEXT)[:-1], "bad_compression"),
        ("zstd", zstd.compress(TEXT) + b"x", "bad_compression"),
        ("zstd", zstd.compress(TEXT, zstd_dict=DICTIONARY), "bad_compression"),
        ("zstd", zstd.compress(TEXT, options={zstd.CompressionParameter.window_log: 20}), SOUND),
        ("auto", TEXT, SOUND),
        ("auto", gzipped(TEXT), SOUND),
        ("auto", zstd.compress(TEXT), SOUND),
        ("auto", gzipped(TEXT)[:-1], "bad_compression"),
        ("auto", zstd.compress(TEXT)[:-1], "bad_compression"),
        ("auto", gzipped(gzipped(TEXT)), "invalid_utf8"),
        ("auto", b"\x1f\x8b", "bad_compression"),
        ("auto", b"", "invalid_json"),
        ("auto", SKIPPABLE + zstd.compress(TEXT), "invalid_utf8"),
    ],
)
def test_compressions(compression: Any, data: bytes, expected: object) -> None:
    events = replace(JSON, compression=compression)
    found = read(data, events)
    assert found == expected or (compression == "auto" and found == "invalid_json" and expected == "invalid_utf8")
    among = reader(events)([Record(gzipped(TEXT)), Record(data), Record(TEXT), Record(zstd.compress(TEXT))])
    assert repr(values_of(events, among[1])) == repr(values_of(events, reader(events)([Record(data)])[0]))


@pytest.mark.parametrize("compress", [gzip.compress, zstd.compress])
def test_nothing_is_inflated_beyond_the_cap(compress: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    exact = TEXT.ljust(100)
    auto = replace(JSON, compression="auto")
    assert read(compress(exact), auto) == SOUND
    assert read(compress(exact[:50]) + compress(exact[50:]), auto) == SOUND
    assert read(compress(exact) + compress(b" "), auto) == "too_large"
    assert read(compress(exact + b" "), auto) == "too_large"
    bomb = compress(b"a" * 90) + compress(b" " * 50_000_000)
    with watched(monkeypatch) as calls:
        assert read_alone(bomb, auto) == "too_large"
    assert [call.asked for call in calls] == [101, 11]
    assert sum(call.inflated for call in calls) == 101


@pytest.mark.parametrize("compress", [gzip.compress, zstd.compress])
def test_very_many_members_are_not_copied_for_each(compress: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    data = compress(b"") * 2_000 + compress(TEXT)
    with watched(monkeypatch) as calls:
        assert read_alone(data, replace(JSON, compression="auto")) == SOUND
    assert max(call.fed for call in calls) <= 4096
    assert sum(call.inflated for call in calls) == len(TEXT)


def read_alone(data: bytes, events: Events) -> Any:
    found = values_of(events, reader(events)([Record(data)])[0])
    return found.reason if isinstance(found, Fault) else found


class Call(NamedTuple):
    """What a decompressor was given, might return, and returned: bytes."""

    fed: int
    asked: int
    inflated: int


class Watched:
    def __init__(self, inner: Any, calls: list[Call]) -> None:
        self._inner = inner
        self._calls = calls

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    def decompress(self, data: bytes, max_length: int) -> bytes:
        part: bytes = self._inner.decompress(data, max_length)
        self._calls.append(Call(len(data), max_length, len(part)))
        return part


@contextmanager
def watched(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Call]]:
    """Note all calls of decompressors."""
    calls: list[Call] = []
    make_gzip, make_zstd = zlib.decompressobj, zstd.ZstdDecompressor
    with monkeypatch.context() as patch:
        patch.setattr(zlib, "decompressobj", lambda bits: Watched(make_gzip(bits), calls))
        patch.setattr(zstd, "ZstdDecompressor", lambda: Watched(make_zstd(), calls))
        yield calls
