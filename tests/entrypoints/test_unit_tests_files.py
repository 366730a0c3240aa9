"""What a file of tests may say, and how its mistakes are told."""

from __future__ import annotations

import random
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import pytest

from consumer.core.decode import attribute, reader
from consumer.core.faults import Fault
from consumer.core.times import format_time, parse_time
from consumer.entrypoints.unit_tests.compare import compare
from consumer.entrypoints.unit_tests.definitions import ExpectedRow, Kind
from consumer.entrypoints.unit_tests.events import EncodingProblem, encode_event
from consumer.entrypoints.unit_tests.load import load_tests
from consumer.entrypoints.unit_tests.times import Times, TimeTextError
from consumer.pipeline.load import load_text
from consumer.pipeline.model import Events, Field, Type
from consumer.pipeline.problems import PipelineError
from consumer.records import Record

PIPELINE = """
pipeline: shop
source: {stream: clicks, partition_key: user}
events:
  compression: none
  fields: {user: string, ts: timestamp, page: "string?", seen: "timestamp?", ok: "bool?"}
  time: ts
  idle_after: 1m
windows:
  views:
    tumbling: 1m
    by: [page, ok]
    combine: false
    select: {n: count(), seen: max(seen), pages: "collect(page, 3)", most: "top(page, 2)", mean: avg(to_int(page))}
  visits: {session: {gap: 5m}, by: [user], select: {n: count()}}
sinks: [{stdout: {}}]
state: {table: state, bucket: snapshots}
"""
HEAD = "pipeline: pipeline.yaml\nstart: 2026-01-31T12:00:00Z\ntests:\n  - name: a\n"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "pipeline.yaml").write_text(PIPELINE)
    return tmp_path


def mistakes(folder: Path, text: str) -> list[str]:
    """Return the mistakes of a file without its name."""
    path = folder / "t.yaml"
    path.write_text(text)
    with pytest.raises(PipelineError) as caught:
        load_tests(path, {})
    return [str(problem).replace(f"{path}:", "") for problem in caught.value.problems]


def mistake(folder: Path, text: str) -> str:
    (found,) = mistakes(folder, text)
    return found


# -- mistakes

STEPS = [
    ("crsh", "6:9: tests[0].steps[0]: `crsh` is no step (did you mean `crash`?). The steps: event, raw, base64, idle"),
    ("[crash]", "6:9: tests[0].steps[0]: must be a mapping (`key: value` lines), and is a list"),
    ("{idle: 2}", "6:16: tests[0].steps[0].idle: `2` lacks a unit: write 2s"),
    ("{idle: 2m, at: 12:00}", "6:20: tests[0].steps[0].at: is not a known key. Allowed here: idle"),
    ("{at: 12:00}", "6:9: tests[0].steps[0]: must have one of event, raw, base64, and has none"),
    ("{raw: a, base64: YQ==}", "6:9: tests[0].steps[0]: must have one of event, raw, base64, and has 2"),
    ("{evnt: {}}", "6:10: tests[0].steps[0].evnt: is not a known key; did you mean `event`? Allowed here: event, raw"),
    ("{event: 3}", "6:17: tests[0].steps[0].event: must be a mapping (`key: value` lines), and is the number 3"),
    ("{event: {usr: a}}", "6:18: tests[0].steps[0].event.usr: is not a known key; did you mean `user`?"),
    ("{event: {ok: .nan}}", "6:17: tests[0].steps[0].event: ok: no format has nan"),
    ("{at: 25:00, event: {}}", "6:14: tests[0].steps[0].at: must be a time such as 12:00:05 (on the day of `start`)"),
    ("{at: 12, event: {}}", "6:14: tests[0].steps[0].at: must be a time such as"),
    ("{at: +3x, event: {}}", "6:14: tests[0].steps[0].at: `3x`: there is no unit `x`"),
    ("{arrival: [], event: {}}", "6:19: tests[0].steps[0].arrival: must be a single value, and is a list"),
    ("{at: 12:00, event: {ts: 12:00}}", "6:29: tests[0].steps[0].event.ts: this time is given twice"),
    ("{at: 12:00, raw: a}", "6:10: tests[0].steps[0].at: gives its time to an `event`; `raw` has its own"),
    ("{raw: 3}", "6:15: tests[0].steps[0].raw: must be a text, and is the number 3"),
    ("{base64: a}", "6:18: tests[0].steps[0].base64: is not base64: "),
    ("{base64: Y_==}", "6:18: tests[0].steps[0].base64: is not base64: "),
]


