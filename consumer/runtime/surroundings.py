"""What all shards of a worker share, and what the stream says of its shards."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol, TypeVar

from consumer.core.compile import Program
from consumer.errors import RefusedError, RetryableError
from consumer.pipeline.differences import differences
from consumer.records import HashRange
from consumer.runtime.retry import until_done
from consumer.sinks.base import Router
from consumer.state.base import Application, StateStore
from consumer.telemetry.events import CommitStep, Telemetry

RETRY_SECONDS_MAX = 300.0
"""How long a call to the state store is tried again before the process gives up."""

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


def changes_since(stored: Application, mine: Application) -> str:
    """Return what has changed in the definitions, to be put behind words; empty if the stored ones are not known."""
    if not stored.meaning or not mine.meaning:
        return ""
    return ": " + "; ".join(differences(stored.meaning, mine.meaning))


def check_application(stored: Application, mine: Application, pipeline: str) -> None:
    """Refuse to work on the state of another stream or of other definitions."""
    if stored.stream_created_ms != mine.stream_created_ms:
        raise RefusedError(
            f"the state of pipeline {pipeline} belongs to a stream that was deleted and created again under the same "
            "name; give the pipeline a new name (and worker.application) to start afresh"
        )
    if stored.definitions != mine.definitions:
        raise RefusedError(
            f"the definitions of pipeline {pipeline} (events, let, where or windows) have changed since its state was "
            f"made{changes_since(stored, mine)}. Go back to the file as it was; or count everything anew, with "
            "`streamgauge state reset --yes FILE`; or give the pipeline a new name (and worker.application) to run it "
            "beside the old one"
        )
    if stored.generation != mine.generation:
        raise RefusedError("the state was reset while this worker was running; start the worker again")
