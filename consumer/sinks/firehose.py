"""Amazon Data Firehose: rows packed into records, records into PutRecordBatch calls.

Firehose adds no line end and bills each record rounded up to 5 KB, so many rows, each ended by a newline,
share a record. It has no idempotency token: after a time-out, a broken connection or a cut answer the rows
may have been taken, and are sent again with the same bytes.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from consumer.aws_errors import Meaning, meaning_of_code
from consumer.sinks.aws import CALL_ERRORS, CLIENT_CONFIG, reason_of
from consumer.sinks.base import Failure

if TYPE_CHECKING:
    import boto3

RECORD_BYTES_MAX = 1000 * 1024
"""Firehose's limit for one record."""
CALL_BYTES_MAX = 4 * 1024 * 1024
"""Firehose's limit for the records of one call."""
CALL_RECORDS_MAX = 500
"""Firehose's limit for the number of records of one call."""
RECORD_BYTES_TARGET = 256 * 1024
"""How much is packed into one record.

Billing in steps of 5 KB costs 1 % of this on average, and a record that fails alone is still cheap to send
again. A larger row has a record of its own.
"""

_REMEDIES = {
    "AccessDeniedException": "Allow the worker's role firehose:PutRecordBatch on this stream.",
    "ResourceNotFoundException": "Create the stream, or correct its name, the region or the endpoint.",
    "InvalidArgumentException": "Check the stream's name and that its source is Direct PUT.",
    "ValidationException": "Check the stream's name in the pipeline file.",
    "InvalidKMSResourceException": "Let Firehose and the worker's role use the stream's KMS key.",
}


class FirehoseClient(Protocol):
    """What the sink calls of boto3's Firehose client."""

    def put_record_batch(self, *_: Any, **request: Any) -> Any:
        """Take `DeliveryStreamName` and `Records`; answer `FailedPutCount` and `RequestResponses`."""


def make_client(session: boto3.Session) -> FirehoseClient:
    """Return a client with explicit time-outs and few retries of its own; one serves all threads."""
    return session.client("firehose", config=CLIENT_CONFIG)


@dataclass(frozen=True, slots=True)
class _Packed:
    """One record, and the rows (by index) that it holds."""

    data: bytes
    rows: range


class FirehoseSink:
    """Sends rows to one delivery stream. Holds nothing between calls; the client belongs to who made it."""

    def __init__(self, client: FirehoseClient, stream: str) -> None:
        self._client = client
        self._stream = stream

    @property
    def name(self) -> str:
        """Return `firehose:` and the stream's name."""
        return f"firehose:{self._stream}"

    def put(self, rows: Sequence[bytes]) -> Sequence[Failure]:
        """Send the rows in as few calls as the limits allow. A row above a record's limit fails for good."""
        failures = [
            Failure(index, "too_large", permanent=True)
            for index, row in enumerate(rows)
            if len(row) >= RECORD_BYTES_MAX
        ]
        for records in _calls(_pack(rows)):
            for record, reason in zip(records, self._call(records), strict=True):
                if reason is not None:
                    failures.extend(Failure(index, reason) for index in record.rows)
        return sorted(failures, key=lambda failure: failure.index)

    def close(self) -> None:
        """Do nothing: no row is held back."""

    def _call(self, records: Sequence[_Packed]) -> Sequence[str | None]:
        """Make one call; return why each record failed, or None where it was taken."""
        try:
            answer = self._client.put_record_batch(
                DeliveryStreamName=self._stream, Records=[{"Data": record.data} for record in records]
            )
        except CALL_ERRORS as error:
            return [reason_of(error, f"Firehose stream {self._stream!r}", _REMEDIES)] * len(records)
        return _reasons_in(answer, len(records))


def _pack(rows: Sequence[bytes]) -> Iterator[_Packed]:
    """Join consecutive rows into records of up to RECORD_BYTES_TARGET; leave out rows that fit in none."""
    start, size = 0, 0
    for index, row in enumerate(rows):
        row_size = len(row) + 1
        if size and size + row_size > RECORD_BYTES_TARGET:
            yield _packed(rows, range(start, index))
            start, size = index, 0
        if row_size > RECORD_BYTES_MAX:
            start = index + 1
        else:
            size += row_size
    if size:
        yield _packed(rows, range(start, len(rows)))


def _packed(rows: Sequence[bytes], indices: range) -> _Packed:
    data = b"\n".join([*rows[indices.start : indices.stop], b""])
    assert len(data) <= RECORD_BYTES_MAX
    return _Packed(data, indices)


def _calls(records: Iterator[_Packed]) -> Iterator[list[_Packed]]:
    """Group records into calls within Firehose's limits."""
    call: list[_Packed] = []
    size = 0
    for record in records:
        if call and (len(call) == CALL_RECORDS_MAX or size + len(record.data) > CALL_BYTES_MAX):
            yield call
            call, size = [], 0
        call.append(record)
        size += len(record.data)
    if call:
        yield call


def _reasons_in(answer: Any, records: int) -> Sequence[str | None]:
    """Read a successful answer strictly: what is missing from it is unknown, and unknown is failed.

    boto3 returns an answer that was cut on the way as a success without members.
    """
    try:
        failed_count = answer["FailedPutCount"]
        reasons = [_reason_in(response) for response in answer["RequestResponses"]]
    except KeyError:
        return ["connection"] * records
    if len(reasons) != records or failed_count != sum(reason is not None for reason in reasons):
        return ["internal"] * records
    return reasons


def _reason_in(response: Any) -> str | None:
    """Return why one record failed, or None; KeyError if the response says neither."""
    if "ErrorCode" in response:
        throttled = meaning_of_code(response["ErrorCode"]) is Meaning.THROTTLED
        return "throttled" if throttled else "internal"
    _ = response["RecordId"]
    return None
