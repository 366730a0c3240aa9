from __future__ import annotations

from collections.abc import Iterator

import pytest

from consumer.emulator.server import Emulator


@pytest.fixture(scope="module")
def emulator() -> Iterator[Emulator]:
    with Emulator() as running:
        yield running
