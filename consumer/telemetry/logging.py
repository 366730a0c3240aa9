"""How log lines look: JSON for machines, columns for a person at a terminal; always on standard error.

Lines of libraries come in the same format, from WARNING up whatever the level is: below that, botocore logs
the bodies of requests, and those are data. Keys and events are documented in docs/logs.md.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from typing import TextIO, cast

import structlog
from structlog.typing import EventDict, FilteringBoundLogger, Processor, WrappedLogger

from consumer.telemetry.redact import cut, safe_traceback

LOGGER_NAME = "streamgauge"
LEVELS = ("debug", "info", "warning", "error")
FIRST_KEYS = ("timestamp", "level", "event", "logger", "stream", "shard")
"""The keys that every line starts with, in this order; the others follow in alphabetical order."""


def configure_logging(
    *, level: str, now_ms: Callable[[], int], stream: TextIO | None = None, json: bool | None = None
) -> FilteringBoundLogger:
    """Send this process' log lines to standard error in one format, and return the product's logger.

    `level` is one of LEVELS. `now_ms` gives the time of our lines in epoch milliseconds. `stream` None means
    standard error as it is when a line is written (a live display may stand in between). `json` None means:
    unless standard error is a terminal. Calling it again replaces the earlier configuration.
    """
    assert level in LEVELS, level
    number = logging.getLevelNamesMapping()[level.upper()]
    as_json = not (stream or sys.stderr).isatty() if json is None else json
    common = _common_processors(now_ms)
    handler = _StderrHandler(stream)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                *_last_processors(json=as_json),
            ],
            foreign_pre_chain=[*common, _fold_foreign],
        )
    )
    _take_over_root(handler)
    logger = logging.getLogger(LOGGER_NAME)
    logger.setLevel(number)
    logging.captureWarnings(capture=True)
    return cast(
        "FilteringBoundLogger",
        structlog.wrap_logger(
            logger,
            processors=[*common, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
            wrapper_class=structlog.make_filtering_bound_logger(number),
        ).bind(),
    )


class _StderrHandler(logging.Handler):
    """Writes whole lines; the lock of the handler keeps threads apart."""

    def __init__(self, stream: TextIO | None) -> None:
        super().__init__()
        self._stream = stream

    def emit(self, record: logging.LogRecord) -> None:
        """Write one record."""
        try:
            stream = self._stream or sys.stderr
            stream.write(self.format(record) + "\n")
            stream.flush()
        except Exception:  # noqa: BLE001 - logging's contract: trouble with a line goes to handleError
            self.handleError(record)


def _take_over_root(handler: logging.Handler) -> None:
    root = logging.getLogger()
    for old in list(root.handlers):
        if isinstance(old, _StderrHandler):
            root.removeHandler(old)
    root.addHandler(handler)
    root.setLevel(logging.WARNING)


def _common_processors(now_ms: Callable[[], int]) -> list[Processor]:
    def add_timestamp(_logger: WrappedLogger, _method: str, line: EventDict) -> EventDict:
        milliseconds = now_ms()
        second = datetime.fromtimestamp(milliseconds // 1000, UTC).strftime("%Y-%m-%dT%H:%M:%S")
        line["timestamp"] = f"{second}.{milliseconds % 1000:03d}Z"
        return line

    return [structlog.stdlib.add_log_level, structlog.stdlib.add_logger_name, add_timestamp, _add_exception]


def _add_exception(_logger: WrappedLogger, _method: str, line: EventDict) -> EventDict:
    """Replace `exc_info` by a traceback that quotes no data."""
    exc_info = line.pop("exc_info", None)
    if exc_info is True:
        exc_info = sys.exc_info()
    error = exc_info[1] if isinstance(exc_info, tuple) else exc_info
    if isinstance(error, BaseException):
        line["exception"] = safe_traceback(error)
    return line


def _fold_foreign(_logger: WrappedLogger, _method: str, line: EventDict) -> EventDict:
    """Make a library's sentence a value of our line instead of its name."""
    line["message"] = cut(str(line["event"]))
    line["event"] = "library_log"
    return line


def _order_keys(_logger: WrappedLogger, _method: str, line: EventDict) -> EventDict:
    first = {key: line[key] for key in FIRST_KEYS if key in line}
    return first | {key: line[key] for key in sorted(line.keys() - first.keys())}


def _last_processors(*, json: bool) -> list[Processor]:
    if json:
        return [_order_keys, structlog.processors.JSONRenderer()]
    # Not the renderer's default, which shows the values of local variables: those are data.
    return [structlog.dev.ConsoleRenderer(exception_formatter=structlog.dev.plain_traceback)]
