from __future__ import annotations

import json
from typing import Any

import pytest

from bench.check import check_processed, check_product, read_results

STREAMS = {"results": "aggregates", "late": "late", "dead letters": "dead"}
RECORDS, SHARDS = 100, 2


def row(identity: str, window: str, **values: Any) -> bytes:
    return json.dumps({"id": identity, "window": window, **values}).encode()


def metrics() -> dict[str, dict[str, float]]:
    return {
        "records_received": {"shard-0": 60.0, "shard-1": 40.0},
        "records_replayed": {"": 0.0},
        "records_filtered": {"": 1.0},
        "records_late": {"page_views": 3.0},
        "records_dead_lettered": {"misrouted": 2.0, "wrong_type": 3.0},
    }


def rows() -> dict[str, list[bytes]]:
    return {
        "aggregates": [
            row("a", "page_views", views=49),
            row("b", "page_views", views=40),
            row("c", "visits", events=92),
            row("d", "revenue", orders=5),
        ],
        "late": [b"{}"] * 3,
        "dead": [b"{}"] * 5,
    }


def problems(metrics: dict[str, dict[str, float]], rows: dict[str, list[bytes]]) -> list[str]:
    return list(check_product(RECORDS, SHARDS, metrics, rows, STREAMS))


def test_a_run_whose_sums_add_up_counts() -> None:
    assert problems(metrics(), rows()) == []


def test_a_record_that_is_not_there_is_told() -> None:
    wanting = metrics() | {"records_received": {"shard-0": 99.0}}
    assert problems(wanting, rows()) == ["product: processed 99 of 100 records"]


def test_a_result_with_too_few_events_is_told() -> None:
    wanting = rows()
    wanting["aggregates"][0] = row("a", "page_views", views=48)
    (told,) = problems(metrics(), wanting)
    assert "page_views has 88 events in results, 3 late, 5 dead letters, 1 filtered and 2 open, but" in told


@pytest.mark.parametrize(("stream", "kind"), [("late", "late"), ("dead", "dead letters")])
def test_rows_that_were_counted_but_not_delivered_are_told(stream: str, kind: str) -> None:
    wanting = rows()
    wanting[stream].pop()
    (told,) = problems(metrics(), wanting)
    assert kind in told


def test_records_that_came_twice_are_told() -> None:
    assert problems(metrics() | {"records_replayed": {"": 4.0}}, rows()) == ["product: records were delivered twice"]


def test_rows_are_read_once_an_id() -> None:
    a, other = row("a", "visits", events=2), row("a", "visits", events=3)
    read = read_results([a, row("b", "visits", events=5), bytes(bytearray(a)), other])
    assert (read.results, read.duplicates, read.conflicts, read.events["visits"]) == (2, 1, 1, 7)


def test_a_processor_must_have_seen_every_record() -> None:
    assert list(check_processed("kclpy", 10, 10)) == []
    assert list(check_processed("kclpy", 9, 10)) == ["kclpy: processed 9 of 10 records"]
