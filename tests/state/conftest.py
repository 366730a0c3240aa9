from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

for _module in ("store_conformance", "store_harness", "store_objects", "store_upkeep"):
    pytest.register_assert_rewrite(f"consumer.testing.{_module}")

from consumer.emulator.server import Emulator  # noqa: E402 - the lines above must come first


@pytest.fixture(scope="module")
def emulator() -> Iterator[Emulator]:
    with Emulator() as running:
        yield running


@pytest.fixture(scope="module")
def clients(emulator: Emulator) -> tuple[Any, Any]:
    """Clients of DynamoDB and S3 that try once."""
    return emulator.client("dynamodb"), emulator.client("s3")
