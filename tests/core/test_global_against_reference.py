"""Global windows: what the shards of a lineage contribute, combined, against the plain interpreter.

A test's name ends with its seed: the pipeline, its shards and their records are made from it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from random import Random

import pytest

from consumer.core.compile import compile_pipeline
from consumer.core.contributions import Contribution
from consumer.core.processor import Processor
from consumer.pipeline.definitions import window_hash
from consumer.pipeline.model import Aggregate, Limits, Name, Pipeline, Sliding, Tumbling, Type
from consumer.records import Record
from consumer.testing.reference import (
    Expected,
    complete_until,
    reference,
    reference_combined,
)
from tests import random_lineages
from tests.core.combining_rig import combined_rows, contributions_of
from tests.core.test_reshards_against_reference import GENERATION, Case, Mortal, assert_rows, begin, take
from tests.random_lineages import EVERYTHING, calm_lineage

SEEDS = range(120)


def _until(case: Case, expected: dict[str, Expected]) -> float:
    return complete_until(each for shard, each in expected.items() if shard in case.leaves)


def _shuffled(case: Case, contributions: Sequence[Contribution]) -> list[Contribution]:
    return case.random.sample(contributions, len(contributions))


@pytest.mark.parametrize("seed", SEEDS)
def test_what_is_combined_is_what_the_interpreter_gives(seed: int) -> None:
    """Of complete windows, and then of all of them; in whatever order contributions come."""
    case = Case(seed, combines=True)
    expected = case.expected(close_all=False)
    processors: dict[str, Processor] = {}
    contributions: list[Contribution] = []
    for shard in case.shards:
        processor = processors[shard.id] = case.begin(shard, [processors[parent] for parent in shard.parents])
        rows = [row for step in case.steps(shard, case.random.choice([1, 9])) for row in take(processor, step)]
        assert_rows(rows, expected[shard.id])
        contributions += contributions_of(rows)
    until_ms = _until(case, expected)
    complete = reference_combined(case.pipeline, GENERATION, expected.values(), window_hash, until_ms=until_ms)
    assert combined_rows(case.program, _shuffled(case, contributions), until_ms) == complete.rows

    for leaf in case.leaves:
        contributions += contributions_of(processors[leaf].close_all().rows)
    closed = case.expected(close_all=True).values()
    whole = reference_combined(case.pipeline, GENERATION, closed, window_hash)
    assert combined_rows(case.program, _shuffled(case, contributions)) == whole.rows
    assert sorted(combined_rows(case.program, contributions, apart=True)) == sorted(whole.rows)


@pytest.mark.parametrize("seed", SEEDS)
def test_contributions_do_not_depend_on_freezing_and_restoring(seed: int) -> None:
    case = Case(seed, combines=True)
    straight: dict[str, Processor] = {}
    mortals: dict[str, Mortal] = {}
    for shard in case.shards:
        processor = straight[shard.id] = case.begin(shard, [straight[parent] for parent in shard.parents])
        rows = [row for step in case.steps(shard, 1000) for row in take(processor, step)]
        rows += processor.close_all().rows if shard.id in case.leaves else []
        mortal = mortals[shard.id] = Mortal(case, shard, [mortals[parent] for parent in shard.parents])
        mortal.take_all()
        # As they come, but for the order of several windows that close at once, or in portions.
        assert sorted(contributions_of(mortal.rows), key=_name) == sorted(contributions_of(rows), key=_name)


def _name(contribution: Contribution) -> tuple[object, ...]:
    each = contribution
    return each.window_hash, each.end_ms, each.start_ms, each.bucket, each.origin, each.chunk


# -- the law: what does not depend on the order of events does not depend on shards


@pytest.mark.parametrize("seed", SEEDS)
def test_global_results_are_those_of_a_single_shard(seed: int) -> None:
    """Where no event is late, no idle decision was taken, no limit was reached and nothing depends on an order."""
    random = Random(seed)
    pipeline = _orderless(random)
    shards, records = calm_lineage(random, pipeline)
    alone = reference(pipeline, "alone", GENERATION, records, window_hash, hash_range=EVERYTHING, close_all=True)
    assert not alone.late_events

    program = compile_pipeline(pipeline)
    processors: dict[str, Processor] = {}
    contributions: list[Contribution] = []
    parents = {parent for shard in shards for parent in shard.parents}
    for shard in shards:
        processor = processors[shard.id] = begin(program, shard, [processors[parent] for parent in shard.parents])
        rows = processor.apply([item for item in shard.inputs if isinstance(item, Record)]).rows
        rows += processor.close_all().rows if shard.id not in parents else []
        contributions += contributions_of(rows)
    assert combined_rows(program, contributions) == reference_combined(pipeline, GENERATION, [alone], window_hash).rows


def _orderless(random: Random) -> Pipeline:
    """Return a pipeline of global windows whose columns are sets, counts and sums of ints."""
    made = random_lineages.without_late_events(random, random_lineages.pipeline(random))
    number = Name("i", Type.INT, nullable=False)
    select = (
        Aggregate("events", "count", (), (), Type.INT, nullable=False),
        Aggregate("total", "sum", (number,), (), Type.INT, nullable=False),
        Aggregate("least", "min", (number,), (), Type.INT, nullable=False),
        Aggregate("values", "count_distinct", (number,), (3, "approximate"), Type.INT, nullable=False),
        Aggregate("middle", "quantile", (number,), (0.5,), Type.FLOAT, nullable=False),
        Aggregate("deviation", "stddev", (number,), (), Type.FLOAT, nullable=False),
    )
    key = made.source.partition_key
    windows = tuple(
        replace(
            window,
            by=tuple(name for name in window.by if name.name != key),
            select=select,
            kind=window.kind if isinstance(window.kind, Tumbling | Sliding) else Tumbling(10, 3),
            aligned=False,
            emit="final",
            buckets=random.choice([1, 3]),
        )
        for window in made.windows
    )
    return replace(made, windows=windows, limits=Limits(1_000_000, "reject"))
