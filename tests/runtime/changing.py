"""A family of shards whose pipeline changes while it runs: windows are removed, added, and added again."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from random import Random
from typing import Any, NamedTuple, cast

from consumer.core import snapshot
from consumer.core.compile import Program, compile_pipeline
from consumer.pipeline.definitions import definitions_text, window_hash
from consumer.pipeline.model import Pipeline, Removal, StdoutSink, Window
from consumer.records import DEAD_LETTER, LATE, Position, Record
from consumer.runtime.adoption import Programs, adopt
from consumer.runtime.surroundings import Surroundings
from consumer.sinks.base import Router
from consumer.state.base import Application, StateStore
from consumer.state.memory import MemoryStore
from consumer.testing.reference import Adoption, ReferenceShard, reference_lineage
from tests.random_pipelines import PipelineMaker, as_written
from tests.random_streams import records
from tests.runtime.test_resharding import ORIGINS, Family
from tests.runtime.world import STREAM_CREATED_MS


class Version(NamedTuple):
    """The definitions of an adoption."""

    application: Application
    program: Program

    def hash_of(self, pipeline: Pipeline, window: Window) -> str:
        return window_hash(pipeline, window, dict(self.application.incarnations).get(window.name, 0))

    def hashes(self) -> dict[str, str]:
        """Return the names of the windows by their hashes."""
        return {self.hash_of(self.program.pipeline, each): each.name for each in self.program.pipeline.windows}


class ChangingFamily(Family):
    """`whole` has all windows that there may be; each version has some of them."""

    def __init__(self, whole: Pipeline, items: list[Record]) -> None:
        super().__init__(whole, items)
        self.whole = whole
        self.counts: Counter[str] = Counter()
        self._programs = Programs()
        self._versions: dict[str, Version] = {}
        self._first: Version | None = None
        self._told: dict[str, Removal] = {}
        """What was told of windows that were removed, by their hashes."""
        self._seen: dict[str, str] = {}
        self._adopts: dict[str, Adoption] = {}
        self._adoptions: dict[str, list[tuple[Position | None, Adoption]]] = {shard: [] for shard in ORIGINS}

    def begin(self, names: list[str]) -> None:
        """Begin with these windows."""
        pipeline = self.with_windows(names)
        self.program = compile_pipeline(pipeline)
        text = definitions_text(pipeline)
        self.application = Application(0, 0, ("low", "high"), self.program.definitions, STREAM_CREATED_MS, meaning=text)
        self.memory.application = self.application
        self._first = self._note()

    @property
    def begun(self) -> Version:
        """Return the version that it began with."""
        assert self._first is not None
        return self._first

    def with_windows(self, names: list[str], removals: dict[str, Removal] | None = None) -> Pipeline:
        """Return a pipeline with some of the windows."""
        windows = tuple(window for window in self.whole.windows if window.name in names)
        state = replace(self.whole.state, removed_windows=tuple((removals or {}).items()))
        return replace(self.whole, windows=windows, state=state)

    def change(self, names: list[str], removals: dict[str, Removal]) -> None:
        """Start the next workers with a file that has these windows."""
        before = self._versions[self.application.definitions].hashes()
        pipeline = self.with_windows(names, removals)
        stored = self.memory.application
        assert stored is not None
        self.application = adopt(stored, pipeline, MemoryStore(self.memory).adopt)
        self.program = compile_pipeline(pipeline, incarnations=dict(self.application.incarnations))
        after = self._note().hashes()
        self._told |= {hash_: removals[name] for hash_, name in before.items() if hash_ not in after}
        self.counts["changes"] += 1

    def change_at_random(self, random: Random) -> None:
        all_names = [window.name for window in self.whole.windows]
        names = [name for name in all_names if random.random() < 0.6] or random.sample(all_names, 1)
        words: list[Removal] = ["flush", "drop"]
        self.change(names, {name: random.choice(words) for name in all_names if name not in names})

    def _note(self) -> Version:
        assert self.application.definitions == self.program.definitions
        version = Version(self.application, self.program)
        return self._versions.setdefault(self.application.definitions, version)

    def surroundings(self, store: StateStore | None = None) -> Surroundings:
        outputs = [*(window.name for window in self.whole.windows), LATE, DEAD_LETTER]
        router = Router({output: [self.sink] for output in outputs})
        return replace(super().surroundings(store), router=router, programs=self._programs)

    def step(self, name: str) -> None:
        if name == "after advance":
            self._look()
        super().step(name)

    def _look(self) -> None:
        """Find states that have other definitions than before."""
        for shard, claim in self.memory.items.items():
            state = claim.state
            if state is None or self._seen.get(shard) == state.definitions:
                continue
            parents = {self._seen[parent] for parent in ORIGINS[shard].parents}
            if shard in self._seen:
                adoption = self._adoption({self._seen[shard]}, state.definitions)
                self._adoptions[shard].append((state.position, adoption))
                self.counts["carried over"] += 1
            elif parents - {state.definitions}:
                self._adopts[shard] = self._adoption(parents, state.definitions)
                self.counts["carried over from parents"] += 1
                self.counts["parents of several definitions"] += len(parents) > 1
            elif not parents and self._first is not None:
                first = self._first.application.definitions
                if state.definitions != first:
                    self._adoptions[shard].append((None, self._adoption({first}, state.definitions)))
            self._seen[shard] = state.definitions

    def _adoption(self, before: set[str], after: str) -> Adoption:
        version = self._versions[after]
        kept = version.hashes()
        gone = {hash_ for each in before for hash_ in self._versions[each].hashes() if hash_ not in kept}
        flushed = frozenset(hash_ for hash_ in gone if self._told[hash_] == "flush")
        self.counts["flushed"] += bool(flushed)
        self.counts["dropped"] += len(flushed) < len(gone)
        return Adoption(version.program.pipeline, version.hash_of, flushed)

    def saved(self) -> list[Any]:
        """Return what survives processes, to go back to with `back_to`."""
        memory, leases = self.memory, {shard: replace(lease) for shard, lease in self.leases.items()}
        kept = [dict(memory.items), dict(memory.objects), leases, list(self.sink.rows), dict(self._seen)]
        adoptions = {shard: list(each) for shard, each in self._adoptions.items()}
        return [*kept, dict(self._adopts), adoptions, dict(memory.ledgers)]

    def back_to(self, saved: list[Any]) -> None:
        """Go back to what was saved."""
        items, objects, leases, rows, seen, adopts, adoptions, ledgers = saved
        self.memory.ledgers = dict(ledgers)
        self.memory.items, self.memory.objects = dict(items), dict(objects)
        self.leases = {shard: replace(lease) for shard, lease in leases.items()}
        self.sink.rows, self._seen, self._adopts = list(rows), dict(seen), dict(adopts)
        self._adoptions = {shard: list(each) for shard, each in adoptions.items()}

    def _outbox(self, shard: str) -> Iterator[bytes]:
        """Return the rows of an outbox, of whatever definitions."""
        state = self.memory.items[shard].state
        if state is not None:
            store = MemoryStore(self.memory)
            data = state.inline if state.inline is not None else store.get_object(state.manifest[-1])
            yield from (row.data for row in snapshot.Reader(data).outbox)

    def assert_exact(self) -> None:
        shards = [
            ReferenceShard(
                shard,
                origin.hash_range,
                origin.parents,
                self.leases[shard].records,
                adopts=self._adopts.get(shard),
                adoptions=[(self._count(shard, position), each) for position, each in self._adoptions[shard]],
            )
            for shard, origin in ORIGINS.items()
        ]
        expected = reference_lineage(self.begun.program.pipeline, 0, shards, window_hash).values()
        rows = self.unique_rows()
        wanted = {json.loads(row.data)["id"]: row.data for each in expected for row in [*each.rows, *each.late]}
        dead = {letter.id: letter for each in expected for letter in each.dead_letters}
        assert len(wanted) == sum(len(each.rows) + len(each.late) for each in expected), "an id came twice"
        told = wanted.keys() | dead.keys()
        missing, extra = told - rows.keys(), rows.keys() - told
        assert not missing, [wanted.get(each, dead.get(each)) for each in missing][:3]
        assert not extra, [rows[each] for each in extra][:3]
        assert all(rows[row_id] == data for row_id, data in wanted.items())
        assert all(letter.matches(rows[row_id]) for row_id, letter in dead.items())

    def _count(self, shard: str, position: Position | None) -> int:
        return sum(position is not None and Position.of(each) <= position for each in self.leases[shard].records)


def changing_family(seed: int, count: int) -> ChangingFamily:
    """Return a family of a random pipeline of many windows, which begins with some of them."""
    random = Random(seed)
    made = as_written(PipelineMaker(random).pipeline(3, 5))
    whole = replace(made, late=StdoutSink(), dead_letter=StdoutSink())
    family = ChangingFamily(whole, cast("list[Record]", list(records(Random(seed), count))))
    names = [window.name for window in whole.windows]
    family.begin([name for name in names if random.random() < 0.7] or names[:1])
    return family
