"""Stories: what goes into a pipeline, line by line, and what must come out of it at once.

    3 a n=2                 an event of user a at 3 ms, with values of other fields (JSON, no blanks)
    again                   the record before is delivered again
    idle 40                 the shard has nothing left, by a clock that shows 40
    end                     the end of the input: all windows close
        -> w [0,10) a n=1   what arises from the line before: results, then late events, then dead letters

A story may have several shards: then it says which one takes a line.

    shard left 0-7          a shard of the hash keys whose hexadecimal digits begin with 0 to 7
    left 3 a                what follows its name happens in the shard
    shard all 0-f of left right     from here on its parents, `left` and `right`, have ended

A result is told as window, start and end in milliseconds since 1970 (or as a time of day with its date, where
that is no small number), the group, the columns; then whatever is not as in a plain final row: `revision=1`,
`more` (it is not final), `replaces=[0,5)#0` (windows and revisions of the rows), `early`, `part=0`, `of=left` (it is
a part of another shard than the one that gives it).
"""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import msgspec

from consumer.core.compile import compile_pipeline
from consumer.core.processor import Processor
from consumer.pipeline.definitions import window_hash
from consumer.pipeline.load import load_text
from consumer.pipeline.model import Pipeline
from consumer.records import DEAD_LETTER, LATE, HashRange, Record, Row
from consumer.testing.reference import Expected, Idle, ReferenceShard, reference, reference_lineage

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
    """The generated core. Shards pass through what is stored of them when they end."""

    def __init__(self, definition: Pipeline) -> None:
        self._program = compile_pipeline(definition)
        self._processors = {SHARD: Processor(self._program, SHARD, 0)}
        self._ranges: dict[str, HashRange | None] = {SHARD: None}

    def begin(self, shard: str, hash_range: HashRange, parents: Sequence[str]) -> None:
        ended = [self.restored(parent) for parent in parents]
        self._ranges[shard] = hash_range
        self._processors[shard] = (
            Processor.inherit(self._program, shard, 0, hash_range=hash_range, parents=ended)
            if ended
            else Processor(self._program, shard, 0, hash_range=hash_range)
        )

    def restored(self, shard: str) -> Processor:
        """Return a processor made of what would be stored of a shard."""
        entry = self._processors[shard].freeze((), base=True)
        return Processor.restore(self._program, shard, 0, [entry], hash_range=self._ranges[shard])[0]

    def take(self, shard: str, item: Record | Idle) -> list[Row]:
        processor = self._processors[shard]
        if isinstance(item, Idle):
            return processor.idle(item.now_ms).rows
        return processor.apply([item]).rows

    def close_all(self, shard: str) -> list[Row]:
        return self._processors[shard].close_all().rows


class RestoredCore(Core):
    """The generated core, restored before every line."""

    def take(self, shard: str, item: Record | Idle) -> list[Row]:
        self._processors[shard] = self.restored(shard)
        return super().take(shard, item)

    def close_all(self, shard: str) -> list[Row]:
        self._processors[shard] = self.restored(shard)
        return super().close_all(shard)


@dataclass
class _Shard:
    """What the plain interpreter is told of a shard, and what came of it before; a lonely one has no range."""

    id: str
    hash_range: HashRange | None
    parents: tuple[str, ...]
    inputs: list[Record | Idle] = field(default_factory=list)
    before: Expected = field(default_factory=lambda: Expected(""))