@pytest.mark.parametrize(("step", "said"), STEPS)
def test_a_step_that_cannot_be_is_told_with_its_place(folder: Path, step: str, said: str) -> None:
    found = mistake(folder, f"{HEAD}    steps:\n      - {step}\n    expect: {{}}\n")
    assert found.startswith(said)


def test_nothing_comes_after_the_close(folder: Path) -> None:
    steps = "[shard closes, crash, commit, {idle: 3m}, {event: {}}, shard closes]"
    said = "stands after `shard closes`: nothing can come any more"
    found = mistakes(folder, f"{HEAD}    steps: {steps}\n    expect: {{}}\n")
    assert found == [f"5:{column}: tests[0].steps[{number}]: {said}" for number, column in ((3, 42), (4, 54), (5, 67))]


def test_idle_time_means_nothing_where_it_closes_nothing(folder: Path) -> None:
    (folder / "pipeline.yaml").write_text(PIPELINE.replace("idle_after: 1m", "idle_after: never"))
    found = mistake(folder, f"{HEAD}    steps: [{{idle: 2m}}]\n    expect: {{}}\n")
    assert found == ("5:13: tests[0].steps[0]: closes nothing in this pipeline, whose `events.idle_after` is never")


ROWS = [
    ("results: 3", "7:16: tests[0].expect.results: must be a list"),
    ("reslts: []", "7:7: tests[0].expect.reslts: is not a known key; did you mean `results`? Allowed here: results"),
    ("results: [{n: 3}]", "7:17: tests[0].expect.results[0]: must say which window it is of: window: views | visits"),
    ("results: [{window: view}]", "7:26: tests[0].expect.results[0].window: there is no window `view` (did you mean"),
    ("results: [{window: visits, page: a}]", "7:34: tests[0].expect.results[0].page: is not a known key. Allowed"),
    (
        "results: [{window: views, page: 42}]",
        '7:39: tests[0].expect.results[0].page: must be a text, and is the number 42: put it in quotes, "42"',
    ),
    ("results: [{window: views, n: 3.0}]", "7:36: tests[0].expect.results[0].n: must be an int, and is the number 3.0"),
    ("results: [{window: views, n: true}]", "7:36: tests[0].expect.results[0].n: must be an int, and is true"),
    ("results: [{window: views, mean: x}]", '7:39: tests[0].expect.results[0].mean: must be a number, and is "x"'),
    ("results: [{window: views, mean: .inf}]", "7:39: tests[0].expect.results[0].mean: must be a finite number"),
    ("results: [{window: views, ok: 1}]", "7:37: tests[0].expect.results[0].ok: must be true or false, and is the"),
    ("results: [{window: views, seen: 3}]", "7:39: tests[0].expect.results[0].seen: must be a time such as 12:00:05"),
    ("results: [{window: views, seen: noon}]", "7:39: tests[0].expect.results[0].seen: must be a time such as"),
    ("results: [{window: views, pages: a}]", '7:40: tests[0].expect.results[0].pages: must be a list, and is "a"'),
    ("results: [{window: views, pages: [1]}]", "7:40: tests[0].expect.results[0].pages: must be a text"),
    ("results: [{window: views, most: [a]}]", "7:39: tests[0].expect.results[0].most: must be a list of mappings"),
    ("results: [{window: views, most: [{val: a}]}]", "7:39: tests[0].expect.results[0].most: must be a list of map"),
    (
        "late: [{lateness: 3}]",
        "7:15: tests[0].expect.late[0].lateness: is not a known key; did you mean `lateness_ms`?",
    ),
    ("late: [{window: vists}]", "7:23: tests[0].expect.late[0].window: there is no window `vists`"),
    ("late: [3]", "7:14: tests[0].expect.late[0]: must be a mapping"),
    ("dead_letters: [{reason: late}]", "7:31: tests[0].expect.dead_letters[0].reason: must be one of invalid_json"),
    ("dead_letters: [{window: views}]", "7:23: tests[0].expect.dead_letters[0].window: is not a known key"),
]


