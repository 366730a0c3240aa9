"""The demo's events and the producer that sends them."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from itertools import count, islice
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import EndpointConnectionError

from consumer.entrypoints.demo import producer as producer_module
from consumer.entrypoints.demo.clickstream import Message, Scenario
from consumer.entrypoints.demo.producer import ATTEMPTS_MAX, CALL_RECORDS_MAX, Producer, main, scenarios
from consumer.errors import RetryableError
from consumer.pipeline.load import load
from consumer.records import Record
from consumer.testing.reference import Expected, reference

HOUR_MS = 3_600_000
SCENARIO = Scenario(events=6000, start_ms=500_000 * HOUR_MS, span_ms=3 * HOUR_MS, disorder_ms=9_000, seed=7)


def test_the_same_seed_gives_the_same_records() -> None:
    assert list(SCENARIO.messages()) == list(SCENARIO.messages())


def test_another_seed_gives_other_records() -> None:
    assert list(replace(SCENARIO, seed=8).messages()) != list(SCENARIO.messages())


@pytest.fixture(scope="module")
def shards() -> list[Expected]:
    """Return what the demo's pipeline must make of the scenario, on two shards."""
    pipeline = load(Path("config/clickstream.yaml"), {})
    records: tuple[list[Record], list[Record]] = ([], [])
    arrival_ms = SCENARIO.start_ms + 4 * HOUR_MS
    for number, message in enumerate(SCENARIO.messages(), 1):
        shard = hashlib.md5(message.partition_key.encode(), usedforsecurity=False).digest()[0] >> 7
        records[shard].append(Record(message.data, message.partition_key, str(number), 0, arrival_ms))
    return [reference(pipeline, f"shard {n}", 0, of, lambda _, window: window.name) for n, of in enumerate(records)]


def test_the_events_fit_the_demos_pipeline(shards: list[Expected]) -> None:
    dead = sum((shard.dead_lettered for shard in shards), Counter[str]())
    late = sum((shard.late_events for shard in shards), Counter[str]())
    assert set(dead) == {
        "invalid_json",
        "invalid_utf8",
        "wrong_type",
        "missing_field",
        "out_of_range",
        "future_timestamp",
        "misrouted",
    }
    assert 0 < dead.total() < SCENARIO.events / 100
    for window in ("page_views", "all_views", "revenue", "visits"):
        assert 0 < late[window] < SCENARIO.events / 50


def test_windows_of_all_kinds_close_and_some_stay_open(shards: list[Expected]) -> None:
    closed = Counter(row.output for shard in shards for row in shard.rows)
    still_open = Counter(window.window for shard in shards for window in shard.open_windows)
    assert closed["page_views"] > 2000
    assert closed["revenue"] > 1000
    assert closed["visits"] > 100
    assert set(still_open) == {"page_views", "all_views", "revenue", "visits"}


def test_only_late_events_are_out_of_order_beyond_the_bound(shards: list[Expected]) -> None:
    sound = sum(shard.received for shard in shards)
    late = sum(shard.late_events["page_views"] for shard in shards)
    assert late / sound == pytest.approx(0.005, abs=0.003)


def test_small_scenarios_work_too() -> None:
    for events in (1, 2, 10):
        assert len(list(replace(SCENARIO, events=events).messages())) == events


def test_endless_scenarios_go_on_where_the_last_one_ended() -> None:
    first, second, third = islice(scenarios(SCENARIO, endless=True), 3)
    assert first == SCENARIO
    assert second.start_ms == first.start_ms + first.span_ms
    assert third.start_ms == second.start_ms + second.span_ms
    assert second.seed != first.seed
    assert list(scenarios(SCENARIO, endless=False)) == [SCENARIO]


def test_endless_scenarios_do_not_run_ahead_of_the_present() -> None:
    """Ten minutes of event time are sent in one, until it is the present; then a minute is."""
    slow = replace(SCENARIO, span_ms=600_000)
    minutes = count()
    began_ms = slow.start_ms + 1_500_000
    made = islice(scenarios(slow, endless=True, sending_ms=60_000, now_ms=lambda: began_ms + next(minutes) * 60_000), 6)
    spans_ms = [scenario.span_ms for scenario in made]
    assert spans_ms == [600_000, 600_000, 420_000, 60_000, 60_000, 60_000]


Fault = Callable[[Sequence[Any]], Any]


@dataclass
class FakeKinesis:
    """Stores what it is given, or does what the next fault says."""

    faults: list[Fault | None] = field(default_factory=list)
    stored: list[bytes] = field(default_factory=list)
    calls: list[int] = field(default_factory=list)

    def put_records(self, *, StreamName: str, Records: Sequence[Any]) -> Any:  # noqa: N803 - AWS' names
        assert StreamName == "clicks"
        self.calls.append(len(Records))
        fault = self.faults.pop(0) if self.faults else None
        if fault is not None:
            return fault(Records)
        return self.store(Records, failing=())

    def store(self, records: Sequence[Any], failing: Sequence[int]) -> Any:
        results: list[dict[str, str]] = []
        for index, record in enumerate(records):
            if index in failing:
                results.append({"ErrorCode": "ProvisionedThroughputExceededException", "ErrorMessage": "slow down"})
            else:
                self.stored.append(record["Data"])
                results.append({"ShardId": "s", "SequenceNumber": str(len(self.stored))})
        return {"FailedRecordCount": len(failing), "Records": results}

    def fails_at(self, *indexes: int) -> Fault:
        return lambda records: self.store(records, failing=indexes)


