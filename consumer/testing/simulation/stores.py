"""The state store of a worker: one memory for all of them, and every trouble on the way to it.

A call is two steps, before its effect and after it. What goes wrong in between, by the words of the contract: nothing
was done; it was done and the answer is lost; it is done later, after a time-out was reported, by a process that may be
dead by then; it was done twice, or the client repeated it and tells of the second time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, TypeVar

from consumer.core.completion import Progress
from consumer.core.contributions import Contribution
from consumer.errors import RetryableError
from consumer.runtime.compaction import COMMITS_MAX
from consumer.state.base import Application, Claim, Entry, FenceRefusedError, Found, ShardState
from consumer.state.marks import Ledger
from consumer.testing.simulation.plan import Fault

if TYPE_CHECKING:
    from consumer.testing.simulation.worker import Worker
    from consumer.testing.simulation.world import World

T = TypeVar("T")
_STEP_SECONDS = {"put_object": 0.3, "list_objects": 1.5}
"""The longest that a step takes, where it is not as short as the others: others may act meanwhile."""
_USUAL_STEP_SECONDS = 0.03
_CONTRIBUTIONS_A_CALL = 3


class SimulatedStore:
    """A worker's access to the world's memory."""

    def __init__(self, world: World, worker: Worker) -> None:
        self._world = world
        self._worker = worker
        self._memory = world.memory_store

    def read_application(self) -> Application | None:
        """As StateStore."""
        return self._read("read_application", self._memory.read_application)

    def create_application(self, application: Application) -> Application:
        """As StateStore."""
        return self._write("create_application", lambda: self._memory.create_application(application))

    def adopt(self, before: Application, after: Application) -> Application:
        """As StateStore."""
        return self._write("adopt", lambda: self._memory.adopt(before, after))

    def claim(self, shard: str) -> Claim:
        """As StateStore."""
        oracle = self._world.oracle

        def claim() -> Claim:
            claimed = self._memory.claim(shard)
            oracle.claimed(shard, claimed)
            return claimed

        claimed = self._write("claim", claim)
        self._world.note(self._worker, f"claimed {shard} epoch {claimed.epoch}")
        self._world.scheduler.current.owns = (shard, claimed.epoch)
        return claimed

    def read(self, shard: str) -> Claim | None:
        """As StateStore."""
        return self._read("read", lambda: self._memory.read(shard))

    def put_object(self, shard: str, generation: int, epoch: int, commit_no: int, data: bytes) -> Entry:
        """As StateStore."""
        self._world.counts["merges of entries"] += commit_no >= COMMITS_MAX
        return self._write("put_object", lambda: self._memory.put_object(shard, generation, epoch, commit_no, data))

    def get_object(self, entry: Entry) -> bytes:
        """As StateStore."""
        return self._read("get_object", lambda: self._memory.get_object(entry))

    def delete_objects(self, entries: Sequence[Entry]) -> None:
        """As StateStore."""

        def delete() -> None:
            self._memory.delete_objects(entries)
            self._world.oracle.deleted(entries)

        self._write("delete_objects", delete)

    def list_objects(self, shard: str, generation: int) -> Sequence[Found]:
        """As StateStore."""
        return self._read("list_objects", lambda: self._memory.list_objects(shard, generation))

    def list_shards(self) -> Mapping[str, Claim]:
        """As StateStore."""
        return self._read("list_shards", self._memory.list_shards)

    def shard_names(self) -> Sequence[str]:
        """As StateStore."""
        return self._read("shard_names", self._memory.shard_names)

    def reset(self, application: Application) -> Application:
        """As StateStore."""
        return self._write("reset", lambda: self._memory.reset(application))

    def retire(self, shard: str, epoch: int) -> None:
        """As StateStore."""

        def retire() -> None:
            self._memory.retire(shard, epoch)
            self._world.oracle.retired(shard)

        self._write("retire", retire)

    def read_ledger(self, shard: str) -> Ledger | None:
        """As StateStore."""
        return self._read("read_ledger", lambda: self._memory.read_ledger(shard))

    def write_ledger(self, shard: str, ledger: Ledger) -> None:
        """As StateStore."""

        def write() -> None:
            self._memory.write_ledger(shard, ledger)
            self._world.oracle.marked(shard, ledger)

        self._write("write_ledger", write)

    def put_contributions(self, rows: Sequence[bytes]) -> None:
        """As StateStore: in calls of a few, so that one that fails leaves the others there."""
        for first in range(0, len(rows), _CONTRIBUTIONS_A_CALL):
            some = rows[first : first + _CONTRIBUTIONS_A_CALL]
            self._write("put_contributions", partial(self._memory.put_contributions, some))

    def read_contributions(
        self, generation: int, window_hash: str, bucket: int, *, after_end_ms: int | None, until_end_ms: int
    ) -> Iterator[Contribution]:
        """As StateStore: a few at a time, each page as the memory is then."""

        def stored() -> Sequence[Contribution]:
            return list(
                self._memory.read_contributions(
                    generation, window_hash, bucket, after_end_ms=after_end_ms, until_end_ms=until_end_ms
                )
            )

        last: tuple[int, int, str, int] | None = None
        while True:
            left = [each for each in self._read("read_contributions", stored) if last is None or _place(each) > last]
            yield from left[:_CONTRIBUTIONS_A_CALL]
            if len(left) <= _CONTRIBUTIONS_A_CALL:
                return
            last = _place(left[_CONTRIBUTIONS_A_CALL - 1])

    def write_progress(self, progress: Progress) -> None:
        """As StateStore."""
        self._write("write_progress", lambda: self._memory.write_progress(progress))

    def read_progress(self, generation: int) -> Sequence[Progress]:
        """As StateStore: each as it was before others acted or after, whatever the next one is."""
        early = {
            each.shard: each for each in self._read("read_progress", partial(self._memory.read_progress, generation))
        }
        late = {
            each.shard: each for each in self._read("read_progress", partial(self._memory.read_progress, generation))
        }
        random = self._world.random
        read = (random.choice((early, late)).get(shard) for shard in sorted(early | late))
        return [each for each in read if each is not None]

    def advance(self, shard: str, epoch: int, state: ShardState, *, ended: bool) -> None:
        """As StateStore."""
        world = self._world
        task = world.scheduler.current
        decisions = list(task.decisions)
        task.owns = (shard, epoch)
        if epoch < world.oracle.epoch(shard):
            world.counts["commits of zombies"] += 1

        def advance() -> None:
            self._memory.advance(shard, epoch, state, ended=ended)
            world.oracle.advanced(shard, epoch, state, decisions)

        self._write("advance", advance)
        world.note(self._worker, f"committed {shard} {epoch}/{state.commit_no} at {state.position}")

    def _read(self, name: str, read: Callable[[], T]) -> T:
        world = self._world
        self._step(name)
        if world.chance(Fault.STORE_BEFORE) or world.chance(Fault.STORE_AFTER):
            raise RetryableError(f"{name}: throttled")
        result = read()
        self._step(name)
        return result

    def _write(self, name: str, write: Callable[[], T]) -> T:
        world = self._world
        self._step(name)
        if world.chance(Fault.STORE_BEFORE):
            raise RetryableError(f"{name}: throttled")
        if world.chance(Fault.STORE_LATE):
            self._later(write)
            self._step(name, world.random.uniform(0.5, 6))
            raise RetryableError(f"{name}: timed out, and under way")
        result = write()
        if world.chance(Fault.STORE_REPEATED):
            result = write()
        if world.chance(Fault.STORE_DUPLICATE):
            self._later(write)
        self._step(name)
        if world.chance(Fault.STORE_AFTER):
            raise RetryableError(f"{name}: the answer is lost")
        return result

    def _later(self, write: Callable[[], object]) -> None:
        """Let the effect come when nobody expects it any more."""

        def arrive() -> None:
            try:
                write()
            except FenceRefusedError:
                self._world.counts["late writes refused"] += 1

        self._world.scheduler.after(self._world.random.choice((0.2, 2.0, 20.0)) * self._world.random.random(), arrive)

    def _step(self, name: str, seconds: float | None = None) -> None:
        world = self._world
        if seconds is None:
            seconds = world.random.random() * _STEP_SECONDS.get(name, _USUAL_STEP_SECONDS)
        world.step(self._worker, name, seconds)


def _place(contribution: Contribution) -> tuple[int, int, str, int]:
    return contribution.end_ms, contribution.start_ms, contribution.origin, contribution.chunk