@pytest.mark.parametrize(("rows", "said"), ROWS)
def test_a_row_that_cannot_come_is_told_with_its_place(folder: Path, rows: str, said: str) -> None:
    assert mistake(folder, f"{HEAD}    steps: []\n    expect:\n      {rows}\n").startswith(said)


FILES = [
    ("", ["1:1: a file of tests begins with `pipeline: FILE`, the pipeline that is tested"]),
    ("pipeline: p\nsource: {}", ["1:1: is a pipeline file; a file of its tests begins with `pipeline: FILE`"]),
    ("- a", ["1:1: a file of tests begins with `pipeline: FILE`, the pipeline that is tested"]),
    ("tests: []", ["1:1: pipeline: is required"]),
    ("pipeline: pipeline.yaml", ["1:1: tests: is required"]),
    (
        "pipeline: pipeline.yaml\ntests: {}",
        ["2:8: tests: must be a list (`- item` lines, or [a, b]), and is a mapping"],
    ),
    ("pipeline: [a\n", ["2:1: this is not YAML: expected ',' or ']', but got '<stream end>'"]),
    (f"{HEAD}    steps: []\n", ["4:5: tests[0].expect: is required"]),
    (
        f"{HEAD}    steps: []\n    expect:\n",
        ["6:5: tests[0].expect: must be a mapping (`key: value` lines), and is nothing"],
    ),
    (
        f"{HEAD}    steps: []\n    expect: {{}}\n  - {{name: a, steps: [], expect: {{}}}}\n",
        ["7:12: tests[1].name: this name stands twice, first in line 4"],
    ),
    (HEAD.replace("12:00:00Z", "25:00") + "    steps: []\n    expect: {}\n", ["2:8: start: must be a time such as"]),
    (HEAD.replace("2026-01-31T", "") + "    steps: []\n    expect: {}\n", ["2:8: start: must be a time such as"]),
    (
        HEAD.replace("2026-01-31T12:00:00Z", "12:00") + "    steps: []\n    expect: {}\n",
        ["2:8: start: `12:00` is a time only next to a start: give"],
    ),
    (
        f"{HEAD}    windows: [visit, 3]\n    steps: []\n    expect: {{}}\n",
        ["5:15: tests[0].windows[0]: there is no window `visit`", "5:22: tests[0].windows[1]: must be a text"],
    ),
    (f"{HEAD}    windows: []\n    steps: []\n    expect: {{}}\n", ["5:14: tests[0].windows: must not be empty"]),
    (
        f"{HEAD}    windows: [views]\n    steps: []\n    expect: {{results: [{{window: visits}}]}}\n",
        ["7:33: tests[0].expect.results[0].window: the test looks at views alone (`windows`)"],
    ),
    (
        f"environment: {{A: [1]}}\n{HEAD}    steps: []\n    expect: {{}}\n",
        ["1:18: environment.A: must be a single value, and is a list"],
    ),
]


