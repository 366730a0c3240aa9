"""JSON records become events, or faults with a reason: one by one, and many at once."""

from __future__ import annotations

import gc
import json
import sys
import weakref
from dataclasses import replace
from functools import cache
from random import Random
from typing import Any

import pytest

from consumer.core.decode import reader
from consumer.core.decode_json import plain_reader
from consumer.core.faults import REASONS, Fault
from consumer.core.times import MAX_TIME_MS, MIN_TIME_MS
from consumer.pipeline.model import Events, Field, TimeUnit, Type
from consumer.records import Record
from tests.core.fuzz_decode import compare, values_of

FIELDS = (
    Field("user", Type.STRING, nullable=False, path=("user",)),
    Field("at", Type.TIMESTAMP, nullable=False, path=("at",)),
    Field("s", Type.STRING, nullable=True, path=("s",)),
    Field("i", Type.INT, nullable=False, path=("i",)),
    Field("f", Type.FLOAT, nullable=False, path=("f",)),
    Field("b", Type.BOOL, nullable=True, path=("b",)),
)
EVENTS = Events(
    format="json",
    compression="auto",
    fields=FIELDS,
    time=None,
    out_of_orderness_ms=0,
    idle_after_ms=None,
    max_future_ms=None,
    max_bytes=1 << 20,
)
reader_of = cache(reader)
GOOD: dict[str, Any] = {"user": "u", "at": 5, "i": 1, "f": 1.5}
GOOD_BYTES = b'{"user":"u","at":5,"i":1,"f":1.5}'


def read(data: bytes, events: Events = EVENTS) -> Any:
    """Return the values of the record's event, or its Fault; the same as when it is read with others."""
    found = reader_of(events)([Record(data)])
    compare(events, [data], found)
    alone = values_of(events, found[0])
    among = values_of(events, reader_of(events)([Record(data), Record(GOOD_BYTES), Record(GOOD_BYTES)])[0])
    assert repr(alone) == repr(among)
    return alone


def fault(data: bytes, events: Events = EVENTS) -> str:
    found = read(data, events)
    assert isinstance(found, Fault)
    assert found.reason in REASONS
    return found.reason


def event(**members: Any) -> bytes:
    return json.dumps({**GOOD, **members}).encode()


def slowly(data: bytes) -> bytes:
    """Return the record with a member that only the slow reader takes."""
    return b'{"user":1,' + data[1:]


def nested(*fields: tuple[tuple[str | int, ...], Type, bool]) -> Events:
    return replace(
        EVENTS,
        fields=tuple(
            Field(f"f{number}", of, nullable=nullable, path=path) for number, (path, of, nullable) in enumerate(fields)
        ),
    )


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "invalid_json"),
        (b"\n", "invalid_json"),
        (b"{", "invalid_json"),
        (b'{"user":"u","at":5,"i":1,"f":NaN}', "invalid_json"),
        (b'{"user":"u","at":5,"i":1,"f":Infinity}', "invalid_json"),
        (b'{"user":"u","at":5,"i":1,"f":1}x', "invalid_json"),
        (b"\xef\xbb\xbf{}", "invalid_json"),
        (GOOD_BYTES + b" " + GOOD_BYTES, "invalid_json"),
        (GOOD_BYTES + b"\n" + GOOD_BYTES, "invalid_json"),
        (b'{"user":"\xff","at":5,"i":1,"f":1}', "invalid_utf8"),
        (b'{"user":"u","at":5,"i":1,"f":1,"x":"\xff"}', "invalid_utf8"),
        (b'{"user":"\\ud800","at":5,"i":1,"f":1}', "invalid_utf8"),
        (b"[1]", "wrong_type"),
        (b'"text"', "wrong_type"),
        (event(user=1), "wrong_type"),
        (event(i=1.0), "wrong_type"),
        (event(i=True), "wrong_type"),
        (event(i="1"), "wrong_type"),
        (event(f="1"), "wrong_type"),
        (event(f=True), "wrong_type"),
        (event(b=1), "wrong_type"),
        (event(at=1.5), "wrong_type"),
        (event(at="yesterday"), "wrong_type"),
        (b'{"user":"u","at":5,"i":1e999,"f":1}', "wrong_type"),
        (b'{"user":"u","at":5,"i":1}', "missing_field"),
        (event(user=None), "missing_field"),
        (event(i=2**63), "out_of_range"),
        (event(i=-(2**63) - 1), "out_of_range"),
        (b'{"user":"u","at":5,"f":1,"i":' + b"9" * 5000 + b"}", "out_of_range"),
        (event(f=10**400), "out_of_range"),
        (event(at="10000-01-01"), "out_of_range"),
        (event(at=253_402_300_800_000), "out_of_range"),
        (b'{"user":"u","at":5,"i":1,"f":1e400}', "out_of_range"),
    ],
)
def test_reasons(data: bytes, reason: str) -> None:
    assert fault(data) == reason


