"""The reference itself: windows, watermarks, late events, dead letters and rows, against results worked out by hand."""

from __future__ import annotations

import base64
import json
from dataclasses import replace
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from consumer.core.ids import dead_letter_id, late_id, result_id
from consumer.pipeline.model import (
    Aggregate,
    Apply,
    Events,
    Expression,
    Field,
    FileSink,
    Let,
    Limits,
    Literal,
    Name,
    Pipeline,
    Session,
    Source,
    State,
    Tumbling,
    Type,
    Window,
    Worker,
)
from consumer.records import Record
from consumer.testing.reference import Expected, reference

SHARD = "shardId-000000000000"
GENERATION = 3

USER = Name("user", Type.STRING, nullable=False)
PAGE = Name("page", Type.STRING, nullable=True)
AMOUNT = Name("amount", Type.FLOAT, nullable=True)
COUNT = Name("count", Type.INT, nullable=True)
TIME = Name("at", Type.TIMESTAMP, nullable=False)


def column(name: str, function: str, argument: Expression | None = None, result: Type | None = None) -> Aggregate:
    kept = argument.type if argument is not None and function in {"sum", "min", "max", "first", "last"} else None
    fixed = Type.FLOAT if function == "avg" else Type.INT
    arguments = () if argument is None else (argument,)
    return Aggregate(name, function, arguments, (), result or kept or fixed, nullable=function != "count")


EVENTS = column("events", "count")
TEN = Tumbling(size_ms=10, offset_ms=0)


def field(name: str, of: Type, *, nullable: bool = False) -> Field:
    return Field(name, of, nullable, (name,))


def window(
    name: str = "w",
    kind: Tumbling | Session = TEN,
    by: tuple[Name, ...] = (USER,),
    select: tuple[Aggregate, ...] = (EVENTS,),
    *,
    aligned: bool = True,
) -> Window:
    return Window(name, kind, by, select, aligned)


def pipeline(
    *windows: Window,
    bound_ms: int = 0,
    lets: tuple[Let, ...] = (),
    where: Expression | None = None,
    max_future_ms: int | None = None,
    time: str | None = "at",
) -> Pipeline:
    fields = (
        field("user", Type.STRING),
        field("at", Type.TIMESTAMP),
        field("page", Type.STRING, nullable=True),
        field("amount", Type.FLOAT, nullable=True),
        field("count", Type.INT, nullable=True),
    )
    return Pipeline(
        name="clicks",
        source=Source("stream", "user", "trim_horizon"),
        events=Events("json", "none", fields, time, bound_ms, None, max_future_ms, max_bytes=1_000_000),
        lets=lets,
        where=where,
        windows=windows or (window(),),
        sinks=(),
        late=FileSink("late"),
        dead_letter=FileSink("dead"),
        state=State("table", "bucket", 5000, 1000),
        limits=Limits(1_000_000, "reject"),
        worker=Worker("clicks", None, 9102, "keep", ()),
    )


def event(number: int, at: int, user: str = "u", **members: Any) -> Record:
    data = msgspec.json.encode({"user": user, "at": at, **members})
    return Record(data, user, str(number), 0, 1_000_000)


def events(*times: int, user: str = "u", **members: Any) -> list[Record]:
    return [event(number, at, user, **members) for number, at in enumerate(times, 1)]


def window_hash(_: Pipeline, of: Window) -> str:
    return f"hash of {of.name}"


def run(definition: Pipeline, records: list[Record]) -> Expected:
    return reference(definition, SHARD, GENERATION, records, window_hash)


def rows(expected: Expected) -> list[dict[str, Any]]:
    return [json.loads(row.data) for row in expected.rows]


def spans(expected: Expected) -> list[tuple[int, int, int]]:
    """Return start, end and `events` of each result in milliseconds (all tests live in 1970's first second)."""

    def milliseconds(text: str) -> int:
        assert text.startswith("1970-01-01T00:00:00.")
        return int(text[20:23])

    return [(milliseconds(r["window_start"]), milliseconds(r["window_end"]), r["events"]) for r in rows(expected)]


# -- rows


