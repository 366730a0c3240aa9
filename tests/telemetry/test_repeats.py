"""Lines that are told at once, then at most one an interval."""

from __future__ import annotations

from consumer.telemetry.repeats import Line, Repeats, Unsaid

A = Line("seen", "warning", (("reason", "a"),), "records")
B = Line("seen", "warning", (("reason", "b"),), "records")


def test_the_first_is_told_at_once_and_the_rest_together() -> None:
    repeats = Repeats(interval_seconds=60.0, interval_seconds_max=240.0)
    repeats.count(A, 2, {"position": 1})
    assert repeats.due(100.0) == [(A, Unsaid(2, {"position": 1}))]
    assert not repeats.pending
    repeats.count(A, 3, {"position": 2})
    repeats.count(A, 4, {"position": 3})
    assert repeats.due(159.9) == []
    assert repeats.pending
    assert repeats.due(160.0) == [(A, Unsaid(7, {"position": 3}))]
    assert repeats.due(300.0) == []


def test_what_goes_on_is_told_ever_less_often_and_anew_after_a_silence() -> None:
    repeats = Repeats(interval_seconds=60.0, interval_seconds_max=240.0)
    told = []
    for now in range(1_000):
        repeats.count(A, 1, {})
        told += [now] * len(repeats.due(now))
    assert told == [0, 60, 180, 420, 660, 900]
    for now in range(1_500, 1_600):
        repeats.count(A, 1, {})
        told += [now] * len(repeats.due(now))
    assert told[6:] == [1_500, 1_560]


def test_lines_do_not_hold_each_other_up() -> None:
    repeats = Repeats(interval_seconds=60.0, interval_seconds_max=240.0)
    repeats.count(A, 1, {})
    repeats.due(0.0)
    repeats.count(A, 1, {})
    repeats.count(B, 1, {})
    assert repeats.due(1.0) == [(B, Unsaid(1, {}))]


def test_the_rest_is_everything_untold() -> None:
    repeats = Repeats(interval_seconds=60.0, interval_seconds_max=240.0)
    repeats.count(A, 1, {})
    repeats.due(0.0)
    repeats.count(A, 5, {})
    assert repeats.rest() == [(A, Unsaid(5, {}))]
    assert repeats.rest() == []