def test_of_several_faults_the_first_declared_field_s_counts() -> None:
    assert fault(b'{"i":1.5,"at":"no","user":"u"}') == "wrong_type"
    assert fault(b'{"i":1.5,"at":"10000-01-01","user":"u"}') == "out_of_range"
    assert fault(b'{"i":1.5}') == "missing_field"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("i", 2**63 - 1),
        ("i", -(2**63)),
        ("f", sys.float_info.max),
        ("f", -sys.float_info.max),
        ("at", MIN_TIME_MS),
        ("at", MAX_TIME_MS),
    ],
)
def test_the_bounds_themselves_are_in_range(name: str, value: float) -> None:
    for data in (event(**{name: value}), slowly(event(**{name: value}))):
        assert not isinstance(read(data), Fault)


def test_too_deep() -> None:
    deep = b'{"user":"u","at":5,"i":1,"f":1,"x":' + b"[" * 100 + b"]" * 100 + b"}"
    assert fault(deep) == "too_deep"
    objects = b'{"user":"u","at":5,"i":1,"f":1,"x":' + b'{"":' * 99 + b"{}" + b"}" * 99 + b"}"
    assert fault(objects) == "too_deep"
    assert fault(b"[" * 200_000) == "too_deep"
    for sound in (
        deep.replace(b"[[", b"[", 1).replace(b"]]", b"]", 1),
        objects.replace(b'{"":{}}', b"{}"),
        deep.replace(b"[[", b"[", 1).replace(b"]]}", b'],"y":[[],{}]}'),
        event(s="[{" * 200),
        event(x=[[1] for _ in range(300)]),
    ):
        assert not isinstance(read(sound), Fault)


def test_too_large() -> None:
    exact = replace(EVENTS, max_bytes=len(GOOD_BYTES))
    assert not isinstance(read(GOOD_BYTES, exact), Fault)
    assert fault(GOOD_BYTES, replace(EVENTS, max_bytes=len(GOOD_BYTES) - 1)) == "too_large"
    assert fault(GOOD_BYTES + b" ", exact) == "too_large"
    assert fault(GOOD_BYTES + b"\n", exact) == "too_large"


@pytest.mark.parametrize(
    "data",
    [
        b'{"user":1,"user":"u","at":5,"i":1,"f":1.5}',
        b'{"user":"u","at":5,"i":null,"i":1,"f":1.5}',
        b'{"user":"u","at":5,"i":1,"f":1.5,"unknown":"\\ud800"}',
        b'{"user":"u","at":5,"i":1,"f":1.5,"unknown":1e999}',
        b' \n{"user":"u","at":5,\r\n"i":1,"f":1.5}\t\n',
        GOOD_BYTES + b"\n",
    ],
)
def test_the_last_of_duplicate_members_counts_and_unknown_ones_and_blanks_do_not(data: bytes) -> None:
    assert read(data) == {"user": "u", "at": 5, "s": None, "i": 1, "f": 1.5, "b": None}


@pytest.mark.parametrize("digits", ["9" * 30, "1" + "0" * 300, "-" + "9" * 100, "-0", "9007199254740993"])
def test_an_int_of_any_size_is_a_float(digits: str) -> None:
    found = read(f'{{"user":"u","at":5,"i":1,"f":{digits}}}'.encode())["f"]
    assert repr(found) == repr(float(int(digits)))


