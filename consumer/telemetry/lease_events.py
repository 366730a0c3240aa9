"""What the worker tells of the lease table, which all workers of an application share: see events.py."""

# ruff: noqa: D401 - the docstring of an event says what has happened

from __future__ import annotations

from structlog.typing import FilteringBoundLogger

from consumer.telemetry.metrics import Metrics
from consumer.telemetry.redact import describe


class LeaseEvents:
    """The events of the stream's leases."""

    metrics: Metrics
    logger: FilteringBoundLogger

    def stream_seen(self, *, retention_seconds: float) -> None:
        """The stream was looked at. Only a metric."""
        self.metrics.gauge("stream_retention_seconds").set(retention_seconds)

    def leases_seen(self, *, unheld: int) -> None:
        """The lease table was looked at: nobody has the leases of `unheld` shards still to be read. A metric."""
        self.metrics.gauge("leases_unheld").set(unheld)

    def handover_finished(self, *, shard: str, new_owner: str | None) -> None:
        """The daemon had forgotten to finish handing a lease over, so nobody read the shard; its new owner has it."""
        self.metrics.counter("handovers_finished_total").inc()
        self.logger.warning("handover_finished", shard=shard, new_owner=new_owner)

    def handovers_not_seen(self, *, error: BaseException) -> None:
        """The lease table could not be looked at for hand-overs that hang; it is tried again."""
        self.logger.warning("handovers_not_seen", error=describe(error))

    def leases_released(self, *, leases: int) -> None:
        """The worker has stopped and gave its leases to the other workers, or free if there is none."""
        self.logger.info("leases_released", leases=leases)

    def leases_not_released(self, *, error: BaseException) -> None:
        """The worker has stopped, but could not let go of its leases or its lock: the others wait for time-outs."""
        self.logger.warning("leases_not_released", error=describe(error))
