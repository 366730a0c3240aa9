"""The definitions of a pipeline: frozen, checked, typed. What the loader makes and everything else reads.

Units are in the names. Nothing here knows YAML; nothing here holds state.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Literal as OneOf


class Type(StrEnum):
    """The types of values. A timestamp is an integer: milliseconds since 1970-01-01T00:00:00Z."""

    STRING = "string"
    INT = "int"
    FLOAT = "float"
    BOOL = "bool"
    TIMESTAMP = "timestamp"


@dataclass(frozen=True, slots=True)
class Literal:
    """A constant. The null literal has type None until the parser gives it the type of its neighbours."""

    value: str | int | float | bool | None
    type: Type | None
    nullable: bool


@dataclass(frozen=True, slots=True)
class Name:
    """A reference to a field or to a `let`."""

    name: str
    type: Type
    nullable: bool


@dataclass(frozen=True, slots=True)
class Apply:
    """An operator or function applied to its arguments, type-checked.

    `operator` is one of
      neg + - * / % == != < <= > >= and or not is_null is_not_null
      if coalesce lower upper length substring starts_with contains matches abs round floor ceil
      to_int to_float to_string bucket
    Where an int meets a float (coalesce, the branches of if) the parser has put `to_float` around the int, so that
    every expression has one type; arithmetic and comparison take a mixture as it is. `nullable` is False only if
    the value can never be null (division and % are nullable unless the divisor is a literal other than 0; the text
    forms of to_int and to_float are nullable).
    The second argument of `matches` is always a string Literal, a pattern that RE2 has accepted.
    """

    operator: str
    arguments: tuple[Expression, ...]
    type: Type
    nullable: bool


Expression = Literal | Name | Apply


class TimeUnit(StrEnum):
    """What an integer timestamp of an event counts since 1970-01-01T00:00:00Z."""

    SECONDS = "s"
    MILLISECONDS = "ms"
    MICROSECONDS = "us"


@dataclass(frozen=True, slots=True)
class Field:
    """A declared field of the event.

    `path` leads to its value: in json and msgpack member names (str) and indexes into arrays (int, from 0), by default
    the field's own name; in csv one item, the column's number (int, from 0) or its name in the header line (str).
    """

    name: str
    type: Type
    nullable: bool
    path: tuple[str | int, ...]
    unit: TimeUnit = TimeUnit.MILLISECONDS


@dataclass(frozen=True, slots=True)
class Let:
    """A derived field. It may name fields and earlier lets."""

    name: str
    expression: Expression


@dataclass(frozen=True, slots=True)
class Source:
    """`start` is "trim_horizon", "latest" (the instant the application first starts) or epoch milliseconds."""

    stream: str
    partition_key: str | None
    start: OneOf["trim_horizon", "latest"] | int


@dataclass(frozen=True, slots=True)
class Events:
    """How records become events.

    `time` None means Kinesis' arrival time; `idle_after_ms` None means never; `max_future_ms` None means off.
    `max_bytes` bounds an event's bytes, after inflation. In csv, all paths are numbers or all are names.
    """

    format: OneOf["json", "msgpack", "csv"]
    compression: OneOf["none", "gzip", "zstd", "auto"]
    fields: tuple[Field, ...]
    time: str | None
    out_of_orderness_ms: int
    idle_after_ms: int | None
    max_future_ms: int | None
    max_bytes: int


@dataclass(frozen=True, slots=True)
class Tumbling:
    """Windows [offset + n*size, offset + (n+1)*size) for all integers n.

    With a `timezone` (an IANA name) these are wall-clock times there, so windows may be longer or shorter than
    `size_ms`; it is then at least an hour.
    """

    size_ms: int
    offset_ms: int
    timezone: str | None = None


@dataclass(frozen=True, slots=True)
class Sliding:
    """Windows [n*every, n*every + size) for all integers n; `every_ms` is at most `size_ms`, not always its divisor."""

    size_ms: int
    every_ms: int


@dataclass(frozen=True, slots=True)
class Session:
    """Events of a group belong together if the gap between neighbours is at most `gap_ms`.

    From the first to the last event of a session are at most `max_length_ms`.
    """

    gap_ms: int
    max_length_ms: int | None = None


@dataclass(frozen=True, slots=True)
class Stagger:
    """A window [t, t + size) opens with the first event of a group that lies in no open one, at its time t."""

    size_ms: int


Kind = Tumbling | Sliding | Session | Stagger


@dataclass(frozen=True, slots=True)
class Aggregate:
    """A column of the result.

    `function` and its `arguments` (expressions of an event) and `parameters` (constants, defaults filled in):
      count()                          events
      count(x) sum(x) min(x) max(x) avg(x) variance(x) stddev(x) first(x) last(x) approx_distinct(x)
      min_by(x, y) max_by(x, y)        x where y is least, greatest
      count_distinct(x)                parameters (limit: int, policy: "approximate" | "reject")
      quantile(x)                      parameters (q: float, 0 to 1)
      top(x)                           parameters (k: int)
      collect(x)                       parameters (n: int)
      rate()                           parameters (per_ms: int)
    `type` and `nullable` describe the result (sum of ints: int, of any size; avg, variance, stddev, quantile, rate:
    float; counts: int; the others: as x). Of `top` and `collect` they describe an element of the list: `top` gives
    objects with value, count and error, `collect` values.
    """

    name: str
    function: str
    arguments: tuple[Expression, ...]
    parameters: tuple[int | float | str, ...]
    type: Type
    nullable: bool


@dataclass(frozen=True, slots=True)
class Window:
    """`by` names fields or lets, in the order of the result's columns.

    `aligned`: `by` contains the stream's partition key, so one shard holds a whole group. Otherwise the window is
    global, if it has `buckets`: the shards' parts are combined, bucket by bucket, into one final row a group; or else
    partial: each shard emits its own part. `where` filters further, for this window only.
    `allowed_lateness_ms`: how long after its end by the watermark a window is kept. `emit` says whether it gives a
    row when it ends and one for every late event (updates), or only one, when the lateness has run out (final).
    """

    name: str
    kind: Kind
    by: tuple[Name, ...]
    select: tuple[Aggregate, ...]
    aligned: bool
    where: Expression | None = None
    allowed_lateness_ms: int = 0
    emit: OneOf["updates", "final"] = "updates"
    buckets: int | None = None

    @property
    def combined(self) -> bool:
        """Tell whether it is global."""
        return self.buckets is not None


@dataclass(frozen=True, slots=True)
class FirehoseSink:
    """A Firehose delivery stream, by name."""

    stream: str


@dataclass(frozen=True, slots=True)
class FileSink:
    """A file that rows are appended to, one a line."""

    path: str


@dataclass(frozen=True, slots=True)
class StdoutSink:
    """Standard output, one row a line."""


@dataclass(frozen=True, slots=True)
class SqsSink:
    """An SQS queue, by URL."""

    queue_url: str


@dataclass(frozen=True, slots=True)
class S3Sink:
    """Objects in an S3 bucket, whose keys begin with `prefix`."""

    bucket: str
    prefix: str


SinkTarget = FirehoseSink | FileSink | StdoutSink | SqsSink | S3Sink


@dataclass(frozen=True, slots=True)
class SinkRoute:
    """Where results go. `windows` None means all of them."""

    target: SinkTarget
    windows: tuple[str, ...] | None


Removal = OneOf["flush", "drop"]


@dataclass(frozen=True, slots=True)
class State:
    """Where state lives, how often it is committed, how long a result may wait.

    Items are in the DynamoDB table; what is too large for one is in the S3 bucket, or in the table too (None).
    `on_gap`: what a shard does whose input goes on behind records that were never counted: refuse to be processed, or
    continue with them lost. `removed_windows` names windows that are not in the file any more, each with what becomes
    of what is open of it: flush: it is emitted, as at the end of the input; drop: it is thrown away.
    """

    table: str
    bucket: str | None
    commit_interval_ms: int
    emit_delay_ms: int
    on_gap: OneOf["refuse", "continue"] = "refuse"
    removed_windows: tuple[tuple[str, Removal], ...] = ()

    def row_wait_ms(self, behind_ms: int) -> int:
        """Return how long a finished row of a shard that is so far behind may wait for its commit.

        What is late anyway may be a tenth later, up to `commit_interval`: a worker that catches up commits less often.
        """
        return max(self.emit_delay_ms, min(behind_ms // 10, self.commit_interval_ms))


@dataclass(frozen=True, slots=True)
class Limits:
    """How many groups a shard may have open, all windows together, and what happens to one more.

    reject: the record that would open it becomes a dead letter. emit_early: the group that ends first is emitted as
    it is, and dropped.
    """

    groups: int
    policy: OneOf["reject", "emit_early"]


@dataclass(frozen=True, slots=True)
class Worker:
    """`identifier` None means: POD_NAME, then the host name. `kcl` holds extra properties of the daemon.

    `on_stop`: whether a worker that is told to stop keeps its leases, to have them at once when it comes back, or gives
    them to the others.
    """

    application: str
    identifier: str | None
    metrics_port: int
    on_stop: OneOf["keep", "release"]
    kcl: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Pipeline:
    """One pipeline file."""

    name: str
    source: Source
    events: Events
    lets: tuple[Let, ...]
    where: Expression | None
    windows: tuple[Window, ...]
    sinks: tuple[SinkRoute, ...]
    late: SinkTarget | None
    dead_letter: SinkTarget | None
    state: State
    limits: Limits
    worker: Worker
