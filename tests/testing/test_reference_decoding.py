"""The reference's decoding: which records are events, and what is wrong with the others."""

from __future__ import annotations

import gzip
import json
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from consumer.pipeline.model import Events, Field, TimeUnit, Type
from consumer.testing.reference.decoding import decode
from consumer.testing.reference.values import Value

EVENTS = Events(
    format="json",
    compression="none",
    fields=(
        Field("name", Type.STRING, nullable=False, path=("name",)),
        Field("at", Type.TIMESTAMP, nullable=True, path=("at",)),
        Field("count", Type.INT, nullable=True, path=("count",)),
        Field("amount", Type.FLOAT, nullable=True, path=("amount",)),
        Field("vip", Type.BOOL, nullable=True, path=("vip",)),
    ),
    time="at",
    out_of_orderness_ms=0,
    idle_after_ms=None,
    max_future_ms=None,
    max_bytes=1000,
)
NOTHING = {"name": None, "at": None, "count": None, "amount": None, "vip": None}


def values(text: str) -> dict[str, Value]:
    decoded, faults = decode(EVENTS, text.encode())
    assert faults == []
    return decoded


def faults(data: str | bytes) -> list[str]:
    return decode(EVENTS, data if isinstance(data, bytes) else data.encode())[1]


def with_member(member: str) -> str:
    return f'{{"name": "n", {member}}}'


def test_declared_fields_are_read_and_others_ignored() -> None:
    text = '{"name": "é🙂", "at": 5, "count": -7, "amount": 2.5, "vip": true, "more": {"deep": [1e999]}}'
    assert values(text) == {"name": "é🙂", "at": 5, "count": -7, "amount": 2.5, "vip": True}


def test_absent_and_null_are_the_same_for_nullable_fields() -> None:
    expected = {"name": "n", "at": None, "count": None, "amount": None, "vip": None}
    assert values('{"name": "n"}') == expected
    assert values(with_member('"at": null, "count": null, "amount": null, "vip": null')) == expected


def test_of_duplicate_members_the_last_counts() -> None:
    assert values('{"name": 5, "name": "b"}')["name"] == "b"
    assert faults('{"name": "b", "name": 5}') == ["wrong_type"]


@pytest.mark.parametrize(
    ("member", "name", "expected"),
    [
        ('"count": 9223372036854775807', "count", 2**63 - 1),
        ('"count": -9223372036854775808', "count", -(2**63)),
        ('"amount": 3', "amount", 3.0),
        ('"amount": 9007199254740993', "amount", 9007199254740992.0),
        ('"amount": 1' + "0" * 300, "amount", 1e300),
        ('"at": "1970-01-01T00:00:01Z"', "at", 1_000),
        ('"at": "1970-01-01T00:00:01.9999"', "at", 1_999),
        ('"at": "1970-01-01T01:00:00+01:00"', "at", 0),
        ('"at": "1969-12-31T23:59:59.9999Z"', "at", -1),
        ('"at": "1970-01-02"', "at", 86_400_000),
        ('"at": "19700101T000001Z"', "at", 1_000),
        ('"at": -5', "at", -5),
        ('"at": 253402300799999', "at", 253_402_300_799_999),
    ],
)
def test_value(member: str, name: str, expected: Value) -> None:
    value = values(with_member(member))[name]
    assert value == expected
    assert type(value) is type(expected)


