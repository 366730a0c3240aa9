"""What is particular to S3: names made of content, and each row once whoever sends it again."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Sequence
from itertools import count

import pytest

from consumer.records import DEAD_LETTER, LATE, Row
from consumer.sinks import base
from consumer.sinks.base import DeliveryStopped, Failure, Router
from consumer.sinks.s3 import S3Sink, folder_of
from consumer.testing.fake_aws import FakeS3
from consumer.testing.fakes import Raise, RecordingObserver, client_error
from consumer.testing.sink_conformance import numbered_rows, row_of

OUTPUTS = ("views", "visits", LATE, DEAD_LETTER)


def router(client: FakeS3) -> Router:
    return Router({output: [S3Sink(client, "results", folder_of("clicks", output))] for output in OUTPUTS})


def send(client: FakeS3, rows: Sequence[Row], *, stops: bool = False) -> None:
    router(client).send(
        rows,
        pause=lambda _: stops,
        observer=RecordingObserver(),
        random=lambda: 1.0,
        clock=lambda: 0.0,
    )


@pytest.fixture
def outbox(monkeypatch: pytest.MonkeyPatch) -> list[Row]:
    """Return rows of all outputs in turn, three objects of each."""
    monkeypatch.setattr(base, "SLICE_BYTES", 4000)
    numbers = count()
    return [Row(output, row_of(next(numbers), 1900)) for _ in range(5) for output in OUTPUTS]


@pytest.mark.parametrize(
    ("prefix", "output", "folder"),
    [
        ("", "views", "results/views/"),
        ("clicks", "views", "clicks/results/views/"),
        ("clicks/", "late", "clicks/results/late/"),
        ("a/b", LATE, "a/b/late/"),
        ("a/b/", DEAD_LETTER, "a/b/dead-letters/"),
    ],
)
def test_every_output_has_a_folder_of_its_own(prefix: str, output: str, folder: str) -> None:
    assert folder_of(prefix, output) == folder


def test_an_object_is_lines_named_by_their_hash() -> None:
    client = FakeS3()
    assert list(S3Sink(client, "results", "f/").put([b'{"id":"1"}', b'{"id":"2"}'])) == []
    body = b'{"id":"1"}\n{"id":"2"}\n'
    assert client.objects == {f"results/f/{hashlib.sha256(body).hexdigest()}.jsonl": body}


def test_the_name_counts_bucket_and_folder() -> None:
    assert S3Sink(FakeS3(), "results", folder_of("clicks", "views")).name == "s3:results/clicks/results/views/"


def test_that_an_object_is_there_already_is_success() -> None:
    client, rows = FakeS3(), numbered_rows(3)
    for _ in range(2):
        assert list(S3Sink(client, "results", "f/").put(rows)) == []
    assert (client.rows, len(client.refused_keys)) == (rows, 1)


def test_an_object_that_is_being_written_is_tried_again() -> None:
    """Whoever writes it may fail: only what is there counts."""
    client = FakeS3([Raise(client_error("ConditionalRequestConflict", 409))])
    assert list(S3Sink(client, "results", "f/").put(numbered_rows(2))) == [
        Failure(0, "unavailable"),
        Failure(1, "unavailable"),
    ]


def test_the_cut_into_objects_is_a_format() -> None:
    """An outbox that an older version left half sent must give the same objects: never change what this expects."""
    client = FakeS3()
    send(client, [Row("views", row_of(number, 1_000_000)) for number in range(9)])
    assert {name.rpartition("/")[2]: len(body) for name, body in client.objects.items()} == {
        "3d7ec274aaedae7f6f084fba7c432b402928916d25aab418d01060f7853a759d.jsonl": 4_000_004,
        "b3ebb14e2d5aa954bbef9f79fd26732cae09bce66994798f40125aee9d1e976a.jsonl": 4_000_004,
        "b1f06abbaebe944754e8543bb08822975fad841f1377118cf395abbef5c5ceca.jsonl": 1_000_001,
    }


def test_whatever_happens_at_any_call_each_row_is_there_once(outbox: list[Row]) -> None:
    """The owner ends at every call, before and after its effect; the next one sends the outbox again."""
    whole = FakeS3()
    send(whole, outbox)
    assert len(whole.objects) == 3 * len(OUTPUTS)
    for calls_before in range(len(whole.objects)):
        for after_effect in (False, True):
            client = FakeS3()
            client.faults.extend([None] * calls_before)
            client.faults.append(Raise(client_error("InternalError", 500), after_effect=after_effect))
            with pytest.raises(DeliveryStopped):
                send(client, outbox, stops=True)
            send(client, outbox)
            assert client.objects.keys() == whole.objects.keys()
            assert Counter(client.rows) == Counter(row.data for row in outbox)


def test_other_outputs_of_the_target_leave_an_object_as_it_is(outbox: list[Row]) -> None:
    """Which windows a sink takes is not part of the definitions: it may change between two tries."""
    alone, together = FakeS3(), FakeS3()
    send(alone, [row for row in outbox if row.output == "views"])
    send(together, outbox)
    assert alone.objects.items() <= together.objects.items()
