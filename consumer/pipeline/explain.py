"""A pipeline in plain words, for somebody who has never seen one."""

from __future__ import annotations

import datetime as dt
import textwrap
from collections.abc import Iterable

from consumer.pipeline.durations import duration_in_words
from consumer.pipeline.expressions import aggregate_to_text, to_text
from consumer.pipeline.model import (
    Aggregate,
    Events,
    FileSink,
    FirehoseSink,
    Pipeline,
    Session,
    SinkTarget,
    Type,
    Window,
)

_WIDTH = 100
_EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)

# Estimates, a fifth to a third above what tracemalloc measured on CPython 3.11 with 50,000 groups of short texts.
_GROUP_BYTES = 90
"""A group's own share of the state: its entry, its place in the order of closing."""
_SESSION_BYTES = 100
"""What a session has more than a window: its own start and end."""
_KEY_BYTES = {Type.STRING: 60}
_KEY_BYTES_OTHER = 32
_AGGREGATE_BYTES = {"count": 32, "sum": 32, "avg": 64, "min": 32, "max": 32, "first": 64, "last": 64}
_TEXT_BYTES = 50
"""What a text adds where min, max, first or last keeps one."""


def explain(pipeline: Pipeline) -> str:
    """Return what the pipeline does, as text of several paragraphs that ends with a line end."""
    sections = (
        ("Input", _input(pipeline)),
        ("Time", _time(pipeline.events)),
        ("Derived values", _lets(pipeline)),
        ("Filter", _filter(pipeline)),
        *((f"Window {window.name}", _window(pipeline, window)) for window in pipeline.windows),
        ("Output", _output(pipeline)),
        ("State", _state(pipeline)),
        ("Worker", _worker(pipeline)),
    )
    text = [f"Pipeline {pipeline.name}"]
    for title, lines in sections:
        text += ["", title, *(line for paragraph in lines for line in _wrap(paragraph))]
    return "\n".join(text) + "\n"


def memory_per_group(window: Window) -> int:
    """Return an estimate, in tens, of the bytes of memory that one open group (or session) of a window takes."""
    key = sum(_KEY_BYTES.get(column.type, _KEY_BYTES_OTHER) for column in window.by)
    own = _GROUP_BYTES + (_SESSION_BYTES if isinstance(window.kind, Session) else 0)
    return round(own + key + sum(_aggregate_bytes(aggregate) for aggregate in window.select), -1)


def _aggregate_bytes(aggregate: Aggregate) -> int:
    keeps_text = aggregate.type is Type.STRING
    return _AGGREGATE_BYTES[aggregate.function] + (_TEXT_BYTES if keeps_text else 0)


def _wrap(paragraph: str) -> list[str]:
    """Indent and wrap a paragraph; one that begins with a blank is a line of a table and stays as it is."""
    if paragraph.startswith(" "):
        return ["  " + paragraph]
    return textwrap.wrap(
        paragraph, _WIDTH, initial_indent="  ", subsequent_indent="  ", break_long_words=False, break_on_hyphens=False
    )


def _table(rows: Iterable[tuple[str, ...]]) -> list[str]:
    """Return lines with the columns one under the other."""
    cells = list(rows)
    widths = [max(len(row[column]) for row in cells) for column in range(len(cells[0]))] if cells else []
    return [
        "  " + "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in cells
    ]


def _input(pipeline: Pipeline) -> list[str]:
    source, events = pipeline.source, pipeline.events
    key = (
        f"Producers partition by {source.partition_key}, so all events of one {source.partition_key} are in one shard."
        if source.partition_key
        else "Nothing is known about the partition keys of its records."
    )
    return [
        f"Reads the Kinesis stream {source.stream}, {_start(source.start)}. {key}",
        f"Each record is one JSON object of at most {_bytes_in_words(events.max_bytes)}, with these members:",
        *_table((field.name, _type_in_words(field.type, nullable=field.nullable)) for field in events.fields),
        "A record that is something else becomes a dead letter. Other members are ignored.",
    ]


def _start(start: str | int) -> str:
    if start == "trim_horizon":
        return "from the oldest record it holds"
    if start == "latest":
        return "from the instant at which the application first starts"
    assert isinstance(start, int)
    instant = _EPOCH + dt.timedelta(milliseconds=start)
    return f"from {instant.isoformat(timespec='milliseconds').replace('+00:00', 'Z')}"


def _time(events: Events) -> list[str]:
    if events.time is None:
        clock = "The time of an event is its arrival in Kinesis."
    else:
        clock = f"The time of an event is its {events.time}, not its arrival."
    bound = (
        f"the highest event time seen there minus {duration_in_words(events.out_of_orderness_ms)}"
        if events.out_of_orderness_ms
        else "the highest event time seen there"
    )
    lines = [f"{clock} The watermark of a shard is {bound}. Windows close by it: only events move it, no clock does."]
    if events.max_future_ms is None:
        lines.append("An event from the future, however far, moves it too: events.max_future is off.")
    else:
        ahead = (
            f"more than {duration_in_words(events.max_future_ms)} ahead of" if events.max_future_ms else "later than"
        )
        lines.append(f"An event whose time is {ahead} its arrival is a dead letter, and moves nothing.")
    return lines


