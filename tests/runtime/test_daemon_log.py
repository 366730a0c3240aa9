"""Lines of the daemon's log, as the encoder of logback 1.3 really writes them."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consumer.runtime import daemon_log
from consumer.runtime.daemon_log import DaemonLine, parse


def encoded(message: str, *arguments: str, level: str = "ERROR", throwable: object = None) -> bytes:
    line = {
        "sequenceNumber": 0,
        "timestamp": 1700000000000,
        "nanoseconds": 208169333,
        "level": level,
        "threadName": "main",
        "loggerName": daemon_log.SCHEDULER,
        "context": {"name": "default", "birthdate": 1700000000000, "properties": {}},
        "mdc": {},
        "message": message,
        "arguments": list(arguments) or None,
        "throwable": throwable,
    }
    return json.dumps(line).encode() + b"\n"


def test_a_line_of_the_encoder() -> None:
    line = parse(encoded("Initialization complete. Starting worker loop.", level="INFO"))
    assert line == DaemonLine("INFO", daemon_log.SCHEDULER, "Initialization complete. Starting worker loop.", None)
    assert line.marker == daemon_log.INITIALISED


@pytest.mark.parametrize(
    ("template", "arguments", "message"),
    [
        ("Worker {} has {}", ["w-0", "4"], "Worker w-0 has 4"),
        ("Worker {} has {}", ["w-0"], "Worker w-0 has {}"),
        ("Worker {}", ["{}", "surplus"], "Worker {}"),
        ("no place", ["surplus"], "no place"),
    ],
)
def test_arguments_are_put_in_their_places(template: str, arguments: list[str], message: str) -> None:
    assert parse(encoded(template, *arguments)).message == message


def test_a_throwable_is_its_causes_without_stack_and_without_repetition() -> None:
    cause = {"className": "software.amazon.SdkException", "message": "refused", "stepArray": []}
    wrapper = {
        "className": "java.lang.RuntimeException",
        "message": "software.amazon.SdkException: refused",
        "stepArray": [{"className": "A", "methodName": "f", "fileName": "A.java", "lineNumber": 1}],
        "cause": cause,
    }
    outer = {"className": "com.Outer", "message": "null", "cause": wrapper}
    line = parse(encoded("failed", throwable=outer))
    assert line.throwable == "Outer <- SdkException: refused"
    assert str(line) == "ERROR Scheduler: failed [Outer <- SdkException: refused]"


def test_other_lines_are_taken_as_they_are() -> None:
    assert parse(b"WARNING: a restricted method\n") == DaemonLine("WARN", "java", "WARNING: a restricted method", None)
    assert parse(b'{"level": 3}\n').logger == daemon_log.PLAIN_LOGGER


def test_the_contents_of_a_broken_packet_are_kept_out() -> None:
    line = json.loads(encoded("Unexpected exception during deaggregation, record was:\nPKS:\nuser-1\n"))
    line |= {"loggerName": daemon_log.DEAGGREGATION, "throwable": {"className": "E", "message": "user-1"}}
    found = parse(json.dumps(line).encode())
    assert found.message == "Unexpected exception during deaggregation, record was:"
    assert "user-1" not in str(found)


def test_long_texts_are_cut() -> None:
    assert len(parse(b"x" * 100_000).message) <= 1001
    assert len(parse(encoded("x" * 100_000)).message) <= 1001


@given(st.binary())
def test_no_line_is_too_odd(line: bytes) -> None:
    assert parse(line).level in daemon_log.LEVELS


def test_levels_have_an_order() -> None:
    assert daemon_log.at_least("ERROR", "WARN")
    assert daemon_log.at_least("WARN", "WARN")
    assert not daemon_log.at_least("INFO", "WARN")