def test_a_result_row_of_an_aligned_window_is_exactly_this() -> None:
    by = window("per_user", by=(USER, PAGE), select=(EVENTS, column("total", "sum", AMOUNT)))
    expected = run(pipeline(by), [event(1, 3, "é", page=None, amount=2), event(2, 15, "x")])
    identity = result_id("clicks", GENERATION, "hash of per_user", ["é", None], 0)
    assert [row.output for row in expected.rows] == ["per_user"]
    assert expected.rows[0].data.decode() == (
        f'{{"id":"{identity}","pipeline":"clicks","window":"per_user",'
        '"window_start":"1970-01-01T00:00:00.000Z","window_end":"1970-01-01T00:00:00.010Z",'
        '"user":"é","page":null,"events":1,"total":2.0,"revision":0,"final":true}'
    )


def test_a_partial_row_names_its_shard_and_has_an_id_of_its_own() -> None:
    part = window("by_page", by=(PAGE,), aligned=False)
    expected = run(pipeline(part), [event(1, 3, page="/"), event(2, 15)])
    identity = result_id("clicks", GENERATION, "hash of by_page", ["/"], 0, origin=SHARD)
    assert expected.rows[0].data.decode() == (
        f'{{"id":"{identity}","pipeline":"clicks","window":"by_page",'
        '"window_start":"1970-01-01T00:00:00.000Z","window_end":"1970-01-01T00:00:00.010Z",'
        f'"page":"/","events":1,"revision":0,"final":true,"shard":"{SHARD}","partial":true}}'
    )


def test_a_late_row_is_exactly_this() -> None:
    records = events(3, 25, 4)
    expected = run(pipeline(bound_ms=5), records)
    identity = late_id("clicks", GENERATION, SHARD, "3", 0, "hash of w", 0)
    data = base64.b64encode(records[2].data).decode()
    (row,) = expected.late
    assert row.data.decode() == (
        f'{{"id":"{identity}","reason":"late","pipeline":"clicks","window":"w",'
        '"window_start":"1970-01-01T00:00:00.000Z","window_end":"1970-01-01T00:00:00.010Z",'
        '"watermark":"1970-01-01T00:00:00.020Z","event_time":"1970-01-01T00:00:00.004Z","lateness_ms":16,'
        f'"partition_key":"u","sequence_number":"3","sub_sequence_number":0,"shard":"{SHARD}","data":"{data}"}}'
    )
    assert expected.late_events == {"w": 1}


def dead_letter_row(reason: str, detail: str, data: str = "e30=") -> bytes:
    identity = dead_letter_id("clicks", GENERATION, SHARD, "7", 2)
    return (
        f'{{"id":"{identity}","reason":"{reason}","pipeline":"clicks","detail":"{detail}","partition_key":"u",'
        f'"sequence_number":"7","sub_sequence_number":2,"shard":"{SHARD}",'
        f'"arrival_time":"1970-01-01T00:00:00.005Z","data":"{data}"}}'
    ).encode()


def test_a_dead_letter_matches_whatever_its_detail() -> None:
    expected = run(pipeline(), [Record(b"{}", "u", "7", 2, 5)])
    (letter,) = expected.dead_letters
    assert expected.dead_lettered == {"missing_field": 1}
    assert letter.id == dead_letter_id("clicks", GENERATION, SHARD, "7", 2)
    assert letter.matches(dead_letter_row("missing_field", "user is missing"))
    assert letter.matches(dead_letter_row("missing_field", ""))


def test_a_dead_letter_does_not_match_with_another_reason_data_or_order() -> None:
    (letter,) = run(pipeline(), [Record(b"{}", "u", "7", 2, 5)]).dead_letters
    assert not letter.matches(dead_letter_row("wrong_type", "x"))
    assert not letter.matches(dead_letter_row("missing_field", "x", data="e31="))
    assert not letter.matches(dead_letter_row("missing_field", "x" * 1000))
    assert not letter.matches(dead_letter_row("missing_field", "x") + b" ")
    assert not letter.matches(b"no json")
    members = json.loads(dead_letter_row("missing_field", "x"))
    shuffled = {"reason": members.pop("reason"), **members}
    assert not letter.matches(msgspec.json.encode(shuffled))


def test_of_several_faults_any_is_a_right_reason() -> None:
    (letter,) = run(pipeline(), [Record(b'{"user": 5}', "u", "7", 2, 5)]).dead_letters
    assert letter.reason == "wrong_type"
    assert letter.reasons == {"wrong_type", "missing_field"}
    data = base64.b64encode(b'{"user": 5}').decode()
    assert letter.matches(dead_letter_row("missing_field", "x", data))