@pytest.mark.parametrize(
    ("member", "reason"),
    [
        ('"count": 1.0', "wrong_type"),
        ('"count": "1"', "wrong_type"),
        ('"count": true', "wrong_type"),
        ('"count": 9223372036854775808', "out_of_range"),
        ('"count": ' + "9" * 900, "out_of_range"),
        ('"amount": "1"', "wrong_type"),
        ('"amount": false', "wrong_type"),
        ('"amount": 1e999', "out_of_range"),
        ('"amount": 1' + "0" * 400, "out_of_range"),
        ('"vip": 1', "wrong_type"),
        ('"at": 1.5', "wrong_type"),
        ('"at": true', "wrong_type"),
        ('"at": "yesterday"', "wrong_type"),
        ('"at": "2026-02-30"', "wrong_type"),
        ('"at": "2026-01-01T24:00:00Z"', "wrong_type"),
        ('"at": "2026-01-01T23:59:60Z"', "wrong_type"),
        ('"at": "10000-01-01T00:00:00Z"', "out_of_range"),
        ('"at": "0000-01-01T00:00:00Z"', "out_of_range"),
        ('"at": "0001-01-01T00:00:00+01:00"', "out_of_range"),
        ('"at": 253402300800000', "out_of_range"),
        ('"at": -62135596800001', "out_of_range"),
    ],
)
def test_fault_of_one_field(member: str, reason: str) -> None:
    assert faults(with_member(member))[0] == reason


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        ("", "invalid_json"),
        ("{", "invalid_json"),
        ('{"name": "n"} x', "invalid_json"),
        ("{'name': 'n'}", "invalid_json"),
        ('{"name": "n", "x": NaN}', "invalid_json"),
        ('{"name": "n", "x": -Infinity}', "invalid_json"),
        ('{"name": "a\tb"}', "invalid_json"),
        ("\ufeff{}", "invalid_json"),
        (b'{"name": "\xff"}', "invalid_utf8"),
        (b'{"name": "n", "other": "\xed\xa0\x80"}', "invalid_utf8"),
        ('{"name": "\\ud800"}', "invalid_utf8"),
        ('["name"]', "wrong_type"),
        ('"name"', "wrong_type"),
        ("null", "wrong_type"),
        ("{}", "missing_field"),
        ('{"name": null}', "missing_field"),
    ],
)
def test_fault_of_the_record(data: str | bytes, reason: str) -> None:
    assert faults(data)[0] == reason


def test_a_lone_surrogate_matters_only_in_declared_fields() -> None:
    assert faults('{"name": "n", "other": "\\udfff"}') == []
    assert faults('{"name": "\\ud83d\\ude42"}') == []


def test_a_hundred_levels_are_allowed() -> None:
    def nested(levels: int) -> str:
        return '{"name": "n", "x": ' + "[" * (levels - 1) + "]" * (levels - 1) + "}"

    assert faults(nested(100)) == []
    assert faults(nested(101)) == ["too_deep"]
    assert faults('{"name": "' + "[" * 200 + '"}') == []
    assert faults('{"name": "\\"' + "[" * 200 + '"}') == []


def test_levels_beyond_what_the_parser_can_take_are_too_deep() -> None:
    assert "too_deep" in faults("[" * 100_000)


def test_size_is_capped() -> None:
    filler = "x" * (1000 - len('{"name": ""}'))
    assert faults(f'{{"name": "{filler}"}}') == []
    assert faults(f'{{"name": "{filler}x"}}') == ["too_large"]


def test_all_faults_are_told_in_order() -> None:
    assert faults('{"at": true, "count": 9223372036854775808}') == ["missing_field", "wrong_type", "out_of_range"]
    assert faults(b'{"name": 5, "x": "\xff"}') == ["invalid_utf8", "wrong_type"]
    assert faults('{"name": 5, "x": }') == ["invalid_json", "wrong_type"]
    assert faults('{"name": [1, }') == ["invalid_json", "wrong_type"]
    assert faults('[{"name": }') == ["invalid_json", "wrong_type"]


@pytest.mark.parametrize(
    ("unit", "number", "time_ms"),
    [("s", -1, -1000), ("ms", -1, -1), ("us", -1, -1), ("us", 1999, 1), ("s", 253_402_300_800, None)],
)
def test_integer_times_count_their_unit(unit: str, number: int, time_ms: int | None) -> None:
    events = replace(EVENTS, fields=(Field("at", Type.TIMESTAMP, nullable=False, path=("at",), unit=TimeUnit(unit)),))
    decoded, found = decode(events, f'{{"at": {number}}}'.encode())
    assert (decoded, found) == (({}, ["out_of_range"]) if time_ms is None else ({"at": time_ms}, []))


def test_paths_lead_through_objects_and_arrays() -> None:
    price = Field("price", Type.INT, nullable=True, path=("items", 1, "price"))
    needed = replace(price, name="needed", nullable=False)

    def found(text: str) -> tuple[dict[str, Value], list[str]]:
        return decode(replace(EVENTS, fields=(price, needed)), text.encode())

    assert found('{"items": [7, {"price": 5}]}') == ({"price": 5, "needed": 5}, [])
    assert found('{"items": [7]}') == ({"price": None}, ["missing_field"])
    assert found('{"items": null}') == ({"price": None}, ["missing_field"])
    assert found('{"items": {}}') == ({}, ["wrong_type", "wrong_type"])
    assert found('{"items": [7, 8]}') == ({}, ["wrong_type", "wrong_type"])


