"""What is particular to SQS: limits, what becomes of a row that is too large, FIFO, answers by id."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from functools import partial
from random import Random
from typing import Any

import pytest

from consumer.errors import SinkError
from consumer.sinks.base import Failure
from consumer.sinks.sqs import CALL_MESSAGES_MAX, MESSAGE_BYTES_MAX, SqsSink
from consumer.testing.fake_aws import FakeSqs
from consumer.testing.fakes import Alter, Raise, Reject, client_error
from consumer.testing.sink_conformance import deliver_all, numbered_rows, row_of

URL = "https://sqs.eu-west-1.amazonaws.com/123456789012/letters"


def encode(row: Mapping[str, Any]) -> bytes:
    return json.dumps(row, ensure_ascii=False, separators=(",", ":")).encode()


def dead_letter(data: bytes, **members: Any) -> bytes:
    row = {"id": "d1", "reason": "invalid_json", "pipeline": "p", "shard": "shardId-000000000003", **members}
    return encode(row | {"data": base64.b64encode(data).decode()})


def sent(row: bytes, url: str = URL) -> list[Mapping[str, str]]:
    """Return the entries that a row becomes: one or none."""
    client = FakeSqs()
    failures = SqsSink(client, url).put([row])
    assert len(client.entries) + len(failures) == 1
    return client.entries


def test_the_name_is_the_queues() -> None:
    assert SqsSink(FakeSqs(), URL).name == "sqs:letters"


def test_small_rows_go_ten_a_call() -> None:
    client = FakeSqs()
    SqsSink(client, URL).put(numbered_rows(25))
    assert [len(call) for call in client.calls] == [CALL_MESSAGES_MAX, CALL_MESSAGES_MAX, 5]


def test_large_rows_go_as_many_a_call_as_its_bytes_allow() -> None:
    client = FakeSqs()
    SqsSink(client, URL).put(numbered_rows(7, MESSAGE_BYTES_MAX // 3))
    assert [len(call) for call in client.calls] == [3, 3, 1]


def any_trouble(random: Random) -> Reject | Raise | Alter:
    troubles: list[Reject | Raise | Alter] = [
        Reject({random.randrange(10): "InternalError"}),
        Reject(dict.fromkeys(random.sample(range(10), 4), "RequestThrottled")),
        Raise(client_error("InternalFailure", 500), after_effect=random.random() < 0.5),
        Alter(lambda answer: {"Successful": answer.get("Successful", [])[1:]}),
    ]
    return random.choice(troubles)


@pytest.mark.parametrize("seed", range(20))
def test_any_rows_keep_the_limits_and_all_arrive(seed: int) -> None:
    random = Random(seed)
    rows = [row_of(number, random.choice([40, 1000, 60_000, MESSAGE_BYTES_MAX])) for number in range(60)]
    client = FakeSqs(any_trouble(random) for _ in range(12))
    deliver_all(SqsSink(client, URL), rows)
    assert set(client.rows) == set(rows)


def test_answers_are_matched_by_id_not_by_order() -> None:
    client = FakeSqs([Reject({2: "RequestThrottled", 7: "InternalError"})])
    rows = numbered_rows(10)
    assert list(SqsSink(client, URL).put(rows)) == [Failure(2, "throttled"), Failure(7, "internal")]
    assert client.rows == [row for number, row in enumerate(rows) if number not in {2, 7}]


def test_after_a_call_that_took_nothing_the_rest_waits() -> None:
    """A queue that is down costs one call an attempt, not one for every ten rows."""
    client = FakeSqs([Reject({}), Raise(client_error("RequestThrottled", 403))])
    rows = numbered_rows(45)
    failures = SqsSink(client, URL).put(rows)
    assert failures == [Failure(index, "throttled") for index in range(10, 45)]
    assert len(client.calls) == 2
    assert client.rows == rows[:10]


def test_after_a_call_that_took_something_the_rest_is_tried() -> None:
    client = FakeSqs([Reject(dict.fromkeys(range(9), "InternalError"))])
    failures = SqsSink(client, URL).put(numbered_rows(30))
    assert [failure.index for failure in failures] == list(range(9))
    assert len(client.calls) == 3


def test_rows_too_large_for_good_are_told_also_where_the_queue_is_down() -> None:
    client = FakeSqs([Raise(client_error("RequestThrottled", 403))])
    rows = [*numbered_rows(12), row_of(99, MESSAGE_BYTES_MAX + 1)]
    failures = SqsSink(client, URL).put(rows)
    assert failures[-1] == Failure(12, "too_large", permanent=True)
    assert [failure.permanent for failure in failures] == [False] * 12 + [True]


@pytest.mark.parametrize("data_bytes", [200_000, 250_001, 700_000])
def test_a_dead_letter_that_is_too_large_keeps_the_start_of_its_data(data_bytes: int) -> None:
    data = Random(data_bytes).randbytes(data_bytes)
    (entry,) = sent(dead_letter(data, detail="ü" * 50))
    body = entry["MessageBody"].encode()
    row = json.loads(body)
    assert MESSAGE_BYTES_MAX - 4 < len(body) <= MESSAGE_BYTES_MAX, "as much as fits"
    assert row.pop("data_truncated") is True
    kept = base64.b64decode(row.pop("data"), validate=True)
    assert kept == data[: len(kept)]
    whole = json.loads(dead_letter(b"", detail="ü" * 50))
    assert row | {"data": ""} == whole, "the rest is as it was"


def test_a_dead_letter_that_fits_is_sent_as_it_is() -> None:
    spare = MESSAGE_BYTES_MAX - len(dead_letter(b""))
    row = dead_letter(b"x" * (spare // 4 * 3))
    assert MESSAGE_BYTES_MAX - 4 < len(row) <= MESSAGE_BYTES_MAX
    assert [entry["MessageBody"].encode() for entry in sent(row)] == [row]


def test_data_that_was_cut_before_stays_marked_once() -> None:
    row = json.loads(dead_letter(b"x" * 700_000)) | {"data_truncated": True}
    (entry,) = sent(encode(row))
    assert entry["MessageBody"].count("data_truncated") == 1
    assert list(json.loads(entry["MessageBody"])) == list(row)


def test_one_row_has_one_body() -> None:
    row = dead_letter(b"\xff" * 700_000)
    assert sent(row) == sent(row)


@pytest.mark.parametrize(
    "row",
    [
        row_of(1, MESSAGE_BYTES_MAX + 1),
        encode({"id": "r1", "window": "w", "data": "A" * MESSAGE_BYTES_MAX, "revision": 0, "final": True}),
        dead_letter(b"", detail="x" * MESSAGE_BYTES_MAX),
    ],
    ids=["without data", "a result with a column of that name", "too large without its data"],
)
def test_what_cannot_be_cut_fails_for_good(row: bytes) -> None:
    assert list(SqsSink(FakeSqs(), URL).put([row])) == [Failure(0, "too_large", permanent=True)]


def test_characters_that_sqs_refuses_are_escaped() -> None:
    (entry,) = sent(encode({"id": "r", "window": "w", "by": "a\ufffeb\uffffc\ufffd"}))
    assert entry["MessageBody"] == '{"id":"r","window":"w","by":"a\\ufffeb\\uffffc\ufffd"}'


def test_escapes_count_for_the_size() -> None:
    row = dead_letter(b"", partition_key="\uffff" * 100, detail="\ufffe")
    room = MESSAGE_BYTES_MAX - len(row) - 3 * 101
    for data_characters in (room // 4 * 4, room // 4 * 4 + 4):
        letter = dead_letter(b"x" * (data_characters // 4 * 3), partition_key="\uffff" * 100, detail="\ufffe")
        (entry,) = sent(letter)
        told = json.loads(entry["MessageBody"])
        assert told["partition_key"] == "\uffff" * 100
        assert ("data_truncated" in told) == (data_characters > room)


def test_a_standard_queue_gets_no_groups() -> None:
    assert set(sent(numbered_rows(1)[0])[0]) == {"Id", "MessageBody"}


@pytest.mark.parametrize(
    ("row", "group"),
    [
        (encode({"id": "r1", "pipeline": "p", "window": "visits", "revision": 0}), "visits"),
        (encode({"id": "r1", "window": "visits", "shard": "shardId-000000000001"}), "shardId-000000000001"),
        (encode({"id": "r1", "reason": "invalid_json", "shard": "shardId-000000000001"}), "shardId-000000000001"),
    ],
)
def test_a_fifo_queue_gets_the_row_id_and_its_shard_or_window(row: bytes, group: str) -> None:
    (entry,) = sent(row, URL + ".fifo")
    assert (entry["MessageDeduplicationId"], entry["MessageGroupId"]) == ("r1", group)


def refuse_by_sender(code: str, answer: dict[str, Any]) -> dict[str, Any]:
    failed = [{"Id": "0", "SenderFault": True, "Code": code, "Message": "as ordered"}]
    return {"Successful": [entry for entry in answer["Successful"] if entry["Id"] != "0"], "Failed": failed}


def test_a_refusal_of_one_message_names_queue_code_and_remedy() -> None:
    sink = SqsSink(FakeSqs([Alter(partial(refuse_by_sender, "InvalidParameterValue"))]), URL)
    with pytest.raises(SinkError) as caught:
        sink.put(numbered_rows(3))
    assert str(caught.value) == (
        f"SQS queue {URL}: InvalidParameterValue: as ordered Set the queue's MaximumMessageSize to 262144 or more."
    )


def test_throttling_is_no_refusal_whoever_is_said_to_be_at_fault() -> None:
    sink = SqsSink(FakeSqs([Alter(partial(refuse_by_sender, "ThrottlingException"))]), URL)
    assert list(sink.put(numbered_rows(3))) == [Failure(0, "throttled")]
