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


@dataclass(frozen=True, slots=True)
class Field:
    """A declared member of the event."""

    name: str
    type: Type
    nullable: bool


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
    """How records become events. `time` None means Kinesis' arrival time; `max_future_ms` None means off."""

    fields: tuple[Field, ...]
    time: str | None
    out_of_orderness_ms: int
    max_future_ms: int | None
    max_bytes: int


@dataclass(frozen=True, slots=True)
class Tumbling:
    """Windows [offset + n*size, offset + (n+1)*size) for all integers n."""

    size_ms: int
    offset_ms: int


@dataclass(frozen=True, slots=True)
class Session:
    """Events of a group belong together if the gap between neighbours is at most `gap_ms`."""

    gap_ms: int


@dataclass(frozen=True, slots=True)
class Aggregate:
    """A column of the result. `function` is count, sum, min, max, avg, first or last; count may lack an argument.

    `type` and `nullable` describe the result (sum of ints: int, of any size; avg: float).
    """

    name: str
    function: str
    argument: Expression | None
    type: Type
    nullable: bool


@dataclass(frozen=True, slots=True)
class Window:
    """`by` names fields or lets, in the order of the result's columns.

    `aligned`: `by` contains the stream's partition key, so one shard holds a whole group. Otherwise the window is
    partial: each shard emits its own part.
    """

    name: str
    kind: Tumbling | Session
    by: tuple[Name, ...]
    select: tuple[Aggregate, ...]
    aligned: bool


@dataclass(frozen=True, slots=True)
class FirehoseSink:
    """A Firehose delivery stream, by name."""

    """A Firehose delivery stream, by name."""

    stream: str


@dataclass(frozen=True, slots=True)
class FileSink:
    """A file that rows are appended to."""

    """A file of one row a line."""

    path: str


@dataclass(frozen=True, slots=True)
class StdoutSink:
    """Standard output."""

    """Standard output, one row a line."""


SinkTarget = FirehoseSink | FileSink | StdoutSink


@dataclass(frozen=True, slots=True)
class SinkRoute:
    """Where results go. `windows` None means all of them."""

    target: SinkTarget
    windows: tuple[str, ...] | None


@dataclass(frozen=True, slots=True)
class State:
    """Where state lives, how often it is committed, and how long a result may wait for that."""

    """Where state is kept, and how often it is committed: a DynamoDB table and an S3 bucket."""

    table: str
    bucket: str
    commit_interval_ms: int
    emit_delay_ms: int


@dataclass(frozen=True, slots=True)
class Worker:
    """`identifier` None means: POD_NAME, then the host name. `kcl` holds extra properties of the daemon."""

    application: str
    identifier: str | None
    metrics_port: int
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
    worker: Worker
