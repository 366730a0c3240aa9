"""The generated code against the plain interpreter, which shares nothing with it but ids and printed times."""

from __future__ import annotations

from random import Random

import pytest

from consumer.core.compile import compile_pipeline
from consumer.core.processor import Processor
from consumer.pipeline.definitions import window_hash
from consumer.pipeline.model import Pipeline
from consumer.records import DEAD_LETTER, LATE, Record, Row
from consumer.testing.reference import reference
from tests.random_pipelines import PipelineMaker, records

SHARD = "shardId-000000000007"
GENERATION = 3

SEEDS = range(400)


def _made(seed: int) -> tuple[Pipeline, list[Record], Random]:
    random = Random(seed)
    return PipelineMaker(random).pipeline(), records(random, random.randrange(80)), random


@pytest.mark.parametrize("seed", SEEDS)
def test_generated_code_gives_what_the_interpreter_gives(seed: int) -> None:
    pipeline, stream, _ = _made(seed)
    processor = Processor(compile_pipeline(pipeline), SHARD, GENERATION)
    outcome = processor.apply(stream)
    expected = reference(pipeline, SHARD, GENERATION, stream, window_hash)

    assert [row for row in outcome.rows if row.output not in {LATE, DEAD_LETTER}] == expected.rows
    assert [row for row in outcome.rows if row.output == LATE] == expected.late
    dead = [row for row in outcome.rows if row.output == DEAD_LETTER]
    assert len(dead) == len(expected.dead_letters)
    for row, letter in zip(dead, expected.dead_letters, strict=True):
        assert letter.matches(row.data), (row, letter)

    counts = outcome.counts
    assert counts.received == expected.received
    assert counts.filtered == expected.filtered
    assert counts.late == dict(expected.late_events)
    assert sum(counts.dead_letters.values()) == sum(expected.dead_lettered.values())
    assert processor.watermark_ms == expected.watermark_ms
    assert sum(processor.open_groups().values()) == len(expected.open_windows)


@pytest.mark.parametrize("seed", SEEDS)
def test_results_do_not_depend_on_batches(seed: int) -> None:
    pipeline, stream, random = _made(seed)
    program = compile_pipeline(pipeline)
    whole, parts = Processor(program, SHARD), Processor(program, SHARD)
    rows: list[Row] = []
    at = 0
    while at < len(stream):
        size = random.randint(0, 7)
        rows += parts.apply(stream[at : at + size]).rows
        at += size
    assert rows == whole.apply(stream).rows
    assert parts.totals == whole.totals
    assert parts.close_all().rows == whole.close_all().rows


@pytest.mark.parametrize("seed", SEEDS)
def test_results_do_not_depend_on_freezing_and_restoring(seed: int) -> None:
    """Any mixture of bases, deltas and restarts, with records delivered again, gives the same rows."""
    pipeline, stream, random = _made(seed)
    program = compile_pipeline(pipeline)
    straight = Processor(program, SHARD)
    expected = straight.apply(stream).rows
    processor, entries, rows, at = Processor(program, SHARD), list[bytes](), list[Row](), 0
    while at < len(stream):
        size = random.randint(1, 9)
        new = processor.apply(stream[at : at + size]).rows
        rows += new
        at += size
        base = not entries or random.random() < 0.2
        entry = processor.freeze(new, base=base)
        entries = [entry] if base else [*entries, entry]
        if random.random() < 0.5:
            processor, outbox = Processor.restore(program, SHARD, 0, entries)
            assert outbox == new
            at = max(0, at - random.randrange(4))
    assert rows == expected
    assert processor.close_all().rows == straight.close_all().rows
