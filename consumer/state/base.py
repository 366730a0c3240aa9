"""The contract of a state store: where a shard's snapshot lives, and who may replace it.

The order of the calls is not decided here; it is the numbered list of `runtime/commit.py`. A store promises:

1. `claim` adds 1 to the shard's epoch atomically and returns the item as it is after that, whole. Epochs
   never restart, items are never deleted: `retire` leaves a tombstone, `reset` an empty item of a higher epoch.
2. `put_object` writes an immutable object; writing the same bytes under the same name again is success.
3. `advance` replaces everything but the epoch in one conditional write, and only while the item's epoch,
   commit number and `ended` are what the caller expects. Commit 0 is made only in the generation of the
   application item, and never over a tombstone: who slept through a reset cannot begin a state.
4. Every read is strongly consistent, and an answer that lacks what must be there is a RetryableError, never
   "no such item": a response cut off on the way reads as an empty success.
5. Trouble with the service is RetryableError (throttles, time-outs, 5xx; the effect of a write is then
   unknown) or SetupError (no such table or bucket, no permission), after the client's own bounded retries.
6. An object's name tells the epoch of who wrote it and the number of a commit: the first commit to refer to it has
   that number or, for a merged entry (`runtime/compaction.py`), a lower one. What does not bear such a name is not
   ours: so `is_orphan` can judge every object that is found, and no other is touched.
7. What shards contribute to global windows, and their progress, bear the generation in their names: a reset makes them
   void without a write. Contributions are forgotten some time after they say so, never before.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Literal, Protocol

import msgspec

from consumer.core.completion import Progress
from consumer.core.contributions import Contribution
from consumer.errors import CorruptStateError
from consumer.pipeline.model import Removal
from consumer.records import Position
from consumer.state.marks import Ledger

RunsIn = Literal["worker", "lambda"]
"""Where a pipeline is processed: never in both, or each would fence the other for ever."""

FORMAT_VERSION = 4
"""Of a state item as it is written. Version 1, which had no `parents`, 2, which told nothing of its snapshot (when
it was committed, its outbox, what is due), and 3, which had no `caught_up_ms`, are still read."""
INLINE_BYTES_MAX = 8 * 1024
"""A larger snapshot goes to an object."""
MANIFEST_ENTRIES_MAX = 32

IN_BUCKET = ""
IN_TABLE = "table:"
"""What an entry's key begins with tells where its bytes are. No name of a pipeline has a colon in it."""


class Definitions(msgspec.Struct, frozen=True):
    """Definitions that a state was made with: their hash, their text, and the incarnations of windows that have one."""

    hash: str
    text: str
    incarnations: tuple[tuple[str, int], ...] = ()


class RemovedWindow(msgspec.Struct, frozen=True):
    """A window that an adoption has removed, by its incarnation (0: none), and what becomes of what is open of it."""

    name: str
    incarnation: int
    removal: Removal


class Application(msgspec.Struct, frozen=True):
    """What all shards of a pipeline share, written at its first start, at every reset and at every adoption.

    `roots` are the shards that may start without a state; `definitions` is the hash of what the pipeline
    means, and `meaning` its text: empty in an item that the first version wrote.

    Other definitions are adopted one after the other, numbered from 1 on: `adoptions` is the number of the last,
    0 before the first. `incarnations` are those of the present definitions; `earlier` are definitions that states may
    still be of, oldest first; `removed` the windows of theirs that are no more. `runs_in` tells who may own shards.
    """

    generation: int
    started_at_ms: int
    roots: tuple[str, ...]
    definitions: str
    stream_created_ms: int
    meaning: str = ""
    adoptions: int = 0
    incarnations: tuple[tuple[str, int], ...] = ()
    earlier: tuple[Definitions, ...] = ()
    removed: tuple[RemovedWindow, ...] = ()
    runs_in: RunsIn = "worker"


class Entry(msgspec.Struct, frozen=True, array_like=True):
    """One object of a manifest. `size` is in bytes; `sha256` (hex) is of the bytes as stored."""

    key: str
    sha256: str
    size: int


class Found(msgspec.Struct, frozen=True):
    """An object as it lies in the store, whole or torn: what its name tells, whoever refers to it."""

    entry: Entry
    epoch: int
    commit_no: int


