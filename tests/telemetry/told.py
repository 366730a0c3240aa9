"""A fake clock, and a telemetry whose log lines and series a test can look at."""

from __future__ import annotations

import io
import json
from dataclasses import dataclass, field
from typing import Any

from prometheus_client import CollectorRegistry

from consumer.telemetry.events import Telemetry
from consumer.telemetry.health import Health
from consumer.telemetry.metrics import PREFIX
from consumer.telemetry.progress import Progress
from consumer.telemetry.status import Status
from consumer.telemetry.status_report import StatusBoard

START_MS = 1_700_000_000_123


@dataclass
class FakeClock:
    """A clock that moves when a test says so."""

    seconds: float = 1_000.0

    def monotonic(self) -> float:
        return self.seconds

    def now_ms(self) -> int:
        return START_MS + int((self.seconds - 1_000.0) * 1000)


@dataclass
class Told:
    """A telemetry and everything that it told."""

    telemetry: Telemetry
    health: Health
    progress: Progress
    clock: FakeClock
    registry: CollectorRegistry
    stream: io.StringIO = field(repr=False)

    def lines(self, event: str | None = None) -> list[dict[str, Any]]:
        """Return the log lines so far, or those of one event."""
        lines = [json.loads(line) for line in self.stream.getvalue().splitlines()]
        return [line for line in lines if event is None or line["event"] == event]

    def status(self) -> Status:
        """Return what the status page would show."""
        return StatusBoard(self.telemetry.facts, self.health).status()

    def value(self, name: str, **labels: str) -> float | None:
        """Return a sample without its prefix, None if there is no such series."""
        return self.registry.get_sample_value(PREFIX + name, {"stream": "clicks", **labels})
