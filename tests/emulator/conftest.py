from __future__ import annotations

from collections.abc import Iterator
from itertools import count
from typing import Any

import pytest
from botocore.config import Config

from consumer.emulator.clock import now_ms
from consumer.emulator.server import Emulator
from consumer.emulator.settings import Settings

_numbers = count(1)


class MovableClock:
    """The real clock, which a test can put forward."""

    def __init__(self) -> None:
        self._ahead_ms = 0

    def __call__(self) -> int:
        return now_ms() + self._ahead_ms

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
