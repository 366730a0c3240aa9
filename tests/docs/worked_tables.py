"""The worked tables of docs/windows.md: what they say, and what the core says to the same records.

The first yaml block of the page that names a pipeline is what all examples have in common; the keys of an example's
own block are put over it. A table is worked if its last column is called ROWS_OUT: each of its lines is a record in the
order of arrival, an idle decision (`idle at 12:05` for a time) or the end of the input (`end`).
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import PurePath
from typing import Any

from ruamel.yaml import YAML

from consumer.core.calendar import zone
from consumer.core.compile import compile_pipeline
from consumer.core.processor import Processor
from consumer.entrypoints.global_rows import GlobalRows
from consumer.pipeline.load import load_text
from consumer.pipeline.model import Pipeline, Tumbling
from consumer.records import DEAD_LETTER, LATE, Record, Row
from tests.docs.pages import Code, Image, Part, Table, parts

PAGE = "windows.md"
ROWS_OUT = "rows out"
DAY = date(2026, 1, 31)
"""The day of times that name none."""
END = "end"
IDLE = "idle at "
_LINE_BREAK = "<br>"
_NOT_OF_THE_EVENT = {"#", "arrival", "local time", "shard", "watermark", ROWS_OUT}

Line = dict[str, str]


@dataclass(frozen=True)
class Example:
    """A pipeline, the lines of its table, and the picture of it, if there is one."""

    pipeline: Pipeline
    table: Table
    image: Image | None

    @property
    def name(self) -> str:
        """Return a name for people: the picture's, or what windows there are."""
        if self.image is not None:
            return PurePath(self.image.path).stem
        return "-".join(window.name for window in self.pipeline.windows)


def examples() -> Iterator[Example]:
    """Yield the worked examples of the page in their order."""
    found: Example | None = None
    own: dict[str, Any] = {}
    common = next(block for block in map(_yaml, parts(PAGE)) if block is not None and "pipeline" in block)
    for part in parts(PAGE):
        if isinstance(part, Image) and found is not None:
            found = Example(found.pipeline, found.table, part)
            continue
        if found is not None:
            yield found
            found = None
        own = _yaml(part) or own
        if isinstance(part, Table) and part.header[-1] == ROWS_OUT:
            found = Example(_pipeline(common, own), part, None)
    if found is not None:
        yield found


def _yaml(part: Part) -> dict[str, Any] | None:
    if not isinstance(part, Code) or part.language != "yaml":
        return None
    content: dict[str, Any] = YAML(typ="safe", pure=True).load(part.text)
    return content


def _pipeline(common: Mapping[str, Any], own: Mapping[str, Any]) -> Pipeline:
    events = common["events"] | own.get("events", {})
    text = json.dumps({**common, **own, "events": events, "late": {"stdout": {}}, "dead_letter": {"stdout": {}}})
    return load_text(text, PAGE, {})


# -- times as the page writes them


def instant_ms(text: str) -> int:
    """Return the epoch milliseconds of `12:00`, `12:00:05`, `12:00:05.250` or `2026-03-29 01:00`, in UTC."""
    with_day = text if "-" in text else f"{DAY} {text}"
    return round(datetime.fromisoformat(with_day).replace(tzinfo=UTC).timestamp() * 1000)


def shown(time: str | int) -> str:
    """Return a time, ISO-8601 text or epoch milliseconds, as the page writes it."""
    when = datetime.fromtimestamp(time / 1000, UTC) if isinstance(time, int) else datetime.fromisoformat(time)
    day = "" if when.date() == DAY else f"{when.date()} "
    if when.microsecond:
        return day + when.time().isoformat("milliseconds")
    return day + when.time().isoformat("seconds" if when.second else "minutes")


# -- what the core says


@dataclass(frozen=True)
class Played:
    """What the core made of a table: the lines as they should be, and all rows that came."""

    lines: list[Line]
    rows: list[dict[str, Any]]


def play(example: Example) -> Played:
    """Give the lines to the core, one at a time."""
    teller = _Teller(example.pipeline)
    shards = _Shards(example.pipeline, sorted({line["shard"] for line in example.table.rows if line.get("shard")}))
    lines = []
    rows: list[dict[str, Any]] = []
    for number, line in enumerate(example.table.rows, 1):
        came, watermark_ms = shards.take(number, line)
        told = dict(line)
        if "watermark" in line and line["time"] != END:
            told["watermark"] = _watermark(line["watermark"], watermark_ms)
        if line.get("local time"):
            told["local time"] = _local(example.pipeline, line["time"])
        told[ROWS_OUT] = _LINE_BREAK.join(teller.tell(row) for row in came)
        lines.append(told)
        rows += [json.loads(row.data) for row in came]
    return Played(lines, rows)


