from __future__ import annotations

from collections.abc import Iterator

import pytest

from consumer.emulator.server import Emulator
from tests.entrypoints.state_rig import World, embedded_aws


@pytest.fixture(scope="module")
def aws() -> Iterator[tuple[Emulator, World]]:
    """Give the embedded AWS of a module's tests; what is stored stays, so each takes a pipeline of its own."""
    with embedded_aws() as running:
        yield running