def test_integer_times_count_their_unit_and_are_rounded_down() -> None:
    def of(unit: TimeUnit, number: int) -> Any:
        events = replace(EVENTS, fields=(FIELDS[0], replace(FIELDS[1], unit=unit)))
        found, slow = (read(data, events) for data in (event(at=number), slowly(event(at=number))))
        assert repr(found) == repr(slow)
        return found.reason if isinstance(found, Fault) else found["at"]

    assert of(TimeUnit.SECONDS, -1) == -1000
    assert of(TimeUnit.MILLISECONDS, -1) == -1
    assert of(TimeUnit.MICROSECONDS, 1999) == 1
    assert of(TimeUnit.MICROSECONDS, -1) == -1
    assert of(TimeUnit.SECONDS, 253_402_300_799) == 253_402_300_799_000
    assert of(TimeUnit.SECONDS, 253_402_300_800) == "out_of_range"
    assert of(TimeUnit.MICROSECONDS, 253_402_300_799_999_999) == 253_402_300_799_999
    assert of(TimeUnit.MICROSECONDS, 253_402_300_800_000_000) == "out_of_range"


NESTED = nested(
    (("user", "id"), Type.STRING, False),
    (("user", "score"), Type.FLOAT, True),
    (("items", 0, "price"), Type.FLOAT, True),
    (("items", 2), Type.INT, True),
)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('{"user":{"id":"a","score":2},"items":[{"price":1.5},{},7,{}]}', ("a", 2.0, 1.5, 7)),
        ('{"user":{"id":"a","x":[1e999]},"items":[{"price":1},"\\ud800",7,1e999,"\\udfff"]}', ("a", None, 1.0, 7)),
        ('{"user":{"id":"a"},"items":null}', ("a", None, None, None)),
        ('{"user":{"id":"a"},"items":[]}', ("a", None, None, None)),
        ('{"user":{"id":"a"},"items":[null,3]}', ("a", None, None, None)),
        ('{"user":1,"user":{"id":"a"},"items":[null,3]}', ("a", None, None, None)),
        ('{"user":7,"items":7,"user":{"id":"a"},"items":[{"price":1}]}', ("a", None, 1.0, None)),
        ('{"user":{"id":"a","score":1},"user":{"id":"b"}}', ("b", None, None, None)),
        ('{"user":{"score":1}}', "missing_field"),
        ('{"user":null}', "missing_field"),
        ("{}", "missing_field"),
        ('{"user":[]}', "wrong_type"),
        ('{"user":{"id":"a"},"items":{}}', "wrong_type"),
        ('{"user":{"id":"a"},"items":[5]}', "wrong_type"),
        ('{"user":{"id":"a"},"items":[{},{},"7"]}', "wrong_type"),
        ('{"user":{"id":"a"},"items":[{},\\q]}', "invalid_json"),
    ],
)
def test_paths(text: str, expected: tuple[Any, ...] | str) -> None:
    found = read(text.encode(), NESTED)
    assert (found.reason if isinstance(found, Fault) else tuple(found.values())) == expected


@pytest.mark.parametrize(
    ("paths", "text", "values"),
    [
        ([("a", 1), ("a", 0)], '{"a":[1,2,"x"]}', [2, 1]),
        ([("a", 500)], '{"a":[' + "0," * 500 + "1]}", [1]),
        ([('q"\\\n', "x")], '{"q\\"\\\\\\n":{"x":1}}', [1]),
        ([("", "class")], '{"":{"class":1}}', [1]),
        ([("é",), ("a", "f1")], '{"\\u00e9":1,"a":{"f1":2}}', [1, 2]),
        ([("a",), ("b", "a"), ("b", "b", "a")], '{"a":1,"b":{"a":2,"b":{"a":3}}}', [1, 2, 3]),
    ],
)
@pytest.mark.parametrize("nullable", [True, False])
def test_odd_paths(paths: list[tuple[str | int, ...]], text: str, values: list[int], *, nullable: bool) -> None:
    events = nested(*((path, Type.INT, nullable) for path in paths))
    assert list(read(text.encode(), events).values()) == values
    assert read(b"{}", events) == dict.fromkeys(["f0", "f1", "f2"][: len(paths)]) if nullable else fault(b"{}", events)


