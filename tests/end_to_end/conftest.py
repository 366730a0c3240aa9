from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from consumer.emulator.server import Emulator
from tests.end_to_end.rig import Rig


@pytest.fixture
def rig(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Rig]:
    """Return a stream on an AWS of its own, with as many shards as the module says by SHARDS."""
    with Emulator() as emulator:
        made = Rig(emulator, tmp_path, shards=request.module.SHARDS)
        try:
            yield made
        finally:
            made.close()
