from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consumer.core.times import (
    MAX_TIME_MS,
    MIN_TIME_MS,
    TimeError,
    TimeRangeError,
    TimeReader,
    epoch_ms,
    epoch_ms_source,
    format_time,
    parse_time,
)
from consumer.pipeline.model import TimeUnit

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@given(st.integers(MIN_TIME_MS, MAX_TIME_MS))
def test_printing_agrees_with_the_standard_library(time_ms: int) -> None:
    moment = EPOCH + timedelta(milliseconds=time_ms)
    assert format_time(time_ms) == moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


@given(st.integers(MIN_TIME_MS, MAX_TIME_MS))
def test_what_is_printed_is_read_back(time_ms: int) -> None:
    assert parse_time(format_time(time_ms)) == time_ms


@given(st.datetimes(datetime(2, 1, 1), datetime(9998, 1, 1)), st.integers(-1439, 1439))  # noqa: DTZ001 - made aware below
def test_offsets_are_subtracted(moment: datetime, offset_minutes: int) -> None:
    aware = moment.replace(microsecond=0, tzinfo=timezone(timedelta(minutes=offset_minutes)))
    assert parse_time(aware.isoformat()) == (aware - EPOCH) // timedelta(milliseconds=1)


@pytest.mark.parametrize(
    ("text", "printed"),
    [
        ("2026-01-31T12:34:56.789Z", "2026-01-31T12:34:56.789Z"),
        ("2026-01-31T12:34:56.789999999Z", "2026-01-31T12:34:56.789Z"),
        ("2026-01-31T12:34:56.7", "2026-01-31T12:34:56.700Z"),
        ("2026-01-31 12:34:56,5+05:30", "2026-01-31T07:04:56.500Z"),
        ("2026-01-31t12:34z", "2026-01-31T12:34:00.000Z"),
        ("2026-01-31", "2026-01-31T00:00:00.000Z"),
        ("20260131T123456.5-0100", "2026-01-31T13:34:56.500Z"),
        ("2024-02-29T00:00:00+00", "2024-02-29T00:00:00.000Z"),
        ("0001-01-01T00:00:00Z", "0001-01-01T00:00:00.000Z"),
        ("9999-12-31T23:59:59.999Z", "9999-12-31T23:59:59.999Z"),
    ],
)
def test_forms_of_a_time(text: str, printed: str) -> None:
    assert format_time(parse_time(text)) == printed
    assert TimeReader()(text) == parse_time(text)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "now",
        "2026-13-01",
        "2026-02-29",
        "2026-01-01T24:00:00Z",
        "2026-01-01T23:59:60Z",
        "2026-01-01T23:60:00Z",
        "2026-01-01T00:00:00+24:00",
        "2026-01-01T00:00:00.Z",
        "2026-01-01T00:00:00Z ",
        "２026-01-01",
        "2026-01-01T00:00:00.1２3Z",
        "1767225600",
    ],
)
def test_what_is_no_time(text: str) -> None:
    with pytest.raises(TimeError) as caught:
        parse_time(text)
    assert not isinstance(caught.value, TimeRangeError)
    with pytest.raises(TimeError):
        TimeReader()(text)


@pytest.mark.parametrize(
    "text", ["0000-12-31T00:00:00Z", "+10000-01-01", "-0001-01-01", "0001-01-01T00:00:00+01:00", "9999-12-31T23:59-01"]
)
def test_years_outside_1_to_9999_are_out_of_range(text: str) -> None:
    with pytest.raises(TimeRangeError):
        parse_time(text)


def test_edges_of_windows_may_lie_outside_the_years_of_events() -> None:
    assert format_time(MAX_TIME_MS + 1) == "+010000-01-01T00:00:00.000Z"
    assert format_time(MIN_TIME_MS - 1) == "0000-12-31T23:59:59.999Z"
    assert format_time(MIN_TIME_MS - 366 * 86_400_000 - 1) == "-000001-12-31T23:59:59.999Z"


@given(st.lists(st.tuples(st.integers(0, 150_000), st.sampled_from(["Z", "z", "", "+01:00"])), min_size=1))
def test_the_remembering_reader_reads_the_same(times: list[tuple[int, str]]) -> None:
    reader = TimeReader()
    for offset_ms, zone in times:
        text = format_time(1_767_225_600_000 + offset_ms)[:-1] + zone
        assert reader(text) == parse_time(text)


@pytest.mark.parametrize(
    "text",
    ["2026-01-31T12:34:60.000Z", "2026-01-31T12:34:5 .000Z", "2026-01-31T12:34:٥6.000Z", "2026-01-31T12:34:56.000Z "],
)
def test_a_minute_that_is_remembered_makes_no_other_text_a_time(text: str) -> None:
    reader = TimeReader()
    assert reader("2026-01-31T12:34:56.789Z") == parse_time("2026-01-31T12:34:56.789Z")
    with pytest.raises(TimeError):
        reader(text)


@pytest.mark.parametrize(
    ("unit", "number", "time_ms"),
    [
        (TimeUnit.SECONDS, -3, -3000),
        (TimeUnit.MILLISECONDS, 2**70, 2**70),
        (TimeUnit.MICROSECONDS, 999, 0),
        (TimeUnit.MICROSECONDS, -1, -1),
        (TimeUnit.MICROSECONDS, -1000, -1),
        (TimeUnit.MICROSECONDS, -1001, -2),
    ],
)
def test_integers_count_a_unit_and_are_rounded_down(unit: TimeUnit, number: int, time_ms: int) -> None:
    assert epoch_ms(number, unit) == time_ms
    assert eval(epoch_ms_source("number", unit), {"number": number}) == time_ms  # noqa: S307 - what generated code does