def test_large_data_is_cut_in_dead_letters() -> None:
    (letter,) = run(pipeline(), [Record(b"x" * 700_001, "u", "7", 2, 5)]).dead_letters
    assert base64.b64decode(letter.members["data"]) == b"x" * 700_000
    assert list(letter.members)[-1] == "data_truncated"
    (letter,) = run(pipeline(), [Record(b"x" * 700_000, "u", "7", 2, 5)]).dead_letters
    assert list(letter.members)[-1] == "data"


def test_large_data_is_cut_in_late_rows() -> None:
    expected = run(pipeline(), [event(1, 30), event(2, 5, filler="x" * 800_000)])
    row = json.loads(expected.late[0].data)
    assert row["data_truncated"] is True
    assert len(base64.b64decode(row["data"])) == 700_000


def test_without_a_place_for_them_late_events_and_dead_letters_are_only_counted() -> None:
    quiet = replace(pipeline(), late=None, dead_letter=None)
    expected = run(quiet, [*events(30, 5), Record(b"", "u", "9", 0, 5)])
    assert expected.late == []
    assert expected.dead_letters == []
    assert expected.late_events == {"w": 1}
    assert expected.dead_lettered == {"invalid_json": 1}


def test_a_record_of_unknown_position_and_key_has_nulls() -> None:
    (letter,) = run(pipeline(), [Record(b"")]).dead_letters
    place = ("partition_key", "sequence_number", "sub_sequence_number", "arrival_time")
    assert [letter.members[name] for name in place] == [None, None, None, None]


def test_values_print_by_their_type() -> None:
    select = (
        column("last_at", "last", TIME),
        column("amounts", "sum", AMOUNT),
        column("counts", "sum", COUNT),
        column("mean", "avg", COUNT),
        column("kinds", "count", PAGE),
    )
    records = [
        event(1, 1, amount=1e15, count=2**63 - 1),
        event(2, 2, amount=9e15, count=2**63 - 1),
        event(3, 30),
    ]
    (row,) = run(pipeline(window(select=select)), records).rows
    assert (
        '"last_at":"1970-01-01T00:00:00.002Z","amounts":1e16,"counts":18446744073709551614,'
        '"mean":9.223372036854776e18,"kinds":0'
    ) in row.data.decode()


def test_a_float_sum_that_overflows_prints_null() -> None:
    select = (column("total", "sum", AMOUNT), column("mean", "avg", AMOUNT))
    records = [event(1, 1, amount=1.7e308), event(2, 2, amount=1.7e308), event(3, 30)]
    row = rows(run(pipeline(window(select=select)), records))[0]
    assert (row["total"], row["mean"]) == (None, None)


# -- tumbling windows and the watermark


def test_a_tumbling_window_contains_its_start_and_not_its_end() -> None:
    assert spans(run(pipeline(bound_ms=5), events(0, 9, 10, 19, 100))) == [(0, 10, 2), (10, 20, 2)]


def test_starts_are_offset_plus_any_multiple_of_the_size() -> None:
    shifted = window(kind=Tumbling(size_ms=10, offset_ms=3))
    assert spans(run(pipeline(shifted, bound_ms=20), events(13, 12, 3, 100))) == [(3, 13, 2), (13, 23, 1)]


def test_starts_before_1970_are_multiples_too() -> None:
    (row,) = rows(run(pipeline(window(kind=Tumbling(10, 3))), events(-8, 0)))
    assert row["window_start"] == "1969-12-31T23:59:59.983Z"
    assert row["window_end"] == "1969-12-31T23:59:59.993Z"


def test_a_window_is_due_at_its_last_millisecond() -> None:
    assert spans(run(pipeline(), events(1, 8))) == []
    assert spans(run(pipeline(), events(1, 9))) == [(0, 10, 2)]


def test_the_bound_holds_the_watermark_back() -> None:
    assert run(pipeline(bound_ms=5), events(13)).watermark_ms == 8
    assert spans(run(pipeline(bound_ms=5), events(1, 13))) == []
    assert spans(run(pipeline(bound_ms=5), events(1, 14))) == [(0, 10, 1)]


def test_the_watermark_never_goes_back() -> None:
    assert run(pipeline(), events(50, 20)).watermark_ms == 50


