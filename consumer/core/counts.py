"""Counts of what became of records."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(slots=True)
class Counts:
    """Where records went. `late`, `results` and `early` are by window, `dead_letters` by reason.

    `early` are the results that were emitted before their time, to make room; they are in `results` as well.
    Every record received is replayed, filtered, a dead letter, or accepted; an accepted record is in each window or
    late for it.
    """

    received: int = 0
    replayed: int = 0
    filtered: int = 0
    late: dict[str, int] = field(default_factory=dict)
    dead_letters: dict[str, int] = field(default_factory=dict)
    results: dict[str, int] = field(default_factory=dict)
    early: dict[str, int] = field(default_factory=dict)

    def add(self, other: Counts) -> None:
        """Add another's counts to these."""
        self.received += other.received
        self.replayed += other.replayed
        self.filtered += other.filtered
        for mine, others in (
            (self.late, other.late),
            (self.dead_letters, other.dead_letters),
            (self.results, other.results),
            (self.early, other.early),
        ):
            for name, number in others.items():
                count(mine, name, number)


def count(counts: dict[str, int], name: str, number: int = 1) -> None:
    """Add to the count of that name."""
    counts[name] = counts.get(name, 0) + number
