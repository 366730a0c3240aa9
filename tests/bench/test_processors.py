from __future__ import annotations

import io
import json
from pathlib import Path

import pytest

from bench.arena import delivery_streams, rotated
from bench.processors.kclpy_processor import Aggregates, RecordProcessor
from bench.processors.nothing import Counter
from bench.processors.settings import daemon_config
from bench.processors.tally import Tally, read_all
from bench.variants import Counting, free_port, parse_counters, pipeline_copy
from consumer.pipeline.load import load
from consumer.sources.multilang import Channel

PAGE = """\
# HELP streamgauge_records_received_total x
# TYPE streamgauge_records_received_total counter
streamgauge_records_received_total{shard="a",stream="clicks"} 3.0
streamgauge_records_received_total{shard="b",stream="clicks"} 4.0
# TYPE streamgauge_batches_total counter
streamgauge_batches_total{stream="clicks"} 2.0
# TYPE streamgauge_windows_open gauge
streamgauge_windows_open{shard="a",stream="clicks",window="w"} 9.0
# TYPE process_cpu_seconds_total counter
process_cpu_seconds_total 1.5
"""


def event(user: str, time: str, **more: object) -> dict[str, object]:
    return {"user_id": user, "event_time": f"2020-01-01T{time}.000Z", "page": "/", **more}


def line(**message: object) -> str:
    return json.dumps(message) + "\n"


CONVERSATION = [
    line(action="initialize", shardId="shard-7", sequenceNumber="TRIM_HORIZON", subSequenceNumber=0),
    line(
        action="processRecords",
        millisBehindLatest=0,
        records=[
            {
                "action": "record",
                "data": "e30=",
                "partitionKey": "u",
                "sequenceNumber": str(number),
                "subSequenceNumber": 0,
                "approximateArrivalTimestamp": 1,
            }
            for number in (5, 6)
        ],
    ),
    line(action="shutdownRequested"),
    line(action="checkpoint", checkpoint="6", error=None, sequenceNumber="6", subSequenceNumber=0),
    line(action="leaseLost"),
]


def test_counters_are_read_and_gauges_are_not() -> None:
    counters = parse_counters(PAGE)
    assert counters == {"records_received": {"a": 3.0, "b": 4.0}, "batches": {"": 2.0}}


def test_the_product_runs_the_demo_pipeline_with_the_daemon_of_all(tmp_path: Path) -> None:
    port = free_port()
    pipeline = load(pipeline_copy(tmp_path, port, 1), {})
    config = daemon_config(pipeline.source.stream, "any")
    assert pipeline.worker.kcl == config.extra
    assert pipeline.worker.identifier == config.identifier
    assert pipeline.worker.metrics_port == port
    assert [window.name for window in pipeline.windows] == ["page_views", "revenue", "visits"]


def test_each_round_has_state_leases_and_sinks_of_its_own_and_the_same_stream(tmp_path: Path) -> None:
    first, second = (load(pipeline_copy(tmp_path, 9102, number), {}) for number in (1, 2))
    assert first.source == second.source
    assert first.name != second.name
    assert first.worker.application != second.worker.application
    assert not set(delivery_streams(first).values()) & set(delivery_streams(second).values())
    counting = [Counting("nothing", "module", "clicks", tmp_path, number) for number in (1, 2)]
    assert counting[0].application != counting[1].application
    assert counting[0].arguments() != counting[1].arguments()


def test_the_order_of_the_workers_changes_from_round_to_round() -> None:
    orders = [rotated("abc", number) for number in range(1, 5)]
    assert ["".join(order) for order in orders] == ["abc", "bca", "cab", "abc"]
    assert rotated(["a"], 2) == ["a"]


def test_tallies_of_all_shards_are_summed_up(tmp_path: Path) -> None:
    assert read_all(tmp_path) == Tally()
    Tally(5, 2.5, 1, 7, 1).write(tmp_path / "a.json")
    Tally(6, None).write(tmp_path / "b.json")
    Tally(8, 1.5, 2).write(tmp_path / "b.json")
    (tmp_path / "daemon.properties").write_text("not a tally")
    assert read_all(tmp_path) == Tally(13, 1.5, 3, 7, 1)


def test_the_processor_that_does_nothing_counts_and_checkpoints(tmp_path: Path) -> None:
    written = io.BytesIO()
    Counter(Channel(io.BytesIO("".join(CONVERSATION).encode()), written), tmp_path).run()
    answers = [json.loads(answer) for answer in written.getvalue().splitlines()]
    assert [answer.get("responseFor", answer.get("sequenceNumber")) for answer in answers] == [
        "initialize",
        "processRecords",
        "6",
        "shutdownRequested",
        "leaseLost",
    ]
    tally = read_all(tmp_path)
    assert (tally.records, tally.checkpoints) == (2, 1)
    assert tally.first_record_s is not None


def test_the_kclpy_processor_counts_and_checkpoints(tmp_path: Path) -> None:
    from amazon_kclpy import kcl  # noqa: PLC0415 -- untyped, wanted here alone

    written = io.StringIO()
    kcl.KCLProcess(RecordProcessor(tmp_path), io.StringIO("".join(CONVERSATION)), written, io.StringIO()).run()
    answers = [json.loads(answer) for answer in written.getvalue().splitlines() if answer]
    assert [answer.get("responseFor", answer.get("sequenceNumber")) for answer in answers] == [
        "initialize",
        "processRecords",
        "6",
        "shutdownRequested",
        "leaseLost",
    ]
    tally = read_all(tmp_path)
    assert (tally.records, tally.checkpoints, tally.unusable) == (2, 1, 2)  # {} is no click event


def test_minutes_close_behind_the_newest_event() -> None:
    aggregates = Aggregates()
    for time, amount in (("10:00:05", 2.5), ("10:00:59", 1.5), ("10:01:01", 1.0)):
        aggregates.add(event("u", time, amount=amount, quantity=2))
    assert aggregates.close() == []
    aggregates.add(event("u", "10:01:10"))
    (row,) = map(json.loads, aggregates.close())
    assert (row["page"], row["views"], row["revenue"]) == ("/", 2, 8.0)


def test_a_visit_ends_after_the_gap() -> None:
    aggregates = Aggregates()
    aggregates.add(event("u", "10:00:00"))
    aggregates.add(event("u", "10:20:00"))
    (row,) = map(json.loads, aggregates.add(event("u", "10:50:01")))
    assert (row["user_id"], row["events"], row["ended"] - row["started"]) == ("u", 2, 1200.0)
    aggregates.add(event("other", "11:20:12"))
    ended = [json.loads(row) for row in aggregates.close()]
    assert [row["user_id"] for row in ended if "user_id" in row] == ["u"]


def test_a_clock_of_tomorrow_does_not_close_windows() -> None:
    aggregates = Aggregates()
    aggregates.add(event("u", "10:00:00"))
    with pytest.raises(ValueError, match="2099"):
        aggregates.add(event("u", "10:00:00") | {"event_time": "2099-12-31T23:59:59.000Z"})
    assert aggregates.close() == []
