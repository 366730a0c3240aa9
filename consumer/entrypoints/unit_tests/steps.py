"""The steps of a test: events as records, and what happens between them."""

from __future__ import annotations

import base64
import binascii
from typing import Any

from consumer.core.decode import attribute, reader
from consumer.core.faults import Fault
from consumer.core.times import format_time
from consumer.entrypoints.unit_tests.definitions import Idle, Mark, Step
from consumer.entrypoints.unit_tests.events import EncodingProblem, encode_event
from consumer.entrypoints.unit_tests.form import Form
from consumer.entrypoints.unit_tests.times import Times
from consumer.pipeline import tree
from consumer.pipeline.model import Pipeline, Type
from consumer.pipeline.problems import Path as Place
from consumer.pipeline.wording import suggestion
from consumer.records import Record

_BODIES = ("event", "raw", "base64")
_RECORD_KEYS = (*_BODIES, "at", "arrival", "key")
_MARKS = {mark.value: mark for mark in Mark}
_STEPS = (*_BODIES, "idle", *_MARKS)


class StepReader:
    """Reads steps for one pipeline. What is not sound is left out: it has been noted."""

    def __init__(self, form: Form, pipeline: Pipeline) -> None:
        self._form = form
        self._events = pipeline.events
        self._partition_key = pipeline.source.partition_key
        self._fields = {field.name: field for field in pipeline.events.fields}
        self._read_events = reader(pipeline.events)

    def steps(self, place: Place, times: Times) -> tuple[Step, ...]:
        """Return the steps of a list; records are numbered from 1."""
        steps: list[Step] = []
        for item in self._form.items(place):
            step = self._step(item, times, 1 + sum(isinstance(each, Record) for each in steps))
            if step is None:
                continue
            if Mark.CLOSE in steps and step not in (Mark.CRASH, Mark.COMMIT):
                self._form.problem(item, "stands after `shard closes`: nothing can come any more")
            steps.append(step)
        return tuple(steps)

    def _step(self, place: Place, times: Times, number: int) -> Step | None:
        node = self._form.find(place)
        if isinstance(node, tree.Scalar):
            return self._mark(place, node)
        if isinstance(node, tree.Mapping) and "idle" in node.entries:
            return self._idle(place)
        keys = self._form.mapping(place, (*_RECORD_KEYS, "idle"))
        return None if keys is None else self._record(place, keys, times, number)

    def _idle(self, place: Place) -> Idle | None:
        self._form.mapping(place, ("idle",))
        if self._events.idle_after_ms is None:
            self._form.problem(place, "closes nothing in this pipeline, whose `events.idle_after` is never")
        duration_ms = self._form.duration((*place, "idle"))
        return None if duration_ms is None else Idle(duration_ms)

    def _mark(self, place: Place, node: tree.Scalar) -> Mark | None:
        if node.text not in _MARKS and not node.broken:
            self._form.problem(
                place, f"`{node.text}` is no step{suggestion(node.text, _STEPS)}. The steps: {', '.join(_STEPS)}"
            )
        return _MARKS.get(node.text)

    def _record(self, place: Place, keys: list[str], times: Times, number: int) -> Record | None:
        bodies = [key for key in keys if key in _BODIES]
        if len(bodies) != 1:
            # A key that is not known, and has been noted, was probably meant to be the one that is missing.
            if bodies or not self._form.unknown(place, _RECORD_KEYS):
                self._form.problem(place, f"must have one of {', '.join(_BODIES)}, and has {len(bodies) or 'none'}")
            return None
        at_ms, arrival_ms = (
            self._form.time((*place, key), times) if key in keys else None for key in ("at", "arrival")
        )
        if self._events.time is None:
            if ("at" in keys) == ("arrival" in keys):
                self._form.problem(
                    place, "the pipeline goes by arrival times (it has no events.time): write `at: 12:00:05`, once"
                )
            arrival_ms = at_ms if arrival_ms is None else arrival_ms
        elif bodies != ["event"] and "at" in keys:
            self._form.problem((*place, "at"), f"gives its time to an `event`; `{bodies[0]}` has its own", at_key=True)
        data = self._data((*place, bodies[0]), at_ms, times)
        if data is None:
            return None
        record = Record(data, None, str(number), 0, arrival_ms)
        record.partition_key = self._form.word((*place, "key")) if "key" in keys else self._key_of(record)
        return record

    def _key_of(self, record: Record) -> str | None:
        """Return the partition key of a producer that keeps its word, None where there is no telling."""
        if self._partition_key is None:
            return None
        (event,) = self._read_events([record])
        return None if isinstance(event, Fault) else str(getattr(event, attribute(self._partition_key)))

    def _data(self, place: Place, at_ms: int | None, times: Times) -> bytes | None:
        if place[-1] == "event":
            return self._event(place, at_ms, times)
        text = self._form.text(place)
        if text is None or place[-1] == "raw":
            return None if text is None else text.encode()
        try:
            return base64.b64decode("".join(text.split()), validate=True)
        except (binascii.Error, ValueError) as error:
            self._form.problem(place, f"is not base64: {error}")
            return None

    def _event(self, place: Place, at_ms: int | None, times: Times) -> bytes | None:
        keys = self._form.mapping(place, tuple(self._fields))
        if keys is None:
            return None
        values = {key: self._value((*place, key), times) for key in keys}
        time_field = self._events.time
        if time_field is not None and at_ms is not None:
            if time_field in keys:
                self._form.problem((*place, time_field), "this time is given twice: leave it out, or `at`", at_key=True)
            values[time_field] = format_time(at_ms)
        try:
            return encode_event(self._events, values)
        except EncodingProblem as error:
            self._form.problem(place, str(error))
            return None

    def _value(self, place: Place, times: Times) -> Any:
        """Return a field's value as it stands there, of any type; a short time in full."""
        value = self._form.plain(place)
        if self._fields[str(place[-1])].type is Type.TIMESTAMP and isinstance(value, str) and times.is_short(value):
            time_ms = self._form.time(place, times)
            return None if time_ms is None else format_time(time_ms)
        return value