def test_no_accepted_record_no_watermark() -> None:
    assert run(pipeline(), []).watermark_ms is None
    assert run(pipeline(), [Record(b"", "u", "1", 0, 5)]).watermark_ms is None


def test_the_watermark_before_the_event_decides_whether_it_is_late() -> None:
    expected = run(pipeline(), events(9, 9))
    assert spans(expected) == [(0, 10, 1)]
    assert expected.late_events == {"w": 1}


def test_out_of_order_within_the_bound_is_not_late() -> None:
    expected = run(pipeline(bound_ms=10), events(12, 5, 100))
    assert spans(expected) == [(0, 10, 1), (10, 20, 1)]
    assert expected.late_events == {}


def test_a_late_event_is_late_only_for_the_windows_it_is_late_for() -> None:
    wide = window("wide", kind=Tumbling(100, 0))
    expected = run(pipeline(window(), wide), events(50, 5, 200))
    assert expected.late_events == {"w": 1}
    assert expected.in_windows == {"w": 2, "wide": 3}
    assert [(row["window"], row["events"]) for row in rows(expected)] == [("w", 1), ("wide", 2)]


def test_windows_without_events_emit_nothing() -> None:
    assert spans(run(pipeline(), events(5, 95))) == [(0, 10, 1)]


def test_open_windows_are_listed_with_their_events() -> None:
    expected = run(pipeline(bound_ms=5), [event(1, 3, "a"), event(2, 4, "a"), event(3, 12, "b")])
    listed = [(w.window, w.start_ms, w.end_ms, w.by, w.events) for w in expected.open_windows]
    assert listed == [("w", 0, 10, ("a",), 2), ("w", 10, 20, ("b",), 1)]
    assert expected.rows == []
    assert expected.in_windows == {"w": 3}


# -- groups and the order of rows


def test_null_is_a_group_of_its_own_and_sorts_first() -> None:
    by_page = window(by=(PAGE,), aligned=False)
    records = [event(1, 1, page="b"), event(2, 2, page="null"), event(3, 3), event(4, 4, page=""), event(5, 50)]
    assert [row["page"] for row in rows(run(pipeline(by_page), records))] == [None, "", "b", "null"]


def test_minus_zero_and_zero_are_one_group() -> None:
    by_amount = window(by=(AMOUNT,), aligned=False)
    records = [event(1, 1, amount=-0.0), event(2, 2, amount=0), event(3, 50)]
    (row,) = run(pipeline(by_amount), records).rows
    assert b'"amount":0.0,"events":2' in row.data


def test_rows_of_one_record_are_ordered_by_window_end_start_and_key() -> None:
    session = window("session", kind=Session(gap_ms=8))
    part = window("part", by=(), aligned=False)
    definition = pipeline(session, part, bound_ms=30)
    records = [
        event(1, 12, "b"),
        event(2, 3, "z"),
        event(3, 5, "y"),
        event(4, 12, "a"),
        event(5, 13, "y"),
        event(6, 100),
    ]
    listed = [(r["window"], r.get("user"), r["window_start"][20:23]) for r in rows(run(definition, records))]
    assert listed == [
        ("session", "z", "003"),
        ("session", "a", "012"),
        ("session", "b", "012"),
        ("session", "y", "005"),
        ("part", None, "000"),
        ("part", None, "010"),
    ]


def test_with_equal_ends_the_earlier_start_comes_first() -> None:
    session = window(kind=Session(gap_ms=10))
    records = [event(1, 10, "a"), event(2, 5, "b"), event(3, 10, "b"), event(4, 100)]
    expected = run(pipeline(session, bound_ms=10), records)
    assert [(r["user"], r["events"]) for r in rows(expected)] == [("b", 2), ("a", 1)]


def test_an_empty_by_is_one_group() -> None:
    whole = window(by=(), aligned=False)
    records = [event(1, 1, "a"), event(2, 2, "b"), event(3, 50)]
    assert spans(run(pipeline(whole), records)) == [(0, 10, 2)]


# -- sessions


SESSION = window(kind=Session(gap_ms=10))


def test_events_at_most_a_gap_apart_are_one_session() -> None:
    assert spans(run(pipeline(SESSION), events(0, 10, 100))) == [(0, 20, 2)]
    assert spans(run(pipeline(SESSION), events(0, 11, 100))) == [(0, 10, 1), (11, 21, 1)]


