"""The generated code against the plain interpreter, which shares nothing with it but ids and printed times.

A test's name ends with its seed: the pipeline and its stream are made from it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from random import Random

import pytest

from consumer.core.compile import compile_pipeline
from consumer.core.processor import Outcome, Processor
from consumer.pipeline.definitions import window_hash
from consumer.pipeline.model import Pipeline
from consumer.records import CONTRIBUTION, DEAD_LETTER, LATE, Record, Row
from consumer.testing.reference import Expected, Idle, reference
from tests.random_pipelines import PipelineMaker
from tests.random_streams import Item, inputs, is_raw
from tests.seeds import seeds

SHARD = "shardId-000000000007"
GENERATION = 3

SEEDS = seeds(100, deep=150)


class Case:
    """A random pipeline, compiled, and a stream for it."""

    def __init__(self, seed: int) -> None:
        self.random = Random(seed)
        self.pipeline: Pipeline = PipelineMaker(self.random, formats=True, combines=seed % 4 == 3).pipeline()
        self.stream = inputs(self.random, self.pipeline, self.random.randrange(90))
        self.records = [item for item in self.stream if isinstance(item, Record)]
        self.is_raw = is_raw(self.stream)
        self.program = compile_pipeline(self.pipeline, keys_required=not self.is_raw)

    def processor(self, rows_max: int = 10_000) -> Processor:
        return Processor(self.program, SHARD, GENERATION, rows_max=rows_max)

    def rows_max(self) -> int:
        """Return how many windows may close at once: where it does not put early rows in another place, a few."""
        return 10_000 if self.pipeline.limits.policy == "emit_early" else self.random.choice([1, 3, 10_000])

    def batches(self, size_max: int) -> Iterator[Idle | list[Record]]:
        """Return the stream in batches of random sizes, with empty ones in between."""
        at = 0
        while at < len(self.stream):
            item = self.stream[at]
            if isinstance(item, Idle):
                yield item
                at += 1
                continue
            batch = _records(self.stream[at : at + self.random.randint(0, size_max)])
            yield batch
            at += len(batch)

    def expected(self, *, close_all: bool = False) -> Expected:
        return reference(
            self.pipeline,
            SHARD,
            GENERATION,
            self.stream,
            window_hash,
            close_all=close_all,
            keys_required=not self.is_raw,
        )


def _records(items: list[Item]) -> list[Record]:
    """Return the records before the first idle decision."""
    batch: list[Record] = []
    for item in items:
        if isinstance(item, Idle):
            break
        batch.append(item)
    return batch


def _take(processor: Processor, batch: Idle | list[Record]) -> list[Row]:
    """Return all rows that arise from a batch."""
    if isinstance(batch, list):
        outcome = processor.apply(batch)
        assert outcome.size_bytes == sum(len(record.data) for record in batch)
        return outcome.rows
    rows = processor.idle(batch.now_ms).rows
    return rows + processor.apply(()).rows


def _assert_rows(rows: list[Row], expected: Expected) -> None:
    assert [row for row in rows if row.output not in {LATE, DEAD_LETTER, CONTRIBUTION}] == expected.rows
    assert [row for row in rows if row.output == LATE] == expected.late
    dead = [row for row in rows if row.output == DEAD_LETTER]
    for row, letter in zip(dead, expected.dead_letters, strict=True):
        assert letter.matches(row.data), (row, letter)


@pytest.mark.parametrize("seed", SEEDS)
def test_generated_code_gives_what_the_interpreter_gives(seed: int) -> None:
    case = Case(seed)
    processor = case.processor()
    rows = [row for batch in case.batches(1000) for row in _take(processor, batch)]
    expected = case.expected()
    _assert_rows(rows, expected)

    counts = processor.totals
    assert counts.received == expected.received
    assert counts.filtered == expected.filtered
    assert counts.late == dict(expected.late_events)
    assert sum(counts.dead_letters.values()) == sum(expected.dead_lettered.values())
    assert sum(counts.results.values()) == len(expected.rows)
    assert processor.watermark_ms == expected.watermark_ms
    assert sum(processor.open_groups().values()) == len(expected.open_windows)

    _assert_rows(rows + processor.close_all().rows, case.expected(close_all=True))
    assert sum(processor.open_groups().values()) == 0


@pytest.mark.parametrize("seed", SEEDS)
def test_results_do_not_depend_on_batches(seed: int) -> None:
    """Nor on how many windows may close at once."""
    case = Case(seed)
    whole, parts = case.processor(), case.processor(case.rows_max())
    expected = [row for item in case.stream for row in _take(whole, item if isinstance(item, Idle) else [item])]
    assert [row for batch in case.batches(9) for row in _take(parts, batch)] == expected
    assert parts.totals == whole.totals
    assert parts.close_all().rows == whole.close_all().rows


@pytest.mark.parametrize("seed", SEEDS)
def test_results_do_not_depend_on_freezing_and_restoring(seed: int) -> None:
    """Any mixture of bases, deltas and restarts, with records delivered again, gives the same rows."""
    case = Case(seed)
    straight = case.processor()
    expected = [row for batch in case.batches(1000) for row in _take(straight, batch)]
    expected += straight.close_all().rows
    mortal = Mortal(case)
    mortal.take_all()
    assert mortal.rows == expected
    again = mortal.processor.totals.replayed
    assert replace(mortal.processor.totals, received=len(case.records), replayed=0) == straight.totals
    assert mortal.processor.totals.received == len(case.records) + again


class Mortal:
    """A processor that is frozen after every step, and often dies and is restored."""

    def __init__(self, case: Case) -> None:
        self._case = case
        self._random = case.random
        self._entries: list[bytes] = []
        self._rows_max = case.rows_max()
        self.processor = case.processor(self._rows_max)
        self.rows: list[Row] = []

    def take_all(self) -> None:
        """Take the whole stream and its end."""
        before: list[Record] = []
        for batch in self._case.batches(9):
            if isinstance(batch, Idle):
                self._took(self.processor.idle(batch.now_ms))
                self._take([])
            else:
                again = 0 if self._case.is_raw else self._random.randrange(min(4, len(before) + 1))
                self._take(before[len(before) - again :] + batch)
                before += batch
        self._took(self.processor.end())
        self._take([])

    def _take(self, records: list[Record]) -> None:
        while records or self.processor.closing:
            closed_only = self.processor.closing
            outcome = self.processor.step(records)
            results = [row for row in outcome.rows if row.output != CONTRIBUTION]
            assert not closed_only or outcome.taken or len(results) <= self._rows_max
            records = records[outcome.taken :]
            self._took(outcome)

    def _took(self, outcome: Outcome) -> None:
        self.rows += outcome.rows
        self._hold_room()
        base = not self._entries or self._random.random() < 0.2
        entry = self.processor.freeze(outcome.rows, base=base)
        self._entries = [entry] if base else [*self._entries, entry]
        assert self.processor.dirty_groups() == 0
        if self._random.random() < 0.5:
            case, before = self._case, self.processor
            self.processor, outbox = Processor.restore(case.program, SHARD, GENERATION, self._entries)
            self.processor._core._rows_max = self._rows_max
            assert outbox == outcome.rows
            assert self.processor.open_groups() == before.open_groups()
            self._hold_room()

    def _hold_room(self) -> None:
        """Hold that what is open and what may be opened are what the limit says, together."""
        processor = self.processor
        assert processor.room() + sum(processor.open_groups().values()) == self._case.pipeline.limits.groups
