"""What somebody should look into, for it is wrong around the worker and not in it: see events.py."""

# ruff: noqa: D401 - the docstring of an event says what has happened

from __future__ import annotations

from enum import StrEnum

from structlog.typing import FilteringBoundLogger

from consumer.records import Position
from consumer.telemetry.metrics import Metrics
from consumer.telemetry.redact import describe


class Misrouting(StrEnum):
    """Why a stream's records are misrouted."""

    BY_SERVICE = "service_managed"
    BY_PRODUCERS = "other_keys"
    UNKNOWN = "unknown"


_REMEDIES = {
    Misrouting.BY_SERVICE: (
        "the stream distributes its records by itself: set it to distribute them by partition key, or leave "
        "source.partition_key out and make the windows global (combine: true)"
    ),
    Misrouting.BY_PRODUCERS: (
        "look into the producers: the partition key must be the text of source.partition_key, and no explicit hash key "
        "may be given; or leave source.partition_key out and make the windows global (combine: true)"
    ),
    Misrouting.UNKNOWN: (
        "see whether the stream distributes its records by partition key, and whether the producers' partition key is "
        "the text of source.partition_key, without explicit hash keys"
    ),
}
CHURN_REMEDY = (
    "see that no two workers have the same worker.identifier, and that none is so short of processor time or memory "
    "that its leases run out"
)
GAP_REMEDY = (
    "the results of windows that records between the two positions belong to are too small; if the stream "
    "still has them, `streamgauge state reset` counts all that it holds again, as rows of another generation"
)


class AlarmEvents:
    """Alarms about what is around the worker."""

    metrics: Metrics
    logger: FilteringBoundLogger

    def epoch_churn(self, *, shard: str, claims: int, within_seconds: float, wait_seconds: float) -> None:
        """The worker begins with a shard too often, so it waits: owners take the shard from one another."""
        self.metrics.counter("epoch_churn_total").inc()
        self.logger.warning(
            "epoch_churn",
            shard=shard,
            claims=claims,
            within_seconds=round(within_seconds),
            wait_seconds=round(wait_seconds, 3),
            remedy=CHURN_REMEDY,
        )

    def gap_passed(self, *, shard: str, counted_to: Position | None, goes_on: Position | None) -> None:
        """Records between two positions were never counted, and the shard goes on without them, as the file says.

        `counted_to` None: nothing of the shard has been counted yet. `goes_on` None: nothing is left of the shard.
        """
        self.metrics.counter("gaps_total").inc()
        self.logger.error(
            "gap_passed",
            shard=shard,
            counted_to=None if counted_to is None else str(counted_to.sequence),
            goes_on=None if goes_on is None else str(goes_on.sequence),
            remedy=GAP_REMEDY,
        )

    def stream_misroutes(self, *, shard: str, records: int, cause: Misrouting, error: BaseException | None) -> None:
        """Records of a shard are misrouted, `records` in the batch that showed it; with why the cause is not known."""
        self.logger.error(
            "stream_misroutes",
            shard=shard,
            records=records,
            cause=str(cause),
            error=None if error is None else describe(error),
            remedy=_REMEDIES[cause],
        )
