"""Random records and idle decisions for random pipelines: few users, near times, some broken, some misrouted."""

from __future__ import annotations

import csv
import gzip
import io
import json
import sys
from collections.abc import Callable
from datetime import UTC, datetime, timedelta, timezone
from random import Random
from typing import Any

import msgspec

from consumer.core.times import format_time
from consumer.pipeline.model import Events, Field, Pipeline, TimeUnit, Type
from consumer.records import Record
from consumer.testing.reference import Idle
from tests.random_pipelines import FIELDS, TIMESTAMP, VALUES, step_ms, zone_of

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

Item = Record | Idle

START_MS = 1_000_000
_STEPS = (0, 0, 1, 3, 12, -4, 25, 70, -60)
_PLAIN = Events("json", "none", FIELDS, None, 0, None, None, 1 << 20)
_BROKEN = [b"", b"{", b"[1]", b'{"user":1}', b'{"user":"a","at":"x","i":1,"f":1}', b"\xff", b'{"user":"a"}', b"NaN"]
_CHANGES = {
    "Europe/Berlin": datetime(2026, 3, 29, 1, tzinfo=UTC),
    "Australia/Lord_Howe": datetime(2026, 4, 4, 15, tzinfo=UTC),
    "America/Havana": datetime(2020, 11, 1, 5, tzinfo=UTC),
    "Asia/Kathmandu": datetime(1985, 12, 31, 18, 30, tzinfo=UTC),
    "Pacific/Apia": datetime(2011, 12, 30, 10, tzinfo=UTC),
}
"""When clocks changed: streams of zoned pipelines begin a day before."""


def records(random: Random, count: int) -> list[Record]:
    """Return one shard's records in order, in plain JSON."""
    return [item for item in Stream(random, _PLAIN, START_MS, 1).items(count) if isinstance(item, Record)]


def inputs(random: Random, pipeline: Pipeline, count: int) -> list[Item]:
    """Return what comes in of one shard, in the pipeline's own format: records, and here and there an idle decision.

    Some streams are raw lines: their records have a number and nothing else.
    """
    items = Stream(random, pipeline.events, start_ms(random, pipeline), step_ms(pipeline)).items(count)
    if pipeline.events.time is not None and random.random() < 0.1:
        lines = [item for item in items if isinstance(item, Record)]
        return [Record(line.data, sub_sequence_number=number) for number, line in enumerate(lines, 1)]
    return items


def start_ms(random: Random, pipeline: Pipeline) -> int:
    """Return when a stream for a pipeline begins."""
    zone = zone_of(pipeline)
    if zone is None:
        return START_MS
    before = _CHANGES[zone] - timedelta(days=1)
    return round(before.timestamp() * 1000) + random.choice([0, 123])


def is_raw(items: list[Item]) -> bool:
    """Tell whether a stream is raw lines."""
    return any(isinstance(item, Record) and item.sequence_number is None for item in items)


