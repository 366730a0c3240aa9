"""The contract of a state store: where a shard's snapshot lives, and who may replace it.

The order of the calls is not decided here; it is the numbered list of `runtime/commit.py`. A store promises:

1. `claim` adds 1 to the shard's epoch atomically and returns the item as it is after that, whole. Epochs
   never restart, items are never deleted.
2. `put_object` writes an immutable object; writing the same bytes under the same name again is success.
3. `advance` replaces everything but the epoch in one conditional write, and only while the item's epoch,
   commit number and `ended` are what the caller expects.
4. Every read is strongly consistent, and an answer that lacks what must be there is a RetryableError, never
   "no such item": a response cut off on the way reads as an empty success.
5. Trouble with the service is RetryableError (throttles, time-outs, 5xx; the effect of a write is then
   unknown) or SetupError (no such table or bucket, no permission), after the client's own bounded retries.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Protocol

import msgspec

from consumer.errors import CorruptStateError
from consumer.records import Position

FORMAT_VERSION = 1
INLINE_BYTES_MAX = 8 * 1024
"""A larger snapshot goes to an object."""
MANIFEST_ENTRIES_MAX = 32


class Application(msgspec.Struct, frozen=True):
    """What all shards of a pipeline share, written once at its first start.

    `roots` are the shards that may start without a state; `definitions` is the hash of what the pipeline
    means.
    """

    generation: int
    started_at_ms: int
    roots: tuple[str, ...]
    definitions: str
    stream_created_ms: int


class Entry(msgspec.Struct, frozen=True, array_like=True):
    """One object of a manifest. `size` is in bytes; `sha256` (hex) is of the bytes as stored."""

    key: str
    sha256: str
    size: int


class ShardState(msgspec.Struct, frozen=True):
    """A shard's state item without its epoch. One commit replaces it whole.

    The snapshot is either `inline` (compressed bytes of one base) or the `manifest`: a base, then deltas,
    oldest first. `sha256` (hex) is of the bytes this commit wrote, inline or as its newest object: with the
    epoch and the commit number it tells our own write from anybody else's. `hash_range` holds decimal text,
    both ends included.
    """

    commit_no: int
    ended: bool
    position: Position | None
    last_arrival_ms: int | None
    watermark_ms: int | None
    hash_range: tuple[str, str]
    stream_created_ms: int
    definitions: str
    generation: int
    format_version: int
    inline: bytes | None
    manifest: tuple[Entry, ...]
    sha256: str


class Claim(msgspec.Struct, frozen=True):
    """An item as read: its epoch, and the state of its last commit (None: claimed, never committed).

    `retired` marks the tombstone of a shard whose children have taken over.
    """

    epoch: int
    state: ShardState | None
    retired: bool = False


class FenceRefusedError(Exception):
    """`advance` found another epoch, commit number or `ended`: read before concluding anything."""


def new_entry(pipeline: str, shard: str, generation: int, *, epoch: int, commit_no: int, data: bytes) -> Entry:
    """Name and describe a snapshot object. The name tells nothing of the data, and sorts by commit."""
    sha256 = hashlib.sha256(data).hexdigest()
    key = f"{pipeline}/{generation}/{shard}/{epoch:08d}-{commit_no:012d}-{sha256}"
    return Entry(key, sha256, len(data))


def verify(entry: Entry, data: bytes) -> None:
    """Hold stored bytes against their entry; CorruptStateError if they are not what was written."""
    if len(data) != entry.size or hashlib.sha256(data).hexdigest() != entry.sha256:
        raise CorruptStateError(
            f"the state's object {entry.key} ({len(data)} bytes) is not what was written ({entry.size} bytes). "
            "Restore it from a backup, or reset the pipeline."
        )


def assert_storable(state: ShardState) -> None:
    """Hold what every stored state must be: one snapshot, within the limits of an item."""
    assert state.commit_no >= 0
    assert (state.inline is None) == bool(state.manifest), "a snapshot is either inline or a manifest"
    assert state.inline is None or len(state.inline) <= INLINE_BYTES_MAX
    assert len(state.manifest) <= MANIFEST_ENTRIES_MAX


class StateStore(Protocol):
    """See the rules at the top of this file. `shard` is the shard id."""

    def read_application(self) -> Application | None:
        """Return the pipeline's application item, or None if this pipeline never started."""

    def create_application(self, application: Application) -> Application:
        """Write the item if there is none; return what is stored now, by whomever."""

    def claim(self, shard: str) -> Claim:
        """Add 1 to the epoch: from here on every earlier owner is fenced."""

    def read(self, shard: str) -> Claim | None:
        """Return the item without touching it; None if there is none."""

    def put_object(self, shard: str, generation: int, epoch: int, commit_no: int, data: bytes) -> Entry:
        """Write a snapshot entry under a name made of generation, shard, epoch, commit number and hash."""

    def get_object(self, entry: Entry) -> bytes:
        """Return the entry's bytes; CorruptStateError if they are missing or not of its size and hash."""

    def delete_objects(self, entries: Sequence[Entry]) -> None:
        """Delete superseded entries; an entry that is already gone is success."""

    def advance(self, shard: str, epoch: int, state: ShardState, *, ended: bool) -> None:
        """Replace the state if the item's epoch and `ended` are as given and its commit number is one less.

        In full: `epoch = epoch AND commit_no = state.commit_no - 1 AND ended = ended`; for commit 0 it is
        `epoch = epoch AND attribute_not_exists(commit_no)`. FenceRefusedError if the condition does not hold,
        RetryableError if the outcome is unknown.
        """