@pytest.mark.parametrize(("text", "said"), FILES)
def test_a_file_that_cannot_be_is_told_with_its_places(folder: Path, text: str, said: list[str]) -> None:
    found = mistakes(folder, text)
    assert len(found) == len(said)
    assert all(message.startswith(begin) for message, begin in zip(found, said, strict=True)), found


def test_all_mistakes_are_told_at_once(folder: Path) -> None:
    expect = "{late: 3, results: [{window: views, n: x}]}"
    text = f"{HEAD}    foo: 1\n    steps: [crsh, {{idle: 2}}]\n    expect: {expect}\n"
    assert [line.split(": ")[1] for line in mistakes(folder, text)] == [
        "tests[0].foo",
        "tests[0].steps[0]",
        "tests[0].steps[1].idle",
        "tests[0].expect.late",
        "tests[0].expect.results[0].n",
    ]


def test_the_pipeline_s_mistakes_are_its_own(folder: Path) -> None:
    (folder / "pipeline.yaml").write_text(PIPELINE.replace("gap: 5m", "gap: 5"))
    (folder / "t.yaml").write_text("pipeline: pipeline.yaml\ntests: []\n")
    with pytest.raises(PipelineError) as caught:
        load_tests(folder / "t.yaml", {})
    (problem,) = caught.value.problems
    assert (problem.file, problem.path) == (str(folder / "pipeline.yaml"), "windows.visits.session.gap")


@pytest.mark.parametrize("data", [b"\xff", b"x" * 300_000])
def test_a_file_must_be_text_of_a_sensible_size(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "t.yaml").write_bytes(data)
    with pytest.raises(PipelineError, match=r"is not UTF-8 at byte 0|is larger than 256 KiB"):
        load_tests(tmp_path / "t.yaml", {})


def test_a_pipeline_by_arrival_takes_its_times_from_the_steps(folder: Path) -> None:
    (folder / "pipeline.yaml").write_text(PIPELINE.replace("  time: ts\n", ""))
    steps = "[{at: 12:00, raw: a}, {arrival: 12:01, event: {}}, {at: 12:02, event: {ts: 12:03}}]"
    (test,) = _load(folder, f"{HEAD}    steps: {steps}\n    expect: {{}}\n").tests
    records = [step for step in test.steps if isinstance(step, Record)]
    start_ms = parse_time("2026-01-31T12:00")
    assert [record.arrival_ms for record in records] == [start_ms, start_ms + 60_000, start_ms + 120_000]
    assert records[2].data == b'{"ts":"2026-01-31T12:03:00.000Z"}'
    for step in ("{raw: a}", "{at: 12:00, arrival: 12:00, raw: a}"):
        found = mistake(folder, f"{HEAD}    steps: [{step}]\n    expect: {{}}\n")
        assert "the pipeline goes by arrival times (it has no events.time): write `at: 12:00:05`, once" in found


def _load(folder: Path, text: str) -> Any:
    (folder / "t.yaml").write_text(text)
    return load_tests(folder / "t.yaml", {})


def test_expected_values_are_read_as_rows_have_them(folder: Path) -> None:
    row = "{window: views, seen: 12:00:05, pages: [a, null], most: [{value: a, count: 2}], mean: 2, ok: true}"
    late = "{sequence_number: 3, watermark: +1h30m}"
    text = (
        f"{HEAD}    steps: []\n    expect: {{results: [{row}], late: [{late}], dead_letters: [{{reason: too_deep}}]}}\n"
    )
    expected = _load(folder, text).tests[0].expected
    assert expected[Kind.RESULTS] == (
        ExpectedRow(
            6,
            "views",
            {
                "window": "views",
                "seen": "2026-01-31T12:00:05.000Z",
                "pages": ["a", None],
                "most": [{"value": "a", "count": 2}],
                "mean": 2.0,
                "ok": True,
            },
        ),
    )
    (late_row,) = expected[Kind.LATE]
    assert late_row.columns == {"sequence_number": "3", "watermark": "2026-01-31T13:30:00.000Z"}


