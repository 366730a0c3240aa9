"""The fast reader and the slow one: the same events, the same faults."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from consumer.core.decode import UNDECODABLE, event_type, inspect, rereader
from consumer.core.faults import REASONS, Fault
from tests.random_pipelines import FIELDS

EVENT = event_type(FIELDS)
FAST = msgspec.json.Decoder(EVENT).decode
REREAD = rereader(EVENT, FIELDS)
GOOD: dict[str, Any] = {"user": "u", "at": 5, "i": 1, "f": 1.5}
MAX_BYTES = 1 << 20


def _read(reader: Callable[[bytes], msgspec.Struct], data: bytes, max_bytes: int) -> msgspec.Struct:
    inspect(data, max_bytes)
    return reader(data)


def _fault(data: bytes, max_bytes: int = MAX_BYTES) -> str:
    """Return the reason that the generated code would give."""
    with pytest.raises((Fault, *UNDECODABLE)):
        _read(FAST, data, max_bytes)
    with pytest.raises(Fault) as caught:
        _read(REREAD, data, max_bytes)
    assert caught.value.reason in REASONS
    return caught.value.reason


def _event(**members: Any) -> bytes:
    return json.dumps({**GOOD, **members}).encode()


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "invalid_json"),
        (b"{", "invalid_json"),
        (b'{"user":"u","at":5,"i":1,"f":NaN}', "invalid_json"),
        (b'{"user":"u","at":5,"i":1,"f":Infinity}', "invalid_json"),
        (b'{"user":"u","at":5,"i":1,"f":1}x', "invalid_json"),
        (b"\xef\xbb\xbf{}", "invalid_json"),
        (b'{"user":"\xff","at":5,"i":1,"f":1}', "invalid_utf8"),
        (b'{"user":"\\ud800","at":5,"i":1,"f":1}', "invalid_utf8"),
        (b"[1]", "wrong_type"),
        (b'"text"', "wrong_type"),
        (_event(user=1), "wrong_type"),
        (_event(i=1.0), "wrong_type"),
        (_event(i=True), "wrong_type"),
        (_event(i="1"), "wrong_type"),
        (_event(f="1"), "wrong_type"),
        (_event(f=True), "wrong_type"),
        (_event(b=1), "wrong_type"),
        (_event(at=1.5), "wrong_type"),
        (b'{"user":"u","at":5,"i":1}', "missing_field"),
        (_event(user=None), "missing_field"),
        (_event(i=2**63), "out_of_range"),
        (_event(i=-(2**63) - 1), "out_of_range"),
        (_event(i=10**500), "out_of_range"),
        (_event(f=10**400), "out_of_range"),
        (b'{"user":"u","at":5,"i":1,"f":1e400}', "out_of_range"),
    ],
)
def test_reasons(data: bytes, reason: str) -> None:
    assert _fault(data) == reason


def test_too_deep() -> None:
    nested = b'{"user":"u","at":5,"i":1,"f":1,"x":' + b"[" * 100 + b"]" * 100 + b"}"
    assert _fault(nested) == "too_deep"
    inspect(nested.replace(b"[[", b"[", 1).replace(b"]]", b"]", 1), MAX_BYTES)
    inspect(b'{"x":"' + b"[{" * 200 + b'"}', MAX_BYTES)


def test_too_large() -> None:
    assert _fault(_event(s="x" * 100), 100) == "too_large"


@pytest.mark.parametrize(
    "data",
    [
        b'{"user":1,"user":"u","at":5,"i":1,"f":1.5}',
        b'{"user":"u","at":5,"i":null,"i":1,"f":1.5}',
        b'{"user":"u","at":5,"i":1,"f":1.5,"unknown":"\\ud800"}',
        b'{"user":"u","at":5,"i":1,"f":1.5,"unknown":1e999}',
    ],
)
def test_the_last_of_duplicate_members_counts_and_unknown_ones_do_not(data: bytes) -> None:
    assert REREAD(data) == FAST(json.dumps(GOOD).encode())


@pytest.mark.parametrize("digits", ["9" * 30, "1" + "0" * 300, "-" + "9" * 100])
def test_an_int_of_any_size_is_a_float(digits: str) -> None:
    data = f'{{"user":"u","at":5,"i":1,"f":{digits}}}'.encode()
    assert FAST(data) == REREAD(data)
    assert REREAD(data).f_f == float(digits)  # type: ignore[attr-defined] # the event's type is made at run time


_scalars = (
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=5)
)
_members = st.dictionaries(st.sampled_from([field.name for field in FIELDS] + ["other"]), _scalars | st.lists(_scalars))


@given(_members)
@example(dict(GOOD))
def test_both_readers_agree_on_objects(members: dict[str, Any]) -> None:
    _agree(json.dumps(members, ensure_ascii=False).encode(errors="surrogatepass"))


@given(st.binary(max_size=40) | st.text(alphabet='{}[]":,eE+-.0123456789truefalsnuI \\ud', max_size=40).map(str.encode))
def test_both_readers_agree_on_garbage(data: bytes) -> None:
    _agree(data)


def _agree(data: bytes) -> None:
    """Check that the slow reader takes what the fast one takes; the fast one leaves times to the generated code."""
    try:
        fast = FAST(data)
    except UNDECODABLE:
        return
    try:
        inspect(data, MAX_BYTES)
        slow = REREAD(data)
    except Fault as fault:
        assert fault.detail.startswith(("at", "t", "byte")), fault  # noqa: PT017 - a time, or bytes outside fields
        return
    for field in FIELDS:
        if field.type != "timestamp":
            name = f"f_{field.name}"
            assert getattr(fast, name) == getattr(slow, name)
