"""How an error is told that ends the worker."""

from __future__ import annotations

import pytest

from consumer.errors import DaemonError, RefusedError, SetupError, StreamgaugeError
from tests.telemetry.told import Told


@pytest.mark.parametrize("foreseen", [SetupError("create the table"), RefusedError("another stream")])
def test_what_was_foreseen_is_told_without_a_traceback(told: Told, foreseen: StreamgaugeError) -> None:
    told.telemetry.failed(error=foreseen)
    told.telemetry.failed(error=DaemonError("ended"))
    plain, traced = told.lines("failed")
    assert str(foreseen) in plain["error"]
    assert "exception" not in plain
    assert "exception" in traced
