"""The format of log lines, and what of libraries gets into them."""

from __future__ import annotations

import io
import json
import logging
import re
import sys
import warnings

import pytest

from consumer.telemetry.logging import FIRST_KEYS, configure_logging
from tests.telemetry.told import START_MS, FakeClock, Told

SECRET = "secret-7f3a"


def fail() -> None:
    payload = SECRET[:3] + SECRET[3:]
    raise KeyError(payload)


def test_json_lines_start_with_the_documented_keys(told: Told) -> None:
    told.telemetry.lease_lost(shard="shard-0")
    told.telemetry.worker_stopping(reason="SIGTERM")
    first, second = (json.loads(line) for line in told.stream.getvalue().splitlines())
    assert tuple(first) == (*FIRST_KEYS, "epoch", "position")
    assert tuple(second) == (*FIRST_KEYS[:-1], "reason")
    assert first["timestamp"] == "2023-11-14T22:13:20.123Z"
    assert (first["level"], first["event"], first["logger"]) == ("warning", "lease_lost", "streamgauge")
    assert START_MS % 1000 == 123


@pytest.mark.parametrize("told", ["warning"], indirect=True)
def test_lines_below_the_level_are_not_written(told: Told) -> None:
    told.telemetry.worker_stopping(reason="SIGTERM")
    told.telemetry.lease_lost(shard="shard-0")
    told.telemetry.daemon_ended(status=1, expected=False)
    assert [line["level"] for line in told.lines()] == ["info", "error"][1:]


def test_libraries_speak_our_format_from_warning_up(told: Told) -> None:
    library = logging.getLogger("botocore.endpoint")
    library.debug("body: %s", SECRET)
    library.info("body: %s", SECRET)
    library.warning("pool of %s is full", "host")
    (line,) = told.lines()
    assert line["event"] == "library_log"
    assert line["message"] == "pool of host is full"
    assert (line["level"], line["logger"]) == ("warning", "botocore.endpoint")
    assert tuple(line)[:4] == FIRST_KEYS[:4]


def test_an_exception_of_a_library_is_shown_without_its_data(told: Told) -> None:
    library = logging.getLogger("library")
    try:
        fail()
    except KeyError:
        library.exception("went wrong")
        told.telemetry.logger.exception("went_wrong")
    foreign, ours = told.lines()
    for line in (foreign, ours):
        assert "KeyError" in line["exception"]
        assert "in fail" in line["exception"]
    assert SECRET not in told.stream.getvalue()


def test_a_long_message_of_a_library_is_cut(told: Told) -> None:
    logging.getLogger("library").warning("x" * 100_000)
    assert len(told.lines()[0]["message"]) < 5_000


def test_warnings_are_lines_too(told: Told) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        logging.captureWarnings(capture=False)  # switched on by an earlier test, it would not be switched on again
        logging.captureWarnings(capture=True)
        warnings.warn("old thing", stacklevel=1)
        logging.captureWarnings(capture=False)
    assert "old thing" in told.lines("library_log")[0]["message"]


def test_a_line_is_one_line_whatever_is_in_it(told: Told) -> None:
    told.telemetry.daemon_log(level="WARN", logger="a.b", message="one\ntwo\x1b[31m")
    assert told.stream.getvalue().count("\n") == 1
    assert told.lines()[0]["message"] == "one\ntwo\x1b[31m"


def test_a_person_gets_columns_without_local_variables(clock: FakeClock) -> None:
    stream = io.StringIO()
    logger = configure_logging(level="info", now_ms=clock.now_ms, stream=stream, json=False)
    try:
        fail()
    except KeyError:
        logger.exception("failed", shard="shard-0")
    plain = re.sub(r"\x1b\[[0-9;]*m", "", stream.getvalue())
    assert plain.startswith("2023-11-14T22:13:20.123Z [error")
    assert "shard=shard-0" in plain
    assert "Traceback" in plain
    assert SECRET not in plain


def test_json_unless_the_stream_is_a_terminal(clock: FakeClock) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    stream = Terminal()
    configure_logging(level="info", now_ms=clock.now_ms, stream=stream).info("hello")
    assert not stream.getvalue().startswith("{")


def test_standard_error_is_looked_up_at_every_line(clock: FakeClock, monkeypatch: pytest.MonkeyPatch) -> None:
    """A live display takes the place of standard error while it is shown; lines must go through it."""
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    logger = configure_logging(level="info", now_ms=clock.now_ms)
    later = io.StringIO()
    monkeypatch.setattr(sys, "stderr", later)
    logger.info("hello")
    assert json.loads(later.getvalue())["event"] == "hello"


def test_configuring_again_replaces(clock: FakeClock) -> None:
    old, new = io.StringIO(), io.StringIO()
    configure_logging(level="info", now_ms=clock.now_ms, stream=old)
    configure_logging(level="info", now_ms=clock.now_ms, stream=new).info("hello")
    assert old.getvalue() == ""
    assert new.getvalue().count("\n") == 1