class Stream:
    """Makes records of a format. `step` is how many milliseconds one step of time is; `cuts`: some are cut off.

    What is cut off may still be read, with another time.
    """

    def __init__(self, random: Random, events: Events, start_ms: int, step: int, *, cuts: bool = True) -> None:
        self._random = random
        self._events = events
        self._start_ms = start_ms
        self._step_ms = step
        self._cuts = cuts

    def items(self, count: int) -> list[Item]:
        """Return one shard's records and idle decisions."""
        random, time_ms = self._random, self._start_ms
        made: list[Item] = []
        for number in range(count):
            time_ms = self.after(time_ms)
            if random.random() < 0.03 and self._events is not _PLAIN:
                made.append(self.idle(time_ms))
            data, key = self.event(time_ms)
            arrival_ms = self._start_ms + 30 * (number // 4) * self._step_ms
            made.append(Record(data, key, str(10**55 + number // 2), number % 2, arrival_ms))
        return made

    def after(self, time_ms: int) -> int:
        """Return the time of the next event."""
        return time_ms + self._random.choice(_STEPS) * self._step_ms

    def idle(self, time_ms: int) -> Idle:
        """Return an idle decision near the time of an event."""
        return Idle(time_ms + self._random.choice([-50, 0, 20, 200]) * self._step_ms)

    def event(self, time_ms: int, **values: Any) -> tuple[bytes, str]:
        """Return a record's bytes and its partition key: `user`, or what `values` have; some records are bad."""
        random = self._random
        if random.random() < 0.05:
            return random.choice(_BROKEN), "a"
        event: dict[str, Any] = {"user": random.choice("abc"), "at": time_ms} | values
        makers: dict[Type, Callable[[], Any]] = {TIMESTAMP: lambda: random.choice([time_ms, 0])}
        for field in self._events.fields:
            if field.name in event or (field.nullable and random.random() < 0.3):
                continue
            event[field.name] = makers.get(field.type, lambda of=field.type: random.choice(VALUES[of]))()
        data = self._compressed(self._encoded(event))
        key = str(next(iter(values.values()), event["user"]))
        return self._damaged(data), key if random.random() < 0.95 else "elsewhere"

    def _damaged(self, data: bytes) -> bytes:
        cut = self._cuts and self._random.random() < 0.02
        return data[: self._random.randrange(len(data))] if cut else data

    # -- the bytes of an event

    def _encoded(self, event: dict[str, Any]) -> bytes:
        if self._events is _PLAIN:
            return json.dumps(event, ensure_ascii=self._random.random() < 0.5).encode()
        if self._events.format == "csv":
            return self._csv(event)
        document: dict[str, Any] = {}
        for field in self._events.fields:
            if field.name in event:
                _put(document, field.path, self._value(field, event[field.name]))
        if self._events.format == "msgpack":
            return msgspec.msgpack.encode(document)
        return json.dumps(document, ensure_ascii=self._random.random() < 0.5).encode()

    def _value(self, field: Field, value: Any) -> Any:
        """Return a value as a document of the format has it: times in many ways."""
        if field.type is not TIMESTAMP:
            return value
        way = self._random.random()
        if way < 0.6:
            return self._in_unit(field, value)
        moment = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=value)
        if way < 0.7 and self._events.format == "msgpack":
            return moment
        if way < 0.85:
            return format_time(value)
        return moment.astimezone(timezone(timedelta(hours=5, minutes=45))).isoformat()

    def _in_unit(self, field: Field, time_ms: int) -> int:
        if field.unit is TimeUnit.SECONDS:
            return time_ms // 1000
        if field.unit is TimeUnit.MICROSECONDS:
            return time_ms * 1000 + self._random.choice([0, 1, 999])
        return time_ms

    def _csv(self, event: dict[str, Any]) -> bytes:
        fields = self._events.fields
        texts = {field.path[0]: _text(self._value(field, event[field.name])) for field in fields if field.name in event}
        out = io.StringIO()
        writer = csv.writer(out, quoting=self._random.choice([csv.QUOTE_MINIMAL, csv.QUOTE_ALL]))
        by_name = isinstance(fields[0].path[0], str)
        columns: list[str | int] = [field.path[0] for field in fields]
        if by_name:
            self._random.shuffle(columns)
            writer.writerow([*columns, "more"])
        else:
            columns = list(range(max(column for column in columns if isinstance(column, int)) + 1))
        writer.writerow([texts.get(column, "") for column in columns])
        return out.getvalue().encode()

    def _compressed(self, data: bytes) -> bytes:
        compression: str = self._events.compression
        if compression == "auto":
            compression = self._random.choice(["none", "gzip", "zstd"])
        if compression == "gzip":
            return gzip.compress(data, mtime=0)
        return zstd.compress(data) if compression == "zstd" else data


def _put(document: dict[str, Any], path: tuple[str | int, ...], value: Any) -> None:
    """Put a value where its path leads, making what is missing on the way."""
    place: Any = document
    for step, after in zip(path, (*path[1:], None), strict=True):
        empty = value if after is None else {} if isinstance(after, str) else []
        if isinstance(step, int):
            place.extend([None] * (step + 1 - len(place)))
            place[step] = empty if place[step] is None or after is None else place[step]
        elif after is None:
            place[step] = value
        else:
            place.setdefault(step, empty)
        place = place[step]


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "False"
    return value if isinstance(value, str) else repr(value)
