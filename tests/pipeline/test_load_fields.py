"""Where the values of fields stand: paths, units, columns."""

from __future__ import annotations

import random

import pytest

from consumer.pipeline.field_rules import format_path, parse_path
from consumer.pipeline.load import PipelineError, load_text
from consumer.pipeline.model import TimeUnit

TEXT = """\
pipeline: fields
source: {stream: clicks}
events:
  format: FORMAT
  fields:
FIELDS
windows: {all: {tumbling: 1m, combine: false, select: {events: count()}}}
sinks: [{stdout: {}}]
state: {table: fields-state, bucket: fields-bucket}
"""


def load_fields(format_: str, *lines: str) -> dict[str, tuple[str | int, ...]]:
    text = TEXT.replace("FORMAT", format_).replace("FIELDS", "\n".join(f"    {line}" for line in lines))
    return {field.name: field.path for field in load_text(text, "p.yaml", {}).events.fields}


def mistakes(format_: str, *lines: str) -> list[str]:
    with pytest.raises(PipelineError) as caught:
        load_fields(format_, *lines)
    return [f"{each.line}:{each.column}: {each.path}: {each.message}" for each in caught.value.problems]


@pytest.mark.parametrize("format_", ["json", "msgpack"])
def test_paths(format_: str) -> None:
    assert load_fields(
        format_,
        "page: string",
        "user: {type: int, path: user.id}",
        "price: {type: float, path: 'items[0].price'}",
        "second: {type: float, path: 'items[12].price'}",
        "deep: {type: int, path: 'm[0][1][2]'}",
        "odd: {type: int, path: '[\"first name\"].x-y.@z'}",
        'escaped: {type: int, path: \'["a\\"b\\u00e9"]\'}',
    ) == {
        "page": ("page",),
        "user": ("user", "id"),
        "price": ("items", 0, "price"),
        "second": ("items", 12, "price"),
        "deep": ("m", 0, 1, 2),
        "odd": ("first name", "x-y", "@z"),
        "escaped": ('a"bé',),
    }


@pytest.mark.parametrize(
    "written",
    [
        ".a",
        "a.",
        "a..b",
        "a.[0]",
        "a[0]b",
        "a[-1]",
        "a[x]",
        "a[0",
        "a]",
        "a b",
        "a['b']",
        '["a"',
        '["a\\q"]',
        '["\\ud800"]',
        '"a"',
        "''",
    ],
)
def test_paths_that_are_none(written: str) -> None:
    (mistake,) = mistakes("json", f"x: {{type: int, path: '{written.replace(chr(39), chr(39) * 2)}'}}")
    assert "events.fields.x.path: must be a path such as user.id or items[0].price" in mistake


@pytest.mark.parametrize(
    ("written", "message"),
    [
        ("'[0].a'", "must begin with a name, for an event is no list"),
        ("'a[10000]'", "must not reach beyond the index 9999 of a list"),
        ("'a" + "[9" * 1 + "9" * 400 + "]'", "must not reach beyond the index 9999"),
        ("'" + ".".join("a" * 21) + "'", "must have at most 20 steps, and has 21"),
        ("5", "must be a path such as user.id or items[0].price, and is the number 5"),
        ("[a, b]", "must be a path such as user.id or items[0].price, and is a list"),
    ],
)
def test_paths_that_are_too_much(written: str, message: str) -> None:
    (mistake,) = mistakes("json", f"x: {{type: int, path: {written}}}")
    assert message in mistake


