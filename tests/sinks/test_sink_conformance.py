"""Every sink, and Firehose twice: against a fake client and against the embedded AWS."""

from __future__ import annotations

import errno
import io
import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any
from unittest import mock

import pytest

from consumer.emulator.faults import Fault
from consumer.emulator.server import Emulator
from consumer.sinks.file import FileSink, StdoutSink
from consumer.sinks.firehose import RECORD_BYTES_MAX, RECORD_BYTES_TARGET, FirehoseSink
from consumer.testing.fakes import Alter, FakeFirehose, Raise, Reject, client_error
from consumer.testing.sink_conformance import SinkConformance, SinkHarness, Trouble
from tests.sinks.trouble import WAY_REFUSALS, WAY_TROUBLE, PatientClient, emulator_troubles

PASSING: dict[str, tuple[Reject | Raise | Alter, str]] = {
    **WAY_TROUBLE,
    "limit": (Raise(client_error("LimitExceededException")), "throttled"),
    "unavailable": (Raise(client_error("ServiceUnavailableException", 503)), "throttled"),
    "empty answer": (Alter(lambda _: {"ResponseMetadata": {}}), "connection"),
    "no count": (Alter(lambda answer: {"RequestResponses": answer["RequestResponses"]}), "connection"),
    "no responses": (Alter(lambda _: {"FailedPutCount": 0}), "connection"),
    "empty response": (Alter(lambda answer: answer | {"RequestResponses": [{}]}), "connection"),
    "too few responses": (Alter(lambda answer: answer | {"RequestResponses": []}), "internal"),
    "too many responses": (
        Alter(lambda answer: answer | {"RequestResponses": answer["RequestResponses"] * 2}),
        "internal",
    ),
    "count without responses": (Alter(lambda answer: answer | {"FailedPutCount": 1}), "internal"),
    "all records throttled": (Reject({0: "ServiceUnavailableException"}), "throttled"),
    "all records failed": (Reject({0: "InternalFailure"}), "internal"),
}
REFUSED: dict[str, Raise] = {
    **WAY_REFUSALS,
    **{
        code: Raise(client_error(code))
        for code in (
            "InvalidArgumentException",
            "InvalidKMSResourceException",
            "ResourceNotFoundException",
            "ValidationException",
        )
    },
}


@dataclass
class FakeFirehoseHarness(SinkHarness):
    client: FakeFirehose = field(default_factory=FakeFirehose)

    def arrived(self) -> list[bytes]:
        return self.client.rows


class TestFirehoseOnAFakeClient(SinkConformance):
    @pytest.fixture
    def make_harness(self) -> Callable[[], SinkHarness]:
        return self._make

    def _make(self) -> SinkHarness:
        client = FakeFirehose()
        return FakeFirehoseHarness(
            sink=FirehoseSink(client, "aggregates"),
            client=client,
            troubles={
                name: Trouble(partial(client.faults.append, fault), reason) for name, (fault, reason) in PASSING.items()
            },
            refusals={name: partial(client.faults.append, fault) for name, fault in REFUSED.items()},
            fail_row=lambda index: client.faults.append(Reject({index: "ServiceUnavailableException"})),
            lone_row_bytes=RECORD_BYTES_TARGET // 2 + 1,
            row_bytes_max=RECORD_BYTES_MAX - 1,
        )


@dataclass
class EmulatorHarness(SinkHarness):
    emulator: Emulator | None = None
    s3: Any = None
    bucket: str = ""

    def arrived(self) -> list[bytes]:
        assert self.emulator is not None
        self.emulator.firehose.flush()
        objects = self.s3.list_objects_v2(Bucket=self.bucket).get("Contents", [])
        bodies = [self.s3.get_object(Bucket=self.bucket, Key=one["Key"])["Body"].read() for one in objects]
        lines = b"".join(bodies).split(b"\n")
        assert lines.pop() == b""
        return lines


