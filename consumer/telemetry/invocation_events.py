"""What is told in AWS Lambda alone: see events.py."""

# ruff: noqa: D401 - the docstring of an event says what has happened

from __future__ import annotations

from typing import Literal

from structlog.typing import FilteringBoundLogger

from consumer.telemetry.metrics import Metrics
from consumer.telemetry.redact import describe

ContainerStep = Literal["list_states", "check_mapping"]
"""What of a cold start may fail and be tried again, besides StartStep."""


class InvocationEvents:
    """The events of invocations."""

    metrics: Metrics
    logger: FilteringBoundLogger

    def container_started(self, *, pipeline: str, version: str, definitions: str, stream: str, function: str) -> None:
        """A container of the function has loaded its pipeline: a cold start."""
        self.logger.info(
            "container_started",
            pipeline=pipeline,
            version=version,
            definitions=definitions,
            stream=stream,
            function=function,
        )

    def mapping_unchecked(self, *, function: str) -> None:
        """The function was told to run without looking at its event source mapping."""
        self.logger.warning("mapping_unchecked", function=function)

    def look_postponed(self, *, error: BaseException) -> None:
        """A container could not look at its mapping, table and stream again, and goes on as it was for a minute."""
        self.logger.warning("look_postponed", error=describe(error))

    def batch_returned(self, *, shard: str, sequence_number: str, error: BaseException | None) -> None:
        """A batch, or the rest of one from this record on, was handed back and comes again: no time, or an error."""
        self.metrics.counter("batches_returned_total").inc()
        self.logger.warning(
            "batch_returned",
            shard=shard,
            sequence_number=sequence_number,
            error=None if error is None else describe(error),
        )

    def ticked(self, *, shards: int, seconds: float) -> None:
        """A tick has sent what was left unsent, or let time pass, on so many shards."""
        self.logger.info("ticked", shards=shards, seconds=round(seconds, 3))

    def tick_postponed(self, *, shard: str, error: BaseException) -> None:
        """A tick has left a shard to the next one."""
        self.logger.warning("tick_postponed", shard=shard, error=describe(error))

    def packets_left_out(self, *, shard: str, records: int) -> None:
        """Records inside producer-library packets were left out, as the Kinesis Client Library leaves them out."""
        self.metrics.counter("records_left_out_total").inc(records)
        self.logger.warning("packets_left_out", shard=shard, records=records)
