"""docs/log.schema.json, made of tables of docs/logs.md: `python -m tests.docs.log_schema > docs/log.schema.json`."""

from __future__ import annotations

import json
import re
import sys
from typing import Any

from consumer.telemetry.logging import FIRST_KEYS, LOGGER_NAME
from tests.docs.pages import Table, parts

PAGE = "logs.md"
FILE = "log.schema.json"
OF_LIBRARIES = "library_log"
OF_THE_DAEMON = "daemon_log"
TIME = r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$"

_TYPES: dict[str, dict[str, Any]] = {
    "text": {"type": "string"},
    "integer": {"type": "integer"},
    "number": {"type": "number"},
    "boolean": {"type": "boolean"},
    "list of text": {"type": "array", "items": {"type": "string"}},
    "map of text": {"type": "object", "additionalProperties": {"type": "string"}},
}
_OTHER_LEVELS = {
    "daemon_ended": ["info", "error"],
    "lease_lost": ["warning", "info"],
    OF_THE_DAEMON: ["debug", "info", "warning", "error"],
    OF_LIBRARIES: ["warning", "error", "critical"],
}
"""Of events that have no one level: the page says in words which when."""
_NOT_ALWAYS = {"failed": ["exception", "shard"], OF_THE_DAEMON: ["daemon_throwable"], OF_LIBRARIES: ["exception"]}
_WITHOUT_STREAM = {OF_LIBRARIES}


def _tables() -> dict[tuple[str, ...], Table]:
    return {part.header: part for part in parts(PAGE) if isinstance(part, Table)}


def _quoted(text: str) -> list[str]:
    return re.findall(r"`([\w*]+)`", text)


def keys() -> dict[str, dict[str, Any]]:
    """Return the schema of every key that only some events have."""
    found = {}
    for row in _tables()["key", "type", "meaning"].rows:
        (key,) = _quoted(row["key"])
        kind = row["type"].removesuffix("?")
        schema = dict(_TYPES[kind])
        if kind != row["type"]:
            schema["type"] = [schema["type"], "null"]
        found[key] = {**schema, "description": row["meaning"].replace("`", "")}
    return found


def events() -> dict[str, dict[str, Any]]:
    """Return the schema of the lines of each event."""
    known = keys()
    rows = _tables()["event", "level", "keys", "meaning"].rows
    return {event: _event(event, row, known) for row in rows for event in _quoted(row["event"])}


def _event(event: str, row: dict[str, str], known: dict[str, dict[str, Any]]) -> dict[str, Any]:
    own = [key for key in _quoted(row["keys"]) if key != "daemon_*"]
    seldom = _NOT_ALWAYS.get(event, [])
    named = [*own, *(key for key in seldom if key not in own)]
    always = ["timestamp", "level", "event", "logger", *(() if event in _WITHOUT_STREAM else ("stream",))]
    logger: dict[str, Any] = {"type": "string"} if event == OF_LIBRARIES else {"const": LOGGER_NAME}
    return {
        "title": event,
        "description": row["meaning"],
        "properties": {
            "timestamp": {"type": "string", "pattern": TIME},
            "level": {"enum": _OTHER_LEVELS.get(event, [row["level"]])},
            "event": {"const": event},
            "logger": logger,
            "stream": {"type": "string"},
            "shard": {"type": "string"},
            **{key: {"$ref": f"#/$defs/{key}"} for key in named if key in known},
        },
        "required": [*always, *(key for key in own if key not in seldom)],
        "additionalProperties": False,
    }


def log_schema() -> dict[str, Any]:
    """Return the schema of a line."""
    by_event = events()
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "A line of Streamgauge's log",
        "type": "object",
        "properties": {"event": {"enum": list(by_event)}},
        "required": [*FIRST_KEYS[:4]],
        "allOf": [
            {"if": {"properties": {"event": {"const": event}}}, "then": {"$ref": f"#/$defs/event-{event}"}}
            for event in by_event
        ],
        "$defs": {**keys(), **{f"event-{event}": schema for event, schema in by_event.items()}},
    }


def log_schema_text() -> str:
    """Return the schema as the text of its file."""
    return json.dumps(log_schema(), indent=2, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    sys.stdout.write(log_schema_text())
