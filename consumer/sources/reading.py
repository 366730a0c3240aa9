"""Reads records of a shard: again, for those who explain a result, or ahead, where no daemon tells what is left.

A reader has iterators of its own and takes of the shard's read limits (five reads a second, 2 MiB a second) what is
left over: a throttle is a RetryableError, to be tried again later.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from consumer.aws_errors import Meaning, code_of, meaning_of
from consumer.errors import RetryableError
from consumer.records import HashRange, Position, Record
from consumer.sources import aws
from consumer.sources.kinesis import address
from consumer.sources.kpl import Packets

_RECORDS_MAX = 10_000
_FIRST_MAX = 10
"""Records a read where one is looked for: it may be a packet of which the position tells a part."""
_READ_SECONDS = 0.25
"""Between two such reads: a shard gives five a second to all its readers together."""


class RecordsClient(Protocol):
    """What is called of boto3's Kinesis client."""

    def get_shard_iterator(self, *_: Any, **request: Any) -> Any:
        """GetShardIterator."""

    def get_records(self, *_: Any, **request: Any) -> Any:
        """GetRecords."""


class ShardGoneError(Exception):
    """The stream has no such shard: it was closed, and its last record is older than the retention."""


@dataclass(frozen=True, slots=True)
class Page:
    """Records in shard order; `is_last` behind the last one of a closed shard, `behind_ms` how far from the tip."""

    records: list[Record]
    behind_ms: int
    is_last: bool


class ShardReader:
    """Reads one shard, from a sequence number on (the record of that number included).

    Without one it reads from `start_seconds` (epoch seconds of arrival), and without that from the oldest record.
    """

    def __init__(
        self,
        client: RecordsClient,
        stream: str,
        shard: str,
        hash_range: HashRange,
        *,
        sequence: int | None = None,
        start_seconds: int | None = None,
        records_max: int = _RECORDS_MAX,
    ) -> None:
        self._client = client
        self._records_max = records_max
        self._address = address(stream)
        self._what = f"stream {stream}, {shard}"
        self._shard = shard
        self._hash_range = hash_range
        self._from = _start(sequence, start_seconds)
        self._iterator: str | None = None

    def page(self) -> Page:
        """Return the next records; call it again where it raises RetryableError.

        ShardGoneError if there is no such shard any more, SetupError if it may not be read.
        """
        if self._iterator is None:
            request = {**self._address, "ShardId": self._shard, **self._from}
            self._iterator = self._call("GetShardIterator", self._client.get_shard_iterator, request, "ShardIterator")[
                "ShardIterator"
            ]
        request = {"ShardIterator": self._iterator, "Limit": self._records_max}
        answer = self._call("GetRecords", self._client.get_records, request, "Records", "MillisBehindLatest")
        records = [_record(each) for each in answer["Records"]]
        if records:
            self._from = _from_sequence("AFTER_SEQUENCE_NUMBER", str(records[-1].sequence_number))
        self._iterator = answer.get("NextShardIterator")
        whole = list(Packets(self._hash_range).unpack(records))
        return Page(whole, answer["MillisBehindLatest"], self._iterator is None)

    def _call(self, name: str, operation: Any, request: Mapping[str, Any], *members: str) -> Mapping[str, Any]:
        try:
            answer: Mapping[str, Any] = operation(**request)
        except aws.CALL_ERRORS as error:
            code = code_of(error)
            if code == "ExpiredIteratorException":
                self._iterator = None
                raise RetryableError(f"{self._what}: the iterator has expired") from error
            if code == "ResourceNotFoundException":
                raise ShardGoneError(self._shard) from error
            raise aws.translate(error, f"{self._what}: {name}", _remedy(error, name)) from error
        missing = [member for member in members if member not in answer]
        if missing:
            raise RetryableError(f"{self._what}: an answer without {missing[0]} (cut off on the way)")
        return answer


@dataclass(frozen=True, slots=True)
class Behind:
    """The first record behind a position. None: there is none, up to the tip of the shard or, if `ended`, its end.

    `is_whole`: the record at the position is still in the stream, and so is all behind it. Otherwise it has expired,
    and what came after it may have; without a position nobody can tell.
    """

    first: Position | None
    ended: bool = False
    is_whole: bool = True


def first_behind(reader: ShardReader, position: Position | None, wait: Callable[[float], None]) -> Behind:
    """Return what comes behind a position, which `reader` begins at; None: whatever comes first.

    Of a shard that is gone nothing is left. `wait(seconds)` waits between reads, and may raise; RetryableError and
    SetupError as in `ShardReader.page`.
    """
    is_whole = False
    while True:
        try:
            page = reader.page()
        except ShardGoneError:
            return Behind(None, ended=True, is_whole=False)
        for record in page.records:
            if position is None or Position.of(record) > position:
                return Behind(Position.of(record), is_whole=is_whole)
            is_whole = True
        if page.is_last or (page.behind_ms == 0 and not page.records):
            return Behind(None, ended=page.is_last, is_whole=is_whole)
        wait(_READ_SECONDS)


def looking_ahead(
    client: RecordsClient,
    stream: str,
    shard: str,
    hash_range: HashRange,
    position: Position | None,
    start_seconds: int | None,
) -> ShardReader:
    """Return a reader for `first_behind` of a position: at it, not after, for a worker may have stopped in a packet."""
    sequence = None if position is None else position.sequence
    return ShardReader(
        client,
        stream,
        shard,
        hash_range,
        sequence=sequence,
        start_seconds=start_seconds,
        records_max=_FIRST_MAX,
    )


def _start(sequence: int | None, start_seconds: int | None) -> dict[str, Any]:
    if sequence is not None:
        return _from_sequence("AT_SEQUENCE_NUMBER", str(sequence))
    if start_seconds is not None:
        instant = dt.datetime.fromtimestamp(start_seconds, dt.UTC)
        return {"ShardIteratorType": "AT_TIMESTAMP", "Timestamp": instant}
    return {"ShardIteratorType": "TRIM_HORIZON"}


def _from_sequence(kind: str, sequence: str) -> dict[str, Any]:
    return {"ShardIteratorType": kind, "StartingSequenceNumber": sequence}


def _record(each: Mapping[str, Any]) -> Record:
    arrival: dt.datetime = each["ApproximateArrivalTimestamp"]
    return Record(
        data=each["Data"],
        partition_key=each["PartitionKey"],
        sequence_number=each["SequenceNumber"],
        arrival_ms=round(arrival.timestamp() * 1000),
    )


def _remedy(error: Exception, name: str) -> str:
    if meaning_of(error) is Meaning.DENIED:
        return f"Allow the role or user of this command or function kinesis:{name} on the stream."
    return "Look at the stream's name in source.stream, the region, the account and the endpoint."
