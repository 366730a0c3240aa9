"""The generated code against the plain interpreter, through splits and merges.

A test's name ends with its seed: the pipeline, its shards and their records are made from it.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import replace
from random import Random
from typing import Any

import pytest

from consumer.core.compile import Program, compile_pipeline
from consumer.core.counts import Counts
from consumer.core.processor import Outcome, Processor
from consumer.pipeline.definitions import window_hash
from consumer.pipeline.model import Pipeline
from consumer.records import CONTRIBUTION, DEAD_LETTER, LATE, HashRange, Record, Row
from consumer.testing.reference import Expected, Idle, ReferenceShard, reference, reference_lineage
from tests import random_lineages
from tests.core.rule_stories import IMPLEMENTATIONS, Core, Reference, story_record
from tests.core.rule_stories import pipeline as story_pipeline
from tests.random_lineages import EVERYTHING, calm_lineage, without_late_events
from tests.seeds import seeds

GENERATION = 3
SEEDS = seeds(100, deep=100)

Step = Idle | list[Record]


class Case:
    """A random pipeline, compiled, and shards for it."""

    def __init__(self, seed: int, *, combines: bool = False) -> None:
        self.random = Random(seed)
        self.pipeline = random_lineages.pipeline(self.random, combines=combines)
        self.shards = random_lineages.wild_lineage(self.random, self.pipeline)
        self.program = compile_pipeline(self.pipeline)
        parents = {parent for shard in self.shards for parent in shard.parents}
        self.leaves = {shard.id for shard in self.shards} - parents

    def expected(self, *, close_all: bool) -> dict[str, Expected]:
        return reference_lineage(self.pipeline, GENERATION, self.shards, window_hash, close_all=close_all)

    def begin(self, shard: ReferenceShard, parents: Sequence[Processor]) -> Processor:
        return begin(self.program, shard, parents)

    def steps(self, shard: ReferenceShard, size_max: int) -> Iterator[Step]:
        """Return what comes in of a shard: records in batches of random sizes."""
        batch: list[Record] = []
        size = self.random.randint(0, size_max)
        for item in shard.inputs:
            if isinstance(item, Idle) or len(batch) >= size:
                yield batch
                batch, size = [], self.random.randint(0, size_max)
            if isinstance(item, Idle):
                yield item
            else:
                batch.append(item)
        yield batch


def begin(program: Program, shard: ReferenceShard, parents: Sequence[Processor]) -> Processor:
    if not parents:
        return Processor(program, shard.id, GENERATION, hash_range=shard.hash_range)
    return Processor.inherit(program, shard.id, GENERATION, hash_range=shard.hash_range, parents=parents)


def take(processor: Processor, step: Step) -> list[Row]:
    """Return all rows that arise from a step."""
    if isinstance(step, list):
        return processor.apply(step).rows
    return processor.idle(step.now_ms).rows + processor.apply(()).rows


def assert_rows(rows: list[Row], expected: Expected) -> None:
    assert [row for row in rows if row.output not in {LATE, DEAD_LETTER, CONTRIBUTION}] == expected.rows
    assert [row for row in rows if row.output == LATE] == expected.late
    dead = [row for row in rows if row.output == DEAD_LETTER]
    for row, letter in zip(dead, expected.dead_letters, strict=True):
        assert letter.matches(row.data), (row, letter)


def _assert_counts(counts: Counts, expected: Expected) -> None:
    assert counts.received == expected.received
    assert counts.filtered == expected.filtered
    assert counts.late == dict(expected.late_events)
    assert sum(counts.dead_letters.values()) == sum(expected.dead_lettered.values())
    assert sum(counts.results.values()) == len(expected.rows)


@pytest.mark.parametrize("seed", SEEDS)
def test_generated_code_gives_what_the_interpreter_gives(seed: int) -> None:
    case = Case(seed)
    expected = case.expected(close_all=False)
    processors: dict[str, Processor] = {}
    for shard in case.shards:
        processor = case.begin(shard, [processors[parent] for parent in shard.parents])
        processors[shard.id] = processor
        size_max = case.random.choice([1, 9, 1000])
        rows = [row for step in case.steps(shard, size_max) for row in take(processor, step)]
        assert_rows(rows, expected[shard.id])
        _assert_counts(processor.totals, expected[shard.id])
        assert processor.watermark_ms == expected[shard.id].watermark_ms
        assert sum(processor.open_groups().values()) == len(expected[shard.id].open_windows)


@pytest.mark.parametrize("seed", SEEDS)
def test_results_do_not_depend_on_freezing_and_restoring(seed: int) -> None:
    """Any mixture of bases, deltas and restarts, with records delivered again, gives the same rows."""
    case = Case(seed)
    expected = case.expected(close_all=True)
    mortals: dict[str, Mortal] = {}
    for shard in case.shards:
        mortal = mortals[shard.id] = Mortal(case, shard, [mortals[parent] for parent in shard.parents])
        mortal.take_all()
        mortal.assert_rows(expected[shard.id])
        replayed = mortal.processor.totals.replayed
        counts = replace(mortal.processor.totals, received=mortal.processor.totals.received - replayed)
        _assert_counts(counts, expected[shard.id])
        if shard.id in case.leaves:
            assert sum(mortal.processor.open_groups().values()) == 0
            assert not mortal.processor._core.inherited, "what is empty is let go of"


class Mortal:
    """A shard that is frozen after every step, and often dies and is restored."""

    def __init__(self, case: Case, shard: ReferenceShard, parents: Sequence[Mortal]) -> None:
        self._case = case
        self._shard = shard
        self._random = case.random
        self._entries: list[bytes] = []
        self.rows: list[Row] = []
        early = case.pipeline.limits.policy == "emit_early"
        self._rows_max = 10_000 if early else self._random.choice([1, 3, 10_000])
        self.processor = self._slow(case.begin(shard, [parent.restored() for parent in parents]))
        self._took(Outcome([], Counts()))

    def restored(self) -> Processor:
        """Return a processor made of what is stored."""
        shard = self._shard
        processor, _ = Processor.restore(
            self._case.program, shard.id, GENERATION, self._entries, hash_range=shard.hash_range
        )
        return self._slow(processor)

    def _slow(self, processor: Processor) -> Processor:
        """Let as few windows close at once as may be, where that does not put early rows in another place."""
        processor._core._rows_max = self._rows_max
        return processor

    def take_all(self) -> None:
        """Take all that comes in, and its end if the shard has no children."""
        before: list[Record] = []
        for step in self._case.steps(self._shard, 9):
            if isinstance(step, Idle):
                self._took(self.processor.idle(step.now_ms))
                self._take([])
            else:
                again = self._random.randrange(min(4, len(before) + 1))
                self._take(before[len(before) - again :] + step)
                before += step
        if self._shard.id in self._case.leaves:
            self._took(self.processor.end())
            self._take([])

    def assert_rows(self, expected: Expected) -> None:
        """Hold the rows against what was expected.

        Above a floor one record may both update a window that has ended and close others; if these close in portions,
        its rows are not put in order together.
        """
        rows = self.rows
        if self._rows_max < 10_000:
            rows = sorted(rows, key=lambda row: row if row.output not in {LATE, DEAD_LETTER} else ())
            expected = replace(expected, rows=sorted(expected.rows))
        assert_rows(rows, expected)

    def _take(self, records: list[Record]) -> None:
        while records or self.processor.closing:
            outcome = self.processor.step(records)
            records = records[outcome.taken :]
            self._took(outcome)

    def _took(self, outcome: Outcome) -> None:
        self.rows += outcome.rows
        base = not self._entries or self._random.random() < 0.2
        entry = self.processor.freeze(outcome.rows, base=base)
        self._entries = [entry] if base else [*self._entries, entry]
        if self._random.random() < 0.5:
            before, self.processor = self.processor, self.restored()
            assert self.processor.room() == before.room()
            assert self.processor.open_groups() == before.open_groups()


def test_a_sessions_id_has_the_floor_by_which_its_first_event_was_late() -> None:
    """The event at 14 is late alone, and becomes the first one of a session that is kept."""
    definition = story_pipeline("w: {session: 10ms, by: [user], select: {c: count()}}", bound="0ms")
    expected, *others = [_after_a_merge(implementation(definition)) for implementation in IMPLEMENTATIONS.values()]
    assert len(expected) == 3
    assert all(rows == expected for rows in others)


def _after_a_merge(told: Reference | Core) -> list[Row]:
    """Tell of a merge of a fast shard and a slow one."""
    half = EVERYTHING.last // 2
    told.begin("left", HashRange(0, half), [])
    told.begin("right", HashRange(half + 1, EVERYTHING.last), [])
    rows = told.take("left", story_record(1, "5 a")) + told.take("left", story_record(2, "25 a"))
    rows += told.take("right", story_record(1, "1 b"))
    told.begin("whole", EVERYTHING, ["left", "right"])
    rows += told.take("whole", story_record(3, "20 a")) + told.take("whole", story_record(4, "14 a"))
    return rows + told.close_all("whole")


# -- the law: aligned results do not depend on resharding


@pytest.mark.parametrize("seed", SEEDS)
def test_aligned_results_are_those_of_a_single_shard(seed: int) -> None:
    """Where no event is late, no idle decision was taken and no limit was reached."""
    random = Random(seed)
    pipeline = without_late_events(random, random_lineages.pipeline(random))
    shards, records = calm_lineage(random, pipeline)
    alone = reference(pipeline, "alone", GENERATION, records, window_hash, hash_range=EVERYTHING, close_all=True)
    assert not alone.late_events

    program = compile_pipeline(pipeline)
    processors: dict[str, Processor] = {}
    rows: list[Row] = []
    for shard in shards:
        processor = begin(program, shard, [processors[parent] for parent in shard.parents])
        processors[shard.id] = processor
        rows += processor.apply([item for item in shard.inputs if isinstance(item, Record)]).rows
    parents = {parent for shard in shards for parent in shard.parents}
    rows += [row for shard, each in processors.items() if shard not in parents for row in each.close_all().rows]
    assert _by_id(pipeline, rows) == _by_id(pipeline, alone.rows)


def _by_id(pipeline: Pipeline, rows: list[Row]) -> dict[str, Any]:
    """Return results by id.

    Whether another revision may follow is left out where windows are kept: one record may end a window and its
    lateness at once, and which records a shard has differs.
    """
    kept = {window.name for window in pipeline.windows if window.emit == "updates" and window.allowed_lateness_ms}
    results = [(row.output, json.loads(row.data)) for row in rows if row.output not in {LATE, DEAD_LETTER}]
    told = {row["id"]: row | {"final": None} if name in kept else row for name, row in results}
    assert len(told) == len(results)
    return told
