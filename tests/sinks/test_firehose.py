"""How rows become records and calls, and what errors say."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from consumer.errors import SinkError
from consumer.sinks import firehose
from consumer.sinks.base import Failure
from consumer.sinks.firehose import (
    CALL_BYTES_MAX,
    CALL_RECORDS_MAX,
    RECORD_BYTES_MAX,
    RECORD_BYTES_TARGET,
    FirehoseSink,
)
from consumer.testing.fakes import FakeFirehose, Raise, Reject, client_error
from consumer.testing.sink_conformance import deliver_all

EDGES = [0, 1, 4999, RECORD_BYTES_TARGET - 1, RECORD_BYTES_TARGET, RECORD_BYTES_MAX - 1, RECORD_BYTES_MAX]
SIZES = st.one_of(st.integers(0, 400), st.sampled_from(EDGES), st.integers(0, RECORD_BYTES_MAX + 10))


@settings(max_examples=60, deadline=None)
@given(sizes=st.lists(SIZES, max_size=24))
def test_any_rows_stay_within_the_limits_and_arrive_in_order(sizes: list[int]) -> None:
    """The fake client holds the limits of record, call and count."""
    client = FakeFirehose()
    rows = [b"%d" % number + b"x" * size for number, size in enumerate(sizes)]
    failed = FirehoseSink(client, "s").put(rows)
    too_large = [number for number, row in enumerate(rows) if len(row) + 1 > RECORD_BYTES_MAX]
    assert list(failed) == [Failure(number, "too_large", permanent=True) for number in too_large]
    assert client.rows == [row for number, row in enumerate(rows) if number not in too_large]


@settings(max_examples=60, deadline=None)
@given(
    sizes=st.lists(st.integers(0, 30), max_size=60),
    rejected=st.sets(st.integers(0, 59)),
    limits=st.tuples(st.integers(2, 40), st.integers(1, 5)),
)
def test_failed_records_are_exactly_the_failed_rows(
    sizes: list[int], rejected: set[int], limits: tuple[int, int]
) -> None:
    """With small limits, so that records, calls and rows meet in every way."""
    record_bytes, call_records = limits
    rows = [b"%02d" % number + b"x" * size for number, size in enumerate(sizes)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(firehose, "RECORD_BYTES_TARGET", record_bytes)
        patch.setattr(firehose, "RECORD_BYTES_MAX", 2 * record_bytes)
        patch.setattr(firehose, "CALL_BYTES_MAX", 3 * record_bytes)
        patch.setattr(firehose, "CALL_RECORDS_MAX", call_records)
        client = FakeFirehose([Reject(dict.fromkeys(rejected, "InternalFailure"))])
        failures = FirehoseSink(client, "s").put(rows)
    failed = {failure.index for failure in failures}
    assert [row for number, row in enumerate(rows) if number not in failed] == client.rows
    some_rejected = any(not failure.permanent for failure in failures)
    assert some_rejected == bool(client.calls and any(number < len(client.calls[0]) for number in rejected))
    assert all(len(call) <= call_records for call in client.calls)
    assert all(sum(map(len, call)) <= 3 * record_bytes for call in client.calls)


def test_small_rows_share_a_record_up_to_the_target() -> None:
    client = FakeFirehose()
    FirehoseSink(client, "s").put([b"x" * 999] * 1000)
    assert [len(record) for record in client.records] == [262_000, 262_000, 262_000, 214_000]
    assert len(client.calls) == 1


def test_a_call_holds_no_more_than_its_limits() -> None:
    client = FakeFirehose()
    FirehoseSink(client, "s").put([b"x" * (RECORD_BYTES_MAX - 1)] * 9)
    assert [len(call) for call in client.calls] == [4, 4, 1]
    assert 4 * RECORD_BYTES_MAX <= CALL_BYTES_MAX < 5 * RECORD_BYTES_MAX


def test_a_call_holds_no_more_than_500_records(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(firehose, "RECORD_BYTES_TARGET", 10)
    client = FakeFirehose()
    FirehoseSink(client, "s").put([b"xxxxxxxxx"] * 1001)
    assert [len(call) for call in client.calls] == [CALL_RECORDS_MAX, CALL_RECORDS_MAX, 1]


def test_a_record_that_fails_takes_only_its_own_rows_with_it() -> None:
    client = FakeFirehose([Reject({1: "ServiceUnavailableException", 2: "InternalFailure"})])
    rows = [b"%04d" % number + b"x" * (RECORD_BYTES_TARGET // 2 - 5) for number in range(7)]
    failed = FirehoseSink(client, "s").put(rows)
    assert list(failed) == [
        Failure(2, "throttled"),
        Failure(3, "throttled"),
        Failure(4, "internal"),
        Failure(5, "internal"),
    ]


def test_a_failed_call_leaves_the_others_alone() -> None:
    client = FakeFirehose([Raise(client_error("ThrottlingException"))])
    rows = [b"%d" % number + b"x" * (RECORD_BYTES_MAX - 2) for number in range(5)]
    sink = FirehoseSink(client, "s")
    assert [failure.index for failure in sink.put(rows)] == [0, 1, 2, 3]
    assert client.rows == rows[4:]


@pytest.mark.parametrize("seed", range(5))
def test_a_bad_day_ends_with_every_row_there(seed: int) -> None:
    """Records rejected here and there, calls failing before and after their effect."""
    faults = [
        Reject({(seed + number) % 4: "ServiceUnavailableException"})
        if number % 2
        else Raise(client_error("InternalFailure", 500), after_effect=number % 4 == 0)
        for number in range(8)
    ]
    client = FakeFirehose(faults)
    rows = [b"%04d" % number + b"x" * 100_000 for number in range(40)]
    deliver_all(FirehoseSink(client, "s"), rows)
    assert set(client.rows) == set(rows)


def test_a_refusal_names_stream_code_and_remedy() -> None:
    sink = FirehoseSink(FakeFirehose([Raise(client_error("AccessDeniedException"))]), "aggregates")
    with pytest.raises(SinkError) as caught:
        sink.put([b"{}"])
    assert str(caught.value) == (
        "Firehose stream 'aggregates': AccessDeniedException: as ordered "
        "Allow the worker's role firehose:PutRecordBatch on this stream."
    )