class ShardState(msgspec.Struct, frozen=True):
    """A shard's state item without its epoch. One commit replaces it whole.

    The snapshot is either `inline` (compressed bytes of one base) or the `manifest`: a base, then deltas,
    oldest first. `sha256` (hex) is of the bytes this commit wrote, inline or as its newest object: with the
    epoch and the commit number it tells our own write from anybody else's. `hash_range` holds decimal text,
    both ends included. `format_version` is that of the item as read; what is written is of FORMAT_VERSION.
    `parents` are the shards whose state this one took over at its commit 0. For whoever looks at
    many items without loading their snapshots: `committed_at_ms`, by the writer's clock; how many rows the outbox
    has; and `due_ms`, a watermark below which no window closes, None where none is open.

    `caught_up_ms` is a time at which all that had arrived was counted. Of a shard that is silent it is later than the
    last arrival; it is noted every few hours, None before the first time.
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
    parents: tuple[str, ...] = ()
    committed_at_ms: int = 0
    outbox_rows: int = 0
    due_ms: int | None = None
    caught_up_ms: int | None = None

    @property
    def counted_until_ms(self) -> int | None:
        """Return a time before which all that had arrived was counted; None if none is known."""
        return latest_ms(self.last_arrival_ms, self.caught_up_ms)


def latest_ms(*times_ms: int | None) -> int | None:
    """Return the latest of the times that are known."""
    return max((each for each in times_ms if each is not None), default=None)


class Claim(msgspec.Struct, frozen=True):
    """An item as read: its epoch, and the state of its last commit (None: claimed, never committed).

    `retired` marks the tombstone of a shard whose children have taken over.
    """

    epoch: int
    state: ShardState | None
    retired: bool = False


class FenceRefusedError(Exception):
    """A conditional write found something else than it expects: read before concluding anything."""


_NAME = re.compile(r"([0-9]{8,})-([0-9]{12,})-([0-9a-f]{64})")


def new_entry(
    pipeline: str, shard: str, generation: int, *, epoch: int, commit_no: int, data: bytes, place: str = IN_BUCKET
) -> Entry:
    """Name and describe a snapshot object. The name tells nothing of the data, and sorts by commit."""
    sha256 = hashlib.sha256(data).hexdigest()
    folder = folder_of(pipeline, shard, generation, place=place)
    return Entry(folder + _name(epoch, commit_no, sha256), sha256, len(data))


def folder_of(pipeline: str, shard: str, generation: int, *, place: str = IN_BUCKET) -> str:
    """Return what the keys of all objects of a shard and generation begin with."""
    return f"{place}{pipeline}/{generation}/{shard}/"


def find(folder: str, name: str, size: int) -> Found | None:
    """Return what the object of a name in a folder is; None if the name is not one that `new_entry` gives."""
    match = _NAME.fullmatch(name)
    if match is None:
        return None
    epoch, commit_no, sha256 = int(match[1]), int(match[2]), match[3]
    if _name(epoch, commit_no, sha256) != name:
        return None
    return Found(Entry(folder + name, sha256, size), epoch, commit_no)


def _name(epoch: int, commit_no: int, sha256: str) -> str:
    return f"{epoch:08d}-{commit_no:012d}-{sha256}"


def is_orphan(found: Found, claim: Claim) -> bool:
    """Tell whether nobody refers to an object, nor ever will. `claim` must be read after the object was found.

    An earlier owner's object is in the manifest or lost, for its owner is fenced. One of the present owner's may be
    of a commit that is to come, unless the one whose number it bears, or a later one, has been made. Of a tombstone
    nothing is needed.
    """
    if claim.retired:
        return True
    if claim.state is None:
        return found.epoch < claim.epoch
    if any(entry.key == found.entry.key for entry in claim.state.manifest):
        return False
    return found.epoch < claim.epoch or (found.epoch == claim.epoch and found.commit_no <= claim.state.commit_no)


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

    def reset(self, application: Application) -> Application:
        """Begin the next generation, without any state: the claims, commits and tombstones of the old one are void.

        `application` is the new item but for its `generation`, which is the old one, as read: 1 is added to it here.
        Returns what is stored then. FenceRefusedError if the stored generation is neither (somebody else has reset),
        or there is no application item.

        1. The application item is replaced, on condition that its generation is the old one.
        2. Every state item that is not of the new generation gets a higher epoch and loses all else.
        3. The progress of the old generation is deleted. Nothing depends on it: nobody reads an old generation's.

        Crash before 1: nothing has happened. After 1, or anywhere in 2: the old generation is over; what it left is
        refused by every worker (it is of another generation), what was cleared starts anew. Repeat the call as it
        was, or read the application and reset once more: both end with every item cleared. Not the other way round:
        a shard cleared while the old generation lasts could start empty in it, and give a second content to its ids.

        A zombie of the old generation cannot commit: one that had claimed before 1 is in the list of 2, and its epoch
        is passed; one that claims after 1 is refused by `advance`'s condition on the generation of the application.
        The caller sees to it that no lease is live, then sets the lease checkpoints to the start.
        """

    def adopt(self, before: Application, after: Application) -> Application:
        """Replace the application item by one of other definitions; return what is stored now, by whomever.

        On condition that the generation, the definitions and the number of adoptions that are stored are those of
        `before`: of two that adopt at once, one gets to see what the other has stored.
        """

    def claim(self, shard: str) -> Claim:
        """Add 1 to the epoch: from here on every earlier owner is fenced."""

    def read(self, shard: str) -> Claim | None:
        """Return the item without touching it; None if there is none."""

    def list_shards(self) -> Mapping[str, Claim]:
        """Return the items of all shards of this pipeline, tombstones included, by shard id, in order.

        Each is as it was at some moment of the call: decide on a shard only by a `read` of its own.
        """

    def shard_names(self) -> Sequence[str]:
        """Return the shard ids of all items, in order, whatever is in them: also of those that cannot be read."""

    def put_object(self, shard: str, generation: int, epoch: int, commit_no: int, data: bytes) -> Entry:
        """Write a snapshot entry under a name made of generation, shard, epoch, commit number and hash."""

    def get_object(self, entry: Entry) -> bytes:
        """Return the entry's bytes; CorruptStateError if they are missing or not of its size and hash."""

    def delete_objects(self, entries: Sequence[Entry]) -> None:
        """Delete superseded entries; an entry that is already gone is success."""

    def list_objects(self, shard: str, generation: int) -> Sequence[Found]:
        """Return what lies in the store of a shard's snapshots, torn writes included, sorted by name in each place.

        For the collection of orphans: list, then `read` the item, then delete what `is_orphan`.
        """

    def advance(self, shard: str, epoch: int, state: ShardState, *, ended: bool) -> None:
        """Replace the state if the item's epoch and `ended` are as given and its commit number is one less.

        In full: `epoch = epoch AND commit_no = state.commit_no - 1 AND ended = ended`; for commit 0 it is
        `epoch = epoch`, neither a commit nor a tombstone there, and the application item's generation that of
        `state`. FenceRefusedError if the condition does not hold, RetryableError if the outcome is unknown.

        An import writes a state with this: `claim`, `put_object` for what is not inline, and commit 0.
        """

    def retire(self, shard: str, epoch: int) -> None:
        """Make an ended item a tombstone: its epoch stays, and the mark that it is retired.

        On condition `epoch = epoch AND ended = true`. FenceRefusedError if that does not hold, unless the item is a
        tombstone already, of whatever epoch: that is success.
        """

    def read_ledger(self, shard: str) -> Ledger | None:
        """Return the shard's ledger, None if there is none: it is no part of the state (`marks.py`)."""

    def write_ledger(self, shard: str, ledger: Ledger) -> None:
        """Replace the shard's ledger, unless that is of a later epoch: it stays, which is success as well.

        A retired shard keeps its ledger, for its windows may be asked for. A reset deletes it; one of an old generation
        may come back by a zombie's write, so whoever reads it looks at the generation.
        """

    def put_contributions(self, rows: Sequence[bytes]) -> None:
        """Store contributions to global windows, as `core.contributions.encode` gives them, each under its name.

        The name is generation, hash of the window's definition, bucket, end, start, origin and chunk. One that is there
        is replaced: by the same bytes, for they are a function of the origin's records. After a RetryableError any of
        them may be stored: make the whole call again.
        """

    def read_contributions(
        self, generation: int, window_hash: str, bucket: int, *, after_end_ms: int | None, until_end_ms: int
    ) -> Iterator[Contribution]:
        """Yield what was contributed to a bucket of the windows that end after one time (None: ever) and up to another.

        In order of end, start, origin and chunk. They are fetched as they are asked for, a page at a time: errors come
        out of the iterator, and whoever stops early pays no more. What was stored before the first one was asked for is
        among them; what is stored meanwhile may be.
        """

    def write_progress(self, progress: Progress) -> None:
        """Replace the shard's progress of the generation, unless that is of a later commit: it stays, also success."""

    def read_progress(self, generation: int) -> Sequence[Progress]:
        """Return the progress of all shards of a generation, in order of their ids.

        Each is as it was at some moment of the call, not all as at one.
        """
