r"""Newline-delimited files: one file, one shard; one line, one record. Memory holds a chunk, a line and a batch.

Rule 1: a line ends with \n, the last one with the file; everything before it, a \r too, belongs to the record.
Rule 2: a line of blanks alone is no record; it is counted in line numbers all the same.
Rule 3: what a line is never depends on how reading cut the file into chunks, or records into batches.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Annotated, Protocol

import msgspec

from consumer.core.times import MAX_TIME_MS, MIN_TIME_MS
from consumer.errors import StreamgaugeError
from consumer.records import Position, Record

CHUNK_BYTES = 1024 * 1024
LINE_BYTES_MAX = 64 * 1024 * 1024
"""Far above the largest record of Kinesis (10 MiB) in base64: a longer line is no line."""

_SEQUENCE_NUMBER = re.compile(r"[0-9]{1,128}")


class InputError(StreamgaugeError):
    """A file cannot be read on; the message names it and the line. Nothing is skipped: the command ends."""


class Readable(Protocol):
    """A binary stream without a buffer of its own: one call, one read."""

    def read(self, size_bytes: int, /) -> bytes | None:
        """Return at least a byte and at most that many, b"" at the end, None if nothing is there yet."""


@dataclass(slots=True)
class LineSource:
    """The records of one stream. `name` stands for it in messages."""

    stream: Readable
    name: str
    skipped: int = field(default=0, init=False)
    """Records at or before an earlier one's position, left out: they were counted there."""

    def raw(self) -> Iterator[list[Record]]:
        """Yield the records of lines that are the events' own bytes.

        Their position is unknown: `sub_sequence_number` is the number of the line, from 1. InputError if the stream
        cannot be read, or a line is longer than LINE_BYTES_MAX.
        """
        for first, lines in self._lines():
            yield [
                Record(line, None, None, number)
                for number, line in enumerate(lines, first)
                if line and not line.isspace()
            ]

    def enveloped(self, *, arrival_required: bool) -> Iterator[list[Record]]:
        """Yield the records of lines that are envelopes, except those at or before an earlier one's position.

        InputError as in `raw`, and at the first malformed envelope; the records before it are yielded first.
        `arrival_required`: an envelope without `arrival_time` is malformed.
        """
        highest: Position | None = None
        for first, lines in self._lines():
            records: list[Record] = []
            for number, line in enumerate(lines, first):
                if not line or line.isspace():
                    continue
                try:
                    record = _unwrap(line, number, arrival_required=arrival_required)
                except _EnvelopeError as error:
                    yield records
                    raise InputError(f"{self.name}:{number}: the envelope is malformed: {error}") from error
                if record.sequence_number is not None:
                    position = Position.of(record)
                    if highest is not None and position <= highest:
                        self.skipped += 1
                        continue
                    highest = position
                records.append(record)
            yield records

    def _lines(self) -> Iterator[tuple[int, list[bytes]]]:
        """Yield runs of lines, each with the number of its first."""
        number = 1
        open_line: list[bytes] = []
        open_bytes = 0
        while chunk := self._read(number):
            *lines, rest = chunk.split(b"\n")
            if lines:
                lines[0] = b"".join([*open_line, lines[0]])
                yield number, lines
                number += len(lines)
                open_line, open_bytes = [], 0
            open_line.append(rest)
            open_bytes += len(rest)
            if open_bytes > LINE_BYTES_MAX:
                raise InputError(
                    f"{self.name}:{number}: the line is longer than {LINE_BYTES_MAX} bytes. "
                    "Is the file newline-delimited?"
                )
        yield number, [b"".join(open_line)]

    def _read(self, number: int) -> bytes:
        try:
            chunk = self.stream.read(CHUNK_BYTES)
        except OSError as error:
            raise InputError(f"{self.name}:{number}: cannot be read: {error.strerror or error}") from error
        if chunk is None:
            raise InputError(f"{self.name}:{number}: cannot be read: it is non-blocking and has nothing yet")
        return chunk


def batches(blocks: Iterable[list[Record]], size: int) -> Iterator[list[Record]]:
    """Cut records into batches of `size`, the last one shorter; after an InputError what came before it is the last."""
    assert size > 0
    pending: list[Record] = []
    try:
        for block in blocks:
            pending += block
            whole = len(pending) - len(pending) % size
            for start in range(0, whole, size):
                yield pending[start : start + size]
            del pending[:whole]
    except InputError:
        if pending:
            yield pending
        raise
    if pending:
        yield pending


class _EnvelopeError(ValueError):
    """What is wrong with an envelope."""


class _Envelope(msgspec.Struct, gc=False, forbid_unknown_fields=True):
    """A line of `--envelope`. What is absent or null is unknown; of a sequence number digits and ints are taken."""

    data: bytes
    partition_key: str | None = None
    sequence_number: str | int | None = None
    sub_sequence_number: Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)] | None = None
    arrival_time: Annotated[int, msgspec.Meta(ge=MIN_TIME_MS, le=MAX_TIME_MS)] | None = None


_decode = msgspec.json.Decoder(_Envelope).decode


def _unwrap(line: bytes, number: int, *, arrival_required: bool) -> Record:
    try:
        envelope = _decode(line)
    except UnicodeDecodeError as error:
        raise _EnvelopeError("it is not UTF-8") from error
    except msgspec.MsgspecError as error:
        raise _EnvelopeError(error) from error
    if arrival_required and envelope.arrival_time is None:
        raise _EnvelopeError("it has no `arrival_time`, and the pipeline has no `events.time`")
    sequence_number = _sequence_number(envelope.sequence_number)
    # As in raw lines, the number of the line stands for a position that is unknown.
    sub_sequence_number = number if sequence_number is None else envelope.sub_sequence_number or 0
    return Record(envelope.data, envelope.partition_key, sequence_number, sub_sequence_number, envelope.arrival_time)


def _sequence_number(value: str | int | None) -> str | None:
    if value is None:
        return None
    text = str(value)
    if not _SEQUENCE_NUMBER.fullmatch(text):
        raise _EnvelopeError("`sequence_number` must be the digits of a whole number")
    return text
