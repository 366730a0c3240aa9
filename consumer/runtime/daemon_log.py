"""The daemon's log: lines of its JSON encoder, and whatever else the Java process writes.

The daemon is configured to log the level asked for, and one of its loggers at INFO at least: it tells what the
exit status does not (which is 0 after a failed initialisation, too).
"""

from __future__ import annotations

import re
from typing import Any, NamedTuple

import msgspec

SCHEDULER = "software.amazon.kinesis.coordinator.Scheduler"
INITIALISED = (SCHEDULER, "Initialization complete. Starting worker loop.")

LEVELS = ("TRACE", "DEBUG", "INFO", "WARN", "ERROR")
PLAIN_LOGGER = "java"
"""Stands for the logger of a line that is not the encoder's: the virtual machine, or a stack trace."""

DEAGGREGATION = "software.amazon.kinesis.retrieval.AggregatorUtil"
"""Tells of a broken packet of the producer library, with all that is in it: no more than the first line is kept."""

LINE_BYTES_MAX = 1 << 20
_MESSAGE_CHARACTERS_MAX = 1000
_PLACEHOLDER = re.compile(r"\{\}")
_CAUSES_MAX = 5
_NULL = "null"
"""How the encoder writes that there is no message."""


class DaemonLine(NamedTuple):
    """One line. `level` is one of LEVELS; `throwable` is the chain of causes in one line, without stack."""

    level: str
    logger: str
    message: str
    throwable: str | None

    @property
    def marker(self) -> tuple[str, str]:
        """Return what INITIALISED is compared with."""
        return (self.logger, self.message)

    def __str__(self) -> str:
        place = self.logger.rpartition(".")[2]
        return f"{self.level} {place}: {self.message}" + (f" [{self.throwable}]" if self.throwable else "")


class _Throwable(msgspec.Struct, rename="camel"):
    class_name: str = ""
    message: str | None = None
    cause: _Throwable | None = None


class _EncodedLine(msgspec.Struct, rename="camel"):
    level: str
    logger_name: str
    message: str | None = None
    arguments: list[Any] | None = None
    throwable: _Throwable | None = None


_decoder = msgspec.json.Decoder(_EncodedLine)


def parse(line: bytes) -> DaemonLine:
    """Return the line, shortened to what a log should hold; a line that is not the encoder's counts as WARN."""
    try:
        encoded = _decoder.decode(line)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return DaemonLine("WARN", PLAIN_LOGGER, _shorten(line.decode(errors="replace").rstrip()), None)
    message = _shorten(_fill(encoded.message or "", encoded.arguments or []))
    level = encoded.level if encoded.level in LEVELS else "WARN"
    if encoded.logger_name == DEAGGREGATION:
        return DaemonLine(level, encoded.logger_name, message.partition("\n")[0], None)
    return DaemonLine(level, encoded.logger_name, message, _chain(encoded.throwable))


def at_least(level: str, threshold: str) -> bool:
    """Say whether a line of `level` is to be shown where `threshold` is asked for."""
    return LEVELS.index(level) >= LEVELS.index(threshold)


def _fill(template: str, arguments: list[Any]) -> str:
    """Put the arguments where the template says `{}`: this version of the encoder leaves that to the reader."""
    values = map(str, arguments)
    return _PLACEHOLDER.sub(lambda _: next(values, "{}"), template)


def _chain(throwable: _Throwable | None) -> str | None:
    causes: list[str] = []
    while throwable is not None and len(causes) < _CAUSES_MAX:
        name = throwable.class_name.rpartition(".")[2]
        text = "" if throwable.message in (None, _NULL) else _shorten(str(throwable.message))
        # A wrapper's message repeats its cause: the cause alone says it.
        if throwable.cause is None or throwable.cause.class_name not in text:
            causes.append(f"{name}: {text}" if text else name)
        throwable = throwable.cause
    return " <- ".join(causes) or None


def _shorten(text: str) -> str:
    return text if len(text) <= _MESSAGE_CHARACTERS_MAX else text[:_MESSAGE_CHARACTERS_MAX] + "…"
