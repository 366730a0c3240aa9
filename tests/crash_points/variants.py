"""The stories there are: which leases of which shards follow each other, and where states are kept meanwhile."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager, ExitStack
from enum import IntEnum
from typing import NamedTuple
from unittest.mock import patch

from consumer.core import contributions
from consumer.runtime import commit, compaction, global_part, sending, tidying
from consumer.state import chunks
from tests.crash_points.durable import Durable
from tests.runtime.test_resharding import GENERATIONS, ORIGINS


class Share(IntEnum):
    """How many of a shard's records are delivered, in halves."""

    NOTHING = 0
    FIRST = 1
    ALL = 2


class Stage(NamedTuple):
    """One lease of a shard if nobody dies: some of its records, then its end or a hand-over.

    Before it ends there are reads without records. It is served `hours` after the beginning. `settles`: it is served
    until the rows are there of all that is due by what was delivered so far.
    """

    shard: str
    share: Share
    ends: bool
    silent_reads: int = 0
    hours: int = 0
    settles: bool = False


STAGES = tuple(Stage(shard, share, ends=share is Share.ALL) for shard in ORIGINS for share in (Share.FIRST, Share.ALL))
SILENT_READS = 4
LATER_HOURS = 100
"""When what is kept for twice the retention has been forgotten."""
GLOBAL_STAGES = (
    *(Stage(shard, Share.FIRST, ends=False) for shard in GENERATIONS[0]),
    *(Stage(shard, Share.ALL, ends=True, hours=1) for shard in GENERATIONS[0]),
    Stage("merged", Share.FIRST, ends=False, hours=2),
    Stage("merged", Share.ALL, ends=True, hours=3),
    *(
        Stage(shard, share, ends=False, silent_reads=SILENT_READS, hours=hours, settles=settles)
        for share, hours in ((Share.FIRST, 4), (Share.ALL, LATER_HOURS))
        for shard, settles in (("split-1", False), ("split-2", False), ("split-1", True))
    ),
)


class Variant(NamedTuple):
    """Where snapshots are kept; without a bucket, entries larger than an item's worth are cut into chunks.

    `combines`: it is the story with global windows.
    """

    name: str
    bucket: bool
    inline_bytes_max: int
    chunk_bytes: int = chunks.CHUNK_BYTES
    combines: bool = False

    @property
    def stages(self) -> Sequence[Stage]:
        """Return the leases of the story."""
        return GLOBAL_STAGES if self.combines else STAGES

    def beside(self, durable: Durable) -> Stage | None:
        """Return a lease of the shard beside the one whose process is gone, if there is one that looks at windows."""
        stage = self.stages[durable.stage]
        generation = next(shards for shards in GENERATIONS if stage.shard in shards)
        alive = [shard for shard in generation if shard != stage.shard and not durable.leases[shard].ended]
        if not self.combines or not alive:
            return None
        return Stage(alive[0], Share.NOTHING, ends=False, silent_reads=SILENT_READS, hours=stage.hours)

    def limits(self) -> AbstractContextManager[object]:
        """Let few records meet everything: deltas, merged entries, several chunks, parents given up."""
        stack = ExitStack()
        for module, name, value in (
            (commit, "INLINE_BYTES_MAX", self.inline_bytes_max),
            (commit, "SMALL_STATE_GROUPS", -1),
            (compaction, "RUN_MIN", 2),
            (compaction, "MANIFEST_ENTRIES_MAX", 4),
            (tidying, "_FIRST_WAIT_SECONDS", 0.0),
            (chunks, "CHUNK_BYTES", self.chunk_bytes),
            (contributions, "CHUNK_BYTES", 40),
            (sending, "_PORTION_ROWS", 3),
            (global_part, "COMBINED_ROWS_MAX", 5),
        ):
            stack.enter_context(patch.object(module, name, value))
        return stack


VARIANTS = (
    Variant("inline", bucket=False, inline_bytes_max=8192),
    Variant("bucket", bucket=True, inline_bytes_max=0),
    Variant("table", bucket=False, inline_bytes_max=0, chunk_bytes=600),
    Variant("global", bucket=False, inline_bytes_max=8192, combines=True),
)