class TestFirehoseOnTheEmulator(SinkConformance):
    numbers = count()

    @pytest.fixture
    def make_harness(self, emulator: Emulator) -> Iterator[Callable[[], SinkHarness]]:
        firehose = PatientClient(emulator, "firehose")
        s3 = emulator.client("s3")
        yield lambda: self._make(emulator, firehose, s3)
        emulator.faults.clear()

    def _make(self, emulator: Emulator, firehose: PatientClient, s3: Any) -> SinkHarness:
        name = f"aggregates-{next(self.numbers)}"
        emulator.faults.clear()
        s3.create_bucket(Bucket=name)
        firehose.create_delivery_stream(
            DeliveryStreamName=name,
            ExtendedS3DestinationConfiguration={
                "BucketARN": f"arn:aws:s3:::{name}",
                "RoleARN": "arn:aws:iam::123456789012:role/delivery",
                "BufferingHints": {"SizeInMBs": 64, "IntervalInSeconds": 900},
            },
        )

        def fail_row(index: int) -> None:
            emulator.faults.add(Fault(service="firehose", kind="partial", times=1, indexes=(index,)))

        return EmulatorHarness(
            sink=FirehoseSink(firehose, name),
            emulator=emulator,
            s3=s3,
            bucket=name,
            troubles=emulator_troubles(emulator, "firehose", "PutRecordBatch", firehose, cut_is="connection"),
            refusals={"gone": lambda: firehose.delete_delivery_stream(DeliveryStreamName=name)},
            fail_row=fail_row,
            lone_row_bytes=RECORD_BYTES_TARGET // 2 + 1,
            row_bytes_max=RECORD_BYTES_MAX - 1,
        )


@dataclass
class FileHarness(SinkHarness):
    path: Path = Path()

    def arrived(self) -> list[bytes]:
        lines = self.path.read_bytes().split(b"\n")
        assert lines.pop() == b"", "the last row is torn"
        return lines


class TestFile(SinkConformance):
    @pytest.fixture
    def make_harness(self, tmp_path: Path) -> Iterator[Callable[[], SinkHarness]]:
        numbers = count()
        with ExitStack() as patches:
            yield lambda: self._make(tmp_path / f"{next(numbers)}.jsonl", patches)

    def _make(self, path: Path, patches: ExitStack) -> SinkHarness:
        return FileHarness(
            sink=FileSink(path),
            path=path,
            troubles={
                "disk full": Trouble(lambda: _fail_once(patches, "write", errno.ENOSPC), "unavailable"),
                "disk full after some bytes": Trouble(lambda: _write_some_then_fail(patches), "unavailable"),
                "quota": Trouble(lambda: _fail_once(patches, "write", errno.EDQUOT), "unavailable"),
                "not on disk": Trouble(lambda: _fail_once(patches, "fsync", errno.EIO), "unavailable"),
            },
            refusals={"read-only": lambda: _fail_once(patches, "write", errno.EROFS)},
        )


def _fail_once(patches: ExitStack, operation: str, number: int) -> None:
    """Make the next call of os.write or os.fsync fail."""
    real = getattr(os, operation)
    patches.enter_context(mock.patch.object(os, operation, _Once(real, OSError(number, os.strerror(number)))))


def _write_some_then_fail(patches: ExitStack) -> None:
    real = os.write

    class Some:
        calls = 0

        def __call__(self, fd: int, data: memoryview) -> int:
            self.calls += 1
            if self.calls == 1:
                return real(fd, data[:100])
            if self.calls == 2:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            return real(fd, data)

    patches.enter_context(mock.patch.object(os, "write", Some()))


class _Once:
    def __init__(self, real: Callable[..., Any], error: OSError) -> None:
        self._real = real
        self._error: OSError | None = error

    def __call__(self, *arguments: Any) -> Any:
        error, self._error = self._error, None
        if error is not None:
            raise error
        return self._real(*arguments)


@dataclass
class StdoutHarness(SinkHarness):
    stream: io.BytesIO = field(default_factory=io.BytesIO)

    def arrived(self) -> list[bytes]:
        lines = self.stream.getvalue().split(b"\n")
        assert lines.pop() == b""
        return lines


class _BreakableStream(io.BytesIO):
    error: OSError | None = None

    def flush(self) -> None:
        if self.error is not None:
            raise self.error
        super().flush()


class TestStdout(SinkConformance):
    @pytest.fixture
    def make_harness(self) -> Callable[[], SinkHarness]:
        return self._make

    def _make(self) -> SinkHarness:
        stream = _BreakableStream()
        return StdoutHarness(
            sink=StdoutSink(stream),
            stream=stream,
            refusals={
                "reader gone": lambda: setattr(stream, "error", BrokenPipeError(errno.EPIPE, "Broken pipe")),
                "disk full": lambda: setattr(stream, "error", OSError(errno.ENOSPC, "No space left on device")),
            },
        )