def test_paths_that_contradict_each_other_are_both_read_where_nothing_stands() -> None:
    both = nested((("a", "x"), Type.INT, True), (("a", 0), Type.INT, True))
    assert read(b'{"a":null}', both) == {"f0": None, "f1": None}
    assert fault(b'{"a":{"x":1}}', both) == "wrong_type"


def test_garbage() -> None:
    random = Random(1)
    for _ in range(2_000):
        text = "".join(random.choices('{}[]":,eE+-.0123456789truefalsnuI \\ud', k=random.randint(0, 40)))
        read(random.choice([text.encode(), b'{"user":' + text.encode() + b"}", random.randbytes(20)]))


@pytest.mark.parametrize("data", [b"{", b"\xff", event(i="1"), event(i=None), b"{" * 200])
def test_a_fault_holds_no_records(data: bytes) -> None:
    class Batch(list[Record]):
        """A list that can be watched."""

    records = Batch([Record(GOOD_BYTES), Record(data)])
    watched = weakref.ref(records)
    gc.disable()
    try:
        events = reader_of(EVENTS)(records)
        del records
        assert isinstance(events[1], Fault)
        assert watched() is None
    finally:
        gc.enable()


def test_no_records() -> None:
    assert reader(EVENTS)([]) == []


@pytest.mark.parametrize(
    "data",
    [GOOD_BYTES, GOOD_BYTES + b"\n", event(s="x" * 300), event(s="x" * 2000), event(x=[[1]] * 40), event(x={"y": []})],
)
def test_plain_records_are_not_looked_at_twice(data: bytes) -> None:
    def otherwise(_: bytes) -> None:
        pytest.fail("looked at twice")

    read_fast = plain_reader(EVENTS, otherwise)
    for datas in ([data], [data] * 3, [data, b" " + data]):
        compare(EVENTS, datas, read_fast([Record(each) for each in datas]))


@pytest.mark.parametrize(
    "datas",
    [
        [GOOD_BYTES + b" " + GOOD_BYTES, b""],
        [GOOD_BYTES + b"\n" + GOOD_BYTES, b""],
        [GOOD_BYTES + GOOD_BYTES, b"\n"],
        [b'{"user":"u",', b'"at":5,"i":1,"f":1.5}', GOOD_BYTES + GOOD_BYTES],
        [b'{"user":"u","x":{}', b',"at":5,"i":1,"f":1.5}', GOOD_BYTES + b"\n" + GOOD_BYTES],
        [b'{"user":"u","x":', b'{},"at":5,"i":1,"f":1.5}', GOOD_BYTES + b"\n" + GOOD_BYTES],
        [b'{"user":"u","x":[{}', b'{}],"at":5,"i":1,"f":1.5}', GOOD_BYTES + b"\n" + GOOD_BYTES],
        [b'{"user":"u}', b'{","at":5,"i":1,"f":1.5}', GOOD_BYTES + b"\n" + GOOD_BYTES],
        [GOOD_BYTES + b"\n" + GOOD_BYTES + b"\n", b"\n"],
        [b'{"user":"\xc3', b'\xa9","at":5,"i":1,"f":1.5}'],
        [b"[" * 150, b"[" * 150, b"{" * 300],
        [b'{"a":' * 199, b'{"a":' * 199],
    ],
)
def test_one_record_does_not_lend_another_what_it_lacks(datas: list[bytes]) -> None:
    for company in (datas, [GOOD_BYTES, *datas, GOOD_BYTES]):
        compare(EVENTS, company, reader_of(EVENTS)([Record(data) for data in company]))


def test_a_chunk_gives_what_its_records_give_alone() -> None:
    random = Random(1)
    read_records = reader(EVENTS)
    for _ in range(200):
        datas = [
            event(user=random.choice("ab"), s=random.choice(["", "é", None])) for _ in range(random.randint(1, 64))
        ]
        if random.random() < 0.5:
            datas[random.randrange(len(datas))] = random.choice([b"", b"{}", b"\xff", GOOD_BYTES * 2, event(f="x")])
        records = [Record(data) for data in datas]
        together = [values_of(EVENTS, entry) for entry in read_records(records)]
        alone = [values_of(EVENTS, read_records([record])[0]) for record in records]
        assert repr(together) == repr(alone)