@pytest.mark.parametrize("format_", ["json", "msgpack"])
@pytest.mark.parametrize(
    ("lines", "place", "message"),
    [
        (
            ("user: string", "id: {type: int, path: user.id}"),
            "7:27: events.fields.id.path",
            "lies inside user, which `user` reads as one value",
        ),
        (
            ("id: {type: int, path: user.id}", "user: string"),
            "7:5: events.fields.user.path",
            "reads user as one value, and `id` reads inside it",
        ),
        (
            ("a: {type: int, path: x.y.z}", "b: {type: int, path: x.y}"),
            "7:26: events.fields.b.path",
            "reads x.y as one value, and `a` reads inside it",
        ),
        (
            ("a: {type: int, path: x.y}", "b: {type: int?, path: x.y}".replace("int?", "'int?'")),
            "7:29: events.fields.b.path",
            "reads x.y, as `a` does: give a value another name by `let`",
        ),
        (
            ("a: {type: int, path: x.y}", "b: {type: int, path: 'x[0]'}"),
            "7:26: events.fields.b.path",
            "takes x for a list, and `a` takes it for an object",
        ),
        (
            ("a: {type: int, path: 'x[1].u'}", "b: {type: int, path: x.y}"),
            "7:26: events.fields.b.path",
            "takes x for an object, and `a` takes it for a list",
        ),
    ],
)
def test_paths_that_exclude_each_other(format_: str, lines: tuple[str, ...], place: str, message: str) -> None:
    assert mistakes(format_, *lines) == [f"{place}: {message}"]


def test_paths_side_by_side() -> None:
    assert len(load_fields("json", "a: {type: int, path: x.y}", "b: {type: int, path: x.z}", "y: int")) == 3
    assert len(load_fields("json", "a: {type: int, path: 'x[0]'}", "b: {type: int, path: 'x[1].u'}", "z: int")) == 3


def test_units() -> None:
    text = TEXT.replace("FORMAT", "json").replace(
        "FIELDS", "    a: timestamp\n    b: {type: timestamp, unit: s}\n    c: {type: 'timestamp?', unit: us}\n"
    )
    units = [field.unit for field in load_text(text, "p.yaml", {}).events.fields]
    assert units == [TimeUnit.MILLISECONDS, TimeUnit.SECONDS, TimeUnit.MICROSECONDS]


@pytest.mark.parametrize(
    ("format_", "line", "mistake"),
    [
        (
            "json",
            "a: {type: int, unit: s}",
            "6:26: events.fields.a.unit: says what a timestamp counts, and `a` is of type int: leave it out",
        ),
        (
            "json",
            "a: {type: timestamp, unit: sec}",
            '6:32: events.fields.a.unit: must be one of s, ms, us, and is "sec"',
        ),
        (
            "json",
            "a: {type: timestamp, unit: MS}",
            '6:32: events.fields.a.unit: must be one of s, ms, us, and is "MS" (did you mean `ms`?)',
        ),
        ("json", "a: {path: x.y}", "6:5: events.fields.a.type: is required: `type: string`"),
        (
            "json",
            "a: {type: int, pth: x.y}",
            (
                "6:20: events.fields.a.pth: is not a known key; did you mean `path`? "
                "Allowed here: type, path, unit, column"
            ),
        ),
        (
            "json",
            "a: {type: int, nullable: true}",
            "6:20: events.fields.a.nullable: is not a known key here: write a ? after the type",
        ),
        (
            "json",
            "a: {type: integer}",
            (
                "6:15: events.fields.a.type: must be one of string, int, float, bool, timestamp, each with a ? where "
                'it may be absent or null, and is "integer" (did you mean `int`?)'
            ),
        ),
        (
            "json",
            "a: [int]",
            (
                "6:8: events.fields.a: must be one of string, int, float, bool, timestamp, each with a ? where it may "
                "be absent or null, and is a list"
            ),
        ),
        (
            "json",
            "a: {type: int, column: 1}",
            "6:28: events.fields.a.column: a json event has no columns: write `path: user.id`",
        ),
        (
            "msgpack",
            "a: {type: int, column: 1}",
            "6:28: events.fields.a.column: a msgpack event has no columns: write `path: user.id`",
        ),
        (
            "csv",
            "a: {type: int, path: a.b}",
            "6:26: events.fields.a.path: a csv record has no members: write `column: 3` or `column: NAME`",
        ),
        (
            "csv",
            "a: {type: int, column: 0}",
            "6:28: events.fields.a.column: must be a number from 1 to 1000, or a name, and is the number 0",
        ),
        (
            "csv",
            "a: {type: int, column: true}",
            "6:28: events.fields.a.column: must be the number of a column, from 1, or its name, and is true",
        ),
        (
            "csv",
            "a: {type: int, column: ''}",
            '6:28: events.fields.a.column: must be a name that is not empty and can be printed, and is ""',
        ),
        ("xml", "a: int", '4:11: events.format: must be one of json, msgpack, csv, and is "xml"'),
        (
            "JSON",
            "a: int",
            '4:11: events.format: must be one of json, msgpack, csv, and is "JSON" (did you mean `json`?)',
        ),
    ],
)
def test_mistakes_in_a_field(format_: str, line: str, mistake: str) -> None:
    assert mistakes(format_, line) == [mistake]


