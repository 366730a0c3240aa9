"""Merging the entries of a shard's state while its commits go on, so that each commit costs what changed.

A manifest is a base and deltas; every commit adds one. When those after an entry have together grown to its size, they
become one entry with it: each byte is written again about as often as the state doubles. It is done level by level in
the background, one merge at a time a shard, and the next commit takes the merged entry up in the place of those it was
made of. They are deleted after that commit.

Why no crash loses anything: a manifest names the old entries until a commit has named the merged one, and that is in
the store by then. Its name bears this owner's epoch, and a number that COMMITS_MAX commits do not reach: the first one
to refer to it has no higher number, as `state/base.py` demands, so nobody takes it for an orphan before; left behind
by a crash, or written by an owner that is fenced, it is one for the next owner. The numbers of background merges are
odd, those of merges that a commit waits for even: what the one gives up, and deletes who knows when, the other cannot
have written anew under the same name. A merge that fails starts anew after some commit; what it may have left in the
store is deleted before.
"""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable, Sequence
from functools import partial
from queue import SimpleQueue
from typing import NamedTuple

from consumer.core.merging import merge
from consumer.errors import StreamgaugeError
from consumer.runtime.surroundings import Surroundings
from consumer.state.base import MANIFEST_ENTRIES_MAX, Entry

RUN_MIN = 8
"""How many entries are merged at least: each has to be read, and small ones cost as much to ask for as large ones."""
CROWDED = 24
"""From so many entries on the newest are merged whatever their sizes: places must not run out."""
COMMITS_MAX = 10_000
"""A merged entry that so many commits have not taken up is given up."""

Task = Callable[[], None]
Wanted = Callable[[], bool]


class Background:
    """A thread for all shards' merges. It is a daemon: the end of the process does not wait for it."""

    def __init__(self) -> None:
        self._tasks: SimpleQueue[Task] = SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="compaction", daemon=True)
        self._starting = threading.Lock()

    def __call__(self, task: Task) -> None:
        """Have a task done when those before it are. It must not raise."""
        with self._starting:  # all shards come at about the same time
            if self._thread.ident is None:
                self._thread.start()
        self._tasks.put(task)

    def _run(self) -> None:
        while True:
            self._tasks.get()()


class Compaction:
    """The merges of one owner of a shard. `wanted` tells, until it says no, whether the owner may still commit."""

    def __init__(self, around: Surroundings, shard: str, wanted: Wanted) -> None:
        self._around = around
        self._shard = shard
        self._wanted = wanted
        self._merge: _Merge | None = None
        self._last_number = 0
        self._failed: set[Attempt] = set()
        """What merges that have failed may have written."""

    def start(self, manifest: tuple[Entry, ...], *, epoch: int, commit_no: int) -> None:
        """Have neighbours merged if it is time for that, and nothing else is being merged. Called after a commit."""
        if self._merge is not None:
            return
        run = due(manifest)
        if run:
            # No number comes twice: what is deleted of a failed merge, who knows when, is never written anew.
            number = self._last_number = max((commit_no + COMMITS_MAX) | 1, self._last_number + 2)
            left = Leftovers(self._around, self._shard, epoch, self._failed)
            self._merge = _Merge(self._around, self._shard, run, epoch, number, self._wanted, left)
            self._around.in_background(self._merge)

    def take_up(self, manifest: tuple[Entry, ...], *, epoch: int, commit_no: int) -> tuple[Entry, ...]:
        """Return the manifest that a commit adds its delta to, with a merged entry in the place of those it is made of.

        If merges lag behind so far that there is no place for the delta, the cheapest neighbours are merged here and
        now, and the commit waits for it: it costs what they hold.
        """
        manifest = self._taken_up(manifest, commit_no)
        # One place is for this commit's delta, one for the last commit of an ended state.
        while len(manifest) > MANIFEST_ENTRIES_MAX - 2:
            manifest = self._merged_now(manifest, epoch, commit_no)
        return manifest

    def _taken_up(self, manifest: tuple[Entry, ...], commit_no: int) -> tuple[Entry, ...]:
        done = self._merge
        if done is None or done.entry is None or commit_no > done.number:
            return manifest
        at = _place(done.run, manifest)
        assert at is not None, "else it was given up after the last commit"
        self._merge = None
        return (*manifest[:at], done.entry, *manifest[at + len(done.run) :])

    def _merged_now(self, manifest: tuple[Entry, ...], epoch: int, commit_no: int) -> tuple[Entry, ...]:
        around, merging = self._around, () if self._merge is None else self._merge.run
        at = _cheapest_pair(manifest, merging)
        pair = manifest[at : at + 2]
        read = around.store.get_object
        data = merge([around.retrying(self._shard, "load", partial(read, entry)) for entry in pair])
        number = commit_no + commit_no % 2
        put = partial(around.store.put_object, self._shard, around.application.generation, epoch, number, data)
        return (*manifest[:at], around.retrying(self._shard, "snapshot", put), *manifest[at + 2 :])

    def unused(self, manifest: tuple[Entry, ...], *, commit_no: int) -> list[Entry]:
        """Give up a merge that the next commit cannot take up, and return what is to be deleted. Called after a commit.

        What went wrong in the background without being foreseen is raised here.
        """
        merging = self._merge
        if merging is None:
            return []
        can_be_taken_up = _place(merging.run, manifest) is not None and commit_no < merging.number
        if can_be_taken_up and not merging.has_failed():
            return []
        self._merge = None
        if merging.has_failed() and merging.attempt is not None:
            self._failed.add(merging.attempt)
        return merging.give_up()


