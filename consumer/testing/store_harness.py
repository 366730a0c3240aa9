"""What the conformance suite of state stores stands on: the harness around a store, and samples."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal, get_args

import msgspec
import pytest

from consumer.core.completion import Progress, Stretch
from consumer.core.contributions import Contribution
from consumer.core.counts import Counts
from consumer.records import Position
from consumer.state.base import (
    FORMAT_VERSION,
    INLINE_BYTES_MAX,
    MANIFEST_ENTRIES_MAX,
    Application,
    Claim,
    Definitions,
    Entry,
    FenceRefusedError,
    RemovedWindow,
    ShardState,
    StateStore,
)
from consumer.state.marks import Ledger, Mark

SHARD = "shardId-000000000007"
OTHER_SHARD = "shardId-000000000008"
Operation = Literal[
    "read_application",
    "create_application",
    "reset",
    "adopt",
    "claim",
    "read",
    "list_shards",
    "put_object",
    "get_object",
    "delete_objects",
    "list_objects",
    "advance",
    "retire",
    "read_ledger",
    "write_ledger",
    "put_contributions",
    "read_contributions",
    "write_progress",
    "read_progress",
]
OPERATIONS: tuple[Operation, ...] = get_args(Operation)
Trouble = Literal["throttled", "failed before effect", "failed after effect", "reply lost", "reply cut"]
TROUBLES: tuple[Trouble, ...] = get_args(Trouble)
HAS_EFFECT = frozenset({"failed after effect", "reply lost", "reply cut"})


class StoreHarness(ABC):
    """A place where stores keep things, empty at first, and what can be done to it."""

    @abstractmethod
    def new_store(self, pipeline: str = "clickstream") -> StateStore:
        """Return another owner's store over the same place."""

    @abstractmethod
    def replace_object(self, entry: Entry, data: bytes | None) -> None:
        """Put other bytes, or nothing (None), behind the store's back."""


class TroubledStoreHarness(StoreHarness):
    """A place that can also be made to suffer."""

    @abstractmethod
    def trouble(self, operation: Operation, trouble: Trouble) -> None:
        """Make the next call of an operation suffer."""


STATE = ShardState(
    commit_no=0,
    ended=False,
    position=None,
    last_arrival_ms=None,
    watermark_ms=None,
    hash_range=("0", str(2**128 - 1)),
    stream_created_ms=1_700_000_000_123,
    definitions="d" * 64,
    generation=0,
    format_version=FORMAT_VERSION,
    inline=b"\x00\xff snapshot",
    manifest=(),
    sha256="a" * 64,
)
APPLICATION = Application(
    generation=0,
    started_at_ms=1_700_000_000_456,
    roots=("shardId-000000000000", "shardId-000000000001"),
    definitions="d" * 64,
    stream_created_ms=1_700_000_000_123,
)
CHANGED_APPLICATION = msgspec.structs.replace(
    APPLICATION,
    definitions="c" * 64,
    meaning="{}",
    adoptions=1,
    incarnations=(("trend", 1), ("views", 1)),
    earlier=(Definitions("d" * 64, "{0}"), Definitions("b" * 64, "{1}", (("visits", 4),))),
    removed=(RemovedWindow("visits", 0, "flush"), RemovedWindow("visits", 4, "drop")),
)
NEXT_APPLICATION = msgspec.structs.replace(APPLICATION, generation=1)
ENTRY = Entry("clickstream/0/shard/00000001-000000000001-" + "b" * 64, "b" * 64, 123_456)
STATES = (
    STATE,
    msgspec.structs.replace(
        STATE, commit_no=1, position=Position(int("4" * 56), 0), last_arrival_ms=0, watermark_ms=-1
    ),
    msgspec.structs.replace(STATE, commit_no=2, inline=None, manifest=(ENTRY,) * MANIFEST_ENTRIES_MAX),
    msgspec.structs.replace(STATE, commit_no=3, inline=b"x" * INLINE_BYTES_MAX, generation=7, sha256="c" * 64),
    msgspec.structs.replace(STATE, commit_no=4, position=Position(int("4" * 56) + 1, 2**40), ended=True),
)

LEDGER = Ledger(
    epoch=2,
    generation=0,
    stream_created_ms=1_700_000_000_123,
    hash_range=("0", str(2**128 - 1)),
    parents=(OTHER_SHARD,),
    marks=(
        Mark(0, None, None, None, "d" * 64, Counts(), floors=(("0", str(2**127), 1_700_000_000_000),)),
        Mark(
            7,
            Position(int("4" * 56), 3),
            1_700_000_000_123,
            -5,
            "d" * 64,
            Counts(received=10, replayed=1, filtered=2, late={"visits": 3}, dead_letters={"invalid_json": 1}),
            idle=True,
            decisions=1,
        ),
        Mark(
            9,
            Position(int("4" * 56) - 1, 0),
            0,
            0,
            "e" * 64,
            Counts(received=9, late={"visits": 3, "views": 1}, dead_letters={"invalid_json": 1}, early={"views": 2}),
            ended=True,
            decisions=1,
        ),
    ),
)

CONTRIBUTION = Contribution(
    window="views",
    window_hash="f" * 64,
    generation=0,
    bucket=0,
    end_ms=1_700_000_060_000,
    start_ms=1_700_000_000_000,
    origin=SHARD,
    chunk=0,
    chunks=1,
    data=b"\x00\xff groups",
    expires_ms=1_700_172_800_001,
)
PROGRESS = Progress(
    shard=SHARD,
    generation=0,
    parents=(OTHER_SHARD, "shardId-000000000003"),
    hash_range=("0", str(2**128 - 1)),
    watermark_ms=-62_135_596_800_000,
    epoch=3,
    commit_no=7,
    ended=True,
    began=(("f" * 64, 1_700_000_000_000), ("e" * 64, -5)),
    stretches=(Stretch(1_700_000_000_000, -1), Stretch(1_700_000_900_000, 5)),
    expires_ms=1_700_172_800_000,
)


def state(commit_no: int, *, ended: bool = False, inline: bytes = b"x") -> ShardState:
    """Return a state that differs by what is given."""
    return msgspec.structs.replace(STATE, commit_no=commit_no, ended=ended, inline=inline)


def started(harness: StoreHarness) -> StateStore:
    """Return a store of a pipeline that has its application item."""
    store = harness.new_store()
    store.create_application(APPLICATION)
    return store


def committed(store: StateStore, last: int, *, ended: bool = False, shard: str = SHARD) -> int:
    """Claim the shard, commit 0 to `last`, the last one with `ended`; return the epoch."""
    store.create_application(APPLICATION)
    epoch = store.claim(shard).epoch
    for number in range(last + 1):
        store.advance(shard, epoch, state(number, ended=ended and number == last), ended=False)
    return epoch


@contextmanager
def refused(store: StateStore, expected: Claim | None) -> Iterator[None]:
    """Hold that the block is refused by the fence and leaves the item as expected."""
    with pytest.raises(FenceRefusedError):
        yield
    assert store.read(SHARD) == expected
