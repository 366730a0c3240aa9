"""What a processor of the benchmark tells about itself: a small file of JSON a shard. Standard library alone."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path

CHECKPOINT_SECONDS = 5.0
"""For the two processors that the product is compared with; the product commits more often."""


@dataclass
class Tally:
    """Records processed, and when the first of them was: seconds of the system's monotonic clock.

    `results` and `unusable` are for the processor that aggregates: rows it made, records it could not read.
    """

    records: int = 0
    first_record_s: float | None = None
    checkpoints: int = 0
    results: int = 0
    unusable: int = 0

    def __add__(self, other: Tally) -> Tally:
        """Return the sum of both; the earlier first record."""
        firsts = [one.first_record_s for one in (self, other) if one.first_record_s is not None]
        return Tally(
            self.records + other.records,
            min(firsts, default=None),
            self.checkpoints + other.checkpoints,
            self.results + other.results,
            self.unusable + other.unusable,
        )

    def write(self, path: Path) -> None:
        """Write or replace the file."""
        new = path.with_suffix(".new")
        new.write_text(json.dumps(asdict(self)))
        new.replace(path)


def read_all(directory: Path) -> Tally:
    """Return the sum of all files in a directory."""
    total = Tally()
    for path in sorted(directory.glob("*.json")):
        total += Tally(**json.loads(path.read_text()))
    return total
