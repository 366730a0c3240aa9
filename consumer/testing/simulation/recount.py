"""The end of a run: all is compared with a recount that knew no trouble. The numbers are those of the invariants.

I1 the counts add up; I2 the rows are those of the recount, byte for byte; I7 the shards that are alive cover the hash
keys once; I10 no window stays open behind the watermark, for the state is that of the recount. The recount is the real
core, every shard's records in one go and its idle decisions where they were taken; in some runs the plain interpreter
counts as well, which shares nothing with the core.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from collections.abc import Set as AbstractSet
from itertools import groupby
from operator import itemgetter
from typing import TYPE_CHECKING

import msgspec

from consumer.core.processor import Processor
from consumer.pipeline.definitions import window_hash
from consumer.records import Record, Row
from consumer.testing.entries import whole_entry
from consumer.testing.reference import DeadLetter, Idle, ReferenceShard, reference_combined, reference_lineage
from consumer.testing.simulation.combined import lowest_ms, rows_due
from consumer.testing.simulation.oracle import id_of
from consumer.testing.simulation.stream import HASH_LAST

if TYPE_CHECKING:
    from consumer.testing.simulation.stream import Shard
    from consumer.testing.simulation.world import World


class Recount:
    """Recounts one run."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._oracle = world.oracle
        self._program = world.program
        self._recounted: dict[str, Processor] = {}

    def check(self) -> None:
        """Compare rows and states; AssertionError if anything differs."""
        world, rows = self._world, list[Row]()
        for shard in world.stream.shards.values():
            processor, of_shard = self._recount(shard)
            self._recounted[shard.id] = processor
            self._compare_state(shard, processor)
            rows += of_shard
        due = rows_due(self._program, rows, lowest_ms(self._oracle.states))
        # What became complete by the last commits of workers that stop may still be to be combined.
        open_to = _by_id(due).keys() - _by_id(rows_due(self._program, rows, world.settled_ms)).keys()
        world.counts["rows"] += len(rows) + len(due)
        world.counts["rows of global windows"] += len(due)
        rows += due
        for sink, outputs in world.routes().items():
            wanted = {id_of(row.data): row.data for row in rows if row.output in outputs}
            assert len(wanted) == sum(row.output in outputs for row in rows), "I2: the recount has an id twice"
            shelf = self._oracle.shelves.get(sink, {})
            _compare(sink, _without(wanted, open_to - shelf.keys()), shelf)
        self._check_cover()
        if world.plan.interprets:
            self._interpret(open_to)

    def _recount(self, shard: Shard) -> tuple[Processor, list[Row]]:
        """Run a shard's records without trouble, and its idle decisions where they were taken."""
        processor = self._begin(shard)
        rows: list[Row] = []
        start = 0
        bound_ms = self._program.pipeline.events.out_of_orderness_ms
        for position, decisions in groupby(self._oracle.decisions.get(shard.id, []), key=itemgetter(0)):
            end = shard.after(position)
            rows += processor.apply(shard.records[start:end]).rows
            start = end
            for _, watermark_ms in decisions:
                rows += processor.idle(watermark_ms + bound_ms).rows
                while processor.closing:
                    rows += processor.step(()).rows
        rows += processor.apply(shard.records[start:]).rows
        return processor, rows

    def _restore(self, shard: Shard, entries: Sequence[bytes]) -> Processor:
        return Processor.restore(self._program, shard.id, 0, entries, hash_range=shard.hash_range)[0]

    def _begin(self, shard: Shard) -> Processor:
        program, parents = self._program, [self._recounted[parent] for parent in shard.parents]
        if not parents:
            return Processor(program, shard.id, hash_range=shard.hash_range)
        return Processor.inherit(program, shard.id, 0, hash_range=shard.hash_range, parents=parents)

    def _compare_state(self, shard: Shard, recounted: Processor) -> None:
        world = self._world
        restored = self._restore(shard, self._oracle.last_entries(shard.id))
        assert not restored.closing or not restored.step(()).rows, f"I10: {shard.id}: rows wait behind the watermark"
        totals, counted = restored.totals, recounted.totals
        assert totals.received - totals.replayed == len(shard.records), f"I1: {shard.id}: records are missing"
        world.counts["late rows"] += sum(totals.late.values())
        world.counts["dead letters"] += sum(totals.dead_letters.values())
        totals.received, totals.replayed = counted.received, counted.replayed
        assert totals == counted, f"I1: {shard.id}: {totals} instead of {counted}"
        got, wanted = _meaning(restored), _meaning(self._restore(shard, [recounted.freeze([], base=True)]))
        assert got == wanted, f"I2: {shard.id}: the state is not that of the recount: {_difference(got, wanted)}"

    def _check_cover(self) -> None:
        """Hold the ranges of the states that have not ended against the whole of the hash keys: I7."""
        ranges = sorted(tuple(map(int, state.hash_range)) for state in self._oracle.states.values() if not state.ended)
        ends = [-1, *(last for _, last in ranges)]
        assert [first for first, _ in ranges] == [end + 1 for end in ends[:-1]], "I7: hash keys twice or not at all"
        assert ends[-1] == HASH_LAST, "I7: hash keys not at all"

    def _interpret(self, open_to: AbstractSet[str]) -> None:
        """Compare the rows with what the plain interpreter says; those of `open_to` need not be there."""
        shards = [
            ReferenceShard(shard.id, shard.hash_range, shard.parents, self._inputs(shard))
            for shard in self._world.stream.shards.values()
        ]
        pipeline, until_ms = self._program.pipeline, lowest_ms(self._oracle.states)
        expected = reference_lineage(pipeline, 0, shards, window_hash).values()
        combined = reference_combined(
            pipeline, 0, expected, window_hash, until_ms=-math.inf if until_ms is None else until_ms
        )
        dead = {letter.id: letter for each in expected for letter in each.dead_letters}
        shelf = self._oracle.shelves.get("all", {})
        _compare(
            "the interpreter",
            _without(
                _by_id([*combined.rows, *(row for each in expected for row in (*each.rows, *each.late))]),
                open_to - shelf.keys(),
            ),
            {row_id: row for row_id, row in shelf.items() if row_id not in dead},
        )
        wrong = [letter for row_id, letter in dead.items() if not _is_there(letter, shelf.get(row_id))]
        assert not wrong, f"I2: the interpreter: {len(wrong)} dead letters differ: {wrong[:2]}"
        self._world.counts["runs interpreted"] += 1

    def _inputs(self, shard: Shard) -> list[Record | Idle]:
        inputs: list[Record | Idle] = []
        start = 0
        for position, watermark_ms in self._oracle.decisions.get(shard.id, []):
            end = shard.after(position)
            inputs += shard.records[start:end]
            inputs.append(Idle(watermark_ms + self._program.pipeline.events.out_of_orderness_ms))
            start = end
        return inputs + shard.records[start:]


