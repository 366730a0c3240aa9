"""What is left of a story when a process is gone."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from typing import NamedTuple

from consumer.records import Position
from consumer.testing.fake_state_aws import StoredAws
from tests.runtime.test_resharding import ORIGINS


class Commit(NamedTuple):
    """A commit of a shard."""

    shard: str
    number: int


@dataclass
class Lease:
    """What the source knows of a shard."""

    checkpoint: Position | str = "TRIM_HORIZON"
    ended: bool = False


@dataclass
class Durable:
    """All that is left when a process is gone."""

    aws: StoredAws = field(default_factory=StoredAws)
    rows: list[bytes] = field(default_factory=list)
    leases: dict[str, Lease] = field(default_factory=lambda: {shard: Lease() for shard in ORIGINS})
    stage: int = 0
    died: bool = False
    """Whether the process before was gone before its lease came to its end, and the shard beside is to be served."""
    seconds: float = 1000.0
    calls: int = 0
    combined: dict[bytes, Commit] = field(default_factory=dict)
    """The commit that has brought each row of a global window."""

    def copy(self) -> Durable:
        """Return another one that goes its own way."""
        leases = {shard: dataclasses.replace(lease) for shard, lease in self.leases.items()}
        rows, combined = self.rows.copy(), self.combined.copy()
        return dataclasses.replace(self, aws=self.aws.copy(), rows=rows, leases=leases, combined=combined)

    def fingerprint(self) -> int:
        """Return the same number for what differs only in time and in how it came about. A ledger decides nothing."""
        leases = tuple((lease.checkpoint, lease.ended) for lease in self.leases.values())
        items = frozenset(
            (key, repr(sorted((name, value) for name, value in item.items() if name != "committed_at_ms")))
            for key, item in self.aws.items.items()
            if key[1] != "ledger"
        )
        combined = frozenset(self.combined.items())
        place = (self.stage, self.died, leases)
        return hash((*place, frozenset(self.rows), combined, items, frozenset(self.aws.objects.items())))
