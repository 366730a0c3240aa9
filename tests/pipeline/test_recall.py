"""Definitions made again of their stored text: the program that they compile to is the very same."""

from __future__ import annotations

import json
from dataclasses import replace
from random import Random

import pytest

from consumer.core.compile import compile_pipeline
from consumer.errors import RefusedError
from consumer.pipeline.definitions import definitions_hash, definitions_text, window_hash
from consumer.pipeline.load import load_text
from consumer.pipeline.recall import recalled
from consumer.testing.simulation.pipelines import FILES
from tests import random_lineages
from tests.pipeline.test_definitions import GLOBAL, TEXT
from tests.random_pipelines import PipelineMaker, as_written

TODAY = load_text(FILES["mixed"], "today.yaml", {})


@pytest.mark.parametrize("seed", range(80))
def test_a_recalled_pipeline_compiles_to_the_same_program(seed: int) -> None:
    random = Random(seed)
    made = (
        random_lineages.pipeline(random, combines=seed % 4 == 1)
        if seed % 2
        else PipelineMaker(random, formats=True, combines=seed % 4 == 2).pipeline()
    )
    # Late rows and dead letters go to places that definitions do not tell: those of today.
    pipeline = replace(as_written(made), late=TODAY.late, dead_letter=TODAY.dead_letter)
    again = recalled(definitions_text(pipeline), TODAY)
    assert definitions_hash(again) == definitions_hash(pipeline)
    before, after = compile_pipeline(pipeline), compile_pipeline(again)
    assert after.source == before.source
    assert [each.hash for each in after.windows] == [each.hash for each in before.windows]
    assert [each.keep for each in after.windows] == [each.keep for each in before.windows]


@pytest.mark.parametrize("text", [TEXT, GLOBAL, *FILES.values()])
def test_files_are_recalled_whole(text: str) -> None:
    """But for what definitions do not tell."""
    pipeline = load_text(text, "p.yaml", {})
    source = replace(TODAY.source, partition_key=pipeline.source.partition_key)
    expected = replace(
        pipeline,
        source=source,
        sinks=TODAY.sinks,
        late=TODAY.late,
        dead_letter=TODAY.dead_letter,
        state=TODAY.state,
        worker=TODAY.worker,
    )
    assert recalled(definitions_text(pipeline), TODAY) == expected


def test_the_text_of_another_version_is_refused() -> None:
    text = definitions_text(TODAY)
    for broken in (
        text.replace('"version":1', '"version":2'),
        text.replace("count()", "counted()"),
        text.replace("sum(n)", "sum( n )"),
        text.replace('"fields"', '"field"'),
        "{",
    ):
        assert broken != text
        with pytest.raises(RefusedError, match=r"stored text of definitions .*Start the version"):
            recalled(broken, TODAY)


def test_an_incarnation_changes_the_hashes_of_its_window_and_of_the_whole() -> None:
    first, second = TODAY.windows[:2]
    assert window_hash(TODAY, first, 0) == window_hash(TODAY, first)
    hashes = {window_hash(TODAY, window, number) for window in (first, second) for number in range(4)}
    assert len(hashes) == 8
    whole = {definitions_hash(TODAY, incarnations) for incarnations in ({}, {"a": 1}, {"a": 2}, {"b": 1})}
    assert len(whole) == 4
    assert definitions_hash(TODAY, {}) == definitions_hash(TODAY)
    assert definitions_hash(TODAY, {"a": 1, "b": 2}) == definitions_hash(TODAY, {"b": 2, "a": 1})
    assert json.loads(definitions_text(TODAY))["windows"]