def _by_id(rows: Iterable[Row]) -> dict[str, bytes]:
    return {id_of(row.data): row.data for row in rows}


def _without(rows: dict[str, bytes], ids: AbstractSet[str]) -> dict[str, bytes]:
    return {row_id: row for row_id, row in rows.items() if row_id not in ids}


def _is_there(letter: DeadLetter, row: bytes | None) -> bool:
    return row is not None and letter.matches(row)


def _difference(got: Sequence[object], wanted: Sequence[object]) -> str:
    """Return the first part that differs, as short as can be."""
    for one, other in zip(got, wanted, strict=True):
        if one != other:
            if isinstance(one, list) and isinstance(other, list) and len(one) == len(other):
                return _difference(one, other)
            return f"{one!r} instead of {other!r}"[:1_000]
    return "nothing"


def _meaning(processor: Processor) -> list[object]:
    """Return the state of a processor without what is only order.

    Of parts of other shards only the groups: they get no more events, so it does not matter when it is forgotten which
    of them were emitted early.
    """
    entry = whole_entry(processor.freeze([], base=True))
    inherited = [
        (number, origin, lowest, _sorted(groups))
        for number, origin, lowest, (*groups, _parts) in entry.inherited
        if any(groups)
    ]
    watermark_ms = entry.header.watermark_ms
    floors = [floor for floor in entry.header.floors if watermark_ms is None or floor[-1] > watermark_ms]
    header = msgspec.structs.replace(entry.header, floors=sorted(floors))
    header = msgspec.structs.replace(header, combining=msgspec.UNSET)  # what_is_left has looked into it
    return [*msgspec.structs.astuple(header), _sorted_each(entry.windows), sorted(inherited, key=repr)]


def _sorted_each(values: Sequence[object]) -> list[object]:
    return [_sorted(value) for value in values]


def _sorted(value: object) -> object:
    if isinstance(value, list):
        return sorted((_sorted(each) for each in value), key=repr)
    return value


def _compare(sink: str, wanted: dict[str, bytes], got: dict[str, bytes]) -> None:
    missing = [row for row_id, row in wanted.items() if row_id not in got]
    extra = [row for row_id, row in got.items() if row_id not in wanted]
    other = [row_id for row_id, row in wanted.items() if row_id in got and got[row_id] != row]
    if missing or extra or other:
        first = (missing or extra or [wanted[other[0]], got[other[0]]])[:2]
        raise AssertionError(
            f"I2: {sink}: {len(missing)} rows are missing, {len(extra)} are too many, {len(other)} differ: {first}"
        )