def _lets(pipeline: Pipeline) -> list[str]:
    rows = []
    for let in pipeline.lets:
        assert let.expression.type is not None
        kind = _type_in_words(let.expression.type, nullable=let.expression.nullable)
        rows.append((let.name, "=", to_text(let.expression), kind))
    return _table(rows) or ["None."]


def _filter(pipeline: Pipeline) -> list[str]:
    if pipeline.where is None:
        return ["None: every event counts."]
    return [
        f"Only events count for which this is true: {to_text(pipeline.where)}",
        "The others are counted as filtered; they move the watermark all the same.",
    ]


def _window(pipeline: Pipeline, window: Window) -> list[str]:
    return [
        f"{_shape(window)} {_groups(window)}",
        *_table(
            (column.name, aggregate_to_text(column), _type_in_words(column.type, nullable=column.nullable))
            for column in window.select
        ),
        _alignment(pipeline, window),
        _closing(pipeline.events, window),
        f"Memory: about {memory_per_group(window)} bytes {_held(window)}; texts longer than 30 characters take more.",
    ]


def _shape(window: Window) -> str:
    kind = window.kind
    if isinstance(kind, Session):
        return (
            f"Sessions: events at most {duration_in_words(kind.gap_ms)} apart belong together. A session lasts from "
            f"its first event to {duration_in_words(kind.gap_ms)} after its last."
        )
    shifted = f", shifted by {duration_in_words(kind.offset_ms)}" if kind.offset_ms else ""
    return f"Tumbling windows of {duration_in_words(kind.size_ms)}, side by side in UTC{shifted}."


def _groups(window: Window) -> str:
    each = "session" if isinstance(window.kind, Session) else "window"
    parts = [*(column.name for column in window.by), *(() if window.aligned else ("shard",))]
    *others, last = [each, *parts]
    row = f"One row for each {', '.join(others)} and {last}" if others else f"One row for each {last}"
    return f"{row}:" if window.by else f"{row}, over all events:"


def _held(window: Window) -> str:
    if isinstance(window.kind, Session):
        return "for each open session"
    return f"for each open window{' and group' if window.by else ''}"


def _alignment(pipeline: Pipeline, window: Window) -> str:
    key = pipeline.source.partition_key
    if window.aligned:
        return (
            f"Aligned: rows are by {key}, the partition key, so one shard sees all events of a group and each row is "
            "exact and final."
        )
    why = (
        f"rows are not by {key}, the partition key, so events of one group lie in several shards"
        if key
        else "source.partition_key is not given, so events of one group may lie in several shards"
    )
    return (
        f"Partial: {why}. Each shard gives a row of its own, marked `partial: true` with the name of the shard; "
        "add them up where they are read."
    )


def _closing(events: Events, window: Window) -> str:
    what = "session" if isinstance(window.kind, Session) else "window"
    bound_ms = events.out_of_orderness_ms
    # The rule is `window_end - 1 <= watermark`, in milliseconds.
    past = (
        f"at least {duration_in_words(bound_ms)} past its end (to be exact, 1 millisecond less)"
        if bound_ms
        else "at its end or past it (to be exact, in its last millisecond)"
    )
    return f"A {what} closes when an event of its shard is {past}. What comes for it after that is late."


def _output(pipeline: Pipeline) -> list[str]:
    rows = [
        (_target(route.target), "takes", "all windows" if route.windows is None else ", ".join(route.windows))
        for route in pipeline.sinks
    ]
    return [
        *_table(rows),
        _side("Late events", pipeline.late, "late"),
        _side("Dead letters", pipeline.dead_letter, "dead_letter"),
    ]


def _side(what: str, target: SinkTarget | None, key: str) -> str:
    if target is None:
        return f"{what} are only counted: the file names no sink for them (`{key}`)."
    return f"{what} are counted, and go to {_target(target)}."


def _target(target: SinkTarget) -> str:
    if isinstance(target, FirehoseSink):
        return f"the Firehose stream {target.stream}"
    return f"the file {target.path}" if isinstance(target, FileSink) else "standard output"


def _state(pipeline: Pipeline) -> list[str]:
    state = pipeline.state
    wait = f"at most {duration_in_words(state.emit_delay_ms)}" if state.emit_delay_ms else "no time at all"
    place = f"Kept in the DynamoDB table {state.table}, and what is too large for it in the S3 bucket {state.bucket}."
    pace = f"Committed every {duration_in_words(state.commit_interval_ms)}."
    return [place, f"{pace} A row is sent when it is committed: it waits {wait} for that."]


def _worker(pipeline: Pipeline) -> list[str]:
    worker = pipeline.worker
    port = f"on port {worker.metrics_port}" if worker.metrics_port else "on any free port"
    name = worker.identifier or "POD_NAME, or else the name of the host"
    leases = f"Leases of shards are in the DynamoDB table {worker.application}. The worker's name is {name}."
    lines = [f"{leases} Metrics and health are {port}."]
    if worker.kcl:
        lines += ["Extra properties of the daemon:", *_table((key, value) for key, value in worker.kcl)]
    return lines


def _type_in_words(type_: Type, *, nullable: bool) -> str:
    return f"{type_} or null" if nullable else str(type_)


def _bytes_in_words(count: int) -> str:
    for unit, size in (("MiB", 1024 * 1024), ("KiB", 1024)):
        if count % size == 0:
            return f"{count // size} {unit}"
    return f"{count} bytes"
