"""Rows as the contract spells them: their members, in order."""

from __future__ import annotations

import base64
from typing import Any

import msgspec

from consumer.core.ids import dead_letter_id, late_id, result_id
from consumer.core.times import format_time
from consumer.pipeline.model import Pipeline, Window
from consumer.records import LATE, Record, Row
from consumer.testing.reference.aggregates import aggregate
from consumer.testing.reference.outcome import WindowHash
from consumer.testing.reference.values import Value, printable
from consumer.testing.reference.windows import Bounds, Key, Span

DATA_BYTES_MAX = 700_000


class RowMaker:
    """Makes the rows of one shard."""

    def __init__(self, pipeline: Pipeline, shard: str, generation: int, window_hash: WindowHash) -> None:
        self._pipeline = pipeline
        self._shard = shard
        self._generation = generation
        self._hashes = {window.name: window_hash(pipeline, window) for window in pipeline.windows}

    def result_id(self, window: Window, origin: str | None, key: Key, span: Span, part: int | None) -> str:
        """Return the id of the window's next row; `origin` is the shard of a partial window, None in an aligned one."""
        return result_id(
            self._pipeline.name,
            self._generation,
            self._hashes[window.name],
            key,
            span.start_ms,
            revision=span.next_revision(),
            part=part,
            origin=origin,
            late_at_ms=span.late_at_ms,
        )

    def result(
        self, window: Window, origin: str | None, key: Key, span: Span, part: int | None, *, final: bool, early: bool
    ) -> Row:
        """Return the window's next row; `part` is None unless a part of it was or is emitted early."""
        row: dict[str, object] = {
            "id": self.result_id(window, origin, key, span, part),
            "pipeline": self._pipeline.name,
            "window": window.name,
            "window_start": format_time(span.start_ms),
            "window_end": format_time(span.end_ms),
        }
        for name, value in zip(window.by, key, strict=True):
            row[name.name] = printable(value, name.type)
        for number, column in enumerate(window.select):
            row[column.name] = aggregate(column, span, number)
        row |= {"revision": span.next_revision(), "final": final}
        if span.is_reshaped and span.told_ids:
            row["replaces"] = span.told_ids
        if early:
            row["early"] = True
        if part is not None:
            row["part"] = part
        if origin is not None:
            row |= {"shard": origin, "partial": True}
        return Row(window.name, msgspec.json.encode(row))

    def late(self, window: Window, bounds: Bounds, record: Record, time_ms: int, watermark_ms: int) -> Row:
        """Return the row of an event that is late for a window."""
        start_ms, end_ms = bounds
        row = {
            "id": late_id(
                self._pipeline.name,
                self._generation,
                self._shard,
                record.sequence_number,
                record.sub_sequence_number,
                self._hashes[window.name],
                start_ms,
            ),
            "reason": "late",
            "pipeline": self._pipeline.name,
            "window": window.name,
            "window_start": format_time(start_ms),
            "window_end": format_time(end_ms),
            "watermark": format_time(watermark_ms),
            "event_time": format_time(time_ms),
            "lateness_ms": watermark_ms - time_ms,
            **self._place(record),
            **_data(record),
        }
        return Row(LATE, msgspec.json.encode(row))

    def dead_letter(self, record: Record) -> dict[str, Any]:
        """Return the members of a dead letter's row, without its reason and detail."""
        return {
            "id": dead_letter_id(
                self._pipeline.name,
                self._generation,
                self._shard,
                record.sequence_number,
                record.sub_sequence_number,
            ),
            "pipeline": self._pipeline.name,
            **self._place(record),
            "arrival_time": None if record.arrival_ms is None else format_time(record.arrival_ms),
            **_data(record),
        }

    def _place(self, record: Record) -> dict[str, object]:
        known = record.sequence_number is not None
        return {
            "partition_key": record.partition_key,
            "sequence_number": record.sequence_number,
            "sub_sequence_number": record.sub_sequence_number if known else None,
            "shard": self._shard,
        }


def key_order(key: Key) -> tuple[tuple[bool, Value], ...]:
    """Return what puts keys in order: null first."""
    return tuple((value is not None, value) for value in key)


def _data(record: Record) -> dict[str, object]:
    data = base64.b64encode(record.data[:DATA_BYTES_MAX]).decode()
    return {"data": data, "data_truncated": True} if len(record.data) > DATA_BYTES_MAX else {"data": data}