@dataclass
class FakeTime:
    now: float = 0.0
    sleeps: list[float] = field(default_factory=list)

    def sleep(self, seconds: float) -> None:
        self.sleeps.append(seconds)
        self.now += seconds


def messages(count: int) -> list[Message]:
    return [Message(f"user-{number}", str(number).encode()) for number in range(count)]


def send(kinesis: FakeKinesis, count: int, rate: float | None = None) -> tuple[Producer, FakeTime]:
    time = FakeTime()
    producer = Producer(kinesis, "clicks", rate, sleep=time.sleep, monotonic=lambda: time.now)
    producer.send(messages(count), lambda _: None)
    return producer, time


def test_everything_is_sent_in_order_and_in_full_calls() -> None:
    kinesis = FakeKinesis()
    producer, _ = send(kinesis, 1201)
    assert kinesis.calls == [CALL_RECORDS_MAX, CALL_RECORDS_MAX, 201]
    assert kinesis.stored == [message.data for message in messages(1201)]
    assert (producer.sent, producer.resent) == (1201, 0)


@pytest.mark.parametrize("failing", [(0,), (4,), (9,), (0, 9), tuple(range(9))])
def test_only_failed_records_are_sent_again(failing: tuple[int, ...]) -> None:
    kinesis = FakeKinesis()
    kinesis.faults = [kinesis.fails_at(*failing)]
    producer, time = send(kinesis, 10)
    assert sorted(kinesis.stored) == sorted(message.data for message in messages(10))
    assert kinesis.calls == [10, len(failing)]
    assert (producer.sent, producer.resent) == (10, len(failing))
    assert time.sleeps


def test_failures_again_and_again_are_sent_again_and_again() -> None:
    kinesis = FakeKinesis()
    kinesis.faults = [kinesis.fails_at(0, 1, 2), kinesis.fails_at(1), kinesis.fails_at(0)]
    producer, _ = send(kinesis, 5)
    assert sorted(kinesis.stored) == [b"0", b"1", b"2", b"3", b"4"]
    assert producer.sent == 5


def test_after_a_cut_answer_or_a_broken_connection_all_is_sent_again() -> None:
    def broken(_: Sequence[Any]) -> Any:
        raise EndpointConnectionError(endpoint_url="http://nowhere")

    kinesis = FakeKinesis()

    def cut(records: Sequence[Any]) -> Any:
        kinesis.store(records, failing=())
        return {}

    kinesis.faults = [broken, cut]
    producer, _ = send(kinesis, 3)
    assert kinesis.stored == [b"0", b"1", b"2", b"0", b"1", b"2"]
    assert producer.sent == 3


@pytest.mark.parametrize("answer", [{"Records": []}, {"FailedRecordCount": 0, "Records": [{"SequenceNumber": "1"}]}])
def test_an_answer_that_lacks_something_is_no_success(answer: dict[str, Any]) -> None:
    kinesis = FakeKinesis(faults=[lambda _: answer])
    producer, _ = send(kinesis, 2)
    assert kinesis.stored == [b"0", b"1"]
    assert (producer.sent, producer.resent) == (2, 2)


def test_it_gives_up_when_nothing_is_accepted() -> None:
    kinesis = FakeKinesis()
    kinesis.faults = [kinesis.fails_at(0, 1)] * ATTEMPTS_MAX
    with pytest.raises(RetryableError, match="accepted none of 2 records"):
        send(kinesis, 2)
    assert len(kinesis.calls) == ATTEMPTS_MAX


def test_pauses_grow_while_nothing_is_accepted_and_are_bounded() -> None:
    kinesis = FakeKinesis()
    kinesis.faults = [kinesis.fails_at(0)] * (ATTEMPTS_MAX - 1)
    _, time = send(kinesis, 1)
    assert time.sleeps == sorted(time.sleeps)
    assert time.sleeps[0] < 0.2
    assert time.sleeps[-1] == 2.0


def test_it_keeps_the_pace() -> None:
    kinesis = FakeKinesis()
    _, time = send(kinesis, 1000, rate=100.0)
    assert time.now == pytest.approx(10.0)
    assert max(kinesis.calls) == 20


def test_main_sends_and_reports(monkeypatch: pytest.MonkeyPatch, capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    kinesis = FakeKinesis()
    monkeypatch.setattr(producer_module, "client", lambda _: kinesis)
    arguments = ["--stream=clicks", "--events=700", "--start-ms=0", "--span-ms=1000", "--disorder-ms=0"]
    assert main(arguments) == 0
    assert len(kinesis.stored) == 700
    assert capfdbinary.readouterr().out == b'{"sent":500,"resent":0}\n{"sent":700,"resent":0}\n'


def test_main_fails_when_nothing_is_accepted(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    kinesis = FakeKinesis(faults=[lambda _: {}] * 2)
    monkeypatch.setattr(producer_module, "client", lambda _: kinesis)
    monkeypatch.setattr(producer_module, "ATTEMPTS_MAX", 2)
    arguments = ["--stream=clicks", "--events=3", "--start-ms=0", "--span-ms=1000", "--disorder-ms=0"]
    assert main(arguments) == 1
    assert "accepted none" in capsys.readouterr().err
