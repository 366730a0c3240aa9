"""Which documents have a struct of their own, and what it takes and gives."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from consumer.core.decode_event import flat_event, typed_event
from consumer.pipeline.model import Field, Type

WIRE_TYPES = {Type.INT: int, Type.STRING: str}
Path = tuple[str | int, ...]


def _fields(*paths: Path, nullable: str = "") -> tuple[Field, ...]:
    """Return fields of ints named a, b, c ... at these paths; those that `nullable` names may be null."""
    return tuple(
        Field(name, Type.INT, nullable=name in nullable, path=path)
        for name, path in zip("abcdefgh", paths, strict=False)
    )


def _struct(*paths: Path, nullable: str = "") -> type[msgspec.Struct] | None:
    return typed_event(_fields(*paths, nullable=nullable), WIRE_TYPES)


def _read(document: str, *paths: Path, nullable: str = "") -> list[Any] | str:
    """Return the fields' values in a document, or what is wrong with it."""
    struct = _struct(*paths, nullable=nullable)
    assert struct is not None
    try:
        event = msgspec.json.decode(document, type=struct)
    except msgspec.ValidationError as error:
        return str(error)
    return [getattr(event, f"f_{name}") for name in "abcdefgh"[: len(paths)]]


@pytest.mark.parametrize(
    "paths",
    [
        (("x",), ("y", "z")),
        (("x", "y", "z"), ("x", "y", "w"), ("x", "v")),
        (("x", 0), ("x", 63)),
        (("x", 63),),
        (("x", 1, "y"), ("x", 1, "z", 2)),
        (("a b",), ("x", "ä!")),
    ],
)
def test_paths_through_objects_and_short_arrays_have_a_struct(paths: tuple[Path, ...]) -> None:
    assert _struct(*paths) is not None


@pytest.mark.parametrize(
    "paths",
    [
        (("x",), ("x", "y")),
        (("x", "y"), ("x",)),
        (("x",), ("x",)),
        (("x", "y"), ("z",), ("x", "y")),
        ((0,), (1,)),
        (("x",), (1,)),
        (("x", 64),),
        (("x", 0), ("x", 64)),
        (("x", "y", 64, "z"), ("w",)),
        (("w",), ("x", "y", 64, "z")),
        (("x", 0, 64), ("x", 1)),
        (("x", 1, 64), ("x", 0, 1)),
        (("x", 0), ("x", "y")),
        (("x", "y"), ("x", 0)),
        (('x"',),),
        (("x\\",),),
        (("x\n",), ("y",)),
        (("y",), ("x", "\x1f")),
        (("x", 0, '"'), ("x", 1, "y")),
        (("y", 'a"b', "c"), ("y", "z")),
    ],
)
def test_other_paths_have_none(paths: tuple[Path, ...]) -> None:
    assert _struct(*paths) is None


PAIR: tuple[Path, ...] = (("x", 1), ("x", 3))
DEEP: tuple[Path, ...] = (("x", "y", "a"), ("x", "y", "b"), ("x", "c"))


@pytest.mark.parametrize(
    ("paths", "nullable", "document", "values"),
    [
        (PAIR, "", '{"x": ["?", 1, {}, 3]}', [1, 3]),
        (PAIR, "", '{"x": ["?", 1, {}, 3, "more"], "y": 5}', [1, 3]),
        (PAIR, "b", '{"x": ["?", 1]}', [1, None]),
        (PAIR, "b", '{"x": ["?", 1, {}]}', [1, None]),
        (PAIR, "b", '{"x": ["?", 1, {}, null]}', [1, None]),
        (PAIR, "ab", '{"x": []}', [None, None]),
        (PAIR, "ab", '{"x": ["?"]}', [None, None]),
        (PAIR, "ab", "{}", [None, None]),
        (PAIR, "ab", '{"x": null}', [None, None]),
        (PAIR, "a", '{"x": ["?", null, {}, 3]}', [None, 3]),
        ((("x", 3), ("x", 1)), "a", '{"x": ["?", 1]}', [None, 1]),
        ((("x", 0), ("x", 1), ("x", 2)), "c", '{"x": [0, 1]}', [0, 1, None]),
        (DEEP, "", '{"x": {"y": {"b": 2, "a": 1}, "c": 3}}', [1, 2, 3]),
        (DEEP, "ab", '{"x": {"c": 3}}', [None, None, 3]),
        (DEEP, "ab", '{"x": {"y": null, "c": 3}}', [None, None, 3]),
        (DEEP, "a", '{"x": {"y": {"b": 2}, "c": 3}}', [None, 2, 3]),
        (DEEP, "abc", "{}", [None, None, None]),
        (DEEP, "abc", '{"x": {"y": {"b": 7}}}', [None, 7, None]),
        ((("x", 1, "a"), ("x", 1, "b"), ("y",)), "ab", '{"y": 9}', [None, None, 9]),
        ((("x", 1, "a"), ("x", 1, "b"), ("y",)), "ab", '{"x": [0, null], "y": 9}', [None, None, 9]),
        ((("x", 1, "a"), ("x", 1, "b"), ("y",)), "b", '{"x": [0, {"a": 1}], "y": 9}', [1, None, 9]),
    ],
)
def test_what_may_be_null_may_be_missing(
    paths: tuple[Path, ...], nullable: str, document: str, values: list[int | None]
) -> None:
    assert _read(document, *paths, nullable=nullable) == values


@pytest.mark.parametrize(
    ("paths", "nullable", "document"),
    [
        (PAIR, "", '{"x": ["?", 1, {}]}'),
        (PAIR, "", '{"x": ["?", 1]}'),
        (PAIR, "a", '{"x": ["?", null, {}]}'),
        (PAIR, "a", '{"x": ["?"]}'),
        (PAIR, "b", '{"x": ["?"]}'),
        (PAIR, "b", '{"x": []}'),
        (PAIR, "", "{}"),
        (PAIR, "b", '{"x": null}'),
        (PAIR, "", '{"x": ["?", null, {}, 3]}'),
        (PAIR, "", '{"x": {"1": 1, "3": 3}}'),
        (DEEP, "a", '{"x": {"y": {}, "c": 3}}'),
        (DEEP, "a", '{"x": {"c": 3}}'),
        (DEEP, "ab", '{"x": {"y": {}}}'),
        (DEEP, "ab", "{}"),
        (DEEP, "", '{"x": {"y": {"a": 1, "b": null}, "c": 3}}'),
        (DEEP, "", '{"x": {"y": {"a": 1, "b": "2"}, "c": 3}}'),
    ],
)
def test_what_may_not_be_null_must_be_there(paths: tuple[Path, ...], nullable: str, document: str) -> None:
    assert isinstance(_read(document, *paths, nullable=nullable), str)


def test_no_event_or_part_of_it_is_looked_at_by_the_garbage_collector() -> None:
    """There are many, and none of them can be part of a cycle."""
    struct = _struct(("x", "y", 1), ("z",), nullable="ab")
    assert struct is not None
    event = msgspec.json.decode('{"x": {"y": [[], 1]}, "z": 1}', type=struct)
    inner = getattr(event, struct.__struct_fields__[0])
    array = getattr(inner, type(inner).__struct_fields__[0])
    types: list[type[msgspec.Struct]] = [type(event), type(inner), type(array), flat_event(_fields(("x",)))]
    assert len(set(types)) == 4
    assert not any(each.__struct_config__.gc for each in types)
