"""The function's entry point in AWS Lambda: `consumer.entrypoints.lambda_handler.handler`.

An event of the mapping is a batch; an event of a schedule is a tick. The pipeline file is STREAMGAUGE_PIPELINE, or
`pipeline.yaml` beside the code. What is made here is kept from one invocation to the next, as long as the container is.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import Any, Protocol, TypeVar

from consumer import __version__
from consumer.core.compile import compile_pipeline
from consumer.entrypoints.aws_session import open_session
from consumer.entrypoints.footing import Footing, Shards, find_footing
from consumer.environment import environment
from consumer.errors import ApplicationRefusedError, RetryableError, SetupError
from consumer.pipeline.load import load
from consumer.pipeline.model import FileSink, Pipeline, StdoutSink
from consumer.records import HashRange, Position
from consumer.runtime import clock
from consumer.runtime.invocations import Invocations
from consumer.runtime.retry import StoppedError, until_done
from consumer.runtime.surroundings import Retention, ShardOrigin, Surroundings
from consumer.sources import aws
from consumer.sources.lambda_event import Delivery, delivery, is_delivery
from consumer.sources.mapping import UNCHECKED, check_mapping
from consumer.sources.reading import Behind
from consumer.telemetry.emf import EmbeddedMetrics
from consumer.telemetry.events import StartStep, Telemetry
from consumer.telemetry.health import Health
from consumer.telemetry.invocation_events import ContainerStep
from consumer.telemetry.logging import configure_logging
from consumer.telemetry.metrics import Metrics, new_registry

PIPELINE = "STREAMGAUGE_PIPELINE"
LOG_LEVEL = "STREAMGAUGE_LOG_LEVEL"
_TASK_ROOT = "LAMBDA_TASK_ROOT"
_SPENT_SHARE = 1 / 3
"""When so much of the time is left it is time to commit."""
_OVER_MS = 1_000
"""When so little is left nothing is tried again."""
_START_RETRY_SECONDS_MAX = 120.0
_FOOTING_MS = 600_000
"""How long a container believes what it has found: its mapping, its table, what the state is of."""
_AGAIN_MS = 60_000
"""And how long after a look that did not come about."""
_AGAIN_RETRY_SECONDS_MAX = 5.0
"""For how long a look that is not the first is tried again: there are records to be processed."""

T = TypeVar("T")


class Context(Protocol):
    """What is used of Lambda's context."""

    invoked_function_arn: str

    def get_remaining_time_in_millis(self) -> int:
        """Return how long the invocation may still take."""


def handler(event: Mapping[str, Any], context: Context) -> dict[str, Any]:
    """Serve one invocation; what it raises has Lambda try the batch again."""
    return _container(context.invoked_function_arn).serve(event, context)


@cache
def _container(function: str) -> Container:
    return Container(function, environment())


class Time:
    """The time of the present invocation, of which the longest seen is how long one may take."""

    def __init__(self) -> None:
        self._left_ms: Callable[[], int] = lambda: 0
        self._whole_ms = 0
        self._longest_ms = 0

    def begin(self, left_ms: Callable[[], int]) -> None:
        """Begin an invocation."""
        self._left_ms, self._whole_ms = left_ms, left_ms()
        self._longest_ms = max(self._longest_ms, self._whole_ms)

    def is_spent(self) -> bool:
        """Tell whether it is time to commit what has been done."""
        return self._left_ms() < self._whole_ms * _SPENT_SHARE

    def timeout_ms(self) -> int:
        """Return how long any invocation may take."""
        return self._longest_ms

    def pause(self, seconds: float) -> bool:
        """Wait between two tries; return True if trying must end."""
        left_seconds = (self._left_ms() - _OVER_MS) / 1000
        clock.sleep(max(0.0, min(seconds, left_seconds)))
        return seconds >= left_seconds


