"""Two small pipelines made of the one that is explained: they find a group's records, and what became of each.

The pipeline's own code tells what its rows are; it does not keep which records made them. So one probe reads each
record as the pipeline does, and tells the group and the time of its event. The other has the asked window alone, for
one group, and collects the numbers of the events in it: it is given the times and the watermarks that the pipeline's
own processor had, so the same rules put them into the same windows.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import msgspec

from consumer.core.compile import compile_pipeline
from consumer.core.processor import Outcome, Processor
from consumer.core.times import parse_time
from consumer.entrypoints.explain.question import Question
from consumer.pipeline.model import (
    Aggregate,
    Events,
    Field,
    Limits,
    Name,
    Pipeline,
    Source,
    StdoutSink,
    Tumbling,
    Type,
    Window,
)
from consumer.records import LATE, Record

_UNLIMITED = Limits(2**40, "reject")
_COUNT = Aggregate("events", "count", (), (), Type.INT, nullable=False)
_EVENTS_MAX = 2**40
_encode = msgspec.json.Encoder().encode


class Eye:
    """Tells the time of a record's event, if it is one of the group's and, where `filtered`, passes the filters."""

    def __init__(self, pipeline: Pipeline, question: Question, *, filtered: bool) -> None:
        window = Window(
            "probe",
            Tumbling(1, 0),
            question.window.by,
            (replace(_COUNT, name=f"{'_'.join(question.key)}_count"),),
            aligned=False,
            where=question.window.where if filtered else None,
        )
        probe = replace(
            pipeline,
            source=replace(pipeline.source, partition_key=None),
            where=pipeline.where if filtered else None,
            windows=(window,),
            late=None,
            dead_letter=None,
            limits=_UNLIMITED,
        )
        self._processor = Processor(compile_pipeline(probe), "probe")
        self._question = question

    def time_ms(self, record: Record) -> int | None:
        """Return the event's time; None if it is no event of the group's."""
        self._processor.stand_at(None, None)
        self._processor.step([record])
        for row in self._processor.close_all().rows:
            told = json.loads(row.data)
            if self._question.is_of(told):
                return parse_time(told["window_start"])
        return None


@dataclass(frozen=True)
class Traced:
    """A row of the asked window: which events it was made of, by number, in the order of their times."""

    start_ms: int
    end_ms: int
    revision: int
    events: Sequence[int]
    is_open: bool


@dataclass(frozen=True)
class TracedLate:
    """An event that was late for a window."""

    event: int
    start_ms: int
    end_ms: int
    watermark_ms: int


class Tracer:
    """Says what the windows of one group are made of."""

    def __init__(self, pipeline: Pipeline, question: Question, watermark_ms: int | None) -> None:
        self._bound_ms = pipeline.events.out_of_orderness_ms
        self._processor = Processor(compile_pipeline(_tracing(pipeline, question)), "probe")
        self._processor.stand_at(None, watermark_ms)
        self.rows: list[Traced] = []
        self.late: list[TracedLate] = []

    def event(self, number: int, time_ms: int, watermark_ms: int | None) -> None:
        """Add an event, at the watermark that counted for it."""
        self.advance(watermark_ms)
        self._take(self._processor.apply([Record(_encode({"t": time_ms, "n": number}))]), number)

    def advance(self, watermark_ms: int | None) -> None:
        """Let the watermark be this one, never an earlier one, and close what is due."""
        if watermark_ms is None:
            return
        self._take(self._processor.idle(watermark_ms + self._bound_ms))
        while self._processor.closing:
            self._take(self._processor.step(()))

    def end(self) -> None:
        """Tell of the windows that are open."""
        self._take(self._processor.close_all(), is_open=True)

    def _take(self, outcome: Outcome, number: int = 0, *, is_open: bool = False) -> None:
        for row in outcome.rows:
            told = json.loads(row.data)
            start_ms, end_ms = parse_time(told["window_start"]), parse_time(told["window_end"])
            if row.output == LATE:
                self.late.append(TracedLate(number, start_ms, end_ms, parse_time(told["watermark"])))
            else:
                self.rows.append(Traced(start_ms, end_ms, told["revision"], told["numbers"], is_open))


def _tracing(pipeline: Pipeline, question: Question) -> Pipeline:
    """Return a pipeline of the asked window alone, without `by`, whose events are a time and a number."""
    time = Field("t", Type.TIMESTAMP, nullable=False, path=("t",))
    number = Field("n", Type.INT, nullable=False, path=("n",))
    argument = Name("n", Type.INT, nullable=False)
    numbers = Aggregate("numbers", "collect", (argument,), (_EVENTS_MAX,), Type.INT, nullable=False)
    return replace(
        pipeline,
        source=Source(pipeline.source.stream, None, "trim_horizon"),
        events=Events(
            format="json",
            compression="none",
            fields=(time, number),
            time="t",
            out_of_orderness_ms=pipeline.events.out_of_orderness_ms,
            idle_after_ms=None,
            max_future_ms=None,
            max_bytes=2**20,
        ),
        lets=(),
        where=None,
        windows=(replace(question.window, by=(), select=(numbers,), aligned=False, where=None),),
        late=StdoutSink(),
        dead_letter=None,
        limits=_UNLIMITED,
    )


def merged(groups: Iterable[set[Any]]) -> list[set[Any]]:
    """Join sets that have something in common."""
    found: list[set[Any]] = []
    for group in groups:
        touched = [each for each in found if each & group]
        found = [each for each in found if not each & group]
        found.append(group.union(*touched))
    return found
