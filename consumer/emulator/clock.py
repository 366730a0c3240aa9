"""The emulator's one reading of the real clock; everything else takes it as a parameter."""

from __future__ import annotations

import time
from collections.abc import Callable

Clock = Callable[[], int]
"""Returns the time in epoch milliseconds."""


def now_ms() -> int:
    """Return the real time in epoch milliseconds."""
    return time.time_ns() // 1_000_000