def test_msgpack() -> None:
    events = replace(EVENTS, format="msgpack")
    name = b"\xa4name"
    assert decode(events, b"\x81" + name + b"\xa1a") == ({**NOTHING, "name": "a"}, [])
    assert decode(events, b"\x82" + name + b"\xa1a" + name + b"\xd9\x01b") == ({**NOTHING, "name": "b"}, [])
    assert decode(events, b"\x81" + name + b"\xc4\x01a")[1] == ["wrong_type"]
    assert decode(events, b"\x81" + name + b"\xa1\xff")[1] == ["wrong_type", "invalid_utf8"]
    assert decode(events, b"\x81" + name)[1] == ["invalid_json"]
    assert decode(events, b"\x80\x80")[1] == ["invalid_json"]
    assert decode(events, b"\x90")[1] == ["wrong_type"]
    assert decode(events, b"\x91" * 101 + b"\x90")[1] == ["too_deep", "wrong_type"]
    time_ms = b"\x82" + name + b"\xa1a\xa2at\xd7\xff" + (999_999_999 << 34 | 1).to_bytes(8, "big")
    assert decode(events, time_ms)[0]["at"] == 1999


def test_csv() -> None:
    numbered = replace(EVENTS, format="csv", fields=tuple(replace(field, path=(0,)) for field in EVENTS.fields[:1]))
    assert decode(numbered, b'"a,""b""",c\n') == ({"name": 'a,"b"'}, [])
    assert decode(numbered, b",c") == ({"name": ""}, [])
    assert decode(numbered, b"")[1] == ["missing_field"]
    assert decode(numbered, b"a\nb")[1] == ["wrong_type"]
    assert decode(numbered, b'"a')[1] == ["invalid_json"]
    named = replace(EVENTS, format="csv")
    assert decode(named, b"vip,name,count\r\nTrue,x,-7\r\n") == ({**NOTHING, "name": "x", "vip": True, "count": -7}, [])
    assert decode(named, b"name,amount,at\nx,.5,2026") == ({**NOTHING, "name": "x", "amount": 0.5, "at": 2026}, [])
    assert decode(named, b"name,amount\nx,1_0")[1] == ["wrong_type"]


def test_compression() -> None:
    text = b'{"name": "a"}'
    for compression in ("gzip", "auto"):
        events = replace(EVENTS, compression=compression)
        assert decode(events, gzip.compress(text[:5]) + gzip.compress(text[5:])) == ({**NOTHING, "name": "a"}, [])
        assert decode(events, gzip.compress(text)[:-1])[1] == ["bad_compression"]
        assert decode(events, gzip.compress(text) + b"\0")[1] == ["bad_compression"]
        assert decode(events, gzip.compress(text.ljust(1001)))[1] == ["too_large"]
    assert decode(events, text) == ({**NOTHING, "name": "a"}, [])
    assert decode(replace(EVENTS, compression="gzip"), text)[1] == ["bad_compression"]
    assert decode(replace(EVENTS, compression="zstd"), text)[1] == ["bad_compression"]


texts = st.text('ab"\\é🙂', max_size=3)
numbers = st.integers() | st.floats(allow_nan=False, allow_infinity=False)
scalars = st.none() | st.booleans() | numbers | texts
json_values = scalars | st.lists(scalars, max_size=3) | st.dictionaries(texts, scalars, max_size=3)


@settings(deadline=None)
@given(st.dictionaries(st.sampled_from(["name", "at", "count", "amount", "vip", "x"]), json_values))
def test_an_event_is_sound_or_has_a_fault(members: dict[str, object]) -> None:
    decoded, found = decode(EVENTS, json.dumps(members).encode())
    assert set(decoded) == {field.name for field in EVENTS.fields} or found
    assert not (members.get("name") is None and not found)


@settings(deadline=None)
@given(st.binary(max_size=60))
def test_any_bytes_are_taken(data: bytes) -> None:
    decode(EVENTS, data)
