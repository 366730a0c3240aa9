"""Lines to records, whatever the chunks and batches they come in."""

from __future__ import annotations

import base64
import io
import json
import random
from collections.abc import Iterator
from typing import Any

import pytest

from consumer.records import Record
from consumer.sources import file
from consumer.sources.file import InputError, LineSource, batches


class Chunks:
    """A stream whose every read gives the next chunk."""

    def __init__(self, chunks: list[bytes | None]) -> None:
        self._chunks = iter(chunks)

    def read(self, _size_bytes: int, /) -> bytes | None:
        return next(self._chunks, b"")


def cut(data: bytes, seed: int) -> Chunks:
    """Return the data in chunks of random sizes."""
    chance = random.Random(seed)
    chunks: list[bytes | None] = []
    while data:
        size = chance.choice([1, 2, 5, 100])
        chunks.append(data[:size])
        data = data[size:]
    return Chunks(chunks)


def raw(data: bytes) -> list[Record]:
    return [record for block in LineSource(io.BytesIO(data), "f").raw() for record in block]


def envelope(data: bytes = b"{}", **members: Any) -> str:
    return json.dumps({"data": base64.b64encode(data).decode(), **members})


def enveloped(*lines: str | bytes, arrival_required: bool = False) -> list[Record]:
    data = b"\n".join(line if isinstance(line, bytes) else line.encode() for line in lines)
    source = LineSource(io.BytesIO(data), "f")
    return [record for block in source.enveloped(arrival_required=arrival_required) for record in block]


def test_a_line_is_a_record_without_a_position_but_its_number() -> None:
    assert raw(b"a\nb\n") == [Record(b"a", None, None, 1), Record(b"b", None, None, 2)]


def test_blank_lines_are_counted_and_no_records() -> None:
    records = raw(b"\n \t\r\na\n\nb")
    assert [(record.data, record.sub_sequence_number) for record in records] == [(b"a", 3), (b"b", 5)]


@pytest.mark.parametrize("data", [b"", b"\n", b"\n\n \n"])
def test_there_may_be_no_record(data: bytes) -> None:
    assert raw(data) == []


def test_what_stands_before_the_line_end_belongs_to_the_record() -> None:
    assert [record.data for record in raw(b" a \r\n\xff\x00b")] == [b" a \r", b"\xff\x00b"]


@pytest.mark.parametrize("seed", range(20))
def test_chunks_and_batches_change_nothing(seed: int) -> None:
    chance = random.Random(seed)
    lines = [bytes(chance.choices(b"ab \r", k=chance.choice([0, 1, 3, 30]))) for _ in range(60)]
    data = b"\n".join(lines)
    expected = [Record(line, None, None, number) for number, line in enumerate(lines, 1) if line.strip(b" \r")]
    assert raw(data) == expected
    size = chance.choice([1, 2, 7, 1000])
    found = list(batches(LineSource(cut(data, seed), "f").raw(), size))
    assert [record for batch in found for record in batch] == expected
    assert all(len(batch) == size for batch in found[:-1])
    assert not found or 0 < len(found[-1]) <= size


def test_a_line_that_never_ends_is_refused_before_it_fills_the_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(file, "LINE_BYTES_MAX", 10)
    assert [record.data for block in LineSource(Chunks([b"0123", b"456789"]), "f").raw() for record in block]

    def endless() -> Iterator[bytes]:
        yield b"a\n"
        while True:
            yield b"0123456"

    source = LineSource(Chunks(endless()), "big.jsonl")  # type: ignore[arg-type]  # any iterator does
    with pytest.raises(InputError, match=r"big\.jsonl:2: the line is longer than 10 bytes"):
        list(source.raw())


def test_an_error_of_the_stream_names_the_file_and_the_line() -> None:
    class Broken:
        def read(self, _size_bytes: int, /) -> bytes:
            raise OSError(5, "Input/output error")

    with pytest.raises(InputError, match=r"f:1: cannot be read: Input/output error"):
        list(LineSource(Broken(), "f").raw())


