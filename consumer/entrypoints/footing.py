"""What a worker and a Lambda function stand on: the state store, the stream, and the application item they agree on."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol, TypeVar

import boto3
import msgspec

from consumer.core.compile import Program, compile_pipeline
from consumer.entrypoints.beginning import begin, start_seconds
from consumer.errors import UnknownShardError
from consumer.pipeline.differences import window_changes
from consumer.pipeline.model import Pipeline
from consumer.records import HashRange, Position
from consumer.runtime import clock
from consumer.runtime.adoption import adopt, former_windows
from consumer.runtime.misrouting import MisroutingWatch
from consumer.runtime.retry import StoppedError
from consumer.runtime.surroundings import Retention, ShardOrigin, check_runs_in, check_stream
from consumer.sinks.base import Router
from consumer.sinks.build import Clients, build_router
from consumer.sources import kinesis
from consumer.sources.kinesis import KinesisClient, ShardInfo, StreamInfo
from consumer.sources.reading import Behind, RecordsClient, first_behind, looking_ahead
from consumer.state import dynamodb, s3
from consumer.state.base import Application, RunsIn, StateStore
from consumer.telemetry.events import StartStep, Telemetry

T = TypeVar("T")


class Starting(Protocol):
    """Makes a call to AWS that a start needs, again and again if need be; SetupError if it does not come about."""

    def __call__(self, step: StartStep, call: Callable[[], T], /) -> T:
        """Return what the call returns."""


@dataclass(frozen=True, slots=True)
class Footing:
    """What was found, and agreed on. The program's windows are those of the application item."""

    program: Program
    application: Application
    store: StateStore
    stream: KinesisClient
    info: StreamInfo

    def router(self, session: boto3.Session) -> Router:
        """Return the sinks of these windows, and of those that earlier definitions had."""
        former = former_windows(self.application)
        return build_router(self.program.pipeline, Clients.of(session), sys.stdout.buffer, former=former)

    def shards(self) -> tuple[ShardInfo, ...]:
        """Return the stream's shards, as they are now."""
        return kinesis.list_shards(self.stream, self.program.pipeline.source.stream)

    def retention(self, pause: Callable[[float], bool]) -> Retention:
        """Return how long the stream keeps records, and a look at what it holds of a shard behind a position.

        Of all shards but the roots everything counts. `pause(seconds)` waits between two reads; StoppedError if it
        returns True.
        """
        client: RecordsClient = self.stream  # type: ignore[assignment]  # boto3's client has all operations
        pipeline, roots = self.program.pipeline, self.application.roots
        start = start_seconds(pipeline, self.application.started_at_ms)

        def wait(seconds: float) -> None:
            if pause(seconds):
                raise StoppedError("no time is left to look what the stream holds")

        def behind(shard: str, position: Position | None, hash_range: HashRange) -> Behind:
            begins = start if shard in roots else None
            reader = looking_ahead(client, pipeline.source.stream, shard, hash_range, position, begins)
            return first_behind(reader, position, wait)

        return Retention(self.info.retention_hours * 3_600_000, behind)

    def misrouting_watch(
        self, telemetry: Telemetry, in_background: Callable[[Callable[[], None]], None]
    ) -> MisroutingWatch:
        """Return what asks the stream why records are misrouted."""
        stream = self.program.pipeline.source.stream
        return MisroutingWatch(
            lambda: kinesis.describe(self.stream, stream).ignores_partition_keys,
            telemetry=telemetry,
            monotonic=clock.monotonic,
            in_background=in_background,
        )


def find_footing(
    program: Program, session: boto3.Session, starting: Starting, telemetry: Telemetry, *, runs_in: RunsIn
) -> Footing:
    """Look at everything, in AWS; errors as in `agree`, and SetupError as `starting` raises it."""
    stream = kinesis.make_client(session)
    return agree(program, _store(program.pipeline, session, starting), stream, starting, telemetry, runs_in=runs_in)


def agree(
    program: Program,
    store: StateStore,
    stream: KinesisClient,
    starting: Starting,
    telemetry: Telemetry,
    *,
    runs_in: RunsIn,
) -> Footing:
    """Write the application item where it is missing or windows were added or removed; RefusedError if it differs."""
    pipeline = program.pipeline
    info = starting("describe_stream", lambda: kinesis.describe(stream, pipeline.source.stream))
    telemetry.stream_seen(retention_seconds=3600.0 * info.retention_hours)
    if info.ignores_partition_keys and any(window.aligned for window in pipeline.windows):
        telemetry.stream_ignores_keys(stream=info.name)
    stored = starting("read_application", store.read_application)
    if stored is None:
        begun = starting("list_shards", lambda: begin(pipeline, stream, info, generation=0, now_ms=clock.now_ms()))
        first = msgspec.structs.replace(begun, runs_in=runs_in)
        stored = starting("create_application", lambda: store.create_application(first))
    check_stream(stored, info.created_ms, pipeline.name)
    check_runs_in(stored, runs_in, pipeline.name)
    application = starting("adopt", lambda: adopt(stored, pipeline, store.adopt))
    if application.incarnations:
        program = compile_pipeline(pipeline, incarnations=dict(application.incarnations))
    if application.adoptions > stored.adoptions:
        _tell_adoption(stored, application, telemetry)
    return Footing(program, application, store, stream, info)


def _store(pipeline: Pipeline, session: boto3.Session, starting: Starting) -> StateStore:
    state, bucket = pipeline.state, pipeline.state.bucket
    database, objects = dynamodb.make_client(session), s3.make_client(session)
    starting("check_table", lambda: dynamodb.check_table(database, state.table))
    if bucket is not None:
        starting("check_bucket", lambda: s3.check_bucket(objects, bucket))
    return dynamodb.DynamoStore(database, objects, table=state.table, bucket=bucket, pipeline=pipeline.name)


def _tell_adoption(stored: Application, application: Application, telemetry: Telemetry) -> None:
    changes = window_changes(stored.meaning, application.meaning)
    assert changes is not None, "nothing else is adopted"
    removed = {each.name: each.removal for each in application.removed if each not in stored.removed}
    telemetry.definitions_adopted(adoption=application.adoptions, added=changes.added, removed=removed)


class Shards:
    """The stream's shards, asked for again when a shard turns up, or its children are asked for, that is not known.

    What is known of a shard never changes. Shards are served by threads; the dict is replaced whole.
    """

    def __init__(self, client: KinesisClient, stream: str) -> None:
        self._client = client
        self._stream = stream
        self._origins: dict[str, ShardOrigin] = {}

    def origin(self, shard: str) -> ShardOrigin:
        """Return a shard's hash range and parents."""
        if shard not in self._origins:
            self.list()
        if shard not in self._origins:
            raise UnknownShardError(f"stream {self._stream} has no shard {shard}: was it deleted and created again?")
        return self._origins[shard]

    def children(self, parent: str) -> Mapping[str, HashRange]:
        """Return the shards that a shard was split or merged into."""
        if not self._children(parent):
            self.list()
        return self._children(parent)

    def _children(self, parent: str) -> Mapping[str, HashRange]:
        return {shard: origin.hash_range for shard, origin in self._origins.items() if parent in origin.parents}

    def list(self) -> Mapping[str, ShardOrigin]:
        """Return the shards that the stream has now."""
        listed = {}
        for info in kinesis.list_shards(self._client, self._stream):
            listed[info.id] = ShardOrigin(HashRange(*map(int, info.hash_range)), info.parents)
        self._origins = self._origins | listed
        return listed