class Attempt(NamedTuple):
    """What a merge was about to write. Commits may have the same number, but never the same bytes."""

    number: int
    sha256: str


class Leftovers:
    """What failed merges of an owner have left in the store: a whole entry without an answer, or a part of one.

    `failed` is what they may have written, and emptied here.
    """

    def __init__(self, around: Surroundings, shard: str, epoch: int, failed: set[Attempt]) -> None:
        self._around = around
        self._shard = shard
        self._epoch = epoch
        self._failed = failed

    def delete(self) -> None:
        """Delete them, in the background: a failed write may have cost as much as the state, and others will follow."""
        if not self._failed:
            return
        store = self._around.store
        found = store.list_objects(self._shard, self._around.application.generation)
        mine = [one for one in found if one.epoch == self._epoch]
        store.delete_objects([one.entry for one in mine if (one.commit_no, one.entry.sha256) in self._failed])
        self._failed.clear()


class _Merge:
    """One merge: it reads a run of entries and writes one. `entry` is that, when it is there.

    `number` is that of the last commit that may refer to the entry first.
    """

    def __init__(
        self,
        around: Surroundings,
        shard: str,
        run: tuple[Entry, ...],
        epoch: int,
        number: int,
        wanted: Wanted,
        leftovers: Leftovers,
    ) -> None:
        self.run = run
        self.number = number
        self.entry: Entry | None = None
        self.attempt: Attempt | None = None
        self._around = around
        self._shard = shard
        self._epoch = epoch
        self._wanted_by_owner = wanted
        self._leftovers = leftovers
        self._lock = threading.Lock()
        self._is_given_up = False
        self._error: Exception | None = None

    def __call__(self) -> None:
        """Do it. Trouble with the store is told, and it is tried anew after some commit."""
        try:
            self._do()
        except Exception as error:  # noqa: BLE001 - raised by has_failed, in the shard's own thread
            if isinstance(error, StreamgaugeError) and self._is_wanted():
                self._around.telemetry.merge_failed(shard=self._shard, error=error)
            self._error = error

    def _do(self) -> None:
        store = self._around.store
        self._leftovers.delete()
        data = merge([store.get_object(entry) for entry in self.run])
        if not self._is_wanted():
            return
        generation = self._around.application.generation
        self.attempt = Attempt(self.number, hashlib.sha256(data).hexdigest())
        entry = store.put_object(self._shard, generation, self._epoch, self.number, data)
        with self._lock:
            if self._is_wanted():
                self.entry = entry
                return
        store.delete_objects([entry])

    def _is_wanted(self) -> bool:
        """Tell whether a commit may still take it up. If not, the entries it reads may be gone, which is no error."""
        return not self._is_given_up and self._wanted_by_owner()

    def has_failed(self) -> bool:
        """Tell whether the store has failed it; raise what nobody had foreseen."""
        if self._error is not None and not isinstance(self._error, StreamgaugeError):
            raise self._error
        return self._error is not None

    def give_up(self) -> list[Entry]:
        """Let no commit take it up; return what it has written, which is the caller's to delete."""
        with self._lock:
            self._is_given_up = True
            return [] if self.entry is None else [self.entry]


def due(manifest: Sequence[Entry]) -> tuple[Entry, ...]:
    """Return the newest entries, as many as are to be merged now: as far back as the newer ones outgrow one."""
    first, newer_bytes = None, 0
    for at in reversed(range(len(manifest))):
        if newer_bytes >= manifest[at].size and len(manifest) - at >= RUN_MIN:
            first = at
        newer_bytes += manifest[at].size
    if first is None and len(manifest) >= CROWDED:
        first = len(manifest) - RUN_MIN
    return () if first is None else tuple(manifest[first:])


def _place(run: Sequence[Entry], manifest: Sequence[Entry]) -> int | None:
    """Return where a run stands in a manifest, None if it does not any more."""
    at = manifest.index(run[0]) if run[0] in manifest else len(manifest)
    return at if tuple(manifest[at : at + len(run)]) == tuple(run) else None


def _cheapest_pair(manifest: Sequence[Entry], merging: Sequence[Entry]) -> int:
    """Return where the smallest two neighbours stand; those that are being merged only if there are no others."""

    def cost(at: int) -> tuple[bool, int]:
        pair = manifest[at : at + 2]
        return any(entry in merging for entry in pair), sum(entry.size for entry in pair)

    return min(range(len(manifest) - 1), key=cost)
