"""The contract of a sink, and the one loop that delivers rows to it.

A sink makes one attempt and tells row by row what failed. It never loops, never sleeps, never decides to give
up: the delivery does, in one place, by these rules:

1. Rows are handed over in order, a slice of at most SLICE_BYTES at a time; the next slice starts when nothing
   of the last one is left. So an attempt is short, and a stop is heard soon.
2. Only the rows that failed are tried again, with the same bytes.
3. Between attempts there is a random wait between 0 and a bound that starts at BACKOFF_BASE_SECONDS, doubles
   with each attempt that took no row, up to BACKOFF_CAP_SECONDS, and starts again when a row was taken.
4. There is no last attempt. A sink that is down holds up the commit, the commit holds up the source: that is
   the back-pressure, and memory stays bounded by one outbox. Delivery ends early only when a stop is asked
   for; the rows are in the stored outbox, and the next owner of the shard sends them again.
5. A permanent failure is counted and reported as a rejected row, and never tried again.
6. Several sinks take turns: each goes on until its first trouble, then all that have rows left wait together
   (the longest of their waits). So a sink that is down, or refuses for good, keeps no other from the rows of
   the outbox.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal, Protocol

from consumer.errors import SinkError
from consumer.records import Row

SLICE_BYTES = 4 * 1024 * 1024
"""Rows and their line ends in one attempt: as much as one call to Firehose takes.

The objects of the S3 sink are cut by it, which makes it a format (rule 4 of s3.py).
"""
BACKOFF_BASE_SECONDS = 0.1
BACKOFF_CAP_SECONDS = 30.0
_DOUBLINGS_MAX = 16
"""More would only make big numbers: the cap is reached long before."""


@dataclass(frozen=True, slots=True)
class Failure:
    """Row number `index` of the attempt was not, or not surely, taken.

    `reason` is a short fixed word fit for a metric label: throttled, unavailable, timeout, connection,
    too_large, internal. A `permanent` failure will never succeed for this row (it is too large for the sink):
    the row is counted as rejected and reported as lost data. Everything else is tried again, with the same
    bytes.
    """

    index: int
    reason: str
    permanent: bool = False


class Sink(Protocol):
    """Somewhere rows go. Used by many threads at once."""

    @property
    def name(self) -> str:
        """Return the sink's label in metrics and logs, such as `firehose:aggregates`."""

    def put(self, rows: Sequence[bytes]) -> Sequence[Failure]:
        """Try once to hand over all rows, in order; each row is a JSON object without a line end.

        Return the failures in rising order of index; an unknown outcome (time-out, cut answer) is a failure.
        Raise SinkError where trying again cannot help (no permission, no such stream, request refused).
        """

    def close(self) -> None:
        """Flush and let go. Called once."""


class DeliveryObserver(Protocol):
    """What the delivery tells, for metrics and logs. Called by many threads at once."""

    def put(self, sink: str, result: Literal["sent", "failed", "rejected"], rows: int, size_bytes: int, /) -> None:
        """`rows` rows of an attempt (at least one) had this result; `size_bytes` is without line ends."""

    def batch(self, sink: str, seconds: float, /) -> None:
        """Tell how long one attempt took."""

    def retry(self, sink: str, reason: str, rows: int, wait_seconds: float, /) -> None:
        """`rows` rows failed for this reason and will be tried again after a wait."""

    def rejected(self, sink: str, reason: str, row_bytes: int, /) -> None:
        """One row of `row_bytes` bytes will never be taken: data is lost."""


class DeliveryStopped(Exception):  # noqa: N818 - no error: the caller asked for it
    """A stop was asked for while rows were waiting; they are still in the stored outbox."""


def deliver(
    sink: Sink,
    rows: Sequence[bytes],
    *,
    pause: Callable[[float], bool],
    observer: DeliveryObserver,
    random: Callable[[], float],
    clock: Callable[[], float],
) -> None:
    """Deliver all rows to one sink by the rules above; return when every row was taken or rejected.

    `pause(seconds)` waits and returns True if a stop was asked for, whereupon DeliveryStopped is raised.
    `random` gives numbers in [0, 1), `clock` monotonic seconds. SinkError passes through.
    """
    for wait_seconds in _delivery(sink, rows, observer, random, clock):
        _pause_or_stop(pause, wait_seconds)


