"""The names of groups that were emitted early: how they are counted, stored and forgotten."""

from __future__ import annotations

from typing import Any

import pytest

from consumer.core.parts import Parts
from consumer.core.windows import Packed, Shape


def _not_needed(*_: Any) -> Any:
    raise AssertionError


def _shape() -> Shape:
    """Return what names need: their keys are stored as they are."""

    def unpack_key(values: Packed) -> Any:
        (key,) = values
        return key

    names = ("new", "merge", "pack", "unpack", "pack_rows", "unpack_rows", "order")
    return Shape(**dict.fromkeys(names, _not_needed), pack_key=lambda key: [key], unpack_key=unpack_key)


@pytest.fixture
def parts() -> Parts:
    return Parts(_shape())


def _all(parts: Parts) -> list[Packed]:
    return parts.changes(everything=True)


def _new(parts: Parts) -> list[Packed]:
    return parts.changes(everything=False)


def test_parts_are_counted_by_key_and_start(parts: Parts) -> None:
    assert parts.number("a", 5) is None
    assert [parts.add("a", 5, 10), parts.add("a", 5, 10), parts.add("a", 6, 10), parts.add("b", 5, 10)] == [0, 1, 0, 0]
    assert [parts.number("a", 5), parts.number("a", 6), parts.number("b", 6)] == [2, 1, None]


def test_a_name_is_forgotten_at_its_time_and_not_before(parts: Parts) -> None:
    parts.add("a", 5, 10)
    parts.add("b", 5, 11)
    parts.forget(9)
    assert parts.number("a", 5) == 1
    parts.forget(10)
    assert [parts.number("a", 5), parts.number("b", 5)] == [None, 1]
    parts.forget(10**9)
    parts.forget(10**9)
    assert _all(parts) == []
    assert _new(parts) == []


def test_a_name_is_kept_as_long_as_its_longest_part_needs_it(parts: Parts) -> None:
    for until_ms in (10, 20, 15):
        parts.add("a", 5, until_ms)
    parts.forget(19)
    assert _all(parts) == [[20, 3, 5, "a"]]
    parts.forget(20)
    assert parts.number("a", 5) is None


def test_a_name_that_comes_again_starts_anew(parts: Parts) -> None:
    parts.add("a", 5, 10)
    parts.forget(10)
    assert parts.add("a", 5, 30) == 0
    parts.forget(29)
    assert parts.number("a", 5) == 1


def test_keys_that_cannot_be_compared_may_be_forgotten_at_one_time(parts: Parts) -> None:
    for key in (None, "a", 1, ("a", None)):
        parts.add(key, 5, 10)
    parts.forget(10)
    assert _all(parts) == []


def test_what_changed_is_told_until_it_is_stored(parts: Parts) -> None:
    parts.add("a", 5, 10)
    parts.add("b", 6, 11)
    assert sorted(_new(parts)) == sorted(_all(parts)) == [[10, 1, 5, "a"], [11, 1, 6, "b"]]
    parts.fold()
    assert _new(parts) == []
    parts.add("b", 6, 11)
    assert _new(parts) == [[11, 2, 6, "b"]]
    assert parts.changes(everything=True, keep="a".__eq__) == [[10, 1, 5, "a"]]
    assert parts.changes(everything=False, keep="a".__eq__) == []


def test_what_is_forgotten_is_not_told(parts: Parts) -> None:
    parts.add("a", 5, 10)
    parts.add("b", 5, 20)
    parts.forget(10)
    assert _new(parts) == [[20, 1, 5, "b"]]


def test_restored_names_go_on_and_are_no_change(parts: Parts) -> None:
    parts.restore([[10, 2, 5, "a"], [20, 1, 5, "b"]])
    parts.restore([[12, 3, 5, "a"]])
    assert _new(parts) == []
    assert parts.number("a", 5) == 3
    parts.forget(11)
    assert parts.add("a", 5, 12) == 3
    parts.forget(12)
    assert _all(parts) == [[20, 1, 5, "b"]]
