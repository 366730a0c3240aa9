"""Stand-ins with faults on order: for the tests of this package, and of what users build on it.

`FakeSink` and `FaultyStore` stand in for the contracts, `FakeFirehose` for boto3's client, with the service's
limits. For faults on the way to a server, put them to work in the emulator.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple, TypeVar

from botocore.exceptions import ClientError

from consumer.core.completion import Progress
from consumer.core.contributions import Contribution
from consumer.sinks.base import Failure
from consumer.sinks.firehose import CALL_BYTES_MAX, CALL_RECORDS_MAX, RECORD_BYTES_MAX
from consumer.state.base import Application, Claim, Entry, Found, ShardState, StateStore
from consumer.state.marks import Ledger

T = TypeVar("T")


def client_error(code: str, status: int = 400, message: str = "as ordered") -> ClientError:
    """Return the error that boto3 raises for an AWS error code with an HTTP status."""
    response: Any = {
        "Error": {"Code": code, "Message": message},
        "ResponseMetadata": {"HTTPStatusCode": status},
    }
    return ClientError(response, "Fake")


class Retry(NamedTuple):
    """One call of `DeliveryObserver.retry`."""

    sink: str
    reason: str
    rows: int
    wait_seconds: float


@dataclass
class RecordingObserver:
    """A DeliveryObserver that remembers: rows and bytes by sink and result, retries and rejections in order."""

    rows: dict[tuple[str, str], int] = field(default_factory=dict)
    size_bytes: dict[tuple[str, str], int] = field(default_factory=dict)
    batches: list[tuple[str, float]] = field(default_factory=list)
    retries: list[Retry] = field(default_factory=list)
    rejections: list[tuple[str, str, int]] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    def put(self, sink: str, result: Literal["sent", "failed", "rejected"], rows: int, size_bytes: int, /) -> None:
        """Add up."""
        with self._lock:
            key = (sink, result)
            self.rows[key] = self.rows.get(key, 0) + rows
            self.size_bytes[key] = self.size_bytes.get(key, 0) + size_bytes

    def batch(self, sink: str, seconds: float, /) -> None:
        """Remember an attempt."""
        with self._lock:
            self.batches.append((sink, seconds))

    def retry(self, sink: str, reason: str, rows: int, wait_seconds: float, /) -> None:
        """Remember a retry."""
        with self._lock:
            self.retries.append(Retry(sink, reason, rows, wait_seconds))

    def rejected(self, sink: str, reason: str, row_bytes: int, /) -> None:
        """Remember a lost row."""
        with self._lock:
            self.rejections.append((sink, reason, row_bytes))


class FakeSink:
    """A sink in memory. `outcomes` are those of its next attempts; when they are used up, every row is taken.

    An outcome is the failures to report (the other rows are taken) or an exception to raise (no row is taken).
    """

    def __init__(self, name: str = "fake", outcomes: Iterable[Sequence[Failure] | Exception] = ()) -> None:
        self.name = name
        self.outcomes = deque(outcomes)
        self.attempts: list[list[bytes]] = []
        self.rows: list[bytes] = []
        self.closed = 0
        self._lock = threading.Lock()

    def put(self, rows: Sequence[bytes]) -> Sequence[Failure]:
        """Make the next attempt come out as ordered."""
        with self._lock:
            self.attempts.append(list(rows))
            outcome = self.outcomes.popleft() if self.outcomes else ()
            if isinstance(outcome, Exception):
                raise outcome
            failed = {failure.index for failure in outcome}
            self.rows.extend(row for index, row in enumerate(rows) if index not in failed)
            return outcome

    def close(self) -> None:
        """Count."""
        self.closed += 1


@dataclass(frozen=True)
class Reject:
    """The next call does not take these records, if it has them: an error code by record number."""

    codes: Mapping[int, str]


@dataclass(frozen=True)
class Raise:
    """The next call raises, before or after it has taken the records."""

    error: Exception
    after_effect: bool = False


@dataclass(frozen=True)
class Alter:
    """The next call takes the records, and its answer is altered on the way."""

    change: Callable[[dict[str, Any]], Any]


class FakeFirehose:
    """A Firehose client with the service's limits; a call that breaks one fails the test.

    `faults` are those of its next calls; when they are used up, every record is taken.
    """

    def __init__(self, faults: Iterable[Reject | Raise | Alter] = ()) -> None:
        self.faults = deque(faults)
        self.calls: list[list[bytes]] = []
        self.records: list[bytes] = []
        self._lock = threading.Lock()

    @property
    def rows(self) -> list[bytes]:
        """Return all rows taken, in order of arrival."""
        lines = b"".join(self.records).split(b"\n")
        assert lines.pop() == b"", "a record does not end with a newline"
        return lines

    def put_record_batch(self, *, DeliveryStreamName: str, Records: Sequence[Mapping[str, bytes]]) -> Any:  # noqa: N803 - AWS' names
        """Take a batch as ordered."""
        assert DeliveryStreamName
        batch = [bytes(record["Data"]) for record in Records]
        assert 1 <= len(batch) <= CALL_RECORDS_MAX
        assert all(1 <= len(data) <= RECORD_BYTES_MAX for data in batch)
        assert sum(map(len, batch)) <= CALL_BYTES_MAX
        with self._lock:
            self.calls.append(batch)
            return self._take(batch, self.faults.popleft() if self.faults else Reject({}))

    def _take(self, batch: list[bytes], fault: Reject | Raise | Alter) -> Any:
        if isinstance(fault, Raise) and not fault.after_effect:
            raise fault.error
        ordered = fault.codes if isinstance(fault, Reject) else {}
        codes = {number: code for number, code in ordered.items() if number < len(batch)}
        self.records.extend(data for number, data in enumerate(batch) if number not in codes)
        if isinstance(fault, Raise):
            raise fault.error
        answer = {
            "FailedPutCount": len(codes),
            "Encrypted": False,
            "RequestResponses": [
                {"ErrorCode": codes[number], "ErrorMessage": "as ordered"}
                if number in codes
                else {"RecordId": f"record-{number}"}
                for number in range(len(batch))
            ],
        }
        return fault.change(answer) if isinstance(fault, Alter) else answer


@dataclass(frozen=True)
class _StoreFault:
    error: Exception
    after_effect: bool


class FaultyStore:
    """Any state store, with faults on order. `calls` names the operations in the order they were made."""

    def __init__(self, store: StateStore) -> None:
        self._store = store
        self._faults: dict[str, deque[_StoreFault]] = {}
        self.calls: list[str] = []

    def fail(self, operation: str, error: Exception, *, after_effect: bool = False) -> None:
        """Let a coming call of this operation raise, before it does anything or after all was done.

        Faults of one operation come in the order they were ordered, one a call.
        """
        assert callable(getattr(self, operation))
        self._faults.setdefault(operation, deque()).append(_StoreFault(error, after_effect))

    def read_application(self) -> Application | None:
        """As StateStore."""
        return self._call("read_application", self._store.read_application)

    def create_application(self, application: Application) -> Application:
        """As StateStore."""
        return self._call("create_application", lambda: self._store.create_application(application))

    def reset(self, application: Application) -> Application:
        """As StateStore."""
        return self._call("reset", lambda: self._store.reset(application))

    def adopt(self, before: Application, after: Application) -> Application:
        """As StateStore."""
        return self._call("adopt", lambda: self._store.adopt(before, after))

    def claim(self, shard: str) -> Claim:
        """As StateStore."""
        return self._call("claim", lambda: self._store.claim(shard))

    def read(self, shard: str) -> Claim | None:
        """As StateStore."""
        return self._call("read", lambda: self._store.read(shard))

    def list_shards(self) -> Mapping[str, Claim]:
        """As StateStore."""
        return self._call("list_shards", self._store.list_shards)

    def shard_names(self) -> Sequence[str]:
        """As StateStore."""
        return self._call("shard_names", self._store.shard_names)

    def put_object(self, shard: str, generation: int, epoch: int, commit_no: int, data: bytes) -> Entry:
        """As StateStore."""
        return self._call("put_object", lambda: self._store.put_object(shard, generation, epoch, commit_no, data))

    def get_object(self, entry: Entry) -> bytes:
        """As StateStore."""
        return self._call("get_object", lambda: self._store.get_object(entry))

    def delete_objects(self, entries: Sequence[Entry]) -> None:
        """As StateStore."""
        self._call("delete_objects", lambda: self._store.delete_objects(entries))

    def list_objects(self, shard: str, generation: int) -> Sequence[Found]:
        """As StateStore."""
        return self._call("list_objects", lambda: self._store.list_objects(shard, generation))

    def advance(self, shard: str, epoch: int, state: ShardState, *, ended: bool) -> None:
        """As StateStore."""
        self._call("advance", lambda: self._store.advance(shard, epoch, state, ended=ended))

    def retire(self, shard: str, epoch: int) -> None:
        """As StateStore."""
        self._call("retire", lambda: self._store.retire(shard, epoch))

    def read_ledger(self, shard: str) -> Ledger | None:
        """As StateStore."""
        return self._call("read_ledger", lambda: self._store.read_ledger(shard))

    def write_ledger(self, shard: str, ledger: Ledger) -> None:
        """As StateStore."""
        self._call("write_ledger", lambda: self._store.write_ledger(shard, ledger))

    def put_contributions(self, rows: Sequence[bytes]) -> None:
        """As StateStore."""
        self._call("put_contributions", lambda: self._store.put_contributions(rows))

    def read_contributions(
        self, generation: int, window_hash: str, bucket: int, *, after_end_ms: int | None, until_end_ms: int
    ) -> Iterator[Contribution]:
        """As StateStore. A fault comes out of the iterator, at the beginning or at the end."""
        fault = self._next_fault("read_contributions")
        if fault is not None and not fault.after_effect:
            raise fault.error
        yield from self._store.read_contributions(
            generation, window_hash, bucket, after_end_ms=after_end_ms, until_end_ms=until_end_ms
        )
        if fault is not None:
            raise fault.error

    def write_progress(self, progress: Progress) -> None:
        """As StateStore."""
        self._call("write_progress", lambda: self._store.write_progress(progress))

    def read_progress(self, generation: int) -> Sequence[Progress]:
        """As StateStore."""
        return self._call("read_progress", lambda: self._store.read_progress(generation))

    def _call(self, operation: str, call: Callable[[], T]) -> T:
        fault = self._next_fault(operation)
        if fault is None:
            return call()
        if fault.after_effect:
            call()
        raise fault.error

    def _next_fault(self, operation: str) -> _StoreFault | None:
        self.calls.append(operation)
        faults = self._faults.get(operation)
        return faults.popleft() if faults else None
