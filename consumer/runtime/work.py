"""What comes of one message or invocation: its records worked through in steps, and told of once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from consumer.core.counts import Counts
from consumer.core.processor import Outcome
from consumer.records import Record
from consumer.runtime.commit import ShardOwner
from consumer.runtime.surroundings import Clock
from consumer.telemetry.events import Telemetry
from consumer.telemetry.shards import Batch


@dataclass(slots=True)
class Work:
    """What the steps come to. `seconds` are without commits."""

    clock: Clock
    counts: Counts = field(default_factory=Counts)
    size_bytes: int = 0
    seconds: float = 0.0

    def add(self, outcome: Outcome, seconds: float) -> None:
        """Add a step that took so long."""
        self.counts.add(outcome.counts)
        self.size_bytes += outcome.size_bytes
        self.seconds += seconds

    def through(self, owner: ShardOwner, records: Sequence[Record], between: Callable[[], None]) -> None:
        """Take all records, and close all that is due by them.

        It may be a million windows, so `between` steps what one has closed can be committed and sent.
        """
        while records or owner.processor.closing:
            started = self.clock.monotonic()
            outcome = owner.step(records)
            self.add(outcome, self.clock.monotonic() - started)
            records = records[outcome.taken :]
            if records or owner.processor.closing:
                between()

    def tell(
        self, telemetry: Telemetry, owner: ShardOwner, *, newest_arrival_ms: int | None, millis_behind: int | None
    ) -> None:
        """Tell of it once, in however many steps it was done, or was until something went wrong."""
        processor = owner.processor
        telemetry.batch(
            owner.shard,
            Batch(
                counts=self.counts,
                size_bytes=self.size_bytes,
                watermark_ms=processor.watermark_ms,
                position=processor.position,
                newest_arrival_ms=newest_arrival_ms,
                millis_behind=millis_behind,
                open_groups=processor.open_groups(),
                active_keys=processor.active_keys(),
                process_seconds=self.seconds,
            ),
        )
