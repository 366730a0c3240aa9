"""The embedded Firehose: delivery streams that buffer by size and time and write objects to S3.

Records are joined without a delimiter, as AWS joins them. A put only appends; objects are written by `deliver`,
which is called by a timer, by `flush`, and at the end. What S3 does not take stays and is tried again.
"""

from __future__ import annotations

import gzip
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from threading import Lock, RLock
from uuid import uuid4

from consumer.emulator.clock import Clock
from consumer.emulator.errors import ACCOUNT, REGION, AwsError
from consumer.emulator.limits import MIB
from consumer.emulator.settings import Settings

WriteObject = Callable[[str, str, bytes], None]
"""Writes bucket, key, body; OSError if that fails."""


@dataclass(frozen=True, slots=True)
class Destination:
    """Where a delivery stream writes, and when: at `buffer_bytes`, or `buffer_ms` after the first record."""

    bucket: str
    prefix: str = ""
    buffer_bytes: int = 5 * MIB
    buffer_ms: int = 300_000
    compressed: bool = False


@dataclass(slots=True)
class DeliveryStream:
    """A delivery stream and what it has not written yet."""

    name: str
    destination: Destination
    created_ms: int
    active_ms: int
    records: list[bytes] = field(default_factory=list)
    buffered_bytes: int = 0
    first_ms: int = 0

    @property
    def arn(self) -> str:
        """The Amazon Resource Name."""
        return f"arn:aws:firehose:{REGION}:{ACCOUNT}:deliverystream/{self.name}"

    def append(self, record: bytes, now_ms: int) -> None:
        """Buffer a record."""
        if not self.records:
            self.first_ms = now_ms
        self.records.append(record)
        self.buffered_bytes += len(record)

    def is_due(self, now_ms: int) -> bool:
        """Tell whether the buffer is large or old enough to be written."""
        if not self.records:
            return False
        return (
            self.buffered_bytes >= self.destination.buffer_bytes or now_ms - self.first_ms >= self.destination.buffer_ms
        )


@dataclass(frozen=True, slots=True)
class _Object:
    bucket: str
    key: str
    body: bytes


class Firehose:
    """All delivery streams of one account and region. Can be used from any thread."""

    def __init__(self, now_ms: Clock, write_object: WriteObject, settings: Settings | None = None) -> None:
        self.now_ms = now_ms
        self.settings = settings or Settings()
        self._write_object = write_object
        self._lock = RLock()
        self._delivering = Lock()
        self._streams: dict[str, DeliveryStream] = {}
        self._outgoing: deque[_Object] = deque()

    def create(self, name: str, destination: Destination) -> DeliveryStream:
        """Make a delivery stream; ResourceInUseException if there is one of that name."""
        with self._lock:
            if name in self._streams:
                text = f"Firehose {name} under accountId {ACCOUNT} already exists"
                raise AwsError("ResourceInUseException", text)
            now_ms = self.now_ms()
            stream = DeliveryStream(name, destination, now_ms, now_ms + self.settings.state_delay_ms)
            self._streams[name] = stream
            return stream

    def delete(self, name: str) -> None:
        """Delete a delivery stream; what it has buffered is still written."""
        with self._lock:
            self._close_buffer(self.stream(name), self.now_ms())
            del self._streams[name]

    def stream(self, name: str) -> DeliveryStream:
        """Return a delivery stream; ResourceNotFoundException if there is none."""
        with self._lock:
            if name not in self._streams:
                text = f"Firehose {name} under account {ACCOUNT} not found."
                raise AwsError("ResourceNotFoundException", text)
            return self._streams[name]

    def status(self, name: str) -> str:
        """Return the state of a delivery stream."""
        return "ACTIVE" if self.now_ms() >= self.stream(name).active_ms else "CREATING"

    def names(self) -> list[str]:
        """Return the names of all delivery streams, sorted."""
        with self._lock:
            return sorted(self._streams)

    def put(self, name: str, records: Sequence[bytes]) -> None:
        """Buffer records in order; ResourceNotFoundException if the stream is not there, or not ACTIVE yet."""
        with self._lock:
            stream = self.stream(name)
            if self.status(name) != "ACTIVE":
                raise AwsError("ResourceNotFoundException", f"Firehose {name} is CREATING.")
            for record in records:
                now_ms = self.now_ms()
                stream.append(record, now_ms)
                if stream.is_due(now_ms):
                    self._close_buffer(stream, now_ms)

    def pending(self) -> bool:
        """Tell whether `deliver` has anything to write."""
        with self._lock:
            now_ms = self.now_ms()
            return bool(self._outgoing) or any(stream.is_due(now_ms) for stream in self._streams.values())

    def deliver(self) -> None:
        """Write what is due, oldest first; OSError where S3 does not take it, and it stays."""
        with self._lock:
            now_ms = self.now_ms()
            for stream in self._streams.values():
                if stream.is_due(now_ms):
                    self._close_buffer(stream, now_ms)
        with self._delivering:
            while self._outgoing:
                one = self._outgoing[0]
                self._write_object(one.bucket, one.key, one.body)
                self._outgoing.popleft()

    def flush(self) -> None:
        """Write everything now; OSError as in `deliver`."""
        with self._lock:
            now_ms = self.now_ms()
            for stream in self._streams.values():
                self._close_buffer(stream, now_ms)
        self.deliver()

    def undelivered_bytes(self) -> int:
        """Return how much is buffered or waiting for S3."""
        with self._lock:
            buffered = sum(stream.buffered_bytes for stream in self._streams.values())
            return buffered + sum(len(one.body) for one in self._outgoing)

    def _close_buffer(self, stream: DeliveryStream, now_ms: int) -> None:
        if not stream.records:
            return
        body = b"".join(stream.records)
        stream.records, stream.buffered_bytes = [], 0
        if stream.destination.compressed:
            body = gzip.compress(body, mtime=0)
        self._outgoing.append(_Object(stream.destination.bucket, object_key(stream, now_ms), body))


def object_key(stream: DeliveryStream, now_ms: int) -> str:
    """Return a key as Firehose makes it: prefix, hour in UTC, stream, version, second, something unique."""
    now = datetime.fromtimestamp(now_ms / 1000, UTC)
    suffix = ".gz" if stream.destination.compressed else ""
    name = f"{stream.name}-1-{now:%Y-%m-%d-%H-%M-%S}-{uuid4()}{suffix}"
    return f"{stream.destination.prefix}{now:%Y/%m/%d/%H}/{name}"
