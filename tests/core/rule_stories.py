"""Stories: what goes into a pipeline, line by line, and what must come out of it at once.

    3 a n=2                 an event of user a at 3 ms, with values of other fields (JSON, no blanks)
    again                   the record before is delivered again
    idle 40                 the shard has nothing left, by a clock that shows 40
    end                     the end of the input: all windows close
        -> w [0,10) a n=1   what arises from the line before: results, then late events, then dead letters

A result is told as window, start and end in milliseconds since 1970 (or as a time of day with its date, where
that is no small number), the group, the columns; then whatever is not as in a plain final row: `revision=1`,
`more` (it is not final), `replaces=[0,5)#0` (windows and revisions of the rows), `early`, `part=0`.
"""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Iterator
from datetime import datetime
from typing import Any

import msgspec

from consumer.core.compile import compile_pipeline
from consumer.core.processor import Processor
from consumer.pipeline.definitions import window_hash
from consumer.pipeline.load import load_text
from consumer.pipeline.model import Pipeline
from consumer.records import DEAD_LETTER, LATE, Record, Row
from consumer.testing.reference import Expected, Idle, reference

SHARD = "shardId-000000000000"
_ARROW = "->"
_SMALL_MS = 10**9

_FILE = """\
pipeline: rules
source: {{stream: stream, partition_key: user}}
events:
  fields: {{user: string, at: timestamp, page: "string?", n: "int?", x: "float?"}}
  time: at
  out_of_orderness: {bound}
  max_future: {max_future}
  compression: none
{top}
windows:
{windows}
sinks: [{{stdout: {{}}}}]
late: {{file: {{path: late}}}}
dead_letter: {{file: {{path: dead}}}}
state: {{table: table, bucket: bucket}}
limits: {{{limits}}}
"""

_LIMITS = "groups: 1000, policy: reject"


def pipeline(windows: str, *, bound: str, limits: str = _LIMITS, top: str = "", max_future: str = "off") -> Pipeline:
    """Return the pipeline of a story. `windows` is YAML, `top` more keys of the file."""
    text = _FILE.format(windows=_indented(windows), bound=bound, limits=limits, top=top, max_future=max_future)
    return load_text(text, "story.yaml", {})


def _indented(windows: str) -> str:
    lines = [line for line in windows.splitlines() if line.strip()]
    margin = len(lines[0]) - len(lines[0].lstrip())
    return "\n".join("  " + line[margin:] for line in lines)


class Core:
    """The generated core."""

    def __init__(self, definition: Pipeline) -> None:
        self._processor = Processor(compile_pipeline(definition), SHARD, 0)

    def take(self, item: Record | Idle) -> list[Row]:
        if isinstance(item, Idle):
            return self._processor.idle(item.now_ms).rows
        return self._processor.apply([item]).rows

    def close_all(self) -> list[Row]:
        return self._processor.close_all().rows


class Reference:
    """The plain interpreter: asked anew from the beginning, at every line."""

    def __init__(self, definition: Pipeline) -> None:
        self._pipeline = definition
        self._items: list[Record | Idle] = []
        self._before = Expected(SHARD)

    def take(self, item: Record | Idle) -> list[Row]:
        self._items.append(item)
        return self._new(close_all=False)

    def close_all(self) -> list[Row]:
        return self._new(close_all=True)

    def _new(self, *, close_all: bool) -> list[Row]:
        now = reference(self._pipeline, SHARD, 0, self._items, window_hash, close_all=close_all)
        before, self._before = self._before, now
        dead = [
            Row(DEAD_LETTER, msgspec.json.encode({"reason": letter.reason}))
            for letter in now.dead_letters[len(before.dead_letters) :]
        ]
        return [*now.rows[len(before.rows) :], *now.late[len(before.late) :], *dead]


IMPLEMENTATIONS: dict[str, type[Reference | Core]] = {"reference": Reference, "core": Core}


def tell(implementation: type[Reference | Core], definition: Pipeline, story: str) -> None:
    """Tell a story and hold what comes out against it."""
    told = implementation(definition)
    lines = [" ".join(line.split()) for line in story.splitlines() if line.strip()]
    inputs = [line for line in lines if not line.startswith(_ARROW)]
    teller = _Teller(definition)
    actual: list[str] = []
    record = Record(b"")
    for number, line in enumerate(inputs, 1):
        if line == "end":
            rows = told.close_all()
        elif line.startswith("idle "):
            rows = told.take(Idle(_milliseconds(line.removeprefix("idle "))))
        else:
            record = record if line == "again" else _record(number, line)
            rows = told.take(record)
        actual += [line, *(f"{_ARROW} {row}" for row in teller.rows(rows))]
    assert actual == lines, "\n".join(difflib.ndiff(lines, actual))


def _record(number: int, line: str) -> Record:
    time, user, *values = line.split(" ")
    event: dict[str, Any] = {"user": user, "at": int(time) if time.lstrip("-").isdigit() else time}
    event |= {name: json.loads(value) for name, value in (text.split("=", 1) for text in values)}
    return Record(json.dumps(event).encode(), user, str(number), 0, 0)


def _milliseconds(text: str) -> int:
    if text.lstrip("-").isdigit():
        return int(text)
    return round(datetime.fromisoformat(text).timestamp() * 1000)


def _time(text: str) -> str:
    time_ms = _milliseconds(text)
    return str(time_ms) if abs(time_ms) < _SMALL_MS else re.sub(r"(:00)?(\.000)?Z", "Z", text)


class _Teller:
    """Tells rows in the words of stories."""

    def __init__(self, definition: Pipeline) -> None:
        self._windows = {window.name: window for window in definition.windows}
        self._by_id: dict[str, str] = {}

    def rows(self, rows: list[Row]) -> list[str]:
        """Return what rows say: results, then late events, then dead letters."""
        parsed = [(row.output, json.loads(row.data)) for row in rows]
        late = [self._late(row) for output, row in parsed if output == LATE]
        dead = [f"dead {row['reason']}" for output, row in parsed if output == DEAD_LETTER]
        return [self._result(row) for output, row in parsed if output not in {LATE, DEAD_LETTER}] + late + dead

    def _late(self, row: dict[str, Any]) -> str:
        return f"late {row['window']} {_span(row)} watermark={_time(row['watermark'])}"

    def _result(self, row: dict[str, Any]) -> str:
        assert row["id"] not in self._by_id, "two rows have one id"
        self._by_id[row["id"]] = f"{_span(row)}#{row['revision']}"
        return " ".join([row["window"], _span(row), *self._members(row)])

    def _members(self, row: dict[str, Any]) -> Iterator[str]:
        window = self._windows[row["window"]]
        for name in window.by:
            yield row[name.name] if isinstance(row[name.name], str) else json.dumps(row[name.name])
        for column in window.select:
            yield f"{column.name}={json.dumps(row[column.name], separators=(',', ':'))}"
        if row["revision"]:
            yield f"revision={row['revision']}"
        if not row["final"]:
            yield "more"
        if "replaces" in row:
            yield "replaces=" + ",".join(self._by_id[identity] for identity in row["replaces"])
        yield from ["early"] if row.get("early") else []
        if "part" in row:
            yield f"part={row['part']}"


def _span(row: dict[str, Any]) -> str:
    return f"[{_time(row['window_start'])},{_time(row['window_end'])})"
