"""Fixtures of the telemetry's tests."""

from __future__ import annotations

import io
import logging
from collections.abc import Iterator

import pytest
from prometheus_client import CollectorRegistry

from consumer.telemetry.events import Telemetry
from consumer.telemetry.health import Health
from consumer.telemetry.logging import configure_logging
from consumer.telemetry.metrics import Metrics
from consumer.telemetry.progress import Progress
from tests.telemetry.told import FakeClock, Told


@pytest.fixture(autouse=True)
def _own_logging() -> Iterator[None]:
    """Give each test the root logger as it was, or lines of one test would show up in the next."""
    root = logging.getLogger()
    product = logging.getLogger("streamgauge")
    handlers, root_level, product_level = list(root.handlers), root.level, product.level
    yield
    root.handlers[:] = handlers
    root.setLevel(root_level)
    product.setLevel(product_level)
    logging.captureWarnings(capture=False)


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def told(clock: FakeClock, request: pytest.FixtureRequest) -> Told:
    """Return a telemetry of two windows that logs JSON at the level given as the fixture's parameter (debug)."""
    level = getattr(request, "param", "debug")
    stream = io.StringIO()
    registry = CollectorRegistry()
    health = Health(clock.monotonic)
    progress = Progress(clock.monotonic)
    telemetry = Telemetry(
        metrics=Metrics(registry, stream="clicks"),
        logger=configure_logging(level=level, now_ms=clock.now_ms, stream=stream),
        health=health,
        windows=["views", "visits"],
        monotonic=clock.monotonic,
        now_ms=clock.now_ms,
        progress=progress,
    )
    return Told(telemetry, health, progress, clock, registry, stream)