def test_a_session_is_due_at_the_last_millisecond_before_its_end() -> None:
    assert spans(run(pipeline(SESSION), [event(1, 0, "a"), event(2, 8, "b")])) == []
    assert spans(run(pipeline(SESSION), [event(1, 0, "a"), event(2, 9, "b")])) == [(0, 10, 1)]


def test_an_event_extends_a_session_to_the_front() -> None:
    expected = run(pipeline(SESSION, bound_ms=50), events(20, 12, 200))
    assert spans(expected) == [(12, 30, 2)]
    assert rows(expected)[0]["id"] == result_id("clicks", GENERATION, "hash of w", ["u"], 12)


def test_an_event_bridges_two_sessions() -> None:
    assert spans(run(pipeline(SESSION, bound_ms=50), events(0, 20, 10, 200))) == [(0, 30, 3)]


def test_an_event_of_a_closed_session_within_the_gap_starts_a_new_one() -> None:
    expected = run(pipeline(SESSION), [event(1, 0, "a"), event(2, 9, "b"), event(3, 10, "a"), event(4, 50, "b")])
    assert [(r["user"], r["window_start"][20:23]) for r in rows(expected)] == [("a", "000"), ("b", "009"), ("a", "010")]


def test_a_session_event_behind_the_watermark_is_late_if_it_meets_no_open_session() -> None:
    expected = run(pipeline(SESSION), [event(1, 100, "a"), event(2, 91, "b"), event(3, 92, "b")])
    assert expected.late_events == {"w": 1}
    late = json.loads(expected.late[0].data)
    assert (late["window_start"][20:23], late["window_end"][19:24]) == ("091", ".101Z")
    assert expected.in_windows == {"w": 2}


def test_a_session_event_behind_the_watermark_that_falls_into_an_open_session_is_not_late() -> None:
    expected = run(pipeline(SESSION), [event(1, 95, "b"), event(2, 100, "a"), event(3, 85, "b"), event(4, 300, "a")])
    assert expected.late_events == {}
    assert [(r["user"], r["window_start"][20:23], r["events"]) for r in rows(expected)] == [
        ("b", "085", 2),
        ("a", "100", 1),
    ]


def test_float_sums_of_merged_sessions_add_the_earlier_session_first() -> None:
    total = window(kind=Session(gap_ms=10), select=(column("total", "sum", AMOUNT),))
    amounts = {20: 1.0, 21: 1.0, 0: 1e16, 10: 1.0}
    records = [event(n, at, amount=amount) for n, (at, amount) in enumerate(amounts.items(), 1)]
    (row,) = rows(run(pipeline(total, bound_ms=50), [*records, event(9, 200)]))
    assert row["total"] == (1e16 + (1.0 + 1.0)) + 1.0 != 1e16 + 1.0 + 1.0 + 1.0


# -- aggregates


def test_aggregates_ignore_null() -> None:
    select = tuple(column(name, name, COUNT) for name in ("count", "sum", "min", "max", "avg", "first", "last"))
    records = [event(1, 1), event(2, 2, count=4), event(3, 3, count=1), event(4, 4, count=1), event(5, 5)]
    (row,) = rows(run(pipeline(window(select=(EVENTS, *select))), [*records, event(6, 50)]))
    values = [row[name] for name in ("events", "count", "sum", "min", "max", "avg", "first", "last")]
    assert values == [5, 3, 6, 1, 4, 2.0, 4, 1]


def test_aggregates_of_nothing_but_null_are_null_and_count_is_zero() -> None:
    select = tuple(column(name, name, AMOUNT) for name in ("count", "sum", "min", "max", "avg", "first", "last"))
    (row,) = rows(run(pipeline(window(select=select)), events(1, 50)))
    assert [row[name] for name in ("count", "sum", "min", "max", "avg", "first", "last")] == [0, *[None] * 6]


def test_first_and_last_go_by_event_time_then_position() -> None:
    select = (column("first", "first", PAGE), column("last", "last", PAGE))
    pages = [(5, "five"), (3, "three, early"), (7, "seven, early"), (3, "three"), (7, "seven"), (6, "six")]
    records = [event(n, at, page=page) for n, (at, page) in enumerate(pages, 1)]
    (row,) = rows(run(pipeline(window(select=select), bound_ms=20), [*records, event(9, 50)]))
    assert (row["first"], row["last"]) == ("three, early", "seven")


