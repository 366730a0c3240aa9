"""What all shards of a worker share, and what the stream says of its shards."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Protocol, TypeVar

from consumer.core.compile import Program
from consumer.errors import ApplicationRefusedError, RetryableError
from consumer.records import HashRange, Position
from consumer.runtime.adoption import Programs, changes_since
from consumer.runtime.global_view import GlobalView
from consumer.runtime.retry import until_done
from consumer.sinks.base import Router
from consumer.sources.reading import Behind
from consumer.state.base import Application, RunsIn, StateStore
from consumer.telemetry.events import CommitStep, Telemetry

RETRY_SECONDS_MAX = 300.0
"""How long a call to the state store is tried again before the process gives up."""
RUNNERS: Mapping[RunsIn, str] = {"worker": "workers", "lambda": "AWS Lambda"}
"""What a pipeline runs in, in words."""

T = TypeVar("T")


def at_once(task: Callable[[], None]) -> None:
    """Do what could be done in the background now."""
    task()


class Clock(Protocol):
    """Time, waiting and chance, as `runtime/clock.py` has them; tests bring their own."""

    def now_ms(self) -> int:
        """Return the wall clock in epoch milliseconds."""

    def monotonic(self) -> float:
        """Return seconds that never go back."""

    def random(self) -> float:
        """Return a number in [0, 1)."""


@dataclass(frozen=True, slots=True)
class ShardOrigin:
    """What the stream says of a shard: its hash keys, and the shards that it was split from or merged of."""

    hash_range: HashRange
    parents: tuple[str, ...]


class Lineage(Protocol):
    """The shards of the stream. RetryableError if it cannot be asked, or does not know the shard (yet)."""

    def origin(self, shard: str, /) -> ShardOrigin:
        """Return what a shard came from."""

    def children(self, parent: str, /) -> Mapping[str, HashRange]:
        """Return the shards that a shard was split or merged into; none if it is open."""


@dataclass(frozen=True, slots=True)
class Retention:
    """How long the stream keeps records, and what is left of a shard behind a position (None: its beginning).

    `behind` raises RetryableError if the stream cannot be asked.
    """

    period_ms: int
    behind: Callable[[str, Position | None, HashRange], Behind]


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What all shards of a worker share.

    `pause(seconds)` waits and returns True when trying must end. `in_background` has a task done, now or later.
    """

    program: Program
    application: Application
    store: StateStore
    router: Router
    lineage: Lineage
    telemetry: Telemetry
    clock: Clock
    pause: Callable[[float], bool]
    in_background: Callable[[Callable[[], None]], None] = at_once
    programs: Programs = field(default_factory=Programs)
    """Those of earlier definitions."""
    retention: Retention | None = None
    """None: nothing expires."""
    view: GlobalView = field(default_factory=GlobalView)

    def retrying(self, shard: str, step: CommitStep, call: Callable[[], T]) -> T:
        """Call until it works; RetryableError after RETRY_SECONDS_MAX, StoppedError when the worker stops."""

        def on_retry(error: RetryableError, wait_seconds: float) -> None:
            self.telemetry.commit_retry(shard=shard, step=step, error=error, wait_seconds=wait_seconds)

        try:
            return until_done(
                call, clock=self.clock, pause=self.pause, seconds_max=RETRY_SECONDS_MAX, on_retry=on_retry
            )
        except RetryableError as error:
            self.telemetry.commit_failed(shard=shard, step=step, error=error)
            raise


def check_stream(stored: Application, stream_created_ms: int, pipeline: str) -> None:
    """Refuse to work on the state of another stream."""
    if stored.stream_created_ms != stream_created_ms:
        raise ApplicationRefusedError(
            f"the state of pipeline {pipeline} belongs to a stream that was deleted and created again under the same "
            "name; give the pipeline a new name (and worker.application) to start afresh"
        )


def check_runs_in(stored: Application, mine: RunsIn, pipeline: str) -> None:
    """Refuse to work on what was handed over to the other."""
    if stored.runs_in != mine:
        raise ApplicationRefusedError(
            f"pipeline {pipeline} runs in {RUNNERS[stored.runs_in]}: hand it over with "
            f"`streamgauge state handover --to {mine} FILE`, or give this one a pipeline name of its own"
        )


def check_application(stored: Application, mine: Application, pipeline: str) -> None:
    """Refuse to go on when the stream, the definitions or the generation have changed since the worker's start."""
    check_stream(stored, mine.stream_created_ms, pipeline)
    check_runs_in(stored, mine.runs_in, pipeline)
    if stored.definitions != mine.definitions:
        raise ApplicationRefusedError(
            f"the definitions of pipeline {pipeline} have been changed by a worker with another file"
            f"{changes_since(mine.meaning, stored.meaning)}. This worker goes on with the shards that it has, and gets "
            "no others: start it again with that file"
        )
    if stored.generation != mine.generation:
        raise ApplicationRefusedError("the state was reset while this worker was running; start the worker again")