# -- times


@pytest.mark.parametrize(
    ("text", "full"),
    [
        ("12:00", "2026-01-31T12:00:00.000Z"),
        ("00:00:00", "2026-01-31T00:00:00.000Z"),
        ("23:59:59.9", "2026-01-31T23:59:59.900Z"),
        ("+0s", "2026-01-31T18:30:15.250Z"),
        ("+1d2h3m4s5ms", "2026-02-01T20:33:19.255Z"),
        ("-30m", "2026-01-31T18:00:15.250Z"),
        ("2025-12-31", "2025-12-31T00:00:00.000Z"),
        ("2025-12-31T12:00+01:00", "2025-12-31T11:00:00.000Z"),
    ],
)
def test_times_are_short_or_full(text: str, full: str) -> None:
    times = Times(parse_time("2026-01-31T18:30:15.250Z"))
    assert format_time(times.read(text)) == full


@pytest.mark.parametrize(
    "text", ["", "24:00", "12:60", "1:00", "12:00:60", "12:00Z", "12:00:00.1234", "+5", "+", "now"]
)
def test_what_is_no_time_is_refused(text: str) -> None:
    with pytest.raises(TimeTextError):
        Times(0).read(text)


def test_short_times_need_a_start() -> None:
    assert Times(None).read("2026-01-31") == parse_time("2026-01-31")
    for text in ("12:00", "+3s"):
        with pytest.raises(TimeTextError, match=f"`{text[:1]}.*give the file `start:"):
            Times(None).read(text)


@pytest.mark.parametrize("start", [None, "2026-01-31T12:00:00Z", "1969-12-31T23:00:00Z"])
def test_a_time_that_is_shown_reads_back_the_same(start: str | None) -> None:
    chance = random.Random(7)
    times = Times(None if start is None else parse_time(start))
    for _ in range(300):
        time_ms = (times.start_ms or 0) + chance.choice([1, 1000, 60_000]) * chance.randrange(-200_000, 200_000)
        assert times.read(times.show(time_ms)) == time_ms
    if start:
        assert times.show(parse_time(start)) == start[11:-1]


# -- events


FIELDS = (
    Field("s", Type.STRING, nullable=True, path=("a", "b")),
    Field("i", Type.INT, nullable=True, path=("a", "list", 1)),
    Field("f", Type.FLOAT, nullable=True, path=("a", "list", 3, "x")),
    Field("b", Type.BOOL, nullable=True, path=("b",)),
    Field("t", Type.TIMESTAMP, nullable=True, path=("t",)),
)
NUMBERED = tuple(replace(field, path=(place,)) for field, place in zip(FIELDS, (4, 0, 2, 1, 6), strict=True))
NAMED = tuple(replace(field, path=(f'{field.name}, "quoted"',)) for field in FIELDS)


def events(format_: Any, fields: tuple[Field, ...], compression: Any = "none") -> Events:
    pipeline = load_text(PIPELINE, "p", {})
    return replace(pipeline.events, format=format_, fields=fields, compression=compression)


@pytest.mark.parametrize("compression", ["none", "auto", "gzip", "zstd"])
@pytest.mark.parametrize(
    ("format_", "fields"), [("json", FIELDS), ("msgpack", FIELDS), ("csv", NUMBERED), ("csv", NAMED)]
)
def test_the_pipeline_reads_what_a_test_writes(format_: str, fields: tuple[Field, ...], compression: str) -> None:
    chance = random.Random(3)
    described = events(format_, fields, compression)
    read = reader(described)
    some: dict[str, list[Any]] = {
        "s": ['é, "x"\n', "null", " ", "-"],
        "i": [0, -(2**63), 2**63 - 1],
        "f": [0.1, -1e300, 5e-324],
        "b": [True, False],
        "t": ["2026-01-31T12:00:00.000Z", 1_700_000_000_000],
    }
    for _ in range(50):
        values = {name: chance.choice(choices) for name, choices in some.items() if chance.random() < 0.7}
        (event,) = read([Record(encode_event(described, values))])
        assert not isinstance(event, Fault), (event, values)
        assert {name: getattr(event, attribute(name)) for name in some} == dict.fromkeys(some) | values


