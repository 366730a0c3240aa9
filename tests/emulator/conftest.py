from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from typing import Any

import pytest
from botocore.config import Config

from consumer.emulator.clock import now_ms
from consumer.emulator.server import Emulator
from consumer.emulator.settings import Settings

_numbers = count(1)


class MovableClock:
    """The real clock, which a test can put forward, and stop."""

    def __init__(self) -> None:
        self._ahead_ms = 0
        self._stopped_ms: int | None = None

    def __call__(self) -> int:
        return (now_ms() if self._stopped_ms is None else self._stopped_ms) + self._ahead_ms

    @contextmanager
    def stopped(self) -> Iterator[None]:
        """Let only `advance` move it."""
        self._stopped_ms = now_ms()
        yield
        self._stopped_ms = None

    def advance(self, ms: int) -> None:
        self._ahead_ms += ms


@pytest.fixture(scope="module")
def clock() -> MovableClock:
    return MovableClock()


@pytest.fixture(scope="module")
def running(clock: MovableClock) -> Iterator[Emulator]:
    with Emulator(clock=clock) as emulator:
        yield emulator


@pytest.fixture
def aws(running: Emulator) -> Iterator[Emulator]:
    """Give the emulator without faults and with default settings; what is stored stays, so take new names."""
    yield running
    running.faults.clear()
    running.settings.change(**{name: getattr(Settings(), name) for name in Settings.__struct_fields__})


@pytest.fixture(scope="module")
def kinesis(running: Emulator) -> Any:
    return running.client("kinesis", Config(parameter_validation=False))  # the emulator is to judge, not boto3


@pytest.fixture(scope="module")
def firehose(running: Emulator) -> Any:
    return running.client("firehose", Config(parameter_validation=False))


@pytest.fixture(scope="module")
def s3(running: Emulator) -> Any:
    return running.client("s3")


@pytest.fixture(scope="module")
def dynamodb(running: Emulator) -> Any:
    return running.client("dynamodb")


@pytest.fixture
def name() -> str:
    """Return a name no other test has."""
    return f"thing-{next(_numbers)}"


@pytest.fixture
def stream(aws: Emulator, name: str) -> str:
    """Return the name of a new stream with two shards."""
    aws.kinesis.create_stream(name, 2)
    return name


@pytest.fixture
def bucket(aws: Emulator, s3: Any, name: str) -> str:
    """Return the name of a new bucket."""
    bucket = f"bucket-{name}"
    s3.create_bucket(Bucket=bucket)
    return bucket
