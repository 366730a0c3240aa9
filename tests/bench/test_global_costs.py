"""What the bench of global windows counts, and what it makes of it."""

from __future__ import annotations

import pytest

from bench.core_report import PAGE, marks
from bench.global_meter import Meter, Traffic, item_bytes
from bench.global_run import Load, Measured, Simulation
from bench.global_windows import dollars, figures, longest, markdown


def test_every_shard_contributes_once_a_minute_and_tells_its_progress() -> None:
    load = Load(3, 5, 2)
    measured = Simulation(load, seed=1).run()
    meter = measured.meter
    assert meter.contributions_written.requests == 3
    assert meter.contributions_written.items == 3 * 2
    assert meter.contributions_read.items == 3 * 2
    assert meter.contributions_read.requests == 2
    assert meter.progress_written.items == 3
    assert meter.progress_read.items == 3 * meter.progress_read.requests
    assert 10 <= meter.progress_read.requests <= 14
    assert measured.rows == 5
    assert 0 < measured.latencies[0] < 15


def test_bytes_are_those_of_names_and_values() -> None:
    assert item_bytes({"pk": {"S": "ab"}, "data": {"B": b"123"}, "ended": {"BOOL": True}}) == 2 + 2 + 4 + 3 + 5 + 1
    assert item_bytes({"l": {"L": [{"S": "a"}, {"S": "b"}]}}) == 1 + 3 + 2 * 2


def test_units_and_what_is_kept_are_paid_for() -> None:
    a_million = Traffic(requests=1, items=1, size_bytes=0, units=1_000_000)
    meter = Meter(contributions_written=a_million, progress_read=a_million, key_units={"key": 7})
    measured = Measured(meter, [5.0], 1)
    assert dollars(Load(1, 1, 1), measured) == pytest.approx((0.625 + 0.125) * 43_200)
    meter.contributions_written.size_bytes = 1_000_000
    assert dollars(Load(1, 1, 1), measured) == pytest.approx((0.625 + 0.125) * 43_200 + 2.88 * 0.25)


def test_the_longest_latency_is_judged() -> None:
    found = {Load(1, 1, 1): Measured(Meter(key_units={"key": 7}), [5.0, 16.0], 2)}
    assert longest(found) == pytest.approx(3.2)
    by_name = {figure.name: figure.value for figure in figures(found)}
    assert by_name["global_latency_goal"] == "not_met"
    assert "**not met**" in markdown(found, "2026-01-01T00:00:00Z")


def test_the_page_has_a_place_for_it() -> None:
    page = PAGE.read_text(encoding="utf-8")
    assert all(mark in page for mark in marks("global_windows"))
