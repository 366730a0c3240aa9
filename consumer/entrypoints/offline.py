"""What the offline commands have in common: a pipeline whose rows stay in the process."""

from __future__ import annotations

from dataclasses import replace

from consumer.pipeline.model import Pipeline, StdoutSink


def with_rows(pipeline: Pipeline, *, late: bool, dead_letter: bool) -> Pipeline:
    """Return the pipeline so that late rows and dead letters are made, or only counted, as asked for.

    The core asks no more of `late` and `dead_letter` than whether they name a place; no sink is opened here. They are
    no part of what a pipeline means, so ids stay the same.
    """
    return replace(pipeline, late=StdoutSink() if late else None, dead_letter=StdoutSink() if dead_letter else None)
