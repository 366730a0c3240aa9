from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from consumer.emulator.server import Emulator


@pytest.fixture(scope="module")
def emulator() -> Iterator[Emulator]:
    with Emulator() as running:
        yield running


@pytest.fixture(scope="module")
def clients(emulator: Emulator) -> tuple[Any, Any]:
    """Clients of DynamoDB and S3 that try once."""
    return emulator.client("dynamodb"), emulator.client("s3")
