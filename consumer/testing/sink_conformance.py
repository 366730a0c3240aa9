"""What every sink must do, as tests to inherit.

Subclass `SinkConformance`, override the fixture `make_harness`, and pytest runs the suite against your sink. Name
this module to `pytest.register_assert_rewrite` to have its assertions explained.
"""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import pytest

from consumer.errors import SinkError
from consumer.sinks.base import DeliveryStopped, Failure, Sink, deliver
from consumer.testing.fakes import RecordingObserver

REASONS = frozenset({"throttled", "unavailable", "timeout", "connection", "too_large", "internal"})
_THREADS = 4
_ROWS = 60


@dataclass(frozen=True)
class Trouble:
    """Something that happens to one attempt: `order` makes it happen to the next, `reason` is what it is called."""

    order: Callable[[], None]
    reason: str


@dataclass
class SinkHarness(ABC):
    """A fresh sink, and what can be done to it.

    `troubles` pass by themselves; `refusals` are what trying again cannot help. `fail_row(index)` makes the next
    attempt fail at that row alone, where every row has `lone_row_bytes`; None where a sink cannot fail in part.
    `row_bytes_max` is the largest row that the sink takes, None where there is no limit. With `exactly_once` a row
    that is sent again, by the same delivery or a later one, is there once; else it may be there twice.
    `many_rows` is for what stands behind the sink in a test, and may be slow.
    """

    sink: Sink
    troubles: Mapping[str, Trouble] = field(default_factory=dict)
    refusals: Mapping[str, Callable[[], None]] = field(default_factory=dict)
    fail_row: Callable[[int], None] | None = None
    lone_row_bytes: int = 1
    row_bytes_max: int | None = None
    exactly_once: bool = False
    many_rows: int = 1500

    @abstractmethod
    def arrived(self) -> list[bytes]:
        """Return the rows where the sink's reader finds them, in order; repetitions included."""


def numbered_rows(count: int, row_bytes: int = 0) -> list[bytes]:
    """Return distinct rows of `row_bytes` bytes each, or a little more where that is too few."""
    return [row_of(number, row_bytes) for number in range(count)]


def row_of(number: int, row_bytes: int = 0) -> bytes:
    """Return a row of `row_bytes` bytes, or a little more where that is too few."""
    row = b'{"id":"%06d","window":"w","fill":"%s"}'
    return row % (number, b"x" * max(0, row_bytes - len(row % (number, b""))))


def deliver_all(sink: Sink, rows: Sequence[bytes]) -> RecordingObserver:
    """Deliver without waiting in between, for at most a hundred retries; return what was observed."""
    observer = RecordingObserver()

    def pause(_seconds: float) -> bool:
        assert len(observer.retries) < 100, "the delivery does not come to an end"  # noqa: PLR2004 - ample
        return False

    deliver(sink, rows, pause=pause, observer=observer, random=lambda: 1.0, clock=lambda: 0.0)
    return observer