class Container:
    """What a cold start makes. SetupError, RefusedError, PipelineError if the function cannot work as it is."""

    def __init__(self, function: str, environ: Mapping[str, str]) -> None:
        self._function = function
        self._environ = environ
        path = Path(environ.get(PIPELINE) or Path(environ.get(_TASK_ROOT, ".")) / "pipeline.yaml")
        self._pipeline = load(path, environ)
        _check_sinks(self._pipeline)
        program = compile_pipeline(self._pipeline)
        registry = new_registry()
        self._telemetry = Telemetry(
            metrics=Metrics(registry, stream=self._pipeline.source.stream),
            logger=configure_logging(level=environ.get(LOG_LEVEL, "info"), now_ms=clock.now_ms, json=True),
            health=Health(clock.monotonic),
            windows=[window.name for window in self._pipeline.windows],
            monotonic=clock.monotonic,
            now_ms=clock.now_ms,
        )
        self._embedded = EmbeddedMetrics(registry, pipeline=self._pipeline.name, now_ms=clock.now_ms)
        self._time = Time()
        self._program = program
        self._session = open_session(environ)
        self._standing: tuple[Footing, Invocations] | None = None
        self._found_again_ms = 0
        self._retry_until = 0.0
        self._telemetry.container_started(
            pipeline=self._pipeline.name,
            version=__version__,
            definitions=program.definitions,
            stream=self._pipeline.source.stream,
            function=function,
        )

    def serve(self, event: Mapping[str, Any], context: Context) -> dict[str, Any]:
        """Serve a batch or a tick."""
        self._time.begin(context.get_remaining_time_in_millis)
        found = None
        try:
            if not is_delivery(event):
                return self._tick()
            found = delivery(event)
            return self._batch(found)
        except StoppedError as error:
            raise self._failed(RetryableError(f"the invocation has no time left: {error}"), found) from error
        except Exception as error:
            self._failed(error, found)
            raise
        finally:
            self._embedded.flush(sys.stdout, shard=None if found is None else found.shard)

    def _failed(self, error: Exception, found: Delivery | None) -> Exception:
        self._telemetry.failed(error=error, shard=None if found is None else found.shard)
        if isinstance(error, ApplicationRefusedError):
            self._fall()  # a person may see to it while the container lives
        return error

    def _batch(self, found: Delivery) -> dict[str, Any]:
        footing, invocations = self._stand()
        if found.stream_arn.partition("/consumer/")[0] != footing.info.arn:
            raise SetupError(
                f"records of {found.stream_arn}, and the pipeline file reads {footing.info.arn} (source.stream)"
            )
        again, postponed = None, None
        try:
            again = invocations.batch(found.shard, found.records)
        except RetryableError as error:
            again, postponed = found.records[0].sequence_number, error
        if again is None:
            return {"batchItemFailures": []}
        self._telemetry.batch_returned(shard=found.shard, sequence_number=again, error=postponed)
        return {"batchItemFailures": [{"itemIdentifier": again}]}

    def _tick(self) -> dict[str, Any]:
        started = clock.monotonic()
        shards = self._stand()[1].tick()
        self._telemetry.ticked(shards=shards, seconds=clock.monotonic() - started)
        return {"shards": shards}

    def _stand(self) -> tuple[Footing, Invocations]:
        """Return what an invocation of late has found: the mapping may change, and the state be reset.

        Where it cannot be looked at again just now, a container goes on as it is: what it had found was right.
        """
        standing = self._standing
        if standing is None:
            return self._find(_START_RETRY_SECONDS_MAX)
        if clock.now_ms() < self._found_again_ms:
            return standing
        try:
            return self._find(_AGAIN_RETRY_SECONDS_MAX)
        except (RetryableError, StoppedError) as error:
            self._found_again_ms = clock.now_ms() + _AGAIN_MS
            self._telemetry.look_postponed(error=RetryableError(str(error)))
            return standing

    def _find(self, retry_seconds_max: float) -> tuple[Footing, Invocations]:
        self._retry_until = clock.monotonic() + retry_seconds_max
        footing = find_footing(self._program, self._session, self._starting, self._telemetry, runs_in="lambda")
        self._check_mapping(footing)
        shards, retention = Shards(footing.stream, self._pipeline.source.stream), footing.retention(self._time.pause)
        around = self._surroundings(footing, shards, retention)
        misrouting = footing.misrouting_watch(self._telemetry, around.in_background)
        self._fall()
        invocations = Invocations(around, _Stream(shards, retention), self._time, misrouting)
        self._standing = footing, invocations
        self._found_again_ms = clock.now_ms() + _FOOTING_MS
        return self._standing

    def _fall(self) -> None:
        """Give up what was found, and all that is in memory."""
        if self._standing is not None:
            self._standing[1].close()
        self._standing = None

    def _check_mapping(self, footing: Footing) -> None:
        if self._environ.get(UNCHECKED):
            self._telemetry.mapping_unchecked(function=self._function)
            return
        has_begun = bool(self._starting("list_states", footing.store.shard_names))
        source = self._pipeline.source
        client = self._session.client("lambda", config=aws.CLIENT_CONFIG)
        self._starting(
            "check_mapping",
            lambda: check_mapping(
                client,
                function=self._function,
                stream_arn=footing.info.arn,
                start=None if has_begun else str(source.start),
            ),
        )

    def _surroundings(self, footing: Footing, shards: Shards, retention: Retention) -> Surroundings:
        return Surroundings(
            program=footing.program,
            application=footing.application,
            store=footing.store,
            router=footing.router(self._session),
            lineage=shards,
            telemetry=self._telemetry,
            clock=clock,
            pause=self._time.pause,
            retention=retention,
        )

    def _starting(self, step: StartStep | ContainerStep, call: Callable[[], T], /) -> T:
        def on_retry(error: RetryableError, wait_seconds: float) -> None:
            self._telemetry.start_retry(step=step, error=error, wait_seconds=wait_seconds)

        return until_done(
            call,
            clock=clock,
            pause=self._time.pause,
            seconds_max=self._retry_until - clock.monotonic(),
            on_retry=on_retry,
        )


class _Stream:
    """Reads of the pipeline's stream."""

    def __init__(self, shards: Shards, retention: Retention) -> None:
        self._shards = shards
        self._retention = retention

    def behind(self, shard: str, position: Position | None, hash_range: HashRange) -> Behind:
        """Return what a shard holds behind a position."""
        return self._retention.behind(shard, position, hash_range)

    def origins(self) -> Mapping[str, ShardOrigin]:
        """Return all shards of the stream."""
        return self._shards.list()


def _check_sinks(pipeline: Pipeline) -> None:
    """SetupError if rows would go where nobody finds them."""
    targets = [*(route.target for route in pipeline.sinks), pipeline.late, pipeline.dead_letter]
    if any(isinstance(target, FileSink | StdoutSink) for target in targets):
        raise SetupError(
            "a Lambda function has no files, and its standard output is its log: send rows to firehose, s3 or sqs"
        )