class Router:
    """Knows which sinks take which rows. Used by many threads at once."""

    def __init__(self, routes: Mapping[str, Sequence[Sink]]) -> None:
        """Take the sinks, possibly none, of every output: of each window's name, LATE and DEAD_LETTER."""
        distinct = {id(sink): sink for sinks in routes.values() for sink in sinks}
        number_of = {identity: number for number, identity in enumerate(distinct)}
        self._sinks = tuple(distinct.values())
        self._routes = {
            output: tuple(dict.fromkeys(number_of[id(sink)] for sink in sinks)) for output, sinks in routes.items()
        }

    @property
    def sinks(self) -> tuple[Sink, ...]:
        """Return every sink once."""
        return self._sinks

    def send(
        self,
        rows: Sequence[Row],
        *,
        pause: Callable[[float], bool],
        observer: DeliveryObserver,
        random: Callable[[], float],
        clock: Callable[[], float],
    ) -> None:
        """Deliver to every sink all its rows, in order, by the rules above; parameters as in `deliver`.

        A SinkError is raised after the other sinks had their turn.
        """
        rows_of: list[list[bytes]] = [[] for _ in self._sinks]
        for row in rows:
            for number in self._routes[row.output]:
                rows_of[number].append(row.data)
        deliveries = [
            _delivery(sink, sink_rows, observer, random, clock)
            for sink, sink_rows in zip(self._sinks, rows_of, strict=True)
        ]
        while deliveries:
            deliveries, wait_seconds = _take_turns(deliveries)
            if deliveries:
                _pause_or_stop(pause, wait_seconds)

    def close(self) -> None:
        """Close every sink, also when closing one of them raises."""
        with ExitStack() as stack:
            for sink in self._sinks:
                stack.callback(sink.close)


def _pause_or_stop(pause: Callable[[float], bool], wait_seconds: float) -> None:
    if pause(wait_seconds):
        raise DeliveryStopped


def _take_turns(deliveries: Sequence[Iterator[float]]) -> tuple[list[Iterator[float]], float]:
    """Give each delivery a turn; return those with rows left and the longest of their waits in seconds."""
    unfinished: list[Iterator[float]] = []
    waits_seconds: list[float] = []
    refusal: SinkError | None = None
    for delivery in deliveries:
        try:
            wait_seconds = next(delivery, None)
        except SinkError as error:
            refusal = refusal or error
            continue
        if wait_seconds is not None:
            unfinished.append(delivery)
            waits_seconds.append(wait_seconds)
    if refusal is not None:
        raise refusal
    return unfinished, max(waits_seconds, default=0.0)


def _delivery(
    sink: Sink,
    rows: Sequence[bytes],
    observer: DeliveryObserver,
    random: Callable[[], float],
    clock: Callable[[], float],
) -> Iterator[float]:
    """Deliver the rows; yield the seconds to wait whenever an attempt has left some over."""
    for part in _slices(rows):
        left, doublings = part, 0
        while left:
            failures = _attempt(sink, left, observer, clock)
            if len(failures) < len(left):
                doublings = 0
            left = [left[failure.index] for failure in failures if not failure.permanent]
            if left:
                wait_seconds = random() * min(BACKOFF_CAP_SECONDS, BACKOFF_BASE_SECONDS * 2**doublings)
                _report_retries(sink.name, failures, wait_seconds, observer)
                yield wait_seconds
                doublings = min(doublings + 1, _DOUBLINGS_MAX)


def _slices(rows: Sequence[bytes]) -> Iterator[list[bytes]]:
    """Cut the rows into runs of at most SLICE_BYTES with line ends; a larger row is a run of its own."""
    run: list[bytes] = []
    run_bytes = 0
    for row in rows:
        if run and run_bytes + len(row) + 1 > SLICE_BYTES:
            yield run
            run, run_bytes = [], 0
        run.append(row)
        run_bytes += len(row) + 1
    if run:
        yield run


def _attempt(
    sink: Sink, rows: Sequence[bytes], observer: DeliveryObserver, clock: Callable[[], float]
) -> Sequence[Failure]:
    """Make one attempt, report its outcome, and return its failures."""
    started_seconds = clock()
    failures = sink.put(rows)
    observer.batch(sink.name, clock() - started_seconds)
    indices = [failure.index for failure in failures]
    assert all(low < high for low, high in pairwise(indices)), "failures out of order"
    assert not indices or (indices[0] >= 0 and indices[-1] < len(rows)), "a failure of a row that was not put"

    rejected = [failure for failure in failures if failure.permanent]
    all_bytes = sum(map(len, rows))
    failed_bytes = sum(len(rows[failure.index]) for failure in failures if not failure.permanent)
    rejected_bytes = sum(len(rows[failure.index]) for failure in rejected)
    _report(sink, "sent", len(rows) - len(failures), all_bytes - failed_bytes - rejected_bytes, observer)
    _report(sink, "failed", len(failures) - len(rejected), failed_bytes, observer)
    _report(sink, "rejected", len(rejected), rejected_bytes, observer)
    for failure in rejected:
        observer.rejected(sink.name, failure.reason, len(rows[failure.index]))
    return failures


def _report(
    sink: Sink,
    result: Literal["sent", "failed", "rejected"],
    rows: int,
    size_bytes: int,
    observer: DeliveryObserver,
) -> None:
    if rows:
        observer.put(sink.name, result, rows, size_bytes)


def _report_retries(
    sink_name: str, failures: Sequence[Failure], wait_seconds: float, observer: DeliveryObserver
) -> None:
    """Report the failures that will be tried again, once a reason."""
    reasons = Counter(failure.reason for failure in failures if not failure.permanent)
    for reason, rows in reasons.items():
        observer.retry(sink_name, reason, rows, wait_seconds)