def test_columns_by_turn_and_by_number() -> None:
    assert load_fields("csv", "a: int", "b: int", "c: int") == {"a": (0,), "b": (1,), "c": (2,)}
    assert load_fields("csv", "a: int", "b: {type: int, column: 9}", "c: int") == {"a": (0,), "b": (8,), "c": (2,)}


def test_columns_by_name() -> None:
    """One name is enough: then all fields go by name."""
    assert load_fields("csv", "a: int", "b: {type: int, column: The B}", "c: {type: int, column: '3'}") == {
        "a": ("a",),
        "b": ("The B",),
        "c": ("3",),
    }


@pytest.mark.parametrize(
    ("lines", "mistake"),
    [
        (
            ("a: {type: int, column: 2}", "b: {type: int, column: 2}"),
            "7:28: events.fields.b.column: reads column 2, as `a` does",
        ),
        (
            ("a: {type: int, column: 2}", "b: int"),
            (
                "7:5: events.fields.b.column: reads column 2, as `a` does; a field without `column` has the column "
                "of its turn"
            ),
        ),
        (
            ("a: int", "b: {type: int, column: 1}"),
            (
                "7:28: events.fields.b.column: reads column 1, as `a` does; a field without `column` has the column "
                "of its turn"
            ),
        ),
        (
            ("a: {type: int, column: x}", "b: {type: int, column: x}"),
            "7:28: events.fields.b.column: reads the column x, as `a` does",
        ),
        (
            ("a: int", "b: {type: int, column: a}"),
            "7:28: events.fields.b.column: reads the column a, as `a` does",
        ),
        (
            ("a: {type: int, column: x}", "b: {type: int, column: 1}"),
            (
                "7:28: events.fields.b.column: is a number, and that of `a` is a name: write numbers for all fields, "
                "or names for all"
            ),
        ),
        (
            ("a: {type: int, column: 1}", "b: int", "c: {type: int, column: x}"),
            (
                "8:28: events.fields.c.column: is a name, and that of `a` is a number: write numbers for all fields, "
                "or names for all"
            ),
        ),
    ],
)
def test_columns_that_exclude_each_other(lines: tuple[str, ...], mistake: str) -> None:
    assert mistakes("csv", *lines) == [mistake]


def test_one_mistake_in_a_field_gives_one_message() -> None:
    assert len(mistakes("csv", "a: {type: itn, column: 2}", "b: int")) == 1
    assert len(mistakes("json", "a: {type: itn, path: x}", "b: {type: int, path: x.y}")) == 1
    assert len(mistakes("json", "a: ${NOBODY}", "b: {type: int, path: a.y}")) == 1
    assert len(mistakes("xml", "a: {type: int, path: x}", "b: {type: int, column: 1}")) == 1


def test_a_path_prints_as_it_reads() -> None:
    random_ = random.Random(7)
    steps: list[str | int] = [
        "a",
        "user",
        "first name",
        'q"uo\\te',
        "é",
        "a.b",
        "[0]",
        "",
        0,
        7,
        9_999,
        "\n",
        "x-1",
        "0",
    ]
    for _ in range(500):
        path = tuple(random_.choice(steps) for _ in range(random_.randint(1, 6)))
        assert parse_path(format_path(path)) == path


def test_any_text_is_a_path_or_none() -> None:
    random_ = random.Random(8)
    for _ in range(2_000):
        text = "".join(random_.choice("ab.[]\"0\\ 'é") for _ in range(random_.randint(0, 8)))
        path = parse_path(text)
        if path is not None:
            assert parse_path(format_path(path)) == path
