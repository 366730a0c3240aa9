"""The lease table, as the Kinesis Client Library keeps it: a row a shard, every write conditional on its counter."""

from __future__ import annotations

from dataclasses import dataclass, field

from consumer.records import Position

SHARD_END = "SHARD_END"
TRIM_HORIZON = "TRIM_HORIZON"

Checkpoint = Position | str


@dataclass
class Row:
    """One lease. `wanted_by` asks the owner to hand it over; `history` is for what goes wrong later."""

    shard: str
    parents: tuple[str, ...]
    owner: str | None = None
    counter: int = 0
    checkpoint: Checkpoint = TRIM_HORIZON
    wanted_by: str | None = None
    history: list[Checkpoint] = field(default_factory=list)

    @property
    def ended(self) -> bool:
        """Tell whether the shard's end was checkpointed."""
        return self.checkpoint == SHARD_END

    def take(self, owner: str | None) -> None:
        """Give the lease to a worker."""
        self.owner = owner
        self.counter += 1
        self.wanted_by = None

    def write(self, checkpoint: Checkpoint) -> None:
        """Store a checkpoint; the counter moves with it."""
        self.history.append(self.checkpoint)
        self.checkpoint = checkpoint
        self.counter += 1


class LeaseTable:
    """The rows by shard; `known` are the shards that ever had one."""

    def __init__(self) -> None:
        self.rows: dict[str, Row] = {}
        self.known: set[str] = set()

    def create(self, shard: str, parents: tuple[str, ...]) -> None:
        """Add a row unless there is one."""
        if shard not in self.rows:
            self.rows[shard] = Row(shard, parents)
            self.known.add(shard)

    def parents_have_ended(self, row: Row) -> bool:
        """Tell whether a shard may begin. A row that is not there counts as ended, as in the library."""
        return all(parent not in self.rows or self.rows[parent].ended for parent in row.parents)


@dataclass
class Held:
    """A lease in the memory of a worker that believes to own it."""

    shard: str
    counter: int
    renewed: float
    lost: bool = False
    hand_over: bool = False
    stale: bool = False
    """It was lost before it began: the library does not know yet."""
    checkpoint: Checkpoint | None = None
    """What the consumer begins with, where that is not what the row says."""