class Reference:
    """The plain interpreter: asked anew from the beginning, at every line."""

    def __init__(self, definition: Pipeline) -> None:
        self._pipeline = definition
        self._shards = {SHARD: _Shard(SHARD, None, ())}

    def begin(self, shard: str, hash_range: HashRange, parents: Sequence[str]) -> None:
        self._shards[shard] = _Shard(shard, hash_range, tuple(parents))

    def take(self, shard: str, item: Record | Idle) -> list[Row]:
        self._shards[shard].inputs.append(item)
        return self._new(self._shards[shard], close_all=False)

    def close_all(self, shard: str) -> list[Row]:
        return self._new(self._shards[shard], close_all=True)

    def _new(self, shard: _Shard, *, close_all: bool) -> list[Row]:
        now = self._expected(shard, close_all=close_all)
        before, shard.before = shard.before, now
        dead = [
            Row(DEAD_LETTER, msgspec.json.encode({"reason": letter.reason}))
            for letter in now.dead_letters[len(before.dead_letters) :]
        ]
        return [*now.rows[len(before.rows) :], *now.late[len(before.late) :], *dead]

    def _expected(self, shard: _Shard, *, close_all: bool) -> Expected:
        if shard.hash_range is None:
            return reference(self._pipeline, SHARD, 0, shard.inputs, window_hash, close_all=close_all)
        shards = [
            ReferenceShard(each.id, each.hash_range, each.parents, each.inputs)
            for each in self._shards.values()
            if each.hash_range is not None
        ]
        return reference_lineage(self._pipeline, 0, shards, window_hash, close_all=close_all)[shard.id]


IMPLEMENTATIONS: dict[str, type[Reference | Core]] = {
    "reference": Reference,
    "core": Core,
    "restored core": RestoredCore,
}


def tell(implementation: type[Reference | Core], definition: Pipeline, story: str) -> None:
    """Tell a story and hold what comes out against it."""
    told = implementation(definition)
    lines = [" ".join(line.split()) for line in story.splitlines() if line.strip()]
    inputs = [line for line in lines if not line.startswith(_ARROW)]
    teller = _Teller(definition)
    actual: list[str] = []
    record, shards = Record(b""), []
    for number, line in enumerate(inputs, 1):
        actual.append(line)
        if line.startswith("shard "):
            shards.append(_begin(told, line))
            continue
        shard, what = _of_shard(line, shards)
        if what == "end":
            rows = told.close_all(shard)
        elif what.startswith("idle "):
            rows = told.take(shard, Idle(_milliseconds(what.removeprefix("idle "))))
        else:
            record = record if what == "again" else story_record(number, what)
            rows = told.take(shard, record)
        actual += [f"{_ARROW} {row}" for row in teller.rows(rows, shard)]
    assert actual == lines, "\n".join(difflib.ndiff(lines, actual))


def _begin(told: Reference | Core, line: str) -> str:
    """Let a shard begin, and return its name."""
    _, name, digits, *parents = line.replace(" of ", " ").split(" ")
    first, last = digits.split("-")
    told.begin(name, HashRange(int(first.ljust(32, "0"), 16), int(last.ljust(32, "f"), 16)), parents)
    return name


def _of_shard(line: str, shards: list[str]) -> tuple[str, str]:
    """Return which shard a line is about, and what happens in it."""
    name, _, what = line.partition(" ")
    return (name, what) if name in shards else (SHARD, line)


def story_record(number: int, line: str) -> Record:
    """Return the record that a line of a story tells of; its sequence number is the line's."""
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

    def rows(self, rows: list[Row], shard: str) -> list[str]:
        """Return what rows of a shard say: results, then late events, then dead letters."""
        parsed = [(row.output, json.loads(row.data)) for row in rows]
        late = [self._late(row) for output, row in parsed if output == LATE]
        dead = [f"dead {row['reason']}" for output, row in parsed if output == DEAD_LETTER]
        results = [self._result(row, shard) for output, row in parsed if output not in {LATE, DEAD_LETTER}]
        return results + late + dead

    def _late(self, row: dict[str, Any]) -> str:
        return f"late {row['window']} {_span(row)} watermark={_time(row['watermark'])}"

    def _result(self, row: dict[str, Any], shard: str) -> str:
        assert row["id"] not in self._by_id, "two rows have one id"
        self._by_id[row["id"]] = f"{_span(row)}#{row['revision']}"
        origin = row.get("shard", shard)
        return " ".join(
            [row["window"], _span(row), *self._members(row), *([] if origin == shard else [f"of={origin}"])]
        )

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