class SinkConformance:
    """Inherit, and override `make_harness`."""

    @pytest.fixture
    def make_harness(self) -> Callable[[], SinkHarness]:
        """Return a function that makes a harness with a sink of its own; see to its end in the fixture."""
        raise NotImplementedError

    def test_every_row_arrives_once_and_in_order(self, make_harness: Callable[[], SinkHarness]) -> None:
        """Without trouble a sink takes everything as it was given."""
        harness = make_harness()
        rows = numbered_rows(harness.many_rows)
        assert list(harness.sink.put(rows)) == []
        assert harness.arrived() == rows

    def test_attempts_follow_each_other(self, make_harness: Callable[[], SinkHarness]) -> None:
        """What a later attempt hands over comes later, and nothing is torn in between."""
        harness, rows = make_harness(), numbered_rows(30)
        for start in range(0, 30, 10):
            assert list(harness.sink.put(rows[start : start + 10])) == []
        assert Counter(harness.arrived()) == Counter(rows)

    def test_no_rows_are_no_work(self, make_harness: Callable[[], SinkHarness]) -> None:
        """An attempt without rows succeeds and leaves nothing behind."""
        harness = make_harness()
        assert list(harness.sink.put([])) == []
        assert harness.arrived() == []

    def test_bytes_arrive_unchanged(self, make_harness: Callable[[], SinkHarness]) -> None:
        """Text of any script, escapes and line separators of Unicode are bytes like others."""
        harness = make_harness()
        texts = ["ä€😀", "a\u2028b\u0085c\u007f\ufffd\U0010ffff", r"\n\u0000\"\\\u20ac", "", "&amp;<x/>"]
        rows = [f'{{"id":"{number}","window":"w","by":"{text}"}}'.encode() for number, text in enumerate(texts)]
        assert list(harness.sink.put(rows)) == []
        assert harness.arrived() == rows

    def test_large_rows_arrive(self, make_harness: Callable[[], SinkHarness]) -> None:
        """Up to the sink's limit (or 2 MB), also many of them, also between small ones."""
        harness = make_harness()
        large_bytes = harness.row_bytes_max or 2_000_000
        sizes = [0, large_bytes, 0, large_bytes, large_bytes, large_bytes, large_bytes, 0]
        rows = [row_of(number, size) for number, size in enumerate(sizes)]
        assert list(harness.sink.put(rows)) == []
        assert Counter(harness.arrived()) == Counter(rows)

    def test_a_row_above_the_limit_is_rejected_alone(self, make_harness: Callable[[], SinkHarness]) -> None:
        """Wherever it stands, its neighbours arrive, and it is told as lost."""
        for position in range(4):
            harness = make_harness()
            if harness.row_bytes_max is None:
                pytest.skip("this sink takes rows of any size")
            rows = numbered_rows(3)
            rows.insert(position, row_of(9, harness.row_bytes_max + 1))
            assert list(harness.sink.put(rows)) == [Failure(position, "too_large", permanent=True)]
            assert harness.arrived() == numbered_rows(3)
            observer = deliver_all(harness.sink, [rows[position]])
            assert observer.rejections == [(harness.sink.name, "too_large", len(rows[position]))]

    def test_trouble_is_told_row_by_row(self, make_harness: Callable[[], SinkHarness]) -> None:
        """Rows that did not arrive are failures, rising, not permanent, under the right word."""
        for name, reason in _reasons(make_harness()).items():
            harness = make_harness()
            rows = _some_rows(harness)
            harness.troubles[name].order()
            failures = list(harness.sink.put(rows))
            indices = [failure.index for failure in failures]
            assert indices, name
            assert indices == sorted(set(indices)), name
            assert {failure.reason for failure in failures} == {reason}, name
            assert reason in REASONS, name
            assert not any(failure.permanent for failure in failures), name
            taken = [row for index, row in enumerate(rows) if index not in set(indices)]
            assert not Counter(taken) - Counter(harness.arrived()), name

    def test_trouble_passes_and_every_row_arrives(self, make_harness: Callable[[], SinkHarness]) -> None:
        """After the trouble all rows are there; what is there twice has the same bytes."""
        for name in make_harness().troubles:
            harness = make_harness()
            rows = _some_rows(harness)
            harness.troubles[name].order()
            observer = deliver_all(harness.sink, rows)
            assert set(harness.arrived()) == set(rows), name
            assert not harness.exactly_once or Counter(harness.arrived()) == Counter(rows), name
            assert observer.rows[harness.sink.name, "sent"] == len(rows), name
            assert observer.retries, name

    def test_an_outbox_sent_again_is_the_same_rows(self, make_harness: Callable[[], SinkHarness]) -> None:
        """The next owner of a shard sends again what may have arrived: once where the sink promises so."""
        harness = make_harness()
        rows = _some_rows(harness)
        for _ in range(2):
            deliver_all(harness.sink, rows)
        assert Counter(harness.arrived()) == Counter(rows if harness.exactly_once else rows * 2)

    def test_part_of_an_attempt_fails_at_every_position(self, make_harness: Callable[[], SinkHarness]) -> None:
        """The failure is told for that row alone, and only that row is sent again."""
        count = 6
        for position in range(count):
            harness = make_harness()
            if harness.fail_row is None:
                pytest.skip("this sink takes all rows of an attempt or none")
            rows = numbered_rows(count, harness.lone_row_bytes)
            harness.fail_row(position)
            failures = list(harness.sink.put(rows))
            assert [failure.index for failure in failures] == [position]
            assert harness.arrived() == rows[:position] + rows[position + 1 :]
            assert list(harness.sink.put([rows[position]])) == []
            assert Counter(harness.arrived()) == Counter(rows)

    def test_a_stop_is_heard_while_failing(self, make_harness: Callable[[], SinkHarness]) -> None:
        """The delivery ends at the first pause, and the sink works on afterwards."""
        for name in make_harness().troubles:
            harness = make_harness()
            rows = _some_rows(harness)
            harness.troubles[name].order()
            with pytest.raises(DeliveryStopped):
                deliver(
                    harness.sink,
                    rows,
                    pause=lambda _seconds: True,
                    observer=RecordingObserver(),
                    random=lambda: 0.5,
                    clock=lambda: 0.0,
                )
            deliver_all(harness.sink, rows)
            assert set(harness.arrived()) == set(rows), name
            assert not harness.exactly_once or Counter(harness.arrived()) == Counter(rows), name

    def test_what_cannot_be_helped_is_raised(self, make_harness: Callable[[], SinkHarness]) -> None:
        """The error says more than a word: where, and what to do."""
        for name in make_harness().refusals:
            harness = make_harness()
            harness.refusals[name]()
            with pytest.raises(SinkError) as caught:
                harness.sink.put(numbered_rows(3))
            assert len(str(caught.value).split()) > 5, name  # noqa: PLR2004 - a sentence

    def test_many_threads_may_put_at_once(self, make_harness: Callable[[], SinkHarness]) -> None:
        """All rows of all threads arrive whole."""
        harness = make_harness()
        rows = numbered_rows(min(_THREADS * _ROWS, harness.many_rows))
        threads = [
            threading.Thread(target=_put_one_by_one, args=(harness.sink, rows[number::_THREADS]))
            for number in range(_THREADS)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert Counter(harness.arrived()) == Counter(rows)

    def test_closing_loses_nothing(self, make_harness: Callable[[], SinkHarness]) -> None:
        """What was taken stays taken."""
        harness = make_harness()
        rows = _some_rows(harness)
        harness.sink.put(rows)
        harness.sink.close()
        assert harness.arrived() == rows

    def test_the_name_is_fit_for_a_label(self, make_harness: Callable[[], SinkHarness]) -> None:
        """Short, on one line, and the same every time."""
        sink = make_harness().sink
        assert sink.name
        assert sink.name == sink.name.strip() == sink.name.splitlines()[0]


def _reasons(harness: SinkHarness) -> dict[str, str]:
    return {name: trouble.reason for name, trouble in harness.troubles.items()}


def _some_rows(harness: SinkHarness) -> list[bytes]:
    return numbered_rows(min(_ROWS, harness.many_rows))


def _put_one_by_one(sink: Sink, rows: Sequence[bytes]) -> None:
    for row in rows:
        deliver_all(sink, [row])