def _watermark(said: str, watermark_ms: int | None) -> str:
    """Return what should be said: 12:01:00 is as right as 12:01."""
    if watermark_ms is None:
        return ""
    return said if said and instant_ms(said) == watermark_ms else shown(watermark_ms)


def _local(pipeline: Pipeline, time: str) -> str:
    kind = pipeline.windows[0].kind
    assert isinstance(kind, Tumbling)
    assert kind.timezone is not None
    local = datetime.fromtimestamp(instant_ms(time) / 1000, zone(kind.timezone))
    return local.replace(tzinfo=None).isoformat(" ", "seconds" if local.second else "minutes")


class _Shards:
    """A processor a shard; global windows give their rows with the line that completes them."""

    def __init__(self, pipeline: Pipeline, shards: Iterable[str]) -> None:
        self._pipeline = pipeline
        self._program = compile_pipeline(pipeline)
        self._processors: dict[str, Processor] = {}
        self._global_rows = GlobalRows(self._program)
        for number in shards:
            self._processor(number)

    def take(self, number: int, line: Line) -> tuple[list[Row], int | None]:
        """Take a line; return its rows and the watermark behind it."""
        if line["time"] == END:
            rows = [row for processor in self._processors.values() for row in processor.close_all().rows]
            return self._with_global(rows, math.inf), None
        rows, watermark_ms = self._take(number, line)
        watermarks = [processor.watermark_ms for processor in self._processors.values()]
        until_ms = min(-math.inf if each is None else each for each in watermarks)
        return self._with_global(rows, until_ms), watermark_ms

    def _with_global(self, rows: list[Row], until_ms: float) -> list[Row]:
        own = list(self._global_rows.without(rows))
        return own + [row for window in self._global_rows.complete(until_ms) for row in window]

    def _take(self, number: int, line: Line) -> tuple[list[Row], int | None]:
        time = line["time"]
        processor = self._processor(line.get("shard", "1"))
        if time.startswith(IDLE):
            outcome = processor.idle(instant_ms(time.removeprefix(IDLE)))
        else:
            outcome = processor.apply([self._record(number, line)])
        return outcome.rows, processor.watermark_ms

    def _processor(self, number: str) -> Processor:
        shard = f"shardId-{number.zfill(12)}"
        if shard not in self._processors:
            self._processors[shard] = Processor(self._program, shard, 0)
        return self._processors[shard]

    def _record(self, number: int, line: Line) -> Record:
        event = {name: _value(cell) for name, cell in line.items() if name not in _NOT_OF_THE_EVENT and cell}
        event["time"] = instant_ms(line["time"])
        arrival_ms = instant_ms(line["arrival"]) if line.get("arrival") else event["time"]
        return Record(json.dumps(event).encode(), line["user"], str(number), 0, arrival_ms)


def _value(cell: str) -> Any:
    try:
        return json.loads(cell)
    except ValueError:
        return cell


class _Teller:
    """Tells rows as the page writes them; the window is named where there are several."""

    def __init__(self, pipeline: Pipeline) -> None:
        self._windows = {window.name: window for window in pipeline.windows}
        self._by_id: dict[str, str] = {}

    def tell(self, row: Row) -> str:
        """Return the text of a result, a late row or a dead letter."""
        data = json.loads(row.data)
        if row.output == DEAD_LETTER:
            return f"dead letter: {data['reason']}"
        span = f"[{shown(data['window_start'])}, {shown(data['window_end'])})"
        name = f"{data['window']} " if len(self._windows) > 1 else ""
        if row.output == LATE:
            return f"late for {name}{span}"
        revision = f", revision {data['revision']}" if data["revision"] else ""
        self._by_id[data["id"]] = span + revision
        return f"{name}{span}{self._group(data)}: {self._columns(data)}{revision}{self._marks(data)}"

    def _group(self, data: dict[str, Any]) -> str:
        values = [_text(data[name.name]) for name in self._windows[data["window"]].by]
        return f" {', '.join(values)}" if values else ""

    def _columns(self, data: dict[str, Any]) -> str:
        return ", ".join(f"{each.name} {_text(data[each.name])}" for each in self._windows[data["window"]].select)

    def _marks(self, data: dict[str, Any]) -> str:
        marks = [] if data["final"] else ["not final"]
        if "replaces" in data:
            marks.append("replaces " + " and ".join(self._by_id[each] for each in data["replaces"]))
        marks += ["early"] if data.get("early") else []
        marks += [f"part {data['part']}"] if "part" in data else []
        return "".join(f", {mark}" for mark in marks)


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)
