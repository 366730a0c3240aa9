"""What a seed means: how much comes, who works on it, and which troubles there are. A plan can be made smaller."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from random import Random

from consumer.testing.simulation.pipelines import FILES, GLOBAL_FILES
from consumer.testing.simulation.stream import Load

RECORDS = 2_000
SECONDS = 120.0
"""How long records come, and troubles with them."""
_INTERPRETED_EVERY = 10
_GLOBAL_SHARE = 0.3
"""Of the runs, how many have global windows."""


def seeded(text: str) -> Random:
    """Return a source of chance that is the same for the same text."""
    return Random(text)  # noqa: S311 - it is for repeating, it protects nothing


class Fault(StrEnum):
    """One kind of trouble."""

    CRASH = "crash"
    PAUSE = "pause"
    JVM_PAUSE = "jvm-pause"
    STOP = "stop"
    RENAME = "rename"
    TWIN = "twin"
    STORE_BEFORE = "store-before"
    STORE_AFTER = "store-after"
    STORE_LATE = "store-late"
    STORE_DUPLICATE = "store-duplicate"
    STORE_REPEATED = "store-repeated"
    SINK_BEFORE = "sink-before"
    SINK_AFTER = "sink-after"
    SINK_PARTIAL = "sink-partial"
    SINK_DOWN = "sink-down"
    CHECKPOINT_THROTTLED = "checkpoint-throttled"
    CHECKPOINT_UNANSWERED = "checkpoint-unanswered"
    RENEWAL = "renewal"
    STEAL = "steal"
    HANDOVER = "handover"
    GHOST = "ghost"
    REWIND = "rewind"
    LOST_ROW = "lost-row"
    CLOCK = "clock"


RATES: Mapping[Fault, float] = {
    Fault.CRASH: 0.003,
    Fault.PAUSE: 0.003,
    Fault.JVM_PAUSE: 0.002,
    Fault.RENAME: 0.5,
    Fault.STORE_BEFORE: 0.03,
    Fault.STORE_AFTER: 0.03,
    Fault.STORE_LATE: 0.015,
    Fault.STORE_DUPLICATE: 0.03,
    Fault.STORE_REPEATED: 0.02,
    Fault.SINK_BEFORE: 0.05,
    Fault.SINK_AFTER: 0.05,
    Fault.SINK_PARTIAL: 0.08,
    Fault.CHECKPOINT_THROTTLED: 0.05,
    Fault.CHECKPOINT_UNANSWERED: 0.02,
    Fault.RENEWAL: 0.1,
    Fault.STEAL: 0.3,
    Fault.HANDOVER: 0.3,
}
"""How likely a trouble is each time that it is possible: at each step, at each call."""

EVENTS: Mapping[Fault, int] = {
    Fault.STOP: 3,
    Fault.TWIN: 2,
    Fault.SINK_DOWN: 2,
    Fault.GHOST: 6,
    Fault.REWIND: 3,
    Fault.LOST_ROW: 2,
    Fault.CLOCK: 5,
}
"""How often a trouble comes in a run at most."""


def _pipeline(seed: int, random: Random) -> str:
    """Return the pipeline of a seed. Those with global windows are chosen aside: what other seeds mean stays so."""
    usual = random.choice([name for name in FILES if name not in GLOBAL_FILES])
    aside = seeded(f"global {seed}")
    return aside.choice(list(GLOBAL_FILES)) if aside.random() < _GLOBAL_SHARE else usual


@dataclass(frozen=True)
class Limits:
    """The product's own limits, low enough to be met by so few records."""

    rows_max: int
    small_state_groups: int
    inline_bytes_max: int
    manifest_entries_max: int
    crowded: int
    run_min: int
    commits_max: int
    pending_bytes_max: int


USUAL = Limits(
    rows_max=10_000,
    small_state_groups=1_000,
    inline_bytes_max=8_192,
    manifest_entries_max=32,
    crowded=24,
    run_min=4,
    commits_max=10_000,
    pending_bytes_max=8_000_000,
)
"""About what the product has."""


@dataclass(frozen=True)
class Plan:
    """One run. `salt` gives other chances to the same plan, `strength` says how strong each trouble is, 0 to 1."""

    seed: int
    salt: int
    pipeline: str
    load: Load
    workers: int
    strength: Mapping[Fault, float]
    limits: Limits
    batch_max: int
    read_seconds: float
    interprets: bool
    """Whether the plain interpreter recounts too, which takes longer than the run."""

    def plain(self) -> Plan:
        """Return the plan with the product's own limits."""
        return replace(self, limits=USUAL, batch_max=10_000)

    @classmethod
    def of(cls, seed: int, *, records: int = RECORDS, reshards: bool = True) -> Plan:
        """Return the plan of a seed."""
        random = seeded(f"plan {seed}")
        load = Load(
            records=records,
            seconds=SECONDS,
            shards=random.choice((4, 4, 5)),
            reshards=random.randint(1, 6),
            silences=random.choice((0, 3, 6)),
            disorder=random.choice((0.0, 0.05, 0.2)),
        )
        share = random.choice((0.3, 0.5, 0.8))
        strength = {fault: random.uniform(0.2, 1) for fault in Fault if random.random() < share}
        return cls(
            seed=seed,
            salt=0,
            pipeline=_pipeline(seed, random),
            load=load if reshards else load._replace(reshards=0),
            workers=random.choice((3, 3, 4)),
            strength=strength,
            limits=Limits(
                rows_max=random.choice((3, 20, 10_000)),
                small_state_groups=random.choice((0, 10, 1_000)),
                inline_bytes_max=random.choice((0, 600, 8_192)),
                manifest_entries_max=random.choice((4, 8, 32)),
                crowded=random.choice((4, 24)),
                run_min=random.choice((2, 4)),
                commits_max=random.choice((2, 10_000)),
                pending_bytes_max=random.choice((0, 2_000, 8_000_000)),
            ),
            batch_max=random.choice((3, 10, 100, 10_000)),
            read_seconds=random.uniform(1.0, 2.0),
            interprets=seed % _INTERPRETED_EVERY == 0,
        )