def test_min_and_max_of_texts_go_by_code_point() -> None:
    select = (column("least", "min", PAGE), column("greatest", "max", PAGE))
    pages = ["b", "ab", "Z", "é"]
    records = [event(n, n, page=page) for n, page in enumerate(pages, 1)]
    (row,) = rows(run(pipeline(window(select=select)), [*records, event(9, 50)]))
    assert (row["least"], row["greatest"]) == ("Z", "é")


# -- let, where, dead letters


def literal(value: float) -> Literal:
    return Literal(value, Type.INT if isinstance(value, int) else Type.FLOAT, nullable=False)


def test_lets_build_on_earlier_lets_and_can_be_keys() -> None:
    lets = (
        Let("double", Apply("+", (COUNT, COUNT), Type.INT, nullable=True)),
        Let(
            "bucketed", Apply("bucket", (Name("double", Type.INT, nullable=True), literal(10)), Type.INT, nullable=True)
        ),
    )
    by = window(by=(Name("bucketed", Type.INT, nullable=True),), aligned=False)
    records = [event(1, 1, count=6), event(2, 2, count=9), event(3, 50)]
    assert [(r["bucketed"], r["events"]) for r in rows(run(pipeline(by, lets=lets), records))] == [(10, 2)]


def test_where_keeps_only_true_and_what_it_drops_still_moves_the_watermark() -> None:
    where = Apply(">=", (COUNT, literal(5)), Type.BOOL, nullable=True)
    expected = run(pipeline(where=where), [event(1, 1, count=5), event(2, 2, count=4), event(3, 3), event(4, 9)])
    assert expected.filtered == 3
    assert spans(expected) == [(0, 10, 1)]
    assert expected.watermark_ms == 9


def overflowing(name: Name) -> Apply:
    return Apply("*", (name, literal(2**62)), Type.INT, nullable=True)


@pytest.mark.parametrize("place", ["let", "where", "select"])
def test_an_expression_error_anywhere_is_a_dead_letter_for_all_windows(place: str) -> None:
    broken = overflowing(COUNT)
    select = (EVENTS, column("total", "sum", broken)) if place == "select" else (EVENTS,)
    definition = pipeline(
        window("first"),
        window("second", select=select),
        lets=(Let("big", broken),) if place == "let" else (),
        where=Apply(">=", (broken, literal(0)), Type.BOOL, nullable=True) if place == "where" else None,
    )
    expected = run(definition, [event(1, 1, count=0), event(2, 99, count=4)])
    assert expected.dead_lettered == {"expression_error": 1}
    assert expected.watermark_ms == 1
    assert expected.in_windows == {"first": 1, "second": 1}


def test_a_filtered_event_is_not_asked_for_its_aggregates() -> None:
    where = Apply("<", (COUNT, literal(2)), Type.BOOL, nullable=True)
    definition = pipeline(window(select=(column("total", "sum", overflowing(COUNT)),)), where=where)
    expected = run(definition, [event(1, 1, count=4)])
    assert (expected.filtered, expected.dead_lettered) == (1, {})


def test_a_partition_key_that_is_not_the_fields_text_is_misrouted() -> None:
    stray = Record(event(1, 50, "u").data, "other", "1", 0, 5)
    expected = run(pipeline(), [stray])
    assert expected.dead_lettered == {"misrouted": 1}
    assert expected.watermark_ms is None


def test_partition_keys_matter_only_to_aligned_windows() -> None:
    stray = Record(event(1, 50, "u").data, "other", "1", 0, 5)
    assert run(pipeline(window(by=(PAGE,), aligned=False)), [stray]).dead_lettered == {}


def test_the_partition_key_of_an_int_field_is_its_decimal_text() -> None:
    definition = pipeline()
    fields = (field("user", Type.INT), field("at", Type.TIMESTAMP))
    definition = replace(definition, events=replace(definition.events, fields=fields))
    data = b'{"user": -0, "at": 5}'
    assert run(definition, [Record(data, "0", "1", 0, 5)]).dead_lettered == {}
    assert run(definition, [Record(data, "-0", "1", 0, 5)]).dead_lettered == {"misrouted": 1}


def test_raw_lines_have_no_partition_key_to_check() -> None:
    raw = [Record(event(1, 5).data)]
    assert run(pipeline(), raw).dead_lettered == {"misrouted": 1}
    assert reference(pipeline(), SHARD, 0, raw, window_hash, keys_required=False).dead_lettered == {}


