"""The delivery loop and the router, by the rules at the top of sinks/base.py."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import count

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consumer.errors import SinkError
from consumer.records import DEAD_LETTER, LATE, Row
from consumer.sinks import base
from consumer.sinks.base import DeliveryStopped, Failure, Router, deliver
from consumer.testing.fakes import FakeSink, RecordingObserver


class Waits:
    """A pause that remembers its waits, and asks for a stop at one of them."""

    def __init__(self, stop_at: int | None = None) -> None:
        self.seconds: list[float] = []
        self._stop_at = stop_at

    def __call__(self, seconds: float) -> bool:
        self.seconds.append(seconds)
        return len(self.seconds) == self._stop_at


def run(
    sink: FakeSink, rows: Sequence[bytes], waits: Waits | None = None, random: Callable[[], float] = lambda: 1.0
) -> RecordingObserver:
    observer = RecordingObserver()
    ticks = count()
    deliver(
        sink,
        rows,
        pause=waits or Waits(),
        observer=observer,
        random=random,
        clock=lambda: float(next(ticks)),
    )
    return observer


def failures(*indices: int, reason: str = "throttled") -> list[Failure]:
    return [Failure(index, reason) for index in indices]


ROWS = [b"a", b"bb", b"ccc", b"dddd"]


def test_only_failed_rows_are_tried_again() -> None:
    sink = FakeSink(outcomes=[failures(1, 3), failures(0)])
    observer = run(sink, ROWS)
    assert sink.attempts == [ROWS, [b"bb", b"dddd"], [b"bb"]]
    assert sorted(sink.rows) == ROWS
    assert observer.rows == {("fake", "sent"): 4, ("fake", "failed"): 3}
    assert observer.size_bytes == {("fake", "sent"): 10, ("fake", "failed"): 8}


def test_every_attempt_is_timed() -> None:
    observer = run(FakeSink(outcomes=[failures(0)]), ROWS)
    assert observer.batches == [("fake", 1.0), ("fake", 1.0)]


def test_waits_double_up_to_the_cap_while_nothing_is_taken() -> None:
    waits = Waits()
    run(FakeSink(outcomes=[failures(0)] * 12), [b"a"], waits)
    assert waits.seconds == pytest.approx([0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 6.4, 12.8, 25.6, 30.0, 30.0, 30.0])


def test_waits_stay_at_the_cap_for_ever() -> None:
    waits = Waits()
    run(FakeSink(outcomes=[failures(0)] * 2000), [b"a"], waits)
    assert waits.seconds[-1] == 30.0


def test_waits_start_again_when_a_row_was_taken() -> None:
    waits = Waits()
    run(FakeSink(outcomes=[failures(0, 1), failures(0, 1), failures(1), failures(0)]), [b"a", b"b"], waits)
    assert waits.seconds == pytest.approx([0.1, 0.2, 0.1, 0.2])


def test_waits_are_random_over_their_whole_range() -> None:
    waits = Waits()
    numbers = iter([0.0, 0.5, 0.99])
    run(FakeSink(outcomes=[failures(0)] * 3), [b"a"], waits, random=lambda: next(numbers))
    assert waits.seconds == pytest.approx([0.0, 0.1, 0.396])


def test_retries_are_told_by_reason() -> None:
    mixed = [Failure(0, "throttled"), Failure(1, "internal"), Failure(3, "throttled")]
    observer = run(FakeSink(outcomes=[mixed]), ROWS)
    assert [(retry.reason, retry.rows) for retry in observer.retries] == [("throttled", 2), ("internal", 1)]
    assert {retry.wait_seconds for retry in observer.retries} == {0.1}


def test_a_permanent_failure_is_told_and_never_tried_again() -> None:
    sink = FakeSink(outcomes=[[Failure(1, "too_large", permanent=True), Failure(2, "timeout")]])
    observer = run(sink, ROWS)
    assert sink.attempts == [ROWS, [b"ccc"]]
    assert observer.rejections == [("fake", "too_large", 2)]
    assert observer.rows == {("fake", "sent"): 3, ("fake", "failed"): 1, ("fake", "rejected"): 1}


def test_no_wait_where_all_failures_are_permanent() -> None:
    waits = Waits()
    run(FakeSink(outcomes=[[Failure(0, "too_large", permanent=True)]]), [b"a"], waits)
    assert waits.seconds == []


def test_a_stop_ends_the_delivery_at_once() -> None:
    sink = FakeSink(outcomes=[failures(0)] * 5)
    with pytest.raises(DeliveryStopped):
        run(sink, [b"a"], Waits(stop_at=2))
    assert len(sink.attempts) == 2
    assert sink.rows == []


def test_no_rows_no_attempt() -> None:
    sink = FakeSink()
    observer = run(sink, [])
    assert sink.attempts == []
    assert observer.rows == {}


def test_the_next_slice_waits_for_the_last(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(base, "SLICE_BYTES", 5)
    sink = FakeSink(outcomes=[failures(0)])
    run(sink, ROWS)
    assert sink.attempts == [[b"a", b"bb"], [b"a"], [b"ccc"], [b"dddd"]]


@given(sizes=st.lists(st.integers(0, 40), max_size=60), limit=st.integers(1, 50))
def test_slices_hold_every_row_in_order_within_the_limit(sizes: list[int], limit: int) -> None:
    rows = [bytes([number]) * size for number, size in enumerate(sizes)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(base, "SLICE_BYTES", limit)
        slices = list(base._slices(rows))
    assert [row for part in slices for row in part] == rows
    assert all(part for part in slices)
    assert all(len(part) == 1 or sum(len(row) + 1 for row in part) <= limit for part in slices)


@pytest.mark.parametrize("indices", [(2, 1), (1, 1), (-1,), (4,)])
def test_a_sink_that_breaks_the_contract_stops_everything(indices: tuple[int, ...]) -> None:
    with pytest.raises(AssertionError):
        run(FakeSink(outcomes=[failures(*indices)]), ROWS)


def test_a_refusal_passes_through() -> None:
    with pytest.raises(SinkError, match="no permission"):
        run(FakeSink(outcomes=[SinkError("no permission")]), ROWS)


def send(router: Router, rows: Sequence[Row], waits: Waits | None = None) -> RecordingObserver:
    observer = RecordingObserver()
    router.send(rows, pause=waits or Waits(), observer=observer, random=lambda: 1.0, clock=lambda: 0.0)
    return observer


OUTBOX = [Row("views", b"v1"), Row(LATE, b"l1"), Row("visits", b"s1"), Row(DEAD_LETTER, b"d1"), Row("views", b"v2")]


def test_each_sink_gets_all_its_rows_in_order_in_one_attempt() -> None:
    results, extra, late, letters = (FakeSink(name) for name in ("results", "extra", "late", "letters"))
    router = Router({"views": [results, extra], "visits": [results], LATE: [late], DEAD_LETTER: [letters]})
    send(router, OUTBOX)
    assert results.attempts == [[b"v1", b"s1", b"v2"]]
    assert extra.attempts == [[b"v1", b"v2"]]
    assert late.attempts == [[b"l1"]]
    assert letters.attempts == [[b"d1"]]


def test_an_output_without_sinks_goes_nowhere_and_an_unknown_one_is_an_error() -> None:
    sink = FakeSink()
    router = Router({"views": [sink], "visits": [], LATE: []})
    send(router, OUTBOX[:3])
    assert sink.rows == [b"v1"]
    with pytest.raises(KeyError):
        send(router, [Row("unknown", b"x")])


def test_a_sink_named_twice_takes_a_row_once() -> None:
    sink = FakeSink()
    router = Router({"views": [sink, sink], LATE: [sink]})
    send(router, OUTBOX[:2])
    assert sink.attempts == [[b"v1", b"l1"]]
    assert router.sinks == (sink,)


def test_a_sink_that_is_down_keeps_no_other_from_its_rows() -> None:
    down, up = FakeSink("down", [failures(0)] * 3), FakeSink("up")
    taken_at_first_wait: list[bytes] = []

    class Watch(Waits):
        def __call__(self, seconds: float) -> bool:
            if not self.seconds:
                taken_at_first_wait.extend(up.rows)
            return super().__call__(seconds)

    waits = Watch()
    send(Router({"views": [down, up]}), [Row("views", b"v1")], waits)
    assert taken_at_first_wait == [b"v1"]
    assert down.rows == up.rows == [b"v1"]
    assert waits.seconds == pytest.approx([0.1, 0.2, 0.4])
    assert len(up.attempts) == 1


def test_sinks_in_trouble_wait_together_for_the_longest() -> None:
    slow, quick = FakeSink("slow", [failures(0)] * 3), FakeSink("quick", [failures(0), (), failures(0)])
    router = Router({"views": [slow, quick]})
    waits = Waits()
    send(router, [Row("views", b"v1")], waits)
    assert waits.seconds == pytest.approx([0.1, 0.2, 0.4])
    assert slow.rows == quick.rows == [b"v1"]


def test_a_refusal_is_raised_after_the_others_had_their_turn() -> None:
    refusing, busy, up = FakeSink("r", [SinkError("no permission")]), FakeSink("b", [failures(0)]), FakeSink("u")
    router = Router({"views": [refusing, busy, up]})
    with pytest.raises(SinkError, match="no permission"):
        send(router, [Row("views", b"v1")])
    assert up.rows == [b"v1"]
    assert len(busy.attempts) == 1


def test_a_stop_is_heard_by_the_router() -> None:
    with pytest.raises(DeliveryStopped):
        send(Router({"views": [FakeSink("down", [failures(0)])]}), [Row("views", b"v1")], Waits(stop_at=1))


def test_every_sink_is_closed_once_even_if_one_fails_to() -> None:
    class Stubborn(FakeSink):
        def close(self) -> None:
            raise OSError("cannot close")

    first, last = FakeSink("first"), FakeSink("last")
    router = Router({"views": [first, Stubborn("stubborn"), last], LATE: [first]})
    with pytest.raises(OSError, match="cannot close"):
        router.close()
    assert (first.closed, last.closed) == (1, 1)
