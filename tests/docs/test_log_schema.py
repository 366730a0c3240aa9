"""docs/log.schema.json: every event of ours, of the daemon and of libraries keeps to it, and nothing else does."""

from __future__ import annotations

import io
import json
import logging
import re
from collections.abc import Iterator
from typing import Any

import jsonschema
import pytest
from prometheus_client import CollectorRegistry

from consumer.runtime import daemon_log
from consumer.telemetry.events import Telemetry
from consumer.telemetry.health import Health
from consumer.telemetry.logging import configure_logging
from consumer.telemetry.metrics import Metrics
from tests.docs import log_schema
from tests.docs.pages import DOCS
from tests.telemetry.test_events import EVENTS, WRITTEN_ELSEWHERE
from tests.telemetry.told import FakeClock

SCHEMA = json.loads((DOCS / log_schema.FILE).read_text(encoding="utf-8"))
VALIDATOR = jsonschema.Draft202012Validator(SCHEMA)


class Log:
    """A telemetry, and the lines that it wrote."""

    def __init__(self) -> None:
        clock, self._stream = FakeClock(), io.StringIO()
        self.telemetry = Telemetry(
            metrics=Metrics(CollectorRegistry(), stream="clicks"),
            logger=configure_logging(level="debug", now_ms=clock.now_ms, stream=self._stream, json=True),
            health=Health(clock.monotonic),
            windows=["views", "visits"],
            monotonic=clock.monotonic,
            now_ms=clock.now_ms,
        )

    def lines(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self._stream.getvalue().splitlines()]


@pytest.fixture
def log() -> Iterator[Log]:
    """Return a log; the root logger is afterwards as it was."""
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    yield Log()
    root.handlers[:] = handlers
    root.setLevel(level)
    logging.captureWarnings(capture=False)


def test_the_schema_is_made_of_the_page() -> None:
    made = log_schema.log_schema_text()
    assert (DOCS / log_schema.FILE).read_text(encoding="utf-8") == made, "python -m tests.docs.log_schema writes it"
    jsonschema.Draft202012Validator.check_schema(SCHEMA)


def test_every_key_is_explained_and_used() -> None:
    page = (DOCS / log_schema.PAGE).read_text(encoding="utf-8")
    rows = re.findall(r"^\| `\w+` \| [\w ]+? \| ([^|]*)\|", page.partition("## Events")[2], re.MULTILINE)
    used = set(re.findall(r"`(\w+)`", " ".join(rows))) | {"daemon_throwable"}
    assert used == set(log_schema.keys())
    assert list(log_schema.keys()) == sorted(log_schema.keys())


@pytest.mark.parametrize("event", sorted(EVENTS))
def test_every_event_keeps_to_the_schema(log: Log, event: str) -> None:
    EVENTS[event](log.telemetry)
    lines = [line for line in log.lines() if line["event"] == event]
    assert lines
    for line in lines:
        line.pop("daemon_thread", None)  # a key that only the test gives
        VALIDATOR.validate(line)


def test_the_schema_knows_every_event() -> None:
    assert set(log_schema.events()) == set(EVENTS) | WRITTEN_ELSEWHERE


@pytest.mark.parametrize("level", daemon_log.LEVELS)
def test_lines_of_the_daemon_keep_to_the_schema(log: Log, level: str) -> None:
    encoded = {
        "level": level,
        "loggerName": daemon_log.SCHEDULER,
        "message": "Caught {}",
        "arguments": ["it"],
        "throwable": {"className": "java.lang.IllegalStateException", "message": "no", "cause": None},
    }
    for written in (json.dumps(encoded).encode(), b"# A fatal error has been detected by the Java Runtime\n"):
        line = daemon_log.parse(written)
        extra = {"throwable": line.throwable} if line.throwable else {}
        log.telemetry.daemon_log(level=line.level, logger=line.logger, message=line.message, extra=extra)
    encoded_line, plain_line = log.lines()
    assert encoded_line["daemon_throwable"] == "IllegalStateException: no"
    assert plain_line["daemon_logger"] == daemon_log.PLAIN_LOGGER
    for each in (encoded_line, plain_line):
        VALIDATOR.validate(each)


def test_lines_of_libraries_and_of_the_http_port_keep_to_the_schema(log: Log) -> None:
    library = logging.getLogger("botocore.endpoint")
    library.warning("pool of %s is full", "host")
    library.error("went wrong", exc_info=KeyError("x"))
    log.telemetry.logger.warning("http_request_failed", error="KeyError")
    assert [line["event"] for line in log.lines()] == ["library_log", "library_log", "http_request_failed"]
    for line in log.lines():
        VALIDATOR.validate(line)


BAD: list[dict[str, Any]] = [
    {"event": "shard_evaporated"},
    {"level": "info"},
    {"epoch": "4"},
    {"user_id": "u-17"},
    {"timestamp": "2023-11-14 22:13:20"},
    {"logger": "botocore"},
    {"stream": None},
]


@pytest.mark.parametrize("change", BAD, ids=lambda change: next(iter(change)))
def test_anything_else_does_not(log: Log, change: dict[str, Any]) -> None:
    EVENTS["fenced"](log.telemetry)
    (line,) = log.lines()
    VALIDATOR.validate(line)
    assert not VALIDATOR.is_valid({**line, **change})
    assert not VALIDATOR.is_valid({key: value for key, value in line.items() if key not in change} | {"x": 1})
