from __future__ import annotations

from collections.abc import Iterator

import pytest

pytest.register_assert_rewrite("consumer.testing.sink_conformance")

from consumer.emulator.server import Emulator  # noqa: E402 - the line above must come first


@pytest.fixture(scope="module")
def emulator() -> Iterator[Emulator]:
    with Emulator() as running:
        yield running
