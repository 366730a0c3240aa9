"""What dead letters and late rows carry of the record they came from."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest

from consumer.core import loop_state
from consumer.core.compile import compile_pipeline
from consumer.core.processor import Processor
from consumer.records import DEAD_LETTER, LATE, Record
from tests.core.rule_stories import pipeline

TEN = "w: {tumbling: 10ms, by: [user], select: {c: count()}}"
PROGRAM = compile_pipeline(pipeline(TEN, bound="0ms"), keys_required=False)


def _rows(output: str, *records: Record) -> list[dict[str, Any]]:
    outcome = Processor(PROGRAM, "shard").apply(records)
    return [json.loads(row.data) for row in outcome.rows if row.output == output]


@pytest.mark.parametrize("more", [0, 1])
def test_a_record_is_carried_up_to_a_limit_and_it_is_told_if_that_was_not_all(
    more: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loop_state, "DATA_MAX_BYTES", 100)
    (letter,) = _rows(DEAD_LETTER, Record(b"x" * (100 + more), "a", "7", 3, 1_000))
    assert base64.b64decode(letter["data"]) == b"x" * 100
    assert ("data_truncated" in letter) == bool(more)
    assert (letter["sequence_number"], letter["sub_sequence_number"]) == ("7", 3)
    assert (letter["partition_key"], letter["shard"]) == ("a", "shard")


def test_what_the_input_does_not_know_is_null() -> None:
    (letter,) = _rows(DEAD_LETTER, Record(b"x"))
    assert letter["sequence_number"] is letter["sub_sequence_number"] is letter["partition_key"] is None


def test_a_late_row_tells_where_it_belonged_and_by_how_much_it_came_too_late() -> None:
    def record(number: int, time: int) -> Record:
        return Record(b'{"user": "a", "at": %d}' % time, "a", str(number), 0, 1_000)

    (row,) = _rows(LATE, record(1, 25), record(2, 12))
    assert (row["window"], row["window_start"], row["window_end"]) == (
        "w",
        "1970-01-01T00:00:00.010Z",
        "1970-01-01T00:00:00.020Z",
    )
    assert (row["watermark"], row["event_time"]) == ("1970-01-01T00:00:00.025Z", "1970-01-01T00:00:00.012Z")
    assert row["lateness_ms"] == 13
    assert base64.b64decode(row["data"]) == b'{"user": "a", "at": 12}'