def test_a_stream_that_has_nothing_yet_is_not_taken_for_its_end() -> None:
    with pytest.raises(InputError, match=r"f:2: .*non-blocking"):
        list(LineSource(Chunks([b"a\n", None, b"b\n"]), "f").raw())


def test_an_envelope_holds_a_whole_record() -> None:
    (record,) = enveloped(
        envelope(b"\x00\n", partition_key="k", sequence_number="49", sub_sequence_number=3, arrival_time=17)
    )
    assert record == Record(b"\x00\n", "k", "49", 3, 17)


def test_what_an_envelope_does_not_say_is_unknown() -> None:
    nulls: dict[str, Any] = dict.fromkeys(("partition_key", "sequence_number", "sub_sequence_number", "arrival_time"))
    assert enveloped(envelope(), "", envelope(**nulls)) == [Record(b"{}", None, None, 1), Record(b"{}", None, None, 3)]


def test_a_sequence_number_may_be_an_int_of_any_size() -> None:
    (record,) = enveloped(envelope(sequence_number=10**55))
    assert record == Record(b"{}", None, str(10**55), 0)


@pytest.mark.parametrize(
    "line",
    [
        "nope",
        "[]",
        "{}",
        '{"data": null}',
        '{"data": "Y Q=="}',
        '{"data": "YQ"}',
        '{"data": "-_=="}',
        b'{"data": "YQ==", "partition_key": "\xff"}',
        '{"data": "YQ==", "partition_key": "\\ud800"}',
        '{"data": "YQ==", "arrival": 3}',
        envelope(partition_key=3),
        envelope(sequence_number="-1"),
        envelope(sequence_number="1.0"),
        envelope(sequence_number="1\n"),
        envelope(sequence_number="٣"),
        envelope(sequence_number=-1),
        envelope(sequence_number=True),
        envelope(sequence_number="1", sub_sequence_number=-1),
        envelope(arrival_time="2026-01-31T12:00:00Z"),
        envelope(arrival_time=10**15),
        envelope() + " x",
    ],
)
def test_a_malformed_envelope_ends_it_with_its_line(line: str | bytes) -> None:
    with pytest.raises(InputError, match=r"^f:3: the envelope is malformed: ."):
        enveloped(envelope(), "", line, envelope())


def test_an_arrival_time_may_be_required() -> None:
    assert enveloped(envelope(arrival_time=0), arrival_required=True) == [Record(b"{}", None, None, 1, 0)]
    with pytest.raises(InputError, match=r"f:1: .*no `arrival_time`"):
        enveloped(envelope(), arrival_required=True)


def test_what_was_counted_is_skipped_by_position_as_numbers() -> None:
    positions = [("9", 0), ("10", 0), ("9", 0), ("10", 0), ("10", 1), ("010", 1), ("2", 7), ("11", 0)]
    lines = [envelope(sequence_number=number, sub_sequence_number=sub) for number, sub in positions]
    data = "\n".join([*lines[:4], envelope(), *lines[4:]]).encode()
    source = LineSource(io.BytesIO(data), "f")
    kept = [
        (record.sequence_number, record.sub_sequence_number)
        for block in source.enveloped(arrival_required=False)
        for record in block
    ]
    assert kept == [("9", 0), ("10", 0), (None, 5), ("10", 1), ("11", 0)]
    assert source.skipped == 4


@pytest.mark.parametrize("size", [1, 2, 3, 100])
def test_records_before_a_malformed_envelope_come_first(size: int) -> None:
    data = "\n".join([envelope(b"1"), envelope(b"2"), envelope(b"3"), "nope", envelope(b"5")]).encode()
    taken: list[bytes] = []

    def take() -> None:
        for batch in batches(LineSource(io.BytesIO(data), "f").enveloped(arrival_required=False), size):
            taken.extend(record.data for record in batch)

    with pytest.raises(InputError):
        take()
    assert taken == [b"1", b"2", b"3"]