def test_a_null_is_not_the_same_as_nothing() -> None:
    described = events("json", FIELDS)
    assert encode_event(described, {}) == b"{}"
    assert encode_event(described, {"b": None}) == b'{"b":null}'
    assert encode_event(described, {"i": 1}) == b'{"a":{"list":[null,1]}}'


def test_a_test_may_send_what_the_pipeline_refuses() -> None:
    for value in (10**30, "text", [1], {"x": 1}):
        (event,) = reader(events("json", FIELDS))([Record(encode_event(events("json", FIELDS), {"b": value}))])
        assert isinstance(event, Fault)
    (event,) = reader(events("csv", NUMBERED))([Record(encode_event(events("csv", NUMBERED), {"b": "maybe"}))])
    assert isinstance(event, Fault)


@pytest.mark.parametrize(
    ("format_", "fields", "value"),
    [
        ("csv", NUMBERED, [1]),
        ("csv", NUMBERED, {}),
        ("msgpack", FIELDS, 2**70),
        ("json", FIELDS, float("nan")),
        ("json", FIELDS, float("-inf")),
    ],
)
def test_what_a_format_cannot_say_is_told(format_: str, fields: tuple[Field, ...], value: Any) -> None:
    with pytest.raises(EncodingProblem):
        encode_event(events(format_, fields), {"i": value})


def test_messages_are_as_any_producer_makes_them() -> None:
    assert msgspec.msgpack.decode(encode_event(events("msgpack", FIELDS), {"s": "x"})) == {"a": {"b": "x"}}
    assert encode_event(events("csv", NUMBERED), {"s": "x", "f": 1.5}) == b",,1.5,,x,,"


# -- comparing


def expected(*values: int, window: str | None = None) -> list[ExpectedRow]:
    return [ExpectedRow(0, window, {"v": value}) for value in values]


def actual(*values: int) -> list[dict[str, Any]]:
    return [{"window": "w", "v": value, "other": 0} for value in values]


@pytest.mark.parametrize("seed", range(30))
def test_a_comparison_holds_all_rows_in_order_and_as_many_fitting_as_can_be(seed: int) -> None:
    chance = random.Random(seed)
    wanted, came = (chance.choices(range(4), k=chance.randrange(8)) for _ in range(2))
    pairs = compare(expected(*wanted), actual(*came))
    assert [pair.expected.columns["v"] for pair in pairs if pair.expected] == wanted
    assert [pair.actual["v"] for pair in pairs if pair.actual] == came
    assert sum(pair.fits for pair in pairs) == _longest_common(tuple(wanted), tuple(came))
    assert (wanted == came) == all(pair.fits for pair in pairs)


def _longest_common(left: tuple[int, ...], right: tuple[int, ...]) -> int:
    if not left or not right:
        return 0
    if left[0] == right[0]:
        return 1 + _longest_common(left[1:], right[1:])
    return max(_longest_common(left[1:], right), _longest_common(left, right[1:]))


def test_very_many_rows_are_compared_in_their_order(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.modules[compare.__module__], "_CELLS_MAX", 3)
    assert [pair.fits for pair in compare(expected(1, 2), actual(1, 2))] == [True, True]
    assert [pair.fits for pair in compare(expected(1, 2), actual(2, 1))] == [False, False]


def test_a_row_is_set_beside_one_of_its_own_window() -> None:
    (first, second) = compare(expected(1, window="x"), actual(2))
    assert (first.actual, second.expected) == (None, None)
    (only,) = compare(expected(1, window="w"), actual(2))
    assert only.differing == ("v",)