def test_an_event_too_far_ahead_of_its_arrival_is_a_dead_letter() -> None:
    definition = pipeline(max_future_ms=100)
    just, beyond = event(1, 150), event(2, 151)
    just.arrival_ms = beyond.arrival_ms = 50
    expected = run(definition, [just, beyond])
    assert expected.dead_lettered == {"future_timestamp": 1}
    assert expected.watermark_ms == 150


def test_without_a_time_field_the_arrival_time_counts() -> None:
    records = events(999, 999)
    for record, arrival_ms in zip(records, (3, 12), strict=True):
        record.arrival_ms = arrival_ms
    assert spans(run(pipeline(time=None), records)) == [(0, 10, 1)]
    with pytest.raises(ValueError, match="without the time"):
        run(pipeline(time=None), [Record(events(5)[0].data)])


def test_a_record_at_or_before_the_position_is_skipped() -> None:
    records = [event(10, 1), event(9, 2), event(10, 3), event(100, 4)]
    expected = run(pipeline(), records)
    assert (expected.received, expected.replayed, expected.in_windows) == (2, 2, {"w": 2})


def test_sub_sequence_numbers_are_part_of_the_position() -> None:
    first, second = event(10, 1), event(10, 2)
    second.sub_sequence_number = 1
    assert run(pipeline(), [first, second, second]).received == 2


# -- properties

times = st.integers(-30, 120)
members = st.fixed_dictionaries(
    {"user": st.sampled_from(["a", "b"]), "at": times},
    optional={
        "page": st.sampled_from(["x", "y", None, 5]),
        "amount": st.sampled_from([0.5, 3, None, "no"]),
        "count": st.sampled_from([1, 7, None]),
    },
)
kinds = st.builds(Tumbling, st.integers(1, 20), st.integers(-5, 25)) | st.builds(Session, st.integers(1, 15))


@st.composite
def definitions(draw: st.DrawFn) -> Pipeline:
    windows = [
        window(f"w{n}", draw(kinds), by, aligned=USER in by)
        for n, by in enumerate(
            draw(st.lists(st.sampled_from([(USER,), (USER, PAGE), (PAGE,), ()]), min_size=1, max_size=3))
        )
    ]
    where = draw(st.sampled_from([None, Apply("is_not_null", (PAGE,), Type.BOOL, nullable=False)]))
    return pipeline(*windows, bound_ms=draw(st.integers(0, 20)), where=where)


def records_of(bodies: list[dict[str, Any]]) -> list[Record]:
    return [
        Record(msgspec.json.encode(body), body["user"], str(number), 0, 1_000_000)
        for number, body in enumerate(bodies, 1)
    ]


@settings(deadline=None)
@given(definitions(), st.lists(members, max_size=30))
def test_every_event_is_counted_once_for_every_window(definition: Pipeline, bodies: list[dict[str, Any]]) -> None:
    expected = run(definition, records_of(bodies))
    for of in definition.windows:
        placed = expected.in_windows[of.name] + expected.late_events[of.name]
        assert placed + expected.filtered + expected.dead_lettered.total() == expected.received == len(bodies)
        emitted = sum(row["events"] for row in rows(expected) if row["window"] == of.name)
        still_open = sum(w.events for w in expected.open_windows if w.window == of.name)
        assert emitted + still_open == expected.in_windows[of.name]


@settings(deadline=None)
@given(definitions(), st.lists(members, max_size=30))
def test_nothing_stays_open_behind_the_watermark_and_ids_are_unique(
    definition: Pipeline, bodies: list[dict[str, Any]]
) -> None:
    expected = run(definition, records_of(bodies))
    for open_window in expected.open_windows:
        assert expected.watermark_ms is not None
        assert open_window.end_ms - 1 > expected.watermark_ms
    identities = [row["id"] for row in rows(expected)]
    assert len(set(identities)) == len(identities)


@settings(deadline=None)
@given(definitions(), st.lists(members, max_size=30), st.data())
def test_more_records_only_add_rows(definition: Pipeline, bodies: list[dict[str, Any]], data: st.DataObject) -> None:
    cut = data.draw(st.integers(0, len(bodies)))
    records = records_of(bodies)
    before, after = run(definition, records[:cut]), run(definition, records)
    assert after.rows[: len(before.rows)] == before.rows
    assert after.late[: len(before.late)] == before.late
